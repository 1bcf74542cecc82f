/* Pooling for the architecture's baseline. */
#define NBI_POOL_TABLE nbi_pool_plain
#include "kernels/pool.inc"
