//! What was fitted as a sidecar that can be written.

use serde_json::{Map, Value, json};

use super::{Fitted, Report};
use crate::branch::{self, Draft, Effort, FactorFormat, Offsets, Settings};
use crate::graph::CacheMode;
use crate::tensor::DType;

/// The effort of a sidecar unless another is asked for.
const DEFAULT_EFFORT: f32 = 0.5;

impl Fitted {
    /// The sidecar, with the cache in this mode.
    ///
    /// # Errors
    /// [`branch::Error::Effort`] where an offset is too large for an f32.
    pub fn draft(&self, cache: CacheMode) -> Result<Draft, branch::Error> {
        let offsets = self.effort.iter().map(|offset| Offsets {
            effort: offset.effort as f32,
            attention: offset.attention as f32,
            ffn: offset.ffn as f32,
        });
        let tensors = self.tensors.iter();
        let tensors = tensors.map(|t| (t.name.clone(), t.shape.clone(), t.values.clone()));
        Ok(Draft {
            settings: Settings {
                routing: self.routing.clone(),
                cache,
                factors: FactorFormat::Auto,
                effort: Effort::new(DEFAULT_EFFORT, offsets.collect())?,
                calibration: self.calibration(),
            },
            stored: DType::F16,
            tensors: tensors.collect(),
        })
    }

    /// What people may want to know of a sidecar.
    fn calibration(&self) -> Value {
        let Report {
            texts,
            n_tokens,
            linears,
            routers,
        } = &self.report;
        let shares: Vec<f64> = self.effort.iter().map(|offset| offset.share).collect();
        let errors = linears.iter().map(|linear| {
            let name = format!("layers.{}.{}", linear.layer, linear.linear.name());
            (name, json!(linear.output_error))
        });
        let r2 = routers
            .iter()
            .map(|router| (format!("layers.{}", router.layer), json!(router.r2)));
        json!({
            "texts": texts,
            "tokens": n_tokens,
            "compute_shares": shares,
            "output_errors": errors.collect::<Map<_, _>>(),
            "router_r2": r2.collect::<Map<_, _>>(),
        })
    }
}
