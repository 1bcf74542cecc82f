/*
 * From a stretch of tape to an expression graph.
 *
 * One walk down from the outputs marks what they need; one walk up turns each marked node into a node of
 * the graph. Nodes older than every input cannot depend on one: they are constants, unless they are
 * inputs that nobody listed. What the tape computed without recording gradients (and comparisons) keeps
 * its dependence but passes no derivative: it is held.
 *
 * Guards are records of an operation of their own (nb_guard). Those between the inputs and the last
 * output come along, as conditions that must not be 0.
 */
#include "program/freeze.h"

#include "ops/elementwise.h"
#include "program/program.h"
#include <math.h>

/* ---- guards ---------------------------------------------------------------------------------- */

static nb_code guard_shape(const nb_call *c, nb_shape *out)
{
    if (c->in[0].rank >= 0)
        return nb_refuse(c, NB_ERR_SHAPE, "a branch depends on a scalar, this is a tensor", NULL);
    out->rank = -1;
    return NB_OK;
}

static nb_code guard_forward(const nb_call *c)
{
    const nb_array *x = &c->in[0];
    const bool is_double = x->dtype == NB_F64;
    *(double *)c->out->data = is_double ? *(double *)x->data : (double)*(float *)x->data;
    return NB_OK;
}

static const nb_op guard_op = {
    .name = "guard",
    .doc = "a condition that decided a branch",
    .shape = guard_shape,
    .forward = guard_forward,
};

bool nb_guard(nb_var condition)
{
    if (!condition.tape)
        return !nbi_is_inert(condition) && nbi_number(condition) != 0;
    const nb_var g = nb_apply(&guard_op, 1, &condition, NULL, 0);
    return nb_ok(g) && nb_value(condition) != 0;
}

/* ---- inputs and outputs ---------------------------------------------------------------------- */

/* "freeze: input 3 of \"x\" …" */
static nb_code refuse_element(nbi_freeze *f, nb_code code, const char *kind, const nb_argument *a,
                              size_t e, const char *reason)
{
    return nbi_fail(f->t, code, "freeze: %s %zu of \"%s\" %s", kind, e, a->name ? a->name : "",
                    reason);
}

static bool check_var(nbi_freeze *f, const char *kind, const nb_argument *a, size_t e)
{
    const nb_var v = a->var[e];
    const char *reason = !v.tape                        ? "is a number, not a var"
                         : v.tape != f->t               ? "is of another tape"
                         : !nbi_alive(f->t, v)          ? "is stale"
                         : nbi_is_tensor(f->t, v.index) ? "is a tensor, not a scalar"
                                                        : NULL;
    if (reason)
        refuse_element(f, v.tape == f->t && nbi_alive(f->t, v) ? NB_ERR_SHAPE : NB_ERR_HANDLE, kind,
                       a, e, reason);
    return !reason;
}

static bool check_arguments(nbi_freeze *f, const char *kind, size_t n, const nb_argument *list)
{
    for (size_t k = 0; k < n; k++) {
        if (list[k].count && !list[k].var) {
            nbi_fail(f->t, NB_ERR_ARGUMENT, "freeze: %s argument \"%s\" has no vars", kind,
                     list[k].name ? list[k].name : "");
            return false;
        }
        for (size_t e = 0; e < list[k].count; e++)
            if (!check_var(f, kind, &list[k], e))
                return false;
    }
    return true;
}

/* The tape of the first var of the recipe that has one. */
static nb_tape *tape_of(const nb_recipe *r)
{
    const nb_argument *list[2] = {r->out, r->in};
    const size_t n[2] = {r->n_out, r->n_in};
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; list[i] && k < n[i]; k++)
            for (size_t e = 0; list[i][k].var && e < list[i][k].count; e++)
                if (list[i][k].var[e].tape)
                    return list[i][k].var[e].tape;
    return NULL;
}

/* The range of tape that matters, and the walks' memory. */
static bool open_range(nbi_freeze *f)
{
    const nb_recipe *r = f->recipe;
    f->low = UINT32_MAX;
    f->high = 0;
    for (size_t k = 0; k < r->n_in; k++)
        for (size_t e = 0; e < r->in[k].count; e++)
            f->low = r->in[k].var[e].index < f->low ? r->in[k].var[e].index : f->low;
    for (size_t k = 0; k < r->n_out; k++)
        for (size_t e = 0; e < r->out[k].count; e++)
            f->high = r->out[k].var[e].index + 1 > f->high ? r->out[k].var[e].index + 1 : f->high;
    f->low = f->low < f->high ? f->low : f->high;
    f->number = nbi_resize(&f->p->heap, NULL, 0, (f->high - f->low) * sizeof *f->number);
    if (!f->number && f->high > f->low) {
        nbi_no_memory(f->t, "freeze");
        return false;
    }
    memset(f->number, 0xff, (f->high - f->low) * sizeof *f->number);
    return true;
}

