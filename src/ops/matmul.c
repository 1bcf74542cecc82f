/*
 * The matrix product of vectors, matrices and batches of matrices, with transpose flags.
 *
 * Write A for a with its last two axes exchanged if its flag says so, B likewise; then
 *
 *     C[m n] = A[m k] B[k n]            dA = G B^T,  dB = A^T G          G the adjoint of C
 *
 * since dC = dA B + A dB, and <G, X B> = <G B^T, X>, <G, A X> = <A^T G, X>. Where an operand is
 * used transposed, so is its adjoint: d(a) = (G B^T)^T = B G^T. So each rule is again a product
 * with flags, and nothing is ever transposed in memory.
 *
 * As in NumPy a vector a is one row and a vector b one column, and that axis is not in the result;
 * two vectors give a number. Axes before the last two are batch axes and broadcast. An operand that
 * was broadcast receives the sum of its copies' adjoints, by accumulating products.
 *
 * A batch of untransposed matrices times one matrix is a single product: rows of C are rows of A
 * times B whatever they are grouped in, so the batch axes of a count as rows. Its dB is then a
 * single product as well, and the sum over the batch is the kernel's sum over its inner dimension.
 */
#include "ops/product.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

typedef nbi_matmul_flags flags;

/* ---- shapes ---------------------------------------------------------------------------------- */

static int64_t row_count(const nb_array *x)
{
    return x->rank > 1 ? x->dims[x->rank - 2] : x->dims[0];
}

static int64_t column_count(const nb_array *x) { return x->dims[x->rank - 1]; }

/* What an operand's inner dimension is called in a message. */
static const char *inner_name(const nb_array *x, bool columns)
{
    return x->rank == 1 ? "elements" : columns ? "columns" : "rows";
}

static nb_code check_operand(const nb_call *c, int k, bool flag)
{
    static const char name[] = "ab";
    if (c->in[k].rank < 1)
        return nb_refuse(c, NB_ERR_SHAPE, "needs vectors or matrices", "%c has no axis", name[k]);
    if (flag && c->in[k].rank < 2)
        return nb_refuse(c, NB_ERR_SHAPE, "a vector cannot be transposed", "%c has one axis",
                         name[k]);
    return NB_OK;
}

int nbi_batch_shape(const nb_call *c, nb_shape *out)
{
    int rank[2], most = 0;
    for (int k = 0; k < 2; k++) {
        rank[k] = c->in[k].rank > 2 ? c->in[k].rank - 2 : 0;
        most = rank[k] > most ? rank[k] : most;
    }
    for (int i = 0; i < most; i++) {
        int ia = i - (most - rank[0]), ib = i - (most - rank[1]);
        int64_t da = ia < 0 ? 1 : c->in[0].dims[ia], db = ib < 0 ? 1 : c->in[1].dims[ib];
        if (da != db && da != 1 && db != 1) {
            nb_refuse(c, NB_ERR_SHAPE, "batch axes do not broadcast", "a has %lld where b has %lld",
                      (long long)da, (long long)db);
            return -1;
        }
        out->dims[i] = da == 1 ? db : da;
    }
    return most;
}

static nb_code matmul_shape(const nb_call *c, nb_shape *out)
{
    const flags *f = c->state;
    const nb_array *a = &c->in[0], *b = &c->in[1];
    if (check_operand(c, 0, f->a) || check_operand(c, 1, f->b))
        return NB_ERR_SHAPE;
    int64_t ka = f->a ? row_count(a) : column_count(a);
    int64_t kb = f->b ? column_count(b) : row_count(b);
    if (ka != kb)
        return nb_refuse(c, NB_ERR_SHAPE, "inner dimensions differ", "a has %lld %s, b has %lld %s",
                         (long long)ka, inner_name(a, !f->a), (long long)kb, inner_name(b, f->b));
    if (a->rank == 1 && b->rank == 1) {
        out->rank = -1;
        return NB_OK;
    }
    int rank = nbi_batch_shape(c, out);
    if (rank < 0)
        return NB_ERR_SHAPE;
    if (a->rank > 1)
        out->dims[rank++] = f->a ? column_count(a) : row_count(a);
    if (b->rank > 1)
        out->dims[rank++] = f->b ? row_count(b) : column_count(b);
    out->rank = rank;
    return NB_OK;
}

