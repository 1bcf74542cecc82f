/*
 * Implicit functions: y(x) given by F(y, x) = 0, as one node.
 *
 * Let A = dF/dy and B = dF/dx at the solution. F(y(x), x) = 0 for all x near, so
 *
 *     A dy + B dx = 0,      dy = -A^-1 B dx,
 *
 * and an adjoint g of y passes on to x as  -B' A^-T g.  No inverse, and no trace of how y was found:
 *
 *     solve  A' l = g,      then  dx = -B' l = the gradient by x, at fixed y, of <-l, F(y, x)>.
 *
 * That is the whole reverse rule: one linear solve, one sweep through F.
 *
 * For second derivatives the rule must be graph, so the solve must be a node. l is itself a function
 * of (g, y, x), given by the equation A(y, x)' l = g, which is linear in l. With h an adjoint of l,
 * and m from  A m = h,
 *
 *     dg = m,    d(y, x) = -the gradient by (y, x), at fixed l and m, of  l' A(y, x) m,
 *
 * and l' A m is <d/dy <l, F>, m>: F differentiated twice. Likewise m is a function of (h, y, x) by
 * A m = h, whose rule for an adjoint w is  A' k = w,  dh = k,  d(y, x) = -d(k' A m). So two nodes, the
 * solve with A' and the solve with A, are each other's rule, and derivatives of every order are
 * solves with the one matrix. Its LU factors are kept with the node of y and serve them all.
 *
 * "At fixed y": on the tape y depends on x, so F is recorded on nodes of its own that equal y and x,
 * and differentiated by those.
 *
 * All three nodes are regions (custom.c): a function that finds the value, and a rule.
 */
#include "diff/equation.h"
#include "diff/implicit.h"
#include "diff/custom.h"

#include <nabla/diff.h>
#include <nabla/ops.h>
#include <nabla/region.h>

#include <math.h>

/* ---- F on nodes of its own ------------------------------------------------------------------- */

/* A node of x's value that depends on x. */
static nb_var same_as(nb_var x)
{
    return nb_is_tensor(x) ? nb_reshape(x, nb_shape_of(x)) : nb_mul(x, 1);
}

/* Copies of y and the x, and F on them. in is y, x[0], …; n of them. */
typedef struct copies {
    nb_var *in, f;
} copies;

static nb_code open_copies(copies *c, const nbi_equation *e, size_t n, const nb_var *in)
{
    nb_tape *t = in[0].tape;
    c->in = nbi_scratch(t, n * sizeof *c->in);
    if (!c->in)
        return nbi_no_memory(t, e->name);
    const bool recording = nb_set_recording(t, true);
    for (size_t k = 0; k < n; k++)
        c->in[k] = same_as(in[k]);
    c->f = nbi_equation_at(e, c->in[0], c->in + 1);
    nb_set_recording(t, recording);
    return nb_ok(c->f) ? NB_OK : t->code ? t->code : NB_ERR_CALLBACK;
}

/* The gradient of <seed, out> by the copies that are wanted. */
static nb_code pull_wanted(nb_tape *t, nb_var out, nb_var seed, size_t n, const nb_var *in,
                           const bool *want, nb_var *d)
{
    size_t some = 0;
    nb_var *by = nbi_scratch(t, n * sizeof *by), *to = nbi_scratch(t, n * sizeof *to);
    if (!by || !to)
        return nbi_no_memory(t, "implicit");
    for (size_t k = 0; k < n; k++)
        if (want[k])
            by[some++] = in[k];
    nb_code code = some ? nb_diff(1, &out, &seed, some, by, to) : NB_OK;
    for (size_t k = n; k-- > 0 && code == NB_OK;)
        if (want[k])
            d[k] = to[--some];
    return code;
}

/* ---- the two solves -------------------------------------------------------------------------- */

static nb_var solve_node(nbi_equation *e, bool transposed, nb_var right, size_t n,
                         const nb_var *in);

