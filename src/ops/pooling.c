/*
 * Pooling: the geometry, checked, and the kernels applied; and pooling over all places.
 *
 * An axis of size `in` with padding p on both sides holds out = (in + 2 p - window) / stride + 1
 * windows, rounded down. Since p is below the window, the first one reaches into the axis, and since
 * the last begins at in + p - window at most, so does that: no window is empty.
 *
 * One axis is two with a window of a single place along the first.
 */
#include "ops/pooling.h"

#include "ops/array.h"
#include "tape/tape.h"

nbi_pool_state nbi_pool_start(int axes, const int64_t *window, const nb_pool_options *options)
{
    nbi_pool_state s = {.axes = axes};
    if (options) {
        s.o.count_padding = options->count_padding;
        for (int i = 0; i < axes; i++) {
            s.o.stride[i] = options->stride[i];
            s.o.padding[i] = options->padding[i];
        }
    }
    for (int i = 0; i < axes; i++) {
        s.window[i] = window[i];
        s.o.stride[i] = s.o.stride[i] ? s.o.stride[i] : window[i];
    }
    return s;
}

/* ---- geometry -------------------------------------------------------------------------------- */

static bool refuse(const nb_call *c, const char *reason, const char *what, int i, int64_t value)
{
    nb_refuse(c, NB_ERR_ARGUMENT, reason, "%s[%d] is %lld", what, i, (long long)value);
    return false;
}

static bool axis_fits(const nb_call *c, int i, int64_t in, nbi_pool_axis *x)
{
    const nbi_pool_state *s = c->state;
    *x = (nbi_pool_axis){in, 0, s->window[i], s->o.stride[i], s->o.padding[i]};
    if (x->window < 1 || x->window > INT32_MAX)
        return refuse(c, "a window is out of range", "window", i, x->window);
    if (x->stride < 1 || x->stride > INT32_MAX)
        return refuse(c, "a stride is out of range", "stride", i, x->stride);
    if (x->pad < 0 || x->pad >= x->window)
        return refuse(c, "padding is not below the window", "padding", i, x->pad);
    if (in > INT64_MAX - 2 * x->pad) {
        nb_refuse(c, NB_ERR_OVERFLOW, "a padded axis overflows", "axis %d", i + 2);
        return false;
    }
    if (in < 1 || in + 2 * x->pad < x->window) {
        nb_refuse(c, NB_ERR_SHAPE, "the window does not fit",
                  "axis %d has %lld and padding %lld on both sides, the window %lld", i + 2,
                  (long long)in, (long long)x->pad, (long long)x->window);
        return false;
    }
    x->out = (in + 2 * x->pad - x->window) / x->stride + 1;
    return true;
}

bool nbi_pool_shape(const nb_call *c, int k, const int64_t *in, nb_shape *large, nb_shape *small)
{
    nbi_pool_state *s = c->state;
    const nb_array *x = &c->in[k];
    if (x->rank != s->axes + 2) {
        nb_refuse(c, NB_ERR_SHAPE, "needs a batch, channels and places", "%d axes, x has %d",
                  s->axes + 2, x->rank < 0 ? 0 : x->rank);
        return false;
    }
    s->pool.axis[0] = (nbi_pool_axis){1, 1, 1, 1, 0};
    s->pool.count_padding = s->o.count_padding;
    *large = *small = nbi_shape_in(x);
    for (int i = 0; i < s->axes; i++) {
        nbi_pool_axis *axis = &s->pool.axis[2 - s->axes + i];
        if (!axis_fits(c, i, in ? in[i] : x->dims[i + 2], axis))
            return false;
        large->dims[i + 2] = axis->in;
        small->dims[i + 2] = axis->out;
    }
    s->pool.planes = 0; /* without elements there is nothing to do */
    if (x->size)
        s->pool.planes = x->dims[0] * x->dims[1];
    return true;
}

