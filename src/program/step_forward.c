/*
 * From a node of the step to the instruction that computes its value.
 *
 * Scalars that follow one another are one instruction, a walk over their opcodes. A record's becomes a
 * call of its forward rule with everything prepared; and where it is a row of the table whose operands
 * have the size of the result or are one number, a call of the row's kernel, since with small arrays
 * finding the kernel costs more than running it.
 */
#include "ops/elementwise.h"
#include "program/step.h"

#define NBI_REAL double
#define NBI_SUFFIX
#include "table/arithmetic.h"

/* ---- scalars --------------------------------------------------------------------------------- */

/* A row without gradient, whose opcode does not tell which. */
static double still_value(const nb_tape *t, nbi_args a)
{
    const nbi_cell *c = t->hot.cells;
    const uint32_t *k; /* several operands stand in the list; there may be none */
    double v = 0;
    switch ((enum nbi_row)a.b) {
#define UNARY(name, ...)                    \
    case NBI_ROW_##name:                    \
        v = nbi_value_##name(c[a.a].value); \
        break;
#define BINARY(name, ...)                                   \
    case NBI_ROW_##name:                                    \
        k = t->list + a.a;                                  \
        v = nbi_value_##name(c[k[0]].value, c[k[1]].value); \
        break;
#define TERNARY(name, ...)                                                 \
    case NBI_ROW_##name:                                                   \
        k = t->list + a.a;                                                 \
        v = nbi_value_##name(c[k[0]].value, c[k[1]].value, c[k[2]].value); \
        break;
#define TEST(name, ...) BINARY(name, )
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    case NBI_ROWS: break;
    }
    return v;
}

void nbi_step_evaluate(nb_tape *t, uint32_t from, uint32_t to)
{
    nbi_cell *c = t->hot.cells;
    for (uint32_t i = from; i < to; i++) {
        const nbi_args a = t->hot.args[i];
        const uint32_t *k; /* three operands stand in the list; there may be none */
        switch (t->hot.ops[i]) {
#define UNARY(name, ...)                             \
    case NBI_OP_##name:                              \
        c[i].value = nbi_value_##name(c[a.a].value); \
        break;
#define BINARY(name, ...)                                          \
    case NBI_OP_##name:                                            \
    case NBI_OP_##name##_vc:                                       \
    case NBI_OP_##name##_cv:                                       \
        c[i].value = nbi_value_##name(c[a.a].value, c[a.b].value); \
        break;
#define TERNARY(name, ...)                                                          \
    case NBI_OP_##name:                                                             \
        k = t->list + a.a;                                                          \
        c[i].value = nbi_value_##name(c[k[0]].value, c[k[1]].value, c[k[2]].value); \
        break;
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
        case NBI_STILL: c[i].value = still_value(t, a); break;
        case NBI_INPUT:
        case NBI_CONSTANT:
        case NBI_RECORD: break; /* given, or computed by instructions of their own */
        default: c[i].value = nbi_value_many(t, i);
        }
    }
}

