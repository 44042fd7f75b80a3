//! Models changed tensor by tensor, in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use deputy::file::{MemoryFolder, ModelFile};
use deputy::kernels::CacheType;
use deputy::{DeviceChoice, Engine, LoadOptions};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// `(dtype, shape, bytes)`.
pub(super) type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// The elements of an f32 tensor.
pub(super) fn values(tensor: &mut Tensor) -> &mut [f32] {
    assert_eq!(tensor.0, Dtype::F32);
    bytemuck::cast_slice_mut(&mut tensor.2)
}

/// The files of a folder.
pub(super) fn read(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap();
    let files = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

/// Gives each tensor of `model.safetensors` to `change_one`.
pub(super) fn change(
    files: &mut BTreeMap<String, Vec<u8>>,
    change_one: impl Fn(&str, &mut Tensor),
) {
    let parsed = SafeTensors::deserialize(&files["model.safetensors"]).unwrap();
    let mut tensors: Vec<(String, Tensor)> = parsed
        .iter()
        .map(|(name, view)| {
            let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), tensor)
        })
        .collect();
    for (name, tensor) in &mut tensors {
        change_one(name, tensor);
    }
    let views: HashMap<&str, TensorView<'_>> = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| {
            (
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        })
        .collect();
    let bytes = safetensors::serialize(views, None).unwrap();
    files.insert("model.safetensors".to_owned(), bytes);
}

/// A model that lies in memory, on the CPU.
pub(super) fn from_memory(files: BTreeMap<String, Vec<u8>>) -> Result<Engine, deputy::Error> {
    let folder = Arc::new(MemoryFolder::new("model", files));
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        cache: Some(CacheType::F32),
        ..Default::default()
    };
    pollster::block_on(async {
        let file = ModelFile::open_folder(folder).await?;
        Engine::from_file(file, options, &mut |_| {}).await
    })
}
