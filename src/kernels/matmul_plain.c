/* The matrix product on the architecture's baseline. Vectors of 16 bytes exist on every
 * 64-bit target; without them the compiler makes scalar code of the same source. */
#define NBI_MATMUL_TABLE nbi_matmul_plain
#define VEC_BYTES        16
#define TILE_ROWS        4
#define TILE_VECS        2
#define WIDE_ROWS        1
#define PANEL_BYTES      (192 << 10)
#include "kernels/matmul.inc"
