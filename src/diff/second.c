/*
 * The Hessian times a vector on scalar nodes: forward over reverse, in dual numbers.
 *
 * The backward sweep computes, from the last node down, the adjoint of every node:
 *
 *     g(k)  +=  g(i) z(k, i)                         z(k, i) the slope of node i by its operand k
 *
 * Its derivative along a direction v of the inputs is, by the product rule,
 *
 *     g'(k)  +=  g'(i) z(k, i)  +  g(i) z'(k, i)
 *
 * and what g' says at the inputs is H v, since g says the gradient there. z' comes from the table: the
 * text of a slope is expanded once more, with numbers that carry their derivative along v, where an
 * operation is the row's value and its derivative the row's slope. The derivatives of the nodes' values
 * along v come from a walk up before. So the cost is that of two sweeps with a little more
 * work at each node, and nothing is recorded.
 *
 * A tape with tensors among the nodes below f is left to the general method (hessian.c).
 */
#include "diff/second.h"

#define NBI_REAL double
#define NBI_SUFFIX
#include "table/arithmetic.h"

typedef struct dual {
    double v, d;
} dual;

/* An adjoint of 0 contributes 0, whatever the slope. Here either factor may be what the other way of
 * computing H v has for an adjoint. */
static double chain(double a, double b) { return a != 0 && b != 0 ? a * b : 0; }

/* ---- the table in dual numbers ---------------------------------------------------------------- */

