//! Typed metadata values.

use std::fmt;

use crate::file::error::brief;

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// 8 bits, unsigned.
    U8(u8),
    /// 8 bits, signed.
    I8(i8),
    /// 16 bits, unsigned.
    U16(u16),
    /// 16 bits, signed.
    I16(i16),
    /// 32 bits, unsigned.
    U32(u32),
    /// 32 bits, signed.
    I32(i32),
    /// Single precision.
    F32(f32),
    /// One byte, 0 or 1.
    Bool(bool),
    /// UTF-8.
    String(String),
    /// Values of one type.
    Array(Array),
    /// 64 bits, unsigned.
    U64(u64),
    /// 64 bits, signed.
    I64(i64),
    /// Double precision.
    F64(f64),
}

/// Values of one type, without a header each.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// 8 bits, unsigned.
    U8(Vec<u8>),
    /// 8 bits, signed.
    I8(Vec<i8>),
    /// 16 bits, unsigned.
    U16(Vec<u16>),
    /// 16 bits, signed.
    I16(Vec<i16>),
    /// 32 bits, unsigned.
    U32(Vec<u32>),
    /// 32 bits, signed.
    I32(Vec<i32>),
    /// Single precision.
    F32(Vec<f32>),
    /// One byte each, 0 or 1.
    Bool(Vec<bool>),
    /// UTF-8.
    String(Box<Strings>),
    /// Arrays of values, which are no arrays themselves.
    Array(Vec<Array>),
    /// 64 bits, unsigned.
    U64(Vec<u64>),
    /// 64 bits, signed.
    I64(Vec<i64>),
    /// Double precision.
    F64(Vec<f64>),
}

/// Many strings in one piece of memory: a vocabulary takes no more than it does in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl Value {
    /// An integer of any width.
    pub fn to_i128(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(x) => x.into(),
            Self::I8(x) => x.into(),
            Self::U16(x) => x.into(),
            Self::I16(x) => x.into(),
            Self::U32(x) => x.into(),
            Self::I32(x) => x.into(),
            Self::U64(x) => x.into(),
            Self::I64(x) => x.into(),
            _ => return None,
        })
    }
}

impl fmt::Display for Value {
    /// The type and the value, strings shortened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(x) => write!(f, "u8 {x}"),
            Self::I8(x) => write!(f, "i8 {x}"),
            Self::U16(x) => write!(f, "u16 {x}"),
            Self::I16(x) => write!(f, "i16 {x}"),
            Self::U32(x) => write!(f, "u32 {x}"),
            Self::I32(x) => write!(f, "i32 {x}"),
            Self::F32(x) => write!(f, "f32 {x}"),
            Self::Bool(x) => write!(f, "bool {x}"),
            Self::String(x) => write!(f, "string {:?}", brief(x)),
            Self::Array(x) => x.fmt(f),
            Self::U64(x) => write!(f, "u64 {x}"),
            Self::I64(x) => write!(f, "i64 {x}"),
            Self::F64(x) => write!(f, "f64 {x}"),
        }
    }
}

impl Array {
    /// How many values it has.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(x) => x.len(),
            Self::I8(x) => x.len(),
            Self::U16(x) => x.len(),
            Self::I16(x) => x.len(),
            Self::U32(x) => x.len(),
            Self::I32(x) => x.len(),
            Self::F32(x) => x.len(),
            Self::Bool(x) => x.len(),
            Self::String(x) => x.len(),
            Self::Array(x) => x.len(),
            Self::U64(x) => x.len(),
            Self::I64(x) => x.len(),
            Self::F64(x) => x.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type and format's number of the values.
    pub(super) fn kind(&self) -> (u32, &'static str) {
        match self {
            Self::U8(_) => (0, "u8"),
            Self::I8(_) => (1, "i8"),
            Self::U16(_) => (2, "u16"),
            Self::I16(_) => (3, "i16"),
            Self::U32(_) => (4, "u32"),
            Self::I32(_) => (5, "i32"),
            Self::F32(_) => (6, "f32"),
            Self::Bool(_) => (7, "bool"),
            Self::String(_) => (8, "string"),
            Self::Array(_) => (9, "array"),
            Self::U64(_) => (10, "u64"),
            Self::I64(_) => (11, "i64"),
            Self::F64(_) => (12, "f64"),
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "array of {} {}", self.len(), self.kind().1)
    }
}

impl Strings {
    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String number `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[begin..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index).expect("index below the length"))
    }

    /// Room for exactly `n` strings.
    pub(super) fn with_capacity(n: usize) -> Self {
        Self {
            text: String::new(),
            ends: Vec::with_capacity(n),
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Self {
        let mut strings = Self::default();
        for text in texts {
            strings.push(text.as_ref());
        }
        strings
    }
}

/// A number that files store in little-endian order.
pub(super) trait Number: Copy {
    /// Its size.
    const N_BYTES: usize;
    /// From exactly [`Number::N_BYTES`] bytes.
    fn from_le(bytes: &[u8]) -> Self;
    /// Appends its bytes.
    fn put_le(self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Number for $t {
            const N_BYTES: usize = size_of::<$t>();

            fn from_le(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("N_BYTES bytes"))
            }

            fn put_le(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

numbers!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);
