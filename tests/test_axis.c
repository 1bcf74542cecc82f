/*
 * Operations along an axis against plain loops over lines, for every axis of several shapes in both
 * types: value, and gradient through the Jacobian that the definition gives,
 *
 *     dx[j] = sum over i of g[i] dy[i]/dx[j]        i, j along one line
 *
 * Sorting has its own comparison: a result is right if it is in order and a permutation, and its
 * gradient if it followed the permutation. Then hard points, empty lines, and what is refused.
 */
#include "run.h"

#include <math.h>
#include <nabla/diff.h>
#include <nabla/op.h>
#include <nabla/ops.h>
#include <string.h>

enum { MOST = 1024 };

typedef long double real;

static const double inf = (double)INFINITY, nan_ = (double)NAN;

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

#define IS(x, y) ck_assert_double_eq((x), (y))

/* ---- definitions: a line's result, and dy[i]/dx[j] ------------------------------------------- */

static real exp_sum(const real *x, int n)
{
    real s = 0;
    for (int i = 0; i < n; i++)
        s += expl(x[i]);
    return s;
}

static real softmax_at(const real *x, int n, int i) { return expl(x[i]) / exp_sum(x, n); }
static real log_softmax_at(const real *x, int n, int i) { return x[i] - logl(exp_sum(x, n)); }

static real cumsum_at(const real *x, int n, int i)
{
    real s = 0;
    for (int j = 0; j <= i; j++)
        s += x[j];
    return (void)n, s;
}

static real cumprod_at(const real *x, int n, int i)
{
    real p = 1;
    for (int j = 0; j <= i; j++)
        p *= x[j];
    return (void)n, p;
}

static real softmax_slope(const real *x, int n, int i, int j)
{
    return softmax_at(x, n, i) * ((i == j) - softmax_at(x, n, j));
}

static real log_softmax_slope(const real *x, int n, int i, int j)
{
    return (i == j) - softmax_at(x, n, j);
}

static real cumsum_slope(const real *x, int n, int i, int j) { return (void)x, (void)n, i >= j; }

static real cumprod_slope(const real *x, int n, int i, int j)
{
    real p = i >= j;
    for (int k = 0; k <= i; k++)
        p *= k == j ? 1 : x[k];
    return (void)n, p;
}

static nb_var all_masked_in(nb_var x, int axis) { return nb_masked_softmax(x, 1, axis); }

static const struct {
    nb_var (*op)(nb_var, int);
    real (*at)(const real *, int, int);
    real (*slope)(const real *, int, int, int);
} ops[] = {
    {(nb_softmax), softmax_at, softmax_slope},
    {(nb_log_softmax), log_softmax_at, log_softmax_slope},
    {all_masked_in, softmax_at, softmax_slope},
    {(nb_cumsum), cumsum_at, cumsum_slope},
    {(nb_cumprod), cumprod_at, cumprod_slope},
};

enum { OPS = sizeof ops / sizeof *ops };

static const nb_shape shapes[] = {
    {1, {1}},       {1, {9}},          {2, {3, 70}},  {2, {70, 3}},
    {3, {3, 4, 5}}, {4, {2, 1, 3, 2}}, {2, {2, 130}}, {8, {1, 2, 1, 2, 2, 1, 2, 2}},
    {3, {2, 0, 3}},
};

enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- lines ----------------------------------------------------------------------------------- */

/* The place of a line's first element, and the distance to the next; false past the last line. */
static bool line_of(nb_shape s, int axis, int64_t line, int64_t *first, int64_t *step)
{
    int64_t inner = 1, outer = 1;
    for (int i = axis + 1; i < s.rank; i++)
        inner *= s.dims[i];
    for (int i = 0; i < axis; i++)
        outer *= s.dims[i];
    if (line >= outer * inner)
        return false;
    *first = line / inner * inner * s.dims[axis] + line % inner;
    *step = inner;
    return true;
}

