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

#include "program/derived.h"
#include <nabla/map.h>
#include <nabla/ops.h>

typedef struct mapping {
    const nb_program *p;
    int32_t like[]; /* [n_out] */
} mapping;

static size_t size_of(nb_shape s) { return s.rank < 0 ? 1 : (size_t)nb_shape_size(s); }

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

/* A node whose operands were checked: lanes and shapes, in scratch. */
typedef struct layout {
    const nb_program *p;
    nb_shape lanes, *in, *out;
} layout;

static bool open_layout(nb_tape *t, const mapping *m, layout *l)
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
static void lay_out(const mapping *m, layout *l)
{
    for (size_t k = 0; k < m->p->n_in; k++) {
        const nb_shape axes = nbi_map_axes(&m->p->in[k], l->in[k]);
        nbi_broadcast(&l->lanes, axes.rank, axes.dims);
    }
    for (size_t k = 0; k < m->p->n_out; k++)
        l->out[k] = nbi_map_shape(&m->p->out[k], m->like[k], l->lanes, l->in);
}

static bool layout_of_arrays(const nb_call *c, layout *l)
{
    if (!open_layout(c->tape, c->state, l))
        return false;
    for (size_t k = 0; k < c->n_in; k++)
        l->in[k] = shape_of(&c->in[k]);
    lay_out(c->state, l);
    return true;
}

static bool layout_of_vars(nb_tape *t, const mapping *m, const nb_var *x, layout *l)
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
    const mapping *m = c->state;
    layout l;
    int64_t total = 0;
    nb_shape lanes;
    const nb_code code = broadcast(c, m->p, &lanes);
    if (code != NB_OK)
        return code;
    if (!layout_of_arrays(c, &l))
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

/* Parts of one array, of those shapes: their data. */
static char *part_of(const nb_array *whole, const nb_shape *shape, size_t k)
{
    size_t at = 0;
    for (size_t j = 0; j < k; j++)
        at += size_of(shape[j]);
    return (char *)whole->data + at * nbi_element(whole->dtype);
}

static nb_code map_forward(const nb_call *c)
{
    const mapping *m = c->state;
    const nb_program *p = m->p;
    layout l;
    nbi_map_in *in = nbi_scratch(c->tape, p->n_in * sizeof *in);
    nbi_map_out *out = nbi_scratch(c->tape, p->n_out * sizeof *out);
    if (!in || !out)
        return nbi_no_memory(c->tape, "map");
    if (!layout_of_arrays(c, &l))
        return NB_ERR_MEMORY;
    for (size_t k = 0; k < p->n_in; k++)
        in[k] = (nbi_map_in){c->in[k].data, l.in[k]};
    for (size_t k = 0; k < p->n_out; k++)
        out[k] = (nbi_map_out){part_of(c->out, l.out, k), (int64_t)size_of(l.out[k]), c->out->dtype,
                               false, m->like[k]};
    return nbi_map_run(c, p, l.lanes, in, out);
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* The program of a rule. NULL after an error. */
static const nb_program *derived(nb_tape *t, const nb_program *p, nbi_derivation how,
                                 const bool *want)
{
    uint8_t *flags = nbi_scratch(t, p->n_in);
    for (size_t k = 0; flags && k < p->n_in; k++)
        flags[k] = want[k] ? NBI_WANTED : 0;
    const nb_program *q = flags ? nbi_derived_of(p, how, flags) : NULL;
    if (!q)
        nbi_no_memory(t, "map");
    return q;
}

/* The adjoint in the tape's type: that of a scalar result is a double on every tape. */
static bool narrow(nb_tape *t, nb_array *g)
{
    if (g->dtype == t->dtype)
        return true;
    float *f = nbi_scratch(t, sizeof *f);
    if (!f)
        return nbi_no_memory(t, "map"), false;
    *f = (float)*(const double *)g->data;
    g->data = f;
    g->dtype = t->dtype;
    return true;
}

static nb_code map_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                  const bool *add)
{
    const mapping *m = c->state;
    const nb_program *p = m->p;
    nb_tape *t = c->tape;
    nb_array seed = *g;
    layout l;
    bool *want = nbi_scratch(t, p->n_in);
    nbi_map_in *in = nbi_scratch(t, (p->n_in + p->n_out) * sizeof *in);
    nbi_map_out *out = nbi_scratch(t, p->n_in * sizeof *out);
    if (!want || !in || !out)
        return nbi_no_memory(t, "map");
    if (!layout_of_arrays(c, &l) || !narrow(t, &seed))
        return NB_ERR_MEMORY;
    size_t n = 0;
    for (size_t k = 0; k < p->n_in; k++) {
        in[k] = (nbi_map_in){c->in[k].data, l.in[k]};
        want[k] = gin[k] != NULL;
        if (want[k])
            out[n++] = (nbi_map_out){gin[k]->data, gin[k]->size, gin[k]->dtype, add[k], (int32_t)k};
    }
    for (size_t k = 0; k < p->n_out; k++)
        in[p->n_in + k] = (nbi_map_in){part_of(&seed, l.out, k), l.out[k]};
    const nb_program *q = derived(t, p, NBI_DERIVE_VJP, want);
    return q ? nbi_map_run(c, q, l.lanes, in, out) : NB_ERR_MEMORY;
}

