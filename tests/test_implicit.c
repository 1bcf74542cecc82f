/*
 * Implicit functions.
 *
 * The gradient of a solution is held to closed forms, to third order; to what a linear equation's
 * solution must be; and to differences of the solver. The solvers are held to each other. Whatever
 * goes wrong, a search that does not converge or a matrix that is singular, is an error that says
 * so in numbers and leaves the tape as it was.
 */
#include "counting.h"
#include "error_is.h"

#include <math.h>

static const nb_solver solvers[] = {NB_SOLVER_AUTO, NB_SOLVER_DENSE, NB_SOLVER_KRYLOV};

/* ---- a cubic --------------------------------------------------------------------------------- */

/* y^3 + x y - 1 */
static nb_var cubic(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_sub(nb_add(nb_powi(y, 3), nb_mul(x[0], y)), 1);
}

/* With q = 3 y^2 + x:  y' = -y / q,  y'' = -(6 y y'^2 + 2 y') / q,  and the third from deriving once
 * more:  q y''' = -(6 y'^3 + 18 y y' y'' + 3 y''). */
static void closed(double x, double *d)
{
    double y = 0.7;
    for (int i = 0; i < 60; i++)
        y -= (y * y * y + x * y - 1) / (3 * y * y + x);
    const double q = 3 * y * y + x;
    d[0] = y;
    d[1] = -y / q;
    d[2] = -(6 * y * d[1] * d[1] + 2 * d[1]) / q;
    d[3] = -(6 * d[1] * d[1] * d[1] + 18 * y * d[1] * d[2] + 3 * d[2]) / q;
}

START_TEST(cubic_to_third_order)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_solution s;
    const nb_implicit_options o = {.name = "cubic", .solver = solvers[_i], .solution = &s};
    double d[4];
    closed(1.3, d);
    nb_var x = nb_input(t, "x", 1.3), y = nb_newton(cubic, NULL, nb_num(1), 1, &x, &o);
    ck_assert_uint_le(nb_count(t), 3); /* x, y, perhaps a number */
    ck_assert_str_eq(nb_inspect(y).op, "cubic");
    ck_assert(!nb_is_tensor(y));
    ck_assert_double_eq_tol(nb_value(y), d[0], 1e-15);
    ck_assert(s.iterations > 2 && s.iterations < 10 && s.residual < 1e-15);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), d[1], 1e-15);
    ck_assert_int_eq(nb_forward(1, &x, NULL), NB_OK);
    ck_assert_double_eq_tol(nb_tangent(y), d[1], 1e-15);
    nb_var dy = nb_derivative(y, x);
    ck_assert_double_eq_tol(nb_value(dy), d[1], 1e-15);
    ck_assert_int_eq(nb_forward(1, &x, NULL), NB_OK);
    ck_assert_double_eq_tol(nb_tangent(dy), d[2], 1e-14);
    nb_var ddy = nb_derivative(dy, x);
    ck_assert_double_eq_tol(nb_value(ddy), d[2], 1e-14);
    ck_assert_int_eq(nb_backward(ddy), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), d[3], 1e-13);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* The same by a value found elsewhere, and as a part of more. */
START_TEST(cubic_given)
{
    nb_tape *t = nb_tape_new(NULL);
    double d[4], h;
    closed(1.3, d);
    nb_var x = nb_input(t, "x", 1.3), y = nb_implicit(cubic, NULL, nb_num(d[0]), 1, &x, NULL);
    nb_var f = nb_mul(nb_square(y), nb_exp(x));
    const double fx = (2 * d[0] * d[1] + d[0] * d[0]) * exp(1.3);
    const double fxx =
        (2 * d[1] * d[1] + 2 * d[0] * d[2] + 4 * d[0] * d[1] + d[0] * d[0]) * exp(1.3);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), fx, 1e-14);
    ck_assert_int_eq(nb_hessian(f, 1, &x, &h), NB_OK);
    ck_assert_double_eq_tol(h, fxx, 1e-13);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* ---- a linear equation ----------------------------------------------------------------------- */

enum { N = 5 };

/* A y - b: y = A^-1 b. */
static nb_var linear(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_sub(nb_matmul(x[0], y), x[1]);
}

