/*
 * Singular values and vectors, by rotations from one side.
 *
 * Let x and y be two columns of A with squared lengths a and b and inner product p. A rotation of
 * the two, x, y := c x - s y, s x + c y, makes them orthogonal if its tangent t satisfies
 *
 *     (b - a) t + p (1 - t^2) = 0,    that is    t = sign(z) / (|z| + |(z, 1)|),    z = (b - a) / 2p
 *
 * for the smaller of the two angles. Sweeps over all pairs converge, in the end quadratically, to
 * A V = U diag(s): orthogonal columns, whose lengths are the singular values, V the product of the
 * rotations. A pair is done when p is negligible beside |x| |y|, so that small columns become as
 * orthogonal as large ones, and small singular values keep the digits that the matrix gives them:
 * nothing is ever squared whole. What is below 1e-146 times the greatest element counts as 0.
 *
 * A column that is 0 has no direction of its own. It gets one orthogonal to all others: the axis
 * that is farthest from their span, less its components within (twice, so that rounding errors of
 * the first time go as well).
 */
#include "kernels/spectral.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* The squared length of x, which was `length` before a rotation took so much away. A difference that
 * keeps few digits is not trusted. */
static double shorten(int64_t m, const double *x, double length, double taken)
{
    return taken < length / 2 ? length - taken : nbi_inner(m, x, x);
}

/* Makes columns i < j orthogonal, whose squared lengths are known. Whether that took a rotation. */
static bool separate(int64_t m, int64_t n, double *w, double *v, double *length, int64_t i,
                     int64_t j)
{
    const double tiny = DBL_MIN / DBL_EPSILON, done = sqrt((double)m) * DBL_EPSILON;
    const double a = length[i], b = length[j];
    double *x = w + i * m, *y = w + j * m;
    if (a < tiny || b < tiny)
        return false;
    const double p = nbi_inner(m, x, y);
    if (fabs(p) <= done * sqrt(a) * sqrt(b))
        return false;
    const double z = (b - a) / (2 * p), t = copysign(1, z) / (fabs(z) + hypot(z, 1));
    const double c = 1 / sqrt(1 + t * t), s = t * c;
    nbi_rotate(m, x, y, c, s);
    nbi_rotate(n, v + i * n, v + j * n, c, s);
    length[i] = shorten(m, x, a, t * p);
    length[j] = shorten(m, y, b, -t * p);
    return true;
}

/* Divides a column by its length, which it returns. */
static double length_out(int64_t m, double *x)
{
    const int exponent = nbi_normalize(m, x);
    const double length = sqrt(nbi_inner(m, x, x));
    for (int64_t i = 0; i < m && length > 0; i++)
        x[i] /= length;
    return ldexp(length, exponent);
}

/* Sets row k of u, m > k, to a direction orthogonal to the rows before it, which are. */
static void complete(int64_t m, int64_t k, double *u)
{
    double *x = u + k * m, most = -1;
    int64_t axis = 0;
    for (int64_t i = 0; i < m; i++) {
        double free = 1;
        for (int64_t j = 0; j < k; j++)
            free -= u[j * m + i] * u[j * m + i];
        if (free > most) {
            most = free;
            axis = i;
        }
    }
    memset(x, 0, (size_t)m * sizeof *x);
    x[axis] = 1;
    for (int64_t j = 0; j < 2 * k; j++)
        nbi_add_scaled(m, -nbi_inner(m, x, u + j % k * m), u + j % k * m, x);
    length_out(m, x);
}

/* Descending order, signs, and directions for columns without. */
static void arrange(int64_t m, int64_t n, double *u, double *values, double *v)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t most = i;
        for (int64_t j = i + 1; j < n; j++)
            most = values[j] > values[most] ? j : most;
        if (most != i) {
            nbi_swap(1, values + i, values + most);
            nbi_swap(m, u + i * m, u + most * m);
            nbi_swap(n, v + i * n, v + most * n);
        }
        if (nbi_points_back(n, v + i * n)) {
            nbi_negate(n, v + i * n);
            nbi_negate(m, u + i * m);
        }
        if (values[i] == 0)
            complete(m, i, u);
    }
}

/* Columns that are as good as 0 become 0. */
static void clear_tiny(int64_t m, int64_t n, double *w)
{
    for (int64_t j = 0; j < n; j++)
        if (nbi_inner(m, w + j * m, w + j * m) < DBL_MIN / DBL_EPSILON)
            memset(w + j * m, 0, (size_t)m * sizeof *w);
}

bool nbi_svd(int64_t m, int64_t n, double *w, double *values, double *v, int limit)
{
    const int exponent = nbi_normalize(m * n, w);
    bool any = true;
    nbi_identity(n, v);
    for (int round = 0; any; round++) {
        if (round == limit)
            return false;
        any = false;
        for (int64_t i = 0; i < n; i++) /* squared lengths until the sweeps end */
            values[i] = nbi_inner(m, w + i * m, w + i * m);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++)
                any |= separate(m, n, w, v, values, i, j);
    }
    clear_tiny(m, n, w);
    for (int64_t i = 0; i < n; i++)
        values[i] = ldexp(length_out(m, w + i * m), exponent);
    arrange(m, n, w, values, v);
    return true;
}
