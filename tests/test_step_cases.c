/*
 * Frozen steps case by case: what varies from run to run and what does not, what freezing refuses, runs that
 * fail, and what is left when memory runs out at any point.
 */
#include "counting.h"
#include "error_is.h"
#include "run.h"
#include "step_network.h"

#include <nabla.h>

/* Where a kernel's sum of one term is done without the kernel: the signs of zeros too. */
START_TEST(test_one_row_one_column)
{
    double x[4] = {0, -0.0, 3, -2}, w[4] = {-0.0, 0, 1, -1}, b = 0.5, g[2][9];
    for (int k = 0; k < 2; k++) {
        nb_tape *t = nb_tape_new(NULL);
        nb_var input = nb_borrow(t, "x", NB_SHAPE(4), x, g[k]);
        nb_var y = nb_affine(input, nb_borrow(t, "w", NB_SHAPE(4, 1), w, g[k] + 4),
                             nb_borrow(t, "b", NB_SHAPE(1), &b, g[k] + 8));
        nb_var loss = nb_mul(y, -1.5);
        nb_frozen *f = k ? nb_freeze_step(&(nb_frozen_recipe){.loss = loss}) : NULL;
        ck_assert_int_eq(k ? nb_frozen_run(f) : nb_backward(loss), NB_OK);
        nb_frozen_free(f);
        nb_tape_free(t);
    }
    ck_assert(g[1][0] == 0 && g[1][2] == -1.5 && g[1][6] == -4.5 && g[1][8] == -1.5);
    ck_assert_int_eq(memcmp(g[0], g[1], sizeof g[0]), 0);
}
END_TEST

/* An output that is needed early only keeps its number to the end of the run. */
START_TEST(test_outputs_stay)
{
    double w[64], dw[64], first[64];
    nb_tape *t = nb_tape_new(NULL);
    fill(w, 64, 2);
    nb_var x = nb_borrow(t, "x", NB_SHAPE(64), w, dw), y = nb_mul(x, 3), out = y;
    for (int k = 0; k < 6; k++)
        y = nb_add(y, 0.25);
    nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = nb_sum(y), .n_out = 1, .out = &out});
    ck_assert_int_eq(nb_frozen_run(f), NB_OK);
    for (int i = 0; i < 64; i++)
        first[i] = w[i] * 3;
    ck_assert_int_eq(memcmp(first, nb_frozen_data(f, 0), sizeof first), 0);
    nb_frozen_free(f);
    nb_tape_free(t);
}
END_TEST

/* ---- what varies ----------------------------------------------------------------------------- */

START_TEST(test_scalars)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), c = nb_constant(t, 2), z = nb_input(t, "z", 3);
    nb_var many[3] = {nb_mul(x, c), nb_exp(z), nb_fma(x, z, c)};
    nb_var f = nb_mul(nb_logsumexp_of(3, many), nb_sin(nb_add(x, 1)));
    nb_frozen *s = nb_freeze_step(&(nb_frozen_recipe){
        .loss = f, .n_in = 2, .in = (nb_var[]){x, c}, .n_out = 2, .out = (nb_var[]){many[0], c}});
    ck_assert_ptr_nonnull(s);
    const double xs = -0.5, cs = 4;
    const double a[3] = {xs * cs, exp(3), xs * 3 + cs};
    const double e = exp(a[0]) + exp(a[1]) + exp(a[2]), l = log(e), sine = sin(xs + 1);
    ck_assert_int_eq(nb_frozen_set(s, 0, xs), NB_OK);
    ck_assert_int_eq(nb_frozen_set(s, 1, cs), NB_OK);
    ck_assert_int_eq(nb_frozen_set(s, 2, 0), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_frozen_run(s), NB_OK);
    ck_assert_double_eq_tol(nb_frozen_loss(s), l * sine, 1e-12);
    const double slope = (exp(a[0]) * cs + exp(a[2]) * 3) / e;
    ck_assert_double_eq_tol(nb_frozen_grad(s, 0), slope * sine + l * cos(xs + 1), 1e-12);
    ck_assert(nb_frozen_grad(s, 1) == 0); /* a constant */
    ck_assert(nb_frozen_value(s, 0) == -2 && nb_frozen_value(s, 1) == 4);
    ck_assert(*(const double *)nb_frozen_data(s, 0) == -2);
    ck_assert(isnan(nb_frozen_value(s, 2)) && isnan(nb_frozen_grad(s, 2)));
    ck_assert_ptr_null(nb_frozen_data(s, 2));
    nb_frozen_free(s);
    nb_tape_free(t);
}
END_TEST

