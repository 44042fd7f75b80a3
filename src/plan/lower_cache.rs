//! The calls of the cache and the attention, over rows at their positions or in two arenas.

use super::Buffer;
use super::arenas::{Arenas, KeyValue, key_value};
use super::lower::{Lowering, vector};
use crate::graph::{HeadNorm, Op, ValueId, WeightId};
use crate::kernels::linear::MATMUL_ROWS;
use crate::kernels::{
    Call, Slots, attention, attention_latent, attention_merge, cache_copy, cache_write,
    latent_keys, latent_values,
};

impl<'a> Lowering<'a> {
    /// Queries rotated, keys and values into the cache; where there are arenas, latents as well.
    pub(super) fn cache_write(&mut self, op: &'a Op, y: Buffer) {
        let &Op::CacheWrite {
            layer,
            qkv,
            n_heads,
            head_dim,
            norm,
            rope,
        } = op
        else {
            unreachable!("asked for writes into the cache")
        };
        let table = rope.map(|rope| &self.graph.ropes()[rope.0 as usize]);
        let mut params = cache_write::Params {
            rows: self.rows(qkv),
            n_heads,
            n_kv_heads: self.graph.kv_heads()[layer as usize].n,
            head_dim,
            n_ctx: self.settings.n_ctx,
            rotary_dim: table.map_or(0, |table| 2 * table.inv_freq.len() as u32),
            interleaved: table.is_some_and(|table| table.interleaved).into(),
            has_norm: norm.is_some().into(),
            eps: norm.map_or(0.0, |norm| norm.eps),
            ..Default::default()
        };
        let table = rope.map_or(Buffer::Zero, Buffer::RopeTable);
        let gains = |of: fn(&HeadNorm) -> WeightId| {
            norm.as_ref().map_or(Buffer::Zero, |norm| vector(of(norm)))
        };
        let inputs = [
            Buffer::Rows,
            table,
            self.value(qkv),
            gains(|norm| norm.q),
            gains(|norm| norm.k),
        ];
        let mut form = cache_write::Form::plain(self.settings.cache);
        let Some((arenas, key_value)) = self.arenas(layer, qkv) else {
            let outputs = [(7, y), (8, Buffer::Keys(layer)), (9, Buffer::Values(layer))];
            self.call_at(Call::CacheWrite(form, params), &inputs, &outputs);
            return;
        };
        form.slots = Slots::Paths;
        params.n_ctx = arenas.dense;
        params.n_positions = self.settings.n_ctx;
        params.n_latent_ctx = if arenas.k_cols == 0 { arenas.latent } else { 0 };
        params.k_first = self.settings.n_sequences * arenas.dense;
        let paths = (6, Buffer::Paths(layer));
        let rest = [paths, (7, y), (8, Buffer::Keys(layer))];
        self.call_at(Call::CacheWrite(form, params), &inputs, &rest);

        let copy = cache_copy::Params {
            rows: params.rows,
            qkv_cols: self.cols(qkv),
            kv_dim: self.graph.kv_heads()[layer as usize].cols(),
            n_ctx: arenas.dense,
            n_latent_ctx: arenas.latent,
            n_positions: self.settings.n_ctx,
            latents_cols: key_value.cols,
            k_first: key_value.firsts[0],
            k_cols: arenas.k_cols,
            v_first: key_value.firsts[1],
            v_cols: arenas.v_cols,
            head_dim,
        };
        let form = cache_copy::Form {
            values: self.settings.cache,
            latents: arenas.latents,
        };
        let outputs = [(8, Buffer::LatentRows(layer)), (9, Buffer::Values(layer))];
        let inputs = [Buffer::Rows, self.value(qkv), Buffer::Latents];
        let rest = [&[paths][..], &outputs].concat();
        self.call_at(Call::CacheCopy(form, copy), &inputs, &rest);
        if arenas.k_cols > 0 {
            self.latent_keys(
                &params,
                &arenas,
                &key_value,
                layer,
                [table, gains(|norm| norm.k)],
            );
        }
    }

