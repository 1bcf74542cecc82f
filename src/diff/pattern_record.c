/*
 * The sets of a record's elements: which elements of the operands its op reads for each of its own.
 *
 *     rows of the table           elementwise, with broadcasting; most hooks on adjoints too
 *     moves, adding moves         exactly (pattern_move.c)
 *     reductions, softmax         by the lines along the reduced axes
 *     matmul, affine, dense       row by column; outer likewise
 *     everything else             every result by every element: correct, and dense; segments and
 *                                 loops too, whose interior is not on the tape
 */
#include "diff/pattern.h"

#include "diff/hooks.h"
#include "ops/elementwise.h"
#include "ops/product.h"
#include "ops/records.h"
#include "ops/reduction.h"

/* ---- dense ----------------------------------------------------------------------------------- */

static nbi_set *all_of(nbi_trace *w, uint32_t i)
{
    nbi_set *s = NULL;
    const int64_t size = nbi_is_tensor(w->t, i) ? nbi_record_at(w->t, i)->size : 1;
    for (int64_t j = 0; j < size && w->role[i] && w->at[i]; j++)
        s = nbi_set_union(&w->sets, s, nbi_trace_set(w, i, j));
    return s;
}

void nbi_trace_put(nbi_trace *w, uint32_t i, int64_t j, nbi_set *s)
{
    nbi_set **to =
        nbi_record_at(w->t, i)->rank < 0 ? (nbi_set **)(void *)&w->at[i] : (nbi_set **)w->at[i] + j;
    *to = nbi_set_union(&w->sets, *to, s);
}

bool nbi_trace_dense(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    nbi_set *s = NULL;
    for (size_t k = 0; k < r->n_in; k++)
        s = nbi_set_union(&w->sets, s, all_of(w, r->in[k]));
    for (int64_t j = 0; j < r->size; j++)
        nbi_trace_put(w, i, j, s);
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
            nbi_trace_put(w, i, j, nbi_trace_set(w, x, p.at));
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
        return nbi_trace_dense(w, i);
    along p = lines(nbi_record_at(w->t, x), r->state);
    for (int64_t j = 0; j < nbi_record_at(w->t, x)->size; j++, next(&p))
        nbi_trace_put(w, i, p.at, nbi_trace_set(w, x, j));
    return true;
}

/* y, of x's shape, by lines: also where another operand, of a shape that broadcasts, has no
 * gradient. */
static bool softmax(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    const uint32_t x = r->in[0];
    const nbi_reduction *s = r->state;
    bool others = !nbi_is_tensor(w->t, x) || nbi_record_at(w->t, x)->size != r->size;
    for (size_t k = 1; k < r->n_in; k++)
        others = others || w->role[r->in[k]];
    if (others)
        return nbi_trace_dense(w, i);
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
        nbi_trace_put(w, i, j, line[p.at]);
    return true;
}

/* ---- products -------------------------------------------------------------------------------- */

/* The unions over the lines of node x, so many of `length` elements `apart`; `inner` lines stand
 * side by side. NULL where there is no memory. */
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
        nbi_trace_put(w, i, j, nbi_set_union(&w->sets, rows[j / n], columns[j % n]));
        nbi_trace_put(w, i, j, nbi_trace_set(w, r->in[2], j % n));
    }
    return true;
}

static bool outer(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    const int64_t n = nbi_is_tensor(w->t, r->in[1]) ? nbi_record_at(w->t, r->in[1])->size : 1;
    for (int64_t j = 0; j < r->size; j++) {
        nbi_trace_put(w, i, j, nbi_trace_set(w, r->in[0], j / n));
        nbi_trace_put(w, i, j, nbi_trace_set(w, r->in[1], j % n));
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
        return nbi_trace_dense(w, i);
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
            nbi_trace_put(
                w, i, o + j,
                nbi_set_union(&w->sets, row[pa.at * m + j / n], column[pb.at * n + j % n]));
    return true;
}

/* ---- which op does what ---------------------------------------------------------------------- */

static bool view(nbi_trace *w, uint32_t i)
{
    const nbi_record *r = nbi_record_at(w->t, i);
    for (int64_t j = 0; j < r->size; j++)
        nbi_trace_put(w, i, j, nbi_trace_set(w, r->in[0], j));
    return true;
}

typedef bool way(nbi_trace *w, uint32_t i);

/* An op that is not here, nor a row nor a hook by element, is dense: also one that shares its
 * operand's storage, which says nothing of its derivative. */
static const struct {
    const nb_op *op;
    way *how;
} ways[] = {
    {&nbi_op_reshape, view},
    {&nbi_op_flatten, view},
    {&nbi_op_squeeze, view},
    {&nbi_op_unsqueeze, view},
    {&nbi_op_permute, nbi_trace_move},
    {&nbi_op_transpose, nbi_trace_move},
    {&nbi_op_flip, nbi_trace_move},
    {&nbi_op_expand, nbi_trace_move},
    {&nbi_op_tile, nbi_trace_move},
    {&nbi_op_pad, nbi_trace_move},
    {&nbi_op_lower, nbi_trace_move},
    {&nbi_op_upper, nbi_trace_move},
    {&nbi_op_diag, nbi_trace_move},
    {&nbi_op_diagonal, nbi_trace_move},
    {&nbi_op_slice, nbi_trace_move},
    {&nbi_op_unslice, nbi_trace_move},
    {&nbi_op_split, nbi_trace_move},
    {&nbi_op_concat, nbi_trace_move},
    {&nbi_op_stack, nbi_trace_move},
    {&nbi_op_at_index, nbi_trace_move},
    {&nbi_op_place, nbi_trace_move},
    {&nbi_op_index_select, nbi_trace_move},
    {&nbi_op_embedding, nbi_trace_move},
    {&nbi_op_gather, nbi_trace_move},
    {&nbi_op_unselect, nbi_trace_adding_move},
    {&nbi_op_scatter_add, nbi_trace_adding_move},
    {&nbi_op_trace, nbi_trace_adding_move},
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
    {&nbi_op_dense, affine},
    {&nbi_op_outer, outer},
};

static way *way_of(const nb_op *op)
{
    if ((op >= nbi_row_ops && op < nbi_row_ops + NBI_ROWS) || nbi_hook_by_element(op))
        return row;
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++)
        if (ways[k].op == op)
            return ways[k].how;
    return nbi_trace_dense;
}

bool nbi_trace_record(nbi_trace *w, uint32_t i)
{
    nb_tape *t = w->t;
    const nbi_record *r = nbi_record_at(t, i);
    if (r->rank >= 0 && !nbi_trace_sets(w, i))
        return false;
    if (r->leaf)
        return true;
    if (!r->inside && !r->op->reverse && !r->op->reverse_arrays)
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
