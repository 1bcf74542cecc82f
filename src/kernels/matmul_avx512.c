/* The matrix product for AVX-512: 32 registers of 64 bytes, 24 of them sums. */
#define NBI_MATMUL_TABLE nbi_matmul_avx512
#define VEC_BYTES        64
#define TILE_ROWS        8
#define TILE_VECS        3
#define WIDE_ROWS        2
#define PANEL_BYTES      (480 << 10)
#include "kernels/matmul.inc"
