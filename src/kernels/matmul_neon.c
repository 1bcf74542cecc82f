/* The matrix product for aarch64: 32 registers of 16 bytes, 24 of them sums. */
#define NBI_MATMUL_TABLE nbi_matmul_neon
#define VEC_BYTES        16
#define TILE_ROWS        8
#define TILE_VECS        3
#define WIDE_ROWS        2
#define PANEL_BYTES      (192 << 10)
#include "kernels/matmul.inc"
