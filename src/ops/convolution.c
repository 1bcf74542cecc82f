/*
 * Convolution: the geometry, checked, and the kernels applied; see convolution.h.
 *
 * An axis of size `in` with padding p on both sides holds out = (in + 2 p - span) / stride + 1 places
 * of a window that spans d (taps - 1) + 1, rounded down. So `stride` neighbouring sizes lead to one
 * out, and the way back, in = (out - 1) stride - 2 p + span + extra, needs to be told which: extra,
 * the output padding, below the stride.
 *
 * One axis is two with a single place and tap along the first.
 *
 * Sizes are checked in the shape rules, so that products of them need no check later; options are kept
 * below 2^31, dimensions come from the caller's arrays and may be anything where one of them is 0.
 */
#include "ops/convolution.h"

#include "ops/array.h"
#include "tape/tape.h"

nbi_conv_state nbi_conv_start(int axes, const nb_conv_options *options)
{
    nbi_conv_state s = {.axes = axes};
    if (options)
        s.o = *options;
    for (int i = 0; i < 2; i++) {
        if (i >= axes)
            s.o.stride[i] = s.o.padding[i] = s.o.dilation[i] = s.o.output_padding[i] = 0;
        s.o.stride[i] += s.o.stride[i] == 0;
        s.o.dilation[i] += s.o.dilation[i] == 0;
    }
    s.o.groups += s.o.groups == 0;
    return s;
}

nb_var nbi_conv_apply(const nb_op *op, nb_var a, nb_var b, nb_var bias, const nbi_conv_state *s)
{
    const nb_var in[] = {a, b, bias};
    return nb_apply(op, nbi_is_inert(bias) && !bias.tape ? 2 : 3, in, s, sizeof *s);
}

/* ---- geometry -------------------------------------------------------------------------------- */

static bool refuse(const nb_call *c, const char *reason, const char *what, int i, int64_t value)
{
    nb_refuse(c, NB_ERR_ARGUMENT, reason, "%s[%d] is %lld", what, i, (long long)value);
    return false;
}

static bool options_fit(const nb_call *c)
{
    const nb_conv_options *o = &((const nbi_conv_state *)c->state)->o;
    for (int i = 0; i < 2; i++) {
        if (o->stride[i] < 1 || o->stride[i] > INT32_MAX)
            return refuse(c, "a stride is out of range", "stride", i, o->stride[i]);
        if (o->dilation[i] < 1 || o->dilation[i] > INT32_MAX)
            return refuse(c, "a dilation is out of range", "dilation", i, o->dilation[i]);
        if (o->padding[i] < 0 || o->padding[i] > INT32_MAX)
            return refuse(c, "a padding is out of range", "padding", i, o->padding[i]);
        if (o->output_padding[i] < 0 || o->output_padding[i] >= o->stride[i])
            return refuse(c, "output padding is not below the stride", "output_padding", i,
                          o->output_padding[i]);
    }
    if (o->groups >= 1 && o->groups <= INT32_MAX)
        return true;
    nb_refuse(c, NB_ERR_ARGUMENT, "groups is out of range", "groups is %lld",
              (long long)o->groups);
    return false;
}

bool nbi_conv_begin(const nb_call *c, const char *second)
{
    const nbi_conv_state *s = c->state;
    const int rank = s->axes + 2;
    if (c->in[0].rank != rank || c->in[1].rank != rank) {
        nb_refuse(c, NB_ERR_SHAPE, "needs a batch and weights of that many axes",
                  "%d axes each: a batch, channels and %s; x has %d, %s has %d", rank,
                  s->axes == 1 ? "one more" : "two more", c->in[0].rank < 0 ? 0 : c->in[0].rank,
                  second, c->in[1].rank < 0 ? 0 : c->in[1].rank);
        return false;
    }
    return options_fit(c);
}

/* The channels of groups: `many` of the array called so divide among the groups. */
static bool divides(const nb_call *c, const char *name, int64_t many)
{
    nbi_conv_state *s = c->state;
    if (many % s->o.groups == 0)
        return true;
    nb_refuse(c, NB_ERR_SHAPE, "the channels do not divide into groups",
              "%s has %lld, groups is %lld", name, (long long)many, (long long)s->o.groups);
    return false;
}

