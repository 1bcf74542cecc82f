/* Convolution for AVX2 with FMA: 16 registers of 32 bytes, 12 of them sums. */
#define NBI_CONV_TABLE nbi_conv_avx2
#define VEC_BYTES      32
#define TILE_ROWS      4
#define TILE_VECS      3
#include "kernels/conv.inc"
