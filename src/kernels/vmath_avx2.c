/* Elementary functions for AVX2 with FMA: vectors of 32 bytes. */
#define NBI_VMATH_TABLE nbi_vmath_avx2
#define VEC_BYTES       32
#include "kernels/vmath.inc"