static void system_of(double *a, double *b)
{
    nb_rng r = nb_rng_seed(5);
    for (int i = 0; i < N; i++) {
        b[i] = nb_rng_normal(&r);
        for (int j = 0; j < N; j++)
            a[i * N + j] = nb_rng_normal(&r) + (i == j ? 4 : 0);
    }
}

/* Solves A s = b, or A' s = b, by elimination without frills. */
static void eliminate(const double *from, bool transposed, const double *b, double *s)
{
    double a[N][N + 1];
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++)
            a[i][j] = transposed ? from[j * N + i] : from[i * N + j];
        a[i][N] = b[i];
    }
    for (int k = 0; k < N; k++)
        for (int i = 0; i < N; i++)
            for (int j = N; i != k && j >= k; j--)
                a[i][j] -= a[i][k] / a[k][k] * a[k][j];
    for (int i = 0; i < N; i++)
        s[i] = a[i][N] / a[i][i];
}

/* With f = <w, y>:  df/db = A^-T w = l,  df/dA = -l y';  and of <v, df/db> by A:  -m l' with
 * m = A^-1 v, for l' A = w'. */
START_TEST(linear_is_a_solve)
{
    double a[N * N], b[N], y[N], l[N], m[N], g[N * N], w[N], v[N];
    nb_tape *t = nb_tape_new(NULL);
    system_of(a, b);
    for (int i = 0; i < N; i++)
        w[i] = 1.0 / (i + 1), v[i] = i - 1.5;
    eliminate(a, false, b, y);
    eliminate(a, true, w, l);
    eliminate(a, false, v, m);
    const nb_implicit_options o = {.solver = solvers[_i]};
    nb_var x[] = {nb_tensor(t, "A", NB_SHAPE(N, N), a), nb_tensor(t, "b", NB_SHAPE(N), b)};
    nb_var s = nb_newton(linear, NULL, nb_zeros(t, NB_SHAPE(N)), 2, x, &o), db;
    nb_var f = nb_sum(nb_mul(s, nb_constant_tensor(t, NB_SHAPE(N), w)));
    nb_read(s, g, N);
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol(g[i], y[i], 1e-13);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    nb_read_grad(x[1], g, N);
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol(g[i], l[i], 1e-11);
    nb_read_grad(x[0], g, N * N);
    for (int i = 0; i < N * N; i++)
        ck_assert_double_eq_tol(g[i], -l[i / N] * y[i % N], 1e-11);
    ck_assert_int_eq(nb_diff(1, &f, NULL, 1, x + 1, &db), NB_OK);
    ck_assert_int_eq(nb_backward(nb_sum(nb_mul(db, nb_constant_tensor(t, NB_SHAPE(N), v)))), NB_OK);
    nb_read_grad(x[0], g, N * N);
    for (int i = 0; i < N * N; i++)
        ck_assert_double_eq_tol(g[i], -l[i / N] * m[i % N], 1e-10);
    nb_read_grad(x[1], g, N);
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol(g[i], 0, 1e-15);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* ---- a system, against differences of the solver --------------------------------------------- */

/* y + s tanh(W y) - c, with a scalar s, a matrix W and a vector c. */
static nb_var coupled(void *context, nb_var y, const nb_var *x)
{
    const double *gain = context;
    return nb_sub(nb_add(y, nb_mul(nb_mul(*gain, x[0]), nb_tanh(nb_matmul(x[1], y)))), x[2]);
}

static nb_var iteration(void *context, nb_var y, const nb_var *x)
{
    const double *gain = context;
    return nb_sub(x[2], nb_mul(nb_mul(*gain, x[0]), nb_tanh(nb_matmul(x[1], y))));
}

enum { MANY = 1 + N * N + N };

/* Solves at the parameters p and returns the sum of sin of y; x gets the vars. */
static nb_var solve_at(nb_tape *t, const double *p, int way, nb_solver solver, nb_var *x)
{
    double gain = 0.4;
    const nb_implicit_options o = {.context_bytes = sizeof gain,
                                   .solver = solver,
                                   .tolerance = nb_tape_dtype(t) == NB_F64 ? 1e-14 : 1e-6,
                                   .anderson = way == 2 ? 4 : 0};
    nb_var zero = nb_zeros(t, NB_SHAPE(N)), y;
    x[0] = nb_input(t, "s", p[0]);
    x[1] = nb_tensor(t, "W", NB_SHAPE(N, N), p + 1);
    x[2] = nb_tensor(t, "c", NB_SHAPE(N), p + 1 + N * N);
    y = way ? nb_fixed_point(iteration, &gain, zero, 3, x, &o)
            : nb_newton(coupled, &gain, zero, 3, x, &o);
    gain = -1000; /* the node has a copy */
    return nb_sum(nb_sin(y));
}

static void gradient(nb_var f, nb_var *x, double *g)
{
    ck_assert_msg(nb_backward(f) == NB_OK, "%s", nb_message(f.tape));
    g[0] = nb_grad(x[0]);
    nb_read_grad(x[1], g + 1, N * N);
    nb_read_grad(x[2], g + 1 + N * N, N);
}

static void parameters(double *p)
{
    nb_rng r = nb_rng_seed(11);
    for (int i = 0; i < MANY; i++)
        p[i] = (double)(float)(0.6 * nb_rng_normal(&r) + (i == 0));
}

START_TEST(against_differences)
{
    double p[MANY], g[MANY], single[MANY], up[MANY], down[MANY], H[MANY * MANY];
    const int way = _i % 3;
    const nb_solver solver = _i / 3 ? NB_SOLVER_KRYLOV : NB_SOLVER_DENSE;
    nb_tape *t = nb_tape_new(NULL), *f32 = nb_tape_new(&(nb_options){.dtype = NB_F32});
    nb_var x[3], f;
    parameters(p);
    f = solve_at(t, p, way, solver, x);
    gradient(f, x, g);
    ck_assert_msg(nb_hessian(f, 3, x, H) == NB_OK, "%s", nb_message(t));
    f = solve_at(f32, p, way, solver, x);
    gradient(f, x, single);
    for (int j = 0; j < MANY; j++) {
        const double h = 1e-4, at = p[j];
        nb_mark m = nb_tape_mark(t);
        double value[2];
        p[j] = at + h;
        f = solve_at(t, p, way, solver, x);
        value[0] = nb_value(f);
        gradient(f, x, up);
        p[j] = at - h;
        f = solve_at(t, p, way, solver, x);
        value[1] = nb_value(f);
        gradient(f, x, down);
        p[j] = at;
        nb_rewind(m);
        ck_assert_double_eq_tol(g[j], (value[0] - value[1]) / (2 * h), 1e-7);
        ck_assert_double_eq_tol(g[j], single[j], 1e-4);
        for (int i = 0; i < MANY; i++)
            ck_assert_double_eq_tol(H[i * MANY + j], (up[i] - down[i]) / (2 * h), 1e-6);
    }
    ck_assert_str_eq(nb_message(t), "");
    ck_assert_str_eq(nb_message(f32), "");
    nb_tape_free(t);
    nb_tape_free(f32);
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------------------- */

static nb_var no_root(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_add(nb_square(y), x[0]);
}

/* Its derivative by y at y = 0 is 0. */
static nb_var double_root(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_sub(nb_square(y), nb_square(x[0]));
}

/* Two unknowns of which only the sum is determined. */
static nb_var only_the_sum(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_sub(nb_expand(nb_sum(y), NB_SHAPE(2)), x[0]);
}

static nb_var doubled(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_add(nb_mul(2, y), x[0]);
}

static nb_var wrong_shape(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_add(nb_sum(y), x[0]);
}

static nb_var breaks(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_matmul(nb_add(y, x[0]), nb_ones(y.tape, NB_SHAPE(7)));
}

static nb_var captures(void *context, nb_var y, const nb_var *x)
{
    return nb_add(nb_mul(y, *(nb_var *)context), x[0]);
}

static nb_var logarithm(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_log(nb_mul(y, x[0]));
}

START_TEST(not_found)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_solution s = {0};
    nb_implicit_options o = {.name = "hopeless", .solution = &s};
    nb_var x = nb_input(t, "x", 1), pair = nb_ones(t, NB_SHAPE(2)), y;
    const size_t count = nb_count(t);
    y = nb_newton(no_root, NULL, nb_num(1.3), 1, &x, &o);
    ck_assert(!nb_ok(y) && isnan(nb_value(y)));
    ck_assert(s.residual >= 1 && s.iterations > 2);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "the greatest residual is 1"));
    is(t, NB_ERR_CONVERGENCE, "hopeless: no part of Newton's step");
    o.iterations = 2;
    ck_assert(!nb_ok(nb_newton(cubic, NULL, nb_num(100), 1, &x, &o)));
    is(t, NB_ERR_CONVERGENCE, "hopeless: no convergence: after 2 iterations");
    ck_assert_int_eq(s.iterations, 2);
    o.iterations = 0;
    ck_assert(!nb_ok(nb_newton(logarithm, NULL, nb_num(-1), 1, &x, &o)));
    is(t, NB_ERR_CONVERGENCE, "hopeless: the equation is not finite");
    ck_assert(!nb_ok(nb_newton(double_root, NULL, nb_num(0), 1, &x, NULL)));
    is(t, NB_ERR_SINGULAR,
       "newton: the derivative of the equation by its unknowns is singular: "
       "pivot 0 of 1 is 0");
    ck_assert(!nb_ok(nb_newton(only_the_sum, NULL, pair, 1, &x, NULL)));
    is(t, NB_ERR_SINGULAR, "pivot 1 of 2 is 0");
    ck_assert(!nb_ok(nb_fixed_point(doubled, NULL, nb_num(1), 1, &x, &o)));
    is(t, NB_ERR_CONVERGENCE, "hopeless: no convergence: after 1000 iterations");
    o.iterations = 5000;
    ck_assert(!nb_ok(nb_fixed_point(doubled, NULL, nb_num(1), 1, &x, &o)));
    is(t, NB_ERR_CONVERGENCE, "hopeless: the iteration is not finite");
    ck_assert(!nb_ok(nb_implicit(cubic, NULL, nb_num(0.5), 1, &x, NULL)));
    is(t, NB_ERR_ARGUMENT,
       "implicit: y does not solve the equation: the greatest residual is 0.375, "
       "the tolerance 1e-10");
    ck_assert(!nb_ok(nb_implicit(cubic, NULL, nb_num((double)NAN), 1, &x, NULL)));
    is(t, NB_ERR_ARGUMENT, "the greatest residual is nan");
    ck_assert_uint_le(nb_count(t), count);
    ck_assert_int_eq(nb_backward(nb_square(x)), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* y solves the equation, but is no function of x there: an error of the sweep, not of the call. */
static nb_var exponential(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_sub(nb_exp(y), x[0]);
}

static nb_var huge_square(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_mul(1e200, nb_sub(nb_square(y), x[0]));
}

/* Where F is flat the tangent's zero is far beyond reach: from -30, 3e12 away. And |F| may be a
 * number whose square is not. */
START_TEST(found_from_afar)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0.3), y;
    for (double from = -30; from > -130; from -= 30) {
        y = nb_newton(exponential, NULL, nb_num(from), 1, &x, NULL);
        ck_assert_msg(nb_ok(y), "from %g: %s", from, nb_message(t));
        ck_assert_double_eq_tol(nb_value(y), log(0.3), 1e-14);
    }
    nb_var four = nb_input(t, "x", 4);
    y = nb_newton(huge_square, NULL, nb_num(0.1), 1, &four,
                  &(nb_implicit_options){.tolerance = 1e190});
    ck_assert_msg(nb_ok(y), "%s", nb_message(t));
    ck_assert_double_eq_tol(nb_value(y), 2, 1e-14);
    nb_tape_free(t);
}
END_TEST

