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

enum { BLOCK = 512 };

static double largest(const nb_params *p, const nbi_span *s)
{
    double most = 0;
    for (int64_t k = s->offset; k < s->offset + s->size; k++) {
        const double x = fabs(nbi_load(p->grads, p->dtype, k));
        most = x > most ? x : most;
    }
    return most;
}

/* The sum of squares of g times scale. */
static double squares(const nb_params *p, const nbi_span *s, double scale)
{
    double all = 0;
    for (int64_t from = 0; from < s->size; from += BLOCK) {
        const int64_t to = from + BLOCK < s->size ? from + BLOCK : s->size;
        double sum = 0;
        for (int64_t k = s->offset + from; k < s->offset + to; k++) {
            const double x = nbi_load(p->grads, p->dtype, k) * scale;
            sum += x * x;
        }
        all += sum;
    }
    return all;
}

static nb_code check(nb_params *p, const char *who, double limit, nb_reason *why)
{
    double sum;
    if (!(limit > 0))
        return nbi_because(why, NB_ERR_ARGUMENT, "%s: the limit is %g, not above 0", who, limit);
    return nbi_gradients_check(p, who, &sum, why);
}

nb_code nb_clip_value(nb_params *p, double limit, nb_reason *why)
{
    const nb_code code = check(p, "clip_value", limit, why);
    for (nbi_span s = {0}; code == NB_OK && nbi_span_next(p, &s);)
        for (int64_t k = s.offset; k < s.offset + s.size; k++) {
            const double g = nbi_load(p->grads, p->dtype, k);
            if (fabs(g) > limit)
                nbi_store(p->grads, p->dtype, k, copysign(limit, g));
        }
    return code;
}

nb_code nb_clip_norm(nb_params *p, double limit, double *norm, nb_reason *why)
{
    double most = 0, sum = 0;
    int e;
    const nb_code code = check(p, "clip_norm", limit, why);
    if (code != NB_OK)
        return code;
    for (nbi_span s = {0}; nbi_span_next(p, &s);)
        most = fmax(most, largest(p, &s));
    frexp(most, &e);
    e = e < -1000 ? -1000 : e;
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