/* The value of a solve; in is the right side, y, x[0], …. */
static nb_code solve_value(const nbi_equation *e, bool transposed, const nb_var *in, nb_var *out)
{
    nb_tape *t = in[1].tape;
    nbi_point p;
    const nbi_spot spot = t->scratch.at;
    nb_code code = nbi_point_open(&p, e, in[1], in + 2);
    double *b = nbi_scratch(t, p.n * sizeof *b), *s = nbi_scratch(t, p.n * sizeof *s);
    if (code == NB_OK && (!b || !s))
        code = nbi_no_memory(t, e->name);
    if (code == NB_OK)
        code = nb_read(in[0], b, (int64_t)p.n);
    if (code == NB_OK)
        code = nbi_point_solve(&p, transposed, b, s, e->factors);
    if (code == NB_OK)
        *out = nbi_constant_of(t, p.shape, s);
    nbi_give_back(&t->scratch, spot);
    return code;
}

/* The rule of a solve. left' A right is the form whose derivative it needs. */
static nb_code solve_rule(nbi_equation *e, bool transposed, const nb_region_rule *r)
{
    nb_tape *t = r->tape;
    const size_t n = r->n_in - 1;
    bool any = false;
    copies c;
    nb_var m = solve_node(e, !transposed, r->g[0], n, r->in + 1), row;
    if (!nb_ok(m))
        return t->code ? t->code : NB_ERR_CALLBACK;
    r->d[0] = m;
    for (size_t k = 1; k <= n; k++)
        any = any || r->want[k];
    if (!any)
        return NB_OK;
    const nb_var left = transposed ? r->out[0] : m, right = transposed ? m : r->out[0];
    const nbi_spot spot = t->scratch.at;
    nb_code code = open_copies(&c, e, n, r->in + 1);
    if (code == NB_OK) {
        const bool recording = nb_set_recording(t, true);
        code = nb_diff(1, &c.f, &left, 1, c.in, &row);
        nb_set_recording(t, recording);
    }
    if (code == NB_OK)
        code = pull_wanted(t, row, nb_neg(right), n, c.in, r->want + 1, r->d + 1);
    nbi_give_back(&t->scratch, spot);
    return code;
}

static nb_code plain_value(void *context, const nb_var *in, nb_var *out)
{
    return solve_value(context, false, in, out);
}

static nb_code plain_rule(void *context, const nb_region_rule *r)
{
    return solve_rule(context, false, r);
}

static nb_code transposed_value(void *context, const nb_var *in, nb_var *out)
{
    return solve_value(context, true, in, out);
}

static nb_code transposed_rule(void *context, const nb_region_rule *r)
{
    return solve_rule(context, true, r);
}

/* A solve as a node; in is y, x[0], …; n of them. */
static nb_var solve_node(nbi_equation *e, bool transposed, nb_var right, size_t n, const nb_var *in)
{
    nb_tape *t = in[0].tape;
    const nb_region_spec spec = {
        .name = transposed ? "implicit_adjoint" : "implicit_tangent",
        .doc = transposed ? "the solution of a system with the transposed Jacobian of an equation"
                          : "the solution of a system with the Jacobian of an equation",
        .forward = transposed ? transposed_value : plain_value,
        .reverse = transposed ? transposed_rule : plain_rule,
        .context = e};
    nb_var out = nbi_inert(t);
    const nbi_spot spot = t->scratch.at;
    nb_var *all = nbi_scratch(t, (n + 1) * sizeof *all);
    if (all) {
        all[0] = right;
        memcpy(all + 1, in, n * sizeof *in);
        nbi_region(&spec, true, n + 1, all, 1, &out);
    } else {
        nbi_no_memory(t, e->name);
    }
    nbi_give_back(&t->scratch, spot);
    return out;
}

/* ---- the node of y --------------------------------------------------------------------------- */

