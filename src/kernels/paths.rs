//! Which branch each token of a routed layer took, and where its row lies. See `shaders/lib/paths.wgsl`.
//!
//! A routed layer keeps its rows in two arenas, the dense ones and the latent ones, each in order of their
//! positions: the rows up to a position are the first ones of either. What is left behind after a
//! sequence is cut is written again before it is read.

/// The bits of a word that count the dense rows up to its position, its own included.
pub const N_DENSE: u32 = 0xff_ffff;

/// The bit that says that the row itself is a latent one.
pub const IS_LATENT: u32 = 1 << 24;

/// The words of a layer: `[n_sequences, n_positions]`.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// One a position.
    pub words: &'a [u32],
    /// Positions of a sequence.
    pub n_positions: u32,
}

impl Paths<'_> {
    fn word(&self, sequence: u32, position: u32) -> u32 {
        self.words[sequence as usize * self.n_positions as usize + position as usize]
    }

    /// Whether a position's row is a latent one.
    pub fn is_latent(&self, sequence: u32, position: u32) -> bool {
        self.word(sequence, position) & IS_LATENT != 0
    }

    /// Dense rows among the first `n` positions.
    pub fn n_dense(&self, sequence: u32, n: u32) -> u32 {
        match n.checked_sub(1) {
            None => 0,
            Some(last) => self.word(sequence, last) & N_DENSE,
        }
    }

    /// Latent rows among the first `n` positions.
    pub fn n_latent(&self, sequence: u32, n: u32) -> u32 {
        n - self.n_dense(sequence, n)
    }

    /// Where in its arena a position's row lies.
    pub fn slot(&self, sequence: u32, position: u32) -> u32 {
        let n = match self.is_latent(sequence, position) {
            true => self.n_latent(sequence, position + 1),
            false => self.n_dense(sequence, position + 1),
        };
        n - 1
    }
}
