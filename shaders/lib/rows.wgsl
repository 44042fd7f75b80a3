// The rows of a step: which token of which sequence each is.

struct Row {
    sequence: u32,
    position: u32,
}

const PADDING: u32 = 0xffffffffu; // The position of a row that only fills up its bucket.
