/*
 * Drawing the inputs of example calls; the contract is in sample.h.
 */
#include "tape/sample.h"

#include "tape/tape.h"

static double draw(nb_sampler *s, double low, double high, size_t i)
{
    double x = (double)(float)(low + (high - low) * nb_rng_uniform(&s->rng));
    return s->direction ? x + s->step * s->direction[s->n][i] : x;
}

nb_tape *nb_sample_tape(nb_sampler *s) { return s->tape; }

static nb_var add_input(nb_sampler *s, nb_var x, double low, double high)
{
    s->in[s->n] = s->replace && nb_ok(x) ? s->replace(s, x, low, high) : x;
    return s->in[s->n++];
}

nb_var nb_sample_scalar(nb_sampler *s, double low, double high)
{
    if (s->n == NBI_SAMPLES)
        return nbi_fail(s->tape, NB_ERR_LIMIT, "sample: at most %d inputs", NBI_SAMPLES),
               nbi_inert(s->tape);
    return add_input(s, nb_input(s->tape, NULL, draw(s, low, high, 0)), low, high);
}

nb_var nb_sample(nb_sampler *s, nb_shape shape, double low, double high)
{
    nb_var x;
    nb_tape *t = s->tape;
    if (s->n == NBI_SAMPLES)
        return nbi_fail(t, NB_ERR_LIMIT, "sample: at most %d inputs", NBI_SAMPLES), nbi_inert(t);
    nbi_record *r = nbi_leaf(t, shape, NULL, false, &x);
    for (int64_t i = 0; r && i < r->size; i++) {
        double v = draw(s, low, high, (size_t)i);
        if (t->dtype == NB_F64)
            ((double *)r->data)[i] = v;
        else
            ((float *)r->data)[i] = (float)v;
    }
    return add_input(s, x, low, high);
}

int64_t nb_sample_index(nb_sampler *s, int64_t n)
{
    return n > 0 ? (int64_t)nb_rng_below(&s->rng, (uint64_t)n) : 0;
}
