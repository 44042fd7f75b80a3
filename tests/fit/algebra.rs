use deputy::fit::{
    Basis, Candidate, Decision, Factors, Moment, Regression, allocate, most, offsets, uniform,
};
use faer::Mat;

use super::common::random;

fn matrix(seed: u64, rows: usize, cols: usize) -> Mat<f64> {
    let values = random(seed, rows * cols);
    Mat::from_fn(rows, cols, |i, j| f64::from(values[i * cols + j]))
}

/// Rows whose columns depend on each other and differ in size.
fn correlated(seed: u64, rows: usize, cols: usize) -> Vec<f32> {
    let mix = matrix(seed + 1, cols, cols);
    let x = matrix(seed, rows, cols);
    let scaled = Mat::from_fn(rows, cols, |i, j| x[(i, j)] * 0.8f64.powi(j as i32));
    let x = scaled * mix;
    (0..rows * cols)
        .map(|i| x[(i / cols, i % cols)] as f32)
        .collect()
}

fn moment(rows: &[f32], cols: usize) -> Mat<f64> {
    let mut moment = Moment::new(cols);
    moment.add(rows);
    moment.mean()
}

/// `E|(W - B D) x|² / E|W x|²`, straight from the rows.
fn output_error(w: &Mat<f64>, factors: &Factors, rows: &[f32]) -> f64 {
    let x = Mat::from_fn(w.ncols(), rows.len() / w.ncols(), |i, t| {
        f64::from(rows[t * w.ncols() + i])
    });
    let wrong = w - product(factors);
    (wrong * &x).squared_norm_l2() / (w * &x).squared_norm_l2()
}

fn product(factors: &Factors) -> Mat<f64> {
    let b = Mat::from_fn(factors.b.nrows(), factors.b.ncols(), |i, j| {
        f64::from(factors.b[(i, j)])
    });
    let d = Mat::from_fn(factors.d.nrows(), factors.d.ncols(), |i, j| {
        f64::from(factors.d[(i, j)])
    });
    b * d
}

const WHITENED: Basis = Basis::Whitened { damping: 1e-6 };

fn factors(w: &Mat<f64>, moment: &Mat<f64>, rank: usize, basis: Basis) -> Factors {
    Factors::new("w", w, moment, rank, basis).unwrap()
}

#[test]
fn moments_equal_a_direct_sum() {
    // More rows than a product takes, more columns than a block has.
    for (n, cols) in [(1, 4), (7, 12), (1100, 12), (513, 1030)] {
        let rows = random(3, n * cols);
        let mut moment = Moment::new(cols);
        for piece in rows.chunks(cols * 9) {
            moment.add(piece);
        }
        assert_eq!(moment.n(), n);
        let mean = moment.mean();
        for (i, j) in [(0, 0), (1, 3), (3, 1), (cols - 1, 2), (cols - 1, cols - 1)] {
            let products = rows.chunks_exact(cols).map(|x| f64::from(x[i] * x[j]));
            let want = products.sum::<f64>() / n as f64;
            let got = mean[(i, j)];
            assert!(
                (got - want).abs() < 1e-5,
                "{n} x {cols}, {i} {j}: {got} for {want}"
            );
        }
    }
}

#[test]
fn factors_of_full_rank_reproduce_the_weight() {
    for (d_out, d_in) in [(12, 12), (8, 20), (24, 8)] {
        let w = matrix(5, d_out, d_in);
        let rows = correlated(7, 200, d_in);
        let rank = most(d_out, d_in);
        for basis in [WHITENED, Basis::Plain] {
            let factors = factors(&w, &moment(&rows, d_in), rank, basis);
            let wrong = (&w - product(&factors)).norm_max();
            assert!(wrong < 1e-6, "{d_out} x {d_in}, {basis:?}: {wrong}");
            assert!((factors.captured() - 1.0).abs() < 1e-9);
            assert!(factors.output_error() < 1e-9);
        }
    }
}

