/*
 * Which operation's rule is wrong.
 *
 * The gradient is put together from local rules: node k passes u, the adjoint of its value, on to its
 * operands as J_k^T u. So each node is a gradient of its own to check: the function is
 * <u, forward(x)> of the recorded values x of the operands, the claim what one step of the sweep, from
 * node k to node k, leaves in their adjoints. The nodes are taken in the order of the sweep, each by a
 * small check of the same kind as the whole; the first that fails is the one.
 *
 * A step is also taken twice in a row, which must give twice as much: a rule that overwrites what it
 * should add to is right by itself. If no rule is wrong, a path may have been cut (verify_nodes.c).
 */
#include "check/verify_graph.h"
#include "base/element.h"
#include "diff/custom.h"
#include "diff/hooks.h"
#include "ops/elementwise.h"

#include <math.h>
#include <nabla/ops.h>
#include <stdio.h>

/* One node as a subject. Its operands that vary are blocks, one after the other. */
typedef struct node {
    nb_tape *t, *scratch;
    uint32_t k;
    size_t n_in, n_out;
    const double *u;
    nb_array *in; /* copies of the operands */
    nb_array out;
    double *value; /* [n_out] */
    float *rounded;
} node;

/* ---- one step of the sweep ------------------------------------------------------------------- */

bool nbi_local_sweep(nb_tape *t, uint32_t k, const double *u, bool again)
{
    bool add;
    for (size_t j = 0; j < nbi_operands(t, k) && !again; j++)
        t->hot.cells[nbi_operand(t, k, j)].adjoint = 0;
    t->dirty = t->dirty > k + 1 ? t->dirty : k + 1;
    if (!nbi_is_tensor(t, k)) {
        t->hot.cells[k].adjoint = u[0];
        return nbi_sweep(t, k, k, NULL);
    }
    void *to = nbi_adjoint(t, k, &add);
    for (int64_t i = 0; to && i < nbi_record_at(t, k)->size; i++) {
        if (t->dtype == NB_F64)
            ((double *)to)[i] = u[i];
        else
            ((float *)to)[i] = (float)u[i];
    }
    return to && nbi_sweep(t, k, k, NULL);
}

void nbi_local_read(const nb_tape *t, uint32_t i, double *to, size_t n)
{
    const nbi_record *r = nbi_is_tensor(t, i) ? nbi_record_at(t, i) : NULL;
    if (!r) {
        to[0] = t->hot.cells[i].adjoint;
        return;
    }
    const bool there = r->grad && t->hot.cells[i].adjoint != 0;
    for (size_t e = 0; e < n; e++)
        to[e] = !there               ? 0
                : t->dtype == NB_F64 ? ((double *)r->grad)[e]
                                     : (double)((float *)r->grad)[e];
}

/* ---- the subject ----------------------------------------------------------------------------- */

static double get(const nb_array *a, int64_t i) { return nbi_element_at(a->dtype, a->data, i); }

/* Fills the copies of the operands from x; `compare`: instead tells whether they are still that. */
static bool spread(const nbi_verify *c, const node *s, const double *x, bool compare)
{
    for (size_t b = 0; b < c->n_block; b++) {
        const nb_array *a = &s->in[c->block[b].number];
        for (size_t e = 0; e < c->block[b].size; e++) {
            const double v = x[c->block[b].at + e];
            if (!compare)
                nbi_set_element(a->dtype, a->data, (int64_t)e, v);
            else if (get(a, (int64_t)e) != (a->dtype == NB_F64 ? v : (double)(float)v) && !isnan(v))
                return false;
        }
    }
    return true;
}

/* A region's function, on the scratch tape. */
static bool region_value(const node *s, const nbi_record *r, const nb_region_spec *spec,
                         void *context)
{
    nb_tape *t = s->scratch;
    nb_reset(t);
    const size_t results = nbi_region_results(r);
    const nbi_spot spot = t->scratch.at;
    nb_var *in = nbi_scratch(t, (s->n_in + 1) * sizeof *in);
    nb_var *out = nbi_scratch(t, results * sizeof *out);
    bool done = in && out;
    for (size_t k = 0; k < s->n_in && done; k++) {
        const nb_array *a = &s->in[k];
        in[k] = a->rank < 0
                    ? nb_input(t, NULL, get(a, 0))
                    : nb_borrow(t, NULL, nb_shape_make((size_t)a->rank, a->dims), a->data, NULL);
    }
    for (size_t j = 0; j < results && done; j++)
        out[j] = NB_NONE;
    done = done && spec->forward(context, in, out) == NB_OK;
    size_t at = 0;
    for (size_t j = 0; j < results && done; j++) {
        const int64_t size = nb_size(out[j]);
        done = nb_ok(out[j]) && at + (size_t)size <= s->n_out &&
               nb_read(out[j], s->value + at, size) == NB_OK;
        at += (size_t)size;
    }
    nbi_give_back(&t->scratch, spot);
    return done;
}

