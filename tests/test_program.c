/*
 * Programs say what the tape says: every row of the table, every function of many scalars and composite
 * functions are frozen, differentiated and replayed, and value and derivatives are held to what the tape
 * computes for each lane by itself, at ordinary points and at hard ones.
 */
#include "error_is.h"
#include "program.h"

#include "ops/elementwise.h"
#include "program/program.h"

enum { LANES = 203 };

static nb_var row_of(const nb_var *x, int which) { return nbi_row_call((enum nbi_row)which, x); }

/* Lane l's operand k of a row: in its range; at both ends and beyond in the first few lanes. */
static double sample(const double *range, size_t k, int l)
{
    static const double hard[] = {0,           -0.0, 1,  -1, (double)INFINITY, -(double)INFINITY,
                                  (double)NAN, 0.5,  40, -40};
    const int n = sizeof hard / sizeof *hard;
    if (range[2 * k] == range[2 * k + 1])
        return range[2 * k];
    if (l < n * n)
        return k == 0 ? hard[l % n] : k == 1 ? hard[l / n] : hard[(l + 3) % n];
    return range[2 * k] +
           (range[2 * k + 1] - range[2 * k]) * (0.5 + 0.5 * sin(1.7 * l + (double)k));
}

typedef struct comparison {
    const char *name;
    recorded_fn *f;
    int which;
    size_t n;
    const double *x; /* [LANES, n] */
    double scale,
        ulps; /* the error allowed, in units of the last place of what is compared or of scale */
} comparison;

/* Runs the gradient program of f and compares each lane with a tape of its own. */
static void agree_with_tape(const comparison *c, bool strict)
{
    static double y[LANES], d[LANES * PROGRAM_MOST];
    nb_program *p = program_freeze(c->f, c->which, c->n, c->x + (LANES - 1) * c->n, strict);
    nb_reason why = {""};
    nb_program *g = nb_program_gradient(p, NULL, &why);
    ck_assert_msg(g != NULL, "%s: %s", c->name, why.text);
    nb_replay r = {.lanes = LANES,
                   .in = &(nb_lanes){.data = (double *)c->x},
                   .out = (nb_lanes[]){{.data = y}, {.data = d}}};
    ck_assert_msg(nb_program_run(g, &r, &why) == NB_OK, "%s: %s", c->name, why.text);
    nb_tape *t = nb_tape_new(NULL);
    for (int l = 0; l < LANES; l++) {
        nb_var v[PROGRAM_MOST];
        nb_reset(t);
        nb_var f = program_record(t, c->f, c->which, c->n, c->x + (size_t)l * c->n, v);
        ck_assert(nb_backward(f) == NB_OK);
        ck_assert_msg(program_near(y[l], nb_value(f), c->scale, c->ulps),
                      "%s, lane %d at %g %g: %.17g, not %.17g", c->name, l, c->x[(size_t)l * c->n],
                      c->n > 1 ? c->x[(size_t)l * c->n + 1] : 0, y[l], nb_value(f));
        for (size_t k = 0; k < c->n; k++)
            ck_assert_msg(program_near(d[(size_t)l * c->n + k], nb_grad(v[k]), c->scale, c->ulps),
                          "%s, lane %d at %g %g: slope %zu is %.17g, not %.17g", c->name, l,
                          c->x[(size_t)l * c->n], c->n > 1 ? c->x[(size_t)l * c->n + 1] : 0, k,
                          d[(size_t)l * c->n + k], nb_grad(v[k]));
    }
    nb_tape_free(t);
    nb_program_free(g);
    nb_program_free(p);
}

START_TEST(every_row_agrees_with_the_tape)
{
    static double x[LANES * 3];
    for (int row = 0; row < NBI_ROWS; row++) {
        const size_t n = (size_t)nbi_rows[row].arity;
        for (int l = 0; l < LANES; l++)
            for (size_t k = 0; k < n; k++)
                x[(size_t)l * n + k] = sample(nbi_rows[row].range, k, l);
        /* the kernels' own accuracy and that of slopes that are sums is in test_lanes and test_table */
        const comparison c = {nbi_rows[row].name, row_of, row, n, x, 0, 64};
        agree_with_tape(&c, false);
        agree_with_tape(&c, true);
    }
}
END_TEST

/* ---- functions of many scalars ----------------------------------------------------------------- */

enum { MANY = 12 };

static const double coefficients[MANY] = {1, -2, 0.5, 3, 0, 1.5, -1, 2, 0.25, -0.75, 4, 1};

