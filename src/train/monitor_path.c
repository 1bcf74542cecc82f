/*
 * The way of the parameters in two dimensions.
 *
 * n snapshots of a great many elements are n points, which lie in a space of n - 1 dimensions: their
 * principal components are found from the small matrix of inner products. With C the snapshots less their
 * mean, one a row,
 *
 *     C = U' diag(s) V        G = C C' = U' diag(s^2) U
 *
 * and the place of snapshot i along component k is (C V')_ik = s_k U_ki: no vector as long as the
 * parameters is ever needed. s_k^2 over the trace of G is the share of the variance along k. Elements are
 * scaled by a power of two beforehand, so that no square leaves the range.
 */
#include "train/monitor.h"

#include "base/reason.h"
#include "kernels/spectral.h"

#include <math.h>

int64_t nb_monitor_snapshots(const nb_monitor *m) { return m ? m->shots : 0; }

static double element(const nb_monitor *m, int64_t shot, int64_t k)
{
    return nbi_load(m->shot + (size_t)shot * m->bytes, m->params->dtype, k);
}

/* The exponent of the largest element. */
static nb_code find_size(const nb_monitor *m, int *e, nb_reason *why)
{
    double most = 0;
    for (int64_t i = 0; i < m->shots; i++)
        for (int64_t k = 0; k < m->params->params.size; k++) {
            const double x = fabs(element(m, i, k));
            if (!isfinite(x))
                return nbi_because(
                    why, NB_ERR_ANOMALY,
                    "monitor: path: element %lld of the parameters is not finite before step %lld",
                    (long long)k, (long long)m->shot_step[i]);
            most = x > most ? x : most;
        }
    frexp(most, e);
    *e = *e < -1000 ? -1000 : *e;
    return NB_OK;
}

/* g [n n] = C C', element by element; c [n] is one column of C. */
static void inner_products(const nb_monitor *m, double scale, double *g, double *c)
{
    const int64_t n = m->shots;
    for (int64_t i = 0; i < n * n; i++)
        g[i] = 0;
    for (int64_t k = 0; k < m->params->params.size; k++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++)
            mean += (c[i] = scale * element(m, i, k)) / (double)n;
        for (int64_t i = 0; i < n; i++)
            c[i] -= mean;
        for (int64_t i = 0; i < n; i++)
            nbi_add_scaled(n, c[i], c, g + i * n);
    }
}

/* work: [2 n n + 4 n] */
static bool project(const nb_monitor *m, int e, double *work, nb_monitor_point *point,
                    double share[2])
{
    const int64_t n = m->shots;
    double *g = work, *v = g + n * n, *values = v + n * n, *rest = values + n, trace = 0;
    inner_products(m, ldexp(1, -e), g, rest);
    for (int64_t i = 0; i < n; i++)
        trace += g[i * (n + 1)];
    if (!nbi_eigh(n, g, values, v, rest, NBI_ROUNDS))
        return false;
    for (int64_t i = 0; i < n; i++)
        point[i] = (nb_monitor_point){.step = m->shot_step[i]};
    for (int64_t axis = 0; axis < 2 && axis < n; axis++) {
        const int64_t row = n - 1 - axis;
        const double square = values[row] > 0 ? values[row] : 0;
        for (int64_t i = 0; i < n; i++)
            *(axis ? &point[i].y : &point[i].x) = ldexp(sqrt(square) * v[row * n + i], e);
        if (share)
            share[axis] = trace > 0 ? square / trace : 0;
    }
    return true;
}

nb_code nb_monitor_path(const nb_monitor *m, nb_monitor_point *point, double share[2],
                        nb_reason *why)
{
    int e;
    size_t bytes;
    if (!m || !point)
        return nbi_because(why, NB_ERR_ARGUMENT, "monitor: path: an argument is NULL");
    if (!m->shots)
        return nbi_because(why, NB_ERR_EMPTY,
                           "monitor: path: there are no snapshots: options ask for %lld",
                           (long long)m->o.snapshots);
    if (share)
        share[0] = share[1] = 0;
    const nb_code code = find_size(m, &e, why);
    if (code != NB_OK)
        return code;
    const size_t n = (size_t)m->shots;
    double *work = NULL;
    if (!__builtin_mul_overflow(2 * n + 4, n, &bytes) &&
        !__builtin_mul_overflow(bytes, sizeof *work, &bytes))
        work = nb_resize(&m->heap.allocator, NULL, 0, bytes);
    if (!work)
        return nbi_because(why, NB_ERR_MEMORY,
                           "monitor: path: no memory for the products of %zu snapshots", n);
    const bool found = project(m, e, work, point, share);
    nb_resize(&m->heap.allocator, work, bytes, 0);
    return found
               ? NB_OK
               : nbi_because(why, NB_ERR_CONVERGENCE,
                             "monitor: path: the components of %zu snapshots did not converge", n);
}
