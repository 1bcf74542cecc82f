/*
 * What all reductions over a set of axes share: their state, their shape rules, and the two halves
 * of the chain rule for y = f(x over some axes), whose slope dy/dx has the shape of x:
 *
 *     reverse   dx = g slope            g with its reduced axes put back as axes of size 1
 *     tangent   ty = sum over the reduced axes of (tx slope)
 *
 * so that an op's rules say only what its slope is.
 */
#ifndef NABLA_SRC_REDUCTION_H
#define NABLA_SRC_REDUCTION_H

#include <nabla/op.h>
#include "kernels/reduce.h"

typedef struct nbi_reduction {
    nb_axes axes;   /* ascending and not negative, once the shape rule has seen them */
    bool keep;      /* reduced axes stay, with size 1 */
    bool quiet;     /* softmax: a row of -inf becomes 0, and is no error */
    int correction; /* variance: divide by n - correction */
    int64_t barren; /* softmax: the first line that has none, or INT64_MAX */
    nbi_nest nest;
    double number; /* a scalar operand on a float tape: its adjoint is a double, and so is this */
    double *kept;  /* results that the reverse rule needs, per cell, in columns of nest.cells */
} nbi_reduction;

nb_var nbi_reduce(const nb_op *op, nb_var x, nb_axes axes, bool keep, int correction);

/* Makes the axes and the nest of c's state, an nbi_reduction, fit operand 0. */
nb_code nbi_reduction_prepare(const nb_call *c);
/* The shape rule of a reduction; _some refuses to reduce over no elements. */
nb_code nbi_reduction_shape(const nb_call *c, nb_shape *out);
nb_code nbi_reduction_shape_some(const nb_call *c, nb_shape *out);

/* What a rule does to one tile, on any thread: it can neither fail nor take memory. */
typedef struct nbi_tile_call {
    const nb_call *c;
    const nb_array *g; /* in a reverse rule */
} nbi_tile_call;
typedef void nbi_tile_rule(const nbi_tile_call *t, const nbi_walk *tile);
/* The rule for every tile of the walk, by the tape's crew. */
nb_code nbi_over_tiles(const nb_call *c, const nb_array *g, nbi_walk k, nbi_tile_rule *rule);
/* A walk over operand 0; and one that also writes or adds to its adjoint, gin[0]. */
nbi_walk nbi_forward_walk(const nb_call *c);
nbi_walk nbi_reverse_walk(const nb_call *c, nb_array *const *gin, const bool *add);
/* The tile's results to and from an array that has one element per result. */
void nbi_tile_put(const nbi_walk *k, const nb_array *a, const double *value);
void nbi_tile_get(const nbi_walk *k, const nb_array *a, double *value);
/* Column i of what is kept, from the tile's first result on. */
double *nbi_kept(const nb_call *c, const nbi_walk *k, int i);
/* Makes room to keep so many numbers per result. */
bool nbi_keep_columns(const nb_call *c, int columns);

/* v, of the result's shape, in a shape that broadcasts against x. */
nb_var nbi_held(const nb_rule *r, nb_var v);
nb_code nbi_reverse_by(const nb_rule *r, nb_var slope); /* the reverse rule */
nb_code nbi_tangent_by(const nb_rule *r, nb_var slope); /* the tangent rule */

/* The k-th example: an operand of each shape class and axes to reduce; false past the last. */
bool nbi_reduction_sample(nb_sampler *s, int k, nb_var *x, nb_axes *axes, bool *keep);

#endif