static nb_var many(const nb_var *x, int which)
{
    switch (which) {
    case 0: return nb_sum_of(MANY, x);
    case 1: return nb_mean_of(MANY, x);
    case 2: return nb_dot_of(MANY / 2, x, x + MANY / 2);
    case 3: return nb_combine_of(MANY, coefficients, x);
    case 4: return nb_logsumexp_of(MANY, x);
    case 5: return nb_norm_of(MANY, x);
    case 6: return nb_max_of(MANY, x);
    case 7: return nb_min_of(MANY, x);
    default: return nb_maxout_of(3, 2, x, x + 6, x + 9); /* w [3 2], b [3], x [2] */
    }
}

START_TEST(functions_of_many_agree_with_the_tape)
{
    static double x[LANES * MANY];
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < MANY; k++) /* small whole numbers: ties, and exact sums */
            x[l * MANY + k] = l < 40 ? (l * 7 + k * 5) % 5 - 2 : 3 * sin(l + 0.7 * k);
    for (int k = 0; k < MANY; k++) {
        x[k] = 0;                                       /* norm at the origin, all tied */
        x[MANY + k] = -(double)INFINITY;                        /* logsumexp of nothing */
        x[2 * MANY + k] = k ? -1e5 : (double)INFINITY;  /* and of everything */
        x[3 * MANY + k] = k % 3 ? 1 : (double)INFINITY; /* infinite ties */
        x[4 * MANY + k] = k == 5 ? (double)NAN : k;     /* NaN stays */
        x[5 * MANY + k] = 1e200;                        /* norm without overflow */
        x[6 * MANY + k] = 1e-200;                       /* and underflow */
    }
    for (int f = 0; f < 9; f++) {
        /* What the two disagree on by design is left out: inf - inf and 0 inf inside sums */
        static double own[LANES * MANY];
        memcpy(own, x, sizeof own);
        for (int l = 0; l < 7; l++)
            if ((f != 4 && f != 6 && f != 7 && (l == 1 || l == 2 || l == 3)) || (f == 8 && l == 4))
                memcpy(own + l * MANY, x + 50 * MANY, MANY * sizeof *x);
        const comparison c = {"function of many", many, f, MANY, own, 4, 64};
        agree_with_tape(&c, false);
        agree_with_tape(&c, true);
    }
}
END_TEST

/* ---- composite functions, all kinds of derivatives --------------------------------------------- */

enum { WIDE = 5 };

static nb_var composite(const nb_var *x, int which)
{
    nb_var s = nb_sin(nb_mul(x[0], x[1])), u = nb_div(x[2], nb_add(2, nb_square(x[3])));
    nb_var v = nb_sub(nb_mul(s, u), nb_exp(nb_neg(nb_square(x[4]))));
    nb_var w = nb_fma(v, x[0], nb_mul(u, nb_sub(x[1], nb_neg(x[2]))));
    switch (which) {
    case 0: return nb_add(nb_mul(w, w), nb_sigmoid(v));
    case 1: return nb_logaddexp(nb_mul(w, x[4]), nb_softplus(s));
    case 2: return nb_where(nb_gt(x[0], x[1]), nb_mul(w, v), nb_div(v, nb_add(2, nb_square(w))));
    default:
        return nb_sub(nb_sub(nb_mul(x[0], x[1]), nb_mul(x[2], x[3])), nb_mul(x[0], nb_neg(x[4])));
    }
}

static void spread_points(double *x)
{
    for (int l = 0; l < LANES; l++)
        for (int k = 0; k < WIDE; k++)
            x[l * WIDE + k] = 1.5 * sin(0.37 * l + 1.3 * k + 0.01 * l * k);
}

START_TEST(gradients_of_composites_agree_with_the_tape)
{
    static double x[LANES * WIDE];
    spread_points(x);
    for (int f = 0; f < 4; f++) {
        const comparison c = {"composite", composite, f, WIDE, x, 4, 64};
        agree_with_tape(&c, false);
        agree_with_tape(&c, true);
    }
}
END_TEST

