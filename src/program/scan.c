/*
 * nb_scan: a program as the step of a loop over time, in one node.
 *
 * A node holds the states of all times and all else that the steps give, one after the other in a
 * vector; results are parts of it. So the reverse rule finds the states where they are (scan_rules.c).
 * Inside, an operand is either one value for all lanes or has a value for each (scan.h). What broadcasts
 * along some axes of the lanes and not along others is expanded before, and so is an initial state that
 * lanes share: their states part with the first step.
 */
#include "program/scan.h"

#include <nabla/map.h>
#include <nabla/ops.h>

/* ---- the record ------------------------------------------------------------------------------ */

/* Times that output k has an entry for. */
static int64_t times(const nbi_scan *s, size_t k)
{
    const int role = nbi_scan_role(s, s->p->n_in + k);
    return role == NBI_SCAN_STATE ? s->steps + 1 : role == NBI_SCAN_EACH ? s->steps : 1;
}

int64_t nbi_scan_place(const nbi_scan *s, size_t k)
{
    int64_t at = 0;
    for (size_t j = 0; j < k; j++)
        at += times(s, j) * nbi_scan_width(s, s->p->n_in + j);
    return at;
}

static nb_code scan_shape(const nb_call *c, nb_shape *out)
{
    const nbi_scan *s = c->state;
    int64_t total = 0, size;
    for (size_t k = 0; k < s->p->n_out; k++)
        if (__builtin_mul_overflow((int64_t)s->p->out[k].count, s->lanes, &size) ||
            __builtin_mul_overflow(size, times(s, k), &size) ||
            __builtin_add_overflow(total, size, &total))
            return nb_refuse(c, NB_ERR_OVERFLOW, "the results have too many elements", NULL);
    *out = NB_SHAPE(nbi_scan_place(s, s->p->n_out));
    return NB_OK;
}

static nb_code scan_forward(const nb_call *c)
{
    const nbi_scan *s = c->state;
    const nb_program *p = s->p;
    const void **in = nbi_scratch(c->tape, p->n_in * sizeof *in);
    nbi_scan_out *out = nbi_scratch(c->tape, p->n_out * sizeof *out);
    if (!in || !out)
        return nbi_no_memory(c->tape, "scan");
    for (size_t k = 0; k < p->n_in; k++)
        in[k] = c->in[k].data;
    for (size_t k = 0; k < p->n_out; k++)
        out[k] = (nbi_scan_out){.data = (char *)c->out->data +
                                        (size_t)nbi_scan_place(s, k) * nbi_element(c->out->dtype),
                                .dtype = c->out->dtype};
    return nbi_scan_run(c, s, in, out);
}

static void scan_destroy(void *state)
{
    const nbi_scan *s = state;
    nb_program_free((nb_program *)s->p);
}

nb_var nbi_scan_apply(nb_tape *t, const nbi_scan *s, const nb_var *x)
{
    const nb_program *p = s->p;
    nbi_program_hold(p);
    const nb_var y = nb_apply(&nbi_op_scan, p->n_in, x, s, sizeof *s + p->n_in + p->n_out);
    if (!nb_ok(y))
        nb_program_free((nb_program *)p); /* what was held just now */
    return nb_ok(y) ? y : nbi_inert(t);
}

nb_var nbi_scan_part(nb_var all, int64_t at, int64_t size, nb_shape shape)
{
    if (shape.rank < 0)
        return nb_at_index(all, 1, &at);
    const nb_var part = size == nb_size(all) ? all : nb_slice(all, 0, at, at + size, 1);
    return shape.rank == 1 ? part : nb_reshape(part, shape);
}

const nb_op nbi_op_scan = {
    .name = "scan",
    .doc = "a program as the step of a loop",
    .shape = scan_shape,
    .forward = scan_forward,
    .reverse = nbi_scan_reverse,
    .reverse_arrays = nbi_scan_reverse_arrays,
    .overwrites = true,
    .tangent = nbi_scan_tangent,
    .sample = nbi_scan_sample,
    .destroy = scan_destroy,
};

/* ---- the call -------------------------------------------------------------------------------- */

typedef struct call {
    nb_tape *t;
    const nb_scan_spec *spec;
    const nb_program *p;
    nb_shape lanes; /* rank -1: no axes */
    nbi_scan *s;
    nb_var *x; /* as they are scanned over */
} call;

/* Whether the operand has an entry for each step, in front. */
static bool has_time(const call *c, size_t k)
{
    return k >= c->spec->n_state && k < c->spec->n_state + c->spec->n_each;
}