/* A seed of any size scales the gradient, and a NaN arrives, with every solver. */
START_TEST(seeds_of_any_size)
{
    const double sizes[] = {1e-170, 1e170, (double)NAN};
    for (size_t k = 0; k < 3; k++) {
        nb_tape *t = nb_tape_new(NULL);
        nb_var x = nb_tensor(t, "x", NB_SHAPE(2), (double[]){1.3, 1.3});
        nb_var y = nb_newton(cubic, NULL, nb_ones(t, NB_SHAPE(2)), 1, &x,
                             &(nb_implicit_options){.solver = solvers[_i]});
        const double *seed = (double[]){sizes[k], sizes[k]};
        double d[4], g[2];
        closed(1.3, d);
        nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = &seed});
        ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
        nb_read_grad(x, g, 2);
        if (isnan(sizes[k]))
            ck_assert(isnan(g[0]) && isnan(g[1]));
        else
            ck_assert_double_eq_tol(g[0] / sizes[k], d[1], 1e-10);
        nb_tape_free(t);
    }
}
END_TEST

START_TEST(singular_at_the_solution)
{
    for (int krylov = 0; krylov < 2; krylov++) {
        nb_tape *t = nb_tape_new(NULL);
        const nb_implicit_options o = {.name = "sum", .solver = krylov ? NB_SOLVER_KRYLOV : 0};
        nb_var x = nb_input(t, "x", 3), d;
        nb_var y = nb_implicit(only_the_sum, NULL,
                               nb_constant_tensor(t, NB_SHAPE(2), (double[]){1, 2}), 1, &x, &o);
        nb_var f = nb_at(y, 0);
        const size_t count = nb_count(t);
        const nb_code code = krylov ? NB_ERR_CONVERGENCE : NB_ERR_SINGULAR;
        const char *part = krylov
                               ? "sum: the linear solver did not converge: after"
                               : "sum: the derivative of the equation by its unknowns is singular";
        ck_assert_int_eq(nb_backward(f), code);
        ck_assert_ptr_nonnull(strstr(nb_message(t), "in the reverse rule of sum"));
        is(t, code, part);
        ck_assert_int_eq(nb_diff(1, &f, NULL, 1, &x, &d), code);
        is(t, code, part);
        ck_assert_uint_eq(nb_count(t), count);
        ck_assert_int_eq(nb_backward(nb_square(x)), NB_OK);
        nb_tape_free(t);
    }
}
END_TEST

