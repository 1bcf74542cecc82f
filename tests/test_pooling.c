/*
 * Pooling against plain loops over windows, value and gradient, for a grid of sizes, windows, strides
 * and paddings, both types and every instruction set. Then the hard points: ties, NaN, infinities, an
 * adjoint of exactly 0; what is refused; what is empty; and pooling over all places.
 */
#include "run.h"
#include "error_is.h"

#include <float.h>
#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

typedef struct example {
    int64_t in[2], window[2], stride[2], padding[2];
} example;

static const char *const isas[] = {"plain", "avx2", "avx512",
                                   "neon"}; /* what is missing: ignored */
enum { ISAS = sizeof isas / sizeof *isas, IMAGES = 2, CHANNELS = 3, PLANES = IMAGES * CHANNELS };

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

/* ---- the plain loops ------------------------------------------------------------------------- */

typedef enum kind { MAX, MEAN, MEAN_COUNTED, KINDS } kind;

/* One window, its place in the plane's results at o: adds to dx what it gets of g. */
static void window(const example *e, kind k, const double *x, const int64_t out[2], int64_t o,
                   double *y, double g, double *dx)
{
    double greatest = -HUGE_VAL, sum = 0;
    int64_t inside = 0, ties = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t a = 0; a < e->window[0]; a++)
            for (int64_t b = 0; b < e->window[1]; b++) {
                const int64_t i = o / out[1] * e->stride[0] - e->padding[0] + a;
                const int64_t j = o % out[1] * e->stride[1] - e->padding[1] + b;
                if (i < 0 || j < 0 || i >= e->in[0] || j >= e->in[1])
                    continue;
                const double v = x[i * e->in[1] + j];
                const int64_t all = e->window[0] * e->window[1];
                if (pass == 0) {
                    inside++;
                    sum += v;
                    ties = v > greatest ? 1 : ties + (v == greatest);
                    greatest = v > greatest ? v : greatest;
                } else if (k != MAX)
                    dx[i * e->in[1] + j] += g / (double)(k == MEAN ? inside : all);
                else if (v == greatest)
                    dx[i * e->in[1] + j] += g / (double)ties;
                y[o] = k == MAX ? greatest : sum / (double)(k == MEAN ? inside : all);
            }
}

static void close_to(const double *x, const double *y, int64_t n, double unit, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= 16 * unit))
            ck_abort_msg("%s[%ld]: %.9g, not %.9g", what, (long)i, x[i], y[i]);
}

static nb_var pooled(nb_var x, const example *e, int axes, kind k)
{
    nb_pool_options o = {.count_padding = k == MEAN_COUNTED};
    for (int i = 0; i < axes; i++) {
        o.stride[i] = e->stride[2 - axes + i];
        o.padding[i] = e->padding[2 - axes + i];
    }
    if (axes == 1)
        return k == MAX ? nb_max_pool1d(x, e->window[1], &o)
                        : nb_average_pool1d(x, e->window[1], &o);
    return k == MAX ? nb_max_pool2d(x, e->window[0], e->window[1], &o)
                    : nb_average_pool2d(x, e->window[0], e->window[1], &o);
}

static void check_example(const example *e, int axes, kind k, nb_dtype d)
{
    int64_t out[2];
    for (int i = 0; i < 2; i++)
        out[i] = (e->in[i] + 2 * e->padding[i] - e->window[i]) / e->stride[i] + 1;
    const int64_t large = e->in[0] * e->in[1], small = out[0] * out[1];
    double *x = calloc((size_t)(PLANES * (3 * large + 3 * small)), sizeof *x);
    double *dx = x + PLANES * large, *got = dx + PLANES * large, *y = got + PLANES * large;
    double *g = y + PLANES * small, *read = g + PLANES * small;
    nb_rng r = nb_rng_seed(9);
    for (int64_t i = 0; i < PLANES * large; i++)
        x[i] = (double)nb_rng_below(&r, 9) - 4; /* many ties */
    for (int64_t i = 0; i < PLANES * small; i++)
        g[i] = (double)(float)(2 * nb_rng_uniform(&r) - 1);
    for (int64_t p = 0; p < PLANES; p++)
        for (int64_t o = 0; o < small; o++)
            window(e, k, x + p * large, out, o, y + p * small, g[p * small + o], dx + p * large);

    nb_tape *t = tape_of(d);
    nb_shape shape = NB_SHAPE(IMAGES, CHANNELS, e->in[0], e->in[1]);
    if (axes == 1)
        shape = NB_SHAPE(IMAGES, CHANNELS, e->in[1]);
    nb_var in = nb_tensor(t, "x", shape, x), z = pooled(in, e, axes, k);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert_int_eq(nb_dim(z, -1), out[1]);
    const double unit = d == NB_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    ck_assert_int_eq(nb_read(z, read, PLANES * small), NB_OK);
    close_to(read, y, PLANES * small, 4 * unit, "y");
    const double *seed = g;
    nb_sweep s = {.n_out = 1, .out = &z, .seed = &seed};
    for (int round = 1; round <= 2; round++) { /* the second accumulates */
        ck_assert_msg(nb_backward_with(&s) == NB_OK, "%s", nb_message(t));
        ck_assert_int_eq(nb_read_grad(in, got, PLANES * large), NB_OK);
        for (int64_t i = 0; i < PLANES * large; i++)
            got[i] /= round;
        close_to(got, dx, PLANES * large, unit, "dx");
        s.accumulate = true;
    }
    free(x);
    nb_tape_free(t);
}