/* An adjoint of exactly 0 passes nothing on, whatever stands below; but that depends on the run. */
START_TEST(test_nothing_flows_through_zero)
{
    double w[2] = {0, 4}, v[2] = {1, 1}, dw[2], dv[2];
    nb_tape *t = nb_tape_new(NULL);
    nb_var gate = nb_input(t, "gate", 1);
    nb_var a = nb_borrow(t, "a", NB_SHAPE(2), w, dw), b = nb_borrow(t, "b", NB_SHAPE(2), v, dv);
    nb_var loss = nb_add(nb_mul(gate, nb_sum(nb_sqrt(a))),
                         nb_mul(gate, nb_sum(nb_matmul(b, nb_outer(a, b)))));
    nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = loss, .n_in = 1, .in = &gate});
    ck_assert_ptr_nonnull(f);
    nb_tape_free(t);
    for (int k = 0; k < 3; k++) {
        ck_assert_int_eq(nb_frozen_set(f, 0, k == 1 ? 0 : 2), NB_OK);
        dw[0] = dw[1] = dv[0] = dv[1] = (double)NAN;
        ck_assert_int_eq(nb_frozen_run(f), NB_OK);
        /* gate (sum sqrt a + (b.a)(b.1)) */
        ck_assert(k == 1 ? dw[0] == 0 && dw[1] == 0 : isinf(dw[0]) && dw[1] == 2 * (0.25 + 2));
        ck_assert(k == 1 ? dv[0] == 0 && dv[1] == 0 : dv[0] == 2 * 4.0 && dv[1] == 2 * 12.0);
        ck_assert_double_eq(nb_frozen_grad(f, 0), 2 + 8);
    }
    nb_frozen_free(f);
}
END_TEST

/* Constants that are other nodes' values follow them; a gradient recorded as graph is graph. */
START_TEST(test_detached_and_derived)
{
    double w[2] = {1, 2}, dw[2], unused[2];
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_borrow(t, "x", NB_SHAPE(2), w, dw), alone;
    nb_borrow(t, "y", NB_SHAPE(2), w, unused);
    nb_var d = nb_detach(nb_square(x));
    nb_var y = nb_sum(nb_mul(d, nb_mul(x, nb_square(x)))); /* d x^3 */
    nb_diff(1, &y, NULL, 1, &x, &alone);                   /* 3 d x^2 */
    nb_frozen *f = nb_freeze_step(
        &(nb_frozen_recipe){.loss = nb_sum(alone), .n_out = 2, .out = (nb_var[]){alone, d}});
    ck_assert_ptr_nonnull(f);
    nb_tape_free(t);
    w[0] = 3, w[1] = -1;
    unused[0] = unused[1] = (double)NAN;
    ck_assert_int_eq(nb_frozen_run(f), NB_OK);
    const double *a = nb_frozen_data(f, 0), *s = nb_frozen_data(f, 1);
    ck_assert(a[0] == 3 * 81 && a[1] == 3 && s[0] == 9 && s[1] == 1);
    ck_assert(dw[0] == 6 * 27 && dw[1] == -6); /* 6 d x, d held */
    ck_assert(unused[0] == 0 && unused[1] == 0);
    ck_assert(nb_frozen_loss(f) == 246 && isnan(nb_frozen_value(f, 0)));
    nb_frozen_free(f);
}
END_TEST

