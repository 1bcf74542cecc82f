/*
 * The instructions of a step.
 *
 * Each does what recording or sweeping one node does, to the same numbers in the same order, and
 * nothing of what is known since the step was frozen: shapes, kinds of operands, memory.
 */
#include "program/step.h"

static const nbi_step_op *failed(const nb_call *c, nb_code code, const char *reason)
{
    nb_refuse(c, code, reason, NULL);
    return NULL;
}

static inline void load(const nb_tape *t, size_t n, const nbi_step_link *link)
{
    for (size_t k = 0; k < n; k++) {
        const double v = t->hot.cells[link[k].cell].value;
        if (t->dtype == NB_F64)
            *(double *)link[k].slot = v;
        else
            *(float *)link[k].slot = (float)v;
    }
}

/* What is kept must stand where it stood when the step was frozen: other instructions may point there. */
static bool kept(const nb_frozen *s, const nb_call *c, nbi_spot *end)
{
    if (s->freezing)
        *end = s->keep.at;
    const bool same = s->keep.at.used == end->used && s->keep.at.chunk == end->chunk;
    if (!same)
        nb_refuse(c, NB_ERR_CALLBACK, "it keeps results of another size than when it was frozen",
                  NULL);
    return same;
}

const nbi_step_op *nbi_step_scalars(nb_frozen *s, const nbi_step_op *o)
{
    const nbi_step_range *r = o->args;
    nbi_step_evaluate(s->t, r->from, r->to);
    return o + 1;
}

const nbi_step_op *nbi_step_forward(nb_frozen *s, const nbi_step_op *o)
{
    nbi_step_call *a = o->args;
    load(s->t, a->n_links, a->link);
    const nb_code code = a->c.op->forward(&a->c);
    if (code != NB_OK)
        return failed(&a->c, code, "the forward rule failed");
    if (!kept(s, &a->c, &a->end))
        return NULL;
    if (a->out.rank < 0)
        s->t->hot.cells[a->node].value = a->value;
    return o + 1;
}

const nbi_step_op *nbi_step_row_forward(nb_frozen *s, const nbi_step_op *o)
{
    const nbi_step_row *a = o->args;
    load(s->t, a->n_links, a->link);
    a->forward(a->n, a->x, a->step, a->to);
    return o + 1;
}

/* ---- back ------------------------------------------------------------------------------------ */

static void set_one(const nb_tape *t, void *p)
{
    if (t->dtype == NB_F64)
        *(double *)p = 1;
    else
        *(float *)p = 1;
}

const nbi_step_op *nbi_step_start(nb_frozen *s, const nbi_step_op *o)
{
    const nbi_step_seed *a = o->args;
    nbi_cell *cells = s->t->hot.cells;
    for (uint32_t i = 0; i < s->nodes; i++)
        cells[i].adjoint = 0;
    cells[a->node].adjoint = 1;
    if (a->data)
        set_one(s->t, a->data);
    return o + 1;
}

const nbi_step_op *nbi_step_finish(nb_frozen *s, const nbi_step_op *o)
{
    const nbi_step_seed *a = o->args;
    if (s->t->hot.cells[a->node].adjoint == 0)
        memset(a->data, 0, a->bytes);
    return o + 1;
}

const nbi_step_op *nbi_step_sweep_scalars(nb_frozen *s, const nbi_step_op *o)
{
    const nbi_step_range *r = o->args;
    nbi_sweep(s->t, r->from, r->to, s->wanted);
    return o + 1;
}

const nbi_step_op *nbi_step_row_reverse(nb_frozen *s, const nbi_step_op *o)
{
    const nbi_step_row *a = o->args;
    nbi_cell *cells = s->t->hot.cells;
    if (cells[a->node].adjoint != 0)
        a->reverse(a->n, a->x, a->step, a->r, a->g, a->to, nbi_step_arrive(cells, a->in));
    return o + 1;
}

static void clear(const nb_tape *t, const nb_array *a)
{
    memset(a->data, 0, (size_t)a->size * nbi_element(t->dtype));
}

/* Says where operand k's adjoint stands; see reverse_record.c. */
static void destination(const nb_frozen *s, const nbi_step_pass *a, size_t k)
{
    a->scalar[k] = 0;
    a->add[k] = false;
    if (a->to[k]->rank < 0)
        return;
    a->add[k] = nbi_step_arrive(s->t->hot.cells, a->in[k]);
    for (size_t j = 0; a->add[k] && j < k; j++)
        if (a->to[j] && a->in[j] == a->in[k] && !a->add[j]) {
            clear(s->t, a->to[j]);
            a->add[j] = true;
        }
    if (!a->add[k] && !a->of->c.op->overwrites)
        clear(s->t, a->to[k]);
}

const nbi_step_op *nbi_step_reverse(nb_frozen *s, const nbi_step_op *o)
{
    nbi_step_pass *a = o->args;
    const nb_call *c = &a->of->c;
    nbi_cell *cells = s->t->hot.cells;
    a->adjoint = cells[a->of->node].adjoint;
    if (a->adjoint == 0 && !s->freezing) {
        s->keep.at = a->end;
        return o + 1;
    }
    for (size_t k = 0; k < c->n_in; k++)
        if (a->to[k])
            destination(s, a, k);
    const nb_code code = c->op->reverse_arrays(c, &a->g, a->to, a->add);
    if (code != NB_OK)
        return failed(c, code, "the reverse rule failed");
    if (!kept(s, c, &a->end))
        return NULL;
    for (size_t k = 0; k < c->n_in; k++)
        if (a->to[k] && a->to[k]->rank < 0)
            cells[a->in[k]].adjoint += a->scalar[k];
    return o + 1;
}

const nbi_step_op *nbi_step_begin_rule(nb_frozen *s, const nbi_step_op *o)
{
    const nbi_step_rule *a = o->args;
    nbi_cell *cells = s->t->hot.cells;
    if (cells[a->node].adjoint == 0 && !s->freezing) {
        s->keep.at = a->end;
        return o + 1 + a->count;
    }
    if (a->cell != NBI_STEP_NONE)
        cells[a->cell].value = cells[a->node].adjoint;
    return o + 1;
}

static double total(const nb_tape *t, const nb_array *a)
{
    double sum = 0;
    nb_array out = {&sum, NULL, 1, -1, NB_F64};
    nbi_reduce_into(&t->crew, a, &out, false);
    return sum;
}

const nbi_step_op *nbi_step_add(nb_frozen *s, const nbi_step_op *o)
{
    nbi_step_give *a = o->args;
    nb_tape *t = s->t;
    nbi_cell *cells = t->hot.cells;
    if (a->scalar && a->cell != NBI_STEP_NONE)
        a->number = cells[a->cell].value;
    if (a->to.rank < 0)
        cells[a->node].adjoint += a->scalar ? a->number : total(t, &a->from);
    else
        nbi_reduce_into(&t->crew, &a->from, &a->to, nbi_step_arrive(cells, a->node));
    return o + 1;
}
