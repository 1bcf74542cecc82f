/*
 * Axes as callers name them, made into something that a loop can use.
 *
 * A negative axis counts from the last: -1 is the last one. An operation along one axis sees a
 * dense row-major array as three axes, whatever its rank:
 *
 *     [d0 … d(a-1)] [da] [d(a+1) …]   =   [outer] [n] [inner]
 *
 * Element i of a line along the axis then lies i * inner behind the line's first. An operation over
 * a set of axes sees a mask, one flag per axis.
 */
#ifndef NABLA_SRC_AXIS_H
#define NABLA_SRC_AXIS_H

#include <nabla/op.h>

typedef struct nbi_split {
    int64_t outer, n, inner;
} nbi_split;

/* Makes *axis lie in [0, rank); false after a refusal. */
bool nbi_axis(const nb_call *c, int *axis, int rank);

/* axis lies in [0, rank). */
nbi_split nbi_split_at(int rank, const int64_t *dims, int axis);

/* Sets mask[0..rank); false after a refusal: no such axis, one named twice, or too many. */
bool nbi_axes_mask(const nb_call *c, nb_axes axes, int rank, bool mask[NB_MAX_RANK]);

/* The k-th example for an operation along one axis: an operand of each shape class; false past the
 * last. */
bool nbi_axis_sample(nb_sampler *s, int k, nb_var *x, int *axis);

#endif