/* Jacobian of two composites and Hessian of one, against the tape's. */
START_TEST(matrices_agree_with_the_tape)
{
    static double x[LANES * WIDE], y[LANES * 2], j[LANES * 2 * WIDE], f[LANES], g[LANES * WIDE],
        h[LANES * WIDE * WIDE], only[LANES * WIDE];
    spread_points(x);
    nb_tape *t = nb_tape_new(NULL);
    nb_var v[WIDE], out[2];
    for (int k = 0; k < WIDE; k++)
        v[k] = nb_input(t, NULL, 0.3 * k);
    out[0] = composite(v, 0);
    out[1] = composite(v, 1);
    const nb_argument in = {.name = "x", .count = WIDE, .var = v};
    nb_program *two =
        nb_freeze(&(nb_recipe){.n_in = 1,
                               .in = &in,
                               .n_out = 1,
                               .out = &(nb_argument){.name = "y", .count = 2, .var = out}});
    nb_program *one =
        nb_freeze(&(nb_recipe){.n_in = 1,
                               .in = &in,
                               .n_out = 1,
                               .out = &(nb_argument){.name = "y", .count = 1, .var = out}});
    nb_program *jacobian = nb_program_jacobian(two, NULL, NULL);
    nb_program *hessian = nb_program_hessian(one, NULL, false, NULL);
    nb_program *diagonal = nb_program_hessian(one, NULL, true, NULL);
    ck_assert(jacobian && hessian && diagonal);
    const nb_lanes points = {.data = x};
    ck_assert(!nb_program_run(
        jacobian,
        &(nb_replay){.lanes = LANES, .in = &points, .out = (nb_lanes[]){{.data = y}, {.data = j}}},
        NULL));
    ck_assert(
        !nb_program_run(hessian,
                        &(nb_replay){.lanes = LANES,
                                     .in = &points,
                                     .out = (nb_lanes[]){{.data = f}, {.data = g}, {.data = h}}},
                        NULL));
    ck_assert(
        !nb_program_run(diagonal,
                        &(nb_replay){.lanes = LANES,
                                     .in = &points,
                                     .out = (nb_lanes[]){{.data = f}, {.data = g}, {.data = only}}},
                        NULL));
    double worst = 0;
    for (int l = 0; l < LANES; l += 7) {
        double jt[2 * WIDE], ht[WIDE * WIDE];
        nb_reset(t);
        for (int k = 0; k < WIDE; k++)
            v[k] = nb_input(t, NULL, x[l * WIDE + k]);
        out[0] = composite(v, 0);
        out[1] = composite(v, 1);
        ck_assert(!nb_jacobian(2, out, WIDE, v, NB_JACOBIAN_AUTO, jt));
        ck_assert(!nb_hessian(out[0], WIDE, v, ht));
        for (int k = 0; k < 2 * WIDE; k++)
            worst = fmax(worst, fabs(jt[k] - j[l * 2 * WIDE + k]) / (1 + fabs(jt[k])));
        for (int r = 0; r < WIDE; r++)
            for (int c = 0; c < WIDE; c++) {
                const double a = h[(l * WIDE + r) * WIDE + c];
                ck_assert(a == h[(l * WIDE + c) * WIDE + r]);
                worst = fmax(worst, fabs(ht[r * WIDE + c] - a) / (1 + fabs(a)));
                if (r == c)
                    worst = fmax(worst, fabs(only[l * WIDE + r] - a) / (1 + fabs(a)));
            }
    }
    ck_assert_msg(worst < 1e-12, "%g apart", worst);
    nb_program_free(two);
    nb_program_free(one);
    nb_program_free(jacobian);
    nb_program_free(hessian);
    nb_program_free(diagonal);
    nb_tape_free(t);
}
END_TEST

