/*
 * Eigenvalues and eigenvectors of a symmetric matrix, in two ways.
 *
 * Small matrices: Jacobi's. A rotation in the plane of axes p and q makes a[p][q] zero:
 *
 *     t = tan of the angle, the smaller root of t^2 + 2 t theta - 1 = 0,
 *     theta = (a[q][q] - a[p][p]) / (2 a[p][q]),     t = sign(theta) / (|theta| + |(theta, 1)|)
 *
 * Each rotation takes 2 a[p][q]^2 out of the sum of squares beside the diagonal; sweeps over all
 * pairs converge quadratically. A pair is done when it is negligible beside its own two diagonal
 * elements, not beside the whole matrix: so small eigenvalues of graded matrices keep their digits.
 *
 * Large ones: A = Z' T Z, with T tridiagonal, by n - 2 reflections; then T by implicit shifts. One
 * round of those is a QL step with the shift mu that is the eigenvalue of the leading 2 by 2 block
 * [d0 e0; e0 d1] which is nearer to d0:
 *
 *     mu = d0 - e0 / (g + sign(g) |(g, 1)|),     g = (d1 - d0) / (2 e0)
 *
 * It is carried out from the far end m of an unreduced block to its start l: a rotation that would
 * make the last element of the shifted block's last column zero, then one for each element that
 * this pushes out of the band. The rotations turn the rows of Z along. e[l] vanishes cubically.
 */
#include "kernels/spectral.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { SMALL = 12 };

/* ---- rotations ------------------------------------------------------------------------------- */

/* Makes a[p][q] zero. */
static void annihilate(int64_t n, double *a, double *v, int64_t p, int64_t q)
{
    double *row_p = a + p * n, *row_q = a + q * n;
    const double off = row_p[q], app = row_p[p], aqq = row_q[q];
    const double theta = (aqq - app) / (2 * off);
    const double t = copysign(1, theta) / (fabs(theta) + hypot(theta, 1));
    const double c = 1 / sqrt(1 + t * t), s = t * c;
    nbi_rotate(n, row_p, row_q, c, s);
    for (int64_t i = 0; i < n; i++) {
        a[i * n + p] = row_p[i];
        a[i * n + q] = row_q[i];
    }
    row_p[p] = app - t * off;
    row_q[q] = aqq + t * off;
    row_p[q] = row_q[p] = 0;
    nbi_rotate(n, v + p * n, v + q * n, c, s);
}

bool nbi_eigh_jacobi(int64_t n, double *a, double *values, double *v, int limit)
{
    bool any = true;
    nbi_identity(n, v);
    for (int round = 0; any; round++) {
        if (round == limit)
            return false;
        any = false;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) {
                const double app = fabs(a[p * n + p]), aqq = fabs(a[q * n + q]);
                const double off = fabs(a[p * n + q]);
                if (off <= DBL_EPSILON / 2 * sqrt(app) * sqrt(aqq) || off < DBL_MIN / DBL_EPSILON)
                    continue;
                annihilate(n, a, v, p, q);
                any = true;
            }
    }
    for (int64_t i = 0; i < n; i++)
        values[i] = a[i * n + i];
    return true;
}

/* ---- the tridiagonal form -------------------------------------------------------------------- */

/* The matrix behind row k becomes H a H: a -= v w' + w v', w = p - (beta / 2 v'p) v, p = beta a v. */
static void reflect_both(int64_t n, double *a, int64_t k, double beta, double *w)
{
    const int64_t m = n - k - 1;
    const double *v = a + k * n + k + 1;
    double *block = a + (k + 1) * n + k + 1;
    memset(w, 0, (size_t)m * sizeof *w);
    for (int64_t i = 0; i < m; i++)
        nbi_add_scaled(m, beta * v[i], block + i * n, w);
    nbi_add_scaled(m, -beta / 2 * nbi_inner(m, v, w), v, w);
    for (int64_t i = 0; i < m; i++) {
        nbi_add_scaled(m, -v[i], w, block + i * n);
        nbi_add_scaled(m, -w[i], v, block + i * n);
    }
}

