/*
 * The sets of a record's elements: which elements of the operands its op reads for each of its own.
 *
 * Ops that only move elements tell by themselves. Their forward rule is run on the numbers 1, 2, .. of
 * the operands' elements and comes out with the number of the element that each result was read from;
 * run again on the negated numbers, it tells what was not read from anywhere (padding). Ops that add
 * what they move (the reverse rules of the former) are asked backward: their reverse rule, run on the
 * numbers of the results, says for each element where it goes.
 *
 *     rows of the table           elementwise, with broadcasting
 *     moves, adding moves         exactly
 *     reductions, softmax         by the lines along the reduced axes
 *     matmul, affine, outer       row by column
 *     everything else             every result by every element: correct, and dense
 */
#include "diff/pattern.h"

#include "ops/elementwise.h"
#include "ops/product.h"
#include "ops/records.h"
#include "ops/reduction.h"

#include <math.h>

/* ---- dense ----------------------------------------------------------------------------------- */

static nbi_set *all_of(nbi_trace *w, uint32_t i)
{
    nbi_set *s = NULL;
    const int64_t size = nbi_is_tensor(w->t, i) ? nbi_record_at(w->t, i)->size : 1;
    for (int64_t j = 0; j < size && w->role[i] && w->at[i]; j++)
        s = nbi_set_union(&w->sets, s, nbi_trace_set(w, i, j));
    return s;
}

/* Adds set s to element j of record i. */
static void put(nbi_trace *w, uint32_t i, int64_t j, nbi_set *s)
{
    nbi_set **to =
        nbi_record_at(w->t, i)->rank < 0 ? (nbi_set **)(void *)&w->at[i] : (nbi_set **)w->at[i] + j;
    *to = nbi_set_union(&w->sets, *to, s);
}

static bool dense(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    nbi_set *s = NULL;
    for (size_t k = 0; k < r->n_in; k++)
        s = nbi_set_union(&w->sets, s, all_of(w, r->in[k]));
    for (int64_t j = 0; j < r->size; j++)
        put(w, i, j, s);
    return true;
}

/* ---- along axes ------------------------------------------------------------------------------ */

/* A walk over the elements of an array in order, with the place in another one that has a step per
 * axis. */
typedef struct along {
    int rank;
    const int64_t *dims;
    int64_t index[NB_MAX_RANK], step[NB_MAX_RANK], at;
} along;

static void next(along *a)
{
    for (int d = a->rank - 1; d >= 0; d--) {
        a->at += a->step[d];
        if (++a->index[d] < a->dims[d])
            return;
        a->at -= a->step[d] * a->dims[d];
        a->index[d] = 0;
    }
}

/* Over the elements of r, in an operand of shape dims that broadcasts to it. */
static along broadcast(const nbi_record *r, int rank, const int64_t *dims)
{
    along a = {.rank = r->rank, .dims = r->dims};
    int64_t step = 1;
    for (int d = r->rank - 1, j = rank - 1; d >= 0; d--, j--) {
        a.step[d] = j >= 0 && dims[j] != 1 ? step : 0;
        step *= j >= 0 ? dims[j] : 1;
    }
    return a;
}

static bool row(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    for (size_t k = 0; k < r->n_in; k++) {
        const uint32_t x = r->in[k];
        float unused;
        const nb_array a = nbi_array_of(w->t, x, &unused);
        along p = broadcast(r, a.rank, a.dims);
        for (int64_t j = 0; j < r->size && w->role[x]; j++, next(&p))
            put(w, i, j, nbi_trace_set(w, x, p.at));
    }
    return true;
}

/* The results of a reduction, or the lines of a softmax, to which the elements of x belong. */
static along lines(const nbi_record *x, const nbi_reduction *s)
{
    along a = {.rank = x->rank, .dims = x->dims};
    int64_t step = 1;
    for (int d = x->rank - 1, k = s->axes.count - 1; d >= 0; d--) {
        const bool folded = k >= 0 && s->axes.axis[k] == d;
        k -= folded;
        a.step[d] = folded ? 0 : step;
        step *= folded ? 1 : x->dims[d];
    }
    return a;
}

static bool reduction(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    const uint32_t x = r->in[0];
    if (!nbi_is_tensor(w->t, x) || r->n_in > 1)
        return dense(w, i);
    along p = lines(nbi_record_at(w->t, x), r->state);
    for (int64_t j = 0; j < nbi_record_at(w->t, x)->size; j++, next(&p))
        put(w, i, p.at, nbi_trace_set(w, x, j));
    return true;
}