/* <u, J v> = <J^T u, v>, and J v, J^T u are what J says. */
START_TEST(products_with_the_jacobian_are_transposed)
{
    static double x[LANES * WIDE], y[LANES], g[LANES * WIDE], v[LANES * WIDE], u[LANES], jv[LANES],
        ju[LANES * WIDE];
    spread_points(x);
    for (int k = 0; k < LANES * WIDE; k++)
        v[k] = cos(0.9 * k);
    for (int l = 0; l < LANES; l++)
        u[l] = sin(1.1 * l) - 0.2;
    nb_program *p = program_freeze(composite, 0, WIDE, x, false);
    nb_program *grad = nb_program_gradient(p, NULL, NULL), *vjp = nb_program_vjp(p, NULL, NULL),
               *jvp = nb_program_jvp(p, NULL, NULL);
    ck_assert(grad && vjp && jvp);
    ck_assert_str_eq(nb_program_in(vjp, 1).name, "u y");
    ck_assert_str_eq(nb_program_out(vjp, 0).name, "d x");
    ck_assert_str_eq(nb_program_in(jvp, 1).name, "v x");
    ck_assert_str_eq(nb_program_out(jvp, 0).name, "t y");
    nb_replay r = {.lanes = LANES,
                   .in = (nb_lanes[]){{.data = x}, {.data = u}},
                   .out = (nb_lanes[]){{.data = y}, {.data = g}}};
    ck_assert(!nb_program_run(grad, &r, NULL));
    r.out = (nb_lanes[]){{.data = ju}};
    ck_assert(!nb_program_run(vjp, &r, NULL));
    r.in = (nb_lanes[]){{.data = x}, {.data = v}};
    r.out = (nb_lanes[]){{.data = jv}};
    ck_assert(!nb_program_run(jvp, &r, NULL));
    double worst = 0;
    for (int l = 0; l < LANES; l++) {
        double s = 0, size = 1;
        for (int k = 0; k < WIDE; k++) {
            s += g[l * WIDE + k] * v[l * WIDE + k];
            size += fabs(g[l * WIDE + k]);
            worst = fmax(worst, fabs(ju[l * WIDE + k] - u[l] * g[l * WIDE + k]) / size);
        }
        worst = fmax(worst, fabs(s - jv[l]) / size);
    }
    ck_assert_msg(worst < 1e-13, "%g apart", worst);
    nb_program_free(p);
    nb_program_free(grad);
    nb_program_free(vjp);
    nb_program_free(jvp);
}
END_TEST

/* What a branch not taken would have had for a slope, even an infinite one, is in no derivative. */
static nb_var untaken(const nb_var *x, int which)
{
    switch (which) {
    case 0: return nb_where(nb_gt(x[0], 0), nb_sqrt(x[0]), x[1]);
    case 1: return nb_where(nb_le(x[0], 0), x[1], nb_log(x[0]));
    case 2: return nb_add(nb_max(nb_sqrt(x[0]), 1), x[1]);
    case 3: return nb_add(nb_min(nb_sqrt(x[0]), -1), x[1]);
    case 4: return nb_add(nb_clamp(nb_sqrt(x[0]), 1, 2), x[1]);
    default: return nb_add(nb_relu(nb_sub(nb_sqrt(x[0]), 1)), x[1]);
    }
}

START_TEST(branches_not_taken_are_in_no_derivative)
{
    const double at[2] = {0, 0}, v[2] = {1, 1};
    for (int which = 0; which < 6; which++) {
        double f, g[2] = {7, 7}, h[4] = {7, 7, 7, 7}, t = 7;
        nb_program *p = program_freeze(untaken, which, 2, at, false);
        nb_program *hessian = nb_program_hessian(p, NULL, false, NULL);
        nb_program *jvp = nb_program_jvp(p, NULL, NULL);
        nb_replay r = {.lanes = 1,
                       .in = (nb_lanes[]){{.data = (double *)at}, {.data = (double *)v}},
                       .out = (nb_lanes[]){{.data = &f}, {.data = g}, {.data = h}}};
        ck_assert(nb_program_run(hessian, &r, NULL) == NB_OK);
        r.out = &(nb_lanes){.data = &t};
        ck_assert(nb_program_run(jvp, &r, NULL) == NB_OK);
        ck_assert_msg(g[0] == 0 && g[1] == 1, "%d: gradient %g %g", which, g[0], g[1]);
        ck_assert_msg(t == 1, "%d: along (1, 1) %g", which, t);
        ck_assert_msg(h[0] == 0 && h[1] == 0 && h[2] == 0 && h[3] == 0, "%d: Hessian %g %g %g %g",
                      which, h[0], h[1], h[2], h[3]);
        nb_program_free(hessian);
        nb_program_free(jvp);
        nb_program_free(p);
    }
}
END_TEST

START_TEST(names_of_derivatives_are_whole)
{
    char name[300];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), y = nb_exp(x);
    nb_program *p =
        nb_freeze(&(nb_recipe){.n_in = 1,
                               .in = &(nb_argument){.name = name, .count = 1, .var = &x},
                               .n_out = 1,
                               .out = &(nb_argument){.count = 1, .var = &y}});
    nb_program *g = nb_program_gradient(p, NULL, NULL), *u = nb_program_vjp(g, NULL, NULL);
    const char *seed = nb_program_in(u, 2).name;
    ck_assert_str_eq(nb_program_in(u, 1).name, "u ");
    ck_assert(!strncmp(seed, "u d ", 4) && !strcmp(seed + 4, name));
    nb_program_free(u);
    nb_program_free(g);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- what freezing leaves out ------------------------------------------------------------------- */