/* Fills axis i of the geometry but in and out; *span is the window's. */
static bool window(const nb_call *c, int i, int64_t taps, nbi_conv_axis *x, int64_t *span)
{
    const nb_conv_options *o = &((const nbi_conv_state *)c->state)->o;
    *x = (nbi_conv_axis){0, 0, taps, o->stride[i], o->padding[i], o->dilation[i]};
    if (taps < 1) {
        nb_refuse(c, NB_ERR_SHAPE, "the window has no taps", "along axis %d", i + 2);
        return false;
    }
    if (!__builtin_mul_overflow(taps - 1, x->dilation, span) && *span < INT64_MAX / 4)
        return ++*span;
    nb_refuse(c, NB_ERR_OVERFLOW, "the window's span overflows", "%lld taps, dilation %lld",
              (long long)taps, (long long)x->dilation);
    return false;
}

static nbi_conv_axis *axis_of(nbi_conv_state *s, int i)
{
    s->conv.axis[0] = s->axes == 1 ? (nbi_conv_axis){1, 1, 1, 1, 0, 1} : s->conv.axis[0];
    return &s->conv.axis[2 - s->axes + i];
}

bool nbi_conv_forward_shape(const nb_call *c, const int64_t *x, const int64_t *w)
{
    nbi_conv_state *s = c->state;
    if (!divides(c, "x", x[1]) || !divides(c, "w", w[0]))
        return false;
    s->conv.images = x[0], s->conv.groups = s->o.groups;
    s->conv.c = x[1] / s->o.groups, s->conv.m = w[0] / s->o.groups;
    if (s->conv.c != w[1]) {
        nb_refuse(c, NB_ERR_SHAPE, "the channels differ",
                  "x has %lld in each of %lld groups, w takes %lld", (long long)s->conv.c,
                  (long long)s->o.groups, (long long)w[1]);
        return false;
    }
    for (int i = 0; i < s->axes; i++) {
        nbi_conv_axis *a = axis_of(s, i);
        int64_t span, padded;
        if (!window(c, i, w[i + 2], a, &span))
            return false;
        a->in = x[i + 2];
        if (__builtin_add_overflow(a->in, 2 * a->pad, &padded)) {
            nb_refuse(c, NB_ERR_OVERFLOW, "a padded axis overflows", "axis %d", i + 2);
            return false;
        }
        if (padded < span) {
            nb_refuse(c, NB_ERR_SHAPE, "the window does not fit",
                      "axis %d has %lld with its padding, the window spans %lld", i + 2,
                      (long long)padded, (long long)span);
            return false;
        }
        a->out = (padded - span) / a->stride + 1;
    }
    return true;
}

/* The size that an axis of y comes from. */
static bool size_back(const nb_call *c, int i, int64_t span, nbi_conv_axis *a)
{
    const nb_conv_options *o = &((const nbi_conv_state *)c->state)->o;
    if (a->out < 1) {
        nb_refuse(c, NB_ERR_SHAPE, "an axis is empty", "axis %d of x", i + 2);
        return false;
    }
    if (__builtin_mul_overflow(a->out - 1, a->stride, &a->in) || a->in > INT64_MAX / 2 ||
        __builtin_add_overflow(a->in, span + o->output_padding[i], &a->in)) {
        nb_refuse(c, NB_ERR_OVERFLOW, "the size of an axis overflows", "axis %d", i + 2);
        return false;
    }
    a->in -= 2 * a->pad;
    if (a->in >= 0)
        return true;
    nb_refuse(c, NB_ERR_SHAPE, "nothing is left of an axis",
              "axis %d would have %lld without its padding of %lld on both sides", i + 2,
              (long long)(a->in + 2 * a->pad), (long long)a->pad);
    return false;
}

