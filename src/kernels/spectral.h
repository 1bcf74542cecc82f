/*
 * Orthogonal decompositions of one matrix, over bare arrays of doubles.
 *
 *     A = V' diag(l) V     symmetric         nbi_eigh
 *     A = U' diag(s) V     any shape         nbi_svd
 *     A = Q R              tall or square    nbi_qr
 *
 * All of them work in double: a matrix of floats is widened on the way in and rounded on the way
 * out, so its decomposition is that of the given numbers to the last digit or two. Vectors stand in
 * rows, which is how the inner loops meet them; sizes are those that the caller could allocate.
 *
 * A decomposition is unique up to signs, and here also in those, so that it is a function, and a
 * continuous one almost everywhere. R has no negative number on its diagonal. Of an eigenvector, or
 * a right singular vector (a left one if A is wide), the first component that has at least 0.45
 * times the size of the largest is positive. (Not the largest itself: vectors like (1, -1) are
 * common, and there the last bit would decide.)
 *
 * Elements are finite, and so are the squares of those that matter: each function scales its matrix
 * by a power of two, exactly. No loop runs for ever: the iterative ones give up after `limit`
 * rounds and answer false.
 */
#ifndef NABLA_KERNELS_SPECTRAL_H
#define NABLA_KERNELS_SPECTRAL_H

#include <stdbool.h>
#include <stdint.h>

enum { NBI_ROUNDS = 60 }; /* sweeps, or shifts for one eigenvalue: some 5 are usual */

/* a [n n] symmetric, destroyed; values [n] ascending; v [n n], row i to values[i]; work [2 n]. */
bool nbi_eigh(int64_t n, double *a, double *values, double *v, double *work, int limit);
/* The two ways of it: sweeps of plane rotations, for small n; a tridiagonal form and implicit
 * shifts for large. Scale, order and signs are left to nbi_eigh. */
bool nbi_eigh_jacobi(int64_t n, double *a, double *values, double *v, int limit);
bool nbi_eigh_shifted(int64_t n, double *a, double *values, double *v, double *work, int limit);

/* A' in w [n m], row j being column j of A, m >= n: becomes U. values [n] descending; v [n n]. */
bool nbi_svd(int64_t m, int64_t n, double *w, double *values, double *v, int limit);

/* A' in w [n m], m >= n: destroyed. q [n m], row j being column j of Q; r [n n]; work [n]. */
void nbi_qr(int64_t m, int64_t n, double *w, double *q, double *r, double *work);

/* ---- what they share (rotation.c) ------------------------------------------------------------ */

void nbi_identity(int64_t n, double *v);
double nbi_inner(int64_t n, const double *x, const double *y);
/* y += a x */
void nbi_add_scaled(int64_t n, double a, const double *x, double *y);
/* x, y become c x - s y, s x + c y. */
void nbi_rotate(int64_t n, double *x, double *y, double c, double s);
void nbi_swap(int64_t n, double *x, double *y);
/* x 2^exponent */
void nbi_scale(int64_t n, double *x, int exponent);
/* Divides by a power of two, so that the largest element is in [0.5, 1); returns its exponent. */
int nbi_normalize(int64_t n, double *x);
void nbi_negate(int64_t n, double *x);
/* Whether the sign convention wants v turned round. */
bool nbi_points_back(int64_t n, const double *v);
/* Turns x [n] into a reflection: beta and v = x with a changed first element, such that
 * (1 - beta v v') x = alpha e1, |alpha| = |x|. Returns alpha; beta is 0 if x is alpha e1 already. */
double nbi_reflection(int64_t n, double *x, double *beta);

#endif
