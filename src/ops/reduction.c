/*
 * What reductions share: see reduction.h.
 *
 * A reduction over every axis without keeping them is a scalar node, whose value is the double that
 * the kernel summed up, not rounded to the tape's type. What a reverse rule needs of each result (a
 * mean, a maximum) is kept in doubles for the same reason: reading it back from a float result
 * would cost half of the digits, or the range.
 */
#include "ops/reduction.h"

#include "ops/axis.h"
#include "tape/tape.h"
#include <nabla/ops.h>

nb_var nbi_reduce(const nb_op *op, nb_var x, nb_axes axes, bool keep, int correction)
{
    const nbi_reduction s = {.axes = axes, .keep = keep, .correction = correction};
    return nb_apply(op, 1, &x, &s, sizeof s); /* the shape rule makes the nest */
}

nb_code nbi_reduction_prepare(const nb_call *c)
{
    nbi_reduction *s = c->state;
    const nb_array *x = &c->in[0];
    bool mask[NB_MAX_RANK];
    if (!nbi_axes_mask(c, s->axes, x->rank, mask))
        return NB_ERR_AXIS;
    s->axes.count = 0;
    for (int i = 0; i < x->rank; i++)
        if (mask[i])
            s->axes.axis[s->axes.count++] = i;
    nbi_nest_make(&s->nest, x->rank, x->dims, mask);
    return NB_OK;
}

nb_code nbi_reduction_shape(const nb_call *c, nb_shape *out)
{
    nb_code code = nbi_reduction_prepare(c);
    if (code != NB_OK)
        return code;
    const nbi_reduction *s = c->state;
    const nb_array *x = &c->in[0];
    int next = 0;
    out->rank = 0;
    for (int i = 0; i < x->rank; i++) {
        bool folded = next < s->axes.count && s->axes.axis[next] == i;
        next += folded;
        if (!folded || s->keep)
            out->dims[out->rank++] = folded ? 1 : x->dims[i];
    }
    if (x->rank < 0 || (s->axes.count == x->rank && !s->keep))
        out->rank = -1;
    return NB_OK;
}

nb_code nbi_reduction_shape_some(const nb_call *c, nb_shape *out)
{
    nb_code code = nbi_reduction_shape(c, out);
    if (code != NB_OK)
        return code;
    const nbi_reduction *s = c->state;
    if (s->nest.n == 0 && s->nest.cells > 0)
        return nb_refuse(c, NB_ERR_EMPTY, "there are no elements to reduce", NULL);
    return NB_OK;
}

typedef struct tiles {
    nbi_tile_call call;
    nbi_tile_rule *rule;
} tiles;

static void run_rule(void *context, const nbi_walk *tile)
{
    const tiles *t = context;
    t->rule(&t->call, tile);
}

nb_code nbi_over_tiles(const nb_call *c, const nb_array *g, nbi_walk k, nbi_tile_rule *rule)
{
    tiles t = {{c, g}, rule};
    if (c->tape->crew.pool) {
        k.crew = &c->tape->crew;
        nbi_walk_tiles(&k, run_rule, &t);
    } else {
        while (nbi_walk_next(&k))
            rule(&t.call, &k);
    }
    return NB_OK;
}

nbi_walk nbi_forward_walk(const nb_call *c)
{
    const nbi_reduction *s = c->state;
    const nb_array *x = &c->in[0];
    return (nbi_walk){.nest = &s->nest, .dtype = x->dtype, .x = x->data, .z = x->data};
}

nbi_walk nbi_reverse_walk(const nb_call *c, nb_array *const *gin, const bool *add)
{
    nbi_reduction *s = c->state;
    nbi_walk k = nbi_forward_walk(c);
    if (!gin[0]) {
        k.cell = s->nest.cells; /* nothing is wanted: the walk is over before it starts */
        return k;
    }
    if (gin[0]->dtype != k.dtype) {
        nbi_get(k.dtype, k.x, 0, 1, &s->number);
        k.x = k.z = &s->number;
        k.dtype = gin[0]->dtype;
    }
    k.y = gin[0]->data;
    k.add = add[0];
    return k;
}

