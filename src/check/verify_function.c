/*
 * What is recorded: a function of inputs, an operation, a whole model.
 */
#include "check/verify_graph.h"

#include <math.h>
#include <nabla/ops.h>
#include <stdio.h>

/* ---- functions of inputs --------------------------------------------------------------------- */

typedef struct function {
    nb_check_build *f;
    void *context;
    const nb_check_input *in;
} function;

static size_t size_of(const nb_check_input *in)
{
    const int64_t n = in->shape.rank < 0 ? 1 : nb_shape_size(in->shape);
    return n > 0 ? (size_t)n : 0;
}

static bool record_function(nbi_verify *c, int k, const double *x, nb_var *y)
{
    nbi_graph *g = c->self;
    const function *f = g->source;
    nb_tape *t = g->tape[k];
    size_t b = 0;
    for (size_t i = 0; i < g->n_in; i++) {
        const nb_check_input *in = &f->in[i];
        const double *data = in->constant ? in->data : x + c->block[b].at;
        if (in->shape.rank < 0)
            g->in[i] = in->constant ? nb_constant(t, *data) : nb_input(t, in->name, *data);
        else if (in->constant)
            g->in[i] = nb_constant_tensor(t, in->shape, data);
        else
            g->in[i] = nb_tensor(t, in->name, in->shape, data);
        if (!in->constant)
            g->moved[b++] = g->in[i];
    }
    if (nb_status(t))
        return false;
    *y = f->f(f->context, t, g->in);
    return true;
}

/* Bit by bit but for NaN, of which there may be many. */
static bool kept_function(nbi_verify *c, const double *x)
{
    const nbi_graph *g = c->self;
    for (size_t b = 0; b < c->n_block; b++) {
        float rounded;
        const nb_array a = nbi_array_of(g->moved[b].tape, g->moved[b].index, &rounded);
        for (size_t e = 0; e < c->block[b].size; e++) {
            const double v = x[c->block[b].at + e];
            const double now = a.rank < 0 ? g->moved[b].tape->hot.cells[g->moved[b].index].value
                               : a.dtype == NB_F64 ? ((double *)a.data)[e]
                                                   : (double)((float *)a.data)[e];
            if (a.dtype == NB_F32 && a.rank >= 0 ? (float)v != (float)now : v != now)
                if (!isnan(v) || !isnan(now))
                    return false;
        }
    }
    return true;
}

static bool lay_out(nbi_verify *c, nbi_graph *g, const nb_check_input *in)
{
    size_t n = 0;
    c->block = nbi_take(&c->work, (g->n_in + 1) * sizeof *c->block, NBI_ALIGN);
    g->in = nbi_take(&c->work, (g->n_in + 1) * sizeof *g->in, NBI_ALIGN);
    g->moved = nbi_take(&c->work, (g->n_in + 1) * sizeof *g->moved, NBI_ALIGN);
    if (!c->block || !g->in || !g->moved)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for %zu inputs", g->n_in);
    for (size_t i = 0; i < g->n_in; i++) {
        if (in[i].shape.rank > NB_MAX_RANK ||
            (in[i].shape.rank >= 0 && nb_shape_size(in[i].shape) < 0))
            return nbi_check_fail(c, NB_ERR_SHAPE, "input %zu has no shape", i);
        if (!in[i].data && size_of(&in[i]))
            return nbi_check_fail(c, NB_ERR_ARGUMENT, "the data of input %zu are NULL", i);
        for (int d = 0; in[i].constant && d < in[i].shape.rank && c->n_sizes < 16; d++)
            c->sizes[c->n_sizes++] = in[i].shape.dims[d];
        if (in[i].constant)
            continue;
        c->block[c->n_block++] = (nbi_block){in[i].name, in[i].shape, n, size_of(&in[i]), i};
        if (__builtin_add_overflow(n, size_of(&in[i]), &n))
            return nbi_check_fail(c, NB_ERR_OVERFLOW, "the inputs have too many elements");
    }
    double *x = nbi_doubles(c, n);
    for (size_t b = 0; x && b < c->n_block; b++)
        for (size_t e = 0; e < c->block[b].size; e++) {
            const double v = in[c->block[b].number].data[e];
            x[c->block[b].at + e] = c->o.dtype == NB_F32 ? (double)(float)v : v;
        }
    c->x = x;
    c->n = n;
    return x != NULL;
}

/* ---- float ----------------------------------------------------------------------------------- */

/* Whether the function can be recorded on a tape of that element type. */
static bool recordable(nbi_verify *c, nbi_graph *g, nb_dtype dtype)
{
    nb_var y = NB_NONE;
    bool done = false;
    g->tape[0] = nb_tape_new(&(nb_options){.allocator = c->o.allocator, .dtype = dtype});
    if (g->tape[0])
        done = record_function(c, 0, c->x, &y) && nb_status(g->tape[0]) == NB_OK && nb_ok(y) &&
               y.tape == g->tape[0];
    nb_tape_free(g->tape[0]);
    g->tape[0] = NULL;
    return done;
}

/* A coordinate whose float gradient is far from the double one: differences of the float function
 * say whether it is wrong, or float is not enough for this function. */
