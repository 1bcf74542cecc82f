/*
 * The walk over a block for machines with AVX2.
 */
#define NBI_WALK(name) nbi_walk_##name##_avx2
#define NBI_BYTES      32
#include "diff/block_walk.inc"