#define NEEDED (UINT32_MAX - 1)

static void need(nbi_freeze *f, uint32_t i)
{
    if (i >= f->low && f->number[i - f->low] == NBI_DAG_NONE)
        f->number[i - f->low] = NEEDED;
}

static bool is_guard(const nbi_freeze *f, uint32_t i)
{
    return f->t->hot.ops[i] == NBI_RECORD && nbi_record_at(f->t, i)->op == &guard_op;
}

/* The inputs get their nodes, the outputs' needs are marked. */
static bool place_inputs(nbi_freeze *f)
{
    const nb_recipe *r = f->recipe;
    size_t place = 0;
    for (size_t k = 0; k < r->n_in; k++)
        for (size_t e = 0; e < r->in[k].count; e++, place++) {
            const uint32_t i = r->in[k].var[e].index;
            if (f->t->hot.ops[i] != NBI_INPUT)
                return refuse_element(f, NB_ERR_ARGUMENT, "input", &r->in[k], e,
                                      "is not an input of the tape") == NB_OK;
            if (i >= f->high)
                continue;
            if (f->number[i - f->low] != NBI_DAG_NONE)
                return refuse_element(f, NB_ERR_ARGUMENT, "input", &r->in[k], e,
                                      "is given twice") == NB_OK;
            f->number[i - f->low] = nbi_dag_input(&f->p->dag, place);
        }
    if (f->p->dag.failed)
        nbi_no_memory(f->t, "freeze");
    return !f->p->dag.failed;
}

