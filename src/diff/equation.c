/*
 * Linear systems in A = dF/dy, the Jacobian of an equation at a point.
 *
 * F is recorded once, as a function of a leaf that holds y. From that piece of graph come both
 * products, by the reverse rules alone:
 *
 *     A' v  is the gradient of <v, F> by y;
 *     A v   is the gradient of <A'u, v> by u, for A'u is linear in u: so A'u is recorded once as a
 *           graph of some u, and differentiated again.
 *
 * Each is a plain sweep over that piece of tape. For few unknowns the n products A' e_i, the
 * rows of A, make the matrix and LU factors solve with it, either way round; for many, GMRES needs
 * the products alone. What F makes of x plays no part: x may vary or not.
 */
#include "diff/equation.h"
#include "diff/custom.h"

#include "kernels/factor.h"
#include <nabla/diff.h>
#include <nabla/ops.h>

#include <math.h>

enum { DENSE = 100 }; /* unknowns, up to which the matrix is made unless told otherwise */

nb_var nbi_constant_of(nb_tape *t, nb_shape shape, const double *values)
{
    return shape.rank < 0 ? nb_constant(t, *values) : nb_constant_tensor(t, shape, values);
}

nb_var nbi_equation_at(const nbi_equation *e, nb_var y, const nb_var *x)
{
    const size_t n_x = e->n_x;
    nb_tape *t = y.tape;
    const nb_code before = t->code;
    const uint32_t from = t->hot.length;
    char is[NBI_SHAPE_TEXT], due[NBI_SHAPE_TEXT];
    const nbi_spot spot = t->scratch.at;
    nb_var *in = nbi_scratch(t, (n_x + 1) * sizeof *in);
    if (!in)
        return nbi_no_memory(t, e->name), nbi_inert(t);
    in[0] = y;
    memcpy(in + 1, x, n_x * sizeof *x);
    t->busy++;
    nb_var f = e->fn(e->context, y, x);
    t->busy--;
    nbi_within(t, before, "in the equation of %s", e->name);
    const bool alive = f.tape ? f.tape == t && nbi_alive(t, f) : !nbi_is_inert(f);
    const bool captures = alive && !nbi_captures_nothing(t, e->name, from, n_x + 1, in, f);
    nbi_give_back(&t->scratch, spot);
    const nb_shape a = nb_shape_of(f), b = nb_shape_of(y);
    if (!alive)
        nbi_fail(t, NB_ERR_CALLBACK, "%s: what the equation returns is inert, stale or foreign",
                 e->name);
    else if (!nb_shape_equal(a, b))
        nbi_fail(t, NB_ERR_SHAPE, "%s: the equation has shape %s, its unknown %s", e->name,
                 nbi_shape_text(is, a.rank, a.dims), nbi_shape_text(due, b.rank, b.dims));
    if (!alive || captures || !nb_shape_equal(a, b))
        return nbi_inert(t);
    f = e->fixed_point ? nb_sub(y, f) : f;
    return f.tape ? f : nb_constant(t, nbi_number(f));
}

double nbi_greatest(size_t n, const double *values)
{
    double most = 0;
    for (size_t i = 0; i < n && !isnan(most); i++)
        most = fabs(values[i]) <= most ? most : fabs(values[i]);
    return most;
}