bool nbi_pool_fits(const nb_call *c, int k, const char *name, const nb_shape *shape)
{
    char text[NBI_SHAPE_TEXT];
    if (nb_shape_equal(nbi_shape_in(&c->in[k]), *shape))
        return true;
    nb_refuse(c, NB_ERR_SHAPE, "an array does not fit the windows", "%s should be %s", name,
              nbi_shape_text(text, shape->rank, shape->dims));
    return false;
}

/* ---- the maps -------------------------------------------------------------------------------- */

typedef struct job {
    const nbi_pool *pool;
    nbi_pool_fn run;
    nbi_pool_map map;
    const nbi_pool_arrays *arrays;
    char *scratch;
    size_t each; /* bytes of it for one worker */
} job;

static void piece(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    j->run(j->pool, j->map, j->arrays, from, to, j->scratch + (size_t)worker * j->each);
}

nb_code nbi_pool_run(const nb_call *c, nbi_pool_map map, nb_dtype d, const nbi_pool_arrays *a)
{
    const nbi_pool *p = &((const nbi_pool_state *)c->state)->pool;
    nb_tape *t = c->tape;
    nbi_spot spot = t->scratch.at;
    if (p->planes == 0)
        return NB_OK;
    job j = {.pool = p, .run = nbi_pool_choose(t->isa, d == NB_F64), .map = map, .arrays = a};
    j.each = (nbi_pool_scratch(p) + NBI_ALIGN - 1) / NBI_ALIGN * NBI_ALIGN;
    j.scratch = nbi_scratch(t, j.each * (size_t)nbi_workers(t));
    if (!j.scratch)
        return nbi_no_memory(t, c->op->name);
    const int64_t worth = 1 << 16, plane = p->axis[0].in * p->axis[1].in;
    nbi_share(t, p->planes, worth / plane + 1, piece, &j);
    nbi_give_back(&t->scratch, spot);
    return NB_OK;
}

/* ---- examples -------------------------------------------------------------------------------- */

bool nbi_pool_sample(int k, nbi_pool_state *s, nb_shape *x)
{
    static const struct {
        nb_shape x;
        int64_t window[2];
        nb_pool_options o;
    } sample[] = {
        {{3, {2, 1, 7}}, {2}, {.count_padding = false}},
        {{3, {1, 2, 8}}, {3}, {.stride = {2}, .padding = {1}}},
        {{3, {1, 1, 1}}, {1}, {.count_padding = false}},
        {{4, {1, 2, 4, 5}}, {2, 2}, {.count_padding = true}},
        {{4, {2, 1, 4, 3}}, {3, 2}, {.stride = {1, 1}, .padding = {1, 1}, .count_padding = true}},
        {{4, {1, 1, 7, 6}}, {2, 3}, {.stride = {3, 1}, .padding = {1, 0}}},
        {{4, {1, 1, 6, 6}}, {4, 5}, {.stride = {2, 3}, .padding = {2, 2}}},
        {{4, {1, 1, 3, 9}}, {3, 3}, {.stride = {3, 3}}},
        {{4, {0, 2, 4, 4}}, {2, 2}, {.count_padding = false}},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return false;
    *x = sample[k].x;
    *s = nbi_pool_start(x->rank - 2, sample[k].window, &sample[k].o);
    return true;
}

/* ---- over all places ------------------------------------------------------------------------- */

/* The axes behind the channels, none of them if x has only those. */
static nb_axes places_of(nb_var x, const char *what)
{
    nb_axes axes = {0};
    const int rank = nb_rank(x);
    for (int i = 2; i < rank; i++)
        axes.axis[axes.count++] = i;
    if (nbi_check(what, x) && rank < 3)
        nbi_fail(x.tape, NB_ERR_SHAPE, "%s: needs a batch, channels and places\n    x has %d axes",
                 what, rank);
    return axes;
}

nb_var(nb_global_max_pool)(nb_var x)
{
    const nb_axes axes = places_of(x, "global_max_pool");
    return axes.count ? nb_amax_over(x, axes, false) : nbi_inert(x.tape);
}

nb_var(nb_global_average_pool)(nb_var x)
{
    const nb_axes axes = places_of(x, "global_average_pool");
    return axes.count ? nb_mean_over(x, axes, false) : nbi_inert(x.tape);
}