/* Too few products for the linear solver: the message has the residual. */
START_TEST(too_few_products)
{
    nb_tape *t = nb_tape_new(NULL);
    double a[N * N], b[N];
    system_of(a, b);
    const nb_implicit_options o = {.solver = NB_SOLVER_KRYLOV, .products = 2};
    nb_var x[] = {nb_tensor(t, "A", NB_SHAPE(N, N), a), nb_tensor(t, "b", NB_SHAPE(N), b)};
    ck_assert(!nb_ok(nb_newton(linear, NULL, nb_zeros(t, NB_SHAPE(N)), 2, x, &o)));
    is(t, NB_ERR_CONVERGENCE,
       "newton: the linear solver did not converge: after 2 products the residual is 0.");
    nb_tape_free(t);
}
END_TEST

START_TEST(bad_equations)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), w = nb_input(t, "w", 2), ones = nb_ones(t, NB_SHAPE(3));
    nb_implicit_options o = {.name = "bad"};
    ck_assert(!nb_ok(nb_newton(wrong_shape, NULL, ones, 1, &x, &o)));
    is(t, NB_ERR_SHAPE, "bad: the equation has shape scalar, its unknown [3]");
    ck_assert(!nb_ok(nb_implicit(wrong_shape, NULL, ones, 1, &x, &o)));
    is(t, NB_ERR_SHAPE, "bad: the equation has shape scalar, its unknown [3]");
    ck_assert(!nb_ok(nb_newton(breaks, NULL, ones, 1, &x, &o)));
    ck_assert_ptr_nonnull(strstr(nb_message(t), "in the equation of bad"));
    is(t, NB_ERR_SHAPE, "matmul: ");
    ck_assert(!nb_ok(nb_newton(captures, &w, nb_num(1), 1, &x, &o)));
    is(t, NB_ERR_CALLBACK, "bad: the function uses node 1, \"w\", which varies");
    nb_var fixed = nb_detach(w);
    nb_var y = nb_newton(captures, &fixed, nb_num(1), 1, &x, &o); /* 2 y + x = 0 */
    ck_assert_int_eq(nb_backward(y), NB_OK);
    ck_assert_double_eq(nb_grad(x), -0.5);
    nb_tape_free(t);
}
END_TEST

