/*
 * The sparsity pattern of a Jacobian: a walk up the graph with sets in the place of numbers.
 *
 * Element j of the inputs is the set {j}; what a node computes depends on the union of what its
 * operands depend on. For a scalar node that is all there is to say. For an element of a tensor it
 * is the union over those elements of the operands that the op reads for it (pattern_record.c). The
 * sets are shared (sets.h); a row of the pattern is the set of an output's element.
 *
 * The pattern is one of the graph and not of a point: no number is looked at, save what an op holds
 * fixed (indices, say). So it serves wherever the same function is recorded again. It may have a
 * place too many, where a derivative happens to be zero, but never one too few.
 */
#include "diff/pattern.h"

#include "diff/block.h"

nbi_set **nbi_trace_sets(nbi_trace *w, uint32_t i)
{
    const size_t size = (size_t)nbi_record_at(w->t, i)->size;
    nbi_set **s = w->at[i];
    if (s || size > SIZE_MAX / sizeof *s - 1)
        return s;
    s = nbi_take(w->work, (size + 1) * sizeof *s, _Alignof(nbi_set *));
    if (s)
        memset(s, 0, (size + 1) * sizeof *s);
    return w->at[i] = s;
}

nbi_set *nbi_trace_set(const nbi_trace *w, uint32_t i, int64_t j)
{
    if (!w->role[i] || !w->at[i])
        return NULL;
    return nbi_is_tensor(w->t, i) ? ((nbi_set **)w->at[i])[j] : w->at[i];
}

/* {j} at the inputs' elements; two columns where one var stands twice. */
static bool plant(nbi_trace *w, uint32_t high, size_t n_in, const nb_var *in)
{
    uint32_t column = 0;
    for (size_t k = 0; k < n_in; k++) {
        const uint32_t i = in[k].index, size = (uint32_t)nb_size(in[k]);
        const bool on = i <= high && w->role[i];
        nbi_set **at = !on                      ? NULL
                       : nbi_is_tensor(w->t, i) ? nbi_trace_sets(w, i)
                                                : (nbi_set **)(void *)&w->at[i];
        for (uint32_t j = 0; at && j < size; j++)
            at[j] = nbi_set_union(&w->sets, at[j], nbi_set_of(&w->sets, column + j));
        if ((on && !at) || w->sets.failed)
            return false;
        column += size;
    }
    return true;
}

static bool trace(nbi_trace *w, uint32_t low, uint32_t high)
{
    for (uint32_t i = low; i <= high && !w->sets.failed; i++) {
        if (!w->role[i])
            continue;
        if (w->t->hot.ops[i] == NBI_RECORD) {
            if (!nbi_trace_record(w, i))
                return false;
            continue;
        }
        const uint32_t *x;
        const size_t n = nbi_ways(w->t, i, &x);
        for (size_t k = 0; k < n; k++)
            if (w->role[x[k]])
                w->at[i] = nbi_set_union(&w->sets, w->at[i], w->at[x[k]]);
    }
    return !w->sets.failed;
}

/* The rows, from the outputs' sets: once to count, once to write. */
static bool gather(nbi_trace *w, nbi_pattern *p, size_t n_out, const nb_var *out, nbi_arena *keep)
{
    p->row_start = nbi_take(keep, (p->rows + 1) * sizeof *p->row_start, _Alignof(size_t));
    for (int turn = 0; p->row_start && turn < 2; turn++) {
        size_t row = 0, at = 0;
        for (size_t k = 0; k < n_out; k++) {
            const int64_t size = nb_size(out[k]);
            for (int64_t j = 0; j < size; j++) {
                const size_t n = nbi_set_collect(&w->sets, nbi_trace_set(w, out[k].index, j));
                if (turn && n)
                    memcpy(p->column + at, w->sets.list, n * sizeof *p->column);
                p->row_start[row++] = at;
                at += n;
            }
        }
        p->row_start[row] = at;
        if (!turn && at < SIZE_MAX / sizeof *p->column)
            p->column = nbi_take(keep, (at + 1) * sizeof *p->column, _Alignof(uint32_t));
        if (!p->column || w->sets.failed)
            return false;
    }
    return p->row_start != NULL;
}

nb_code nbi_pattern_find(nbi_pattern *p, const char *what, nb_tape *t, size_t n_out,
                         const nb_var *out, size_t n_in, const nb_var *in, nbi_arena *keep,
                         nbi_arena *work)
{
    nbi_block b;
    nb_code code = nbi_block_open(&b, what, t, false, n_out, out, n_in, in);
    if (code != NB_OK)
        return code;
    nbi_trace w = {.t = t, .work = work, .role = b.role, .at = b.at};
    bool done = nbi_sets_open(&w.sets, work, p->columns) && plant(&w, b.high, n_in, in) &&
                trace(&w, b.low, b.high) && gather(&w, p, n_out, out, keep);
    memset(b.at, 0, ((size_t)b.high + 1) * sizeof *b.at); /* they are no lanes */
    nbi_block_close(&b);
    if (done)
        return NB_OK;
    return t->code ? t->code : nbi_no_memory(t, what);
}

bool nbi_pattern_transpose(nbi_pattern *p, const nbi_pattern *q, nbi_arena *keep)
{
    const size_t n = q->row_start[q->rows];
    *p = (nbi_pattern){q->columns, q->rows, NULL, NULL};
    p->row_start = nbi_take(keep, (p->rows + 2) * sizeof *p->row_start, _Alignof(size_t));
    p->column = nbi_take(keep, (n + 1) * sizeof *p->column, _Alignof(uint32_t));
    if (!p->row_start || !p->column)
        return false;
    size_t *next =
        p->row_start + 1; /* where the next place of a row goes, then where the row ends */
    memset(p->row_start, 0, (p->rows + 2) * sizeof *p->row_start);
    for (size_t k = 0; k < n; k++)
        p->row_start[q->column[k] + 2]++;
    for (size_t r = 2; r < p->rows + 2; r++)
        p->row_start[r] += p->row_start[r - 1];
    for (size_t r = 0; r < q->rows; r++)
        for (size_t k = q->row_start[r]; k < q->row_start[r + 1]; k++)
            p->column[next[q->column[k]]++] = (uint32_t)r;
    return true;
}
