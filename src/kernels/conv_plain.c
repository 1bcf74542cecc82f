/* Convolution on the architecture's baseline. Vectors of 16 bytes exist on every 64-bit target;
 * without them the compiler makes scalar code of the same source. */
#define NBI_CONV_TABLE nbi_conv_plain
#define VEC_BYTES      16
#define TILE_ROWS      4
#define TILE_VECS      2
#include "kernels/conv.inc"