START_TEST(bad_calls)
{
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), foreign = nb_input(other, "y", 1), number = nb_num(2);
    ck_assert(!nb_ok(nb_newton(NULL, NULL, x, 1, &x, NULL)));
    is(t, NB_ERR_ARGUMENT, "newton: an argument is NULL");
    ck_assert(!nb_ok(nb_fixed_point(cubic, NULL, x, 0, &x, NULL)));
    is(t, NB_ERR_ARGUMENT, "fixed_point: an argument is NULL");
    ck_assert(!nb_ok(nb_implicit(cubic, NULL, x, 1, NULL, NULL)));
    is(t, NB_ERR_ARGUMENT, "implicit: an argument is NULL");
    const nb_implicit_options bad[] = {
        {.iterations = -1},   {.anderson = -1},         {.anderson = 17},
        {.restart = -1},      {.products = -1},         {.tolerance = -1},
        {.context_bytes = 8}, {.solver = (nb_solver)7}, {.linear_tolerance = (double)NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert(!nb_ok(nb_newton(cubic, NULL, nb_num(1), 1, &x, &bad[i])));
        is(t, NB_ERR_ARGUMENT, "newton: an argument is NULL or out of its range");
    }
    ck_assert(!nb_ok(nb_newton(cubic, NULL, foreign, 1, &x, NULL)));
    is(t, NB_ERR_HANDLE, "newton: y is inert, stale or of another tape");
    ck_assert(!nb_ok(nb_newton(cubic, NULL, x, 1, &number, NULL)));
    is(t, NB_ERR_HANDLE, "newton: all x are numbers");
    nb_mark m = nb_tape_mark(t);
    nb_var stale = nb_exp(x);
    nb_rewind(m);
    ck_assert(!nb_ok(nb_newton(cubic, NULL, x, 1, &stale, NULL)));
    is(t, NB_ERR_HANDLE, "newton: operand a is stale");
    ck_assert(!nb_ok(nb_newton(cubic, NULL, stale, 1, &x, NULL)));
    is(t, NB_ERR_HANDLE, "newton: y is inert, stale");
    ck_assert(!nb_ok(nb_newton(cubic, NULL, NB_NONE, 1, &x, NULL)));
    is(t, NB_ERR_HANDLE, "newton: y is inert");
    ck_assert(!nb_ok(nb_newton(cubic, NULL, nb_num(1), 1, &number, NULL)));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

/* ---- manners --------------------------------------------------------------------------------- */

/* Gradients of the sweep before can still be read; recording may be off; anomaly mode stays on, and
 * does not mind what a search tries; one may be found in another's equation. */
static nb_var nested(void *context, nb_var y, const nb_var *x)
{
    nb_var inner = nb_newton(cubic, context, nb_num(1), 1, x, NULL);
    return nb_sub(nb_mul(y, nb_exp(y)), inner);
}

START_TEST(manners)
{
    nb_tape *t = nb_tape_new(NULL);
    double d[4];
    closed(1.3, d);
    nb_var x = nb_input(t, "x", 1.3), f = nb_powi(x, 3);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    nb_var y = nb_newton(cubic, NULL, nb_num(1), 1, &x, NULL);
    ck_assert_double_eq_tol(nb_grad(x), 3 * 1.69, 1e-15);
    const nb_sweep more = {.n_out = 1, .out = &y, .accumulate = true};
    ck_assert(nb_backward_with(&more) == NB_OK && nb_backward_with(&more) == NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), 3 * 1.69 + 2 * d[1], 1e-15);
    nb_set_recording(t, false);
    nb_var still = nb_newton(cubic, NULL, nb_num(1), 1, &x, NULL);
    ck_assert(nb_inspect(still).constant && nb_value(still) == nb_value(y));
    nb_set_recording(t, true);
    nb_set_anomaly(t, true);
    nb_var w =
        nb_newton(logarithm, NULL, nb_num(3.5), 1, &x, NULL); /* the first step leaves y > 0 */
    ck_assert_str_eq(nb_message(t), "");
    ck_assert_double_eq_tol(nb_value(w), 1 / 1.3, 1e-15);
    ck_assert_int_eq(nb_backward(w), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), -1 / 1.69, 1e-15);
    nb_log(nb_sub(x, x));
    is(t, NB_ERR_ANOMALY, "log");
    nb_set_anomaly(t, false);
    nb_var z = nb_newton(nested, NULL, nb_num(0.5), 1, &x, NULL);
    const double at = nb_value(z), slope = d[1] / (exp(at) * (1 + at));
    ck_assert_double_eq_tol(at * exp(at), d[0], 1e-15);
    ck_assert_int_eq(nb_backward(z), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), slope, 1e-15);
    ck_assert_int_eq(nb_backward(nb_derivative(z, x)), NB_OK);
    const double q = exp(at) * (1 + at), dq = exp(at) * (2 + at) * slope;
    ck_assert_double_eq_tol(nb_grad(x), (d[2] - dq * slope) / q, 1e-14);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* Unknowns without number, and a matrix of them. */
