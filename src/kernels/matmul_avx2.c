/* The matrix product for AVX2 with FMA: 16 registers of 32 bytes, 12 of them sums. */
#define NBI_MATMUL_TABLE nbi_matmul_avx2
#define VEC_BYTES        32
#define TILE_ROWS        4
#define TILE_VECS        3
#define WIDE_ROWS        1
#define PANEL_BYTES      (192 << 10)
#include "kernels/matmul.inc"
