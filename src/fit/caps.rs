//! How large columns of an input are, and what makes them alike: smoothing, a cap, copies.

use crate::graph::MAX_COPIES;

/// `max|X|^alpha / max|W|^(1-alpha)` of each column, in parts of its geometric mean; 1 for those without values.
pub(super) fn smoothing(most: &[f64], most_of_weights: &[f64], alpha: f64) -> Vec<f32> {
    let logs: Vec<Option<f64>> = most
        .iter()
        .zip(most_of_weights)
        .map(|(x, w)| (*x > 0.0 && *w > 0.0).then(|| alpha * x.ln() - (1.0 - alpha) * w.ln()))
        .collect();
    let n = logs.iter().flatten().count().max(1);
    let mean = logs.iter().flatten().sum::<f64>() / n as f64;
    let value = |log: &Option<f64>| log.map_or(1.0, |log| (log - mean).exp() as f32);
    logs.iter().map(value).collect()
}

/// Columns of integers for one whose largest value is `most`.
pub(super) fn copies(most: f64, cap: f64) -> u8 {
    (most / cap - 1e-9).ceil().clamp(1.0, MAX_COPIES.into()) as u8
}

/// Tukey's fence over the columns' largest values, raised where the copies would be too many.
pub(super) fn cap(most: &[f64], max_expansion: f64) -> f64 {
    let mut sorted = most.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quartile = |part: f64| {
        let at = part * (sorted.len() - 1) as f64;
        let below = sorted[at.floor() as usize];
        below + at.fract() * (sorted[at.ceil() as usize] - below)
    };
    let (q1, q3) = (quartile(0.25), quartile(0.75));
    let largest = sorted[sorted.len() - 1];
    let fence = (q3 + 1.5 * (q3 - q1)).min(largest);
    let limit = (max_expansion * most.len() as f64) as usize;
    let fits = |cap: f64| {
        let columns = most.iter().map(|&most| usize::from(copies(most, cap)));
        most.iter().all(|most| most / cap <= MAX_COPIES.into()) && columns.sum::<usize>() <= limit
    };
    if fits(fence) {
        return fence;
    }
    let (mut low, mut high) = (fence, largest);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if fits(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_above_the_cap_and_others_are_not() {
        let mut most: Vec<f64> = (0..512).map(|i| 1.0 + f64::from(i % 16) / 16.0).collect();
        most[100] = 30.0;
        most[200] = 45.0;
        let cap = cap(&most, 1.3);
        assert!((1.9..3.5).contains(&cap), "{cap}");
        let n: usize = most
            .iter()
            .map(|&most| usize::from(copies(most, cap)))
            .sum();
        assert!((512 + 15..666).contains(&n), "{n}");
    }

    #[test]
    fn the_cap_rises_until_the_copies_are_few_enough() {
        let most: Vec<f64> = (0..100)
            .map(|i| if i < 10 { 1000.0 } else { 1.0 })
            .collect();
        for (expansion, limit) in [(1.0, 100), (1.2, 120), (3.0, 300)] {
            let cap = cap(&most, expansion);
            let n: usize = most
                .iter()
                .map(|&most| usize::from(copies(most, cap)))
                .sum();
            assert!(n <= limit && n > limit - 11, "{n} of {limit}, cap {cap}");
        }
    }

    #[test]
    fn a_dead_input_is_left_as_it_is() {
        assert_eq!(cap(&[0.0; 32], 1.3), 0.0);
        assert_eq!(
            smoothing(&[0.0, 4.0, 4.0], &[1.0, 1.0, 0.0], 0.5),
            [1.0, 1.0, 1.0]
        );
    }

    #[test]
    fn smoothing_divides_by_what_the_activations_have_more_of() {
        let s = smoothing(&[16.0, 1.0], &[1.0, 1.0], 0.5);
        assert!(
            (s[0] / s[1] - 4.0).abs() < 1e-6 && (s[0] * s[1] - 1.0).abs() < 1e-6,
            "{s:?}"
        );
    }
}