/* ---- the product over arrays ----------------------------------------------------------------- */

/* The matrices of a call, and how the three operands (a, b, the result) move along the batch axes:
 * by so many elements, 0 along an axis where the operand is broadcast. */
typedef struct product {
    int64_t m, n, k, lda, ldb;
    bool ta, tb;
    int rank; /* batch axes to loop over; 0 for a single product */
    const int64_t *dims;
    int64_t step[3][NB_MAX_RANK];
    bool broadcast[3];
    bool empty; /* the batch is: no product at all */
} product;

/* Steps of operand o, a batch of `rank` axes of matrices of so many elements. */
static void batch_steps(product *p, int o, int rank, const int64_t *dims, int64_t matrix)
{
    int missing = p->rank - rank;
    for (int i = p->rank - 1; i >= 0; i--) {
        int64_t d = i < missing ? 1 : dims[i - missing];
        bool stretched = d != p->dims[i];
        p->step[o][i] = stretched ? 0 : matrix;
        if (stretched)
            p->broadcast[o] = true;
        matrix *= stretched ? 1 : d;
    }
}

static void plan_batch(product *p, const nb_array *a, const nb_array *b, const nb_array *out)
{
    int rank_a = a->rank > 2 ? a->rank - 2 : 0, rank_b = b->rank > 2 ? b->rank - 2 : 0;
    p->rank = rank_a > rank_b ? rank_a : rank_b;
    p->dims = out->dims;
    for (int i = 0; i < p->rank; i++)
        p->empty |= p->dims[i] == 0;
    if (p->empty) { /* then an operand that is not empty was broadcast */
        p->broadcast[0] = p->broadcast[1] = true;
        return;
    }
    batch_steps(p, 0, rank_a, a->dims, p->m * p->k);
    batch_steps(p, 1, rank_b, b->dims, p->k * p->n);
    batch_steps(p, 2, p->rank, out->dims, p->m * p->n);
}

/* Fills *p; the steps only where there is a batch to loop over. */
static void plan(product *p, const nb_call *c)
{
    const flags *f = c->state;
    const nb_array *a = &c->in[0], *b = &c->in[1];
    int64_t rows = a->rank > 1 ? row_count(a) : 1;
    p->lda = column_count(a);
    p->ldb = b->rank > 1 ? column_count(b) : 1;
    p->ta = f->a, p->tb = f->b;
    p->m = f->a ? p->lda : rows;
    p->k = f->a ? rows : p->lda;
    p->n = f->b ? row_count(b) : p->ldb;
    p->rank = 0;
    p->empty = p->broadcast[0] = p->broadcast[1] = false;
    if (a->rank <= 2 && b->rank <= 2)
        return;
    if (b->rank <= 2 && !f->a) { /* the batch counts as rows */
        p->m = p->k ? a->size / p->k : p->n ? c->out->size / p->n : 0;
        return;
    }
    plan_batch(p, a, b, c->out);
}

static bool multiply(const nb_call *c, const product *p, nbi_matmul *x, int a, int b, int result)
{
    nb_dtype d = c->in[0].dtype;
    if (p->rank == 0)
        return nbi_tape_matmul(c->tape, d, x);
    const nbi_batch batch = {p->rank, p->dims, {p->step[a], p->step[b], p->step[result]}};
    return p->empty || nbi_tape_matmul_batch(c->tape, d, x, &batch);
}

static nb_code matmul_forward(const nb_call *c)
{
    if (c->out->rank < 0)
        return nbi_dot_forward(c);
    product p;
    plan(&p, c);
    nbi_matmul x = {.m = p.m, .n = p.n, .k = p.k, .lda = p.lda, .ldb = p.ldb, .ldc = p.n};
    x.a = c->in[0].data, x.b = c->in[1].data, x.c = c->out->data;
    x.ta = p.ta, x.tb = p.tb;
    return multiply(c, &p, &x, 0, 1, 2) ? NB_OK : NB_ERR_MEMORY;
}

