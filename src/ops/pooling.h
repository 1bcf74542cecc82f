/*
 * What the operations of pooling share: their geometry, checked, and the kernels applied.
 */
#ifndef NABLA_SRC_POOLING_H
#define NABLA_SRC_POOLING_H

#include "kernels/pool.h"
#include <nabla/image.h>
#include <nabla/op.h>

/* The state of a node. axes, window and o are the caller's, with defaults filled in; the shape rule
 * makes the geometry. */
typedef struct nbi_pool_state {
    int axes; /* 1 or 2 */
    int64_t window[2];
    nb_pool_options o;
    int64_t in[2]; /* of average_place: the sizes that it leads back to; else unused */
    nbi_pool pool;
} nbi_pool_state;

/* options may be NULL. */
nbi_pool_state nbi_pool_start(int axes, const int64_t *window, const nb_pool_options *options);

/* The geometry for operand k, or for its batch and channels with the sizes `in` if that is not NULL,
 * and the shapes on both sides of the windows; false after a refusal. */
bool nbi_pool_shape(const nb_call *c, int k, const int64_t *in, nb_shape *large, nb_shape *small);
/* Whether operand k, called by that name, has the shape; false after a refusal. */
bool nbi_pool_fits(const nb_call *c, int k, const char *name, const nb_shape *shape);

nb_code nbi_pool_run(const nb_call *c, nbi_pool_map map, nb_dtype d, const nbi_pool_arrays *a);

/* The k-th example of a geometry and of an operand's shape; false past the last. */
bool nbi_pool_sample(int k, nbi_pool_state *s, nb_shape *x);

#endif