#[test]
fn whitened_factors_beat_plain_ones_where_inputs_are_correlated() {
    for (d_out, d_in) in [(32, 32), (16, 48), (64, 24)] {
        let w = matrix(5, d_out, d_in);
        let rows = correlated(7, 500, d_in);
        let moment = moment(&rows, d_in);
        let [whitened, plain] =
            [WHITENED, Basis::Plain].map(|basis| factors(&w, &moment, 4, basis));
        let [a, b] = [&whitened, &plain].map(|factors| output_error(&w, factors, &rows));
        assert!(a < 0.5 * b, "{d_out} x {d_in}: {a} and {b}");
        // Of all factors of a rank they are the best: those of the weight alone catch more of it.
        assert!(whitened.captured() < plain.captured());
    }
}

#[test]
fn what_is_reported_is_what_brute_force_finds() {
    for (d_out, d_in) in [(32, 32), (16, 48), (64, 24)] {
        let w = matrix(5, d_out, d_in);
        let rows = correlated(7, 500, d_in);
        let moment = moment(&rows, d_in);
        for basis in [WHITENED, Basis::Plain] {
            let mut factors = factors(&w, &moment, 12, basis);
            for rank in [12, 8, 4] {
                factors.cut(rank);
                let lost = (&w - product(&factors)).squared_norm_l2() / w.squared_norm_l2();
                assert!((factors.captured() - (1.0 - lost)).abs() < 1e-5);
                let wrong = output_error(&w, &factors, &rows);
                assert!(
                    (factors.output_error() - wrong).abs() < 1e-4,
                    "{d_out} x {d_in}, {basis:?}, rank {rank}: {} for {wrong}",
                    factors.output_error()
                );
            }
        }
    }
}

#[test]
fn a_given_basis_is_fitted_by_least_squares_even_where_it_is_badly_conditioned() {
    let (d_out, d_in, rank) = (24, 16, 6);
    let base = matrix(1, d_out, d_in);
    let a = matrix(2, rank, d_in);
    // Columns of very different lengths, two of them the same.
    let b = matrix(3, d_out, rank);
    let b = Mat::from_fn(d_out, rank, |i, j| {
        b[(i, j.min(rank - 2))] * 10f64.powi(-2 * j as i32)
    });
    let w = &base + &b * &a;
    let rows = correlated(7, 300, d_in);
    let factors = Factors::given("w", &w, &moment(&rows, d_in), &b).unwrap();
    assert_eq!(factors.rank(), rank - 1);
    // What remains is orthogonal to every column of B.
    let rest = &w - product(&factors);
    for j in 0..rank {
        let column = b.col(j);
        let angle = (column.transpose() * &rest).norm_max() / column.norm_l2();
        assert!(angle < 1e-5, "column {j}: {angle}");
    }
}

#[test]
fn values_that_are_not_finite_are_refused() {
    let mut w = matrix(5, 8, 8);
    let rows = correlated(7, 50, 8);
    w[(3, 3)] = f64::NAN;
    for basis in [WHITENED, Basis::Plain] {
        let error = Factors::new("layers.0.q", &w, &moment(&rows, 8), 4, basis).unwrap_err();
        assert!(error.to_string().contains("layers.0.q"), "{error}");
    }
}

#[test]
fn inputs_that_never_move_leave_factors_nevertheless() {
    let w = matrix(5, 16, 8);
    let factors = factors(&w, &Mat::zeros(8, 8), 4, WHITENED);
    assert!(factors.captured() > 0.0);
    assert!(factors.b.is_all_finite() && factors.d.is_all_finite());
}

