/* The kernels of the table's rows for aarch64: vectors of 16 bytes. */
#define KERNELS   nbi_row_kernels_neon
#define VEC_BYTES 16
#include "kernels/elementwise_lanes.inc"