START_TEST(a_grid)
{
    static const int64_t list[][4] = {
        /* in, window, stride, padding */
        {4, 2, 2, 0},  {5, 2, 2, 0},  {7, 3, 2, 1},  {6, 3, 3, 0},  {9, 3, 1, 1},
        {1, 1, 1, 0},  {2, 3, 1, 2},  {8, 2, 3, 0},  {8, 5, 2, 4},  {7, 7, 7, 0},
        {37, 2, 2, 0}, {35, 3, 1, 1}, {33, 4, 4, 0}, {26, 2, 2, 0},
    };
    enum { LIST = sizeof list / sizeof *list };
    setenv("NABLA_ISA", isas[_i], 1);
    for (int i = 0; i < LIST; i++)
        for (int j = 0; j < LIST; j++)
            for (kind k = MAX; k < KINDS; k++)
                for (nb_dtype d = NB_F64; d <= NB_F32; d++) {
                    const int64_t *p = list[i], *q = list[j];
                    const example two = {{p[0], q[0]}, {p[1], q[1]}, {p[2], q[2]}, {p[3], q[3]}};
                    const example one = {{1, q[0]}, {1, q[1]}, {1, q[2]}, {0, q[3]}};
                    check_example(&two, 2, k, d);
                    if (i == 0)
                        check_example(&one, 1, k, d);
                }
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

/* The gradient of a max pool of x, two windows of three, by the graph rule and by the fused one. */
static void slopes(nb_dtype d, const nb_pool_options *o, int64_t out, const double *x,
                   const double *g, double *y, double *fused, double *graph)
{
    nb_tape *t = tape_of(d);
    nb_var in = nb_tensor(t, "x", NB_SHAPE(1, 1, 6), x), dx;
    nb_var z = nb_max_pool1d(in, 3, o), seed = nb_constant_tensor(t, nb_shape_of(z), g);
    ck_assert_int_eq(nb_read(z, y, out), NB_OK);
    nb_backward_with(&(nb_sweep){.n_out = 1, .out = &z, .seed = &g});
    ck_assert_int_eq(nb_read_grad(in, fused, 6), NB_OK);
    ck_assert_int_eq(nb_diff(1, &z, &seed, 1, &in, &dx), NB_OK);
    ck_assert_int_eq(nb_read(dx, graph, 6), NB_OK);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
}

static bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static void expect(const nb_pool_options *o, int64_t out, const double *x, const double *g,
                   const double *y, const double *dx)
{
    for (int i = 0; i < ISAS; i++)
        for (nb_dtype d = NB_F64; d <= NB_F32; d++) {
            double value[6], fused[6], graph[6];
            setenv("NABLA_ISA", isas[i], 1);
            slopes(d, o, out, x, g, value, fused, graph);
            for (int k = 0; k < out; k++)
                ck_assert_msg(same(value[k], y[k]), "y[%d] is %g, not %g", k, value[k], y[k]);
            for (int k = 0; k < 6; k++) {
                ck_assert_msg(same(fused[k], dx[k]), "dx[%d] is %g, not %g", k, fused[k], dx[k]);
                ck_assert_msg(same(graph[k], dx[k]), "as graph, dx[%d] is %g, not %g", k, graph[k],
                              dx[k]);
            }
        }
}

START_TEST(hard_points)
{
    const double inf = HUGE_VAL, nan = (double)NAN;
    const nb_pool_options apart = {.stride = {3}}, close = {.stride = {2}, .padding = {1}};
    /* ties share; overlapping windows add */
    expect(&apart, 2, (double[]){1, 1, 0, 2, 2, 2}, (double[]){4, 6}, (double[]){1, 2},
           (double[]){2, 2, 0, 2, 2, 2});
    expect(&close, 3, (double[]){1, 1, 1, 0, 1, 3}, (double[]){4, 8, 6}, (double[]){1, 1, 3},
           (double[]){2, 6, 4, 0, 0, 6});
    /* zeros of both signs tie */
    expect(&apart, 2, (double[]){0, -0.0, -1, -0.0, 0, -1}, (double[]){2, 4}, (double[]){0, 0},
           (double[]){1, 1, 0, 2, 2, 0});
    /* a NaN is the result of its window, whatever stands beside it, and makes its slopes NaN */
    expect(&apart, 2, (double[]){1, nan, inf, 1, 2, 3}, (double[]){1, 1}, (double[]){nan, 3},
           (double[]){nan, nan, nan, 0, 0, 1});
    expect(&close, 3, (double[]){nan, 1, 2, 1, 0, 1}, (double[]){1, 1, 1}, (double[]){nan, 2, 1},
           (double[]){nan, nan, 1, 0.5, 0, 0.5});
    /* but where nothing flows, nothing flows */
    expect(&apart, 2, (double[]){nan, 1, 2, 1, 2, 3}, (double[]){0, 1}, (double[]){nan, 3},
           (double[]){0, 0, 0, 0, 0, 1});
    /* infinities are numbers like others; padding is not a number */
    expect(&apart, 2, (double[]){-inf, -inf, -inf, inf, inf, 0}, (double[]){3, 4},
           (double[]){-inf, inf}, (double[]){1, 1, 1, 2, 2, 0});
    expect(&close, 3, (double[]){-5, -7, -7, -8, -9, -9}, (double[]){1, 2, 4},
           (double[]){-5, -7, -8}, (double[]){1, 1, 1, 4, 0, 0});
}
END_TEST

/* A NaN at each place of a plane in turn: it is the result of the windows that cover it, and of no
 * other, and their places have a slope of NaN, and no other. */
static void a_nan_everywhere(int64_t size, int64_t stride, nb_dtype d)
{
    enum { ROWS = 5, COLUMNS = 37, PLACES = ROWS * COLUMNS };
    for (int at = 0; at < PLACES; at++) {
        nb_tape *t = tape_of(d);
        double x[PLACES], y[PLACES], dx[PLACES];
        bool spoilt[PLACES] = {false};
        for (int i = 0; i < PLACES; i++)
            x[i] = i == at ? (double)NAN : i * 7 % 13;
        nb_var in = nb_tensor(t, "x", NB_SHAPE(1, 1, ROWS, COLUMNS), x);
        nb_var z = nb_max_pool2d(in, size, size, &(nb_pool_options){.stride = {stride, stride}});
        ck_assert_int_eq(nb_read(z, y, nb_size(z)), NB_OK);
        for (int64_t o = 0; o < nb_size(z); o++) {
            const int64_t i = o / nb_dim(z, 3) * stride, j = o % nb_dim(z, 3) * stride;
            const int64_t down = at / COLUMNS - i, across = at % COLUMNS - j;
            const bool covers = down >= 0 && down < size && across >= 0 && across < size;
            for (int64_t k = 0; k < size * size && covers; k++)
                spoilt[(i + k / size) * COLUMNS + j + k % size] = true;
            if (isnan(y[o]) != covers)
                ck_abort_msg("window %ld is %g, the NaN at %d", (long)o, y[o], at);
        }
        ck_assert_int_eq(nb_backward(nb_sum(z)), NB_OK);
        ck_assert_int_eq(nb_read_grad(in, dx, PLACES), NB_OK);
        for (int i = 0; i < PLACES; i++)
            if (isnan(dx[i]) != spoilt[i])
                ck_abort_msg("the slope of place %d is %g, the NaN at %d", i, dx[i], at);
        nb_tape_free(t);
    }
}

START_TEST(nan_is_kept)
{
    setenv("NABLA_ISA", isas[_i], 1);
    for (nb_dtype d = NB_F64; d <= NB_F32; d++) {
        a_nan_everywhere(2, 2, d);
        a_nan_everywhere(2, 1, d);
        a_nan_everywhere(3, 3, d);
        a_nan_everywhere(3, 2, d);
    }
}
END_TEST

/* A window of a hundred thousand places. */
START_TEST(a_long_mean)
{
    enum { N = 100000 };
    nb_tape *t = tape_of(NB_F32);
    nb_var x = nb_full(t, NB_SHAPE(1, 1, N), 0.1), y = nb_average_pool1d(x, N, NULL);
    ck_assert_double_eq(nb_value(y), (double)0.1f);
    nb_tape_free(t);
}
END_TEST

START_TEST(over_all_places)
{
    nb_tape *t = tape_of(NB_F64);
    double y[4], g[12];
    nb_var x =
        nb_tensor(t, "x", NB_SHAPE(2, 2, 1, 3), (double[]){1, 2, 6, 0, 0, 0, -1, -1, -4, 5, 4, 9});
    nb_var mean = nb_global_average_pool(x), greatest = nb_global_max_pool(x);
    ck_assert(nb_shape_equal(nb_shape_of(mean), NB_SHAPE(2, 2)));
    ck_assert(nb_shape_equal(nb_shape_of(greatest), NB_SHAPE(2, 2)));
    nb_read(mean, y, 4);
    close_to(y, (double[]){3, 0, -2, 6}, 4, DBL_EPSILON, "mean");
    nb_read(greatest, y, 4);
    close_to(y, (double[]){6, 0, -1, 9}, 4, 0, "max");
    ck_assert_int_eq(nb_backward(nb_sum(greatest)), NB_OK);
    nb_read_grad(x, g, 12);
    close_to(g, (double[]){0, 0, 1, 1. / 3, 1. / 3, 1. / 3, 0.5, 0.5, 0, 0, 0, 1}, 12, DBL_EPSILON,
             "dx");
    ck_assert_int_eq(nb_dim(nb_global_max_pool(nb_ones(t, NB_SHAPE(2, 3, 4))), 1), 3);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
}
END_TEST

START_TEST(empty_batches)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_leaf("x", nb_zeros(t, NB_SHAPE(0, 3, 4, 4)));
    nb_var y = nb_max_pool2d(x, 2, 2, NULL), z = nb_average_pool2d(x, 2, 2, NULL);
    ck_assert(nb_shape_equal(nb_shape_of(y), NB_SHAPE(0, 3, 2, 2)));
    ck_assert(nb_shape_equal(nb_shape_of(z), NB_SHAPE(0, 3, 2, 2)));
    ck_assert_int_eq(nb_backward(nb_add(nb_sum(y), nb_sum(z))), NB_OK);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_name(nb_zeros(t, NB_SHAPE(2, 3, 5, 4)), "image"), s = nb_input(t, "s", 1);
    const nb_pool_options pad = {.padding = {0, 2}}, minus = {.stride = {1, -1}};
    refused(t, nb_max_pool2d(x, 2, 5, NULL), NB_ERR_SHAPE, "max_pool: the window does not fit");
    refused(t, nb_max_pool2d(x, 2, 5, NULL), NB_ERR_SHAPE, "axis 3 has 4 and padding 0");
    refused(t, nb_max_pool2d(x, 2, 5, NULL), NB_ERR_SHAPE, "\"image\"");
    refused(t, nb_average_pool2d(x, 6, 1, NULL), NB_ERR_SHAPE, "axis 2 has 5");
    refused(t, nb_max_pool2d(x, 0, 2, NULL), NB_ERR_ARGUMENT, "window[0] is 0");
    refused(t, nb_max_pool2d(x, 2, -2, NULL), NB_ERR_ARGUMENT, "window[1] is -2");
    refused(t, nb_max_pool2d(x, 2, INT64_MAX, NULL), NB_ERR_ARGUMENT, "window[1]");
    refused(t, nb_max_pool2d(x, 2, 2, &pad), NB_ERR_ARGUMENT, "padding[1] is 2");
    refused(t, nb_average_pool2d(x, 2, 2, &minus), NB_ERR_ARGUMENT, "stride[1] is -1");
    refused(t, nb_max_pool1d(x, 2, NULL), NB_ERR_SHAPE, "3 axes, x has 4");
    refused(t, nb_average_pool2d(s, 2, 2, NULL), NB_ERR_SHAPE, "4 axes, x has 0");
    refused(t, nb_global_max_pool(s), NB_ERR_SHAPE, "x has 0 axes");
    nb_mark here = nb_tape_mark(t);
    nb_var gone = nb_ones(t, NB_SHAPE(1, 1, 2, 2));
    nb_rewind(here);
    refused(t, nb_global_max_pool(gone), NB_ERR_HANDLE, "global_max_pool: operand a is stale");
    refused(t, nb_global_average_pool(nb_zeros(t, NB_SHAPE(2, 3))), NB_ERR_SHAPE,
            "global_average_pool: needs a batch");
    refused(t, nb_max_pool1d(nb_zeros(t, NB_SHAPE(1, 1, 0)), 1, NULL), NB_ERR_SHAPE,
            "axis 2 has 0");
    nb_var y = nb_max_pool2d(x, 2, 2, NULL); /* the tape is usable */
    ck_assert(nb_shape_equal(nb_shape_of(y), NB_SHAPE(2, 3, 2, 2)));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("pooling");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, a_grid, 0, ISAS);
    tcase_add_test(c, hard_points);
    tcase_add_loop_test(c, nan_is_kept, 0, ISAS);
    tcase_add_test(c, a_long_mean);
    tcase_add_test(c, over_all_places);
    tcase_add_test(c, empty_batches);
    tcase_add_test(c, what_is_refused);
    return run_case("pooling", c);
}