/* Hooks, and what only looks at its operand's elements in another shape: the first operand's value. */
static bool passes_on(const nb_op *op)
{
    bool hook = false;
    for (size_t k = 0; k < NBI_HOOK_OPS && !hook; k++)
        hook = op == nbi_hook_ops[k];
    return hook || op->view;
}

/* The value of the node's operation at the copies of its operands. */
static bool compute(const node *s, nb_tape *keeper)
{
    void *context;
    const int row = nbi_row_of(s->t, s->k);
    if (row >= 0) {
        nb_var x[3];
        for (size_t k = 0; k < s->n_in; k++)
            x[k] = nb_num(get(&s->in[k], 0));
        s->value[0] = nb_value(nbi_row_call((enum nbi_row)row, x));
        return true;
    }
    const nbi_record *r = nbi_record_at(s->t, s->k);
    const nb_region_spec *spec = nbi_region_spec_of(r, &context);
    if (spec)
        return region_value(s, r, spec, context);
    const bool same = passes_on(r->op);
    const nb_call call = {keeper, r->op, s->n_in, s->in, &s->out, r->state, NULL};
    if (!same && r->op->forward(&call) != NB_OK)
        return false;
    for (int64_t i = 0; i < s->out.size; i++)
        s->value[i] = get(same ? &s->in[0] : &s->out, i);
    return true;
}

static bool value(nbi_verify *c, const double *x, double *y)
{
    const node *s = c->self;
    spread(c, s, x, false);
    nb_reset(s->scratch);
    if (!compute(s, s->scratch))
        return nbi_check_fail(c, NB_ERR_CALLBACK, "the forward rule failed");
    c->wrote = !spread(c, s, x, true);
    *y = 0;
    for (size_t i = 0; i < s->n_out; i++)
        *y += s->u[i] * s->value[i];
    return true;
}

/* The rule at the recorded operands: the forward rule leaves its state as it was for them. Where the
 * check moves the operands, for a rate of three, there is nothing to ask. */
static void read_adjoints(const nbi_verify *c, const node *s, double *to)
{
    for (size_t b = 0; b < c->n_block; b++)
        nbi_local_read(s->t, nbi_operand(s->t, s->k, c->block[b].number), to + c->block[b].at,
                       c->block[b].size);
}

static bool claim(nbi_verify *c, const double *x, double *y, double *to)
{
    const node *s = c->self;
    (void)y;
    spread(c, s, x, false);
    const bool region = nbi_row_of(s->t, s->k) < 0 && nbi_record_at(s->t, s->k)->inside;
    if (!region && !compute(s, s->t))
        return nbi_check_fail(c, NB_ERR_CALLBACK, "the forward rule failed");
    if (!nbi_local_sweep(s->t, s->k, s->u, false))
        return nbi_check_fail(c, NB_ERR_CALLBACK, "the reverse rule failed");
    read_adjoints(c, s, to);
    return true;
}

/* ---- setting it up --------------------------------------------------------------------------- */

static bool testable(const nb_tape *t, uint32_t k)
{
    if (nbi_still(t, k) || !nbi_operands(t, k))
        return false;
    if (nbi_row_of(t, k) >= 0)
        return true;
    const nbi_record *r = t->hot.ops[k] == NBI_RECORD ? nbi_record_at(t, k) : NULL;
    float rounded;
    if (!r || r->leaf || r->inside)
        return false;
    return r->op->forward || nbi_array_of(t, nbi_operand(t, k, 0), &rounded).size == r->size;
}

/* A copy of node i's value for rules to read, and to write to if they do what they must not. */
static bool copy_array(nbi_verify *c, const nb_tape *t, uint32_t i, nb_array *to)
{
    float rounded;
    *to = nbi_array_of(t, i, &rounded);
    const size_t bytes = (size_t)to->size * nbi_element(to->dtype);
    void *data = nbi_take(&c->work, bytes + 1, NBI_ALIGN);
    if (!data)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for an operand");
    memcpy(data, to->data, bytes);
    to->data = data;
    return true;
}

