//! What tests of numbers share.

/// `Ok` where `nmse(got, want) = sum((got - want)^2) / sum(want^2)` is at most `max_nmse`; else the worst element.
pub(crate) fn compare(got: &[f32], want: &[f32], max_nmse: f64) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let (mut err, mut norm, mut worst) = (0.0f64, 0.0f64, (0, 0.0f64));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        if !g.is_finite() || !w.is_finite() {
            return Err(format!("element {i} is {g}, expected {w}"));
        }
        let d = f64::from(g) - f64::from(w);
        err += d * d;
        norm += f64::from(w).powi(2);
        if d.abs() > worst.1 {
            worst = (i, d.abs());
        }
    }
    let nmse = if err == 0.0 { 0.0 } else { err / norm };
    if nmse <= max_nmse {
        return Ok(());
    }
    let i = worst.0;
    Err(format!(
        "nmse {nmse:.3e} over {max_nmse:.0e}; worst at {i}: {} for {}",
        got[i], want[i]
    ))
}

/// The same numbers on every machine: xorshift64*, uniform in -1..1.
pub(crate) fn random(seed: u64, n: usize) -> Vec<f32> {
    let unit = |word: u64| (word >> 40) as f32 / (1u64 << 24) as f32;
    random_words(seed, n)
        .map(|word| 2.0 * unit(word) - 1.0)
        .collect()
}

/// The same words on every machine: xorshift64*.
pub(crate) fn random_words(seed: u64, n: usize) -> impl Iterator<Item = u64> {
    let mut s = seed.wrapping_mul(2).wrapping_add(1);
    (0..n).map(move |_| {
        s ^= s >> 12;
        s ^= s << 25;
        s ^= s >> 27;
        s.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}