static void ck_near(double x, real y, nb_dtype d)
{
    double scale = 1 + (double)fabsl(y);
    ck_assert_double_eq_tol(x, (double)y, scale * (d == NB_F64 ? 1e-13 : 4e-6));
}

static void fill(double *x, nb_rng *r)
{
    for (int i = 0; i < MOST; i++)
        x[i] = (double)(float)(3 * nb_rng_uniform(r) - 1.5);
}

static void sweep(nb_var out, nb_var in, const double *g, double *dx)
{
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &out, .seed = &g}), NB_OK);
    ck_assert_int_eq(nb_read_grad(in, dx, nb_size(in)), NB_OK);
}

static void compare(int which, nb_dtype d, nb_shape s, int axis)
{
    nb_tape *t = tape_of(d);
    nb_rng r = nb_rng_seed(3);
    double x[MOST], y[MOST], g[MOST], dx[MOST];
    int n = (int)s.dims[axis];
    fill(x, &r);
    fill(g, &r);
    nb_var in = nb_tensor(t, "x", s, x), out = ops[which].op(in, axis % 2 ? axis : axis - s.rank);
    ck_assert_msg(nb_ok(out), "%s", nb_message(t));
    ck_assert_int_eq(nb_read(out, y, nb_size(in)), NB_OK);
    sweep(out, in, g, dx);
    for (int64_t line = 0, first, step; line_of(s, axis, line, &first, &step); line++) {
        real v[MOST];
        for (int i = 0; i < n; i++)
            v[i] = (real)x[first + i * step];
        for (int j = 0; j < n; j++) {
            real sum = 0;
            for (int i = 0; i < n; i++)
                sum += (real)g[first + i * step] * ops[which].slope(v, n, i, j);
            ck_near(y[first + j * step], ops[which].at(v, n, j), d);
            ck_near(dx[first + j * step], sum, d);
        }
    }
    nb_tape_free(t);
}

START_TEST(plain_loops)
{
    for (int s = 0; s < SHAPES; s++)
        for (int axis = 0; axis < shapes[s].rank; axis++)
            for (int d = 0; d < 2; d++)
                compare(_i, d ? NB_F32 : NB_F64, shapes[s], axis);
}
END_TEST

/* ---- softmax --------------------------------------------------------------------------------- */

static double value[8], gradient[8];

/* f of a line x with adjoint g. */
static nb_code at(nb_var (*f)(nb_var, int), int n, const double *x, const double *g)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var in = nb_tensor(t, "x", NB_SHAPE(n), x), y = f(in, 0);
    nb_code code = nb_status(t);
    ck_assert_int_eq(nb_read(y, value, n), NB_OK);
    sweep(y, in, g, gradient);
    nb_tape_free(t);
    return code;
}

static const double first_of_two[2] = {1, 0}, ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};

START_TEST(softmax_far_apart)
{
    const double far[3] = {1e30, -1e30, 1e30}, cut[2] = {0, -inf}, top[3] = {inf, 0, inf};
    at((nb_softmax), 3, far, ones);
    IS(value[0], .5);
    IS(value[1], 0);
    IS(value[2], .5);
    IS(gradient[0] + gradient[1] + gradient[2], 0);
    at((nb_softmax), 2, cut, first_of_two);
    IS(value[0], 1);
    IS(value[1], 0);
    IS(gradient[0], 0);
    IS(gradient[1], 0);
    at((nb_softmax), 3, top, ones);
    IS(value[0], .5);
    IS(value[1], 0);
    at((nb_log_softmax), 3, top, ones);
    IS(value[0], -log(2));
    IS(value[1], -inf);
    at((nb_log_softmax), 2, cut, first_of_two);
    IS(value[0], 0);
    IS(value[1], -inf);
    IS(gradient[0], 0);
    const double thousand[2] = {1000, 1000};
    at((nb_softmax), 2, thousand, first_of_two);
    IS(value[0], .5);
    IS(gradient[0], .25);
}
END_TEST

