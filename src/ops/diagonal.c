/*
 * Diagonals: read, written, summed.
 *
 *     diag       y[i, j] = x[m] on diagonal k, 0 elsewhere      [n] to [n+|k| n+|k|]
 *     diagonal   y[m] = x[i, j] on diagonal k                   [rows columns] to [n]
 *     trace      y = sum over i of x[i, i]                      [rows columns] to a number
 *
 * Diagonal k, where column - row = k, begins at column k of the first row, or at row -k of the
 * first column, and each step is one row and one column: columns + 1 places. So reading it is a
 * walk with that stride, and putting it among zeros is the same walk with its sides exchanged. The
 * two are each other's transpose; the adjoint of trace, which sums what diagonal reads, is g along
 * the diagonal. All work on batches: in front of the axes shown, any others.
 */
#include "ops/array.h"
#include "ops/records.h"
#include <nabla/ops.h>

typedef struct place {
    int64_t k, rows, columns; /* rows < 0: the smallest square that holds the diagonal */
} place;

/* ---- moving ---------------------------------------------------------------------------------- */

static int64_t length(const place *p)
{
    int64_t down = p->rows + (p->k < 0 ? p->k : 0), right = p->columns - (p->k > 0 ? p->k : 0);
    int64_t n = down < right ? down : right;
    return n < 0 ? 0 : n;
}

static int64_t first(const place *p) { return p->k < 0 ? -p->k * p->columns : p->k; }

/* line [batch… n] = or += the diagonals of m [batch… rows columns] */
static void read_diagonal(const place *p, const nb_array *line, const nb_array *m, bool add)
{
    int64_t n = length(p);
    nbi_walk w = {0};
    if (line->size == 0)
        return;
    nbi_walk_axis(&w, line->size / n, n, p->rows * p->columns);
    nbi_walk_axis(&w, n, 1, p->columns + 1);
    nbi_move(m->dtype, &w, line->data, nbi_place(m->dtype, m->data, first(p)), add);
}

/* The diagonals of m [batch… rows columns] = or += line [batch… n] */
static void write_diagonal(const place *p, const nb_array *m, const nb_array *line, bool add)
{
    int64_t n = length(p);
    nbi_walk w = {0};
    if (line->size == 0)
        return;
    nbi_walk_axis(&w, line->size / n, p->rows * p->columns, n);
    nbi_walk_axis(&w, n, p->columns + 1, 1);
    nbi_move(m->dtype, &w, nbi_place(m->dtype, m->data, first(p)), line->data, add);
}

/* ---- diag ------------------------------------------------------------------------------------ */

static nb_var diag_in(nb_var line, const place *p);

static nb_code diag_shape(const nb_call *c, nb_shape *out)
{
    place *p = c->state;
    const nb_array *x = &c->in[0];
    if (x->rank < 1)
        return nb_refuse(c, NB_ERR_SHAPE, "needs a vector, or a batch of them", NULL);
    if (x->rank == NB_MAX_RANK)
        return nb_refuse(c, NB_ERR_SHAPE, "the result has too many dimensions", "%d are the most",
                         NB_MAX_RANK);
    *out = nbi_shape_in(x);
    if (p->rows < 0) {
        int64_t n = x->dims[x->rank - 1];
        if (__builtin_add_overflow(n, p->k, &p->rows) ||
            (p->k < 0 && __builtin_sub_overflow(n, p->k, &p->rows)))
            return nb_refuse(c, NB_ERR_OVERFLOW, "the matrix's size overflows", "diagonal %lld",
                             (long long)p->k);
        p->columns = p->rows;
    }
    out->dims[out->rank - 1] = p->rows;
    out->dims[out->rank++] = p->columns;
    return NB_OK;
}

static nb_code diag_forward(const nb_call *c)
{
    nbi_clear(c->out, false);
    write_diagonal(c->state, c->out, &c->in[0], false);
    return NB_OK;
}

static nb_code diag_reverse(const nb_rule *r)
{
    const place *p = r->state;
    r->d[0] = nb_diagonal(r->g, p->k);
    return NB_OK;
}

static nb_code diag_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    if (gin[0])
        read_diagonal(c->state, gin[0], g, add[0]);
    return NB_OK;
}

static nb_code diag_tangent(const nb_rule *r)
{
    r->d[0] = diag_in(r->t[0], r->state);
    return NB_OK;
}

static nb_var diag_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_diag(nb_sample(s, NB_SHAPE(4), -2, 2), 0);
    case 1: return nb_diag(nb_sample(s, NB_SHAPE(3), -2, 2), 2);
    case 2: return nb_diag(nb_sample(s, NB_SHAPE(3), -2, 2), -1);
    case 3: return nb_diag(nb_sample(s, NB_SHAPE(2, 3), -2, 2), 0);
    case 4: return nb_diag(nb_sample(s, NB_SHAPE(0), -2, 2), 1);
    case 5: return diag_in(nb_sample(s, NB_SHAPE(2), -2, 2), &(place){1, 2, 4});
    default: return NB_NONE;
    }
}

const nb_op nbi_op_diag = {
    .name = "diag",
    .doc = "a vector on a diagonal of a matrix of zeros",
    .shape = diag_shape,
    .forward = diag_forward,
    .reverse = diag_reverse,
    .reverse_arrays = diag_reverse_arrays,
    .overwrites = true,
    .tangent = diag_tangent,
    .sample = diag_sample,
};

static nb_var diag_in(nb_var line, const place *p)
{
    return nb_apply(&nbi_op_diag, 1, &line, p, sizeof *p);
}

nb_var(nb_diag)(nb_var x, int64_t k) { return diag_in(x, &(place){k, -1, -1}); }

/* ---- diagonal -------------------------------------------------------------------------------- */