/* Without a loss there are values only. */
START_TEST(test_values_only)
{
    float x[2] = {1, 2}, dx[2] = {7, 7};
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    nb_var v = nb_borrow(t, NULL, NB_SHAPE(2), x, dx), s = nb_input(t, "s", 0.1);
    nb_var y[2] = {nb_mul(s, v), v};
    nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.n_out = 2, .out = y, .n_in = 1, .in = &s});
    ck_assert_ptr_nonnull(f);
    nb_tape_free(t);
    x[0] = 5;
    nb_frozen_set(f, 0, 0.3);
    ck_assert_int_eq(nb_frozen_run(f), NB_OK);
    ck_assert(((const float *)nb_frozen_data(f, 0))[0] == 0.3f * 5);
    ck_assert(nb_frozen_data(f, 1) == (const void *)x && dx[0] == 7 && isnan(nb_frozen_loss(f)));
    nb_frozen_free(f);
}
END_TEST

START_TEST(test_threads)
{
    enum { N = 200000 };
    static double x[N], g[3][N];
    double loss[3];
    nb_pool *pool = nb_pool_new(2, NULL);
    fill(x, N, 1);
    for (int k = 0; k < 3; k++) {
        nb_tape *t = nb_tape_new(NULL);
        nb_var v = nb_borrow(t, NULL, NB_SHAPE(N), x, g[k]);
        nb_var y = nb_mean(nb_tanh(nb_mul(v, nb_sigmoid(v))));
        nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = y, .pool = k == 1 ? pool : NULL});
        ck_assert_int_eq(k < 2 ? nb_frozen_run(f) : nb_backward(y), NB_OK);
        loss[k] = k < 2 ? nb_frozen_loss(f) : nb_value(y);
        nb_frozen_free(f);
        nb_tape_free(t);
    }
    nb_pool_free(pool);
    ck_assert(loss[0] == loss[1] && loss[0] == loss[2]);
    ck_assert(!memcmp(g[0], g[1], sizeof g[0]) && !memcmp(g[0], g[2], sizeof g[0]));
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------------------- */

START_TEST(test_run_that_fails)
{
    double a[4] = {2, 0, 0, 2}, da[4];
    nb_tape *t = nb_tape_new(NULL);
    nb_var m = nb_borrow(t, "m", NB_SHAPE(2, 2), a, da);
    nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = nb_sum(nb_cholesky(m))});
    ck_assert_ptr_nonnull(f);
    nb_tape_free(t);
    a[0] = -1;
    ck_assert_int_eq(nb_frozen_run(f), NB_ERR_SINGULAR);
    ck_assert(strstr(nb_frozen_message(f), "cholesky") != NULL);
    a[0] = 4, a[3] = 9;
    ck_assert_int_eq(nb_frozen_run(f), NB_OK);
    ck_assert_str_eq(nb_frozen_message(f), "");
    ck_assert_double_eq(nb_frozen_loss(f), 5);
    ck_assert(da[0] == 0.25 && da[3] == 1 / 6.0);
    nb_frozen_free(f);
}
END_TEST

static nb_code keep_some(const nb_call *c)
{
    const double *x = c->in[0].data;
    *(double *)c->out->data = x[0];
    return nb_keep(c, (size_t)x[0] * 64) ? NB_OK : NB_ERR_MEMORY;
}
static nb_code pass(const nb_rule *r) { return r->d[0] = r->g, NB_OK; }
static void destroy(void *state) { (void)state; }
static nb_var same(void *context, nb_var g)
{
    (void)context;
    return g;
}
static nb_code plus_one(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    (void)context, (void)step;
    out[0] = nb_add(in[0], 1);
    return NB_OK;
}
static nb_code twice(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_mul(in[0], 2);
    return NB_OK;
}

static void refuse(nb_var loss, nb_code code, const char *part)
{
    nb_tape *t = loss.tape;
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_ptr_null(nb_freeze_step(&(nb_frozen_recipe){.loss = loss}));
    is(t, code, part);
}

