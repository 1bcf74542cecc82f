/*
 * From the nodes of a step, last to first, to the instructions that pass their adjoints on.
 *
 * It is the backward sweep written down instead of done, for the nodes on a way from the loss to a
 * gradient that is asked for. A rule over arrays becomes one instruction. A rule in graph code is called
 * here, once, with recording off as in a sweep; what it computed is the list of nodes that it left on
 * the tape, which become instructions as those of the recording did, followed by one for each answer.
 */
#include "ops/elementwise.h"
#include "program/step.h"

static bool wants(const nbi_freezer *f, uint32_t i)
{
    return f->s->wanted[i] && !nbi_still(f->t, i);
}

/* The array of tensor i's adjoint, and whether there is memory for it. */
static bool adjoint_of(nbi_freezer *f, uint32_t i, nb_array *a)
{
    const nbi_record *r = nbi_record_at(f->t, i);
    const size_t bytes = (size_t)r->size * nbi_element(f->t->dtype);
    if (!f->adjoint[i])
        f->adjoint[i] = nbi_step_array(f, bytes, r->grad);
    *a = (nb_array){f->adjoint[i], r->dims, r->size, r->rank, f->t->dtype};
    return a->data && nbi_step_use(f, &a->data);
}

/* Arrays that the rule reads besides its adjoints. */
static void touch_operands(nbi_freezer *f, const nbi_step_call *a)
{
    const nbi_record *r = nbi_record_at(f->t, a->node);
    for (size_t k = 0; k < a->c.n_in; k++)
        nbi_step_touch(f, a->in[k].data);
    nbi_step_touch(f, a->out.data);
    for (size_t k = 0; k < r->state_bytes / sizeof(void *); k++) {
        const void *p;
        memcpy(&p, (const char *)r->state + k * sizeof p, sizeof p);
        nbi_step_touch(f, p);
    }
}

/* ---- rules over arrays ----------------------------------------------------------------------- */

/* Whether the operands that want gradients are different nodes. */
static bool separate(const nbi_freezer *f, const nbi_step_call *a, const uint32_t *in)
{
    bool all = true;
    for (size_t k = 0; k < a->c.n_in; k++)
        for (size_t j = 0; wants(f, in[k]) && j < k; j++)
            all = all && in[j] != in[k];
    return all;
}

/* And tensors of the result's size. */
static bool alike(const nbi_freezer *f, const nbi_step_call *a, const uint32_t *in)
{
    bool all = separate(f, a, in);
    for (size_t k = 0; k < a->c.n_in; k++)
        if (wants(f, in[k]))
            all = all && a->in[k].rank >= 0 && a->in[k].size == a->out.size;
    return all;
}

static bool emit_rows(nbi_freezer *f, const nbi_step_call *a, const nbi_step_row *row)
{
    const nbi_record *r = nbi_record_at(f->t, a->node);
    for (size_t k = 0; k < a->c.n_in; k++) {
        if (!wants(f, r->in[k]))
            continue;
        nbi_step_row *p = nbi_step_args(f, sizeof *p);
        nb_array g, to;
        if (!p || !adjoint_of(f, a->node, &g) || !adjoint_of(f, r->in[k], &to))
            return false;
        *p = *row;
        p->reverse = f->t->rows->reverse[a->out.dtype][a->c.op - nbi_row_ops][k];
        p->r = a->out.data, p->g = g.data, p->to = to.data;
        p->in = r->in[k];
        bool done = nbi_step_use(f, &p->r) && nbi_step_use(f, &p->g) && nbi_step_use(f, &p->to);
        for (size_t j = 0; j < a->c.n_in; j++)
            done = done && nbi_step_use(f, &p->x[j]);
        if (!done || !nbi_step_emit(f, nbi_step_row_reverse, p))
            return false;
    }
    return true;
}

