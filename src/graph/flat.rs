//! How a product's input becomes integers with one scale: FlattenQuant's copies of large columns.

/// The most columns of integers that stand for one of values.
pub const MAX_COPIES: u8 = 254;

/// The largest integer of a column, and the smallest one's negative.
pub const MAX_LEVEL: i32 = 127;

/// Columns of integers with their copies at most: of so many, products with signed bytes stay within i32.
pub const MAX_COLUMNS: u32 = 1 << 17;

/// Stands for the copy in an entry of [`Flat::table`] that fills up a block: its integers are zero.
const FILLER: u32 = 255;

/// The input of a product in integers. A value `x` becomes `v = round(x / scale)`, and a column with n copies
/// holds as much of v as goes into n signed bytes: copy k has `clamp(v, ±127 (k + 1)) - clamp(v, ±127 k)`. They
/// sum up to v where `|v| <= 127 n`, and to `±127 n` beyond. All are multiplied with the same weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Flat {
    /// Columns of integers that each column of the input becomes, 1 to [`MAX_COPIES`].
    pub copies: Vec<u8>,
    /// What one stands for; where `None` each row has its own, the least that holds all of its values.
    pub scale: Option<f32>,
}

impl Flat {
    /// Blocks of 32 columns of the first copies, the last block filled up.
    pub fn blocks(&self) -> u32 {
        self.copies.len().div_ceil(32) as u32
    }

    /// Blocks of 32 columns of the further copies, which stand behind all first ones.
    pub fn extra_blocks(&self) -> u32 {
        (self.n_columns() - self.copies.len()).div_ceil(32) as u32
    }

    /// Columns of integers, without those that fill up blocks.
    pub fn n_columns(&self) -> usize {
        self.copies.iter().map(|&n| usize::from(n)).sum()
    }

    /// The table of the kernels, a word a column of integers: for first copies how many copies the column
    /// has, for further ones the column in the lower 24 bits and which copy above them.
    pub fn table(&self) -> Vec<u32> {
        let mut table: Vec<u32> = self.copies.iter().map(|&n| n.into()).collect();
        table.resize(32 * self.blocks() as usize, 1);
        for (column, &n) in (0u32..).zip(&self.copies) {
            table.extend((1..u32::from(n)).map(|copy| column | copy << 24));
        }
        table.resize(table.len().next_multiple_of(32), FILLER << 24);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_copy_once() {
        let copies = [vec![1; 30], vec![3, 1, 2]].concat();
        let flat = Flat {
            copies,
            scale: None,
        };
        let table = flat.table();
        assert_eq!(
            (flat.n_columns(), flat.blocks(), flat.extra_blocks()),
            (36, 2, 1)
        );
        assert_eq!(table[28..36], [1, 1, 3, 1, 2, 1, 1, 1]);
        assert_eq!(
            table[64..68],
            [30 | 1 << 24, 30 | 2 << 24, 32 | 1 << 24, 255 << 24]
        );
        assert_eq!(table.len(), 96);
    }
}
