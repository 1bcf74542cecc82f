/*
 * Statistics of arrays of any length and size.
 *
 * Numbers are scaled by a power of two, so that the largest lies in [0.5, 1): no square overflows, and
 * those that vanish are nothing beside the largest. Sums go in blocks, whose sums are then added: the
 * error grows with the length of a block. The deviation is that from the mean as found, in a second
 * pass.
 *
 * For the quantiles nothing is sorted. To find the element of rank k the array is split by one of its
 * elements, drawn at random, into what is not larger and what is not smaller, and the search goes on in the
 * part that has rank k; on average that is some three passes. What is found stays in its place, so that
 * higher ranks look behind it only. The quantile at p of n numbers is that at place p (n - 1), counted
 * from 0, by a straight line between the two around it.
 */
#include "train/summary.h"

#include "base/element.h"
#include "base/reason.h"

#include <math.h>

enum { BLOCK = 512 };

/* ---- sums ------------------------------------------------------------------------------------ */

/* The sum of (x scale - centre)^power, power 1 or 2. */
static double sum(const double *x, int64_t n, double scale, double centre, int power)
{
    double all = 0;
    for (int64_t from = 0; from < n; from += BLOCK) {
        const int64_t to = from + BLOCK < n ? from + BLOCK : n;
        double part = 0;
        for (int64_t k = from; k < to; k++) {
            const double y = x[k] * scale - centre;
            part += power == 1 ? y : y * y;
        }
        all += part;
    }
    return all;
}

/* 2^-e with x 2^-e in [-1, 1]; subnormal numbers keep some distance, infinite ones are as they are. */
static double scale_of(const double *x, int64_t n, int *e)
{
    double most = 0;
    for (int64_t k = 0; k < n; k++)
        most = fabs(x[k]) > most ? fabs(x[k]) : most;
    *e = 0;
    if (isfinite(most))
        frexp(most, e);
    *e = *e < -1000 ? -1000 : *e;
    return ldexp(1, -*e);
}

double nbi_length(const double *x, int64_t n)
{
    int e;
    const double scale = scale_of(x, n, &e);
    return ldexp(sqrt(sum(x, n, scale, 0, 2)), e);
}

/* ---- ranks ----------------------------------------------------------------------------------- */

static void swap(double *x, int64_t i, int64_t j)
{
    const double held = x[i];
    x[i] = x[j];
    x[j] = held;
}

/* The element of rank k, put at place k: before it nothing is larger, behind it nothing smaller. Of place
 * `from` so much is known already. */
static double ranked(double *x, int64_t from, int64_t n, int64_t k, nb_rng *r)
{
    int64_t to = n - 1;
    while (from < to) {
        const double middle = x[from + (int64_t)nb_rng_below(r, (uint64_t)(to - from + 1))];
        int64_t i = from, j = to;
        while (i <= j) {
            while (x[i] < middle)
                i++;
            while (x[j] > middle)
                j--;
            if (i <= j)
                swap(x, i++, j--);
        }
        if (k <= j)
            to = j;
        else if (k >= i)
            from = i;
        else
            break;
    }
    return x[k];
}

/* What lies the part t of the way from a to b, neither difference nor product leaving the range. */
static double between(double a, double b, double t) { return a == b ? a : a * (1 - t) + b * t; }

static double least_of(const double *x, int64_t from, int64_t n)
{
    double least = x[from];
    for (int64_t k = from + 1; k < n; k++)
        least = x[k] < least ? x[k] : least;
    return least;
}

static void quantiles(double *x, int64_t n, nb_summary *s)
{
    double *const to[] = {&s->q1, &s->median, &s->q3};
    int64_t from = 0;
    nb_rng r = nb_rng_seed((uint64_t)n);
    for (int q = 0; q < 3; q++) {
        const int64_t whole = (n - 1) / 4 * (q + 1), rest = (n - 1) % 4 * (q + 1);
        const int64_t k = whole + rest / 4;
        const double low = ranked(x, from, n, k, &r);
        *to[q] = rest % 4 ? between(low, least_of(x, k + 1, n), (double)(rest % 4) / 4) : low;
        from = k;
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

nb_summary nbi_summary(double *x, int64_t n)
{
    const double none = (double)NAN;
    nb_summary s = {n, 0, none, none, none, none, none, none, none, none};
    int64_t m = 0;
    for (int64_t k = 0; k < n; k++)
        if (isfinite(x[k]))
            x[m++] = x[k];
    s.bad = n - m;
    if (!m)
        return s;
    int e;
    const double scale = scale_of(x, m, &e);
    const double mean = sum(x, m, scale, 0, 1) / (double)m;
    s.mean = ldexp(mean, e);
    s.deviation = ldexp(sqrt(sum(x, m, scale, mean, 2) / (double)m), e);
    s.length = ldexp(sqrt(sum(x, m, scale, 0, 2)), e);
    s.least = least_of(x, 0, m);
    s.most = x[0];
    for (int64_t k = 1; k < m; k++)
        s.most = x[k] > s.most ? x[k] : s.most;
    quantiles(x, m, &s);
    return s;
}

nb_code nb_summarise(nb_dtype dtype, const void *x, int64_t n, const nb_allocator *allocator,
                     nb_summary *out, nb_reason *why)
{
    if (!out || n < 0 || (n && !x))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "summarise: %lld numbers, and the array or the result is NULL",
                           (long long)n);
    size_t bytes;
    if (__builtin_mul_overflow((size_t)n, sizeof(double), &bytes))
        return nbi_because(why, NB_ERR_OVERFLOW, "summarise: %lld numbers are too many",
                           (long long)n);
    double *copy = bytes ? nb_resize(allocator, NULL, 0, bytes) : NULL;
    if (bytes && !copy)
        return nbi_because(why, NB_ERR_MEMORY, "summarise: no memory for %lld numbers",
                           (long long)n);
    for (int64_t k = 0; k < n; k++)
        copy[k] = nbi_element_at(dtype, x, k);
    *out = nbi_summary(copy, n);
    if (copy)
        nb_resize(allocator, copy, bytes, 0);
    return NB_OK;
}
