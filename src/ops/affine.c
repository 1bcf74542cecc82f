/*
 * The affine map y = x w + b, one node for what a layer of a network does to a batch.
 *
 *     x [… k],  w [k m],  b [m]      y [… m]
 *
 * Each row of y is a row of x times w, plus b; how the rows are grouped in axes does not matter, so
 * the leading axes of x count as one of n rows, and a vector x is one row. With g the adjoint of y:
 *
 *     dx = g w^T        dw = x^T g        db = the sum of the rows of g
 *
 * The first two are the rules of the matrix product (see matmul.c); b was broadcast along the rows,
 * and the adjoint of a broadcast is a sum. That sum over the batch runs in double for floats too.
 */
#include "ops/product.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

nb_code nbi_affine_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *x = &c->in[0], *w = &c->in[1], *b = &c->in[2];
    if (x->rank < 1 || w->rank != 2 || b->rank != 1)
        return nb_refuse(c, NB_ERR_SHAPE, "needs x [... k], w [k m] and b [m]",
                         "the ranks are %d, %d and %d", x->rank < 0 ? 0 : x->rank,
                         w->rank < 0 ? 0 : w->rank, b->rank < 0 ? 0 : b->rank);
    int last = x->rank - 1;
    if (x->dims[last] != w->dims[0])
        return nb_refuse(c, NB_ERR_SHAPE, "inner dimensions differ",
                         "x has %lld %s, w has %lld rows", (long long)x->dims[last],
                         last ? "columns" : "elements", (long long)w->dims[0]);
    if (w->dims[1] != b->size)
        return nb_refuse(c, NB_ERR_SHAPE, "the bias does not fit",
                         "w has %lld columns, b has %lld elements", (long long)w->dims[1],
                         (long long)b->size);
    out->rank = x->rank; /* the other axes are x's already */
    for (int i = 0; i < last; i++)
        out->dims[i] = x->dims[i];
    out->dims[last] = b->size;
    return NB_OK;
}

/* Rows of x, or of y where x has no columns to tell by. */
static int64_t row_count(const nb_call *c)
{
    const nb_array *x = &c->in[0];
    int64_t k = c->in[1].dims[0], m = c->in[1].dims[1];
    if (x->rank <= 2)
        return x->rank == 2 ? x->dims[0] : 1;
    return k ? x->size / k : m ? c->out->size / m : 0;
}

nbi_matmul nbi_affine_product(const nb_call *c)
{
    int64_t k = c->in[1].dims[0], m = c->in[1].dims[1];
    return (nbi_matmul){.m = row_count(c),
                        .n = m,
                        .k = k,
                        .a = c->in[0].data,
                        .b = c->in[1].data,
                        .c = c->out->data,
                        .lda = k,
                        .ldb = m,
                        .ldc = m,
                        .bias = c->in[2].data};
}

static nb_code affine_forward(const nb_call *c)
{
    nbi_matmul p = nbi_affine_product(c);
    return nbi_tape_matmul(c->tape, c->out->dtype, &p) ? NB_OK : NB_ERR_MEMORY;
}

nb_code nbi_affine_adjoints(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    int64_t n = row_count(c), k = c->in[1].dims[0], m = c->in[1].dims[1];
    if (gin[0]) {
        nbi_matmul p = {.m = n, .n = k, .k = m, .lda = m, .ldb = m, .ldc = k, .tb = true};
        p.a = g->data, p.b = c->in[1].data, p.c = gin[0]->data;
        p.accumulate = add[0];
        if (!nbi_tape_matmul(c->tape, g->dtype, &p))
            return NB_ERR_MEMORY;
    }
    if (gin[1]) {
        nbi_matmul p = {.m = k, .n = m, .k = n, .lda = k, .ldb = m, .ldc = m, .ta = true};
        p.a = c->in[0].data, p.b = g->data, p.c = gin[1]->data;
        p.accumulate = add[1];
        if (!nbi_tape_matmul(c->tape, g->dtype, &p))
            return NB_ERR_MEMORY;
    }
    if (gin[2])
        nbi_column_sums(&c->tape->crew, g->dtype, n, m, g->data, gin[2]->data, add[2]);
    return NB_OK;
}

nb_code nbi_affine_rule(const nb_rule *r, nb_var g)
{
    if (r->want[0])
        r->d[0] = nb_matmul_t(g, false, r->in[1], true);
    if (r->want[1])
        r->d[1] = nb_matmul_t(nbi_as_rows(r->in[0]), true, nbi_as_rows(g), false);
    if (r->want[2])
        r->d[2] = g; /* the rows are summed where broadcasting is undone */
    return NB_OK;
}

static nb_code affine_reverse(const nb_rule *r) { return nbi_affine_rule(r, r->g); }

static nb_code affine_tangent(const nb_rule *r)
{
    nb_var x = r->in[0], w = r->in[1], d = NB_NONE;
    bool some = r->want[0] || r->want[1];
    if (r->want[0])
        d = nb_matmul(r->t[0], w);
    if (r->want[1])
        d = r->want[0] ? nb_add(d, nb_matmul(x, r->t[1])) : nb_matmul(x, r->t[1]);
    if (r->want[2])
        d = some ? nb_add(d, r->t[2]) : nb_expand(r->t[2], nb_shape_of(r->out));
    r->d[0] = d;
    return NB_OK;
}

static nb_var affine_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape x;
        int64_t k, m;
    } sample[] = {
        {{1, {4}}, 4, 3},          {{2, {3, 4}}, 4, 2},
        {{2, {1, 1}}, 1, 1},       {{3, {2, 3, 2}}, 2, 5},
        {{4, {2, 1, 2, 3}}, 3, 1}, {{2, {0, 3}}, 3, 2},
        {{2, {3, 0}}, 0, 2},       {{3, {2, 2, 0}}, 0, 3},
        {{2, {2, 3}}, 3, 0},       {{8, {1, 2, 1, 1, 2, 1, 1, 3}}, 3, 2},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var x = nb_sample(s, sample[k].x, -2, 2);
    nb_var w = nb_sample(s, NB_SHAPE(sample[k].k, sample[k].m), -2, 2);
    nb_var b = nb_sample(s, NB_SHAPE(sample[k].m), -2, 2);
    return nb_affine(x, w, b);
}

const nb_op nbi_op_affine = {
    .name = "affine",
    .doc = "x w + b, rows of x times a matrix plus a bias",
    .shape = nbi_affine_shape,
    .forward = affine_forward,
    .reverse = affine_reverse,
    .reverse_arrays = nbi_affine_adjoints,
    .overwrites = true,
    .tangent = affine_tangent,
    .sample = affine_sample,
};

nb_var(nb_affine)(nb_var x, nb_var w, nb_var b)
{
    return nb_apply(&nbi_op_affine, 3, (nb_var[]){x, w, b}, NULL, 0);
}
