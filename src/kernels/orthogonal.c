/*
 * A = Q R by reflections.
 *
 * Reflection k takes column k, below its first k elements, to a multiple alpha of axis k, and is
 * applied to the columns behind it. So H(n-1) … H(0) A = R, and Q = H(0) … H(n-1), of which the
 * first n columns are kept: each starts as an axis and is reflected in reverse order. Column j < k is
 * not touched by H(k), which works below it.
 *
 * Alpha's sign is the one that loses no digits, so R's diagonal comes out with either sign. Turning
 * round row k of R and column k of Q leaves the product as it was, and makes the factors unique
 * where A has full rank. No condition is squared: Q is orthogonal to rounding whatever A is.
 */
#include "kernels/spectral.h"

#include <math.h>

/* x becomes (1 - beta v v') x. */
static void reflect(int64_t n, double beta, const double *v, double *x)
{
    if (beta != 0)
        nbi_add_scaled(n, -beta * nbi_inner(n, v, x), v, x);
}

void nbi_qr(int64_t m, int64_t n, double *w, double *q, double *r, double *work)
{
    double *beta = work;
    const int exponent = nbi_normalize(m * n, w);
    for (int64_t k = 0; k < n; k++) {
        double *v = w + k * m + k;
        r[k * n + k] = nbi_reflection(m - k, v, &beta[k]);
        for (int64_t j = k + 1; j < n; j++)
            reflect(m - k, beta[k], v, w + j * m + k);
    }
    for (int64_t i = 0; i < n * m; i++)
        q[i] = i / m == i % m;
    for (int64_t k = n - 1; k >= 0; k--)
        for (int64_t j = k; j < n; j++)
            reflect(m - k, beta[k], w + k * m + k, q + j * m + k);
    for (int64_t k = 0; k < n; k++) {
        const bool turn = r[k * n + k] < 0;
        if (turn)
            nbi_negate(m, q + k * m);
        for (int64_t j = 0; j < n; j++)
            if (j < k)
                r[k * n + j] = 0;
            else if (j > k)
                r[k * n + j] = turn ? -w[j * m + k] : w[j * m + k];
        r[k * n + k] = fabs(r[k * n + k]);
    }
    nbi_scale(n * n, r, exponent);
}
