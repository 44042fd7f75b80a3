// Which branches the rows of a step take in a layer. Of row r, routes[r] is (branches, a row, a row, n):
// its own branches, of the attention in bits 0 and 1 and of the FFN in bits 2 and 3; then, where the
// step has five rows or more, entry r of the list of rows by their branch of the attention, entry r of
// that by their branch of the FFN, and of r < 5 how many rows are on the attention's full and low and on
// the FFN's full, low and skipped branch. Made by shaders/route.wgsl.

const FULL: u32 = 0u;
const LOW: u32 = 1u;
const SKIPPED: u32 = 2u;
const NO_BRANCH: u32 = 3u; // Of a padding row.
