/* The loops of normalising for AVX2 with FMA. */
#define NBI_NORM_TABLE nbi_norm_avx2
#include "kernels/norm_loops.inc"