bool nbi_is_dense(const nbi_equation *e, size_t n)
{
    return e->solver == NB_SOLVER_DENSE || (e->solver == NB_SOLVER_AUTO && n <= DENSE);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Marks the nodes up to `to` that depend on node `from`: the only ones that a sweep may touch. There
 * are none, if `to` is older. */
static uint8_t *marks_of(nb_tape *t, uint32_t from, uint32_t to)
{
    const size_t count = (size_t)(to > from ? to : from) + 1;
    uint8_t *w = nbi_scratch(t, count);
    if (!w)
        return NULL;
    memset(w, 0, count);
    w[from] = 1;
    for (uint32_t i = from + 1; i <= to; i++) {
        const uint32_t *x;
        const size_t n = nbi_ways(t, i, &x);
        for (size_t k = 0; k < n && !w[i]; k++)
            w[i] = w[x[k]];
    }
    return w;
}

/* Makes v the adjoint of node i, which had none. */
static bool seed(nb_tape *t, uint32_t i, const double *v)
{
    bool add;
    if (!nbi_is_tensor(t, i))
        return t->hot.cells[i].adjoint = *v, true;
    const int64_t n = nbi_record_at(t, i)->size;
    void *to = nbi_adjoint(t, i, &add);
    for (int64_t k = 0; to && k < n; k++)
        if (t->dtype == NB_F64)
            ((double *)to)[k] = v[k];
        else
            ((float *)to)[k] = (float)v[k];
    return to != NULL;
}

static void read_adjoint(nb_tape *t, uint32_t i, size_t n, double *to)
{
    const nbi_record *r = nbi_is_tensor(t, i) ? nbi_record_at(t, i) : NULL;
    for (size_t k = 0; k < n; k++)
        to[k] = !r                   ? t->hot.cells[i].adjoint
                : !r->grad           ? 0
                : t->dtype == NB_F64 ? ((const double *)r->grad)[k]
                                     : (double)((const float *)r->grad)[k];
}

/* The gradient of <v, out> by `by`, as numbers, by the plain sweep over the piece of tape in between.
 * Other sweeps, the one under way or the one before, do not see it: it leaves all adjoints clean. */
static nb_code pull(nbi_point *p, nb_var out, nb_var by, const uint8_t *marks, const double *v,
                    double *to)
{
    nb_tape *t = p->t;
    const bool anomaly = t->anomaly;
    bool done = true;
    nb_set_anomaly(t, false);
    if (out.index >= by.index && marks[out.index])
        done = seed(t, out.index, v) && nbi_sweep(t, out.index, by.index, marks);
    read_adjoint(t, by.index, p->n, to);
    nbi_adjoints_release(t, by.index, out.index + 1);
    for (uint32_t i = by.index; i <= out.index; i++)
        t->hot.cells[i].adjoint = 0;
    nb_set_anomaly(t, anomaly);
    return done ? NB_OK : t->code;
}

static nb_code transposed_product(void *context, const double *v, double *to)
{
    nbi_point *p = context;
    return pull(p, p->f, p->y, p->of_y, v, to);
}

/* A leaf of the unknown's shape. */
static nb_var leaf_of(nb_tape *t, nb_var value)
{
    const bool recording = nb_set_recording(t, true);
    nb_var y = nb_leaf(NULL, value);
    nb_set_recording(t, recording);
    return y;
}

static nb_code record_product(nbi_point *p)
{
    nb_tape *t = p->t;
    const bool recording = nb_set_recording(t, true);
    p->u = leaf_of(t, p->y);
    nb_code code = nb_ok(p->u) ? nb_diff(1, &p->f, &p->u, 1, &p->y, &p->au) : t->code;
    nb_set_recording(t, recording);
    p->of_u = code == NB_OK ? marks_of(t, p->u.index, p->au.index) : NULL;
    return code == NB_OK && !p->of_u ? nbi_no_memory(t, p->e->name) : code;
}

static nb_code product(void *context, const double *v, double *to)
{
    nbi_point *p = context;
    return pull(p, p->au, p->u, p->of_u, v, to);
}

/* ---- the point ------------------------------------------------------------------------------- */

nb_code nbi_point_open(nbi_point *p, const nbi_equation *e, nb_var y, const nb_var *x)
{
    nb_tape *t = y.tape;
    *p = (nbi_point){.e = e, .t = t, .shape = nb_shape_of(y), .n = (size_t)nb_size(y)};
    p->u = p->au = NB_NONE;
    p->y = leaf_of(t, y);
    const bool recording = nb_set_recording(t, true);
    p->f = nb_ok(p->y) ? nbi_equation_at(e, p->y, x) : p->y;
    nb_set_recording(t, recording);
    if (!nb_ok(p->f))
        return t->code ? t->code : NB_ERR_CALLBACK;
    p->of_y = marks_of(t, p->y.index, p->f.index);
    return p->of_y ? NB_OK : nbi_no_memory(t, e->name);
}

/* ---- solving --------------------------------------------------------------------------------- */

nbi_factors *nbi_factors_new(nb_tape *t, nbi_arena *arena, size_t n, const char *who)
{
    size_t bytes;
    nbi_factors *f = nbi_take(arena, sizeof *f, _Alignof(nbi_factors));
    if (f) {
        const int64_t stride = nbi_factor_stride((int64_t)n);
        const bool fits = !__builtin_mul_overflow((size_t)stride * sizeof(double), n, &bytes);
        *f = (nbi_factors){.n = (int64_t)n, .stride = stride};
        f->a = fits ? nbi_take(arena, bytes, NBI_ALIGN) : NULL;
        f->exchange = f->a ? nbi_take(arena, n * sizeof *f->exchange, _Alignof(int64_t)) : NULL;
    }
    if (f && f->exchange)
        return f;
    nbi_no_memory(t, who);
    return NULL;
}

/* Row i of A is A' e_i. */
static nb_code fill_matrix(nbi_point *p, nbi_factors *f)
{
    const nbi_spot spot = p->t->scratch.at;
    double *unit = nbi_scratch(p->t, p->n * sizeof *unit);
    nb_code code = unit ? NB_OK : nbi_no_memory(p->t, p->e->name);
    if (unit)
        memset(unit, 0, p->n * sizeof *unit);
    for (int64_t i = 0; i < f->n && code == NB_OK; i++) {
        unit[i] = 1;
        code = transposed_product(p, unit, f->a + i * f->stride);
        unit[i] = 0;
    }
    nbi_give_back(&p->t->scratch, spot);
    return code;
}

static nb_code solve_dense(nbi_point *p, bool transposed, const double *b, double *s,
                           nbi_factors *f)
{
    nb_tape *t = p->t;
    const nbi_spot spot = t->scratch.at;
    const size_t bytes = nbi_factor_bytes(t->isa, (int64_t)p->n, 1);
    void *memory = bytes && bytes < SIZE_MAX ? nbi_scratch(t, bytes) : NULL;
    f = f ? f : nbi_factors_new(t, &t->scratch, p->n, p->e->name);
    nb_code code = !f ? t->code : bytes && !memory ? nbi_no_memory(t, p->e->name) : NB_OK;
    const nbi_factor work = nbi_factor_with(t->isa, t->matmul[NB_F64], memory, (int64_t)p->n, 1);
    if (code == NB_OK && !f->ready) {
        code = fill_matrix(p, f);
        int64_t pivot = code == NB_OK ? nbi_lu(&work, f->n, f->a, f->stride, f->exchange) : 0;
        f->ready = code == NB_OK && pivot == f->n;
        if (code == NB_OK && !f->ready)
            code = nbi_fail(t, NB_ERR_SINGULAR,
                            "%s: the derivative of the equation by its unknowns is singular: pivot "
                            "%lld of %lld is 0",
                            p->e->name, (long long)pivot, (long long)f->n);
    }
    if (code == NB_OK) {
        memcpy(s, b, p->n * sizeof *s);
        nbi_lu_solve(&work, f->n, 1, f->a, f->stride, f->exchange, transposed, s, 1);
    }
    nbi_give_back(&t->scratch, spot);
    return code;
}

static nb_code solve_krylov(nbi_point *p, bool transposed, const double *b, double *s)
{
    const nbi_equation *e = p->e;
    nbi_operator a = {transposed ? transposed_product : product, p, p->n};
    nbi_gmres g = {.tolerance = e->linear_tolerance, .restart = e->restart};
    g.products = e->products ? e->products : p->n < 100 ? 1000 : 10 * (int)p->n;
    g.restart = (size_t)g.restart < p->n ? g.restart : (int)p->n;
    nb_code code = transposed || p->au.tape ? NB_OK : record_product(p);
    if (code == NB_OK)
        code = nbi_gmres_solve(p->t, &a, b, s, &g);
    if (code == NB_OK && !(g.residual <= g.tolerance))
        code = nbi_fail(p->t, NB_ERR_CONVERGENCE,
                        "%s: the linear solver did not converge: after %d products the residual is "
                        "%.3g of the right side, the tolerance %.3g",
                        e->name, g.used, g.residual, g.tolerance);
    return code;
}

nb_code nbi_point_solve(nbi_point *p, bool transposed, const double *b, double *s,
                        nbi_factors *factors)
{
    if (p->n == 0)
        return NB_OK;
    if (nbi_is_dense(p->e, p->n))
        return solve_dense(p, transposed, b, s, factors);
    return solve_krylov(p, transposed, b, s);
}
