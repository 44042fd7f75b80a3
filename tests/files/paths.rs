//! Files and folders on disk.

use std::fs;
use std::path::Path;

use deputy::file::{DirFolder, Error, Folder, ModelFile};
use pollster::block_on;

use crate::common::*;

#[test]
fn paths_lead_to_the_model_that_they_mean() {
    let path = folder("paths");
    let write =
        |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).expect("a file to write");
    write("config.json", b"{}");
    write("model.safetensors", &small_safetensors());
    write("m.GGUF", &Gguf::small().bytes());
    write("no-suffix", &Gguf::small().bytes());
    write("broken.gguf", b"GG");
    write("notes.txt", b"GG");
    let open = |name: &str| block_on(ModelFile::open_path(&path.join(name)));
    for name in ["", "config.json", "model.safetensors"] {
        assert_eq!(
            tensor_bytes(&open(name).expect(name), "b"),
            (16..22).collect::<Vec<u8>>(),
            "{name}"
        );
    }
    for name in ["m.GGUF", "no-suffix"] {
        assert_eq!(open(name).expect(name).tensors.len(), 4, "{name}");
    }
    refused! {
        open("broken.gguf") => "broken.gguf: the magic number ends at byte 4, but the file has 2",
        open("notes.txt") => "notes.txt: no model here; looked for a GGUF file, or a folder with config.json",
        open("absent") => "absent: ",
    }
    if cfg!(unix) {
        refused(
            block_on(ModelFile::open_path(Path::new("/dev/zero"))),
            "/dev/zero: not a regular file",
        );
    }
    let sub_folder = path.join("chat_template.jinja");
    fs::create_dir(&sub_folder).expect("a folder");
    refused! {
        open("") => "chat_template.jinja: not a regular file",
    }
    let escape = block_on(DirFolder::new(&path).open("../paths/config.json"))
        .err()
        .expect("refused");
    assert!(matches!(escape, Error::FileName { .. }), "{escape}");
}

#[test]
fn a_file_that_shrinks_after_it_was_opened_is_an_error() {
    let path = folder("shrinks").join("m.gguf");
    fs::write(&path, Gguf::small().bytes()).expect("a file to write");
    let model = block_on(ModelFile::open_path(&path)).expect("a valid file");
    fs::write(&path, b"GGUF").expect("a file to write");
    let tensor = &model.tensors["f32"];
    let error = block_on(model.read(tensor, 0..24, &mut [0; 24])).expect_err("no bytes left");
    assert!(matches!(error, Error::Io { .. }), "{error}");
}
