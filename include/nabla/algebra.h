/*
 * nabla/algebra.h: matrix calculus.
 *
 * A matrix is the last two axes of a tensor; whatever axes stand in front are a batch, each entry
 * of which is worked on by itself. Where there are two operands their batch axes broadcast, as in
 * nb_matmul. Every operation differentiates, again and again.
 *
 * Factorisations work in double on either type of tape: on a tape of floats the elements are
 * widened, and the result is rounded once. A matrix that has no inverse, or is not positive
 * definite where it must be, is an error (NB_ERR_SINGULAR) that names the operation, the entry of
 * the batch and the pivot that failed. Only a pivot that came out as exactly 0 (for nb_cholesky: not
 * above 0) counts as that; a matrix merely close to a singular one is solved, with the errors that
 * its condition brings. NaN is never laundered: it is no error, and its result is NaN.
 */
#ifndef NABLA_ALGEBRA_H
#define NABLA_ALGEBRA_H

#include <nabla/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- factorisations -------------------------------------------------------------------------- */

/* X in A X = B, for a [.. n n] and b [n] (one column) or [.. n m]. By LU with partial pivoting. */
NB_API nb_var nb_solve(nb_var a, nb_var b);

/* The same for a triangular A, without a factorisation. Only the triangle that the flags name is
 * read, and only there gradient arrives; NB_UNIT takes its diagonal as ones, unread. NB_TRANSPOSED
 * solves A' X = B, where the triangle named is that of A as it is stored. */
#define NB_UPPER      0u
#define NB_LOWER      1u
#define NB_TRANSPOSED 2u
#define NB_UNIT       4u
NB_API nb_var nb_solve_triangular(nb_var a, nb_var b, unsigned flags);

/* To solve a system, nb_solve is quicker and more accurate. */
NB_API nb_var nb_inverse(nb_var a);

/* The lower triangular L with L L' = (A + A')/2, positive diagonal and zeros above it. The gradient
 * is symmetric; for a symmetric A it is that of L L' = A. */
NB_API nb_var nb_cholesky(nb_var a);
/* X in L L' X = B, and log det L L', for such an L. */
NB_API nb_var nb_cholesky_solve(nb_var l, nb_var b);
NB_API nb_var nb_cholesky_logdet(nb_var l);

/* The determinant: of a matrix a scalar node, of a batch [batch]. Its gradient, the cofactors, is
 * right at singular matrices too, and so is the gradient's; further ones need an inverse. */
NB_API nb_var nb_det(nb_var a);
/* The matrix of cofactors, det A times A^-T where that exists: the gradient of det. */
NB_API nb_var nb_cofactor(nb_var a);
/* log |det A|, without overflow. nb_slogdet also writes the signs of the determinants, 1 or -1 (NaN
 * beside a NaN), one per entry of the batch. */
NB_API nb_var nb_logdet(nb_var a);
NB_API nb_var nb_slogdet(nb_var a, double *sign);

#ifdef __cplusplus
}
#endif

#include <nabla/mix_algebra.h>
#endif
