/* Pooling for the architecture's baseline. */
#define NBI_POOL_TABLE nbi_pool_plain
#define VEC_BYTES      16
#include "kernels/pool.inc"