/* y, of x's shape, by lines: also where another operand, of a shape that broadcasts, has no gradient. */
static bool softmax(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    const uint32_t x = r->in[0];
    const nbi_reduction *s = r->state;
    bool others = !nbi_is_tensor(w->t, x) || nbi_record_at(w->t, x)->size != r->size;
    for (size_t k = 1; k < r->n_in; k++)
        others = others || w->role[r->in[k]];
    if (others)
        return dense(w, i);
    const size_t cells = (size_t)s->nest.cells;
    nbi_set **line = nbi_scratch(w->t, (cells + 1) * sizeof *line);
    if (!line)
        return false;
    memset(line, 0, (cells + 1) * sizeof *line);
    const along start = lines(nbi_record_at(w->t, x), s);
    along p = start;
    for (int64_t j = 0; j < r->size; j++, next(&p))
        line[p.at] = nbi_set_union(&w->sets, line[p.at], nbi_trace_set(w, x, j));
    p = start;
    for (int64_t j = 0; j < r->size; j++, next(&p))
        put(w, i, j, line[p.at]);
    return true;
}

/* ---- products -------------------------------------------------------------------------------- */

/* The unions over the lines of node x, so many of `length` elements `apart`; `inner` lines stand side by
 * side. NULL where there is no memory. */
static nbi_set **unions(nbi_trace *w, uint32_t x, int64_t count, int64_t length, int64_t apart)
{
    nbi_set **s = nbi_scratch(w->t, ((size_t)count + 1) * sizeof *s);
    for (int64_t l = 0; s && l < count; l++) {
        const int64_t first = l / apart * apart * length + l % apart;
        s[l] = NULL;
        for (int64_t j = 0; j < length; j++)
            s[l] = nbi_set_union(&w->sets, s[l], nbi_trace_set(w, x, first + j * apart));
    }
    return s;
}

/* Element j of the lines of x: those that result j has as its row, or as its column. */
static bool affine(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i), *m = nbi_record_at(w->t, r->in[1]);
    const int64_t k = m->dims[0], n = m->dims[1];
    if (r->size == 0)
        return true;
    nbi_set **rows = unions(w, r->in[0], r->size / n, k, 1);
    nbi_set **columns = unions(w, r->in[1], n, k, n);
    if (!rows || !columns)
        return false;
    for (int64_t j = 0; j < r->size; j++) {
        put(w, i, j, nbi_set_union(&w->sets, rows[j / n], columns[j % n]));
        put(w, i, j, nbi_trace_set(w, r->in[2], j % n));
    }
    return true;
}

static bool outer(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    const int64_t n = nbi_is_tensor(w->t, r->in[1]) ? nbi_record_at(w->t, r->in[1])->size : 1;
    for (int64_t j = 0; j < r->size; j++) {
        put(w, i, j, nbi_trace_set(w, r->in[0], j / n));
        put(w, i, j, nbi_trace_set(w, r->in[1], j % n));
    }
    return true;
}

/* Over the batch of the results, in the batch of an operand of `rank` axes. */
static along batch(const nbi_record *r, int axes, const nbi_record *x)
{
    nbi_record out = {.rank = axes, .dims = r->dims};
    return broadcast(&out, x->rank > 2 ? x->rank - 2 : 0, x->dims);
}

static bool matmul(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    const nbi_record *a = nbi_record_at(w->t, r->in[0]), *b = nbi_record_at(w->t, r->in[1]);
    const nbi_matmul_flags *f = r->state;
    if (r->rank < 0 || r->size == 0)
        return dense(w, i);
    const int64_t last = a->dims[a->rank - 1], rows = a->rank > 1 ? a->dims[a->rank - 2] : 1;
    const int64_t k = f->a ? rows : last, m = f->a ? last : rows;
    const int64_t n = b->rank < 2 ? 1 : f->b ? b->dims[b->rank - 2] : b->dims[b->rank - 1];
    if (k == 0)
        return true;
    nbi_set **row = unions(w, r->in[0], a->size / k, k, f->a ? m : 1);
    nbi_set **column = unions(w, r->in[1], b->size / k, k, f->b ? 1 : n);
    if (!row || !column)
        return false;
    const int axes = r->rank - (a->rank > 1) - (b->rank > 1);
    along pa = batch(r, axes, a), pb = batch(r, axes, b);
    for (int64_t o = 0; o < r->size; o += m * n, next(&pa), next(&pb))
        for (int64_t j = 0; j < m * n; j++)
            put(w, i, o + j,
                nbi_set_union(&w->sets, row[pa.at * m + j / n], column[pb.at * n + j % n]));
    return true;
}

