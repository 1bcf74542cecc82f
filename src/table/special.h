/*
 * Special functions that libm lacks, or offers only with a hidden variable.
 *
 * All are pure: no errno, no signgam, no state, so any thread may call them.
 */
#ifndef NBI_TABLE_SPECIAL_H
#define NBI_TABLE_SPECIAL_H

/* log |gamma(x)|; inf at 0, -1, -2, ... */
double nbi_lgamma(double x);

/* gamma'(x) / gamma(x); NaN at -1, -2, ..., -inf at 0 (inf at -0) */
double nbi_digamma(double x);

/*
 * The n-th derivative of digamma at x, n = 0, 1, 2, ...; NaN for any other n. At 0, -1, -2, ...:
 * inf for odd n, where both sides agree; for even n NaN, but -inf at 0 (inf at -0).
 */
double nbi_polygamma(double x, double n);

#endif
