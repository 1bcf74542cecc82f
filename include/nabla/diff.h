/*
 * nabla/diff.h: derivatives as graph.
 *
 * The backward sweep computes numbers. nb_diff instead records the gradient as ordinary nodes, which
 * can be used in further operations, swept, and differentiated again:
 *
 *     nb_var dy = nb_derivative(y, x);       y'
 *     nb_var ddy = nb_derivative(dy, x);     y''
 *     nb_backward(ddy);                      nb_grad(x) is y'''
 */
#ifndef NABLA_DIFF_H
#define NABLA_DIFF_H

#include <nabla/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Records the gradient of sum over k of <seed[k], out[k]> by each in[k], in the shape of in[k];
 * zeros, a constant, where no path leads. seed, or an entry of it that is NB_NONE, may be left out:
 * ones, which an output of several elements accepts too (its elements are then summed). Any node may
 * be an in[k], an interior one as well. On an error every grad[k] is inert. */
NB_API nb_code nb_diff(size_t n_out, const nb_var *out, const nb_var *seed, size_t n_in,
                       const nb_var *in, nb_var *grad);

/* The gradient of y, summed if it is a tensor, by x. */
NB_API nb_var nb_derivative(nb_var y, nb_var x);

#ifdef __cplusplus
}
#endif
#endif
