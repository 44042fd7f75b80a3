//! What the linears of a prompt read, as rows on the host: the material of calibration.

use std::ops::Range;

use super::Session;
use super::step::rows;
use crate::error::Error;
use crate::kernels::linear::{Activations, MATMUL_ROWS};
use crate::kernels::{Call, PADDING, Row};
use crate::plan::{Buffer, Dispatch, Part, Plan, Settings, Size, lower};

/// A value that a layer computes on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TapKind {
    /// The residual stream where the layer begins: `[rows, dim]`.
    Entry,
    /// The input of q, k and v, behind the norm: `[rows, dim]`.
    Attention,
    /// The input of o: `[rows, n_heads * head_dim]`.
    Output,
    /// The residual stream between attention and FFN: `[rows, dim]`.
    Middle,
    /// The input of gate and up, behind the norm: `[rows, dim]`.
    Ffn,
    /// The input of down: `[rows, ffn_dim]`.
    Down,
}

/// Some rows of a value.
#[derive(Clone, Copy, Debug)]
pub struct Tap<'a> {
    /// The layer.
    pub layer: u32,
    /// Which of its values.
    pub kind: TapKind,
    /// Position of the first row in the prompt.
    pub first: usize,
    /// Columns of a row.
    pub cols: usize,
    /// `[rows, cols]`.
    pub values: &'a [f32],
}

/// A tap's place in a plan: before which dispatch it is read, and from where.
struct Point {
    before: usize,
    buffer: Buffer,
    cols: u32,
    layer: u32,
    kind: TapKind,
}

/// Rows of the smallest step: below [`MATMUL_ROWS`] norms run inside the products behind them.
const MIN_ROWS: usize = MATMUL_ROWS.next_power_of_two() as usize;

