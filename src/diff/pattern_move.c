/*
 * The sets of ops that move elements: the ops tell by themselves.
 *
 * The forward rule is run on the numbers 1, 2, .. of the operands' elements, one operand after the
 * other, and comes out with the number of the element that each result was read from. Run again on
 * the negated numbers, it tells what was not read from anywhere, such as padding: that stays as it
 * was.
 *
 * Ops that add what they move, the transposes of the former, may read several elements for a
 * result, but each element goes to one place at most. So they are asked backward: the reverse rule,
 * run on the numbers of the results, says for each element where it goes, and leaves 0 where it
 * goes nowhere.
 *
 * Numbers of elements are exact as long as the tape's element type tells them apart; beyond, the op
 * counts as dense.
 */
#include "diff/pattern.h"

/* A call of an op's own rule on numbers of elements. */
typedef struct numbers {
    nbi_trace *w;
    const nbi_record *r;
    nb_array *in, out; /* in the tape's dtype; a scalar-valued result in double */
    nb_array **to;     /* [n_in], for the reverse rule */
    bool *add;
} numbers;

static double number(const nb_array *a, int64_t j)
{
    return a->dtype == NB_F64 ? ((double *)a->data)[j] : (double)((float *)a->data)[j];
}

/* base + 1, base + 2, .. times sign; or with sign 0 zeros. */
static void count_up(const nb_array *a, double base, double sign)
{
    for (int64_t j = 0; j < a->size; j++)
        if (a->dtype == NB_F64)
            ((double *)a->data)[j] = sign * (base + (double)j + 1);
        else
            ((float *)a->data)[j] = (float)(sign * (base + (double)j + 1));
}

static bool room_for(nbi_trace *w, nb_array *a)
{
    a->data = (size_t)a->size > SIZE_MAX / sizeof(double) - 1
                  ? NULL
                  : nbi_scratch(w->t, ((size_t)a->size + 1) * sizeof(double));
    return a->data != NULL;
}

/* *exact: whether the elements can all be told apart by their numbers. */
static bool open_numbers(numbers *c, nbi_trace *w, uint32_t i, bool *exact)
{
    nb_tape *t = w->t;
    const double most = t->dtype == NB_F64 ? 0x1p53 : 0x1p24;
    float unused;
    c->w = w;
    c->r = nbi_record_at(t, i);
    const size_t n = c->r->n_in;
    c->in = nbi_scratch(t, (n + 1) * sizeof *c->in);
    c->to = nbi_scratch(t, (n + 1) * sizeof *c->to);
    c->add = nbi_scratch(t, n + 1);
    if (!c->in || !c->to || !c->add)
        return false;
    double total = (double)c->r->size;
    for (size_t k = 0; k < n; k++) {
        c->in[k] = nbi_array_of(t, c->r->in[k], &unused);
        c->add[k] = true;
        total += (double)c->in[k].size;
        if (!room_for(w, &c->in[k]))
            return false;
    }
    c->out = nbi_array_of(t, i, &unused);
    if (c->r->rank < 0)
        c->out.dtype = NB_F64;
    *exact = total < most;
    return room_for(w, &c->out);
}

static bool move_once(numbers *c, double sign, double *to)
{
    double base = 0;
    for (size_t k = 0; k < c->r->n_in; base += (double)c->in[k++].size)
        count_up(&c->in[k], base, sign);
    nb_call call = {c->w->t, c->r->op, c->r->n_in, c->in, &c->out, c->r->state, NULL};
    if (c->r->op->forward(&call) != NB_OK)
        return false;
    for (int64_t j = 0; j < c->r->size; j++)
        to[j] = number(&c->out, j);
    return true;
}

/* The set of element e of the operands one after the other. */
static nbi_set *set_of_number(const numbers *c, int64_t e)
{
    for (size_t k = 0; k < c->r->n_in; e -= c->in[k++].size)
        if (e < c->in[k].size)
            return nbi_trace_set(c->w, c->r->in[k], e);
    return NULL;
}

bool nbi_trace_move(nbi_trace *w, uint32_t i)
{
    numbers c;
    bool exact;
    nb_array from[2] = {{.size = nbi_record_at(w->t, i)->size}, {0}};
    from[1] = from[0];
    if (!open_numbers(&c, w, i, &exact) || !room_for(w, &from[0]) || !room_for(w, &from[1]))
        return false;
    if (!exact)
        return nbi_trace_dense(w, i);
    double *up = from[0].data, *down = from[1].data;
    if (!move_once(&c, 1, up) || !move_once(&c, -1, down))
        return false;
    for (int64_t j = 0; j < c.r->size; j++)
        if (up[j] != down[j])
            nbi_trace_put(w, i, j, set_of_number(&c, (int64_t)up[j] - 1));
    return true;
}

bool nbi_trace_adding_move(nbi_trace *w, uint32_t i)
{
    numbers c;
    bool exact;
    if (!open_numbers(&c, w, i, &exact))
        return false;
    if (!exact)
        return nbi_trace_dense(w, i);
    count_up(&c.out, 0, 1);
    nb_array g = c.out;
    for (size_t k = 0; k < c.r->n_in; k++) {
        c.to[k] = &c.in[k];
        if (c.in[k].rank < 0)
            c.in[k].dtype = NB_F64;
        count_up(&c.in[k], 0, 0);
    }
    nb_call call = {w->t, c.r->op, c.r->n_in, c.in, &c.out, c.r->state, NULL};
    if (c.r->op->reverse_arrays(&call, &g, c.to, c.add) != NB_OK)
        return false;
    for (size_t k = 0; k < c.r->n_in; k++)
        for (int64_t j = 0; j < c.in[k].size; j++)
            if (number(&c.in[k], j) > 0)
                nbi_trace_put(w, i, (int64_t)number(&c.in[k], j) - 1,
                              nbi_trace_set(w, c.r->in[k], j));
    return true;
}