static nb_var shifted(void *context, nb_var y, const nb_var *x)
{
    (void)context;
    return nb_sub(nb_add(y, nb_mul(0.1, nb_powi(y, 3))), x[0]);
}

START_TEST(shapes)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var none = nb_tensor(t, "none", NB_SHAPE(0, 3), NULL), y;
    for (int i = 0; i < 3; i++) {
        const nb_implicit_options o = {.solver = solvers[i]};
        y = nb_newton(shifted, NULL, none, 1, &none, &o);
        ck_assert_int_eq(nb_dim(y, 1), 3);
        ck_assert_int_eq(nb_backward(nb_sum(y)), NB_OK);
        nb_var x = nb_leaf("x", nb_full(t, NB_SHAPE(2, 3), 1.1));
        y = nb_newton(shifted, NULL, x, 1, &x, &o);
        ck_assert_int_eq(nb_dim(y, 0), 2);
        ck_assert_double_eq_tol(((const double *)nb_data(y))[5], 1, 1e-15);
        ck_assert_int_eq(nb_backward(nb_sum(y)), NB_OK);
        ck_assert_double_eq_tol(((const double *)nb_grad_data(x))[5], 1 / 1.3, 1e-11);
    }
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* A chain of many unknowns, each seeing its neighbours: no matrix is made. Its gradient agrees with
 * the dense solver's. */
