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

/* X in A X = B, for a [.. n n] and b [n], one column, or [.. n m]; so a batch of columns is [.. n 1].
 * By LU with partial pivoting, which the node keeps: its derivatives factor nothing again. */
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
/* X in L L' X = B, and log det L L', for such an L. Only its lower triangle is read. A 0 on its
 * diagonal is an error of the first, and makes the second -inf; a negative number there makes that
 * NaN. */
NB_API nb_var nb_cholesky_solve(nb_var l, nb_var b);
NB_API nb_var nb_cholesky_logdet(nb_var l);

/* The determinant: of a matrix a scalar node, of a batch [batch]. Its gradient, the cofactors, is
 * right at singular matrices too, and so is the gradient's; further ones need an inverse. They
 * are found one pivot at a time: for hundreds of rows nb_logdet's gradient is far quicker. */
NB_API nb_var nb_det(nb_var a);
/* The matrix of cofactors, det A times A^-T where that exists: the gradient of det. */
NB_API nb_var nb_cofactor(nb_var a);
/* log |det A|, without overflow. nb_slogdet also writes the signs of the determinants, 1 or -1 (NaN
 * beside a NaN), one per entry of the batch. */
NB_API nb_var nb_logdet(nb_var a);
NB_API nb_var nb_slogdet(nb_var a, double *sign);

/* ---- decompositions with vectors ------------------------------------------------------------- */

/* A part that is not wanted may be NULL. An iteration that does not end, which is not known to
 * happen, is an error (NB_ERR_DOMAIN) that names the matrix of the batch. A matrix with an element
 * that is not finite gives NaN throughout.
 *
 * Signs: of each eigenvector, and right singular vector, the first component that has at least 0.45
 * times the size of the largest is positive; so vectors are functions of the matrix, and
 * differentiable where values stand apart. Vectors of equal values are determined only up to a
 * rotation among them. Pairs of values closer than max(m, n) eps times the greatest count as equal,
 * and contribute nothing to derivatives through vectors; those through values alone are always
 * right. */

/* Of the symmetric part (A + A') / 2 of a [n n]: values [n], ascending, and vectors [n n], column i
 * to value i. */
NB_API nb_code nb_eigh(nb_var a, nb_var *values, nb_var *vectors);
NB_API nb_var nb_eigvalsh(nb_var a); /* the values alone */

/* A = U diag(values) V' for a [m n], with k = min(m, n): u [m k], values [k], descending, v [n k]. The
 * slope of a value that is exactly 0 is 0. */
NB_API nb_code nb_svd(nb_var a, nb_var *u, nb_var *values, nb_var *v);
NB_API nb_var nb_svdvals(nb_var a); /* the values alone */

/* A = Q R for a [m n], m >= n: q [m n] with orthonormal columns, r [n n] upper triangular without a
 * negative number on its diagonal. Differentiable where A has full rank; where the diagonal of R came
 * out with a 0 the sweep ends with NB_ERR_SINGULAR. */
NB_API nb_code nb_qr(nb_var a, nb_var *q, nb_var *r);

/* ---- functions of matrices ------------------------------------------------------------------- */

/* e^A, by scaling and squaring; and its derivative along E: e^(A + h E) = e^A + h L + O(h^2). */
NB_API nb_var nb_expm(nb_var a);
NB_API nb_var nb_expm_along(nb_var a, nb_var e);

/* The trace of A B without that product, for a [m n] and b [n m]. Batch axes broadcast. */
NB_API nb_var nb_trace_product(nb_var a, nb_var b);

/* ---- einsum ---------------------------------------------------------------------------------- */

/* A sum of products, written as in the formula: one group of letters per operand, one letter per
 * axis; then "->" and the letters of the result. Axes with one letter run together, and letters that
 * are not in the result are summed over.
 *
 *     nb_einsum("ij,jk->ik", a, b)         the matrix product
 *     nb_einsum("bqd,bkd->bqk", q, k)      a batch of them, the second transposed
 *     nb_einsum("ii->i", a)                the diagonal;  "ii->" the trace, "ij->ji" the transpose
 *     nb_einsum("i,ij,j->", x, a, y)       a bilinear form; without axes the result is a scalar node
 *     nb_einsum("...i,...i->...", a, b)    "..." is any axes in front, which broadcast
 *
 * What "..." stands for is not summed over: with "->", the result must have it too.
 * Without "->" the result has the "..." and then, in alphabetical order, capitals first, the letters
 * that occur once. Blanks are ignored. Three operands or more are multiplied from
 * left to right. Products with sums run as matrix products. */
NB_API nb_var nb_einsum_of(const char *formula, size_t n, const nb_var *x);
#ifdef __cplusplus
} /* extern "C" */
static inline nb_var nbi_einsum_list(const char *formula, std::initializer_list<nb_var> x)
{
    return nb_einsum_of(formula, x.size(), x.begin());
}
#define nb_einsum(formula, ...) nbi_einsum_list(formula, {__VA_ARGS__})
extern "C" {
#else
#define nb_einsum(formula, ...)                                                \
    nb_einsum_of(formula, sizeof((nb_var[]){__VA_ARGS__}) / sizeof(nb_var),    \
                 (nb_var[]){__VA_ARGS__})
#endif

#ifdef __cplusplus
}
#endif

#include <nabla/mix_algebra.h>
#endif
