/*
 * A program as an operation on tensors.
 *
 * A node's state is a program and, for each of its outputs, what the result is like: the lanes, their
 * sum, or an operand. That is closed under differentiation. Let y = p(x) on a grid of lanes, each result
 * perhaps summed over axes of it. Then
 *
 *     reverse    d x[k] = vjp p (x, g), summed over the axes along which x[k] was broadcast: like x[k]
 *     tangent    t y    = jvp p (x, t), like y
 *
 * are programs on the same grid, with operands that broadcast to it, and so again such a node: the rules as
 * graph code are one call, and the rule over arrays is the same computation without the node.
 *
 * A program with several outputs computes them into one vector; the results are parts of it. The
 * program is held by each node that has it, and let go when the node is forgotten.
 */
#include "program/map.h"

#include <nabla/map.h>
#include <nabla/ops.h>

static nb_shape shape_of(const nb_array *a)
{
    nb_shape s = {.rank = a->rank};
    for (int i = 0; i < a->rank; i++)
        s.dims[i] = a->dims[i];
    return s;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static nb_code refuse_elements(const nb_call *c, size_t k, const nbi_argument *a)
{
    return nb_refuse(c, NB_ERR_SHAPE, "an operand does not have the elements of its argument",
                     "operand %c: the last axis is to hold the %zu of \"%.60s\"",
                     (int)('a' + k % 26), a->count, a->name);
}

static nb_code refuse_broadcast(const nb_call *c, size_t k, const nbi_argument *a, nb_shape axes,
                                nb_shape others)
{
    char own[NBI_SHAPE_TEXT], rest[NBI_SHAPE_TEXT];
    return nb_refuse(c, NB_ERR_SHAPE, "the lanes of the operands do not broadcast",
                     "operand %c, \"%.60s\", has lanes %s, those before it %s", (int)('a' + k % 26),
                     a->name, nbi_shape_text(own, axes.rank, axes.dims),
                     nbi_shape_text(rest, others.rank, others.dims));
}

/* The axes of lanes that the operands broadcast to. */
static nb_code broadcast(const nb_call *c, const nb_program *p, nb_shape *lanes)
{
    *lanes = (nb_shape){-1, {0}};
    for (size_t k = 0; k < c->n_in; k++) {
        const nbi_argument *a = &p->in[k];
        const nb_shape s = shape_of(&c->in[k]), axes = nbi_map_axes(a, s);
        if (a->vector && (s.rank < 1 || s.dims[s.rank - 1] != (int64_t)a->count))
            return refuse_elements(c, k, a);
        const nb_shape before = *lanes;
        if (!nbi_broadcast(lanes, axes.rank, axes.dims))
            return refuse_broadcast(c, k, a, axes, before);
    }
    return NB_OK;
}

static bool open_layout(nb_tape *t, const nbi_mapping *m, nbi_map_layout *l)
{
    const nb_program *p = l->p = m->p;
    l->in = nbi_scratch(t, (p->n_in + p->n_out) * sizeof *l->in);
    if (!l->in) {
        nbi_no_memory(t, "map");
        return false;
    }
    l->out = l->in + p->n_in;
    l->lanes = (nb_shape){-1, {0}};
    return true;
}

/* The shapes of the results, once those of the operands are there. */
static void lay_out(const nbi_mapping *m, nbi_map_layout *l)
{
    for (size_t k = 0; k < m->p->n_in; k++) {
        const nb_shape axes = nbi_map_axes(&m->p->in[k], l->in[k]);
        nbi_broadcast(&l->lanes, axes.rank, axes.dims);
    }
    for (size_t k = 0; k < m->p->n_out; k++)
        l->out[k] = nbi_map_shape(&m->p->out[k], m->like[k], l->lanes, l->in);
}

bool nbi_map_of_arrays(const nb_call *c, nbi_map_layout *l)
{
    if (!open_layout(c->tape, c->state, l))
        return false;
    for (size_t k = 0; k < c->n_in; k++)
        l->in[k] = shape_of(&c->in[k]);
    lay_out(c->state, l);
    return true;
}

bool nbi_map_of_vars(nb_tape *t, const nbi_mapping *m, const nb_var *x, nbi_map_layout *l)
{
    if (!open_layout(t, m, l))
        return false;
    for (size_t k = 0; k < m->p->n_in; k++)
        l->in[k] = nb_shape_of(x[k]);
    lay_out(m, l);
    return true;
}

static nb_code map_shape(const nb_call *c, nb_shape *out)
{
    const nbi_mapping *m = c->state;
    nbi_map_layout l;
    int64_t total = 0;
    nb_shape lanes;
    const nb_code code = broadcast(c, m->p, &lanes);
    if (code != NB_OK)
        return code;
    if (!nbi_map_of_arrays(c, &l))
        return NB_ERR_MEMORY;
    for (size_t k = 0; k < m->p->n_out; k++) {
        const int64_t size = l.out[k].rank < 0 ? 1 : nb_shape_size(l.out[k]);
        if (l.out[k].rank > NB_MAX_RANK)
            return nb_refuse(c, NB_ERR_SHAPE, "a result has too many axes", "%d are the most",
                             NB_MAX_RANK);
        if (size < 0 || __builtin_add_overflow(total, size, &total))
            return nb_refuse(c, NB_ERR_OVERFLOW, "the results have too many elements", NULL);
    }
    *out = m->p->n_out == 1 ? l.out[0] : NB_SHAPE(total);
    return NB_OK;
}

/* ---- values ---------------------------------------------------------------------------------- */

char *nbi_map_part(const nb_array *whole, const nb_shape *shape, size_t k)
{
    size_t at = 0;
    for (size_t j = 0; j < k; j++)
        at += nbi_map_size(shape[j]);
    return (char *)whole->data + at * nbi_element(whole->dtype);
}

static nb_code map_forward(const nb_call *c)
{
    const nbi_mapping *m = c->state;
    const nb_program *p = m->p;
    nbi_map_layout l;
    nbi_map_in *in = nbi_scratch(c->tape, p->n_in * sizeof *in);
    nbi_map_out *out = nbi_scratch(c->tape, p->n_out * sizeof *out);
    if (!in || !out)
        return nbi_no_memory(c->tape, "map");
    if (!nbi_map_of_arrays(c, &l))
        return NB_ERR_MEMORY;
    for (size_t k = 0; k < p->n_in; k++)
        in[k] = (nbi_map_in){c->in[k].data, l.in[k]};
    for (size_t k = 0; k < p->n_out; k++)
        out[k] = (nbi_map_out){nbi_map_part(c->out, l.out, k), (int64_t)nbi_map_size(l.out[k]),
                               c->out->dtype, false, m->like[k]};
    return nbi_map_run(c, p, l.lanes, in, out);
}

void nbi_map_take_apart(nb_var all, size_t n, const nb_shape *shape, nb_var *part)
{
    int64_t at = 0;
    for (size_t k = 0; k < n; k++) {
        const int64_t size = (int64_t)nbi_map_size(shape[k]);
        if (n == 1 || !nb_ok(all))
            part[k] = all;
        else if (shape[k].rank < 0)
            part[k] = nb_at_index(all, 1, &at);
        else
            part[k] = nb_reshape(nb_slice(all, 0, at, at + size, 1), shape[k]);
        at += size;
    }
}

/* ---- recording ------------------------------------------------------------------------------- */

bool nbi_map_open(nb_tape *t, nbi_map_draft *d, const nb_program *p)
{
    *d = (nbi_map_draft){.p = p};
    if (!p)
        return false;
    d->x = nbi_scratch(t, p->n_in * sizeof *d->x);
    d->m = nbi_scratch(t, sizeof *d->m + p->n_out * sizeof *d->m->like);
    if (!d->x || !d->m) {
        nbi_no_memory(t, "map");
        return false;
    }
    d->m->p = p;
    return true;
}

nb_var nbi_map_apply(const nbi_map_draft *d)
{
    const size_t bytes = sizeof *d->m + d->p->n_out * sizeof *d->m->like;
    nbi_program_hold(d->p);
    const nb_var y = nb_apply(&nbi_op_map, d->p->n_in, d->x, d->m, bytes);
    if (!nb_ok(y))
        nb_program_free((nb_program *)d->p); /* what was held just now */
    return y;
}

static void map_destroy(void *state)
{
    const nbi_mapping *m = state;
    nb_program_free((nb_program *)m->p);
}

/* ---- the call -------------------------------------------------------------------------------- */

/* The tape, if the call makes sense. */
static nb_tape *home(const nb_program *p, size_t n, const nb_var *x, nb_var *inert)
{
    nb_tape *t = x ? nbi_home("map", n, x, inert) : NULL;
    if (!x)
        *inert = NB_NONE;
    if (!t)
        return NULL;
    if (!p)
        nbi_fail(t, NB_ERR_ARGUMENT, "map: the program is NULL");
    else if (p->n_in != n)
        nbi_fail(t, NB_ERR_ARGUMENT, "map: the program has %zu inputs, %zu operands were given",
                 p->n_in, n);
    else
        return t;
    *inert = nbi_inert(t);
    return NULL;
}

/* The node that holds all outputs. */
static nb_var map(nb_tape *t, const nb_program *p, const nb_var *x, nbi_map_draft *d)
{
    if (!nbi_map_open(t, d, p))
        return nbi_inert(t);
    for (size_t k = 0; k < p->n_out; k++)
        d->m->like[k] = p->out[k].sum ? NBI_LIKE_SUM : NBI_LIKE_LANES;
    memcpy(d->x, x, p->n_in * sizeof *x);
    return nbi_map_apply(d);
}

nb_var nb_map(const nb_program *p, size_t n, const nb_var *x)
{
    nb_var y;
    nbi_map_draft d;
    nb_tape *t = home(p, n, x, &y);
    if (!t)
        return y;
    if (p->n_out != 1) {
        nbi_fail(t, NB_ERR_ARGUMENT, "map: the program has %zu outputs; nb_map_all gives them all",
                 p->n_out);
        return nbi_inert(t);
    }
    const nbi_spot scratch = t->scratch.at;
    y = map(t, p, x, &d);
    nbi_give_back(&t->scratch, scratch);
    return y;
}

static bool map_all(nb_tape *t, const nb_program *p, const nb_var *x, nb_var *out)
{
    nbi_map_draft d;
    nbi_map_layout l;
    const nb_var all = map(t, p, x, &d);
    bool done = nb_ok(all) && nbi_map_of_vars(t, d.m, x, &l);
    if (done)
        nbi_map_take_apart(all, p->n_out, l.out, out);
    for (size_t k = 0; done && k < p->n_out; k++)
        done = nb_ok(out[k]);
    return done;
}

nb_code nb_map_all(const nb_program *p, size_t n, const nb_var *x, nb_var *out)
{
    nb_var all;
    nb_tape *t = out ? home(p, n, x, &all) : NULL;
    if (!out)
        return NB_ERR_ARGUMENT;
    if (t) {
        const nbi_spot scratch = t->scratch.at;
        const nb_mark before = nbi_mark(t);
        const bool done = map_all(t, p, x, out);
        if (!done)
            nbi_truncate(t, &before);
        nbi_give_back(&t->scratch, scratch);
        if (done)
            return NB_OK;
        all = nbi_inert(t);
    }
    for (size_t k = 0; p && k < p->n_out; k++)
        out[k] = all;
    return all.tape && all.tape->code ? all.tape->code : NB_ERR_HANDLE;
}

/* ---- the record ------------------------------------------------------------------------------ */

const nb_op nbi_op_map = {
    .name = "map",
    .doc = "a program over tensors",
    .shape = map_shape,
    .forward = map_forward,
    .reverse = nbi_map_reverse,
    .reverse_arrays = nbi_map_reverse_arrays,
    .overwrites = true,
    .tangent = nbi_map_tangent,
    .sample = nbi_map_sample,
    .destroy = map_destroy,
};