/* Whether products add to what is there. Cleared first if none of them is to overwrite it. */
static bool prepare(const nb_array *gin, bool add, bool broadcast)
{
    if (!add && broadcast && gin->size)
        memset(gin->data, 0, (size_t)gin->size * nbi_element(gin->dtype));
    return add || broadcast;
}

/* d(a) = G B^T, or B G^T if a is used transposed. */
static bool reverse_a(const nb_call *c, const product *p, const nb_array *g, const nb_array *gin,
                      bool add)
{
    nbi_matmul x = {.m = p->m, .n = p->k, .k = p->n, .lda = p->n, .ldb = p->ldb, .ldc = p->lda};
    x.a = g->data, x.b = c->in[1].data, x.c = gin->data;
    x.tb = !p->tb;
    x.accumulate = prepare(gin, add, p->broadcast[0]);
    if (!p->ta)
        return multiply(c, p, &x, 2, 1, 0);
    x.m = p->k, x.n = p->m;
    x.a = c->in[1].data, x.lda = p->ldb, x.ta = p->tb;
    x.b = g->data, x.ldb = p->n, x.tb = true;
    return multiply(c, p, &x, 1, 2, 0);
}

/* d(b) = A^T G, or G^T A if b is used transposed. */
static bool reverse_b(const nb_call *c, const product *p, const nb_array *g, const nb_array *gin,
                      bool add)
{
    nbi_matmul x = {.m = p->k, .n = p->n, .k = p->m, .lda = p->lda, .ldb = p->n, .ldc = p->ldb};
    x.a = c->in[0].data, x.b = g->data, x.c = gin->data;
    x.ta = !p->ta;
    x.accumulate = prepare(gin, add, p->broadcast[1]);
    if (!p->tb)
        return multiply(c, p, &x, 0, 2, 1);
    x.m = p->n, x.n = p->k;
    x.a = g->data, x.lda = p->n, x.ta = true;
    x.b = c->in[0].data, x.ldb = p->lda, x.tb = p->ta;
    return multiply(c, p, &x, 2, 0, 1);
}

static nb_code matmul_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                     const bool *add)
{
    if (c->out->rank < 0)
        return nbi_dot_reverse_arrays(c, g, gin, add);
    product p;
    plan(&p, c);
    if (gin[0] && !reverse_a(c, &p, g, gin[0], add[0]))
        return NB_ERR_MEMORY;
    if (gin[1] && !reverse_b(c, &p, g, gin[1], add[1]))
        return NB_ERR_MEMORY;
    return NB_OK;
}

/* ---- the same as graph code ------------------------------------------------------------------ */

nb_var nbi_as_rows(nb_var x)
{
    int64_t rows = 1;
    for (int i = 0; i + 1 < nb_rank(x); i++)
        if (__builtin_mul_overflow(rows, nb_dim(x, i), &rows))
            return nb_reshape(x, NB_SHAPE(0, nb_dim(x, -1))); /* it is empty by its columns */
    return nb_reshape(x, NB_SHAPE(rows, nb_dim(x, -1)));
}

static nb_code matmul_reverse(const nb_rule *r)
{
    const flags *f = r->state;
    nb_var a = r->in[0], b = r->in[1], g = r->g;
    int ra = nb_rank(a), rb = nb_rank(b);
    if (ra == 1 && rb == 1)
        return nbi_dot_reverse(r);
    if (rb == 1)
        g = nb_unsqueeze(g, -1), b = nb_unsqueeze(b, -1);
    if (ra == 1)
        g = nb_unsqueeze(g, -2), a = nb_unsqueeze(a, 0);
    if (r->want[0])
        r->d[0] = f->a ? nb_matmul_t(b, f->b, g, true) : nb_matmul_t(g, false, b, !f->b);
    if (!r->want[1])
        return NB_OK;
    if (ra > 2 && rb <= 2 && !f->a) /* the batch counts as rows */
        a = nbi_as_rows(a), g = nbi_as_rows(g);
    nb_var d = f->b ? nb_matmul_t(g, true, a, f->a) : nb_matmul_t(a, !f->a, g, false);
    r->d[1] = rb == 1 ? nb_squeeze(d, NB_AXES(-1)) : d;
    return NB_OK;
}