/* Takes the results out of the node that holds them all. */
static void take_apart(nb_var all, size_t n, const nb_shape *shape, nb_var *part)
{
    int64_t at = 0;
    for (size_t k = 0; k < n; k++) {
        const int64_t size = (int64_t)size_of(shape[k]);
        if (n == 1 || !nb_ok(all))
            part[k] = all;
        else if (shape[k].rank < 0)
            part[k] = nb_at_index(all, 1, &at);
        else
            part[k] = nb_reshape(nb_slice(all, 0, at, at + size, 1), shape[k]);
        at += size;
    }
}

/* Records a node; inert after an error. like: per output. */
static nb_var apply(const nb_program *p, const nb_var *x, const int32_t *like, mapping *m)
{
    m->p = p;
    memcpy(m->like, like, p->n_out * sizeof *like);
    nbi_program_hold(p);
    const nb_var y = nb_apply(&nbi_op_map, p->n_in, x, m, sizeof *m + p->n_out * sizeof *like);
    if (!nb_ok(y))
        nb_program_free((nb_program *)p); /* what was held just now */
    return y;
}

static void map_destroy(void *state)
{
    const mapping *m = state;
    nb_program_free((nb_program *)m->p);
}

/* What a rule hands to the node that it records. */
typedef struct draft {
    const nb_program *q;
    nb_var *x;
    int32_t *like;
    mapping *m;
} draft;

static bool open_draft(nb_tape *t, draft *d, const nb_program *q)
{
    *d = (draft){.q = q};
    if (!q)
        return false;
    d->x = nbi_scratch(t, q->n_in * sizeof *d->x);
    d->like = nbi_scratch(t, q->n_out * sizeof *d->like);
    d->m = nbi_scratch(t, sizeof *d->m + q->n_out * sizeof *d->like);
    if (d->x && d->like && d->m)
        return true;
    nbi_no_memory(t, "map");
    return false;
}

static nb_code map_reverse(const nb_rule *r)
{
    const mapping *m = r->state;
    const size_t n = m->p->n_in;
    layout l;
    draft d;
    size_t wanted = 0;
    if (!layout_of_vars(r->tape, m, r->in, &l) ||
        !open_draft(r->tape, &d, derived(r->tape, m->p, NBI_DERIVE_VJP, r->want)))
        return r->tape->code;
    nb_shape *shape = nbi_scratch(r->tape, n * sizeof *shape);
    nb_var *part = nbi_scratch(r->tape, n * sizeof *part);
    if (!shape || !part)
        return nbi_no_memory(r->tape, "map");
    memcpy(d.x, r->in, n * sizeof *d.x);
    take_apart(r->g, m->p->n_out, l.out, d.x + n);
    for (size_t k = 0; k < n; k++)
        if (r->want[k]) {
            shape[wanted] = l.in[k];
            d.like[wanted++] = (int32_t)k;
        }
    const nb_var all = apply(d.q, d.x, d.like, d.m);
    take_apart(all, wanted, shape, part);
    for (size_t k = 0; k < wanted; k++)
        r->d[d.like[k]] = part[k];
    return nb_ok(all) ? NB_OK : r->tape->code;
}

static nb_code map_tangent(const nb_rule *r)
{
    const mapping *m = r->state;
    draft d;
    size_t n = m->p->n_in;
    if (!open_draft(r->tape, &d, derived(r->tape, m->p, NBI_DERIVE_JVP, r->want)))
        return r->tape->code;
    memcpy(d.x, r->in, n * sizeof *d.x);
    for (size_t k = 0; k < m->p->n_in; k++)
        if (r->want[k])
            d.x[n++] = r->t[k];
    r->d[0] = apply(d.q, d.x, m->like, d.m);
    return nb_ok(r->d[0]) ? NB_OK : r->tape->code;
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
static nb_var map(nb_tape *t, const nb_program *p, const nb_var *x, draft *d)
{
    if (!open_draft(t, d, p))
        return nbi_inert(t);
    for (size_t k = 0; k < p->n_out; k++)
        d->like[k] = p->out[k].sum ? NBI_LIKE_SUM : NBI_LIKE_LANES;
    return apply(p, x, d->like, d->m);
}

nb_var nb_map(const nb_program *p, size_t n, const nb_var *x)
{
    nb_var y;
    draft d;
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

nb_code nb_map_all(const nb_program *p, size_t n, const nb_var *x, nb_var *out)
{
    nb_var all;
    draft d;
    layout l;
    nb_tape *t = out ? home(p, n, x, &all) : NULL;
    if (!out)
        return NB_ERR_ARGUMENT;
    if (t) {
        const nbi_spot scratch = t->scratch.at;
        const nb_mark before = nbi_mark(t);
        all = map(t, p, x, &d);
        if (nb_ok(all) && !layout_of_vars(t, d.m, x, &l))
            all = nbi_inert(t);
        if (nb_ok(all))
            take_apart(all, p->n_out, l.out, out);
        bool done = nb_ok(all);
        for (size_t k = 0; done && k < p->n_out; k++)
            done = nb_ok(out[k]);
        if (!done) {
            nbi_truncate(t, &before);
            all = nbi_inert(t);
        }
        nbi_give_back(&t->scratch, scratch);
        if (done)
            return NB_OK;
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
    .reverse = map_reverse,
    .reverse_arrays = map_reverse_arrays,
    .overwrites = true,
    .tangent = map_tangent,
    .sample = nbi_map_sample,
    .destroy = map_destroy,
};
