/*
 * The walk over a block for machines with AVX-512.
 */
#define NBI_WALK(name) nbi_walk_##name##_avx512
#define NBI_BYTES      64
#include "diff/block_walk.inc"
