/* Pooling for AVX2. */
#define NBI_POOL_TABLE nbi_pool_avx2
#define VEC_BYTES      32
#include "kernels/pool.inc"
