/* The loops of normalising for AVX-512. */
#define NBI_NORM_TABLE nbi_norm_avx512
#include "kernels/norm_loops.inc"