START_TEST(softmax_of_nothing)
{
    const double none[2] = {-inf, -inf}, bad[3] = {1, nan_, 2};
    ck_assert_int_eq(at((nb_softmax), 2, none, ones), NB_ERR_DOMAIN);
    ck_assert(isnan(value[0]) && isnan(value[1]));
    ck_assert_int_eq(at((nb_log_softmax), 2, none, ones), NB_ERR_DOMAIN);
    ck_assert(isnan(value[0]) && isnan(value[1]));
    ck_assert_int_eq(at(all_masked_in, 2, none, ones), NB_OK);
    IS(value[0], 0);
    IS(gradient[0], 0);
    ck_assert_int_eq(at((nb_softmax), 3, bad, ones), NB_OK);
    ck_assert(isnan(value[0]) && isnan(value[1]) && isnan(value[2]));

    const double rows[6] = {-inf, -inf, 3, 3, -inf, 1}; /* one row's trouble is its own */
    double y[6];
    nb_tape *t = tape_of(NB_F64);
    nb_read(nb_softmax(nb_tensor(t, "x", NB_SHAPE(3, 2), rows), 1), y, 6);
    ck_assert(isnan(y[0]) && isnan(y[1]));
    IS(y[2], .5);
    IS(y[4], 0);
    IS(y[5], 1);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "in line 0"));
    nb_tape_free(t);
}
END_TEST

