/*
 * L-BFGS: Rosenbrock's valley and ill-conditioned quadratics by both line searches, functions with holes
 * in them, parameters with frozen ones among them, and what is refused.
 */
#include "counting.h"

#include <math.h>

enum { N = 20 };

static nb_code rosenbrock(void *context, const double *x, double *f, double *g)
{
    *(int *)context += 1;
    *f = 0;
    memset(g, 0, N * sizeof *g);
    for (int i = 0; i + 1 < N; i++) {
        const double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        *f += 100 * a * a + b * b;
        g[i] += -400 * a * x[i] - 2 * b;
        g[i + 1] += 200 * a;
    }
    return NB_OK;
}

START_TEST(valley)
{
    double x[N];
    int calls = 0;
    nb_reason why = {""};
    nb_lbfgs_result r;
    for (int i = 0; i < N; i++)
        x[i] = i % 2 ? 1 : -1.2;
    const nb_lbfgs_options o = {.search = (nb_line_search)_i, .iterations = 500};
    const nb_code code = nb_lbfgs(N, x, rosenbrock, &calls, &o, &r, &why);
    ck_assert_msg(code == NB_OK, "%s", why.text);
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol(x[i], 1, 1e-7);
    ck_assert_int_eq(r.calls, calls);
    ck_assert(r.gradient <= 1e-8 && r.f < 1e-14 && r.iterations < 250 && calls < 400);
}
END_TEST

/* 1/2 sum c_i (x_i - i)^2 with c from 1 to 10^4 */
static nb_code quadratic(void *context, const double *x, double *f, double *g)
{
    (void)context;
    *f = 0;
    for (int i = 0; i < N; i++) {
        const double c = pow(10, 4.0 * i / (N - 1)), d = x[i] - i;
        *f += 0.5 * c * d * d;
        g[i] = c * d;
    }
    return NB_OK;
}

START_TEST(bowl)
{
    double x[N] = {0};
    nb_lbfgs_result r;
    const nb_lbfgs_options o = {.search = (nb_line_search)_i, .history = 30, .gradient = 1e-6};
    ck_assert_int_eq(nb_lbfgs(N, x, quadratic, NULL, &o, &r, NULL), NB_OK);
    for (int i = 0; i < N; i++)
        ck_assert_double_eq_tol(x[i], i, 2e-6);
    double y[N] = {0};
    ck_assert_int_eq(
        nb_lbfgs(N, y, quadratic, NULL, &(nb_lbfgs_options){.iterations = 3}, &r, NULL),
        NB_ERR_CONVERGENCE);
    ck_assert(r.iterations == 3 && r.f < 1e6);
    ck_assert_int_eq(nb_lbfgs(N, y, quadratic, NULL, &(nb_lbfgs_options){.calls = 5}, &r, NULL),
                     NB_ERR_CONVERGENCE);
    ck_assert_int_eq(r.calls, 5);
    ck_assert_int_eq(nb_lbfgs(N, y, quadratic, NULL, &(nb_lbfgs_options){.change = 1e-3}, &r, NULL),
                     NB_OK);
}
END_TEST

/* x - log x, which has no value left of 0, scaled so that the first step lands there. */
static nb_code hole(void *context, const double *x, double *f, double *g)
{
    const double scale = *(double *)context;
    *f = x[0] > 0 ? scale * (x[0] - log(x[0])) : (double)NAN;
    g[0] = scale * (1 - 1 / x[0]);
    return NB_OK;
}

START_TEST(holes)
{
    double scale[] = {1e6, 1e6}, x = 1.5, bad = -1;
    const nb_lbfgs_options o = {.search = (nb_line_search)_i, .gradient = 1e-4};
    ck_assert_int_eq(nb_lbfgs(1, &x, hole, scale, &o, NULL, NULL), NB_OK);
    ck_assert_double_eq_tol(x, 1, 1e-9);
    ck_assert_int_eq(nb_lbfgs(1, &bad, hole, scale, &o, NULL, NULL), NB_ERR_ANOMALY);
    ck_assert(bad == -1);
}
END_TEST

static nb_code gives_up(void *context, const double *x, double *f, double *g)
{
    int *left = context;
    *f = x[0] * x[0] * x[0] * x[0];
    g[0] = 4 * x[0] * x[0] * x[0];
    return (*left)-- ? NB_OK : NB_ERR_CALLBACK;
}

/* A slope that lies: f grows wherever one goes. */
static nb_code liar(void *context, const double *x, double *f, double *g)
{
    (void)context;
    *f = fabs(x[0] - 2);
    g[0] = x[0] == 2 ? 1 : -1;
    return NB_OK;
}

