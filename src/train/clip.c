/*
 * Clipping of gradients.
 *
 * The length is m sqrt(sum (g / m)^2) with m a power of two near the largest element, so that no square
 * overflows and none that matters vanishes; squares are added up in double, in blocks, so that the error
 * does not grow with the number of parameters. Each element becomes (g / m) (limit / (length / m)), again
 * without leaving the range: limit / length itself may be too small a number to keep its digits.
 */
#include "base/reason.h"
#include "train/spans.h"

#include <math.h>
#include <nabla/optim.h>

enum { BLOCK = 512, AT_ONCE = 16 };

static double largest(const nb_params *p, const nbi_span *s)
{
    double most = 0;
    for (int64_t k = s->offset; k < s->offset + s->size; k++) {
        const double x = fabs(nbi_load(p->grads, p->dtype, k));
        most = x > most ? x : most;
    }
    return most;
}

/* The sum of squares of x times scale. */
#define SQUARES(name, real)                                                          \
    static double name(const real *x, int64_t n, double scale)                       \
    {                                                                                \
        double all = 0;                                                              \
        for (int64_t from = 0; from < n; from += BLOCK) {                            \
            const int64_t to = from + BLOCK < n ? from + BLOCK : n;                  \
            double sum[AT_ONCE] = {0}, rest = 0;                                     \
            int64_t i = from;                                                        \
            for (; i + AT_ONCE <= to; i += AT_ONCE)                                  \
                for (int j = 0; j < AT_ONCE; j++)                                    \
                    sum[j] += (double)x[i + j] * scale * ((double)x[i + j] * scale); \
            for (; i < to; i++)                                                      \
                rest += (double)x[i] * scale * ((double)x[i] * scale);               \
            for (int j = 0; j < AT_ONCE; j++)                                        \
                rest += sum[j];                                                      \
            all += rest;                                                             \
        }                                                                            \
        return all;                                                                  \
    }
SQUARES(squares_f64, double)
SQUARES(squares_f32, float)
#undef SQUARES

static double squares(const nb_params *p, const nbi_span *s, double scale)
{
    const void *x = nbi_element_place(p->grads, p->dtype, s->offset);
    return p->dtype == NB_F64 ? squares_f64(x, s->size, scale) : squares_f32(x, s->size, scale);
}

/* *sum: of squares, roughly; not finite if it overflows. */
static nb_code check(nb_params *p, const char *who, double limit, double *sum, nb_reason *why)
{
    if (!(limit > 0))
        return nbi_because(why, NB_ERR_ARGUMENT, "%s: the limit is %g, not above 0", who, limit);
    return nbi_gradients_check(p, who, sum, why);
}

nb_code nb_clip_value(nb_params *p, double limit, nb_reason *why)
{
    double sum;
    const nb_code code = check(p, "clip_value", limit, &sum, why);
    for (nbi_span s = {0}; code == NB_OK && nbi_span_next(p, &s);)
        for (int64_t k = s.offset; k < s.offset + s.size; k++) {
            const double g = nbi_load(p->grads, p->dtype, k);
            if (fabs(g) > limit)
                nbi_store(p->grads, p->dtype, k, copysign(limit, g));
        }
    return code;
}

/* The power of two near the largest element, unless squares are in range as they are: those of floats,
 * which are added up as doubles, always are. */
static int exponent_of(const nb_params *p, double roughly)
{
    double most = 0;
    int e;
    if (p->dtype == NB_F32 || (roughly > 1e-200 && roughly < 1e200))
        return 0;
    for (nbi_span s = {0}; nbi_span_next(p, &s);)
        most = fmax(most, largest(p, &s));
    frexp(most, &e);
    return e < -1000 ? -1000 : e;
}

nb_code nb_clip_norm(nb_params *p, double limit, double *norm, nb_reason *why)
{
    double sum = 0, roughly;
    const nb_code code = check(p, "clip_norm", limit, &roughly, why);
    if (code != NB_OK)
        return code;
    const int e = exponent_of(p, roughly);
    const double down = ldexp(1, -e);
    for (nbi_span s = {0}; nbi_span_next(p, &s);)
        sum += squares(p, &s, down);
    const double root = sqrt(sum), length = ldexp(root, e);
    if (norm)
        *norm = length;
    for (nbi_span s = {0}; length > limit && nbi_span_next(p, &s);)
        for (int64_t k = s.offset; k < s.offset + s.size; k++)
            nbi_store(p->grads, p->dtype, k,
                      nbi_load(p->grads, p->dtype, k) * down * (limit / root));
    return NB_OK;
}
