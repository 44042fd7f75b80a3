// Reads through memory ahead of a kernel whose lanes read rows of w side by side: from 64 places in turn processors
// fetch nothing ahead, and every lane waits, for half the time that its products take. In order they do fetch ahead, so
// that eight lanes read here a word of each 64 bytes first.
// Joins: lib/linear.wgsl, lib/output_*.wgsl, lib/arm_*.wgsl, lib/weight_*.wgsl.

// What is more than this would be gone again before it is used.
const MOST_QUADS: u32 = 16384u; // 256 KiB

// The rows of w that make `n` outputs from `first` on, `lane` of eight. What it returns has no meaning.
fn walk(arm: Arm, first: u32, n: u32, lane: u32) -> u32 {
    let lengths = row_lengths();
    if arm.blocks == 0u || n * lengths.x > MOST_QUADS {
        return 0u;
    }
    var seen = 0u;
    for (var i = 0u; i < STRETCHES; i += 1u) {
        let start = weight_row(arm, first + i);
        let end = weight_row(arm, first + n - STRETCHES + i) + 1u;
        for (var at = start * lengths.x + lane * 4u; at < end * lengths.x; at += 32u) {
            seen |= w_q[at].x;
        }
        for (var at = start * lengths.y + lane * 16u; at < end * lengths.y; at += 128u) {
            seen |= scale_word(at);
        }
    }
    return seen;
}
