/* The kernels of the table's rows for AVX-512: vectors of 64 bytes. */
#define KERNELS   nbi_row_kernels_avx512
#define VEC_BYTES 64
#include "kernels/elementwise_lanes.inc"