static nb_code matmul_tangent(const nb_rule *r)
{
    const flags *f = r->state;
    if (r->want[0])
        r->d[0] = nb_matmul_t(r->t[0], f->a, r->in[1], f->b);
    if (r->want[1]) {
        nb_var second = nb_matmul_t(r->in[0], f->a, r->t[1], f->b);
        r->d[0] = r->want[0] ? nb_add(r->d[0], second) : second;
    }
    return NB_OK;
}

static nb_var matmul_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape a, b;
        flags f;
    } sample[] = {
        {{2, {3, 4}}, {2, {4, 2}}, {false, false}},
        {{2, {4, 3}}, {2, {4, 2}}, {true, false}},
        {{2, {3, 4}}, {2, {2, 4}}, {false, true}},
        {{2, {4, 3}}, {2, {2, 4}}, {true, true}},
        {{1, {4}}, {2, {4, 3}}, {false, false}},
        {{1, {4}}, {2, {3, 4}}, {false, true}},
        {{2, {3, 4}}, {1, {4}}, {false, false}},
        {{2, {4, 3}}, {1, {4}}, {true, false}},
        {{1, {5}}, {1, {5}}, {false, false}},
        {{2, {1, 1}}, {2, {1, 1}}, {false, false}},
        {{3, {2, 3, 4}}, {2, {4, 2}}, {false, false}},
        {{3, {2, 3, 4}}, {2, {2, 4}}, {false, true}},
        {{3, {2, 4, 3}}, {2, {4, 2}}, {true, false}},
        {{3, {2, 3, 4}}, {1, {4}}, {false, false}},
        {{1, {4}}, {3, {2, 4, 3}}, {false, false}},
        {{2, {3, 4}}, {3, {2, 4, 2}}, {false, false}},
        {{3, {3, 2, 2}}, {3, {3, 2, 2}}, {true, true}},
        {{4, {2, 1, 2, 3}}, {3, {3, 3, 2}}, {false, false}},
        {{4, {2, 1, 3, 2}}, {4, {1, 3, 2, 3}}, {true, true}},
        {{8, {1, 2, 1, 1, 1, 1, 2, 3}}, {4, {2, 1, 3, 2}}, {false, false}},
        {{2, {0, 3}}, {2, {3, 2}}, {false, false}},
        {{2, {2, 0}}, {2, {0, 3}}, {false, false}},
        {{3, {2, 2, 0}}, {2, {0, 3}}, {false, false}},
        {{3, {1, 2, 3}}, {3, {0, 3, 2}}, {false, false}},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var a = nb_sample(s, sample[k].a, -2, 2);
    nb_var b = nb_sample(s, sample[k].b, -2, 2);
    return nb_matmul_t(a, sample[k].f.a, b, sample[k].f.b);
}

const nb_op nbi_op_matmul = {
    .name = "matmul",
    .doc = "the matrix product of vectors, matrices, or batches of matrices",
    .shape = matmul_shape,
    .forward = matmul_forward,
    .reverse = matmul_reverse,
    .reverse_arrays = matmul_reverse_arrays,
    .overwrites = true,
    .tangent = matmul_tangent,
    .sample = matmul_sample,
};

nb_var(nb_matmul_t)(nb_var a, bool a_transposed, nb_var b, bool b_transposed)
{
    flags f = {a_transposed, b_transposed};
    return nb_apply(&nbi_op_matmul, 2, (nb_var[]){a, b}, &f, sizeof f);
}

nb_var(nb_matmul)(nb_var a, nb_var b) { return nb_matmul_t(a, false, b, false); }
