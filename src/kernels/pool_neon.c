/* Pooling for aarch64. */
#define NBI_POOL_TABLE nbi_pool_neon
#define VEC_BYTES      16
#include "kernels/pool.inc"