impl Session {
    /// Computes a prompt up to the last of `layers` and hands over what their linears read, in the
    /// order of the computation: for each piece of [`super::SessionOptions::max_rows`] rows, every
    /// value of [`TapKind`] layer by layer. The first sequence is empty afterwards.
    ///
    /// # Errors
    /// [`Error::UnknownToken`], [`Error::PromptTooLong`], [`Error::NotFinite`], the device's.
    ///
    /// # Panics
    /// Where the session was made for fewer than 8 rows.
    pub async fn trace(
        &mut self,
        ids: &[u32],
        layers: Range<u32>,
        on_tap: &mut dyn FnMut(Tap<'_>),
    ) -> Result<(), Error> {
        assert!(self.max.rows as usize >= MIN_ROWS, "steps of 8 rows");
        if ids.len() > self.settings.n_ctx as usize {
            return Err(Error::PromptTooLong {
                found: ids.len(),
                limit: self.settings.n_ctx,
            });
        }
        ids.iter().try_for_each(|&id| self.check_token(id))?;
        self.sequences[0].tokens = ids.to_vec();
        self.sequences[0].n_cached = 0;
        let all = rows(0, 0..ids.len());
        self.write_tokens(&all);
        let result = self.trace_rows(&all, layers, on_tap).await;
        self.truncate(0, 0);
        result
    }

    async fn trace_rows(
        &mut self,
        rows: &[Row],
        layers: Range<u32>,
        on_tap: &mut dyn FnMut(Tap<'_>),
    ) -> Result<(), Error> {
        let mut values: Vec<f32> = vec![];
        for (piece, rows) in rows.chunks(self.max.rows as usize).enumerate() {
            self.make_room(rows).await?;
            let plan = self.trace_plan(rows);
            let mut done = 0;
            for point in self.points(&plan, &layers) {
                let n = rows.len() * point.cols as usize;
                let read = (point.buffer, 4 * n as u64);
                let bytes = self
                    .state
                    .run(&plan, done..point.before, Some(read))
                    .await?;
                done = point.before;
                values.resize(n, 0.0);
                bytemuck::cast_slice_mut(&mut values).copy_from_slice(&bytes);
                let first = piece * self.max.rows as usize;
                if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                    return Err(Error::NotFinite {
                        model: self.engine.name().to_owned(),
                        position: (first + at / point.cols as usize) as u32,
                        origin: format!("layer {}, {:?}", point.layer, point.kind),
                    });
                }
                on_tap(Tap {
                    layer: point.layer,
                    kind: point.kind,
                    first,
                    cols: point.cols as usize,
                    values: &values,
                });
            }
        }
        Ok(())
    }

    /// Writes the rows and plans them: without a head, and with inputs of products in f32.
    fn trace_plan(&mut self, rows: &[Row]) -> Plan {
        let bucket = rows.len().next_power_of_two().max(MIN_ROWS);
        let padding = Row {
            sequence: 0,
            position: PADDING,
        };
        let mut padded = rows.to_vec();
        padded.resize(bucket, padding);
        self.state
            .write(Buffer::Rows, 0, bytemuck::cast_slice(&padded));
        let settings = Settings {
            activations: Activations::F32,
            ..self.settings.clone()
        };
        let size = Size {
            rows: bucket as u32,
            n_out: 0,
            sample: false,
            all_full: false,
        };
        let engine = &self.engine;
        lower(&engine.model().graph, engine.layouts(), &settings, size)
    }

    /// Where the values of some layers are read, in the plan's order.
    fn points(&self, plan: &Plan, layers: &Range<u32>) -> Vec<Point> {
        let weights = self.engine.model().graph.weights();
        let mut points = vec![];
        for (at, dispatch) in plan.dispatches.iter().enumerate() {
            let Some((cols, id)) = product(dispatch) else {
                continue;
            };
            let Some((layer, kind)) = place(&weights[id].name) else {
                continue;
            };
            if !layers.contains(&layer) {
                continue;
            }
            let buffer = input(dispatch, 3);
            let residual = match kind {
                TapKind::Attention => Some(TapKind::Entry),
                TapKind::Ffn => Some(TapKind::Middle),
                _ => None,
            };
            if let Some(kind) = residual {
                let (before, norm) = norm_into(plan, at, buffer);
                points.push(Point {
                    before,
                    buffer: input(norm, 1),
                    cols,
                    layer,
                    kind,
                });
            }
            points.push(Point {
                before: at,
                buffer,
                cols,
                layer,
                kind,
            });
        }
        points
    }
}

/// Columns of a product's input, and the parameter whose first rows it begins with.
fn product(dispatch: &Dispatch) -> Option<(u32, usize)> {
    let Call::MatMul(_, params) = dispatch.call else {
        return None;
    };
    match dispatch.bindings.first() {
        Some(&(
            1,
            Buffer::Weight {
                id,
                chunk: 0,
                part: Part::Values,
            },
        )) => Some((params.cols, id.0 as usize)),
        _ => None,
    }
}

/// The layer of a parameter and what it is multiplied with; `None` for those whose input another
/// one names.
fn place(name: &str) -> Option<(u32, TapKind)> {
    let (layer, name) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let kind = match name {
        "self_attn.q_proj.weight" => TapKind::Attention,
        "self_attn.o_proj.weight" => TapKind::Output,
        "mlp.gate_proj.weight" => TapKind::Ffn,
        "mlp.down_proj.weight" => TapKind::Down,
        _ => return None,
    };
    Some((layer.parse().ok()?, kind))
}

fn input(dispatch: &Dispatch, binding: u32) -> Buffer {
    let found = dispatch.bindings.iter().find(|(at, _)| *at == binding);
    found.expect("every call has its inputs bound").1
}

/// The norm that made the input of the product `at`.
fn norm_into(plan: &Plan, at: usize, x: Buffer) -> (usize, &Dispatch) {
    let before = plan.dispatches[..at].iter().enumerate().rev();
    let mut norms = before.filter(|(_, dispatch)| {
        let written = dispatch.bindings.last().map(|&(_, buffer)| buffer);
        matches!(dispatch.call, Call::RmsNorm(_)) && written == Some(x)
    });
    norms.next().expect("a norm stands before the branch")
}
