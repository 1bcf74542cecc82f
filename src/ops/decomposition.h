/*
 * What the decompositions share.
 *
 * A record has one output, a decomposition several. So a decomposition is one record whose output
 * holds all the parts, one below the other, as rows of one matrix; what the caller gets are slices
 * of it. It is computed once, and an adjoint comes back as one packed array whatever parts were
 * used.
 *
 *     qr    [Q; R]       [m + n, n]            eigh  [V; values]  [n + 1, n]
 *     svd   [U; V; values]                     [m + n + 1, min(m, n)]
 *
 * A matrix with an element that is not finite has no decomposition: all its parts are NaN. The
 * others of its batch are computed.
 */
#ifndef NABLA_SRC_DECOMPOSITION_H
#define NABLA_SRC_DECOMPOSITION_H

#include "ops/factored.h"

/* Sets *out to the operand's shape with as many rows and columns; a refusal if rows < 0: too many. */
nb_code nbi_packed_shape(const nb_call *c, int64_t rows, int64_t columns, nb_shape *out);
/* Whether operand 0 is a matrix or a batch of them; a refusal if not. */
bool nbi_needs_matrix(const nb_call *c);
bool nbi_finite(int64_t n, const double *x);
/* Sets n elements of a from place `at` on to NaN. */
void nbi_put_nan(const nb_array *a, int64_t at, int64_t n);
/* The iteration for matrix b of the batch did not end. */
nb_code nbi_no_convergence(const nb_call *c, int64_t b);
/* to[j][i] = from[i][j], from [rows columns] */
void nbi_transposed(int64_t rows, int64_t columns, const double *from, double *to);

/* ---- graph code ------------------------------------------------------------------------------ */

/* Sets *part, unless it is NULL, to rows [from, from + count) of packed, or for count < 0 to the row
 * `from` without its axis; to an inert var if packed is one. Returns how that went. */
nb_code nbi_give_part(nb_var packed, int64_t from, int64_t count, nb_var *part);
/* Rows [from, from + count) of packed; and one row, without its axis. */
nb_var nbi_packed_part(nb_var packed, int64_t from, int64_t count);
nb_var nbi_packed_row(nb_var packed, int64_t row);
/* 1 where |x| is at most size * unit * the greatest of |values| [… k], and 0 elsewhere, as a constant;
 * x [… k], or [… k k]. unit is that of the tape's arithmetic: what is smaller may be rounding. */
nb_var nbi_negligible(nb_var x, nb_var values, int64_t size);
/* 1 / x; 0 where the mask is not 0. */
nb_var nbi_inverse_but(nb_var mask, nb_var x);
/* E[i, j] = 1 / (x[j] - x[i]), x [… k], and 0 where the gap is negligible beside x. */
nb_var nbi_inverse_gaps(nb_var x, int64_t size);

#endif
