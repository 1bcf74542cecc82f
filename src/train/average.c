/*
 * Averages of weights: a = a + w (p - a), with w = 1 / n for the mean of n values and 1 - decay for the
 * exponential one, whose first value is taken whole. In double: a float would lose the small
 * differences that remain when training has come to rest.
 */
#include "base/memory.h"
#include "base/reason.h"
#include "nn/model.h"

#include <math.h>
#include <nabla/optim.h>
#include <string.h>

struct nb_average {
    nb_params *params;
    double decay, *mean, *held; /* held: the parameters' values while they are exchanged */
    int64_t count;
    bool swapped;
};

static size_t bytes_of(const nb_params *p) { return 2 * (size_t)p->params.size * sizeof(double); }

nb_average *nb_average_new(nb_params *p, double decay, nb_reason *why)
{
    if (!p || !(decay >= 0 && decay < 1)) {
        nbi_because(why, NB_ERR_ARGUMENT,
                    p ? "average: the decay is %g, not in [0, 1)"
                      : "average: no parameters to average by %g",
                    decay);
        return NULL;
    }
    const bool sealed = nbi_seal(p), fits = (size_t)p->params.size < SIZE_MAX / sizeof(double) / 2;
    nb_average *a = sealed && fits ? nb_resize(&p->allocator, NULL, 0, sizeof *a) : NULL;
    if (a) {
        *a = (nb_average){.params = p, .decay = decay};
        a->mean = bytes_of(p) ? nb_resize(&p->allocator, NULL, 0, bytes_of(p)) : NULL;
    }
    if (a && (a->mean || !bytes_of(p))) {
        a->held = a->mean ? a->mean + p->params.size : NULL;
        if (a->mean)
            memset(a->mean, 0, bytes_of(p));
        return a;
    }
    nbi_because(why, NB_ERR_MEMORY, "average: out of memory");
    nb_average_free(a);
    return NULL;
}

void nb_average_free(nb_average *a)
{
    if (!a)
        return;
    const nb_allocator allocator = a->params->allocator;
    if (a->mean)
        nb_resize(&allocator, a->mean, bytes_of(a->params), 0);
    nb_resize(&allocator, a, sizeof *a, 0);
}

nb_code nb_average_tell(nb_average *a, nb_reason *why)
{
    if (!a || a->swapped)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           a ? "average: the parameters hold the mean: swap back before telling"
                             : "average: tell: it is NULL");
    const nb_params *p = a->params;
    a->count++;
    const double w = a->decay > 0 && a->count > 1 ? 1 - a->decay : 1 / (double)a->count;
    for (int64_t k = 0; k < p->params.size; k++) {
        const double x = nbi_load(p->params.data, p->dtype, k);
        a->mean[k] = a->count == 1 ? x : a->mean[k] + w * (x - a->mean[k]);
    }
    return NB_OK;
}

nb_code nb_average_swap(nb_average *a, nb_reason *why)
{
    if (!a)
        return nbi_because(why, NB_ERR_ARGUMENT, "average: swap: it is NULL");
    if (!a->count)
        return nbi_because(why, NB_ERR_EMPTY, "average: nothing was told yet");
    nb_params *p = a->params;
    for (int64_t k = 0; k < p->params.size; k++) {
        if (!a->swapped)
            a->held[k] = nbi_load(p->params.data, p->dtype, k);
        nbi_store(p->params.data, p->dtype, k, a->swapped ? a->held[k] : a->mean[k]);
    }
    a->swapped = !a->swapped;
    return NB_OK;
}

double *nb_average_data(nb_average *a) { return a ? a->mean : NULL; }
int64_t nb_average_count(const nb_average *a) { return a ? a->count : 0; }

nb_code nb_average_set_count(nb_average *a, int64_t count, nb_reason *why)
{
    if (!a || count < 0)
        return nbi_because(why, NB_ERR_ARGUMENT, "average: %lld is no count of values",
                           (long long)count);
    a->count = count;
    return NB_OK;
}
