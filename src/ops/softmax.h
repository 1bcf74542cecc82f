/*
 * What the log-sum-exp and the softmax family share: the shifted exponentials of a tile, and the
 * softmax over any set of axes. See logsumexp.c and softmax.c.
 */
#ifndef NABLA_SRC_SOFTMAX_H
#define NABLA_SRC_SOFTMAX_H

#include <nabla/op.h>
#include "ops/reduction.h"

/* A walk whose exp is the machine's. */
nbi_walk nbi_with_exp(const nb_call *c, nbi_walk k);

/* m[j] the greatest element, s[j] the sum of exp(v - m[j]) with exp(m - m) = 1 even where m is
 * infinite; so the log-sum-exp is m + log s. */
void nbi_shifted_sum(const nbi_walk *k, double *m, double *s);

/* y (+)= a[j] exp(v - m[j]) for those m and s; 0 where m[j] is -inf. */
void nbi_shifted_spread(const nbi_walk *k, const double *m, const double *a);

/* Over a set of axes; rows of nothing but -inf give 0 silently. */
nb_var nbi_softmax_over(nb_var x, nb_axes axes);

#endif
