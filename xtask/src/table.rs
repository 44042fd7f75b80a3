//! Records as the README shows them.

use crate::record::Record;

/// A markdown table with a line for each record; with the peer's columns where one was run.
pub(crate) fn markdown(records: &[Record]) -> String {
    let mut heading = vec![
        "adapter", "shape", "format", "depth", "pp tok/s", "tg tok/s", "GB/s", "of copy",
    ];
    let with_peer = records.iter().any(|record| record.peer.is_some());
    if with_peer {
        heading.extend(["peer", "pp", "ratio", "tg", "ratio"]);
    }
    let mut text = format!("| {} |\n", heading.join(" | "));
    text += &format!("|{}\n", "---|".repeat(heading.len()));
    for record in records {
        let mut cells = vec![
            record.adapter.clone(),
            record.shape.clone(),
            record.format.clone(),
            record.depth.to_string(),
            rate(record.prefill_tps),
            rate(record.decode_tps),
            rate(record.decode_gb_s),
            number(record.copy_fraction, |n| format!("{:.1} %", 100.0 * n)),
        ];
        if with_peer {
            let peer = record.peer.as_ref();
            cells.extend([
                peer.map_or(String::new(), |peer| peer.name.clone()),
                rate(peer.and_then(|peer| peer.prefill_tps)),
                ratio(peer.and_then(|peer| peer.prefill_ratio)),
                rate(peer.and_then(|peer| peer.decode_tps)),
                ratio(peer.and_then(|peer| peer.decode_ratio)),
            ]);
        }
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

fn rate(value: Option<f64>) -> String {
    number(value, |n| match n {
        100.0.. => format!("{n:.0}"),
        10.0.. => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    })
}

fn ratio(value: Option<f64>) -> String {
    number(value, |n| format!("{n:.2}"))
}

fn number(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or(String::new(), format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Peer, tests::example};

    #[test]
    fn a_record_is_a_line() {
        let table = markdown(&[example()]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[2],
            "| Fast GPU (vulkan) | tiny | Q4_0 | 0 | 1234 | 99.2 | 61.5 | 61.5 % |"
        );
        let columns = |line: &str| line.matches('|').count();
        assert!(lines.iter().all(|line| columns(line) == 9), "{table}");
    }

    #[test]
    fn a_peer_has_columns_of_its_own_and_may_be_absent() {
        let peer = Peer {
            name: "other".to_owned(),
            prefill_tps: Some(2469.0),
            decode_tps: Some(5.25),
            prefill_ratio: Some(0.5),
            decode_ratio: Some(18.9),
        };
        let with = Record {
            peer: Some(peer),
            ..example()
        };
        let without = Record {
            prefill_tps: None,
            ..example()
        };
        let table = markdown(&[with, without]);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[2].ends_with("| 61.5 % | other | 2469 | 0.50 | 5.25 | 18.90 |"));
        assert!(lines[3].ends_with("| 0 |  | 99.2 | 61.5 | 61.5 % |  |  |  |  |  |"));
        let columns = |line: &str| line.matches('|').count();
        assert!(lines.iter().all(|line| columns(line) == 14), "{table}");
    }
}