START_TEST(refused)
{
    double x = 3, before;
    int left = 4;
    nb_reason why;
    ck_assert_int_eq(nb_lbfgs(1, &x, gives_up, &left, NULL, NULL, &why), NB_ERR_CALLBACK);
    ck_assert(x < 3 && x > 0);
    ck_assert_ptr_nonnull(strstr(why.text, "callback"));
    x = 2;
    ck_assert_int_eq(nb_lbfgs(1, &x, liar, NULL, NULL, NULL, &why), NB_ERR_CONVERGENCE);
    ck_assert_ptr_nonnull(strstr(why.text, "no step brings the function down"));
    before = x;
    ck_assert_int_eq(nb_lbfgs(0, &x, liar, NULL, NULL, NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_lbfgs(1, NULL, liar, NULL, NULL, NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_lbfgs(1, &x, NULL, NULL, NULL, NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_lbfgs(INT64_MAX / 2, &x, liar, NULL, NULL, NULL, NULL), NB_ERR_OVERFLOW);
    const nb_lbfgs_options bad[] = {{.history = -1}, {.iterations = -1},        {.calls = -1},
                                    {.change = -1},  {.gradient = (double)NAN}, {.search = 7}};
    for (int k = 0; k < 6; k++)
        ck_assert_int_eq(nb_lbfgs(1, &x, liar, NULL, &bad[k], NULL, NULL), NB_ERR_ARGUMENT);
    counting c = {.refuse = 1};
    const nb_allocator a = counting_allocator(&c);
    ck_assert_int_eq(nb_lbfgs(1, &x, liar, NULL, &(nb_lbfgs_options){.allocator = &a}, NULL, NULL),
                     NB_ERR_MEMORY);
    ck_assert(x == before && c.blocks == 0);
}
END_TEST

/* ---- over parameters ------------------------------------------------------------------------- */

typedef struct fit {
    nb_params *p;
    nb_tape *t;
} fit;

/* sum (a_i - 2)^2 + (b - 1)^2 + (c + a_0 - b)^2 */
static nb_code loss(void *context, double *f)
{
    fit *m = context;
    nb_mark start = nb_tape_mark(m->t);
    nb_pass pass = nb_training_pass(m->p, m->t, NULL);
    nb_var a = nb_pass_var(&pass, 0), b = nb_pass_var(&pass, 1), c = nb_pass_var(&pass, 2);
    nb_var off = nb_sub(nb_add(c, nb_at(a, 0)), b);
    nb_var sum = nb_add(nb_sum(nb_square(nb_sub(a, 2))), nb_sum(nb_square(nb_sub(b, 1))));
    sum = nb_add(sum, nb_sum(nb_square(off)));
    *f = nb_value(sum);
    const nb_code code = nb_backward(sum);
    nb_rewind(start);
    return code;
}

START_TEST(over_parameters)
{
    fit m = {nb_params_new(&(nb_params_options){.dtype = (nb_dtype)_i}),
             nb_tape_new(&(nb_options){.dtype = (nb_dtype)_i})};
    nb_params_add(m.p, "a", NB_SHAPE(3), NULL, NULL);
    nb_params_add(m.p, "b", NB_SHAPE(1), &(nb_param_options){.frozen = true}, NULL);
    nb_params_add(m.p, "c", NB_SHAPE(1), NULL, NULL);
    nb_reason why = {""};
    const nb_lbfgs_options o = {.gradient = 1e-5};
    ck_assert_msg(nb_lbfgs_params(m.p, loss, &m, &o, NULL, &why) == NB_OK, "%s", why.text);
    double a[3], b, c;
    nb_params_read(m.p, 0, a, 3);
    nb_params_read(m.p, 1, &b, 1);
    nb_params_read(m.p, 2, &c, 1);
    ck_assert(b == 0 && fabs(c + 2) < 1e-4);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq_tol(a[i], 2, 1e-4);
    nb_params_freeze_group(m.p, "", true);
    ck_assert_int_eq(nb_lbfgs_params(m.p, loss, &m, NULL, NULL, NULL), NB_ERR_EMPTY);
    ck_assert_int_eq(nb_lbfgs_params(NULL, loss, &m, NULL, NULL, NULL), NB_ERR_ARGUMENT);
    nb_tape_free(m.t);
    nb_params_free(m.p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("lbfgs");
    tcase_add_loop_test(c, valley, 0, NB_LINE_SEARCHES);
    tcase_add_loop_test(c, bowl, 0, NB_LINE_SEARCHES);
    tcase_add_loop_test(c, holes, 0, NB_LINE_SEARCHES);
    tcase_add_test(c, refused);
    tcase_add_loop_test(c, over_parameters, 0, 2);
    return run_case("lbfgs", c);
}
