/*
 * The affine map y = x w + b in a step: calls of the kernel of the matrix product, prepared.
 *
 * For the small layers where a step is all overhead the operation's rules would spend as much on finding
 * out what to call. Forward it is one product, back one for each of x and w, and a sum over rows for
 * b. Where there is one row and one column,
 *
 *     dx = g w^T        dw = x^T g
 *
 * are vectors times the number g, and a loop does for the kernel. A product in it is 0 + a b, as in the
 * kernel's sum of one term, so that a -0 becomes +0 in both.
 *
 * Products that need scratch, or may be shared among threads, are left to the operation's rules.
 */
#include "ops/product.h"
#include "ops/records.h"
#include "program/step.h"

/* Backward, `in` is the operand whose adjoint the product adds to, `node` the result. */
typedef struct product {
    nbi_matmul p;
    nbi_matmul_fn run;
    uint32_t node, in;
} product;

/* to (+)= scale x; or the sums of the columns of x. */
typedef struct vector {
    int64_t rows, n;
    const void *x, *scale;
    void *to;
    uint32_t node, in;
} vector;

/* ---- instructions ---------------------------------------------------------------------------- */

static const nbi_step_op *forward_product(nb_frozen *s, const nbi_step_op *o)
{
    const product *a = o->args;
    (void)s;
    a->run(&a->p);
    return o + 1;
}

static const nbi_step_op *reverse_product(nb_frozen *s, const nbi_step_op *o)
{
    product *a = o->args;
    nbi_cell *cells = s->t->hot.cells;
    if (cells[a->node].adjoint != 0) {
        a->p.accumulate = nbi_step_arrive(cells, a->in);
        a->run(&a->p);
    }
    return o + 1;
}

static void scale_f64(int64_t n, double scale, const double *restrict x, double *restrict to,
                      bool add)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = add ? to[i] + (scale * x[i] + 0) : scale * x[i] + 0;
}

static void scale_f32(int64_t n, float scale, const float *restrict x, float *restrict to, bool add)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = add ? to[i] + (scale * x[i] + 0) : scale * x[i] + 0;
}

static const nbi_step_op *reverse_scale(nb_frozen *s, const nbi_step_op *o)
{
    const vector *a = o->args;
    nbi_cell *cells = s->t->hot.cells;
    if (cells[a->node].adjoint == 0)
        return o + 1;
    const bool add = nbi_step_arrive(cells, a->in);
    if (s->t->dtype == NB_F64)
        scale_f64(a->n, *(const double *)a->scale, a->x, a->to, add);
    else
        scale_f32(a->n, *(const float *)a->scale, a->x, a->to, add);
    return o + 1;
}

static const nbi_step_op *reverse_bias(nb_frozen *s, const nbi_step_op *o)
{
    const vector *a = o->args;
    nbi_cell *cells = s->t->hot.cells;
    if (cells[a->node].adjoint != 0)
        nbi_column_sums(&s->t->crew, s->t->dtype, a->rows, a->n, a->x, a->to,
                        nbi_step_arrive(cells, a->in));
    return o + 1;
}

/* ---- making them ----------------------------------------------------------------------------- */

bool nbi_step_is_affine(const nbi_freezer *f, const nbi_step_call *a)
{
    if (a->c.op != &nbi_op_affine || f->t->crew.pool)
        return false;
    const nbi_matmul p = nbi_affine_product(&a->c);
    const bool is_double = f->t->dtype == NB_F64;
    return !nbi_matmul_scratch(f->t->isa, is_double, p.m, p.n, p.k) &&
           !nbi_matmul_scratch(f->t->isa, is_double, p.m, p.k, p.n) &&
           !nbi_matmul_scratch(f->t->isa, is_double, p.k, p.n, p.m);
}

static bool emit_product(nbi_freezer *f, nbi_step_fn *fn, const nbi_matmul *p, uint32_t node,
                         uint32_t in)
{
    product *a = nbi_step_args(f, sizeof *a);
    if (!a)
        return false;
    *a = (product){*p, f->t->matmul[f->t->dtype == NB_F64 ? 0 : 1], node, in};
    return nbi_step_use(f, &a->p.a) && nbi_step_use(f, &a->p.b) && nbi_step_use(f, &a->p.c) &&
           nbi_step_use(f, &a->p.bias) && nbi_step_emit(f, fn, a);
}

bool nbi_step_affine_forward(nbi_freezer *f, const nbi_step_call *a)
{
    const nbi_matmul p = nbi_affine_product(&a->c);
    return emit_product(f, forward_product, &p, a->node, a->node);
}

static bool emit_vector(nbi_freezer *f, nbi_step_fn *fn, const vector *v)
{
    vector *a = nbi_step_args(f, sizeof *a);
    if (!a)
        return false;
    *a = *v;
    return nbi_step_use(f, &a->x) && nbi_step_use(f, &a->scale) && nbi_step_use(f, &a->to) &&
           nbi_step_emit(f, fn, a);
}

/* g is the adjoint of y; to[k] that of operand k, without data where it is not wanted. */
bool nbi_step_affine_reverse(nbi_freezer *f, const nbi_step_call *a, const uint32_t *in,
                             const nb_array *g, const nb_array *to)
{
    const nbi_matmul y = nbi_affine_product(&a->c);
    const bool one = y.m == 1 && y.n == 1;
    const vector dx = {1, y.k, y.b, g->data, to[0].data, a->node, in[0]};
    const vector dw = {1, y.k, y.a, g->data, to[1].data, a->node, in[1]};
    const vector db = {y.m, y.n, g->data, NULL, to[2].data, a->node, in[2]};
    nbi_matmul px = {.m = y.m, .n = y.k, .k = y.n, .lda = y.n, .ldb = y.n, .ldc = y.k, .tb = true};
    nbi_matmul pw = {.m = y.k, .n = y.n, .k = y.m, .lda = y.k, .ldb = y.n, .ldc = y.n, .ta = true};
    px.a = g->data, px.b = y.b, px.c = to[0].data;
    pw.a = y.a, pw.b = g->data, pw.c = to[1].data;
    if (to[0].data && !(one ? emit_vector(f, reverse_scale, &dx)
                            : emit_product(f, reverse_product, &px, a->node, in[0])))
        return false;
    if (to[1].data && !(one ? emit_vector(f, reverse_scale, &dw)
                            : emit_product(f, reverse_product, &pw, a->node, in[1])))
        return false;
    return !to[2].data || emit_vector(f, reverse_bias, &db);
}
