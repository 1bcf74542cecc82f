/*
 * The Hessian of f times the vector v, by one walk over scalar nodes.
 */
#ifndef NABLA_SRC_DIFF_SECOND_H
#define NABLA_SRC_DIFF_SECOND_H

#include "tape/tape.h"

/* v[k] and out[k], one number each, may be the same memory. False, with nothing written, if there are
 * tensors on the way or there is no memory for it: nb_hvp then goes the general way. */
bool nbi_second(nb_var f, size_t n_in, const nb_var *in, const double *const *v,
                double *const *out);

#endif
