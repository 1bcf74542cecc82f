/*
 * The forward sweep through one record.
 *
 * A record gives its tangent by its op's tangent rule, run with recording off. An op without one is
 * linear in the adjoint all the same, so its reverse rule serves: with u a stand-in for the adjoint,
 * J t is the gradient by u of the number <J^T u, t>. An op with a rule over arrays alone is asked for
 * the rows of J one by one.
 */
#include "tape/tape.h"

#include "kernels/elementwise.h"
#include "kernels/reduce.h"

/* One record with its operands and their tangents as vars. */
typedef struct push {
    nb_tape *t;
    nbi_record *r;
    uint32_t i;
    nb_var *in, *tangent, *d; /* [n_in] */
    bool *has;                /* [n_in] */
} push;

static bool has_tangent(const nb_tape *t, uint32_t i)
{
    return nbi_is_tensor(t, i) ? nbi_record_at(t, i)->tangent != NULL : t->tangent[i] != 0;
}

static nb_var tangent_var(nb_tape *t, uint32_t i)
{
    if (!nbi_is_tensor(t, i))
        return nb_constant(t, t->tangent[i]);
    nb_var v;
    const nbi_record *r = nbi_record_at(t, i);
    nbi_leaf(t, nb_shape_make((size_t)r->rank, r->dims), r->tangent, true, &v);
    return v;
}

static bool open_push(push *p)
{
    nb_tape *t = p->t;
    size_t n = p->r->n_in;
    p->in = nbi_scratch(t, n * sizeof *p->in);
    p->tangent = nbi_scratch(t, n * sizeof *p->tangent);
    p->d = nbi_scratch(t, (n ? n : 1) * sizeof *p->d);
    p->has = nbi_scratch(t, n);
    if (!p->in || !p->tangent || !p->d || !p->has) {
        nbi_no_memory(t, p->r->op->name);
        return false;
    }
    for (size_t k = 0; k < n; k++) {
        p->has[k] = has_tangent(t, p->r->in[k]);
        p->in[k] = nbi_var(t, p->r->in[k]);
        p->d[k] = NB_NONE;
        p->tangent[k] = p->has[k] ? tangent_var(t, p->r->in[k]) : NB_NONE;
        if (p->has[k] && p->tangent[k].epoch == NBI_INERT)
            return false;
    }
    return true;
}

/* The tangent of operand k; a scalar's is double on every tape. */
static nb_array tangent_array(const push *p, size_t k)
{
    const uint32_t i = p->tangent[k].index;
    float unused;
    if (nbi_is_tensor(p->t, i))
        return nbi_array_of(p->t, i, &unused);
    return (nb_array){&p->t->hot.cells[i].value, NULL, 1, -1, NB_F64};
}

/* Stores var d, stretched to the node's shape, as its tangent. */
static bool keep_tangent(push *p, nb_var d)
{
    nb_tape *t = p->t;
    float rounded;
    double number = d.tape ? 0 : nbi_number(d);
    nb_array a = {&number, NULL, 1, -1, NB_F64};
    if (d.tape && nbi_is_tensor(t, d.index))
        a = nbi_array_of(t, d.index, &rounded);
    else if (d.tape)
        number = t->hot.cells[d.index].value;
    if (p->r->rank < 0) {
        nb_array out = {&t->tangent[p->i], NULL, 1, -1, NB_F64};
        nbi_reduce_into(&t->crew, &a, &out, false);
        return true;
    }
    size_t bytes = (size_t)p->r->size * nbi_element(t->dtype);
    void *to = nbi_take(&t->tangents, bytes, NBI_ALIGN);
    if (!to) {
        nbi_no_memory(t, "a tangent");
        return false;
    }
    p->r->tangent = to;
    nb_array out = {to, p->r->dims, p->r->size, p->r->rank, t->dtype};
    nbi_reduce_into(&t->crew, &a, &out, false);
    return true;
}

static nb_rule rule_of(push *p)
{
    return (nb_rule){.tape = p->t,
                     .op = p->r->op,
                     .n_in = p->r->n_in,
                     .in = p->in,
                     .out = nbi_var(p->t, p->i),
                     .t = p->tangent,
                     .want = p->has,
                     .d = p->d,
                     .state = p->r->state};
}

