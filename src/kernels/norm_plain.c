/* The loops of normalising for the architecture's baseline. */
#define NBI_NORM_TABLE nbi_norm_plain
#include "kernels/norm_loops.inc"
