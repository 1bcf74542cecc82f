/*
 * Spans, and the look at gradients that comes before anything is changed by them.
 *
 * A sum of squares is finite only if all of its terms are: so whether an array is finite, and that it is
 * far from the ends of the range, is told by one pass without a branch. Where the sum is not finite, a
 * second one finds the place, or that squares were too large and nothing else.
 */
#include "train/spans.h"

#include "base/reason.h"
#include <math.h>

enum { AT_ONCE = 16 };

bool nbi_span_next(const nb_params *p, nbi_span *s)
{
    const nbi_entry *e = p->params.entry;
    int32_t i = s->next;
    while (i < p->params.count && e[i].frozen)
        i++;
    if (i >= p->params.count)
        return false;
    *s = (nbi_span){.offset = e[i].offset, .group = e[i].group};
    for (; i < p->params.count && !e[i].frozen && e[i].group == s->group; i++)
        s->size += e[i].size;
    s->next = i;
    return true;
}

#define SQUARES(name, real)                      \
    static double name(const real *x, int64_t n) \
    {                                            \
        real sum[AT_ONCE] = {0}, all = 0;        \
        int64_t i = 0;                           \
        for (; i + AT_ONCE <= n; i += AT_ONCE)   \
            for (int j = 0; j < AT_ONCE; j++)    \
                sum[j] += x[i + j] * x[i + j];   \
        for (; i < n; i++)                       \
            all += x[i] * x[i];                  \
        for (int j = 0; j < AT_ONCE; j++)        \
            all += sum[j];                       \
        return (double)all;                      \
    }
SQUARES(squares_f64, double)
SQUARES(squares_f32, float)
#undef SQUARES

double nbi_squares(nb_dtype d, const void *x, int64_t n)
{
    return d == NB_F64 ? squares_f64(x, n) : squares_f32(x, n);
}

static nb_code tell_where(const nb_params *p, const char *who, nb_reason *why)
{
    for (int32_t i = 0; i < p->params.count; i++) {
        const nbi_entry *e = &p->params.entry[i];
        for (int64_t k = e->offset; !e->frozen && k < e->offset + e->size; k++) {
            const double g = nbi_load(p->grads, p->dtype, k);
            if (!isfinite(g))
                return nbi_because(
                    why, NB_ERR_ANOMALY,
                    "%s: the gradient of \"%.99s\" is %g at element %lld: nothing has "
                    "been changed",
                    who, e->name, g, (long long)(k - e->offset));
        }
    }
    return NB_OK;
}

nb_code nbi_gradients_check(nb_params *p, const char *who, double *squares, nb_reason *why)
{
    *squares = 0;
    if (!p)
        return nbi_because(why, NB_ERR_ARGUMENT, "%s: the parameters are NULL", who);
    if (nb_params_status(p) != NB_OK)
        return nbi_because(why, nb_params_status(p), "%s: %s", who, nb_params_message(p));
    if (!nbi_seal(p))
        return nbi_because(why, NB_ERR_MEMORY, "%s: out of memory for gradients", who);
    for (nbi_span s = {0}; nbi_span_next(p, &s);) {
        *squares += nbi_squares(p->dtype, nbi_element_place(p->grads, p->dtype, s.offset), s.size);
    }
    return isfinite(*squares) ? NB_OK : tell_where(p, who, why);
}