void nbi_tile_put(const nbi_walk *k, const nb_array *a, const double *value)
{
    nbi_put(a->dtype, a->data, k->cell, k->w, value);
}

void nbi_tile_get(const nbi_walk *k, const nb_array *a, double *value)
{
    nbi_get(a->dtype, a->data, k->cell, k->w, value);
}

double *nbi_kept(const nb_call *c, const nbi_walk *k, int i)
{
    const nbi_reduction *s = c->state;
    return s->kept + i * s->nest.cells + k->cell;
}

bool nbi_keep_columns(const nb_call *c, int columns)
{
    nbi_reduction *s = c->state;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)s->nest.cells, (size_t)columns * sizeof(double), &bytes)) {
        nb_refuse(c, NB_ERR_OVERFLOW, "the result's size overflows", NULL);
        return false;
    }
    s->kept = nb_keep(c, bytes);
    return s->kept != NULL;
}

nb_var nbi_held(const nb_rule *r, nb_var v)
{
    const nbi_reduction *s = r->state;
    nb_shape shape = nb_shape_of(r->in[0]);
    if (s->keep || !nb_is_tensor(v))
        return v;
    for (int i = 0; i < s->axes.count; i++)
        shape.dims[s->axes.axis[i]] = 1;
    return nb_reshape(v, shape);
}

nb_code nbi_reverse_by(const nb_rule *r, nb_var slope)
{
    r->d[0] = nb_chain(nbi_held(r, r->g), slope);
    return NB_OK;
}

nb_code nbi_tangent_by(const nb_rule *r, nb_var slope)
{
    const nbi_reduction *s = r->state;
    r->d[0] = nb_sum_over(nb_chain(r->t[0], slope), s->axes, s->keep);
    return NB_OK;
}

bool nbi_reduction_sample(nb_sampler *s, int k, nb_var *x, nb_axes *axes, bool *keep)
{
    const struct {
        nb_shape shape;
        nb_axes axes;
        bool keep;
    } sample[] = {
        {NB_SHAPE(5), NB_ALL, false},
        {NB_SHAPE(37), NB_AXES(0), false},
        {NB_SHAPE(1), NB_AXES(-1), true},
        {NB_POINT, NB_ALL, false},
        {NB_POINT, NB_ALL, true},
        {NB_SHAPE(3, 4), NB_ALL, false},
        {NB_SHAPE(3, 4), NB_AXES(1), false},
        {NB_SHAPE(3, 4), NB_AXES(0), true},
        {NB_SHAPE(2, 9, 3), NB_AXES(1), false},
        {NB_SHAPE(3, 2, 5), NB_AXES(-1, 0), false},
        {NB_SHAPE(3, 2, 5), NB_AXES(0, 2), true},
        {NB_SHAPE(2, 3), (nb_axes){0, {0}}, false},
        {NB_SHAPE(1, 3, 1), NB_AXES(0, 2), false},
        {NB_SHAPE(1, 3, 1), NB_AXES(1), false},
        {NB_SHAPE(0, 3), NB_AXES(1), false},
        {NB_SHAPE(1, 2, 1, 2, 3, 1, 2, 2), NB_AXES(1, 4, -1), false},
        {NB_SHAPE(2, 2, 2, 2, 1, 2, 1, 1), NB_AXES(0, 2, 5), true},
    };
    if (k > (int)(sizeof sample / sizeof *sample))
        return false;
    if (k == (int)(sizeof sample / sizeof *sample)) {
        *x = nb_sample_scalar(s, -2, 2);
        *axes = NB_ALL;
        *keep = false;
        return true;
    }
    *x = nb_sample(s, sample[k].shape, -2, 2);
    *axes = sample[k].axes;
    *keep = sample[k].keep;
    return true;
}