static bool by_tangent_rule(push *p)
{
    nb_rule rule = rule_of(p);
    p->d[0] = NB_NONE;
    nb_code code = p->r->op->tangent(&rule);
    if (code != NB_OK || !nbi_fits(p->t, p->d[0], p->i)) {
        nbi_fail(p->t, code ? code : NB_ERR_CALLBACK, "%s: the tangent rule failed",
                 p->r->op->name);
        return false;
    }
    return nbi_is_inert(p->d[0]) || keep_tangent(p, p->d[0]);
}

static bool fails(push *p, nb_code code)
{
    nbi_fail(p->t, code ? code : NB_ERR_CALLBACK, "%s: the reverse rule failed", p->r->op->name);
    return false;
}

/* ---- by the reverse rule, twice -------------------------------------------------------------- */

/* An input of the node's shape, all zeros. */
static bool stand_in(push *p, nb_var *u)
{
    nb_tape *t = p->t;
    if (p->r->rank < 0) {
        *u = nb_input(t, NULL, 0);
        return nb_ok(*u);
    }
    nbi_record *r = nbi_leaf(t, nb_shape_make((size_t)p->r->rank, p->r->dims), NULL, false, u);
    if (r)
        memset(r->data, 0, (size_t)r->size * nbi_element(t->dtype));
    return r != NULL;
}

/* Seeds the nodes d[k] = (J^T u)_k with the tangents: the adjoints of <J^T u, t>. */
static bool seed_results(push *p, nb_var u, uint32_t *top)
{
    nb_tape *t = p->t;
    *top = u.index;
    for (size_t k = 0; k < p->r->n_in; k++) {
        const nb_var d = p->d[k];
        if (!p->has[k] || !d.tape)
            continue;
        if (!nbi_fits(t, d, p->r->in[k]))
            return fails(p, NB_ERR_CALLBACK);
        if (d.index < u.index || nbi_still(t, d.index))
            continue;
        nb_array a = tangent_array(p, k);
        if (!nbi_accumulate(t, d.index, &a))
            return false;
        *top = d.index > *top ? d.index : *top;
    }
    return true;
}

/* Marks the nodes between u and top that depend on u: the sweep must touch no others. */
static uint8_t *only_on(push *p, uint32_t u, uint32_t top)
{
    nb_tape *t = p->t;
    uint8_t *only = nbi_scratch(t, (size_t)top + 1);
    if (!only) {
        nbi_no_memory(t, p->r->op->name);
        return NULL;
    }
    memset(only, 0, (size_t)top + 1);
    only[u] = 1;
    for (uint32_t i = u + 1; i <= top; i++)
        for (size_t k = 0; !only[i] && !nbi_still(t, i) && k < nbi_operands(t, i); k++)
            only[i] = only[nbi_operand(t, i, k)];
    return only;
}

static bool by_reverse_rule(push *p)
{
    nb_tape *t = p->t;
    nb_var u;
    uint32_t top;
    if (!stand_in(p, &u))
        return false;
    nb_set_recording(t, true);
    nb_rule rule = rule_of(p);
    rule.g = u;
    nb_code code = p->r->op->reverse(&rule);
    nb_set_recording(t, false);
    if (code != NB_OK)
        return fails(p, code);
    uint8_t *only = seed_results(p, u, &top) ? only_on(p, u.index, top) : NULL;
    bool done = only && nbi_sweep(t, top, u.index, only);
    if (done && p->r->rank >= 0 && nbi_record_at(t, u.index)->grad)
        memcpy(nbi_record_at(t, u.index)->data, nbi_record_at(t, u.index)->grad,
               (size_t)p->r->size * nbi_element(t->dtype));
    nbi_adjoints_release(t, u.index, t->hot.length);
    return done && keep_tangent(p, p->r->rank < 0 ? nb_num(t->hot.cells[u.index].adjoint) : u);
}

/* ---- by a rule over arrays, row by row ------------------------------------------------------- */

/* What the rule is called with; g holds one unit adjoint at a time. */
typedef struct rows {
    nb_array out, g, *in, *gin, **to;
    bool *add;
    float *rounded;
    double value;
} rows;