    /// The keys of all latent rows, made anew.
    fn latent_keys(
        &mut self,
        write: &cache_write::Params,
        arenas: &Arenas,
        key_value: &KeyValue,
        layer: u32,
        [table, gains]: [Buffer; 2],
    ) {
        let b = self.layout(key_value.k.b);
        let (weight, w_first) = self.place(key_value.k.b);
        let mut params = latent_keys::Params {
            rows: write.rows,
            n_sequences: self.settings.n_sequences,
            n_kv_heads: write.n_kv_heads,
            head_dim: write.head_dim,
            n_ctx: arenas.latent,
            n_positions: self.settings.n_ctx,
            latent_cols: arenas.latent_cols(),
            k_cols: arenas.k_cols,
            blocks: b.blocks(),
            w_first,
            rotary_dim: write.rotary_dim,
            interleaved: write.interleaved,
            has_norm: write.has_norm,
            has_bias: 0,
            bias_first: 0,
            eps: write.eps,
        };
        let mut of_keys = gains;
        if let Some((buffer, first)) = key_value.k_bias.map(|bias| self.bias(bias)) {
            (of_keys, params.has_bias, params.bias_first) = (buffer, 1, first);
        }
        let form = latent_keys::Form {
            dtype: b.dtype,
            latents: arenas.latents,
            keys: self.settings.cache,
        };
        let rest = [
            (3, Buffer::Rows),
            (4, Buffer::LatentRows(layer)),
            (5, table),
            (6, Buffer::Paths(layer)),
            (7, of_keys),
            (8, Buffer::LatentKeys),
        ];
        self.call_weight(Call::LatentKeys(form, params), weight, 0, &rest);
    }

    /// The attention; over two arenas as records of both, which the product behind it or a call merges.
    pub(super) fn attention(&mut self, at: usize, op: &Op, y: Buffer) {
        let &Op::Attention {
            layer,
            q,
            head_dim,
            window,
            scale,
            softcap,
        } = op
        else {
            unreachable!("asked for attention")
        };
        let rows = self.rows(q);
        let n_kv_heads = self.graph.kv_heads()[layer as usize].n;
        let mut params = attention::Params {
            rows,
            n_heads: self.cols(q) / head_dim,
            n_kv_heads,
            head_dim,
            n_ctx: self.settings.n_ctx,
            window: window.unwrap_or(u32::MAX),
            scale,
            softcap: softcap.unwrap_or(0.0),
            n_splits: self.n_splits(at),
            ..Default::default()
        };
        let (keys, values) = (Buffer::Keys(layer), Buffer::Values(layer));
        let mut form = attention::Form::plain(self.settings.cache);
        let q = self.value(q);
        let Some((arenas, key_value)) = self.arenas_of(layer) else {
            let inputs = [Buffer::Rows, q, keys, values];
            self.call_at(Call::Attention(form, params), &inputs, &[(7, y)]);
            return;
        };
        let paths = (6, Buffer::Paths(layer));
        form.slots = Slots::Paths;
        params.n_ctx = arenas.dense;
        params.n_positions = self.settings.n_ctx;
        params.n_apart = 1;
        let inputs = [Buffer::Rows, q, keys, values];
        let rest = [paths, (7, Buffer::Records)];
        self.call_at(Call::Attention(form, params), &inputs, &rest);

        let latent_keys = if arenas.k_cols == 0 {
            keys
        } else {
            Buffer::LatentKeys
        };
        let over_latents = attention::Params {
            n_ctx: arenas.latent,
            n_apart: 0,
            k_first: match arenas.k_cols {
                0 => self.settings.n_sequences * arenas.dense,
                _ => 0,
            },
            latent_cols: arenas.latent_cols(),
            v_first: arenas.k_cols,
            v_cols: arenas.v_cols,
            ..params
        };
        let form = attention_latent::Form {
            keys: self.settings.cache,
            latents: arenas.latents,
        };
        let inputs = [Buffer::Rows, q, latent_keys, Buffer::LatentRows(layer)];
        let rest = [paths, (7, Buffer::LatentSums)];
        self.call_at(Call::AttentionLatent(form, over_latents), &inputs, &rest);

        let b = self.layout(key_value.v.b);
        let (weight, w_first) = self.place(key_value.v.b);
        let mut values = latent_values::Params {
            rows,
            n_heads: params.n_heads,
            n_kv_heads,
            head_dim,
            v_cols: arenas.v_cols,
            blocks: b.blocks(),
            w_first,
            n_splits: params.n_splits,
            n_records: params.n_splits + 1,
            ..Default::default()
        };
        let mut bias = Buffer::Zero;
        if let Some((buffer, first)) = key_value.v_bias.map(|bias| self.bias(bias)) {
            (bias, values.has_bias, values.bias_first) = (buffer, 1, first);
        }
        let rest = [(3, Buffer::LatentSums), (4, bias), (7, Buffer::Records)];
        let call = Call::LatentValues(b.dtype, values);
        self.call_weight(call, weight, 0, &rest);

        if self.records(at, layer).is_none() {
            let merge = attention_merge::Params {
                rows,
                cols: params.n_heads * head_dim,
                head_dim,
                n_splits: params.n_splits,
                n_apart: 1,
                ..Default::default()
            };
            self.call_at(
                Call::AttentionMerge(merge),
                &[],
                &[(3, Buffer::Records), (7, y)],
            );
        }
    }

