/*
 * Moving elements: one loop nest beneath every operation that only rearranges.
 *
 * A walk is an index space with two linear maps on it, one to a place in the destination and one to
 * a place in the source:
 *
 *     to[i0 t0 + i1 t1 + …]  =  from[i0 f0 + i1 f1 + …]        for all 0 <= ik < dk
 *
 * With the strides chosen to fit, that sentence is a permutation (the source's strides permuted), a
 * broadcast (source strides 0), a flip (negative ones, from the last element), a slice (a
 * multiple), a concatenation (a destination wider than the source), a diagonal (a stride of one row
 * and one column). With += in place of = and the two sides exchanged it is the adjoint of each.
 *
 * A walk is built axis by axis, the outermost first. An axis of size 1 is dropped, and an axis that
 * continues the one before it on both sides is merged with it, so that the innermost run is as long
 * as the two arrays allow, whatever the rank that the caller sees.
 *
 * Strides are products of dimensions: they are safe to compute where the array has elements.
 */
#ifndef NABLA_SRC_MOVE_H
#define NABLA_SRC_MOVE_H

#include "base/pool.h"

enum { NBI_WALK = 2 * NB_MAX_RANK };

typedef struct nbi_walk {
    int rank;
    bool empty;
    int64_t dims[NBI_WALK], to[NBI_WALK], from[NBI_WALK]; /* sizes and strides, in elements */
} nbi_walk;

/* Appends an axis inside those that are there; at most NBI_WALK in all. */
void nbi_walk_axis(nbi_walk *w, int64_t dim, int64_t to, int64_t from);

/* to = from, or to += from, along the walk. The arrays do not overlap. Where two points of the walk
 * share a place of the destination, += adds both. */
void nbi_move(nb_dtype d, const nbi_walk *w, void *to, const void *from, bool add);

/* The same by a crew: the walk is cut along the axis that reaches farthest in the destination, if no
 * two places on that axis share a place there. */
void nbi_move_by(const nbi_crew *crew, nb_dtype d, const nbi_walk *w, void *to, const void *from,
                 bool add);

/* The walk of a single run. */
void nbi_move_run(nb_dtype d, int64_t n, void *to, const void *from, bool add);

void nbi_fill(nb_dtype d, int64_t n, void *to, double value);

/* The place of element i. */
void *nbi_place(nb_dtype d, const void *data, int64_t i);

/* Row-major strides of a dense array that has elements. */
void nbi_strides(int rank, const int64_t *dims, int64_t *strides);

#endif