bool nbi_step_emit_scalar(nbi_freezer *f, uint32_t i)
{
    nb_frozen *s = f->s;
    const uint8_t op = f->t->hot.ops[i];
    if (op == NBI_INPUT || op == NBI_CONSTANT)
        return true;
    nbi_step_op *last = s->n ? &s->ops[s->n - 1] : NULL;
    if (last && last->run == nbi_step_scalars) {
        ((nbi_step_range *)last->args)->to = i + 1;
        nbi_step_evaluate(f->t, i, i + 1);
        return true;
    }
    nbi_step_range *r = nbi_step_args(f, sizeof *r);
    if (!r)
        return false;
    *r = (nbi_step_range){i, i + 1};
    return nbi_step_emit(f, nbi_step_scalars, r);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* A view of operand k; a scalar's is of a slot of its own. */
static bool operand(nbi_freezer *f, nbi_step_call *a, size_t k, uint32_t i)
{
    nb_tape *t = f->t;
    nb_array *x = &a->in[k];
    if (nbi_is_tensor(t, i)) {
        const nbi_record *r = nbi_record_at(t, i);
        *x = (nb_array){r->data, r->dims, r->size, r->rank, t->dtype};
        return true;
    }
    *x = (nb_array){nbi_step_args(f, sizeof(double)), NULL, 1, -1, t->dtype};
    a->link[a->n_links++] = (nbi_step_link){i, x->data};
    return x->data != NULL;
}

/* The call of record i, to look at: it lasts as long as the freezing. */
static nbi_step_call *prepare(nbi_freezer *f, uint32_t i)
{
    nb_tape *t = f->t;
    const nbi_record *r = nbi_record_at(t, i);
    const size_t n = r->n_in;
    size_t scalars = 0;
    for (size_t k = 0; k < n; k++)
        scalars += !nbi_is_tensor(t, r->in[k]);
    nbi_step_call *a = nbi_take(&f->work, sizeof *a, 16);
    nb_array *in = nbi_take(&f->work, n * sizeof *in, 16);
    nbi_step_link *link = nbi_step_args(f, scalars * sizeof *link);
    if (!a || !in || !link)
        return nbi_no_memory(t, "freeze"), NULL;
    *a = (nbi_step_call){.in = in, .link = link, .node = i};
    a->c = (nb_call){t, r->op, n, in, &a->out, r->state, NULL};
    for (size_t k = 0; k < n; k++)
        if (!operand(f, a, k, r->in[k]))
            return NULL;
    if (r->rank < 0)
        a->out = (nb_array){&a->value, NULL, 1, -1, NB_F64};
    else
        a->out = (nb_array){r->data, r->dims, r->size, r->rank, t->dtype};
    return a;
}

nbi_step_call *nbi_step_lasting(nbi_freezer *f, nbi_step_call *a)
{
    const size_t n = a->c.n_in;
    if (a->lasts)
        return a;
    nbi_step_call *to = nbi_step_args(f, sizeof *to);
    nb_array *in = nbi_step_args(f, n * sizeof *in);
    if (!to || !in)
        return NULL;
    *to = *a;
    to->lasts = true;
    to->c.in = to->in = in;
    to->c.out = &to->out;
    if (a->out.rank < 0)
        to->out.data = &to->value;
    bool done = nbi_step_use(f, &to->out.data);
    for (size_t k = 0; k < n; k++) {
        in[k] = a->in[k];
        done = done && nbi_step_use(f, &in[k].data);
    }
    return done ? to : NULL;
}

/* Whether the call is that of a row, of tensors of one size and numbers, for one thread. */
static bool is_flat(const nbi_freezer *f, const nbi_step_call *a)
{
    const nb_op *op = a->c.op;
    bool flat = op >= nbi_row_ops && op < nbi_row_ops + NBI_ROWS && a->out.rank >= 0;
    for (size_t k = 0; flat && k < a->c.n_in; k++)
        flat = a->in[k].size == a->out.size || a->in[k].size == 1;
    return flat && !f->t->crew.pool;
}

bool nbi_step_flat(nbi_freezer *f, const nbi_step_call *a, nbi_step_row *to)
{
    if (!is_flat(f, a))
        return false;
    *to = (nbi_step_row){.n = a->out.size, .n_links = a->n_links, .link = a->link, .node = a->node};
    for (size_t k = 0; k < a->c.n_in; k++) {
        to->x[k] = a->in[k].data;
        to->step[k] = a->in[k].size == a->out.size;
    }
    return true;
}

static bool emit_row(nbi_freezer *f, const nbi_step_call *a, const nbi_step_row *row)
{
    nbi_step_row *r = nbi_step_args(f, sizeof *r);
    if (!r)
        return false;
    *r = *row;
    r->forward = f->t->rows->forward[a->out.dtype][a->c.op - nbi_row_ops];
    r->to = a->out.data;
    for (size_t k = 0; k < a->c.n_in; k++)
        if (!nbi_step_use(f, &r->x[k]))
            return false;
    return nbi_step_use(f, &r->to) && nbi_step_emit(f, nbi_step_row_forward, r);
}

bool nbi_step_emit_call(nbi_freezer *f, uint32_t i)
{
    nbi_step_call *a = prepare(f, i);
    nbi_step_row row;
    const bool affine = a && nbi_step_is_affine(f, a);
    const bool flat = a && !affine && nbi_step_flat(f, a, &row);
    if (a && !affine && !flat && !a->c.op->view)
        a = nbi_step_lasting(f, a);
    if (!a)
        return false;
    if (!f->s->nodes) /* while the recording is copied; a rule's nodes are not swept */
        f->call[i] = a;
    if (a->c.op->view)
        return true;
    if (affine)
        return nbi_step_affine_forward(f, a);
    return flat ? emit_row(f, a, &row) : nbi_step_emit(f, nbi_step_forward, a);
}
