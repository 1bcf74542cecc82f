/* Pooling for AVX-512. */
#define NBI_POOL_TABLE nbi_pool_avx512
#include "kernels/pool.inc"