static bool emit_pass(nbi_freezer *f, nbi_step_call *a)
{
    const nbi_record *r = nbi_record_at(f->t, a->node);
    const size_t n = r->n_in;
    if (!(a = nbi_step_lasting(f, a)))
        return false;
    nbi_step_pass *p = nbi_step_args(f, sizeof *p);
    nb_array *gin = nbi_step_args(f, n * sizeof *gin), **to = nbi_step_args(f, n * sizeof *to);
    double *scalar = nbi_step_args(f, n * sizeof *scalar);
    bool *add = nbi_step_args(f, n);
    if (!p || !gin || !to || !scalar || !add)
        return false;
    *p = (nbi_step_pass){.of = a, .gin = gin, .to = to, .scalar = scalar, .add = add, .in = r->in};
    if (r->rank < 0)
        p->g = (nb_array){&p->adjoint, r->dims, 1, -1, NB_F64};
    else if (!adjoint_of(f, a->node, &p->g))
        return false;
    for (size_t k = 0; k < n; k++) {
        to[k] = wants(f, r->in[k]) ? &gin[k] : NULL;
        if (to[k] && !nbi_is_tensor(f->t, r->in[k]))
            gin[k] = (nb_array){&scalar[k], NULL, 1, -1, NB_F64};
        else if (to[k] && !adjoint_of(f, r->in[k], &gin[k]))
            return false;
    }
    touch_operands(f, a);
    return nbi_step_emit(f, nbi_step_reverse, p);
}

static bool emit_affine(nbi_freezer *f, const nbi_step_call *a)
{
    const nbi_record *r = nbi_record_at(f->t, a->node);
    nb_array g, to[3] = {{0}};
    bool done = adjoint_of(f, a->node, &g);
    for (size_t k = 0; k < 3 && done; k++)
        done = !wants(f, r->in[k]) || adjoint_of(f, r->in[k], &to[k]);
    return done && nbi_step_affine_reverse(f, a, r->in, &g, to);
}

/* ---- rules as graph code --------------------------------------------------------------------- */

/* The adjoint of node i as a constant of the tape, for the rule to use. */
static bool adjoint_var(nbi_freezer *f, nbi_step_rule *rule, nb_var *g)
{
    nb_tape *t = f->t;
    const uint32_t i = rule->node;
    const nbi_record *r = nbi_record_at(t, i);
    if (r->rank < 0) {
        *g = nb_constant(t, t->hot.cells[i].adjoint);
        rule->cell = g->index;
        return nb_ok(*g);
    }
    nb_array a;
    if (!adjoint_of(f, i, &a))
        return false;
    nbi_record *leaf = nbi_leaf(t, nb_shape_make((size_t)r->rank, r->dims), a.data, true, g);
    if (leaf)
        nbi_step_touch(f, leaf->data);
    return leaf != NULL;
}

/* Calls the rule. The nodes that it records stay on the tape; their memory is f->rules. */
static bool call_rule(nbi_freezer *f, const nbi_step_call *a, nb_var g, nb_var *d)
{
    nb_tape *t = f->t;
    const nbi_record *r = nbi_record_at(t, a->node);
    const nbi_spot spot = t->scratch.at;
    nb_var *in = nbi_scratch(t, r->n_in * sizeof *in);
    bool *want = nbi_scratch(t, r->n_in);
    if (!in || !want) {
        nbi_no_memory(t, r->op->name);
        return false;
    }
    for (size_t k = 0; k < r->n_in; k++) {
        in[k] = nbi_var(t, r->in[k]);
        want[k] = wants(f, r->in[k]);
        d[k] = NB_NONE;
    }
    const nb_rule rule = {.tape = t,
                          .op = r->op,
                          .n_in = r->n_in,
                          .in = in,
                          .out = nbi_var(t, a->node),
                          .g = g,
                          .want = want,
                          .d = d,
                          .state = r->state};
    const nbi_arena own = t->values;
    t->values = f->rules;
    nb_code code = r->op->reverse(&rule);
    f->rules = t->values;
    t->values = own;
    for (size_t k = 0; k < r->n_in && code == NB_OK; k++)
        if (want[k] && !nbi_fits(t, d[k], r->in[k]))
            code = NB_ERR_CALLBACK;
    if (code != NB_OK)
        nbi_fail(t, code, "%s: the reverse rule failed", r->op->name);
    nbi_give_back(&t->scratch, spot);
    return code == NB_OK && t->code == NB_OK;
}

