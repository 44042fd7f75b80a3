//! How fast the host moves bytes, to compare the twins with.

use rayon::prelude::*;
use web_time::Instant;

/// Words of a buffer: more than any cache.
const N_WORDS: usize = 32 << 20;

/// Bytes a second that a copy by all threads reads and writes together.
pub fn copy_bandwidth() -> f64 {
    let from = vec![1u32; N_WORDS];
    let mut to = vec![0u32; N_WORDS];
    let mut copy = || {
        let start = Instant::now();
        let pieces = to.par_chunks_mut(1 << 18).zip(from.par_chunks(1 << 18));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
        (2 * size_of_val(&from[..])) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| copy()).fold(0.0, f64::max)
}