/* Marks what the outputs need, and makes room for it. */
static bool mark(nbi_freeze *f)
{
    const nb_recipe *r = f->recipe;
    size_t needed = f->p->dag.count;
    for (size_t k = 0; k < r->n_out; k++)
        for (size_t e = 0; e < r->out[k].count; e++)
            need(f, r->out[k].var[e].index);
    for (uint32_t i = f->high; i-- > f->low;) {
        if (is_guard(f, i))
            need(f, i);
        if (f->number[i - f->low] != NEEDED)
            continue;
        const size_t n = nbi_operands(f->t, i);
        for (size_t k = 0; k < n; k++)
            need(f, nbi_operand(f->t, i, k));
        needed++;
    }
    return nbi_dag_reserve(&f->p->dag, needed);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static bool refuse_node(nbi_freeze *f, nb_code code, uint32_t i, const char *reason)
{
    const nb_info info = nb_inspect(nbi_var(f->t, i));
    nbi_fail(f->t, code, "freeze: node %u, \"%s\" (%s), %s", i, info.name ? info.name : "", info.op,
             reason);
    return false;
}

uint32_t nbi_freeze_operand(nbi_freeze *f, uint32_t i)
{
    if (i >= f->low)
        return f->number[i - f->low];
    if (nbi_still(f->t, i) && !nbi_is_tensor(f->t, i))
        return nbi_dag_constant(&f->p->dag, f->t->hot.cells[i].value);
    if (!f->t->code)
        refuse_node(f, NB_ERR_ARGUMENT, i,
                    f->t->hot.ops[i] == NBI_INPUT
                        ? "is needed, and is not among the program's inputs"
                        : "is needed, and depends on what is not among the program's inputs");
    return NBI_DAG_NONE;
}

static uint32_t freeze_row(nbi_freeze *f, uint32_t i, int row)
{
    uint32_t in[3] = {0};
    for (int k = 0; k < nbi_rows[row].arity; k++)
        in[k] = nbi_freeze_operand(f, nbi_operand(f->t, i, (size_t)k));
    const uint32_t v = nbi_dag_op(&f->p->dag, (uint32_t)row, in[0], in[1], in[2]);
    const bool held = f->t->hot.ops[i] == NBI_STILL && nbi_rows[row].opcode != 0;
    return held ? nbi_dag_op(&f->p->dag, NBI_DAG_HOLD, v, 0, 0) : v;
}

/* A record is no operation on scalars; but one of constants alone (an element of a table) is one. */
static uint32_t freeze_record(nbi_freeze *f, uint32_t i)
{
    const nbi_record *r = nbi_record_at(f->t, i);
    bool constant = r->still && r->rank < 0;
    for (uint32_t k = 0; k < r->n_in; k++) {
        const uint8_t op = f->t->hot.ops[r->in[k]];
        constant = constant && (op == NBI_CONSTANT ||
                                (op == NBI_RECORD && nbi_record_at(f->t, r->in[k])->leaf));
    }
    if (constant)
        return nbi_dag_constant(&f->p->dag, f->t->hot.cells[i].value);
    refuse_node(f, NB_ERR_SHAPE, i,
                r->rank >= 0 ? "is a tensor: programs are made of scalar operations"
                             : "is not an operation on scalars alone");
    return NBI_DAG_NONE;
}

static bool freeze_node(nbi_freeze *f, uint32_t i)
{
    const uint8_t op = f->t->hot.ops[i];
    const int row = nbi_row_of(f->t, i);
    uint32_t *to = &f->number[i - f->low];
    if (row >= 0) {
        *to = freeze_row(f, i, row);
    } else if (is_guard(f, i)) {
        const double taken = f->t->hot.cells[i].value;
        const uint32_t c = nbi_freeze_operand(f, nbi_operand(f->t, i, 0));
        const uint32_t zero = nbi_dag_constant(&f->p->dag, 0);
        *to = taken != 0 ? c : nbi_dag_op(&f->p->dag, NBI_ROW_eq, c, zero, 0);
        if (*to != NBI_DAG_NONE && !nbi_dag_is_constant(&f->p->dag, *to) &&
            !nbi_program_add_guard(f->p, *to))
            f->p->dag.failed = true;
    } else if (op == NBI_INPUT) {
        return refuse_node(f, NB_ERR_ARGUMENT, i,
                           "is needed, and is not among the program's inputs");
    } else if (op == NBI_CONSTANT) {
        *to = nbi_dag_constant(&f->p->dag, f->t->hot.cells[i].value);
    } else {
        *to = op == NBI_RECORD ? freeze_record(f, i) : nbi_freeze_many(f, i);
    }
    f->p->recorded += op != NBI_CONSTANT && op != NBI_RECORD;
    return *to != NBI_DAG_NONE;
}

static bool walk(nbi_freeze *f)
{
    const nb_recipe *r = f->recipe;
    for (uint32_t i = f->low; i < f->high; i++)
        if (f->number[i - f->low] == NEEDED && !freeze_node(f, i))
            return false;
    size_t place = 0;
    for (size_t k = 0; k < r->n_out; k++)
        for (size_t e = 0; e < r->out[k].count; e++) {
            const uint32_t v = nbi_freeze_operand(f, r->out[k].var[e].index);
            if (v == NBI_DAG_NONE)
                return false;
            f->p->result[place++] = v;
        }
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool add_arguments(nbi_freeze *f)
{
    const nb_recipe *r = f->recipe;
    bool done = true;
    for (size_t k = 0; done && k < r->n_in; k++)
        done = nbi_program_add_in(f->p, r->in[k].name, r->in[k].count, r->in[k].shared,
                                  r->in[k].vector);
    for (size_t k = 0; done && k < r->n_out; k++)
        done = nbi_program_add_out(f->p, r->out[k].name, r->out[k].count, r->out[k].sum,
                                   r->out[k].vector);
    if (!done)
        nbi_no_memory(f->t, "freeze");
    return done;
}

nb_program *nb_freeze(const nb_recipe *r)
{
    nb_tape *t = r ? tape_of(r) : NULL;
    if (!t)
        return NULL;
    if (!r->n_out || !r->out || (r->n_in && !r->in)) {
        nbi_fail(t, NB_ERR_ARGUMENT, "freeze: there are no outputs, or the list of inputs is NULL");
        return NULL;
    }
    nbi_freeze f = {.t = t, .recipe = r};
    if (!check_arguments(&f, "input", r->n_in, r->in) ||
        !check_arguments(&f, "output", r->n_out, r->out))
        return NULL;
    f.p = nbi_program_new(r->allocator ? r->allocator : &t->heap.allocator);
    if (!f.p) {
        nbi_no_memory(t, "freeze");
        return NULL;
    }
    f.p->strict = r->strict;
    bool done = add_arguments(&f) && open_range(&f) && place_inputs(&f);
    done = done && mark(&f) && walk(&f) && nbi_program_prune(f.p);
    nbi_resize(&f.p->heap, f.number, (f.high - f.low) * sizeof *f.number, 0);
    if (done)
        return f.p;
    if (!t->code)
        nbi_no_memory(t, "freeze");
    nb_program_free(f.p);
    return NULL;
}
