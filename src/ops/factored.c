/*
 * Small steps that the operations on square matrices share; the contracts are in factored.h.
 *
 * A batch is walked like an odometer. Each operand has a step per batch axis, counted in its own
 * matrices: the product of its batch axes further in, or 0 along an axis that it lacks or on which
 * it has size 1, so that a matrix shared by many right sides is factored once and found again.
 */
#include "ops/factored.h"

#include "ops/product.h"
#include "base/shape.h"
#include "kernels/reduce.h"
#include "tape/tape.h"
#include <nabla/ops.h>

bool nbi_needs_square(const nb_call *c)
{
    const nb_array *a = &c->in[0];
    if (a->rank < 2) {
        nb_refuse(c, NB_ERR_SHAPE, "needs a matrix, or a batch of them", NULL);
        return false;
    }
    int64_t rows = a->dims[a->rank - 2], columns = a->dims[a->rank - 1];
    if (rows == columns)
        return true;
    nb_refuse(c, NB_ERR_SHAPE, "the matrix is not square", "a has %lld rows and %lld columns",
              (long long)rows, (long long)columns);
    return false;
}

nb_code nbi_system_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *a = &c->in[0], *b = &c->in[1];
    if (!nbi_needs_square(c))
        return NB_ERR_SHAPE;
    if (b->rank < 1)
        return nb_refuse(c, NB_ERR_SHAPE, "needs a vector or a matrix to solve for", NULL);
    const int64_t n = nbi_order(a), rows = b->dims[b->rank > 1 ? b->rank - 2 : 0];
    if (rows != n)
        return nb_refuse(c, NB_ERR_SHAPE, "the right side does not fit the matrix",
                         "a has %lld rows, b has %lld", (long long)n, (long long)rows);
    int rank = nbi_batch_shape(c, out);
    if (rank < 0)
        return NB_ERR_SHAPE;
    out->dims[rank++] = n;
    if (b->rank > 1)
        out->dims[rank++] = nbi_order(b);
    out->rank = rank;
    return NB_OK;
}

int64_t nbi_order(const nb_array *a) { return a->dims[a->rank - 1]; }

/* The product of the batch axes; where the array is empty it may overflow, and is of no use. */
int64_t nbi_entries(const nb_array *a, int matrix_rank)
{
    int64_t n = 1;
    for (int i = 0; i < a->rank - matrix_rank; i++)
        if (__builtin_mul_overflow(n, a->dims[i], &n))
            return 0;
    return n;
}

/* ---- the odometer ---------------------------------------------------------------------------- */

nbi_pairs nbi_pairs_make(const nb_call *c, const int matrix_rank[2], int rank, const int64_t *dims)
{
    nbi_pairs p = {.rank = rank, .entry = -1, .entries = 1};
    for (int i = 0; i < rank; i++) {
        p.dims[i] = dims[i];
        p.entries = p.entries && dims[i] ? p.entries * dims[i] : 0;
    }
    for (int k = 0; k < 2; k++) {
        const int missing = rank - (c->in[k].rank - matrix_rank[k]);
        int64_t step = 1;
        for (int i = rank - 1; i >= missing && p.entries; i--) {
            int64_t d = c->in[k].dims[i - missing];
            p.step[k][i] = d == 1 ? 0 : step;
            step *= d;
        }
    }
    return p;
}

bool nbi_pairs_next(nbi_pairs *p)
{
    if (++p->entry == 0 || p->entry >= p->entries)
        return p->entry < p->entries;
    for (int i = p->rank - 1; i >= 0; i--) {
        bool wraps = ++p->place[i] == p->dims[i];
        for (int k = 0; k < 2; k++)
            p->at[k] += wraps ? (1 - p->dims[i]) * p->step[k][i] : p->step[k][i];
        if (!wraps)
            break;
        p->place[i] = 0;
    }
    return true;
}

/* ---- work ------------------------------------------------------------------------------------ */

bool nbi_factor_work(const nb_call *c, int64_t n, int64_t m, nbi_factor *f)
{
    nb_tape *t = c->tape;
    const size_t bytes = nbi_factor_bytes(t->isa, n, m);
    void *memory = bytes && bytes < SIZE_MAX ? nbi_scratch(t, bytes) : NULL;
    if (bytes && !memory) {
        nbi_no_memory(t, c->op->name);
        return false;
    }
    *f = nbi_factor_with(t->isa, t->matmul[NB_F64], memory, n, m);
    return true;
}

double *nbi_scratch_doubles(const nb_call *c, int64_t rows, int64_t columns)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)rows, (size_t)columns, &bytes) ||
        __builtin_mul_overflow(bytes, sizeof(double), &bytes)) {
        nbi_no_memory(c->tape, c->op->name);
        return NULL;
    }
    double *p = nbi_scratch(c->tape, bytes);
    if (!p)
        nbi_no_memory(c->tape, c->op->name);
    return p;
}