static bool open_rows(push *p, rows *w)
{
    nb_tape *t = p->t;
    const size_t n = p->r->n_in;
    float unused;
    w->value = t->hot.cells[p->i].value;
    w->out = p->r->rank < 0 ? (nb_array){&w->value, NULL, 1, -1, NB_F64}
                            : nbi_array_of(t, p->i, &unused);
    w->g = w->out;
    w->g.data = nbi_scratch(t, (size_t)w->g.size * sizeof(double));
    w->in = nbi_scratch(t, n * sizeof *w->in);
    w->gin = nbi_scratch(t, n * sizeof *w->gin);
    w->to = nbi_scratch(t, n * sizeof *w->to);
    w->add = nbi_scratch(t, n);
    w->rounded = nbi_scratch(t, n * sizeof *w->rounded);
    bool ok = w->g.data && w->in && w->gin && w->to && w->add && w->rounded;
    for (size_t k = 0; ok && k < n; k++) {
        w->in[k] = w->gin[k] = nbi_array_of(t, p->r->in[k], &w->rounded[k]);
        if (w->in[k].rank < 0)
            w->gin[k].dtype = NB_F64;
        w->gin[k].data = nbi_scratch(t, (size_t)w->gin[k].size * sizeof(double));
        w->to[k] = p->has[k] ? &w->gin[k] : NULL;
        w->add[k] = true;
        ok = w->gin[k].data != NULL;
    }
    if (!ok)
        nbi_no_memory(t, p->r->op->name);
    return ok;
}

/* <row j of J, t> */
static nb_code row(push *p, rows *w, int64_t j, double *dot)
{
    static const double one = 1;
    nb_call c = {p->t, p->r->op, p->r->n_in, w->in, &w->out, p->r->state, NULL};
    memset(w->g.data, 0, (size_t)w->g.size * sizeof(double));
    nbi_put(w->g.dtype, w->g.data, j, 1, &one);
    for (size_t k = 0; k < p->r->n_in; k++)
        memset(w->gin[k].data, 0, (size_t)w->gin[k].size * sizeof(double));
    nb_code code = c.op->reverse_arrays(&c, &w->g, w->to, w->add);
    *dot = 0;
    for (size_t k = 0; k < p->r->n_in && code == NB_OK; k++) {
        nb_array t = p->has[k] ? tangent_array(p, k) : w->gin[k];
        for (int64_t i = 0; p->has[k] && i < w->gin[k].size; i++) {
            double x, y;
            nbi_get(w->gin[k].dtype, w->gin[k].data, i, 1, &x);
            nbi_get(t.dtype, t.data, i, 1, &y);
            *dot += x * y;
        }
    }
    return code;
}

static bool by_rows(push *p)
{
    rows w;
    if (!open_rows(p, &w))
        return false;
    double *jt = nbi_scratch(p->t, (size_t)w.out.size * sizeof *jt);
    if (!jt) {
        nbi_no_memory(p->t, p->r->op->name);
        return false;
    }
    for (int64_t j = 0; j < w.out.size; j++) {
        nb_code code = row(p, &w, j, &jt[j]);
        if (code != NB_OK)
            return fails(p, code);
    }
    if (p->r->rank < 0)
        return keep_tangent(p, nb_num(jt[0]));
    nb_shape shape = nb_shape_make((size_t)p->r->rank, p->r->dims);
    nb_var d = nb_constant_tensor(p->t, shape, jt);
    return nb_ok(d) && keep_tangent(p, d);
}

bool nbi_forward_record(nb_tape *t, uint32_t i)
{
    push p = {.t = t, .r = nbi_record_at(t, i), .i = i};
    bool any = false;
    for (size_t k = 0; k < p.r->n_in; k++)
        any = any || has_tangent(t, p.r->in[k]);
    if (!any || p.r->still)
        return true;
    if (p.r->inside)
        return p.r->inside->forward(t, i);
    const nb_op *op = p.r->op;
    if (!op->tangent && !op->reverse && !op->reverse_arrays) {
        nbi_fail(t, NB_ERR_GRADIENT, "%s: node %u has no derivative rule", op->name, i);
        return false;
    }
    nb_mark before = nb_tape_mark(t);
    nbi_spot scratch = t->scratch.at;
    bool recording = nb_set_recording(t, false), anomaly = t->anomaly;
    t->anomaly = false;
    t->busy++;
    bool done = open_push(&p) && (op->tangent   ? by_tangent_rule(&p)
                                  : op->reverse ? by_reverse_rule(&p)
                                                : by_rows(&p));
    t->busy--;
    t->anomaly = anomaly;
    nb_set_recording(t, recording);
    nbi_truncate(t, &before);
    nbi_give_back(&t->scratch, scratch);
    return done;
}