static nb_program *freeze_one(nb_tape *t, size_t n, const nb_var *x, nb_var y)
{
    nb_program *p =
        nb_freeze(&(nb_recipe){.n_in = 1,
                               .in = &(nb_argument){.name = "x", .count = n, .var = x},
                               .n_out = 1,
                               .out = &(nb_argument){.name = "y", .count = 1, .var = &y}});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    return p;
}

START_TEST(equal_terms_are_shared_constants_folded_dead_code_dropped)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), c = nb_constant(t, 3);
    nb_var a = nb_exp(nb_mul(x, nb_add(c, nb_mul(c, c)))); /* exp(x 12) */
    nb_var b = nb_exp(nb_mul(12, x));                      /* the same, spelled otherwise */
    nb_sin(a);                                             /* nobody asks for it */
    nb_program *p = freeze_one(t, 1, &x, nb_add(a, nb_mul(b, 1)));
    nb_program_info i = nb_program_inspect(p);
    ck_assert_uint_eq(i.ops, 3); /* mul, exp, add */
    ck_assert_uint_ge(i.recorded, 5);
    nb_program_free(p);
    nb_var y = nb_neg(nb_neg(nb_sub(nb_div(x, 1), 0)));
    p = freeze_one(t, 1, &x, y);
    ck_assert_uint_eq(nb_program_inspect(p).ops, 0);
    nb_program_free(p);
    p = freeze_one(t, 1, &x, nb_add(x, 0)); /* not x, for -0 */
    ck_assert_uint_eq(nb_program_inspect(p).ops, 1);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* The minors of a determinant by expansion are few, however often the recursion comes by. */
static nb_var minor_of(const nb_var *a, int n, int row, unsigned taken)
{
    nb_var s = nb_num(0);
    int sign = 1;
    for (int c = 0; c < n; c++) {
        if (taken >> c & 1)
            continue;
        nb_var term = row == n - 1
                          ? a[row * n + c]
                          : nb_mul(a[row * n + c], minor_of(a, n, row + 1, taken | 1U << c));
        s = sign > 0 ? nb_add(s, term) : nb_sub(s, term);
        sign = -sign;
    }
    return s;
}