static bool judge_in_float(nbi_verify *whole, const nbi_graph *like, size_t i)
{
    nbi_verify c;
    nb_check_report r;
    nbi_graph g = {.kind = NBI_GRADIENT,
                   .dtype = NB_F32,
                   .record = record_function,
                   .source = like->source,
                   .n_in = like->n_in};
    nb_check_options o = whole->o;
    o.directions = -1;
    o.first = i;
    o.count = 1;
    o.tolerance = 0;
    o.keep = NULL;
    o.progress = NULL;
    nbi_check_open(&c, &o, &r);
    c.self = &g;
    if (lay_out(&c, &g, ((const function *)g.source)->in) && nbi_graph_open(&c, &g))
        nbi_graph_run(&c, &g);
    whole->r->evaluations += r.evaluations;
    const bool wrong = r.verdict == NB_VERDICT_WRONG;
    if (wrong) {
        whole->r->at = r.at;
        whole->r->diagnosis = r.diagnosis;
        whole->r->factor = r.factor;
        whole->r->verdict = NB_VERDICT_WRONG;
        whole->r->count[NB_VERDICT_WRONG]++;
        snprintf(whole->r->message, sizeof whole->r->message,
                 "the float gradient is wrong, the double one is not");
        whole->r->worst[0] = r.worst[0];
        whole->r->n_worst += whole->r->n_worst == 0;
    }
    nbi_graph_close(&g);
    nbi_arena_free(&c.work);
    return wrong;
}

/* The float gradient against the double one, which is in c->claim. */
static void compare_float(nbi_verify *c, nbi_graph *g)
{
    nb_var y;
    nb_tape *in_double = g->tape[0],
            *t = nb_tape_new(&(nb_options){.allocator = c->o.allocator, .dtype = NB_F32});
    g->tape[0] = t;
    if (t && nbi_graph_record(c, 0, c->x, &y) && nbi_graph_sweep(c, y, c->again)) {
        c->r->float_compared = true;
        c->r->gradients++;
        int looked = 0;
        for (size_t b = 0; b < c->n_block; b++) {
            double most = 0;
            for (size_t i = c->block[b].at; i < c->block[b].at + c->block[b].size; i++)
                most = fmax(most, fabs(c->claim[i]));
            for (size_t i = c->block[b].at; i < c->block[b].at + c->block[b].size; i++)
                if (!(fabs(c->again[i] - c->claim[i]) <= 1e-3 * fabs(c->claim[i]) + 1e-4 * most) &&
                    looked++ < 8 && judge_in_float(c, g, i))
                    looked = 8;
        }
    }
    g->tape[0] = in_double;
    nb_tape_free(t);
}

/* ---- the calls ------------------------------------------------------------------------------- */

static nb_verdict check_function(nbi_graph_kind kind, const function *f, size_t n_in,
                                 const nb_check_options *options, nb_check_report *report)
{
    nbi_verify c;
    nb_check_report own;
    nbi_graph g = {
        .kind = kind, .record = record_function, .kept = kept_function, .source = f, .n_in = n_in};
    nbi_check_open(&c, options, report ? report : &own);
    c.self = &g;
    if (!f->f || (n_in && !f->in)) {
        nbi_check_fail(&c, NB_ERR_ARGUMENT, "check: the function or its inputs are NULL");
        return nbi_check_close(&c);
    }
    if (lay_out(&c, &g, f->in)) {
        const bool single = c.o.dtype == NB_F32;
        g.dtype = single && (c.o.no_double || !recordable(&c, &g, NB_F64)) ? NB_F32 : NB_F64;
        if (nbi_graph_open(&c, &g))
            nbi_graph_run(&c, &g);
        if (single && g.dtype == NB_F64 && kind == NBI_GRADIENT && !c.code &&
            c.r->verdict != NB_VERDICT_WRONG && c.r->verdict != NB_VERDICT_NOT_FINITE &&
            !c.r->stopped)
            compare_float(&c, &g);
    }
    nbi_graph_close(&g);
    return nbi_check_close(&c);
}

nb_verdict nb_check_function(nb_check_build *f, void *context, size_t n_in,
                             const nb_check_input *in, const nb_check_options *options,
                             nb_check_report *report)
{
    return check_function(NBI_GRADIENT, &(function){f, context, in}, n_in, options, report);
}

nb_verdict nb_check_function_jvp(nb_check_build *f, void *context, size_t n_in,
                                 const nb_check_input *in, const nb_check_options *options,
                                 nb_check_report *report)
{
    return check_function(NBI_FORWARD, &(function){f, context, in}, n_in, options, report);
}

nb_verdict nb_check_function_hvp(nb_check_build *f, void *context, size_t n_in,
                                 const nb_check_input *in, const nb_check_options *options,
                                 nb_check_report *report)
{
    return check_function(NBI_HESSIAN, &(function){f, context, in}, n_in, options, report);
}

typedef struct call {
    const nb_op *op;
    const void *state;
    size_t bytes, n_in;
} call;

static nb_var apply(void *context, nb_tape *t, const nb_var *in)
{
    const call *a = context;
    (void)t;
    return nb_apply(a->op, a->n_in, in, a->state, a->bytes);
}

nb_verdict nb_check_apply(const nb_op *op, const void *state, size_t bytes, size_t n_in,
                          const nb_check_input *in, const nb_check_options *options,
                          nb_check_report *report)
{
    call a = {op, state, bytes, n_in};
    return nb_check_function(op ? apply : NULL, &a, n_in, in, options, report);
}
