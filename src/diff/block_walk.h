/*
 * The walk over the rows among a block's nodes, in vectors, by instruction set.
 *
 * A node's lanes meet its local derivatives: going down, each operand receives g[l] z in every lane
 * l; going up, the node's tangent is the sum over its operands of d[l] z. Each z is computed once.
 */
#ifndef NABLA_SRC_DIFF_BLOCK_WALK_H
#define NABLA_SRC_DIFF_BLOCK_WALK_H

#include "diff/block.h"

/* Down over the nodes [to, from): returns one more than the node at which it stopped because it is
 * no row, or because spare lanes run short (three are enough to go on); or `to`. */
typedef uint32_t nbi_walk_fn(nbi_block *b, uint32_t from, uint32_t to);

/* Up over the nodes [from, to): returns the node at which it stopped, or `to`. One spare is enough.
 * */
nbi_walk_fn nbi_walk_down_plain, nbi_walk_up_plain;
nbi_walk_fn nbi_walk_down_avx2, nbi_walk_up_avx2;
nbi_walk_fn nbi_walk_down_avx512, nbi_walk_up_avx512;

#endif
