//! The window's parts by themselves, and all of it with the real engine, without a display.

mod chat;
mod engine;
mod settings;
mod speed;
mod store;
mod window;

use tempfile::TempDir;

use crate::settings::{CPU, LoadSettings, Settings};
use crate::store::Store;

/// A store in a folder of its own, where answers are the likeliest ones and the CPU makes them.
fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder for files that last no longer than a test");
    let store = Store::open(Some(folder.path().to_owned())).expect("the folder is there");
    let mut settings = Settings {
        load: on_cpu(),
        ..Settings::default()
    };
    settings.answer.sampling = Some(greedy());
    store.save_settings(&settings).expect("the folder is there");
    (folder, store)
}

fn on_cpu() -> LoadSettings {
    LoadSettings {
        device: CPU.to_owned(),
        ..LoadSettings::default()
    }
}

fn greedy() -> crate::settings::Sampling {
    deputy::sampler::SamplerParams::greedy().into()
}
