// Where the rows of a step go, once their branches are decided: the lists of rows by branch, and of each
// row's position in `paths` the word
//     n_dense | attention << 24 | ffn << 25
// where n_dense counts the rows from position 0 to this one whose keys and values are cached as they
// are, and not as latents. Rows of a sequence stand in the order of their positions, which follow one
// another. The kernel that joins this declares `override WG: u32`. Joins: lib/route.wgsl.

@group(0) @binding(8) var<storage, read_write> paths: array<u32>;   // [n_sequences, n_ctx]

const MAX_ROWS: u32 = 256u;
const LISTED_ROWS: u32 = 5u; // Fewer are not asked for by lists.
const DENSE_MASK: u32 = 0xffffffu;

// Sequence, position and branches of each row.
var<workgroup> decided: array<vec4<u32>, MAX_ROWS>;

// Rows with full and low attention; with full, low and skipped FFN.
var<workgroup> totals: array<atomic<u32>, 5>;

// Every invocation of the workgroup must call this, before the first `remember`.
fn start_placing(lid: u32) {
    if lid < 5u {
        atomicStore(&totals[lid], 0u);
    }
    workgroupBarrier();
}

fn remember(r: u32, row: Row, branches: u32) {
    decided[r] = vec4(row.sequence, row.position, branches & 3u, branches >> 2u);
    if row.position != PADDING {
        atomicAdd(&totals[branches & 3u], 1u);
        atomicAdd(&totals[2u + (branches >> 2u)], 1u);
    }
}

// Every invocation of the workgroup must call this, once all rows are remembered.
fn place(lid: u32) {
    workgroupBarrier();
    for (var r = lid; r < params.rows; r += WG) {
        let mine = decided[r];
        var before = vec2(0u); // Rows on the same branch of the attention and of the FFN.
        var n_dense = 0u;
        var first = mine.y;
        // Up to r, and not to params.rows: what a uniform alone ends, Mesa's lavapipe 22 may unroll
        // and compile anew at every dispatch, and it keeps each of them.
        for (var i = 0u; i <= r; i += 1u) {
            let other = decided[i];
            if other.y != PADDING {
                if i < r {
                    before += vec2<u32>(other.zw == mine.zw);
                }
                if other.x == mine.x {
                    n_dense += u32(other.z == FULL);
                    first = min(first, other.y);
                }
            }
        }
        if params.rows >= LISTED_ROWS && r < 5u {
            routes[4u * r + 3u] = atomicLoad(&totals[r]);
        }
        if mine.y != PADDING {
            if params.rows >= LISTED_ROWS {
                let attention = before.x + select(atomicLoad(&totals[0]), 0u, mine.z == FULL);
                let low = select(atomicLoad(&totals[3]), 0u, mine.w == LOW);
                let ffn = before.y + select(atomicLoad(&totals[2]) + low, 0u, mine.w == FULL);
                routes[4u * attention + 1u] = r;
                routes[4u * ffn + 2u] = r;
            }
            let sequence = mine.x * params.n_ctx;
            if first > 0u {
                n_dense += paths[sequence + first - 1u] & DENSE_MASK;
            }
            n_dense = select(n_dense, mine.y + 1u, params.all_dense == 1u);
            paths[sequence + mine.y] = n_dense | (mine.z << 24u) | (mine.w << 25u);
        }
    }
}
