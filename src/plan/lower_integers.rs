//! Inputs of products that become integers.

use super::Buffer;
use super::lower::Lowering;
use super::lower_linear::Product;
use crate::graph::{Node, Op, Projection};
use crate::kernels::linear::{Activations, MATMUL_ROWS, has_int8};
use crate::kernels::{Call, flatten_rows, linear, quantize_rows};

impl Lowering<'_> {
    /// Quantises the input of a product.
    pub(super) fn quantize(&mut self, product: &Product) -> Buffer {
        let linear::Params {
            rows,
            cols,
            blocks,
            eps,
            ..
        } = product.params;
        let Some(id) = product.flat else {
            let call = Call::QuantizeRows(quantize_rows::Params {
                rows,
                cols,
                blocks,
                pad0: 0,
            });
            self.call(call, &[product.x, Buffer::Int8]);
            return Buffer::Int8;
        };
        let flat = &self.graph.flats()[id.0 as usize];
        let scale = flat.scale.unwrap_or(0.0);
        let call = Call::FlattenRows(flatten_rows::Params {
            rows,
            cols,
            blocks,
            extra_blocks: flat.extra_blocks(),
            scale,
            inverse: if scale > 0.0 { 1.0 / scale } else { 0.0 },
            has_norm: product.gains.is_some().into(),
            eps,
        });
        let gains = product.gains.unwrap_or(Buffer::Zero);
        let table = Buffer::FlatTable(id);
        self.call(call, &[product.x, gains, table, Buffer::Int8]);
        Buffer::Int8
    }

    /// Whether a product multiplies integers with one scale a row, in all of its parts.
    pub(super) fn takes_integers(&self, node: &Node) -> bool {
        let Op::Linear { parts, flat, .. } = &node.op else {
            return false;
        };
        let is_many = self.rows(node.out) >= MATMUL_ROWS;
        let wanted = flat.is_some() && self.settings.activations == Activations::Auto;
        let has_int8 = |part: &Projection| has_int8(self.layout(part.weight).dtype);
        is_many && wanted && parts.iter().all(has_int8)
    }
}