#[test]
fn uniform_ranks_keep_the_rules() {
    assert_eq!(uniform(0.25, 128, 128), 32);
    assert_eq!(uniform(0.25, 64, 128), 16);
    assert_eq!(uniform(0.25, 8192, 2048), 512);
    assert_eq!(uniform(0.25, 8, 32), 4);
    assert_eq!(uniform(1.0, 2048, 512), 512);
    for (d_out, d_in) in [(4, 4), (7, 90), (33, 34), (128, 384), (2048, 512)] {
        for fraction in [0.01, 0.1, 0.25, 0.5, 0.9, 1.0] {
            let rank = uniform(fraction, d_out, d_in);
            assert!(rank.is_multiple_of(4) && rank >= 4 && rank <= d_out.min(d_in));
        }
    }
}

#[test]
fn ranks_go_where_they_catch_most_within_the_budget() {
    let candidate = |fall: f64| Candidate {
        cost: 64,
        gains: (0..32).map(|i| fall.powi(i)).collect(),
        uniform: 16,
    };
    let candidates = [candidate(0.5), candidate(0.95), candidate(0.99)];
    let ranks = allocate(&candidates);
    assert!(ranks[0] < ranks[1] && ranks[1] < ranks[2], "{ranks:?}");
    assert_eq!(ranks.iter().sum::<usize>(), 3 * 16);
    assert!(
        ranks
            .iter()
            .all(|rank| rank.is_multiple_of(4) && *rank >= 4)
    );
}

#[test]
fn the_regression_finds_a_planted_rule() {
    let (dim, n) = (24, 2000);
    let rule: Vec<Vec<f32>> = (0..3).map(|k| random(40 + k, dim)).collect();
    let rows = random(1, n * dim);
    let noise = random(2, 3 * n);
    let mut regression = Regression::new(dim);
    for (i, x) in rows.chunks_exact(dim).enumerate() {
        let targets = std::array::from_fn(|k| {
            let product: f64 = x.iter().zip(&rule[k]).map(|(a, b)| f64::from(a * b)).sum();
            // The last target is noise alone.
            let noise = f64::from(noise[3 * i + k]);
            if k == 2 {
                noise
            } else {
                product + 0.1 * noise - 2.0
            }
        });
        regression.add(x, targets, i % 5 == 4);
    }
    let solution = regression.solve().unwrap();
    for (k, rule) in rule.iter().enumerate().take(2) {
        for (got, want) in solution.weights[k].iter().zip(rule) {
            assert!((got - f64::from(*want)).abs() < 0.05, "{got} for {want}");
        }
        assert!((solution.bias[k] + 2.0).abs() < 0.05);
        assert!(solution.r2[k] > 0.99);
    }
    assert!(solution.r2[2] < 0.05, "{:?}", solution.r2);
    assert!(Regression::new(dim).solve().is_none());
}

#[test]
fn offsets_spread_the_compute_evenly() {
    let logits = random(9, 1000);
    let decisions: Vec<Decision> = logits
        .iter()
        .enumerate()
        .map(|(i, &logit)| Decision {
            logit: f64::from(logit),
            saved: 1.0 + (i % 3) as f64,
        })
        .collect();
    let total = 4000.0;
    let table = offsets(decisions.clone(), total);
    let share = |offset: f64| {
        let taken = decisions.iter().filter(|d| d.logit > offset);
        1.0 - taken.map(|d| d.saved).sum::<f64>() / total
    };
    assert_eq!(table.len(), 11);
    let least = table[0].share;
    for (i, offset) in table.iter().enumerate() {
        assert!((offset.effort - i as f64 / 10.0).abs() < 1e-12);
        assert!((offset.share - share(offset.ffn)).abs() < 1e-9);
        let want = least + (1.0 - least) * offset.effort;
        assert!((offset.share - want).abs() < 2e-3, "{offset:?} for {want}");
    }
    assert!(table.windows(2).all(|pair| pair[0].ffn < pair[1].ffn));
    assert_eq!(table[10].share, 1.0);
    assert!(offsets(vec![], 1.0).iter().all(|o| o.share == 1.0));
}
