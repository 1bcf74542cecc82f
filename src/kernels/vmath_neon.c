/* Elementary functions for aarch64: vectors of 16 bytes. */
#define NBI_VMATH_TABLE nbi_vmath_neon
#define VEC_BYTES       16
#include "kernels/vmath.inc"
