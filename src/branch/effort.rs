//! From one number to the offsets of the router's logits.

use super::{Error, Rule};
use crate::graph::ALL_FULL;

/// Most entries of a table.
const MAX_OFFSETS: usize = 64;

/// Offsets by effort. The offset of a head is added to the logit of its full branch.
#[derive(Clone, Debug, PartialEq)]
pub struct Effort {
    default: f32,
    table: Vec<Offsets>,
}

/// The offsets at one effort.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offsets {
    /// From 0 to 1.
    pub effort: f32,
    /// Of the attention.
    pub attention: f32,
    /// Of the FFN.
    pub ffn: f32,
}

impl Effort {
    /// A table of 1 to 64 entries, and the effort where none is asked for.
    ///
    /// # Errors
    /// [`Error::Effort`] for an effort outside of 0 to 1, for efforts that do not ascend, and for
    /// what is not finite.
    pub fn new(default: f32, table: Vec<Offsets>) -> Result<Self, Error> {
        Self::checked(default, table).map_err(error)
    }

    pub(super) fn checked(default: f32, table: Vec<Offsets>) -> Result<Self, Rule> {
        check_effort("effort.default", default)?;
        if !(1..=MAX_OFFSETS).contains(&table.len()) {
            let expected = format!("1 to {MAX_OFFSETS} entries");
            return Err(Rule::new("effort.offsets", expected, table.len()));
        }
        let mut last = None;
        for (i, entry) in table.iter().enumerate() {
            let key = |name| format!("effort.offsets[{i}].{name}");
            check_effort(&key("effort"), entry.effort)?;
            if let Some(last) = last.filter(|&last| entry.effort <= last) {
                let expected = format!("a number above {last}, the one before");
                return Err(Rule::new(key("effort"), expected, entry.effort));
            }
            for (name, value) in [("attention", entry.attention), ("ffn", entry.ffn)] {
                if !value.is_finite() {
                    return Err(Rule::new(key(name), "a finite number", value));
                }
            }
            last = Some(entry.effort);
        }
        Ok(Self { default, table })
    }

    /// The effort where none is asked for.
    pub fn default_effort(&self) -> f32 {
        self.default
    }

    /// The entries, by ascending effort.
    pub fn table(&self) -> &[Offsets] {
        &self.table
    }

    /// The offsets of attention and FFN at `effort`: interpolated, beyond the table's ends those of
    /// its ends. At 1 both are [`ALL_FULL`], whatever the table says.
    ///
    /// # Errors
    /// [`Error::Effort`] unless `effort` is from 0 to 1.
    pub fn offsets(&self, effort: f32) -> Result<[f32; 2], Error> {
        check_effort("effort", effort).map_err(error)?;
        if effort == 1.0 {
            return Ok([ALL_FULL; 2]);
        }
        let above = self.table.partition_point(|entry| entry.effort <= effort);
        let (low, high) = match (above.checked_sub(1), self.table.get(above)) {
            (Some(below), Some(high)) => (&self.table[below], high),
            (Some(below), None) => (&self.table[below], &self.table[below]),
            (None, high) => {
                let first = high.expect("a table has an entry");
                (first, first)
            }
        };
        let t = match high.effort - low.effort {
            width if width > 0.0 => (effort - low.effort) / width,
            _ => 0.0,
        };
        // A sum of two shares, since the difference of the two may overflow.
        let mix = |low: f32, high: f32| low * (1.0 - t) + high * t;
        Ok([mix(low.attention, high.attention), mix(low.ffn, high.ffn)])
    }
}

fn check_effort(key: &str, effort: f32) -> Result<(), Rule> {
    if (0.0..=1.0).contains(&effort) {
        return Ok(());
    }
    Err(Rule::new(key, "a number from 0 to 1", effort))
}

fn error(rule: Rule) -> Error {
    Error::Effort {
        key: rule.key,
        expected: rule.expected,
        found: rule.found,
    }
}