void nbi_matrix_get(const nb_array *a, int64_t at, int64_t rows, int64_t columns, double *to,
                    int64_t ld)
{
    if (ld == columns)
        columns *= rows, rows = 1;
    for (int64_t i = 0; i < rows; i++)
        nbi_get(a->dtype, a->data, at + i * columns, columns, to + i * ld);
}

void nbi_matrix_put(const nb_array *a, int64_t at, int64_t rows, int64_t columns,
                    const double *from, int64_t ld)
{
    if (ld == columns)
        columns *= rows, rows = 1;
    for (int64_t i = 0; i < rows; i++)
        nbi_put(a->dtype, a->data, at + i * columns, columns, from + i * ld);
}

bool nbi_bench_open(const nb_call *c, int64_t rows, int64_t columns, nbi_bench *b)
{
    *b = (nbi_bench){.rows = rows, .columns = columns, .ld = nbi_factor_stride(columns)};
    if (c->out->dtype == NB_F64 && b->ld == columns)
        return true;
    b->own = nbi_scratch_doubles(c, rows, b->ld);
    return b->own != NULL;
}

double *nbi_bench_at(const nb_call *c, const nbi_bench *b, int64_t at)
{
    return b->own ? b->own : (double *)c->out->data + at;
}

void nbi_bench_done(const nb_call *c, const nbi_bench *b, int64_t at)
{
    if (b->own)
        nbi_matrix_put(c->out, at, b->rows, b->columns, b->own, b->ld);
}

/* ---- LU -------------------------------------------------------------------------------------- */

nb_code nbi_singular(const nb_call *c, const char *reason, int64_t entry, int64_t pivot,
                     double value)
{
    const nb_array *a = &c->in[0];
    int64_t place[NB_MAX_RANK], rest = entry;
    char text[NBI_SHAPE_TEXT];
    for (int i = a->rank - 3; i >= 0; rest /= a->dims[i], i--)
        place[i] = rest % a->dims[i];
    if (a->rank == 2)
        return nb_refuse(c, NB_ERR_SINGULAR, reason, "pivot %lld is %g", (long long)pivot, value);
    return nb_refuse(c, NB_ERR_SINGULAR, reason, "pivot %lld is %g, in entry %s of the batch",
                     (long long)pivot, value, nbi_shape_text(text, a->rank - 2, place));
}

static void *room(const nb_call *c, bool keep, size_t bytes)
{
    void *p = keep ? nb_keep(c, bytes) : nbi_scratch(c->tape, bytes);
    if (!p)
        nbi_no_memory(c->tape, c->op->name);
    return p;
}

/* Room for the factors of operand 0. */
static nbi_factored *factors_room(const nb_call *c, bool keep)
{
    const nb_array *a = &c->in[0];
    const int64_t n = nbi_order(a), entries = nbi_entries(a, 2), ld = nbi_factor_stride(n);
    size_t bytes;
    if (__builtin_mul_overflow((size_t)(entries * n), (size_t)ld * sizeof(double), &bytes)) {
        nbi_no_memory(c->tape, c->op->name);
        return NULL;
    }
    nbi_factored *x = room(c, keep, sizeof *x);
    if (!x)
        return NULL;
    *x = (nbi_factored){.n = n, .ld = ld, .entries = entries};
    x->lu = room(c, keep, bytes);
    if (x->lu)
        x->exchange = room(c, keep, (size_t)(entries * n) * sizeof(int64_t));
    return x->exchange ? x : NULL;
}

const nbi_factored *nbi_factor_operand(const nb_call *c, const nbi_factor *f, bool keep)
{
    nbi_factored *x = factors_room(c, keep);
    if (!x)
        return NULL;
    const int64_t n = x->n, ld = x->ld;
    for (int64_t e = 0; e < x->entries; e++) {
        double *lu = x->lu + e * n * ld;
        nbi_matrix_get(&c->in[0], e * n * n, n, n, lu, ld);
        int64_t done = nbi_lu(f, n, lu, ld, x->exchange + e * n);
        if (done < n) {
            nbi_singular(c, "the matrix is singular", e, done, lu[done * ld + done]);
            return NULL;
        }
    }
    return x;
}

/* ---- graph code ------------------------------------------------------------------------------ */

nb_var nbi_as_column(nb_var x, bool vector) { return vector ? nb_unsqueeze(x, -1) : x; }

nb_var nbi_without_column(nb_var x, bool vector) { return vector ? nb_squeeze(x, NB_AXES(-1)) : x; }

nb_var nbi_per_matrix(nb_var x)
{
    return nb_is_tensor(x) ? nb_unsqueeze(nb_unsqueeze(x, -1), -1) : x;
}

/* ---- samples --------------------------------------------------------------------------------- */

nb_var nbi_sample_regular(nb_sampler *s, nb_shape shape)
{
    const int64_t n = shape.dims[shape.rank - 1];
    nb_var x = nb_sample(s, shape, -1, 1);
    return nb_add(x, nb_mul(nb_eye(nb_sample_tape(s), n, n), (double)n));
}