/* What the node's function is given; the rule gets a copy of it, and uses the equation alone. */
typedef struct solved {
    nbi_equation e;
    nb_tape *t;
    nb_shape shape;
    const double *y;
} solved;

static nb_code implicit_value(void *context, const nb_var *x, nb_var *out)
{
    const solved *s = context;
    const nbi_equation *e = &s->e;
    out[0] = nbi_constant_of(s->t, s->shape, s->y);
    nb_var f = nb_ok(out[0]) ? nbi_equation_at(e, out[0], x) : out[0];
    if (!nb_ok(f))
        return s->t->code ? s->t->code : NB_ERR_CALLBACK;
    const size_t n = (size_t)nb_size(f);
    const nbi_spot spot = s->t->scratch.at;
    double *value = nbi_scratch(s->t, n * sizeof *value);
    nb_code code = value ? nb_read(f, value, (int64_t)n) : nbi_no_memory(s->t, e->name);
    const double residual = code == NB_OK ? nbi_greatest(n, value) : 0;
    nbi_give_back(&s->t->scratch, spot);
    if (!(residual <= e->tolerance))
        return nbi_fail(s->t, NB_ERR_ARGUMENT,
                        "%s: y does not solve the equation: the greatest residual is %.3g, the "
                        "tolerance %.3g",
                        e->name, residual, e->tolerance);
    return code;
}

static nb_code implicit_rule(void *context, const nb_region_rule *r)
{
    nbi_equation *e = &((solved *)context)->e;
    nb_tape *t = r->tape;
    const size_t n = r->n_in + 1;
    const nbi_spot spot = t->scratch.at;
    copies c;
    nb_var *in = nbi_scratch(t, n * sizeof *in);
    if (!in)
        return nbi_no_memory(t, e->name);
    in[0] = r->out[0];
    memcpy(in + 1, r->in, r->n_in * sizeof *in);
    nb_var l = solve_node(e, true, r->g[0], n, in);
    nb_code code = nb_ok(l) ? open_copies(&c, e, n, in) : t->code ? t->code : NB_ERR_CALLBACK;
    if (code == NB_OK)
        code = pull_wanted(t, c.f, nb_neg(l), r->n_in, c.in + 1, r->want, r->d);
    nbi_give_back(&t->scratch, spot);
    return code;
}

/* What must outlive the call, in the arena just below the node: a copy of the caller's context, and room
 * for the factors. */
static nb_code keep_with_node(nb_tape *t, nbi_equation *e, size_t n, size_t context_bytes)
{
    if (context_bytes) {
        void *copy = nbi_take(&t->values, context_bytes, 16);
        if (!copy)
            return nbi_no_memory(t, e->name);
        memcpy(copy, e->context, context_bytes);
        e->context = copy;
    }
    if (t->recording && nbi_is_dense(e, n)) {
        e->factors = nbi_factors_new(t, &t->values, n, e->name);
        return e->factors ? NB_OK : t->code;
    }
    return NB_OK;
}

nb_var nbi_implicit_node(nb_tape *t, const nbi_equation *e, nb_shape shape, const double *y,
                         const nb_var *x, size_t context_bytes)
{
    const nb_mark before = nbi_mark(t);
    const size_t n = shape.rank < 0 ? 1 : (size_t)nb_shape_size(shape);
    nb_var out = nbi_inert(t);
    solved s = {*e, t, shape, y};
    const nb_region_spec spec = {.name = e->name,
                                 .doc = "the solution of an equation",
                                 .forward = implicit_value,
                                 .reverse = implicit_rule,
                                 .context = &s,
                                 .context_bytes = sizeof s};
    nb_code code = keep_with_node(t, &s.e, n, context_bytes);
    if (code == NB_OK)
        code = nb_region(&spec, e->n_x, x, 1, &out);
    if (code != NB_OK)
        nbi_truncate(t, &before);
    return out;
}