/* The operands that vary become blocks; one in two places is one block, of its first. */
static bool lay_out(nbi_verify *c, node *s)
{
    nb_tape *t = s->t;
    size_t n = 0;
    s->in = nbi_take(&c->work, (s->n_in + 1) * sizeof *s->in, NBI_ALIGN);
    c->block = nbi_take(&c->work, (s->n_in + 1) * sizeof *c->block, NBI_ALIGN);
    if (!s->in || !c->block)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for %zu operands", s->n_in);
    for (size_t k = 0; k < s->n_in; k++) {
        const uint32_t i = nbi_operand(t, s->k, k);
        size_t j = 0;
        while (j < k && nbi_operand(t, s->k, j) != i)
            j++;
        if (j == k && !copy_array(c, t, i, &s->in[k]))
            return false;
        s->in[k] = s->in[j];
        if (nbi_still(t, i) || j < k)
            continue;
        const size_t size = (size_t)s->in[k].size;
        const nb_shape shape = s->in[k].rank < 0
                                   ? (nb_shape){.rank = -1}
                                   : nb_shape_make((size_t)s->in[k].rank, s->in[k].dims);
        c->block[c->n_block++] = (nbi_block){NULL, shape, n, size, k};
        n += size;
    }
    double *x = nbi_doubles(c, n);
    for (size_t b = 0; x && b < c->n_block; b++)
        for (size_t e = 0; e < c->block[b].size; e++)
            x[c->block[b].at + e] = get(&s->in[c->block[b].number], (int64_t)e);
    c->x = x;
    c->n = n;
    return x != NULL;
}

static bool open_node(nbi_verify *c, node *s)
{
    float rounded;
    nb_rng r = nb_rng_seed(c->o.seed + s->k);
    const nb_array out = nbi_array_of(s->t, s->k, &rounded);
    s->n_in = nbi_operands(s->t, s->k);
    s->n_out = (size_t)out.size;
    s->out = out;
    s->value = nbi_doubles(c, s->n_out);
    double *u = nbi_doubles(c, s->n_out);
    s->out.data = nbi_doubles(c, s->n_out); /* a scalar's is double whatever the tape */
    s->out.dtype = out.rank < 0 ? NB_F64 : out.dtype;
    if (!s->value || !u || !s->out.data)
        return false;
    for (size_t i = 0; i < s->n_out; i++) {
        const double v = nb_rng_uniform(&r) - 0.5;
        u[i] = (double)(float)(v + copysign(0.5, v));
    }
    s->u = u;
    return lay_out(c, s);
}

/* ---- verdicts on a node ---------------------------------------------------------------------- */

/* Whether a second step does not add to the first. */
static bool overwrites(nbi_verify *c, const node *s)
{
    const size_t n = c->n;
    double *once = nbi_doubles(c, n), *twice = nbi_doubles(c, n);
    if (!once || !twice || !claim(c, c->x, NULL, once) || !nbi_local_sweep(s->t, s->k, s->u, true))
        return false;
    read_adjoints(c, s, twice);
    size_t alike = 0, off = 0;
    for (size_t i = 0; i < n; i++) {
        off += fabs(twice[i] - 2 * once[i]) > 1e-4 * fabs(once[i]);
        alike += fabs(twice[i] - once[i]) <= 1e-4 * fabs(once[i]);
    }
    return off && alike;
}

/* Whether the rule gave `found` because of what was computed after its node: once the forward rule has
 * run again it gives something else, and the same each time. */
static bool late(nbi_verify *c, const double *found)
{
    double *now = nbi_doubles(c, c->n), *again = nbi_doubles(c, c->n);
    return now && again && claim(c, c->x, NULL, now) && claim(c, c->x, NULL, again) &&
           !memcmp(now, again, c->n * sizeof *now) && memcmp(now, found, c->n * sizeof *now) != 0;
}

/* Whether the wrong derivatives are those at the values of another node: all that noise lets see. */
static bool stale(nbi_verify *c)
{
    size_t fit = 0, all = 0;
    const nb_check_report *r = c->r;
    c->ended = false;
    if (!nbi_evaluate(c, c->y0))
        return false;
    for (size_t k = 0; k < r->n_worst; k++) {
        nb_check_coordinate a = {.at = {.operand = -1}};
        const nbi_line line = {NULL, r->worst[k].index};
        if (r->worst[k].verdict != NB_VERDICT_WRONG)
            continue;
        if (!nbi_judge(c, &line, 0, r->worst[k].analytic, &a) ||
            (a.verdict != NB_VERDICT_RIGHT && a.verdict != NB_VERDICT_NOISY))
            return false;
        all++;
        fit += a.verdict == NB_VERDICT_RIGHT;
    }
    return fit && 2 * fit >= all;
}

