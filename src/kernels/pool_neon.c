/* Pooling for aarch64. */
#define NBI_POOL_TABLE nbi_pool_neon
#include "kernels/pool.inc"
