/* Elementary functions for AVX-512: vectors of 64 bytes. */
#define NBI_VMATH_TABLE nbi_vmath_avx512
#define VEC_BYTES       64
#include "kernels/vmath.inc"
