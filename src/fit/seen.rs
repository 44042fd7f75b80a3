//! What a text makes of the linears' inputs: the largest values of their columns, and their second moments.

use std::collections::HashMap;
use std::ops::Range;

use super::{Error, FitProgress, Moment, Stage};
use crate::engine::Engine;
use crate::model::FlatInput;
use crate::session::{Session, SessionOptions, Tap, TapKind};

/// As many layers as the memory allows at a time.
pub(super) fn group(engine: &Engine, memory: u64) -> u32 {
    let moments = FlatInput::ALL.map(|input| Moment::n_bytes(input.cols(engine.config())));
    let fit = memory / moments.iter().sum::<u64>().max(1);
    fit.clamp(1, engine.config().n_layers.into()) as u32
}

/// What a text makes of an input.
pub(super) struct Seen {
    /// The largest `|x|` of each column.
    pub(super) most: Vec<f32>,
    pub(super) moment: Moment,
}

/// A text that goes through a model.
pub(super) struct Inputs {
    session: Session,
    pub(super) windows: Vec<Vec<u32>>,
}

impl Inputs {
    pub(super) async fn new(engine: &Engine, windows: Vec<Vec<u32>>) -> Result<Self, Error> {
        let session = engine.session(SessionOptions::default()).await?;
        Ok(Self { session, windows })
    }

    /// One pass over the text.
    pub(super) async fn gather(
        &mut self,
        layers: Range<u32>,
        n_layers: u32,
        progress: &mut dyn FnMut(FitProgress),
    ) -> Result<HashMap<(u32, FlatInput), Seen>, Error> {
        let mut all: HashMap<(u32, FlatInput), Seen> = HashMap::new();
        let n_groups = (n_layers as usize).div_ceil(layers.len());
        let before = layers.start as usize / layers.len() * self.windows.len();
        for (i, window) in self.windows.iter().enumerate() {
            let mut on_tap = |tap: Tap<'_>| {
                let input = match tap.kind {
                    TapKind::Attention => FlatInput::Attention,
                    TapKind::Output => FlatInput::Output,
                    TapKind::Ffn => FlatInput::Ffn,
                    TapKind::Down => FlatInput::Down,
                    TapKind::Entry | TapKind::Middle => return,
                };
                let seen = all.entry((tap.layer, input)).or_insert_with(|| Seen {
                    most: vec![0.0; tap.cols],
                    moment: Moment::new(tap.cols),
                });
                for row in tap.values.chunks_exact(tap.cols) {
                    for (most, x) in seen.most.iter_mut().zip(row) {
                        *most = most.max(x.abs());
                    }
                }
                seen.moment.add(tap.values);
            };
            self.session
                .trace(window, layers.clone(), &mut on_tap)
                .await?;
            progress(FitProgress {
                stage: Stage::Moments,
                done: before + i + 1,
                total: n_groups * self.windows.len(),
            });
        }
        Ok(all)
    }
}
