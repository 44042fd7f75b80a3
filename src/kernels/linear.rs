//! `y = x · wᵀ + bias`: `matvec` for few rows, `matmul` for many; `matvec_lane` and `matmul_lane` in
//! their place on software adapters. See the shaders of these names.
//!
//! A product may take over what stands before it ([`Input`]) and behind it ([`Output`]).

use std::str::FromStr;

use super::Shader;
use super::attention::record_len;
use super::bounds::n_bytes;
use super::flatten_rows;
use super::quantize_rows::BLOCK_WORDS;
use super::route;
use crate::tensor::DType;

/// What is done to `x` on its way into the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Nothing.
    Plain,
    /// Root-mean-square norm of each row, times gains. Few rows only.
    Norm,
    /// The splits of an attention are merged. Few rows only.
    Merge,
    /// Nothing; it comes in blocks of signed bytes ([`super::quantize_rows`]). Many rows only.
    Int8,
    /// Nothing; it comes in signed bytes with one scale a row ([`super::flatten_rows`]), and so does the weight.
    /// Many rows only.
    Flat,
    /// Nothing; it is some columns of the latents that a product with [`Arm::Split`] has made. With
    /// [`Output::Gated`] the columns for the gate, and behind them those for what it is multiplied with.
    Latents,
}

/// How the activations of products of many rows are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// As the model has it: as integers with one scale where it was flattened for that, else in single
    /// precision.
    #[default]
    Auto,
    /// In single precision.
    F32,
    /// As blocks of 32 signed bytes with a scale, where the weight's format allows: products of
    /// integers, for an error of about half a percent of each activation.
    Int8,
}

impl FromStr for Activations {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Activations::Auto),
            "f32" => Ok(Activations::F32),
            "int8" => Ok(Activations::Int8),
            other => Err(format!(
                "activations {other:?} are not one of auto, f32, int8"
            )),
        }
    }
}

/// Formats that [`Input::Int8`] and [`Input::Flat`] are multiplied with: one scale a block, none of its sums needed.
pub const fn has_int8(dtype: DType) -> bool {
    matches!(dtype, DType::Q8_0 | DType::Q4_0)
}

/// What is done to the product before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Nothing.
    Plain,
    /// A residual is added.
    Add,
    /// `act(gate) * up`: w is `half` rows of gate, then `half` of up.
    Gated,
}

/// Which rows take the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arm {
    /// Every row.
    All,
    /// Those on some branches of a routed layer.
    Some,
    /// As [`Arm::Some`]; those on the low-rank branch take other rows of the same arrays, and what
    /// they make goes to the latents.
    Split,
    /// Those on the low-rank branch, with up to three weights one behind the other in the same
    /// arrays, each for columns of the latents of its own. With [`Input::Latents`] only.
    Parts,
}

/// One of the forms that a product comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// Format of the weight.
    pub dtype: DType,
    /// Before the product.
    pub input: Input,
    /// Behind it.
    pub output: Output,
    /// The rows that take it.
    pub arm: Arm,
}

impl Form {
    /// The bare product.
    pub const fn plain(dtype: DType) -> Self {
        Self {
            dtype,
            input: Input::Plain,
            output: Output::Plain,
            arm: Arm::All,
        }
    }
}

