/* The kernels of the table's rows for AVX2 with FMA: vectors of 32 bytes. */
#define KERNELS   nbi_row_kernels_avx2
#define VEC_BYTES 32
#include "kernels/elementwise_lanes.inc"
