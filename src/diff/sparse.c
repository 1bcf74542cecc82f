/*
 * Sparse Jacobians and Hessians: pattern, colours, and the numbers from few sweeps.
 *
 * One end of the function is seeded with the sum of the unit vectors of a colour, the other end is
 * read: the number at place (r, c) of J is then read at r in the sweep of c's colour (forward), or
 * at c in the sweep of r's (reverse). For a Hessian both ends have the inputs' elements: seeded is
 * the gradient, recorded as graph, and read are the inputs; the number at (i, j) is read at i in
 * the sweep of j's colour where j is the only one of that colour in row i, else at j in the sweep
 * of i's (colour.c shows that then i is the only one in row j). Both (i, j) and (j, i) read one
 * number.
 *
 * A plan lists, by colour, the elements to seed and the places to fill: the values need no search.
 */
#include "diff/sparse.h"

#include "diff/block.h"
#include "diff/colour.h"
#include "diff/dense.h"

static void *take(nbi_arena *a, size_t n, size_t width)
{
    return n < SIZE_MAX / width ? nbi_take(a, (n + 1) * width, _Alignof(max_align_t)) : NULL;
}

static nb_sparse *make(nb_tape *t)
{
    nbi_heap heap;
    nbi_heap_init(&heap, &t->heap.allocator, 0);
    nb_sparse *s = nbi_resize(&heap, NULL, 0, sizeof *s);
    if (!s)
        return NULL;
    *s = (nb_sparse){.heap = heap};
    nbi_arena_init(&s->keep, &s->heap, 1 << 12);
    nbi_arena_init(&s->work, &s->heap, 1 << 14);
    return s;
}

void nb_sparse_free(nb_sparse *s)
{
    if (!s)
        return;
    nbi_arena_free(&s->work);
    nbi_arena_free(&s->keep);
    nbi_heap heap = s->heap;
    nbi_resize(&heap, s, sizeof *s, 0);
}