static nb_var chain(void *context, nb_var y, const nb_var *x)
{
    const int64_t n = nb_size(y);
    (void)context;
    nb_var left = nb_pad(nb_slice(y, 0, 0, n - 1, 1), 0, 1, 0, 0);
    nb_var right = nb_pad(nb_slice(y, 0, 1, n, 1), 0, 0, 1, 0);
    nb_var bend = nb_sub(nb_mul(2.5, y), nb_add(left, nb_mul(0.5, right)));
    return nb_sub(nb_add(bend, nb_powi(y, 3)), x[0]);
}

START_TEST(many_unknowns)
{
    enum { LONG = 400 };
    nb_tape *t = nb_tape_new(NULL);
    double g[2][LONG], up[LONG];
    nb_rng r = nb_rng_seed(3);
    nb_var x = nb_leaf("x", nb_uniform(t, NB_SHAPE(LONG), 0, 2, &r));
    for (int k = 0; k < 2; k++) {
        const nb_implicit_options o = {.solver = k ? NB_SOLVER_DENSE : NB_SOLVER_AUTO};
        const size_t used = nb_tape_used(t);
        nb_var y = nb_newton(chain, NULL, nb_zeros(t, NB_SHAPE(LONG)), 1, &x, &o);
        ck_assert(k || nb_tape_used(t) - used < (size_t)100 * LONG);
        ck_assert_msg(nb_backward(nb_sum(nb_square(y))) == NB_OK, "%s", nb_message(t));
        nb_read_grad(x, g[k], LONG);
        nb_read(y, up, LONG);
    }
    for (int i = 0; i < LONG; i++)
        ck_assert_double_eq_tol(g[0][i], g[1][i], 1e-9);
    nb_tape_free(t);
}
END_TEST