    /// The records that the product behind an attention merges: splits, others, and where they lie if not where
    /// its result would; `None` where it takes the result.
    pub(super) fn records(&self, at: usize, layer: u32) -> Option<(u32, u32, Option<Buffer>)> {
        let n_splits = self.n_splits(at);
        let few = self.rows(self.graph.nodes()[at].out) < MATMUL_ROWS;
        match self.settings.arenas_of(layer) {
            Some(_) if few && self.fusion.feeds_product(at).is_some() => {
                Some((n_splits, 1, Some(Buffer::Records)))
            }
            Some(_) => None,
            None => (n_splits > 1).then_some((n_splits, 0, None)),
        }
    }

    /// Which projections of the product that makes `out` a row on the low-rank branch needs whole, not as latents.
    pub(super) fn wanted(&self, out: ValueId, n_parts: usize) -> Vec<bool> {
        let mut wanted = vec![true; n_parts];
        let writes = self.graph.nodes().iter().find_map(|node| match node.op {
            Op::CacheWrite { layer, qkv, .. } if qkv == out => Some(layer),
            _ => None,
        });
        if let Some(arenas) = writes.and_then(|layer| self.settings.arenas_of(layer)) {
            wanted[1] = arenas.k_cols == 0;
            wanted[2] = false;
        }
        wanted
    }

    /// Splits of an attention's keys: with few rows, and where a product merges them.
    fn n_splits(&self, at: usize) -> u32 {
        let few = self.rows(self.graph.nodes()[at].out) < MATMUL_ROWS;
        if few && self.fusion.feeds_product(at).is_some() {
            self.settings.n_splits
        } else {
            1
        }
    }

    fn arenas_of(&self, layer: u32) -> Option<(Arenas, KeyValue)> {
        let made = self.graph.nodes().iter().find_map(|node| match node.op {
            Op::CacheWrite { layer: of, qkv, .. } if of == layer => Some(qkv),
            _ => None,
        });
        self.arenas(layer, made?)
    }

    fn arenas(&self, layer: u32, qkv: ValueId) -> Option<(Arenas, KeyValue)> {
        let arenas = *self.settings.arenas_of(layer)?;
        Some((arenas, key_value(self.graph, qkv)?))
    }

    /// The buffer that a bias lies in, and where.
    fn bias(&self, bias: WeightId) -> (Buffer, u32) {
        match self.layout(bias).stacked {
            Some(place) => (vector(place.on), place.before.q_words as u32),
            None => (vector(bias), 0),
        }
    }
}
