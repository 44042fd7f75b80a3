use std::time::{Duration, Instant};

use crate::speed::Speed;

#[test]
fn the_speed_of_a_moment_follows_a_change() {
    let asked = Instant::now();
    let mut speed = Speed::new(asked);
    let ms = |ms| asked + Duration::from_millis(ms);
    // 100 tokens a second for 2 s, then 10 for 3 s.
    (0..200).for_each(|i| speed.push(ms(500 + 10 * i)));
    (1..=30).for_each(|i| speed.push(ms(2490 + 100 * i)));
    assert_eq!(speed.first_token(), Some(Duration::from_millis(500)));
    let points = speed.points();
    assert_eq!(points.len(), 229);
    let at = |seconds: f64| {
        let near = points.iter().find(|point| point[0] >= seconds);
        near.expect("the answer was still being written")[1]
    };
    assert!((at(1.5) - 100.0).abs() < 1.0, "{}", at(1.5));
    assert!((at(4.5) - 10.0).abs() < 0.1, "{}", at(4.5));
    let mean = speed.mean().expect("many tokens");
    assert!((mean - 229.0 / 4.99).abs() < 0.1, "{mean}");
}

#[test]
fn one_token_has_no_speed() {
    let asked = Instant::now();
    let mut speed = Speed::new(asked);
    assert_eq!((speed.first_token(), speed.mean()), (None, None));
    speed.push(asked + Duration::from_millis(30));
    assert!(speed.points().is_empty());
    assert_eq!(speed.mean(), None);
}