static nb_code refuse_shape(const call *c, size_t k, nb_shape s, const char *due)
{
    char text[NBI_SHAPE_TEXT];
    return nbi_fail(c->t, NB_ERR_SHAPE, "scan: operand %c, \"%.60s\", has shape %s: %s",
                    (int)('a' + k % 26), c->p->in[k].name, nbi_shape_text(text, s.rank, s.dims),
                    due);
}

/* The axes of lanes of operand k. */
static nb_code axes_of(const call *c, size_t k, nb_shape *axes)
{
    const nbi_argument *a = &c->p->in[k];
    const nb_shape s = nb_shape_of(c->x[k]);
    char due[120];
    const int time = has_time(c, k), own = time + a->vector;
    if (time && (s.rank < 1 || s.dims[0] != c->spec->steps)) {
        snprintf(due, sizeof due, "its first axis is to hold the %lld steps",
                 (long long)c->spec->steps);
        return refuse_shape(c, k, s, due);
    }
    if (a->vector && (s.rank < own || s.dims[s.rank - 1] != (int64_t)a->count)) {
        snprintf(due, sizeof due, "its last axis is to hold the %zu elements", a->count);
        return refuse_shape(c, k, s, due);
    }
    axes->rank = s.rank > own ? s.rank - own : -1;
    for (int i = 0; i < axes->rank; i++)
        axes->dims[i] = s.dims[time + i];
    return NB_OK;
}

static nb_code broadcast(call *c)
{
    nb_shape axes;
    char own[NBI_SHAPE_TEXT], others[NBI_SHAPE_TEXT];
    c->lanes = (nb_shape){-1, {0}};
    for (size_t k = 0; k < c->p->n_in; k++) {
        const nb_code code = axes_of(c, k, &axes);
        if (code != NB_OK)
            return code;
        const nb_shape before = c->lanes;
        if (!nbi_broadcast(&c->lanes, axes.rank, axes.dims))
            return nbi_fail(c->t, NB_ERR_SHAPE,
                            "scan: the lanes of the operands do not broadcast\n"
                            "    operand %c, \"%.60s\", has lanes %s, those before it %s",
                            (int)('a' + k % 26), c->p->in[k].name,
                            nbi_shape_text(own, axes.rank, axes.dims),
                            nbi_shape_text(others, before.rank, before.dims));
    }
    c->s->lanes = c->lanes.rank < 0 ? 1 : nb_shape_size(c->lanes);
    if (c->s->lanes < 0 || c->lanes.rank > NB_MAX_RANK - 2)
        return nbi_fail(c->t, c->s->lanes < 0 ? NB_ERR_OVERFLOW : NB_ERR_SHAPE,
                        "scan: the operands have too many %s", c->s->lanes < 0 ? "lanes" : "axes");
    return NB_OK;
}

/* [time, lanes…, count], of what there is. */
static nb_shape shape_of(const call *c, int64_t time, bool lanes, const nbi_argument *a)
{
    nb_shape s = {0, {0}};
    if (time >= 0)
        s.dims[s.rank++] = time;
    for (int i = 0; lanes && i < c->lanes.rank; i++)
        s.dims[s.rank++] = c->lanes.dims[i];
    if (a->vector)
        s.dims[s.rank++] = (int64_t)a->count;
    return s;
}

/* x with lanes' axes of size 1 behind the time, as many as are missing. */
static nb_var deepen(nb_var x, int missing)
{
    nb_shape s = nb_shape_of(x), to = {s.rank + missing, {s.dims[0]}};
    for (int i = 1; i < to.rank; i++)
        to.dims[i] = i <= missing ? 1 : s.dims[i - missing];
    return nb_reshape(x, to);
}

/* Gives operand k its role, and one value or all of the lanes. */
static nb_code settle(call *c, size_t k)
{
    const nbi_argument *a = &c->p->in[k];
    const bool state = k < c->spec->n_state, time = has_time(c, k);
    const nb_shape full = shape_of(c, time ? c->spec->steps : -1, true, a);
    const nb_var x = c->x[k];
    nb_shape axes;
    axes_of(c, k, &axes);
    const int64_t size = axes.rank < 0 ? 1 : nb_shape_size(axes);
    c->s->role[k] = state ? NBI_SCAN_STATE : time ? NBI_SCAN_EACH : NBI_SCAN_FIXED;
    if (!state && size == 1 && (!time || c->s->lanes != 1)) {
        c->s->role[k] |= NBI_SCAN_UNIFORM;
        return NB_OK;
    }
    if (size == c->s->lanes)
        return NB_OK;
    if (!x.tape)
        c->x[k] = nb_full(c->t, full, nbi_number(x));
    else
        c->x[k] =
            nb_expand(time && nb_rank(x) < full.rank ? deepen(x, full.rank - nb_rank(x)) : x, full);
    return nb_ok(c->x[k]) ? NB_OK : c->t->code;
}