/* The first elements of vars that lie one after the other. */
static size_t *starts(nb_sparse *s, size_t n, const nb_var *x)
{
    size_t *start = take(&s->keep, n, sizeof *start);
    for (size_t k = 0, at = 0; start && k <= n; at += k < n ? (size_t)nb_size(x[k]) : 0, k++)
        start[k] = at;
    return start;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* The var that each element is in. */
static uint32_t *vars_of(nb_sparse *s, size_t count, const size_t *start)
{
    uint32_t *var = take(&s->keep, count, sizeof *var);
    for (size_t e = 0, k = 0; var && e < count; e++) {
        while (start[k + 1] <= e)
            k++;
        var[e] = (uint32_t)k;
    }
    return var;
}

/* The elements to seed, by colour: counted, then listed. */
static bool list_seeds(nb_sparse *s, const uint32_t *colour)
{
    const bool inputs = s->forward || s->hessian;
    const size_t count = inputs ? s->p.columns : s->p.rows, most = (size_t)s->colours + 1;
    const size_t others = s->forward ? s->p.rows : s->p.columns;
    const uint32_t *var = vars_of(s, count, inputs ? s->in_start : s->out_start);
    size_t *next = take(&s->work, most, sizeof *next);
    s->read_var = vars_of(s, others, s->forward ? s->out_start : s->in_start);
    s->seed_start = take(&s->keep, most, sizeof *next);
    s->seed = take(&s->keep, count, sizeof *s->seed);
    s->var = take(&s->keep, count, sizeof *s->var);
    if (!var || !next || !s->read_var || !s->seed_start || !s->seed || !s->var)
        return false;
    memset(next, 0, (most + 1) * sizeof *next);
    for (size_t e = 0; e < count; e++)
        if (colour[e] != UINT32_MAX)
            next[colour[e] + 1]++;
    for (uint32_t c = 0; c < s->colours; c++)
        next[c + 1] += next[c];
    memcpy(s->seed_start, next, most * sizeof *next);
    for (size_t e = 0; e < count; e++) {
        if (colour[e] == UINT32_MAX)
            continue;
        s->var[next[colour[e]]] = var[e];
        s->seed[next[colour[e]]++] = (uint32_t)e;
    }
    return true;
}

/* Where the number at place k, in row r, is read, and in the sweep of which colour. `alone` counts
 * the row's places by colour. */
static void source(const nb_sparse *s, const uint32_t *colour, const uint32_t *alone, size_t r,
                   size_t k, uint32_t *from, uint32_t *sweep)
{
    const uint32_t i = (uint32_t)r, j = s->p.column[k];
    const bool by_column = s->forward || (s->hessian && alone[colour[j]] == 1);
    *from = by_column ? i : j;
    *sweep = colour[by_column ? j : i];
}

/* The places, by the block of the sweep that fills them: counted, then listed. */
static bool list_entries(nb_sparse *s, const uint32_t *colour)
{
    const size_t places = s->p.row_start[s->p.rows], blocks = s->colours / NBI_LANES + 1;
    size_t *next = take(&s->work, blocks + 1, sizeof *next);
    uint32_t *alone = take(&s->work, s->colours, sizeof *alone), from, sweep;
    s->entry_start = take(&s->keep, blocks + 1, sizeof *next);
    s->from = take(&s->keep, places, sizeof *s->from);
    s->lane = take(&s->keep, places, sizeof *s->lane);
    s->to = take(&s->keep, places, sizeof *s->to);
    if (!next || !alone || !s->entry_start || !s->from || !s->lane || !s->to)
        return false;
    memset(alone, 0, ((size_t)s->colours + 1) * sizeof *alone);
    memset(next, 0, (blocks + 1) * sizeof *next);
    for (int turn = 0; turn < 2; turn++) {
        for (size_t r = 0; r < s->p.rows; r++) {
            const size_t first = s->p.row_start[r], end = s->p.row_start[r + 1];
            for (size_t k = first; s->hessian && k < end; k++)
                alone[colour[s->p.column[k]]]++;
            for (size_t k = first; k < end; k++) {
                source(s, colour, alone, r, k, &from, &sweep);
                const size_t at = turn ? next[sweep / NBI_LANES]++ : next[sweep / NBI_LANES + 1]++;
                if (turn)
                    s->from[at] = from, s->lane[at] = sweep % NBI_LANES, s->to[at] = k;
            }
            for (size_t k = first; s->hessian && k < end; k++)
                alone[colour[s->p.column[k]]] = 0;
        }
        for (size_t c = 0; !turn && c < blocks; c++)
            next[c + 1] += next[c];
        if (!turn)
            memcpy(s->entry_start, next, (blocks + 1) * sizeof *next);
    }
    return true;
}

/* The colours of the way with fewer of them. A way that cannot have fewer is not tried. */
static const uint32_t *colour_jacobian(nb_sparse *s, nb_jacobian_mode mode)
{
    nbi_pattern q;
    uint32_t n[2] = {0};
    const uint32_t *colour[2] = {NULL, NULL};
    if (!nbi_pattern_transpose(&q, &s->p, &s->work))
        return NULL;
    const size_t least[2] = {nbi_colours_least(&s->p), nbi_colours_least(&q)};
    const bool fixed = mode != NB_JACOBIAN_AUTO;
    int way = fixed ? mode == NB_JACOBIAN_REVERSE : least[1] < least[0]; /* 1: by rows */
    for (int turn = 0; turn < (fixed ? 1 : 2); turn++) {
        const int by = turn ? !way : way;
        if (turn && least[by] >= n[way])
            break;
        colour[by] = nbi_colour_columns(by ? &q : &s->p, by ? &s->p : &q, &s->work, &n[by]);
        if (!colour[by])
            return NULL;
        way = turn && n[by] < n[way] ? by : way;
        if (turn)
            break;
    }
    s->forward = way == 0;
    s->colours = n[way];
    return colour[way];
}

/* p with the places of its transpose. */
static bool make_symmetric(nb_sparse *s, const nbi_pattern *p)
{
    nbi_pattern q;
    const size_t n = p->rows;
    s->p = (nbi_pattern){n, n, take(&s->keep, n, sizeof(size_t)), NULL};
    if (!nbi_pattern_transpose(&q, p, &s->work) || !s->p.row_start)
        return false;
    for (int turn = 0; turn < 2; turn++) {
        size_t at = 0;
        for (size_t r = 0; r < n; r++) {
            size_t i = p->row_start[r], j = q.row_start[r];
            s->p.row_start[r] = at;
            while (i < p->row_start[r + 1] || j < q.row_start[r + 1]) {
                const uint32_t a = i < p->row_start[r + 1] ? p->column[i] : UINT32_MAX;
                const uint32_t b = j < q.row_start[r + 1] ? q.column[j] : UINT32_MAX;
                if (turn)
                    s->p.column[at] = a < b ? a : b;
                i += a <= b, j += b <= a, at++;
            }
        }
        s->p.row_start[n] = at;
        if (!turn && !(s->p.column = take(&s->keep, at, sizeof *s->p.column)))
            return false;
    }
    return true;
}

/* What is left to do once the pattern and the colours are known. Frees the plan on failure. */
static nb_sparse *finish(nb_sparse *s, nb_tape *t, const uint32_t *colour)
{
    const size_t places = colour ? s->p.row_start[s->p.rows] : 0;
    s->value = colour ? take(&s->keep, places, sizeof *s->value) : NULL;
    if (!s->value || !list_seeds(s, colour) || !list_entries(s, colour)) {
        nbi_no_memory(t, "sparse");
        nb_sparse_free(s);
        return NULL;
    }
    memset(s->value, 0, places * sizeof *s->value);
    nbi_arena_free(&s->work);
    return s;
}

/* Whether elements can be numbered, and the vars' places. */
static nb_code lay_out(nb_sparse *s, nb_tape *t, size_t n_out, const nb_var *out, size_t n_in,
                       const nb_var *in)
{
    size_t rows, columns;
    nb_code code = nbi_elements(t, "sparse", n_out, out, &rows);
    code = code ? code : nbi_elements(t, "sparse", n_in, in, &columns);
    if (code != NB_OK)
        return code;
    if (rows >= UINT32_MAX || columns >= UINT32_MAX)
        return nbi_fail(t, NB_ERR_OVERFLOW, "sparse: %zu rows and %zu columns cannot be numbered",
                        rows, columns);
    s->n_out = n_out, s->n_in = n_in;
    s->p.rows = rows, s->p.columns = columns;
    s->out_start = starts(s, n_out, out);
    s->in_start = starts(s, n_in, in);
    return s->out_start && s->in_start ? NB_OK : nbi_no_memory(t, "sparse");
}

nb_sparse *nb_sparse_jacobian(size_t n_out, const nb_var *out, size_t n_in, const nb_var *in,
                              nb_jacobian_mode mode)
{
    if (!n_out || !out || !n_in || !in || (unsigned)mode > NB_JACOBIAN_REVERSE)
        return NULL;
    nb_tape *t = out[0].tape;
    if (nbi_nodes(&t, "sparse", n_in, in) || nbi_nodes(&t, "sparse", n_out, out) ||
        nbi_busy(t, "sparse"))
        return NULL;
    nb_sparse *s = make(t);
    if (!s) {
        nbi_no_memory(t, "sparse");
        return NULL;
    }
    nb_code code = lay_out(s, t, n_out, out, n_in, in);
    if (code == NB_OK)
        code = nbi_pattern_find(&s->p, "sparse", t, n_out, out, n_in, in, &s->keep, &s->work);
    if (code == NB_OK)
        return finish(s, t, colour_jacobian(s, mode));
    nb_sparse_free(s);
    return NULL;
}

nb_sparse *nb_sparse_hessian(nb_var f, size_t n_in, const nb_var *in)
{
    if (!n_in || !in)
        return NULL;
    nbi_gradient d = {.t = f.tape, .n_in = n_in, .in = in};
    nbi_pattern p;
    if (nbi_gradient_check(&d, "sparse", f))
        return NULL;
    nb_sparse *s = make(d.t);
    if (!s) {
        nbi_no_memory(d.t, "sparse");
        return NULL;
    }
    s->hessian = true;
    nb_code code = nbi_gradient_open(&d, "sparse", f);
    if (code == NB_OK)
        code = lay_out(s, d.t, n_in, d.g, n_in, in);
    p = s->p;
    if (code == NB_OK)
        code = nbi_pattern_find(&p, "sparse", d.t, n_in, d.g, n_in, in, &s->work, &s->work);
    nbi_gradient_close(&d);
    if (code != NB_OK) {
        nb_sparse_free(s);
        return NULL;
    }
    s->n_out = 1;
    const bool done = make_symmetric(s, &p);
    return finish(s, d.t, done ? nbi_colour_star(&s->p, &s->work, &s->colours) : NULL);
}

nb_csr nb_sparse_matrix(const nb_sparse *s)
{
    if (!s)
        return (nb_csr){0};
    return (nb_csr){s->p.rows, s->p.columns, s->p.row_start, s->p.column, s->value};
}

size_t nb_sparse_sweeps(const nb_sparse *s) { return s ? s->colours : 0; }