bool nbi_conv_back_shape(const nb_call *c, const int64_t *y, const int64_t *w)
{
    nbi_conv_state *s = c->state;
    int64_t total, span;
    if (!divides(c, "x", y[1]))
        return false;
    if (y[1] != w[0]) {
        nb_refuse(c, NB_ERR_SHAPE, "the channels differ", "x has %lld, w takes %lld",
                  (long long)y[1], (long long)w[0]);
        return false;
    }
    s->conv.images = y[0], s->conv.groups = s->o.groups;
    s->conv.m = y[1] / s->o.groups, s->conv.c = w[1];
    if (__builtin_mul_overflow(w[1], s->o.groups, &total)) {
        nb_refuse(c, NB_ERR_OVERFLOW, "the number of channels overflows", NULL);
        return false;
    }
    for (int i = 0; i < s->axes; i++) {
        nbi_conv_axis *a = axis_of(s, i);
        if (!window(c, i, w[i + 2], a, &span))
            return false;
        a->out = y[i + 2];
        if (!size_back(c, i, span, a))
            return false;
    }
    return true;
}

bool nbi_conv_bias(const nb_call *c, int64_t channels)
{
    if (c->n_in < 3 || (c->in[2].rank == 1 && c->in[2].size == channels))
        return true;
    nb_refuse(c, NB_ERR_SHAPE, "the bias does not fit", "the result has %lld channels",
              (long long)channels);
    return false;
}

nb_shape nbi_conv_shape(const nbi_conv_state *s, bool y)
{
    nb_shape shape = {.rank = s->axes + 2};
    shape.dims[0] = s->conv.images;
    shape.dims[1] = s->conv.groups * (y ? s->conv.m : s->conv.c);
    for (int i = 0; i < s->axes; i++) {
        const nbi_conv_axis *a = &s->conv.axis[2 - s->axes + i];
        shape.dims[i + 2] = y ? a->out : a->in;
    }
    return shape;
}

/* ---- the maps -------------------------------------------------------------------------------- */

/* A map under way, as its pieces see it. */
typedef struct job {
    nbi_slide slide;
    const nbi_conv_kernel *kernel;
    const void *a, *b, *bias;
    void *out;
    bool add;
    char *scratch;
    size_t each; /* bytes of it for one worker */
} job;

static void slide_piece(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    j->kernel->slide(&j->slide, j->a, j->b, j->bias, j->out, j->add, from, to,
                     j->scratch + (size_t)worker * j->each);
}

static void weight_piece(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    j->kernel->weight(&j->slide, j->a, j->b, j->out, j->add, from, to,
                      j->scratch + (size_t)worker * j->each);
}

/* Plans, and takes scratch for the lists and for each worker. */
static bool prepare(job *j, const nb_call *c, nb_dtype d, bool back, bool weight)
{
    nb_tape *t = c->tape;
    const nbi_conv_state *s = c->state;
    const size_t element = nbi_element(d);
    size_t bytes;
    j->kernel = nbi_conv_choose(t->isa, d == NB_F64);
    bool done = nbi_slide_plan(&j->slide, &s->conv, back, element);
    if (done) {
        j->slide.pass = nbi_scratch(t, (size_t)j->slide.passes * sizeof *j->slide.pass);
        j->slide.offset = nbi_scratch(t, (size_t)j->slide.k * sizeof *j->slide.offset);
        j->slide.place = nbi_scratch(t, (size_t)j->slide.k * sizeof *j->slide.place);
        j->each = weight ? nbi_weight_scratch(&j->slide, element)
                         : nbi_slide_scratch(&j->slide, element);
        j->each = (j->each + NBI_ALIGN - 1) / NBI_ALIGN * NBI_ALIGN;
        done = !__builtin_mul_overflow(j->each, (size_t)nbi_workers(t), &bytes) &&
               (j->scratch = nbi_scratch(t, bytes)) && j->slide.pass && j->slide.offset &&
               j->slide.place;
    }
    if (!done) {
        nbi_no_memory(t, c->op->name);
        return false;
    }
    nbi_slide_lists(&j->slide, back);
    return true;
}

/* Outputs so few that their computation would not be worth a thread. */
static int64_t grain_of(double operations)
{
    const double worth = 1 << 19;
    return operations >= worth ? 1 : (int64_t)(worth / (operations + 1)) + 1;
}

