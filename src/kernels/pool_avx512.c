/* Pooling for AVX-512. */
#define NBI_POOL_TABLE nbi_pool_avx512
#define VEC_BYTES      64
#include "kernels/pool.inc"
