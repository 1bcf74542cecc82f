/* Convolution for aarch64: 32 registers of 16 bytes, 24 of them sums. */
#define NBI_CONV_TABLE nbi_conv_neon
#define VEC_BYTES      16
#define TILE_ROWS      8
#define TILE_VECS      3
#include "kernels/conv.inc"