/// Mirrors `Params` in `shaders/lib/linear.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Params {
    /// Rows of `x` and `y`.
    pub rows: u32,
    /// Columns of `x` and `w`, a multiple of 4.
    pub cols: u32,
    /// Blocks of 32 columns in a row of `w`, the last one filled up with zeros.
    pub blocks: u32,
    /// Rows of `w` that are used; even where the output is [`Output::Gated`].
    pub outs: u32,
    /// The column of `y` that it makes.
    pub y_first: u32,
    /// Columns of `y`.
    pub y_cols: u32,
    /// 1 if `bias` is added.
    pub has_bias: u32,
    /// The element of `bias` that belongs to the first row used.
    pub bias_first: u32,
    /// Rows of the gate, half of `outs`; 0 without one.
    pub half: u32,
    /// 1 if the gate goes through GELU (tanh form), 0 for SiLU.
    pub gelu: u32,
    /// Added to the mean square of a norm.
    pub eps: f32,
    /// Width of an attention's head, where its splits are merged.
    pub head_dim: u32,
    /// Splits of the attention.
    pub n_splits: u32,
    /// Records behind those of the splits.
    pub n_apart: u32,
    /// The column of the latents that it reads first, a multiple of 4.
    pub x_first: u32,
    /// Columns of the latents that it reads, a multiple of 4.
    pub x_cols: u32,
    /// 1 if the branches are those of the FFN, 0 for the attention's.
    pub is_ffn: u32,
    /// Bit b is set if the rows on branch b take it; see `shaders/lib/routes.wgsl`. With [`Arm::Split`] those on
    /// the low-rank branch do.
    pub branches: u32,
    /// Of these branches, those whose product is zero, without a bias.
    pub zeros: u32,
    /// With [`Arm::Split`], the row of `w` that low-rank rows take first.
    pub low_first: u32,
    /// How many they take.
    pub low_outs: u32,
    /// Columns of the latents that they make.
    pub low_cols: u32,
    /// Blocks of 32 further copies of columns, with [`Input::Flat`].
    pub extra_blocks: u32,
    /// With [`Arm::Parts`], the outputs of the first weight, an even number.
    pub first_outs: u32,
    /// Those of each further one, an even number.
    pub next_outs: u32,
    /// 0, which no compiler can know: what is read only to have it near is taken times this.
    pub zero: u32,
    /// Unused.
    pub pad0: u32,
    /// Unused.
    pub pad1: u32,
}

impl Params {
    /// Weights that stand side by side with [`Arm::Parts`], else one.
    pub(crate) fn n_parts(&self) -> u32 {
        match self.first_outs {
            0 => 1,
            first => 1 + (self.outs - first).checked_div(self.next_outs).unwrap_or(0),
        }
    }

    /// The outputs that a row has workgroups for: those of the largest of several weights.
    fn most_outs(&self) -> u32 {
        match self.first_outs {
            0 => self.outs.max(self.low_outs),
            first => first.max(self.next_outs),
        }
    }
}

/// From this many rows on, `matmul` reads each weight once for all of them.
pub const MATMUL_ROWS: u32 = 5;

/// Outputs of the tile that a workgroup of `matmul` makes.
const TILE: u32 = 64;

/// Outputs and rows of an invocation of `matmul_narrow`.
const NARROW_TILE: [u32; 2] = [4, 8];

/// Workgroups in two dimensions for the outputs, one layer of them a row.
pub fn matvec_workgroups(params: &Params, shader: &Shader) -> [u32; 3] {
    let [wg, outs] = ["WG", "OUTS"].map(|name| shader.constant(name));
    let lanes = match shader.kernel {
        "matvec_lane" => 1,
        _ => shader.constant("LANES"),
    };
    let [x, y, _] = super::spread(params.most_outs().div_ceil(wg / lanes * outs));
    [x, y, params.rows * params.n_parts()]
}

/// One workgroup a tile of outputs and rows. Where rows are on several branches each may end with a tile that is not
/// full.
pub fn matmul_workgroups(form: Form, params: &Params, shader: &Shader) -> [u32; 3] {
    let outs = match shader.kernel {
        "matmul_lane" => shader.constant("WG") * shader.constant("OUTS"),
        "matmul_narrow" => shader.constant("WG") * NARROW_TILE[0],
        _ => TILE,
    };
    let rows = match shader.kernel {
        "matmul_narrow" => NARROW_TILE[1],
        _ => shader.constant("ROWS"),
    };
    let n_branches = match form.arm {
        Arm::All | Arm::Parts => 1,
        Arm::Some | Arm::Split => params.branches.count_ones().max(1),
    };
    let n_tiles = params.rows.div_ceil(rows) + n_branches - 1;
    let n_tiles = n_tiles.min(params.rows.max(1)) * params.n_parts();
    [params.most_outs().div_ceil(outs), n_tiles, 1]
}