static nb_code check_spec(const call *c, size_t n)
{
    const nb_scan_spec *s = c->spec;
    const nb_program *p = c->p;
    if (n != p->n_in)
        return nbi_fail(c->t, NB_ERR_ARGUMENT,
                        "scan: the program has %zu inputs, %zu operands were given", p->n_in, n);
    if (s->steps < 0 || s->steps == INT64_MAX)
        return nbi_fail(c->t, NB_ERR_ARGUMENT, "scan: %lld steps", (long long)s->steps);
    if (s->n_state > n || s->n_each > n - s->n_state || s->n_state > p->n_out)
        return nbi_fail(c->t, NB_ERR_ARGUMENT,
                        "scan: %zu states and %zu operands for each step, of a program with %zu "
                        "inputs and %zu outputs",
                        s->n_state, s->n_each, n, p->n_out);
    for (size_t k = 0; k < s->n_state; k++)
        if (p->in[k].count != p->out[k].count || p->in[k].vector != p->out[k].vector ||
            p->out[k].sum)
            return nbi_fail(c->t, NB_ERR_SHAPE,
                            "scan: state \"%.60s\" has %zu elements, \"%.60s\" after a step %zu%s",
                            p->in[k].name, p->in[k].count, p->out[k].name, p->out[k].count,
                            p->out[k].sum ? ", summed over the lanes" : "");
    return NB_OK;
}

static nb_code open_call(call *c, size_t n, const nb_var *x)
{
    const nb_program *p = c->p;
    c->s = nbi_scratch(c->t, sizeof *c->s + p->n_in + p->n_out);
    c->x = nbi_scratch(c->t, n * sizeof *c->x);
    if (!c->s || !c->x)
        return nbi_no_memory(c->t, "scan");
    memcpy(c->x, x, n * sizeof *x);
    *c->s = (nbi_scan){.p = p, .steps = c->spec->steps};
    nb_code code = broadcast(c);
    for (size_t k = 0; k < n && code == NB_OK; k++)
        code = settle(c, k);
    for (size_t k = 0; k < p->n_out; k++)
        c->s->role[n + k] = k < c->spec->n_state ? NBI_SCAN_STATE
                            : p->out[k].sum      ? NBI_SCAN_EACH | NBI_SCAN_UNIFORM
                                                 : NBI_SCAN_EACH;
    return code;
}

static nb_code scan(call *c, size_t n, const nb_var *x, nb_var *out)
{
    nb_code code = check_spec(c, n);
    if (code == NB_OK)
        code = open_call(c, n, x);
    if (code != NB_OK)
        return code;
    const nb_var all = nbi_scan_apply(c->t, c->s, c->x);
    bool done = nb_ok(all);
    for (size_t k = 0; k < c->p->n_out && done; k++) {
        const int64_t time = times(c->s, k), width = nbi_scan_width(c->s, n + k);
        const nb_shape shape = shape_of(c, time, !c->p->out[k].sum, &c->p->out[k]);
        out[k] = nbi_scan_part(all, nbi_scan_place(c->s, k), time * width, shape);
        done = nb_ok(out[k]);
    }
    return done ? NB_OK : c->t->code;
}

nb_code nb_scan(const nb_scan_spec *spec, size_t n, const nb_var *x, nb_var *out)
{
    nb_var inert = NB_NONE;
    if (!out)
        return NB_ERR_ARGUMENT;
    call c = {.t = x ? nbi_home("scan", n, x, &inert) : NULL, .spec = spec};
    c.p = spec ? spec->step : NULL;
    nb_code code = inert.tape && inert.tape->code ? inert.tape->code : NB_ERR_HANDLE;
    if (c.t && !c.p) {
        code = nbi_fail(c.t, NB_ERR_ARGUMENT, "scan: the program is NULL");
    } else if (c.t) {
        const nbi_spot scratch = c.t->scratch.at;
        const nb_mark before = nbi_mark(c.t);
        code = scan(&c, n, x, out);
        if (code != NB_OK)
            nbi_truncate(c.t, &before);
        nbi_give_back(&c.t->scratch, scratch);
    }
    for (size_t k = 0; c.p && k < c.p->n_out && code != NB_OK; k++)
        out[k] = c.t ? nbi_inert(c.t) : inert;
    return code;
}