#define UNARY(name, ...)                                             \
    static inline dual dual_##name(dual x)                           \
    {                                                                \
        const double r = nbi_value_##name(x.v);                      \
        return (dual){r, chain(x.d, nbi_slope_##name(x.v, r))};      \
    }
#define BINARY(name, ...)                                            \
    static inline dual dual_##name(dual x, dual y)                   \
    {                                                                \
        const double r = nbi_value_##name(x.v, y.v);                 \
        return (dual){r, chain(x.d, nbi_slope_x_##name(x.v, y.v, r)) + \
                             chain(y.d, nbi_slope_y_##name(x.v, y.v, r))}; \
    }
#define TERNARY(name, ...)                                           \
    static inline dual dual_##name(dual x, dual y, dual z)           \
    {                                                                \
        const double r = nbi_value_##name(x.v, y.v, z.v);            \
        return (dual){r, chain(x.d, nbi_slope_x_##name(x.v, y.v, z.v, r)) + \
                             chain(y.d, nbi_slope_y_##name(x.v, y.v, z.v, r)) + \
                             chain(z.d, nbi_slope_z_##name(x.v, y.v, z.v, r))}; \
    }
#define TEST(name, ...)                                              \
    static inline dual dual_##name(dual x, dual y)                   \
    {                                                                \
        return (dual){nbi_value_##name(x.v, y.v), 0};                \
    }
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

#include "table/operations.h"
#define NBI_OP1(name, a)       dual_##name(a)
#define NBI_OP2(name, a, b)    dual_##name(a, b)
#define NBI_OP3(name, a, b, c) dual_##name(a, b, c)
#define K(c)                   ((dual){(double)(c), 0})
#define LET(name, expression)  const dual name = expression;
#define RETURN(expression)     return expression;
#define SELECT(c, a, b)        ((c).v != 0 ? (a) : (b))
#define UNARY(name, w, kind, xlo, xhi, text, value, dx)                     \
    static inline dual second_##name(dual x, dual r)                        \
    {                                                                       \
        (void)x, (void)r;                                                   \
        dx                                                                  \
    }
#define SECOND2(name, slope)                                                \
    static inline dual second_##name(dual x, dual y, dual r)                \
    {                                                                       \
        (void)x, (void)y, (void)r;                                          \
        slope                                                               \
    }
#define BINARY(name, w, kind, xlo, xhi, ylo, yhi, text, value, dx, dy)      \
    SECOND2(x_##name, dx)                                                   \
    SECOND2(y_##name, dy)
#define SECOND3(name, slope)                                                \
    static inline dual second_##name(dual x, dual y, dual z, dual r)        \
    {                                                                       \
        (void)x, (void)y, (void)z, (void)r;                                 \
        slope                                                               \
    }
#define TERNARY(name, w, kind, xlo, xhi, ylo, yhi, zlo, zhi, text, value, dx, dy, dz) \
    SECOND3(x_##name, dx)                                                   \
    SECOND3(y_##name, dy)                                                   \
    SECOND3(z_##name, dz)
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
#include "table/operations.h"

/* ---- the walk ---------------------------------------------------------------------------------- */

/* Of every node up to f. */
typedef struct walk {
    nb_tape *t;
    double *d; /* the derivative of its value along v */
    dual *g;   /* its adjoint */
} walk;

static inline dual at(const walk *w, uint32_t i)
{
    return (dual){w->t->hot.cells[i].value, w->d[i]};
}

/* A whole number (the exponent of powi) is held fixed. */
static inline dual fixed(dual x, bool whole) { return (dual){x.v, whole ? 0 : x.d}; }

static inline void give(walk *w, uint32_t k, dual g, dual z)
{
    w->g[k].v += chain(g.v, z.v);
    w->g[k].d += chain(g.d, z.v) + chain(g.v, z.d);
}

static void give3(walk *w, const uint32_t *k, dual g, dual x, dual y, dual z)
{
    const dual slope[3] = {x, y, z};
    for (int j = 0; j < 3; j++)
        if (!nbi_still(w->t, k[j]))
            give(w, k[j], g, slope[j]);
}

/* Passes g on through scalar row node i. */
static inline void visit(walk *w, uint32_t i, dual g)
{
    const uint32_t a = w->t->hot.args[i].a, b = w->t->hot.args[i].b;
    const dual r = at(w, i);
    switch (w->t->hot.ops[i]) {
#define UNARY(name, ...) \
    case NBI_OP_##name: give(w, a, g, second_##name(at(w, a), r)); break;
#define BINARY(name, w_, kind, xlo, xhi, ylo, yhi, ...)                           \
    case NBI_OP_##name:                                                           \
    case NBI_OP_##name##_vc:                                                      \
    case NBI_OP_##name##_cv: {                                                    \
        const dual x = at(w, a), y = fixed(at(w, b), (ylo) == (yhi));             \
        if (w->t->hot.ops[i] != NBI_OP_##name##_cv)                               \
            give(w, a, g, second_x_##name(x, y, r));                              \
        if (w->t->hot.ops[i] != NBI_OP_##name##_vc)                               \
            give(w, b, g, second_y_##name(x, y, r));                              \
        break;                                                                    \
    }
#define TERNARY(name, ...)                                                        \
    case NBI_OP_##name: {                                                         \
        const uint32_t *k = w->t->list + a;                                       \
        const dual x = at(w, k[0]), y = at(w, k[1]), z = at(w, k[2]);             \
        give3(w, k, g, second_x_##name(x, y, z, r), second_y_##name(x, y, z, r),  \
              second_z_##name(x, y, z, r));                                       \
        break;                                                                    \
    }
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    default: break;
    }
}

/* The derivative of scalar row node i along v. */
static inline double along(const walk *w, uint32_t i)
{
    const uint32_t a = w->t->hot.args[i].a, b = w->t->hot.args[i].b;
    const double r = w->t->hot.cells[i].value;
    switch (w->t->hot.ops[i]) {
#define UNARY(name, ...) \
    case NBI_OP_##name: return chain(w->d[a], nbi_slope_##name(at(w, a).v, r));
#define BINARY(name, ...)                                                          \
    case NBI_OP_##name:                                                            \
    case NBI_OP_##name##_vc:                                                       \
    case NBI_OP_##name##_cv:                                                       \
        return chain(w->d[a], nbi_slope_x_##name(at(w, a).v, at(w, b).v, r)) +     \
               chain(w->d[b], nbi_slope_y_##name(at(w, a).v, at(w, b).v, r));
#define TERNARY(name, ...)                                                         \
    case NBI_OP_##name: {                                                          \
        const uint32_t *k = w->t->list + a;                                        \
        const double x = at(w, k[0]).v, y = at(w, k[1]).v, z = at(w, k[2]).v;      \
        return chain(w->d[k[0]], nbi_slope_x_##name(x, y, z, r)) +                 \
               chain(w->d[k[1]], nbi_slope_y_##name(x, y, z, r)) +                 \
               chain(w->d[k[2]], nbi_slope_z_##name(x, y, z, r));                  \
    }
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    default: return 0;
    }
}

/* The slopes of a function of many scalars, until the scratch is given back. */
static double *slopes_many(walk *w, uint32_t i, const uint32_t **x, size_t *n)
{
    *n = nbi_ways(w->t, i, x);
    double *z = *n <= SIZE_MAX / sizeof *z ? nbi_scratch(w->t, *n * sizeof *z) : NULL;
    if (z)
        nbi_partials_many(w->t, i, z);
    return z;
}

/* The slope z of function i of many scalars by its operand k, as it changes along v. */
static double slope_change(const walk *w, uint32_t i, const uint32_t *x, size_t n, size_t k,
                           double z)
{
    const dual r = at(w, i);
    const double d = w->d[x[k]];
    switch (w->t->hot.ops[i]) {
    case NBI_DOT: return w->d[x[k < n / 2 ? k + n / 2 : k - n / 2]];
    case NBI_LOGSUMEXP: return chain(z, d - r.d);
    case NBI_NORM: return r.v != 0 ? (d - z * r.d) / r.v : 0;
    default: return 0; /* piecewise linear */
    }
}

static bool visit_many(walk *w, uint32_t i, dual g)
{
    const uint32_t *x;
    size_t n;
    const nbi_spot scratch = w->t->scratch.at;
    const double *z = slopes_many(w, i, &x, &n);
    for (size_t k = 0; k < n && z; k++)
        if (!nbi_still(w->t, x[k]))
            give(w, x[k], g, (dual){z[k], slope_change(w, i, x, n, k, z[k])});
    nbi_give_back(&w->t->scratch, scratch);
    return z != NULL;
}

static bool along_many(walk *w, uint32_t i)
{
    const uint32_t *x;
    size_t n;
    const nbi_spot scratch = w->t->scratch.at;
    const double *z = slopes_many(w, i, &x, &n);
    for (size_t k = 0; k < n && z; k++)
        w->d[i] += chain(w->d[x[k]], z[k]);
    nbi_give_back(&w->t->scratch, scratch);
    return z != NULL;
}

static bool is_fixed(const nb_tape *t, uint32_t i)
{
    return nbi_still(t, i) || nbi_record_at(t, i)->leaf;
}

/* False where either walk meets what it has no rule for, or there is no memory. */
static bool walk_up(walk *w, uint32_t to, size_t n_in, const nb_var *in, const double *const *v)
{
    for (size_t k = 0; k < n_in; k++)
        if (in[k].index <= to)
            w->d[in[k].index] = *v[k];
    for (uint32_t i = 0; i <= to; i++) {
        const uint8_t op = w->t->hot.ops[i];
        if (op == NBI_MAXOUT || (op == NBI_RECORD && !is_fixed(w->t, i)))
            return false;
        if (w->d[i] != 0)
            continue; /* an input */
        if (op >= NBI_SUM && op <= NBI_MAXOUT && !along_many(w, i))
            return false;
        if (op > NBI_SPARE_15)
            w->d[i] = along(w, i);
    }
    return true;
}

static bool walk_down(walk *w, uint32_t from)
{
    for (uint32_t i = from + 1; i-- > 0;) {
        const dual g = w->g[i];
        const uint8_t op = w->t->hot.ops[i];
        if (g.v == 0 && g.d == 0)
            continue;
        if (op > NBI_SPARE_15)
            visit(w, i, g);
        else if (op >= NBI_SUM && !visit_many(w, i, g))
            return false;
    }
    return true;
}

bool nbi_second(nb_var f, size_t n_in, const nb_var *in, const double *const *v, double *const *out)
{
    nb_tape *t = f.tape;
    const size_t n = (size_t)f.index + 1;
    const nbi_spot scratch = t->scratch.at;
    for (size_t k = 0; k < n_in; k++)
        if (nb_is_tensor(in[k]))
            return false;
    walk w = {t, nbi_scratch(t, n * sizeof *w.d), nbi_scratch(t, n * sizeof *w.g)};
    bool done = w.d && w.g && !nbi_is_tensor(t, f.index);
    if (done) {
        memset(w.d, 0, n * sizeof *w.d);
        memset(w.g, 0, n * sizeof *w.g);
        w.g[f.index].v = nbi_still(t, f.index) ? 0 : 1;
        done = walk_up(&w, f.index, n_in, in, v) && walk_down(&w, f.index);
    }
    for (size_t k = 0; k < n_in && done; k++)
        out[k][0] = in[k].index < n && !nbi_still(t, in[k].index) ? w.g[in[k].index].d : 0;
    nbi_give_back(&t->scratch, scratch);
    return done;
}
