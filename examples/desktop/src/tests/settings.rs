use std::path::PathBuf;

use deputy::graph::CacheMode;
use deputy::kernels::CacheType;
use deputy::sampler::SamplerParams;
use deputy::{DeviceChoice, WeightFormat};

use crate::settings::{AnswerSettings, Cache, Latents, LoadSettings, ModelRef, Settings, Weights};

#[test]
fn choices_reach_the_engine() {
    let settings = LoadSettings {
        device: "llvmpipe (LLVM 15)".to_owned(),
        weights: Weights::Q4,
        cache: Cache::Q8,
        latents: Latents::LatentV,
        n_ctx: Some(9000),
    };
    let options = settings.options(2048, None);
    assert_eq!(
        options.device,
        DeviceChoice::Name("llvmpipe (LLVM 15)".to_owned())
    );
    assert_eq!(options.weights, WeightFormat::Q4);
    assert_eq!(options.cache, Some(CacheType::Q8));
    assert_eq!(options.cache_mode, Some(CacheMode::LatentV));
    assert_eq!(options.n_ctx, Some(2048), "no longer than the model's");
    let options = LoadSettings::default().options(2048, None);
    assert_eq!(options.device, DeviceChoice::Auto);
    assert_eq!((options.cache_mode, options.n_ctx), (None, None));
}

#[test]
fn the_models_own_sampling_stays_unless_another_is_chosen() {
    let own = SamplerParams {
        temperature: 0.5,
        top_p: 0.9,
        ..SamplerParams::default()
    };
    let mut settings = AnswerSettings::default();
    assert_eq!(settings.sampler(own, 7), SamplerParams { seed: 7, ..own });
    settings.sampling = Some(SamplerParams::greedy().into());
    assert!(settings.sampler(own, 7).is_greedy());
}

#[test]
fn recent_models_are_few_and_the_latest_is_first() {
    let mut settings = Settings::default();
    for i in 0..12 {
        settings.remember(&ModelRef::Path(PathBuf::from(format!("{i}"))));
    }
    settings.remember(&ModelRef::Path(PathBuf::from("9")));
    settings.remember(&ModelRef::Default);
    let recent: Vec<&str> = settings.recent.iter().filter_map(|p| p.to_str()).collect();
    assert_eq!(recent, ["9", "11", "10", "8", "7", "6", "5", "4"]);
    assert_eq!(settings.model, ModelRef::Default);
    settings.forget("11".as_ref());
    assert!(!settings.recent.contains(&PathBuf::from("11")));
}

#[test]
fn numbers_out_of_range_are_brought_back() {
    let mut settings = Settings {
        zoom: f32::NAN,
        ..Settings::default()
    };
    settings.answer.effort = Some(7.0);
    let clamped = settings.clone().clamped();
    assert_eq!((clamped.zoom, clamped.answer.effort), (1.0, Some(1.0)));
    settings.zoom = 1e9;
    assert_eq!(settings.clamped().zoom, 3.0);
}