START_TEST(test_refusals)
{
    static const nb_op keeps = {.name = "keeps", .forward = keep_some, .reverse = pass};
    static const nb_op ends = {
        .name = "ends", .forward = keep_some, .reverse = pass, .destroy = destroy};
    static const nb_op flat = {.name = "flat", .forward = keep_some};
    double w = 2, dw;
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var x = nb_borrow(t, "x", NB_SHAPE(1), &w, &dw), y;
    refuse(nb_apply(&ends, 1, &x, NULL, 0), NB_ERR_ARGUMENT, "ends: node 1 cannot be frozen");
    refuse(nb_apply(&flat, 1, &x, NULL, 0), NB_ERR_GRADIENT, "flat: there is no derivative rule");
    refuse(nb_hook(x, same, NULL), NB_ERR_ARGUMENT, "hook");
    nb_loop(&(nb_loop_spec){.name = "count", .fn = plus_one, .steps = 5, .memory = 2}, 1, &x, 0,
            NULL, &y);
    refuse(y, NB_ERR_ARGUMENT, "its interior is not on the tape");
    nb_region(&(nb_region_spec){.name = "twice", .forward = twice}, 1, &x, 1, &y);
    refuse(y, NB_ERR_ARGUMENT, "region");
    refuse(nb_zeros(t, NB_SHAPE(2)), NB_ERR_SEED, "has 2 elements");

    nb_mark m = nb_tape_mark(t);
    y = nb_square(x);
    nb_rewind(m);
    refuse(y, NB_ERR_HANDLE, "stale");
    nb_frozen_recipe r = {.loss = x, .n_out = 1, .out = (nb_var[]){nb_input(other, "o", 1)}};
    ck_assert_ptr_null(nb_freeze_step(&r));
    is(t, NB_ERR_HANDLE, "output 0 is a number or of another tape");
    r = (nb_frozen_recipe){.loss = x, .n_in = 1, .in = &x};
    ck_assert_ptr_null(nb_freeze_step(&r));
    is(t, NB_ERR_ARGUMENT, "input 0 is not a scalar");
    r = (nb_frozen_recipe){.loss = x, .n_in = 1};
    ck_assert_ptr_null(nb_freeze_step(&r));
    is(t, NB_ERR_ARGUMENT, "a list of the recipe is NULL");
    ck_assert_ptr_null(nb_freeze_step(NULL));
    ck_assert_ptr_null(nb_freeze_step(&(nb_frozen_recipe){0}));

    nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = nb_apply(&keeps, 1, &x, NULL, 0)});
    ck_assert_int_eq(nb_frozen_run(f), NB_OK);
    w = 3;
    ck_assert_int_eq(nb_frozen_run(f), NB_ERR_CALLBACK);
    ck_assert(strstr(nb_frozen_message(f), "keeps: it keeps results of another size") != NULL);
    nb_frozen_free(f);
    nb_frozen_free(NULL);
    ck_assert_int_eq(nb_frozen_run(NULL), NB_ERR_ARGUMENT);
    ck_assert_str_ne(nb_frozen_message(NULL), "");
    ck_assert(isnan(nb_frozen_loss(NULL)) && nb_frozen_inspect(NULL).bytes == 0);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

/* Whichever request is refused, nothing leaks, and the recording is as good as before. */
START_TEST(test_no_memory)
{
    static network n;
    double square[IN * IN];
    nb_tape *t = nb_tape_new(NULL);
    change(&n, 1);
    nb_var a = nb_borrow(t, NULL, NB_SHAPE(IN, IN), n.x, square);
    nb_var loss = nb_add(squared(t, &n, NULL), nb_sum(nb_expm(nb_mul(a, 0.1))));
    size_t failures = 0;
    bool done = false;
    for (size_t k = 1; !done && k < 400; k++) {
        counting c = {.refuse = k, .for_ever = k % 2};
        const nb_allocator al = counting_allocator(&c);
        nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = loss, .allocator = &al});
        done = f && !c.refusals;
        failures += !f;
        if (!f)
            is(t, NB_ERR_MEMORY, "memory");
        nb_frozen_free(f);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(done);
    ck_assert_uint_gt(failures, 10);
    ck_assert_int_eq(nb_backward(loss), NB_OK);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("step_cases");
    tcase_add_test(c, test_one_row_one_column);
    tcase_add_test(c, test_outputs_stay);
    tcase_add_test(c, test_scalars);
    tcase_add_test(c, test_nothing_flows_through_zero);
    tcase_add_test(c, test_detached_and_derived);
    tcase_add_test(c, test_values_only);
    tcase_add_test(c, test_threads);
    tcase_add_test(c, test_run_that_fails);
    tcase_add_test(c, test_refusals);
    tcase_add_test(c, test_no_memory);
    return run_case("step_cases", c);
}
