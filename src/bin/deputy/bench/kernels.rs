//! `--profile`: where the time of a step goes.

use std::time::Duration;

use deputy::plan::Dispatch;
use deputy::{Profile, Session};
use serde_json::{Value, json};

use super::work::{Step, Work};
use crate::failure::Failure;

/// The kernels of one step, summed up.
pub(super) struct Breakdown {
    /// As the tests are named.
    pub(super) name: String,
    n_dispatches: usize,
    step: Duration,
    groups: Vec<Group>,
}

/// The calls of one shader in one part of the model, in all layers.
struct Group {
    shader: String,
    part: String,
    n_calls: usize,
    time: Duration,
    work: Work,
}

/// Profiles the step that appends `tokens` to what the session holds.
pub(super) async fn profile(
    session: &mut Session,
    step: &Step,
    name: String,
    tokens: &[u32],
    n_runs: u32,
) -> Result<Breakdown, Failure> {
    let Profile {
        plan,
        kernels,
        step: whole,
    } = session.profile(tokens, n_runs as usize).await?;
    let mut found: Vec<(Group, Vec<&Dispatch>)> = vec![];
    for (dispatch, (shader, time)) in plan.dispatches.iter().zip(kernels) {
        let part = part(&dispatch.label);
        let same = |(group, _): &&mut (Group, _)| group.shader == shader && group.part == part;
        match found.iter_mut().find(same) {
            Some((group, dispatches)) => {
                group.n_calls += 1;
                group.time += time;
                dispatches.push(dispatch);
            }
            None => {
                let group = Group {
                    shader,
                    part: part.to_owned(),
                    n_calls: 1,
                    time,
                    work: Work::default(),
                };
                found.push((group, vec![dispatch]));
            }
        }
    }
    let with_work = |(group, dispatches): (Group, Vec<&Dispatch>)| Group {
        work: step.work(&dispatches),
        ..group
    };
    let mut groups: Vec<Group> = found.into_iter().map(with_work).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.time));
    Ok(Breakdown {
        name,
        n_dispatches: plan.dispatches.len(),
        step: whole,
        groups,
    })
}

/// `layers.3.ffn` -> `ffn`: the same part of all layers.
fn part(label: &str) -> &str {
    let of_layer = label
        .strip_prefix("layers.")
        .and_then(|rest| rest.split_once('.'));
    of_layer.map_or(label, |(_, part)| part)
}

impl Breakdown {
    fn kernels(&self) -> Duration {
        self.groups.iter().map(|group| group.time).sum()
    }

    /// Seconds of the step that no kernel accounts for. Below zero where kernels overlap.
    fn outside(&self) -> f64 {
        self.step.as_secs_f64() - self.kernels().as_secs_f64()
    }

    fn share(&self, group: &Group) -> f64 {
        group.time.as_secs_f64() / self.kernels().as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// `tg1 @ d0: 12.10 ms a step ...`
    pub(super) fn summary(&self) -> String {
        let step = self.step.as_secs_f64();
        format!(
            "{}: {:.3} ms a step, {:.3} ms in {} dispatches, {:.3} ms ({:.1} %) outside them",
            self.name,
            step * 1e3,
            self.kernels().as_secs_f64() * 1e3,
            self.n_dispatches,
            self.outside() * 1e3,
            100.0 * self.outside() / step,
        )
    }

    /// Heading and cells.
    pub(super) fn table(&self) -> Vec<Vec<String>> {
        let heading = ["kernel", "part", "calls", "µs", "share", "GB/s", "TFLOP/s"];
        let mut lines = vec![heading.map(str::to_owned).to_vec()];
        let number = |n: Option<f64>, digits| n.map_or(String::new(), |n| format!("{n:.digits$}"));
        lines.extend(self.groups.iter().map(|group| {
            vec![
                group.shader.clone(),
                group.part.clone(),
                group.n_calls.to_string(),
                format!("{:.1}", micros(group.time)),
                format!("{:.1} %", 100.0 * self.share(group)),
                number(group.gigabytes(), 2),
                number(group.teraflops(), 3),
            ]
        }));
        lines
    }

    pub(super) fn json(&self) -> Value {
        let group = |group: &Group| {
            json!({
                "kernel": group.shader,
                "part": group.part,
                "calls": group.n_calls,
                "us": micros(group.time),
                "share": self.share(group),
                "gb_s": group.gigabytes(),
                "tflop_s": group.teraflops(),
            })
        };
        json!({
            "step": self.name,
            "dispatches": self.n_dispatches,
            "step_us": micros(self.step),
            "kernels_us": micros(self.kernels()),
            "outside_share": self.outside() / self.step.as_secs_f64(),
            "kernels": self.groups.iter().map(group).collect::<Vec<_>>(),
        })
    }

    pub(super) const CSV_HEADING: &'static str =
        "step,step_us,kernels_us,kernel,part,calls,us,gb_s,tflop_s\n";

    pub(super) fn csv(&self) -> String {
        let number = |n: Option<f64>| n.map_or(String::new(), |n| format!("{n:.4}"));
        let line = |group: &Group| {
            format!(
                "{},{:.3},{:.3},{},{},{},{:.3},{},{}\n",
                self.name,
                micros(self.step),
                micros(self.kernels()),
                group.shader,
                group.part,
                group.n_calls,
                micros(group.time),
                number(group.gigabytes()),
                number(group.teraflops()),
            )
        };
        self.groups.iter().map(line).collect()
    }
}

impl Group {
    /// Gigabytes of weights and cache a second.
    fn gigabytes(&self) -> Option<f64> {
        self.rate(self.work.n_bytes, 1e9)
    }

    fn teraflops(&self) -> Option<f64> {
        self.rate(self.work.flops, 1e12)
    }

    /// Of products and attention; what else there is reads next to nothing.
    fn rate(&self, n: u64, unit: f64) -> Option<f64> {
        let rate = n as f64 / self.time.as_secs_f64() / unit;
        (self.work.flops > 0 && rate.is_finite()).then_some(rate)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
