/*
 * nabla/diff.h: derivatives as graph.
 *
 * The backward sweep computes numbers. nb_diff instead records the gradient as ordinary nodes,
 * which can be used in further operations, swept, and differentiated again:
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
 * ones, which an output of several elements accepts too (its elements are then summed). A seed and
 * its output may broadcast. Any node may be an in[k], an interior one as well. On an error every
 * grad[k] is inert. While recording is off the gradient is a constant, and nodes made since are
 * constants too: no path leads through them. */
NB_API nb_code nb_diff(size_t n_out, const nb_var *out, const nb_var *seed, size_t n_in,
                       const nb_var *in, nb_var *grad);

/* The gradient of y, summed if it is a tensor, by x. */
NB_API nb_var nb_derivative(nb_var y, nb_var x);

/* ---- blocks of directions and seeds ---------------------------------------------------------- */

/* With J the matrix of the derivatives of the outputs' elements by the inputs' (nb_jacobian's),
 * these give J V and U J for a whole block of directions V or seeds U, in sweeps of several at a
 * time; much faster than one by one, and only through nodes between the inputs and the outputs.
 * Gradients and tangents of earlier sweeps stay as they were. Memory taken is given back to the
 * tape. On an error the results hold nothing of use. */

/* dx[k] is [directions, elements of in[k]], dy[k] is [directions, elements of out[k]]. Where inputs
 * depend on one another, directions add up: J holds total derivatives. */
NB_API nb_code nb_jvp(size_t n_in, const nb_var *in, size_t directions, const double *const *dx,
                      size_t n_out, const nb_var *out, double *const *dy);

/* seed[k] is [seeds, elements of out[k]], grad[k] is [seeds, elements of in[k]]. */
NB_API nb_code nb_vjp(size_t n_out, const nb_var *out, size_t seeds, const double *const *seed,
                      size_t n_in, const nb_var *in, double *const *grad);

/* ---- dense derivatives, as numbers ----------------------------------------------------------- */

/* These leave the tape as long as it was, and every var valid. nb_jacobian and nb_hessian leave the
 * gradients and tangents of earlier sweeps alone too; nb_hvp sweeps, and what nb_grad reads after
 * it, or finds in borrowed memory, is left over from that sweep.
 *
 * Second derivatives are those of the gradient as nb_diff records it. Where hooks or rules of one's
 * own (nabla/region.h) make it something that is no gradient, there is no symmetric matrix either:
 * nb_hessian mirrors what lies right of the diagonal, nb_hvp need not agree with it.
 *
 * The elements of several vars count one after the other, each var's in row-major order. A constant
 * has derivatives of zero. On an error the result holds nothing of use. */

typedef enum nb_jacobian_mode {
    NB_JACOBIAN_AUTO,    /* forward if the outputs have over twice the inputs' elements */
    NB_JACOBIAN_FORWARD, /* forward sweeps, of a block of the inputs' elements each */
    NB_JACOBIAN_REVERSE  /* reverse sweeps, of a block of the outputs' elements each */
} nb_jacobian_mode;

/* rows_by_columns[i c + j] is the derivative of the outputs' element i by the inputs' element j, of
 * which there are c; along all paths, where inputs depend on one another. */
NB_API nb_code nb_jacobian(size_t n_out, const nb_var *out, size_t n_in, const nb_var *in,
                           nb_jacobian_mode mode, double *rows_by_columns);

/* The second derivatives of f, a scalar or a tensor of one element, by the c elements of the
 * inputs: out is c by c, exactly symmetric. The inputs must not depend on one another. */
NB_API nb_code nb_hessian(nb_var f, size_t n_in, const nb_var *in, double *out);

/* The same matrix times the vector v, without the matrix: v[k] and out[k] have the elements of
 * in[k], and may be the same memory. The cost is a small multiple of that of the gradient. For many
 * products at one point, record the gradient once with nb_diff and sweep it with the seeds v. */
NB_API nb_code nb_hvp(nb_var f, size_t n_in, const nb_var *in, const double *const *v,
                      double *const *out);

#ifdef __cplusplus
}
#endif
#endif