/// Rows of `w` that are read.
pub(super) fn weight_rows(params: &Params) -> u32 {
    let low = params.low_first.saturating_add(params.low_outs);
    params.outs.max(low)
}

/// Bytes of the bindings behind the weight, by their numbers.
///
/// # Panics
/// Where there is nothing to multiply, or `y` has not the columns that are made.
pub fn needs(form: Form, params: &Params) -> Vec<(u32, u64)> {
    let Params {
        rows,
        cols,
        blocks,
        outs,
        y_first,
        y_cols,
        half,
        head_dim,
        n_splits,
        n_apart,
        x_first,
        x_cols,
        is_ffn,
        branches,
        low_outs,
        low_cols,
        extra_blocks,
        first_outs,
        next_outs,
        ..
    } = *params;
    assert!(
        rows > 0 && outs > 0 && cols >= 4 && cols % 4 == 0 && cols.div_ceil(32) <= blocks,
        "{params:?}"
    );
    let made = match form.output {
        Output::Gated => {
            assert!(outs == 2 * half, "{params:?}");
            half
        }
        _ => outs,
    };
    let end = y_first.checked_add(made);
    assert!(end.is_some_and(|end| end <= y_cols), "{params:?}");
    let x = match form.input {
        Input::Plain | Input::Norm => n_bytes(&[rows, cols]),
        Input::Merge => {
            assert!(
                head_dim >= 4 && head_dim % 4 == 0 && cols % head_dim == 0 && n_splits > 0,
                "{params:?}"
            );
            let n_records = n_splits.saturating_add(n_apart);
            n_bytes(&[rows, n_records, cols / head_dim, record_len(head_dim)])
        }
        Input::Int8 => n_bytes(&[rows, blocks, BLOCK_WORDS]),
        Input::Flat => n_bytes(&[rows, flatten_rows::row_words(blocks, extra_blocks)]),
        Input::Latents => {
            let sides = match form.output {
                Output::Gated => 2,
                _ => params.n_parts(),
            };
            assert!(
                x_first % 4 == 0 && x_cols % 4 == 0 && x_first + sides * cols <= x_cols,
                "{params:?}"
            );
            n_bytes(&[rows, x_cols])
        }
    };
    let bias = match params.has_bias {
        0 => 1,
        _ => params.bias_first.saturating_add(outs),
    };
    let mut needs = vec![(3, x), (4, n_bytes(&[bias]))];
    if form.input == Input::Norm {
        needs.push((5, n_bytes(&[cols])));
    }
    if form.input == Input::Flat {
        needs.push((5, n_bytes(&[blocks + extra_blocks, 32])));
    }
    let y = n_bytes(&[rows, y_cols]);
    if form.output == Output::Add {
        needs.push((6, y));
    }
    if form.arm == Arm::Parts {
        let n_parts = params.n_parts();
        assert!(
            form.input == Input::Latents
                && form.output != Output::Gated
                && (branches, params.zeros) == (2, 0)
                && (1..=3).contains(&n_parts)
                && first_outs % 2 == 0
                && next_outs % 2 == 0
                && outs == first_outs + (n_parts - 1) * next_outs,
            "{params:?}"
        );
    } else {
        assert!(first_outs == 0 && next_outs == 0, "{params:?}");
    }
    if form.arm != Arm::All {
        assert!(is_ffn <= 1, "{params:?}");
        needs.push((7, n_bytes(&[rows, route::WORDS])));
    }
    needs.push((8, y));
    if form.arm == Arm::Split {
        assert!(
            0 < low_outs && low_outs <= low_cols && branches & 2 != 0,
            "{params:?}"
        );
        needs.push((9, n_bytes(&[rows, low_cols])));
    } else {
        assert!(low_outs == 0, "{params:?}");
    }
    needs
}