/* Rows and columns from the operand; k at most one step beyond them. */
static bool find_place(const nb_call *c, place *p)
{
    const nb_array *x = &c->in[0];
    if (x->rank < 2) {
        nb_refuse(c, NB_ERR_SHAPE, "needs a matrix, or a batch of them", NULL);
        return false;
    }
    p->rows = x->dims[x->rank - 2];
    p->columns = x->dims[x->rank - 1];
    p->k = p->k < -p->rows ? -p->rows : p->k > p->columns ? p->columns : p->k;
    return true;
}

static nb_code diagonal_shape(const nb_call *c, nb_shape *out)
{
    place *p = c->state;
    if (!find_place(c, p))
        return NB_ERR_SHAPE;
    *out = nbi_shape_in(&c->in[0]);
    out->rank--;
    out->dims[out->rank - 1] = length(p);
    return NB_OK;
}

static nb_code diagonal_forward(const nb_call *c)
{
    read_diagonal(c->state, c->out, &c->in[0], false);
    return NB_OK;
}

static nb_code diagonal_reverse(const nb_rule *r)
{
    r->d[0] = diag_in(r->g, r->state);
    return NB_OK;
}

static nb_code diagonal_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                       const bool *add)
{
    if (gin[0]) {
        nbi_clear(gin[0], add[0]);
        write_diagonal(c->state, gin[0], g, true);
    }
    return NB_OK;
}

static nb_code diagonal_tangent(const nb_rule *r)
{
    const place *p = r->state;
    r->d[0] = nb_diagonal(r->t[0], p->k);
    return NB_OK;
}

static nb_var diagonal_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_diagonal(nb_sample(s, NB_SHAPE(4, 4), -2, 2), 0);
    case 1: return nb_diagonal(nb_sample(s, NB_SHAPE(3, 5), -2, 2), 3);
    case 2: return nb_diagonal(nb_sample(s, NB_SHAPE(5, 3), -2, 2), -1);
    case 3: return nb_diagonal(nb_sample(s, NB_SHAPE(2, 3, 3), -2, 2), 1);
    case 4: return nb_diagonal(nb_sample(s, NB_SHAPE(2, 2), -2, 2), 7);
    case 5: return nb_diagonal(nb_sample(s, NB_SHAPE(1, 2, 1, 2, 1, 1, 3, 2), -2, 2), 0);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_diagonal = {
    .name = "diagonal",
    .doc = "a diagonal of a matrix",
    .shape = diagonal_shape,
    .forward = diagonal_forward,
    .reverse = diagonal_reverse,
    .reverse_arrays = diagonal_reverse_arrays,
    .overwrites = true,
    .tangent = diagonal_tangent,
    .sample = diagonal_sample,
};

nb_var(nb_diagonal)(nb_var x, int64_t k)
{
    return nb_apply(&nbi_op_diagonal, 1, &x, &(place){.k = k}, sizeof(place));
}

/* ---- trace ----------------------------------------------------------------------------------- */

static nb_code trace_shape(const nb_call *c, nb_shape *out)
{
    if (!find_place(c, c->state))
        return NB_ERR_SHAPE;
    *out = nbi_shape_in(&c->in[0]);
    out->rank = out->rank == 2 ? -1 : out->rank - 2;
    return NB_OK;
}

static nb_code trace_forward(const nb_call *c)
{
    const place *p = c->state;
    int64_t n = length(p), step = p->columns + 1;
    for (int64_t b = 0; b < c->out->size; b++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += nbi_get_at(&c->in[0], b * p->rows * p->columns + i * step);
        nbi_put_at(c->out, b, sum, false);
    }
    return NB_OK;
}

/* g [batch…] to [batch… 1], copied along the diagonal, among zeros. */
static nb_code trace_reverse(const nb_rule *r)
{
    const place *p = r->state;
    nb_shape line = nb_shape_of(r->in[0]);
    line.dims[--line.rank - 1] = length(p);
    nb_var g = line.rank == 1 ? r->g : nb_unsqueeze(r->g, -1);
    r->d[0] = diag_in(nb_expand(g, line), p);
    return NB_OK;
}

static nb_code trace_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                    const bool *add)
{
    const place *p = c->state;
    int64_t n = length(p), step = p->columns + 1;
    if (!gin[0])
        return NB_OK;
    nbi_clear(gin[0], add[0]);
    for (int64_t b = 0; b < g->size; b++)
        for (int64_t i = 0; i < n; i++)
            nbi_put_at(gin[0], b * p->rows * p->columns + i * step, nbi_get_at(g, b), true);
    return NB_OK;
}

static nb_code trace_tangent(const nb_rule *r)
{
    r->d[0] = nb_trace(r->t[0]);
    return NB_OK;
}

static nb_var trace_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_trace(nb_sample(s, NB_SHAPE(4, 4), -2, 2));
    case 1: return nb_trace(nb_sample(s, NB_SHAPE(2, 5), -2, 2));
    case 2: return nb_trace(nb_sample(s, NB_SHAPE(2, 3, 3, 2), -2, 2));
    case 3: return nb_trace(nb_sample(s, NB_SHAPE(0, 3), -2, 2));
    case 4: return nb_trace(nb_sample(s, NB_SHAPE(2, 0, 0), -2, 2));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_trace = {
    .name = "trace",
    .doc = "the sum of a matrix's diagonal",
    .shape = trace_shape,
    .forward = trace_forward,
    .reverse = trace_reverse,
    .reverse_arrays = trace_reverse_arrays,
    .overwrites = true,
    .tangent = trace_tangent,
    .sample = trace_sample,
};

nb_var(nb_trace)(nb_var x) { return nb_apply(&nbi_op_trace, 1, &x, &(place){0}, sizeof(place)); }