/* Makes the nodes from `from` on the step's own, and instructions of them. */
static bool adopt(nbi_freezer *f, uint32_t from)
{
    nb_tape *t = f->t;
    const uint32_t end = t->hot.length;
    f->source = &f->rules;
    nbi_step_map_clear(&f->seen);
    for (uint32_t i = from; i < end; i++) {
        if (t->hot.ops[i] != NBI_RECORD) {
            if (!nbi_step_emit_scalar(f, i))
                return false;
            continue;
        }
        const nbi_record *r = nbi_record_at(t, i);
        nbi_record *to = nbi_step_copy_record(f, i, r, r->in);
        if (!to)
            return false;
        memcpy(&t->hot.args[i], &to, sizeof to);
        if (!nbi_step_revive(f, i, r))
            return false;
    }
    nbi_give_back_all(&f->rules);
    return true;
}

/* The instruction that adds the answer d to the adjoint of node i. */
static bool emit_answer(nbi_freezer *f, nb_var d, uint32_t i)
{
    nb_tape *t = f->t;
    if (!d.tape && nbi_is_inert(d))
        return true;
    nbi_step_give *p = nbi_step_args(f, sizeof *p);
    if (!p)
        return false;
    *p = (nbi_step_give){.cell = NBI_STEP_NONE, .node = i, .scalar = !nb_is_tensor(d)};
    p->to.rank = -1;
    p->from = (nb_array){&p->number, NULL, 1, -1, NB_F64};
    if (!d.tape)
        p->number = nbi_number(d);
    else if (p->scalar)
        p->cell = d.index;
    if (!p->scalar) {
        const nbi_record *r = nbi_record_at(t, d.index);
        p->from = (nb_array){r->data, r->dims, r->size, r->rank, t->dtype};
        if (!nbi_step_use(f, &p->from.data))
            return false;
    }
    if (nbi_is_tensor(t, i) && !adjoint_of(f, i, &p->to))
        return false;
    return nbi_step_emit(f, nbi_step_add, p);
}

static bool emit_rule(nbi_freezer *f, nbi_step_call *a)
{
    nb_tape *t = f->t;
    nb_frozen *s = f->s;
    const nbi_record *r = nbi_record_at(t, a->node);
    const nbi_spot spot = t->scratch.at;
    nbi_step_rule *rule = nbi_step_args(f, sizeof *rule);
    nb_var *d = nbi_scratch(t, r->n_in * sizeof *d), g;
    if (!rule || !d)
        return nbi_no_memory(t, r->op->name), false;
    *rule = (nbi_step_rule){.node = a->node, .cell = NBI_STEP_NONE};
    bool done = adjoint_var(f, rule, &g) && nbi_step_emit(f, nbi_step_begin_rule, rule);
    const size_t first = s->n;
    const uint32_t from = t->hot.length;
    done = done && call_rule(f, a, g, d) && adopt(f, from);
    for (size_t k = 0; k < r->n_in && done; k++)
        if (wants(f, r->in[k]))
            done = emit_answer(f, d[k], r->in[k]);
    rule->count = s->n - first;
    rule->end = s->keep.at;
    nbi_give_back(&t->scratch, spot);
    return done;
}

/* ---- the sweep ------------------------------------------------------------------------------- */

static bool emit_record(nbi_freezer *f, uint32_t i)
{
    const nbi_record *r = nbi_record_at(f->t, i);
    nbi_step_row row;
    if (r->leaf)
        return true;
    nbi_step_call *a = f->call[i];
    if (!r->op->reverse && !r->op->reverse_arrays) {
        nbi_fail(f->t, NB_ERR_GRADIENT, "%s: there is no derivative rule", r->op->name);
        return false;
    }
    if (!r->op->reverse_arrays)
        return emit_rule(f, a);
    if (nbi_step_is_affine(f, a) && separate(f, a, r->in))
        return emit_affine(f, a);
    if (alike(f, a, r->in) && nbi_step_flat(f, a, &row))
        return emit_rows(f, a, &row);
    return emit_pass(f, a);
}

/* Marks what depends on a gradient that is asked for. */
static bool mark_wanted(nbi_freezer *f)
{
    nb_frozen *s = f->s;
    nb_tape *t = f->t;
    uint8_t *w = nbi_step_args(f, s->nodes);
    if (!w)
        return false;
    memset(w, 0, s->nodes);
    for (size_t k = 0; k < s->n_in; k++)
        w[s->in[k]] = 1;
    for (uint32_t i = 0; i < s->nodes; i++) {
        const nbi_record *r = nbi_is_tensor(t, i) ? nbi_record_at(t, i) : NULL;
        w[i] = w[i] || (r && r->leaf && r->grad);
        for (size_t k = 0; k < nbi_operands(t, i) && !w[i] && !nbi_still(t, i); k++)
            w[i] = w[nbi_operand(t, i, k)];
    }
    s->wanted = w;
    return true;
}