/* d [n] and e [n - 1] of T, and z [n n]. Row k of a keeps its reflection, beta on the diagonal. */
static void tridiagonal(int64_t n, double *a, double *d, double *e, double *z, double *w)
{
    for (int64_t k = 0; k < n; k++) {
        double beta = 0, *x = a + k * n + k;
        d[k] = x[0];
        if (k + 1 < n)
            e[k] = nbi_reflection(n - k - 1, x + 1, &beta);
        if (beta != 0)
            reflect_both(n, a, k, beta, w);
        x[0] = beta;
    }
    nbi_identity(n, z);
    for (int64_t k = n - 2; k >= 0; k--) {
        const double beta = a[k * n + k], *v = a + k * n + k + 1;
        for (int64_t i = k + 1; i < n && beta != 0; i++) {
            double *row = z + i * n + k + 1;
            nbi_add_scaled(n - k - 1, -beta * nbi_inner(n - k - 1, row, v), v, row);
        }
    }
}

/* One QL step on the block from l to m. */
static void step(int64_t n, double *d, double *e, double *z, int64_t l, int64_t m)
{
    double g = (d[l + 1] - d[l]) / (2 * e[l]);
    const double mu = d[l] - e[l] / (g + copysign(hypot(g, 1), g));
    double s = 1, c = 1, taken = 0; /* from d[i + 1] by the rotation before */
    g = d[m] - mu;
    for (int64_t i = m - 1; i >= l; i--) {
        const double bulge = s * e[i], b = c * e[i], r = hypot(bulge, g);
        e[i + 1] = r;
        if (r == 0) { /* the block falls apart here */
            d[i + 1] -= taken;
            e[m] = 0;
            return;
        }
        s = bulge / r;
        c = g / r;
        g = d[i + 1] - taken;
        const double mixed = (d[i] - g) * s + 2 * c * b;
        taken = s * mixed;
        d[i + 1] = g + taken;
        g = c * mixed - b;
        nbi_rotate(n, z + i * n, z + (i + 1) * n, c, s);
    }
    d[l] -= taken;
    e[l] = g;
    e[m] = 0;
}

/* The end of the unreduced block that starts at l: the first e[m] that is negligible. */
static int64_t block_end(int64_t n, const double *d, const double *e, int64_t l)
{
    int64_t m = l;
    while (m + 1 < n && fabs(e[m]) > DBL_EPSILON / 2 * (fabs(d[m]) + fabs(d[m + 1])) &&
           fabs(e[m]) > DBL_MIN)
        m++;
    return m;
}

bool nbi_eigh_shifted(int64_t n, double *a, double *values, double *v, double *work, int limit)
{
    double *e = work, *w = work + n;
    tridiagonal(n, a, values, e, v, w);
    if (n)
        e[n - 1] = 0;
    for (int64_t l = 0; l < n; l++) {
        int64_t m = block_end(n, values, e, l);
        for (int round = 0; m != l; round++) {
            if (round == limit)
                return false;
            step(n, values, e, v, l, m);
            m = block_end(n, values, e, l);
        }
    }
    return true;
}

/* ---- both ------------------------------------------------------------------------------------ */

static void arrange(int64_t n, double *values, double *v)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t least = i;
        for (int64_t j = i + 1; j < n; j++)
            least = values[j] < values[least] ? j : least;
        if (least != i) {
            nbi_swap(1, values + i, values + least);
            nbi_swap(n, v + i * n, v + least * n);
        }
        if (nbi_points_back(n, v + i * n))
            nbi_negate(n, v + i * n);
    }
}

bool nbi_eigh(int64_t n, double *a, double *values, double *v, double *work, int limit)
{
    const int exponent = nbi_normalize(n * n, a);
    if (n <= SMALL ? !nbi_eigh_jacobi(n, a, values, v, limit)
                   : !nbi_eigh_shifted(n, a, values, v, work, limit))
        return false;
    nbi_scale(n, values, exponent);
    arrange(n, values, v);
    return true;
}
