/*
 * Constant tensors made from a rule: zeros, ranges, the identity, random numbers.
 */
#include "tape/tape.h"

#include <math.h>

/* The one place that knows of two element types here. */
static void put(nb_tape *t, nbi_record *r, int64_t i, double value)
{
    if (t->dtype == NB_F64)
        ((double *)r->data)[i] = value;
    else
        ((float *)r->data)[i] = (float)value;
}

nb_var nb_zeros(nb_tape *t, nb_shape shape) { return nb_full(t, shape, 0); }

nb_var nb_ones(nb_tape *t, nb_shape shape) { return nb_full(t, shape, 1); }

nb_var nb_full(nb_tape *t, nb_shape shape, double value)
{
    nb_var v;
    nbi_record *r = nbi_leaf(t, shape, NULL, true, &v);
    for (int64_t i = 0; r && i < r->size; i++)
        put(t, r, i, value);
    return v;
}

nb_var nb_eye(nb_tape *t, int64_t rows, int64_t columns)
{
    nb_var v = nb_zeros(t, NB_SHAPE(rows, columns));
    for (int64_t i = 0; nb_ok(v) && i < rows && i < columns; i++)
        put(t, nbi_record_at(t, v.index), i * columns + i, 1);
    return v;
}

nb_var nb_arange(nb_tape *t, double start, double stop, double step)
{
    double count = ceil((stop - start) / step);
    if (!(step != 0) || !isfinite(start) || !isfinite(step) || !(count < 0x1p53)) {
        nbi_fail(t, NB_ERR_ARGUMENT, "arange: from %g to %g by %g has no finite length", start,
                 stop, step);
        return nbi_inert(t);
    }
    nb_var v;
    nbi_record *r = nbi_leaf(t, NB_SHAPE(count > 0 ? (int64_t)count : 0), NULL, true, &v);
    for (int64_t i = 0; r && i < r->size; i++)
        put(t, r, i, start + (double)i * step);
    return v;
}

nb_var nb_linspace(nb_tape *t, double start, double stop, int64_t count)
{
    nb_var v;
    nbi_record *r = nbi_leaf(t, NB_SHAPE(count), NULL, true, &v);
    for (int64_t i = 0; r && i < count; i++)
        put(t, r, i,
            i == count - 1 && i
                ? stop
                : start + (double)i * ((stop - start) / (double)(count - 1 + (count == 1))));
    return v;
}

static nb_var draw(nb_tape *t, nb_shape shape, nb_rng *g, double shift, double scale,
                   double (*next)(nb_rng *))
{
    nb_var v;
    if (!g) {
        nbi_fail(t, NB_ERR_ARGUMENT, "random tensor: the generator is NULL");
        return nbi_inert(t);
    }
    nbi_record *r = nbi_leaf(t, shape, NULL, true, &v);
    for (int64_t i = 0; r && i < r->size; i++)
        put(t, r, i, shift + scale * next(g));
    return v;
}

nb_var nb_uniform(nb_tape *t, nb_shape shape, double low, double high, nb_rng *r)
{
    return draw(t, shape, r, low, high - low, nb_rng_uniform);
}

nb_var nb_normal(nb_tape *t, nb_shape shape, double mean, double deviation, nb_rng *r)
{
    return draw(t, shape, r, mean, deviation, nb_rng_normal);
}
