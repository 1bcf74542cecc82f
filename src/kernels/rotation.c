/*
 * The steps that orthogonal decompositions are made of.
 *
 * A plane rotation mixes two rows by an angle; a reflection H = 1 - beta v v', with beta = 2 / v'v,
 * takes a vector x to a multiple of the first axis. From H x = alpha e1 and |H x| = |x| follow
 * alpha = +-|x| and v = x - alpha e1; the sign is that of -x[0], so that v[0] = x[0] - alpha adds
 * two numbers of one sign and loses nothing. Then
 *
 *     v'v = 2 (|x|^2 + |x| |x[0]|),     beta = 1 / (|x| (|x| + |x[0]|)).
 *
 * Both are orthogonal to the last digits, whatever the data: errors are added, never magnified.
 */
#include "kernels/spectral.h"

#include <math.h>
#include <string.h>

void nbi_identity(int64_t n, double *v)
{
    memset(v, 0, (size_t)(n * n) * sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i * n + i] = 1;
}

double nbi_inner(int64_t n, const double *x, const double *y)
{
    enum { LANES = 8 }; /* partial sums: they vectorise, and round less */
    double part[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            part[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        rest += x[i] * y[i];
    return ((part[0] + part[4]) + (part[2] + part[6])) +
           ((part[1] + part[5]) + (part[3] + part[7])) + rest;
}

void nbi_add_scaled(int64_t n, double a, const double *restrict x, double *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

void nbi_rotate(int64_t n, double *restrict x, double *restrict y, double c, double s)
{
    for (int64_t i = 0; i < n; i++) {
        const double p = x[i], q = y[i];
        x[i] = c * p - s * q;
        y[i] = s * p + c * q;
    }
}

void nbi_swap(int64_t n, double *restrict x, double *restrict y)
{
    for (int64_t i = 0; i < n; i++) {
        const double p = x[i];
        x[i] = y[i];
        y[i] = p;
    }
}

void nbi_scale(int64_t n, double *x, int exponent)
{
    enum { MOST = 1000 }; /* a power that is a normal number */
    while (exponent != 0) {
        const int part = exponent > MOST ? MOST : exponent < -MOST ? -MOST : exponent;
        const double factor = ldexp(1, part);
        for (int64_t i = 0; i < n; i++)
            x[i] *= factor;
        exponent -= part;
    }
}

int nbi_normalize(int64_t n, double *x)
{
    double most = 0;
    int exponent;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    frexp(most, &exponent);
    nbi_scale(n, x, -exponent);
    return exponent;
}

void nbi_negate(int64_t n, double *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = -x[i];
}

bool nbi_points_back(int64_t n, const double *v)
{
    double most = 0;
    int64_t i = 0;
    for (int64_t j = 0; j < n; j++)
        most = fmax(most, fabs(v[j]));
    while (i < n && fabs(v[i]) < 0.45 * most)
        i++;
    return i < n && v[i] < 0;
}

double nbi_reflection(int64_t n, double *x, double *beta)
{
    const double first = x[0], rest = nbi_inner(n - 1, x + 1, x + 1);
    *beta = 0;
    if (rest == 0)
        return first;
    const double length = sqrt(first * first + rest), alpha = -copysign(length, first);
    x[0] = first - alpha;
    *beta = 1 / (length * (length + fabs(first)));
    return alpha;
}
