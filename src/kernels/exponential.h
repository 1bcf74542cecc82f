/*
 * The exponential of a matrix, and its derivative, over bare arrays of doubles.
 */
#ifndef NABLA_KERNELS_EXPONENTIAL_H
#define NABLA_KERNELS_EXPONENTIAL_H

#include "kernels/factor.h"

/* Doubles of working memory for matrices [n n], without and with a derivative; -1 if they overflow. */
int64_t nbi_exponential_room(int64_t n, bool derive);

/* x = e^a. If e is not NULL, also l = the derivative of e^a along e:
 *
 *     e^(a + h e) = x + h l + O(h^2)
 *
 * All are [n n] and distinct, a and e finite. What overflows on the way gives infinities and NaN. f
 * is for n rows and columns; room as above, exchange [n]. */
void nbi_exponential(const nbi_factor *f, int64_t n, const double *a, const double *e, double *x,
                     double *l, double *room, int64_t *exchange);

#endif