/* result = or += the bias alone: there is nothing to sum. */
static void bias_only(const nb_array *bias, const nb_array *result, bool add)
{
    const int64_t channels = result->dims[1];
    const int64_t places = result->size / result->dims[0] / channels;
    for (int64_t i = 0; i < result->dims[0] * channels && (bias || !add); i++)
        for (int64_t q = 0; q < places; q++)
            nbi_put_at(result, i * places + q, bias ? nbi_get_at(bias, i % channels) : 0, add);
}

static bool slide(const nb_call *c, const nb_array *image, const nb_array *w, const nb_array *bias,
                  const nb_array *result, bool add, bool back)
{
    nb_tape *t = c->tape;
    nbi_spot spot = t->scratch.at;
    if (result->size == 0)
        return true;
    if (image->size == 0 || w->size == 0) {
        bias_only(bias, result, add);
        return true;
    }
    job j = {.a = image->data, .b = w->data, .out = result->data, .add = add};
    j.bias = bias ? bias->data : NULL;
    bool done = prepare(&j, c, result->dtype, back, false);
    void *packed = done && back ? nbi_scratch(t, (size_t)w->size * nbi_element(w->dtype)) : NULL;
    if (done && back && !packed) {
        nbi_no_memory(t, c->op->name);
        done = false;
    }
    if (packed) {
        nbi_slide_pack(&j.slide, nbi_element(w->dtype), w->data, packed);
        j.b = packed;
    }
    const nbi_slide *s = &j.slide;
    if (done)
        nbi_share(t, s->images * s->groups * s->bands[0] * s->bands[1],
                  grain_of(2.0 * (double)s->m * (double)s->k * (double)s->most), slide_piece, &j);
    nbi_give_back(&t->scratch, spot);
    return done;
}

bool nbi_conv_forward(const nb_call *c, const nb_array *x, const nb_array *w, const nb_array *bias,
                      const nb_array *y, bool add)
{
    return slide(c, x, w, bias, y, add, false);
}

bool nbi_conv_back(const nb_call *c, const nb_array *y, const nb_array *w, const nb_array *bias,
                   const nb_array *x, bool add)
{
    return slide(c, y, w, bias, x, add, true);
}

bool nbi_conv_weight(const nb_call *c, const nb_array *x, const nb_array *y, const nb_array *w,
                     bool add)
{
    nb_tape *t = c->tape;
    nbi_spot spot = t->scratch.at;
    if (x->size == 0 || y->size == 0)
        nbi_clear(w, add);
    if (w->size == 0 || x->size == 0 || y->size == 0)
        return true;
    job j = {.a = x->data, .b = y->data, .out = w->data, .add = add};
    bool done = prepare(&j, c, w->dtype, false, true);
    const nbi_slide *s = &j.slide;
    if (done) {
        const double places = (double)s->images * (double)(s->bands[0] * s->bands[1] * s->most);
        const int64_t worth = grain_of(2.0 * (double)s->k * places);
        const int64_t tile = NBI_CONV_ROWS;
        nbi_share(t, s->groups * s->m, worth > tile ? worth : tile, weight_piece, &j);
    }
    nbi_give_back(&t->scratch, spot);
    return done;
}

typedef struct sums_job {
    const nbi_conv_kernel *kernel;
    const nb_array *y, *sums;
    int64_t places;
    bool add;
} sums_job;

static void sums_piece(void *context, int64_t from, int64_t to, int worker)
{
    const sums_job *j = context;
    (void)worker;
    j->kernel->channel_sums(j->y->dims[0], j->y->dims[1], j->places, j->y->data, j->sums->data,
                            j->add, from, to);
}

void nbi_conv_channel_sums(const nb_call *c, const nb_array *y, const nb_array *sums, bool add)
{
    sums_job j = {nbi_conv_choose(c->tape->isa, y->dtype == NB_F64), y, sums, 0, add};
    if (y->size == 0) {
        nbi_clear(sums, add);
        return;
    }
    j.places = y->size / y->dims[0] / y->dims[1];
    nbi_share(c->tape, y->dims[1], grain_of((double)(y->dims[0] * j.places)), sums_piece, &j);
}
