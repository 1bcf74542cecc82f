/* Convolution for AVX-512: 32 registers of 64 bytes, 24 of them sums. */
#define NBI_CONV_TABLE nbi_conv_avx512
#define VEC_BYTES      64
#define TILE_ROWS      8
#define TILE_VECS      3
#include "kernels/conv.inc"
