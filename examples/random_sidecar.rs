//! Gives a model a sidecar of random numbers, to time routed layers of real shapes with `deputy bench --routes`. Its
//! answers mean nothing; `deputy fit` makes one that does.
//!
//! ```sh
//! cargo run --release --example random_sidecar -- MODEL 0.125
//! ```

use std::error::Error;
use std::path::PathBuf;

use deputy::branch::{Draft, Effort, FactorFormat, ModelIdentity, Offsets, Settings};
use deputy::file::ModelFile;
use deputy::graph::{CacheMode, LayerRanks, N_LOGITS, RouterKind, Routing};
use deputy::model::Config;
use deputy::tensor::DType;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let path = PathBuf::from(
        args.next()
            .ok_or("pass a model, and the part of full rank")?,
    );
    let part: f64 = match args.next() {
        Some(part) => part.to_string_lossy().parse()?,
        None => 0.125,
    };
    pollster::block_on(write(path, part))
}

async fn write(path: PathBuf, part: f64) -> Result<(), Box<dyn Error>> {
    let file = ModelFile::open_path(&path).await?;
    let model = ModelIdentity::of(&file, deputy::model_shape(&Config::read(&file)?)).await?;
    let shape = &model.shape;
    let rank = |name: &str| {
        let (d_out, d_in) = shape.projection(name);
        let most = d_out.min(d_in);
        let wanted = (part * f64::from(most)) as u32;
        // Whole blocks, but for the narrowest.
        let block = if wanted < 32 { 8 } else { 32 };
        Some((wanted / block * block).clamp(4, most / 4 * 4))
    };
    let ranks = LayerRanks {
        q: rank("q"),
        k: rank("k"),
        v: rank("v"),
        o: rank("o"),
        gate: rank("gate"),
        up: rank("up"),
        down: rank("down"),
    };
    let mut numbers = Numbers(1);
    let mut tensors = vec![];
    for layer in 0..shape.n_layers {
        let mut add = |name: String, extents: [u32; 2], scale: f32| {
            let n = extents[0] as usize * extents[1] as usize;
            let values = (0..n).map(|_| scale * numbers.next()).collect();
            let extents = extents.iter().filter(|&&n| n > 0).map(|&n| n as usize);
            tensors.push((format!("layers.{layer}.{name}"), extents.collect(), values));
        };
        for (name, rank) in ranks.each() {
            let (d_out, d_in) = shape.projection(name);
            let rank = rank.unwrap_or(4);
            // Such that the product neither grows nor shrinks what it multiplies.
            add(
                format!("{name}.B"),
                [d_out, rank],
                (3.0 / rank as f32).sqrt(),
            );
            add(
                format!("{name}.D"),
                [rank, d_in],
                (3.0 / d_in as f32).sqrt(),
            );
        }
        add("router.weight".to_owned(), [N_LOGITS, shape.dim], 0.1);
        let one_each = |n: u32, value: f32| (vec![n as usize], vec![value; n as usize]);
        for (name, (extents, values)) in [
            ("router.norm", one_each(shape.dim, 1.0)),
            ("router.bias", one_each(N_LOGITS, 0.0)),
        ] {
            tensors.push((format!("layers.{layer}.{name}"), extents, values));
        }
    }
    let neutral = Offsets {
        effort: 0.5,
        attention: 0.0,
        ffn: 0.0,
    };
    let draft = Draft {
        settings: Settings {
            routing: Routing {
                router: RouterKind::Linear,
                dense_layers: 0,
                dense_tokens: 0,
                layers: vec![ranks; shape.n_layers as usize],
            },
            cache: CacheMode::Dense,
            factors: FactorFormat::Auto,
            effort: Effort::new(0.5, vec![neutral])?,
            calibration: serde_json::json!({"random": part}),
        },
        stored: DType::F16,
        tensors,
    };
    draft.write(&model, &path)?;
    println!("{} has a sidecar of random numbers", file.name);
    Ok(())
}

/// xorshift64* (Vigna 2016), in -1..1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        2.0 * ((word >> 40) as f32 / (1u64 << 24) as f32) - 1.0
    }
}