/* Anderson's acceleration needs a fraction of the steps. */
START_TEST(anderson)
{
    double p[MANY];
    int count[2];
    parameters(p);
    for (int way = 0; way < 2; way++) {
        nb_tape *t = nb_tape_new(NULL);
        nb_solution s;
        double gain = 1.2;
        const nb_implicit_options o = {.anderson = way ? 5 : 0, .solution = &s};
        nb_var x[] = {nb_input(t, "s", p[0]), nb_tensor(t, "W", NB_SHAPE(N, N), p + 1),
                      nb_tensor(t, "c", NB_SHAPE(N), p + 1 + N * N)};
        nb_var y = nb_fixed_point(iteration, &gain, nb_zeros(t, NB_SHAPE(N)), 3, x, &o);
        ck_assert_msg(nb_ok(y), "%s", nb_message(t));
        ck_assert(s.residual <= 1e-10);
        count[way] = s.iterations;
        nb_tape_free(t);
    }
    ck_assert_int_lt(2 * count[1], count[0]);
}
END_TEST

/* The LU factors are made once, whatever the number of sweeps: the equation is not asked again. */
static nb_var counted(void *context, nb_var y, const nb_var *x)
{
    ++*(int *)context;
    return shifted(NULL, y, x);
}

START_TEST(steady_memory)
{
    counting c = {0};
    size_t after = 0;
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = counting_allocator(&c)});
    nb_mark m = nb_tape_mark(t);
    for (int turn = 0; turn < 10; turn++) {
        int calls = 0, first;
        nb_var x = nb_leaf("x", nb_full(t, NB_SHAPE(6), 1.1));
        nb_var y = nb_newton(counted, &calls, x, 1, &x, NULL), f = nb_sum(y);
        const size_t count = nb_count(t);
        ck_assert_int_eq(nb_backward(f), NB_OK);
        first = calls;
        ck_assert_int_eq(nb_backward(f), NB_OK);
        ck_assert_int_le(calls - first, 2);
        ck_assert_uint_eq(nb_count(t), count);
        nb_rewind(m);
        after = turn == 1 ? c.calls : after;
    }
    ck_assert_uint_eq(c.calls, after);
    nb_tape_free(t);
}
END_TEST

/* With the k-th request for memory refused, an error or the result; and the tape goes on. */
START_TEST(without_memory)
{
    bool through = false;
    for (size_t k = 1; k < 400 && !through; k++) {
        counting c = {0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 8, .bytes = 64});
        const nb_implicit_options o = {.solver = _i ? NB_SOLVER_KRYLOV : NB_SOLVER_DENSE};
        nb_var x = nb_leaf("x", nb_full(t, NB_SHAPE(40), 1.1));
        c.refuse = c.calls + k;
        nb_var y = nb_newton(shifted, NULL, x, 1, &x, &o);
        nb_code code = nb_ok(y) ? nb_backward(nb_sum(y)) : NB_ERR_MEMORY;
        ck_assert(code == nb_status(t) || c.refusals);
        through = !c.refusals;
        c.refuse = 0;
        nb_clear(t);
        y = nb_newton(shifted, NULL, x, 1, &x, &o);
        ck_assert_int_eq(nb_backward(nb_sum(y)), NB_OK);
        ck_assert_double_eq_tol(((const double *)nb_grad_data(x))[7], 1 / 1.3, 1e-11);
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(through);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("implicit");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, cubic_to_third_order, 0, 3);
    tcase_add_test(c, cubic_given);
    tcase_add_loop_test(c, linear_is_a_solve, 0, 3);
    tcase_add_loop_test(c, against_differences, 0, 6);
    tcase_add_test(c, not_found);
    tcase_add_test(c, found_from_afar);
    tcase_add_loop_test(c, seeds_of_any_size, 0, 3);
    tcase_add_test(c, singular_at_the_solution);
    tcase_add_test(c, too_few_products);
    tcase_add_test(c, bad_equations);
    tcase_add_test(c, bad_calls);
    tcase_add_test(c, manners);
    tcase_add_test(c, shapes);
    tcase_add_test(c, many_unknowns);
    tcase_add_test(c, anderson);
    tcase_add_test(c, steady_memory);
    tcase_add_loop_test(c, without_memory, 0, 2);
    return run_case("implicit", c);
}
