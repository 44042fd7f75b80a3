//! What is measured: `benches/sets.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// A model and how it is run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The model's dimensions by name: `llama3.2-1b`.
    pub(crate) shape: String,
    /// How its weights are stored: `Q4_0`.
    pub(crate) format: String,
    /// File or folder among the models; `SHAPE-FORMAT.gguf` where none is named.
    model: Option<String>,
    /// `deputy --weights`, where they are converted while loading.
    pub(crate) weights: Option<String>,
    /// Tokens of the prompt.
    pub(crate) n_prompt: u32,
    /// Tokens made.
    pub(crate) n_gen: u32,
    /// Tokens in the cache before; each is a run of its own.
    #[serde(default = "empty_cache")]
    pub(crate) depths: Vec<u32>,
}

fn empty_cache() -> Vec<u32> {
    vec![0]
}

impl Entry {
    /// Its file or folder among the models.
    pub(crate) fn model(&self) -> String {
        let named = self.model.clone();
        named.unwrap_or_else(|| format!("{}-{}.gguf", self.shape, self.format))
    }
}

/// Reads the set of this name.
pub(crate) fn read(file: &Path, name: &str) -> Result<Vec<Entry>, String> {
    let text =
        std::fs::read_to_string(file).map_err(|cause| format!("{}: {cause}", file.display()))?;
    parse(&text, name).map_err(|cause| format!("{}: {cause}", file.display()))
}

fn parse(text: &str, name: &str) -> Result<Vec<Entry>, String> {
    let mut sets: BTreeMap<String, Vec<Entry>> =
        serde_json::from_str(text).map_err(|cause| cause.to_string())?;
    sets.remove(name).ok_or_else(|| {
        let names: Vec<String> = sets.into_keys().collect();
        format!("no set {name:?}; there are: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_of_the_repository_are_read() {
        let file = crate::root().join("benches/sets.json");
        let gpu = read(&file, "gpu").expect("is read");
        let mut wanted = vec![];
        for shape in ["llama3.2-1b", "llama3.2-3b", "llama3.1-8b"] {
            wanted.extend(["Q4_0", "Q8_0"].map(|format| format!("{shape}-{format}.gguf")));
        }
        assert_eq!(gpu.iter().map(Entry::model).collect::<Vec<_>>(), wanted);
        for entry in &gpu {
            assert_eq!((entry.n_prompt, entry.n_gen), (512, 128));
            assert_eq!(entry.depths, [0, 2048]);
        }
        assert!(!read(&file, "software").expect("is read").is_empty());
    }

    #[test]
    fn an_entry_may_name_a_folder_and_leave_out_the_depths() {
        let text = r#"{"one": [{"shape": "s", "format": "q4", "model": "folder", "weights": "q4", "n_prompt": 8, "n_gen": 4}]}"#;
        let set = parse(text, "one").expect("is a set");
        assert_eq!(set[0].model(), "folder");
        assert_eq!(set[0].weights.as_deref(), Some("q4"));
        assert_eq!(set[0].depths, [0]);
    }

    #[test]
    fn an_unknown_set_or_key_is_refused_by_name() {
        let text = r#"{"a": [], "b": []}"#;
        let error = parse(text, "c").expect_err("there is none");
        assert!(error.contains("\"c\"") && error.contains("a, b"), "{error}");
        let text =
            r#"{"a": [{"shape": "s", "format": "f", "n_prompt": 1, "n_gen": 1, "depth": 3}]}"#;
        let error = parse(text, "a").expect_err("depths is meant");
        assert!(error.contains("depth"), "{error}");
    }
}
