/*
 * The walk over a block for any machine.
 */
#define NBI_WALK(name) nbi_walk_##name##_plain
#define NBI_BYTES      16
#include "diff/block_walk.inc"