/* ---- moves ----------------------------------------------------------------------------------- */

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

static bool move(nbi_trace *w, uint32_t i)
{
    numbers c;
    bool exact;
    nb_array from[2] = {{.size = nbi_record_at(w->t, i)->size}, {0}};
    from[1] = from[0];
    if (!open_numbers(&c, w, i, &exact) || !room_for(w, &from[0]) || !room_for(w, &from[1]))
        return false;
    if (!exact)
        return dense(w, i);
    double *up = from[0].data, *down = from[1].data;
    if (!move_once(&c, 1, up) || !move_once(&c, -1, down))
        return false;
    for (int64_t j = 0; j < c.r->size; j++)
        if (up[j] != down[j])
            put(w, i, j, set_of_number(&c, (int64_t)up[j] - 1));
    return true;
}

static bool adding_move(nbi_trace *w, uint32_t i)
{
    numbers c;
    bool exact;
    if (!open_numbers(&c, w, i, &exact))
        return false;
    if (!exact)
        return dense(w, i);
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
                put(w, i, (int64_t)number(&c.in[k], j) - 1, nbi_trace_set(w, c.r->in[k], j));
    return true;
}

static bool view(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    for (int64_t j = 0; j < r->size; j++)
        put(w, i, j, nbi_trace_set(w, r->in[0], j));
    return true;
}

/* ---- which op does what ---------------------------------------------------------------------- */

typedef bool way(nbi_trace *w, uint32_t i);

static way *way_of(const nb_op *op)
{
    static const struct {
        const nb_op *op;
        way *how;
    } ways[] = {
        {&nbi_op_permute, move},
        {&nbi_op_transpose, move},
        {&nbi_op_flip, move},
        {&nbi_op_expand, move},
        {&nbi_op_tile, move},
        {&nbi_op_pad, move},
        {&nbi_op_lower, move},
        {&nbi_op_upper, move},
        {&nbi_op_diag, move},
        {&nbi_op_diagonal, move},
        {&nbi_op_slice, move},
        {&nbi_op_unslice, move},
        {&nbi_op_split, move},
        {&nbi_op_concat, move},
        {&nbi_op_stack, move},
        {&nbi_op_at_index, move},
        {&nbi_op_place, move},
        {&nbi_op_index_select, move},
        {&nbi_op_embedding, move},
        {&nbi_op_gather, move},
        {&nbi_op_unselect, adding_move},
        {&nbi_op_scatter_add, adding_move},
        {&nbi_op_sum, reduction},
        {&nbi_op_mean, reduction},
        {&nbi_op_prod, reduction},
        {&nbi_op_amax, reduction},
        {&nbi_op_amin, reduction},
        {&nbi_op_var, reduction},
        {&nbi_op_std, reduction},
        {&nbi_op_norm, reduction},
        {&nbi_op_logsumexp, reduction},
        {&nbi_op_softmax, softmax},
        {&nbi_op_log_softmax, softmax},
        {&nbi_op_masked_softmax, softmax},
        {&nbi_op_matmul, matmul},
        {&nbi_op_affine, affine},
        {&nbi_op_outer, outer},
        {&nbi_op_trace, adding_move},
    };
    if (op >= nbi_row_ops && op < nbi_row_ops + NBI_ROWS)
        return row;
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
        if (ways[k].op == op)
            return ways[k].how;
    return op->view ? view : dense;
}

bool nbi_trace_record(nbi_trace *w, uint32_t i)
{
    nb_tape *t = w->t;
    const nbi_record *r = nbi_record_at(t, i);
    if (r->rank >= 0 && !nbi_trace_sets(w, i))
        return false;
    if (r->leaf)
        return true;
    if (!r->op->reverse && !r->op->reverse_arrays)
        return nbi_fail(t, NB_ERR_GRADIENT, "%s: node %u has no derivative rule", r->op->name, i),
               false;
    const nb_mark before = nb_tape_mark(t);
    const nbi_spot scratch = t->scratch.at;
    t->busy++;
    const bool done = way_of(r->op)(w, i);
    t->busy--;
    nbi_give_back(&t->scratch, scratch);
    nbi_truncate(t, &before);
    return done && !w->sets.failed;
}