START_TEST(recursion_collapses)
{
    enum { SIDE = 5 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var a[SIDE * SIDE];
    for (int k = 0; k < SIDE * SIDE; k++)
        a[k] = nb_input(t, NULL, cos(k));
    nb_program *p = freeze_one(t, SIDE * SIDE, a, minor_of(a, SIDE, 0, 0));
    /* n 2^(n-1) products of an entry and a minor, less those of the last row, and their sums */
    ck_assert_uint_lt(nb_program_inspect(p).ops, 2 * SIDE << (SIDE - 1));
    ck_assert_uint_gt(nb_program_inspect(p).recorded, 200);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

START_TEST(what_cannot_be_frozen_is_named)
{
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), w = nb_input(t, "w", 1), far = nb_input(other, "far", 1);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){1, 2});
    nb_var stacked = nb_sum(nb_mul(x, v)), y = nb_mul(x, w), inner = nb_sin(x);
    struct {
        nb_var in, out;
        nb_code code;
        const char *part;
    } cases[] = {
        {x, y, NB_ERR_ARGUMENT, "not among the program's inputs"},
        {x, nb_add(stacked, x), NB_ERR_SHAPE, "scalar"},
        {x, v, NB_ERR_SHAPE, "is a tensor"},
        {v, inner, NB_ERR_SHAPE, "is a tensor"},
        {inner, nb_exp(inner), NB_ERR_ARGUMENT, "is not an input"},
        {far, inner, NB_ERR_HANDLE, "another tape"},
        {nb_num(2), inner, NB_ERR_HANDLE, "is a number"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        nb_program *p = nb_freeze(
            &(nb_recipe){.n_in = 1,
                         .in = &(nb_argument){.name = "in", .count = 1, .var = &cases[k].in},
                         .n_out = 1,
                         .out = &(nb_argument){.name = "out", .count = 1, .var = &cases[k].out}});
        ck_assert(p == NULL);
        is(t, cases[k].code, cases[k].part);
    }
    const nb_var twice[2] = {x, x};
    ck_assert(!nb_freeze(&(nb_recipe){.n_in = 1,
                                      .in = &(nb_argument){.name = "in", .count = 2, .var = twice},
                                      .n_out = 1,
                                      .out = &(nb_argument){.count = 1, .var = &inner}}));
    is(t, NB_ERR_ARGUMENT, "given twice");
    nb_mark m = nb_tape_mark(t);
    nb_var gone = nb_cos(x);
    nb_rewind(m);
    ck_assert(
        !nb_freeze(&(nb_recipe){.n_in = 1,
                                .in = &(nb_argument){.name = "in", .count = 1, .var = &x},
                                .n_out = 1,
                                .out = &(nb_argument){.name = "y", .count = 1, .var = &gone}}));
    is(t, NB_ERR_HANDLE, "is stale");
    ck_assert(!nb_freeze(NULL));
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

START_TEST(what_cannot_be_derived_is_told)
{
    nb_reason why;
    const double at[WIDE] = {1, 2, 3, 4, 5};
    nb_program *p = program_freeze(composite, 0, WIDE, at, false);
    nb_program *vjp = nb_program_vjp(p, NULL, NULL);
    ck_assert(!nb_program_gradient(NULL, NULL, &why) && strstr(why.text, "NULL"));
    ck_assert(!nb_program_gradient(p, (bool[]){false}, &why) && strstr(why.text, "no input"));
    ck_assert(!nb_program_gradient(vjp, NULL, &why) && strstr(why.text, "one element"));
    ck_assert(!nb_program_hessian(vjp, NULL, false, &why) && strstr(why.text, "computes 5"));
    nb_program_free(vjp);
    nb_program_free(p);
    nb_program_free(NULL);
}
END_TEST

/* Everything made of programs, with the k-th request for memory refused, for every k. */
START_TEST(out_of_memory_anywhere_loses_nothing)
{
    counting c = {0};
    const nb_allocator a = counting_allocator(&c);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[WIDE], y;
    double xs[3 * WIDE], f[3], d[3 * WIDE], h[3 * WIDE * WIDE];
    for (int k = 0; k < WIDE; k++)
        x[k] = nb_input(t, NULL, 0.2 * k);
    y = nb_add(composite(x, 2), nb_logsumexp_of(WIDE, x));
    for (int k = 0; k < 3 * WIDE; k++)
        xs[k] = 0.1 * k - 0.5;
    bool refused = true;
    for (size_t k = 1; refused; k++) {
        c = (counting){.refuse = k, .for_ever = k % 2};
        nb_reason why = {""};
        nb_program *p =
            nb_freeze(&(nb_recipe){.n_in = 1,
                                   .in = &(nb_argument){.name = "x", .count = WIDE, .var = x},
                                   .n_out = 1,
                                   .out = &(nb_argument){.name = "y", .count = 1, .var = &y},
                                   .allocator = &a});
        nb_program *q = p ? nb_program_hessian(p, NULL, false, &why) : NULL;
        const nb_code ran =
            q ? nb_program_run(
                    q,
                    &(nb_replay){.lanes = 3,
                                 .in = &(nb_lanes){.data = xs},
                                 .out = (nb_lanes[]){{.data = f}, {.data = d}, {.data = h}}},
                    &why)
              : NB_ERR_MEMORY;
        refused = c.refusals > 0;
        if (!p)
            is(t, NB_ERR_MEMORY, "memory");
        else if (!q || ran)
            ck_assert_msg(strstr(why.text, "memory") != NULL, "%s", why.text);
        ck_assert(refused == (ran != NB_OK));
        nb_program_free(q);
        nb_program_free(p);
        ck_assert_uint_eq(c.blocks, 0);
    }
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("programs");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, every_row_agrees_with_the_tape);
    tcase_add_test(c, functions_of_many_agree_with_the_tape);
    tcase_add_test(c, gradients_of_composites_agree_with_the_tape);
    tcase_add_test(c, matrices_agree_with_the_tape);
    tcase_add_test(c, products_with_the_jacobian_are_transposed);
    tcase_add_test(c, branches_not_taken_are_in_no_derivative);
    tcase_add_test(c, names_of_derivatives_are_whole);
    tcase_add_test(c, equal_terms_are_shared_constants_folded_dead_code_dropped);
    tcase_add_test(c, recursion_collapses);
    tcase_add_test(c, what_cannot_be_frozen_is_named);
    tcase_add_test(c, what_cannot_be_derived_is_told);
    tcase_add_test(c, out_of_memory_anywhere_loses_nothing);
    return run_case("program", c);
}
