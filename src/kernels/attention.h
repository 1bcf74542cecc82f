/*
 * Attention's loops over a block of scores: between two matrix products.
 *
 * A block holds the scores of some rows (queries) against some columns (keys), rows side by side. The
 * softmax of a row is taken block by block as its columns come along, with the greatest score so far
 * and the sum of the exponentials shifted by it:
 *
 *     m' = max(m, the block's greatest)     l' = l e^(m - m') + sum of e^(s - m')
 *
 * What was accumulated from earlier blocks is to be multiplied by alpha = e^(m - m'). In the end the
 * weights are e^(s - m) / l. m and l are kept, both: from log-sum-exp = m + log l alone the weights
 * would lose the digits that a large m takes from log l.
 *
 * A score that is masked counts as -inf: its weight is 0. A row without any other has m = -inf and
 * l = 0, and all its weights are 0.
 */
#ifndef NABLA_SRC_ATTENTION_H
#define NABLA_SRC_ATTENTION_H

#include <nabla/base.h>
#include "kernels/vmath.h"

/* A block of scores, and what of it may be seen. */
typedef struct nbi_scores {
    nb_dtype dtype;
    nbi_vmath_fn exp; /* of that type */
    int64_t rows, columns;
    void *s;      /* [rows columns] products of queries and keys */
    double scale; /* that makes them scores */
    int64_t
        seen; /* row 0 sees the columns below this, and each row one more than the one before; */
              /* INT64_MAX: all */
    const void
        *mask; /* of the block's first element, or NULL; an element is seen where it is not 0 */
    int64_t mask_row, mask_column; /* its steps */
} nbi_scores;

/* s becomes e^(s - m'); m and l become m' and l'. */
void nbi_scores_soften(const nbi_scores *b, double *m, double *l, double *alpha);
/* s becomes the weights, by a row's final m and l. */
void nbi_scores_weigh(const nbi_scores *b, const double *m, const double *l);
/* d, the adjoint of the weights w, becomes that of the products: scale w (d - mean), where mean is
 * the row's sum of w d over all columns; 0 where w is 0. */
void nbi_scores_adjoint(const nbi_scores *b, const void *w, void *d, const double *mean);

/* Rows of a [rows width] times a number each, or 0 where that is 0. */
void nbi_rows_scale(nb_dtype dtype, int64_t rows, int64_t width, void *a, const double *by);
/* The dot products of rows. */
void nbi_rows_dot(nb_dtype dtype, int64_t rows, int64_t width, const void *a, const void *b,
                  double *dot);

#endif