START_TEST(masks)
{
    const double x[6] = {1, nan_, 1, 5, 6, 7}, mask[6] = {1, 0, 1, 0, 0, 0};
    const double g[6] = {1, inf, 3, nan_, inf, 1};
    double y[6], dx[6];
    nb_tape *t = tape_of(NB_F64);
    nb_var in = nb_tensor(t, "x", NB_SHAPE(2, 3), x);
    nb_var out = nb_masked_softmax(in, nb_tensor(t, "mask", NB_SHAPE(2, 3), mask), 1);
    nb_read(out, y, 6);
    sweep(out, in, g, dx);
    const double want[6] = {.5, 0, .5, 0, 0, 0}, slope[6] = {-.5, 0, .5, 0, 0, 0};
    for (int i = 0; i < 6; i++) {
        IS(y[i], want[i]);
        IS(dx[i], slope[i]);
    }
    const double column[2] = {1, 0}, row[6] = {0, 0, 0, 0, 0, 0}; /* broadcast masks */
    in = nb_tensor(t, "x", NB_SHAPE(2, 3), row);
    nb_read(nb_masked_softmax(in, nb_constant_tensor(t, NB_SHAPE(2, 1), column), -1), y, 6);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq_tol(y[i], i < 3 ? 1. / 3 : 0, 1e-16);
    nb_read(nb_masked_softmax(in, nb_constant_tensor(t, NB_SHAPE(2, 1), column), 0), y, 6);
    for (int i = 0; i < 6; i++)
        IS(y[i], i < 3);
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert(!nb_ok(nb_masked_softmax(in, nb_zeros(t, NB_SHAPE(2, 2)), 1)));
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    nb_clear(t);
    ck_assert(!nb_ok(nb_masked_softmax(in, nb_zeros(t, NB_SHAPE(2, 2, 3)), 1)));
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

/* ---- running products ------------------------------------------------------------------------ */

START_TEST(products_with_zeros)
{
    const double x[4] = {2, 0, 3, 0};
    at((nb_cumprod), 4, x, ones);
    IS(gradient[0], 1); /* 1 + 0 + 0 + 0 */
    IS(gradient[1], 8); /* 2 + 2 3 + 0 */
    IS(gradient[2], 0);
    IS(gradient[3], 0);
}
END_TEST

/* y = x0 + x0 x1 + x0 x1 x2 at (2, 0, 3): the Hessian's first two rows. */
START_TEST(second_order)
{
    const double x[3] = {2, 0, 3}, hessian[2][3] = {{0, 4, 0}, {4, 0, 2}};
    for (int i = 0; i < 2; i++) {
        nb_tape *t = tape_of(NB_F64);
        double row[3];
        nb_var in = nb_tensor(t, "x", NB_SHAPE(3), x);
        nb_var d = nb_derivative(nb_cumprod(in, 0), in);
        ck_assert_msg(nb_ok(d), "%s", nb_message(t));
        nb_backward(nb_sum(nb_slice(d, 0, i, i + 1, 1)));
        nb_read_grad(in, row, 3);
        for (int j = 0; j < 3; j++)
            IS(row[j], hessian[i][j]);
        nb_tape_free(t);
    }
}
END_TEST

/* ---- sorting --------------------------------------------------------------------------------- */

static void sorted(nb_dtype d, nb_shape s, int axis, bool down, int64_t k)
{
    nb_tape *t = tape_of(d);
    nb_rng r = nb_rng_seed(5);
    double x[MOST], y[MOST], g[MOST], dx[MOST];
    int64_t order[MOST], n = s.dims[axis];
    fill(x, &r);
    fill(g, &r);
    for (int i = 0; i < MOST; i += 3)
        x[i] = .25; /* ties */
    nb_shape small = s;
    small.dims[axis] = k;
    nb_var in = nb_tensor(t, "x", s, x);
    nb_var out = k == n ? nb_sort(in, axis, down, order) : nb_topk(in, k, axis, down, order);
    ck_assert_msg(nb_ok(out), "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(out), small));
    nb_read(out, y, nb_size(out));
    sweep(out, in, g, dx);
    for (int64_t line = 0, from, to = 0, step; line_of(s, axis, line, &from, &step); line++) {
        bool seen[MOST] = {false};
        double past = 0;
        line_of(small, axis, line, &to, &step);
        for (int64_t i = 0; i < k; i++) {
            int64_t here = to + i * step, place = order[here];
            ck_assert(place >= 0 && place < n && !seen[place]);
            seen[place] = true;
            IS(y[here], x[from + place * step]);
            IS(dx[from + place * step], g[here]);
            if (i > 0) {
                ck_assert(down ? y[here] <= past : y[here] >= past);
                ck_assert(y[here] != past || place > order[here - step]);
            }
            past = y[here];
        }
        for (int64_t i = 0; i < n; i++)
            if (!seen[i]) {
                ck_assert(k == 0 ||
                          (down ? x[from + i * step] <= past : x[from + i * step] >= past));
                IS(dx[from + i * step], 0);
            }
    }
    nb_tape_free(t);
}

START_TEST(sorting)
{
    for (int s = 0; s < SHAPES; s++)
        for (int axis = 0; axis < shapes[s].rank; axis++)
            for (int i = 0; i < 4; i++) {
                int64_t n = shapes[s].dims[axis];
                sorted(i & 1 ? NB_F32 : NB_F64, shapes[s], axis, i & 2, n);
                sorted(i & 1 ? NB_F32 : NB_F64, shapes[s], axis, i & 2, n / 2);
                sorted(i & 1 ? NB_F32 : NB_F64, shapes[s], axis, i & 2, 0);
            }
}
END_TEST

START_TEST(sorting_nan)
{
    const double x[5] = {nan_, 2, inf, -inf, 1};
    double y[5];
    int64_t order[5];
    nb_tape *t = tape_of(NB_F64);
    nb_var in = nb_tensor(t, "x", NB_SHAPE(5), x);
    nb_read(nb_sort(in, 0, false, order), y, 5);
    IS(y[0], -inf);
    IS(y[3], inf);
    ck_assert(isnan(y[4]));
    nb_read(nb_sort(in, 0, true, order), y, 5);
    IS(y[0], inf);
    ck_assert(isnan(y[4]));
    nb_read(nb_topk(in, 2, 0, true, order), y, 2);
    ck_assert(isnan(y[0]));
    IS(y[1], inf);
    ck_assert_int_eq(order[0], 0);
    nb_read(nb_topk(in, 2, 0, false, NULL), y, 2);
    ck_assert(isnan(y[0]));
    IS(y[1], -inf);
    nb_tape_free(t);
}
END_TEST

/* ---- indices of extremes --------------------------------------------------------------------- */

START_TEST(indices)
{
    const double x[8] = {1, 3, 3, 0, 4, nan_, -2, nan_};
    int64_t at_max[4], at_min[4];
    for (int d = 0; d < 2; d++) {
        nb_tape *t = tape_of(d ? NB_F32 : NB_F64);
        size_t nodes;
        nb_var m = nb_tensor(t, "x", NB_SHAPE(2, 4), x);
        nodes = nb_count(t);
        ck_assert_int_eq(nb_argmax(m, 1, at_max), NB_OK);
        ck_assert_int_eq(nb_argmin(m, -1, at_min), NB_OK);
        ck_assert(at_max[0] == 1 && at_max[1] == 1 && at_min[0] == 3 && at_min[1] == 1);
        ck_assert_int_eq(nb_argmax(m, 0, at_max), NB_OK);
        ck_assert_int_eq(nb_argmin(m, 0, at_min), NB_OK);
        ck_assert(at_max[0] == 1 && at_max[1] == 1 && at_max[2] == 0 && at_max[3] == 1);
        ck_assert(at_min[0] == 0 && at_min[1] == 1 && at_min[2] == 1 && at_min[3] == 1);
        ck_assert_uint_eq(nb_count(t), nodes);
        ck_assert_int_eq(nb_argmax(m, 2, at_max), NB_ERR_AXIS);
        nb_clear(t);
        ck_assert_int_eq(nb_argmax(m, 0, NULL), NB_ERR_ARGUMENT);
        nb_clear(t);
        ck_assert_int_eq(nb_argmin(nb_zeros(t, NB_SHAPE(2, 0)), 1, at_min), NB_ERR_EMPTY);
        nb_clear(t);
        ck_assert_int_eq(nb_argmin(nb_zeros(t, NB_SHAPE(2, 0)), 0, at_min), NB_OK);
        ck_assert_int_eq(nb_argmin(nb_constant(t, 1), 0, at_min), NB_ERR_AXIS);
        nb_tape_free(t);
    }
    ck_assert_int_ne(nb_argmax(NB_NONE, 0, at_max), NB_OK);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(refusals)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(2, 3), ones), s = nb_input(t, "s", 1);
    for (int i = 0; i < OPS; i++) {
        ck_assert(!nb_ok(ops[i].op(x, 2)));
        ck_assert_int_eq(nb_status(t), NB_ERR_AXIS);
        nb_clear(t);
        ck_assert(!nb_ok(ops[i].op(x, -3)));
        ck_assert_int_eq(nb_status(t), NB_ERR_AXIS);
        nb_clear(t);
        ck_assert(!nb_ok(ops[i].op(s, 0)));
        ck_assert_int_eq(nb_status(t), NB_ERR_AXIS);
        nb_clear(t);
    }
    ck_assert(!nb_ok(nb_sort(x, 2, false, NULL)));
    ck_assert_int_eq(nb_status(t), NB_ERR_AXIS);
    nb_clear(t);
    ck_assert(!nb_ok(nb_topk(x, 4, 1, false, NULL)));
    ck_assert_int_eq(nb_status(t), NB_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "4 of 3"));
    nb_clear(t);
    ck_assert(!nb_ok(nb_topk(x, -1, 1, false, NULL)));
    ck_assert_int_eq(nb_status(t), NB_ERR_ARGUMENT);
    nb_clear(t);
    IS(nb_value(nb_sum(nb_cumsum(x, 1))), 12); /* the tape is as usable as before */
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("axis");
    TCase *c = tcase_create("axis");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, plain_loops, 0, OPS);
    tcase_add_test(c, softmax_far_apart);
    tcase_add_test(c, softmax_of_nothing);
    tcase_add_test(c, masks);
    tcase_add_test(c, products_with_zeros);
    tcase_add_test(c, second_order);
    tcase_add_test(c, sorting);
    tcase_add_test(c, sorting_nan);
    tcase_add_test(c, indices);
    tcase_add_test(c, refusals);
    suite_add_tcase(s, c);
    return run_suite(s);
}