static void look_for_stale(nbi_verify *c, node *s)
{
    nb_tape *t = s->t;
    int tried = 0;
    double *x = nbi_doubles(c, c->n);
    const double *own = c->x;
    for (uint32_t i = 0; x && i < t->hot.length && tried < 16; i++) {
        float rounded;
        const nb_array a = nbi_array_of(t, i, &rounded);
        if (c->n_block != 1 || (size_t)a.size != c->n || a.rank != s->in[c->block[0].number].rank ||
            i == nbi_operand(t, s->k, c->block[0].number))
            continue;
        for (size_t e = 0; e < c->n; e++)
            x[e] = get(&a, (int64_t)e);
        if (!memcmp(x, own, c->n * sizeof *x))
            continue;
        tried++;
        c->x = x;
        memcpy(c->at, x, c->n * sizeof *x);
        if (stale(c)) {
            c->r->diagnosis = NB_DIAGNOSIS_STALE;
            snprintf(c->r->message, sizeof c->r->message,
                     "it is the derivative at the value of node %u, %s", i,
                     nb_inspect(nb_node(t, i)).op);
            break;
        }
    }
    c->x = own;
    c->code = NB_OK;
}

/* Whether node k is to blame; then the report says how. */
static bool guilty(nbi_verify *whole, nb_tape *t, nb_tape *scratch, uint32_t k)
{
    static const nbi_subject subject = {.value = value, .claim = claim};
    nbi_verify c;
    nb_check_report r;
    node s = {.t = t, .scratch = scratch, .k = k};
    const nb_check_options o = {.seed = whole->o.seed,
                                .directions = -1,
                                .all_up_to = 12,
                                .sample = 8,
                                .batch = whole->o.batch,
                                .allocator = whole->o.allocator};
    nbi_check_open(&c, &o, &r);
    c.s = &subject;
    c.self = &s;
    c.m = 1;
    c.single = whole->single;
    memcpy(c.sizes, whole->sizes, sizeof c.sizes);
    c.n_sizes = whole->n_sizes;
    nb_verdict v = NB_VERDICT_UNTESTED;
    double *recorded = NULL;
    if (open_node(&c, &s) && (recorded = nbi_doubles(&c, c.n)) != NULL &&
        nbi_local_sweep(t, k, s.u, false)) {
        read_adjoints(&c, &s, recorded);
        v = nbi_check_run(&c);
    }
    if (v == NB_VERDICT_WRONG && r.diagnosis == NB_DIAGNOSIS_NONE)
        look_for_stale(&c, &s);
    if (v == NB_VERDICT_CHANGES_INPUTS) {
        r.diagnosis = NB_DIAGNOSIS_STALE;
        snprintf(r.message, sizeof r.message, "the operation writes to its operand");
    } else if (v != NB_VERDICT_WRONG && c.n && !c.code && overwrites(&c, &s)) {
        v = NB_VERDICT_WRONG;
        r.diagnosis = NB_DIAGNOSIS_OVERWRITTEN;
    } else if (v != NB_VERDICT_WRONG && c.n && !c.code && late(&c, recorded)) {
        v = NB_VERDICT_WRONG;
        r.diagnosis = NB_DIAGNOSIS_STALE;
        snprintf(r.message, sizeof r.message, "the rule uses what was computed after its node");
    }
    const bool found = v == NB_VERDICT_WRONG || v == NB_VERDICT_CHANGES_INPUTS;
    if (found) {
        const bool one = r.n_worst && r.worst[0].verdict == NB_VERDICT_WRONG;
        whole->r->at =
            nbi_place_at(t, k, one ? (int)nbi_block_of(&c, r.worst[0].index)->number : -1);
        whole->r->diagnosis = r.diagnosis;
        whole->r->factor = r.factor;
        snprintf(whole->r->message, sizeof whole->r->message, "%s", r.message);
    }
    nbi_arena_free(&c.work);
    return found;
}

/* ---- the graph ------------------------------------------------------------------------------- */

void nbi_graph_localise(nbi_verify *c)
{
    nb_var y;
    nbi_graph *g = c->self;
    if (!nbi_graph_record(c, 0, c->x, &y))
        return;
    nb_tape *t = g->tape[0];
    bool *on = nbi_take(&c->work, (size_t)y.index + 1, 1), found = false;
    if (!on)
        return;
    nbi_graph_reach(t, y.index, on);
    nb_reset(g->tape[1]);
    for (uint32_t i = y.index + 1; i-- > 0 && !found;) {
        found = on[i] && testable(t, i) && guilty(c, t, g->tape[1], i);
        nb_clear(t);
    }
    if (!found)
        nbi_graph_cut(c, y.index, on);
}