static bool emit_start(nbi_freezer *f, uint32_t loss)
{
    nbi_step_seed *p = nbi_step_args(f, sizeof *p);
    nb_array a = {0};
    if (!p)
        return false;
    *p = (nbi_step_seed){.node = loss};
    if (nbi_is_tensor(f->t, loss) && !adjoint_of(f, loss, &a))
        return false;
    p->data = a.data;
    return nbi_step_use(f, &p->data) && nbi_step_emit(f, nbi_step_start, p);
}

static bool emit_scalars(nbi_freezer *f, uint32_t from, uint32_t to)
{
    nbi_step_range *r = nbi_step_args(f, sizeof *r);
    if (!r)
        return false;
    *r = (nbi_step_range){from, to};
    return nbi_step_emit(f, nbi_step_sweep_scalars, r);
}

enum { REACHED = 1, SURELY = 2 };

/* Whether a path from the loss comes to node i and goes on to what is wanted; its operands are marked.
 * A rule over arrays that is run writes to all tensors that it is asked to. */
static bool passes_on(nbi_freezer *f, uint32_t i)
{
    nb_tape *t = f->t;
    if (!f->reached[i] || !wants(f, i))
        return false;
    const bool record = t->hot.ops[i] == NBI_RECORD;
    const bool sure = record && f->reached[i] == SURELY && nbi_record_at(t, i)->op->reverse_arrays;
    const size_t n = nbi_operands(t, i);
    for (size_t k = 0; k < n; k++) {
        const uint32_t x = nbi_operand(t, i, k);
        if (wants(f, x) && f->reached[x] != SURELY)
            f->reached[x] = sure && nbi_is_tensor(t, x) ? SURELY : REACHED;
    }
    return n > 0;
}

/* Runs of scalars, [i, last], become one instruction each. */
static bool emit_down(nbi_freezer *f, uint32_t loss)
{
    nb_tape *t = f->t;
    bool open = false;
    uint32_t last = 0;
    for (uint32_t i = loss + 1; i-- > 0;) {
        const bool active = passes_on(f, i), record = t->hot.ops[i] == NBI_RECORD;
        if (active && !record && !open) {
            open = true;
            last = i;
        }
        if (open && (record || i == 0)) {
            open = false;
            if (!emit_scalars(f, last, record ? i + 1 : i))
                return false;
        }
        if (active && record && !emit_record(f, i))
            return false;
    }
    return true;
}

/* Zeros for the lent gradients that no adjoint reaches, or may not in some run. */
static bool emit_finish(nbi_freezer *f)
{
    nb_tape *t = f->t;
    for (uint32_t i = 0; i < f->s->nodes; i++) {
        const nbi_record *r = nbi_is_tensor(t, i) ? nbi_record_at(t, i) : NULL;
        nb_array a;
        if (!r || !r->leaf || !r->grad || f->reached[i] == SURELY)
            continue;
        nbi_step_seed *p = nbi_step_args(f, sizeof *p);
        if (!p || !adjoint_of(f, i, &a))
            return false;
        *p = (nbi_step_seed){a.data, (size_t)r->size * nbi_element(t->dtype), i};
        if (!nbi_step_use(f, &p->data) || !nbi_step_emit(f, nbi_step_finish, p))
            return false;
    }
    return true;
}

bool nbi_step_emit_reverse(nbi_freezer *f)
{
    const uint32_t n = f->s->nodes, loss = f->s->out[f->s->n_out].node;
    f->adjoint = nbi_take(&f->work, (size_t)n * sizeof *f->adjoint, _Alignof(void *));
    f->reached = nbi_take(&f->work, n, 1);
    if (!f->adjoint || !f->reached) {
        nbi_no_memory(f->t, "freeze");
        return false;
    }
    memset(f->adjoint, 0, (size_t)n * sizeof *f->adjoint);
    memset(f->reached, 0, n);
    if (!mark_wanted(f) || (wants(f, loss) && !emit_start(f, loss)))
        return false;
    f->reached[loss] = wants(f, loss) ? SURELY : 0;
    return emit_down(f, loss) && emit_finish(f);
}
