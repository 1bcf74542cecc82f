/*
 * Convolution against seven plain loops, value and gradients: the trilinear form
 *
 *     y[n, m, o] += w[m, c, k] x[n, c, i],   dx[n, c, i] += w[m, c, k] g[n, m, o],
 *     dw[m, c, k] += x[n, c, i] g[n, m, o],  i = o stride - padding + k dilation inside x
 *
 * over a grid of sizes, options, types and instruction sets; the transposed convolution by the same
 * loops. Then sizes that take more than one block, band and image at a time, the transposition
 * identity, what is refused, what is empty, and what infinite pixels may touch.
 */
#include "run.h"
#include "error_is.h"

#include <float.h>
#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

typedef struct example {
    int64_t n, groups, c, m; /* channels per group */
    int64_t in[2], taps[2], stride[2], padding[2], dilation[2];
} example;

typedef struct arrays {
    int64_t nx, nw, ny, channels, out[2];
    double *x, *w, *y, *b, *dx, *dw, *db, *got;
} arrays;

static const char *const isas[] = {"plain", "avx2", "avx512",
                                   "neon"}; /* what is missing: ignored */
enum { ISAS = sizeof isas / sizeof *isas };

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

/* ---- the plain loops ------------------------------------------------------------------------- */

static void term(const example *e, arrays *a, const int64_t *out, int64_t n, int64_t m, int64_t k0,
                 int64_t k1, bool back)
{
    for (int64_t c = 0; c < e->c; c++)
        for (int64_t o0 = 0; o0 < out[0]; o0++)
            for (int64_t o1 = 0; o1 < out[1]; o1++) {
                const int64_t i0 = o0 * e->stride[0] - e->padding[0] + k0 * e->dilation[0];
                const int64_t i1 = o1 * e->stride[1] - e->padding[1] + k1 * e->dilation[1];
                if (i0 < 0 || i0 >= e->in[0] || i1 < 0 || i1 >= e->in[1])
                    continue;
                const int64_t group = m / e->m, channel = group * e->c + c;
                const int64_t x =
                    ((n * e->groups * e->c + channel) * e->in[0] + i0) * e->in[1] + i1;
                const int64_t w = ((m * e->c + c) * e->taps[0] + k0) * e->taps[1] + k1;
                const int64_t y = ((n * e->groups * e->m + m) * out[0] + o0) * out[1] + o1;
                if (back) { /* x is the result, y and w the operands, dx its adjoint */
                    a->x[x] += a->w[w] * a->y[y];
                    a->got[y] += a->w[w] * a->dx[x];
                    a->dw[w] += a->dx[x] * a->y[y];
                } else {
                    a->got[y] += a->w[w] * a->x[x];
                    a->dx[x] += a->w[w] * a->y[y];
                    a->dw[w] += a->x[x] * a->y[y];
                }
            }
}

static void naive(const example *e, arrays *a, bool back)
{
    for (int64_t n = 0; n < e->n; n++)
        for (int64_t m = 0; m < e->groups * e->m; m++)
            for (int64_t k0 = 0; k0 < e->taps[0]; k0++)
                for (int64_t k1 = 0; k1 < e->taps[1]; k1++)
                    term(e, a, a->out, n, m, k0, k1, back);
}

static void open_arrays(const example *e, arrays *a)
{
    for (int i = 0; i < 2; i++)
        a->out[i] =
            (e->in[i] + 2 * e->padding[i] - e->dilation[i] * (e->taps[i] - 1) - 1) / e->stride[i] +
            1;
    a->nx = e->n * e->groups * e->c * e->in[0] * e->in[1];
    a->nw = e->groups * e->m * e->c * e->taps[0] * e->taps[1];
    a->ny = e->n * e->groups * e->m * a->out[0] * a->out[1];
    const int64_t wide = e->groups * (e->m > e->c ? e->m : e->c);
    double *p = calloc((size_t)(2 * a->nx + 2 * a->nw + 2 * a->ny + 2 * wide + a->nx + a->nw + 1),
                       sizeof *p);
    ck_assert_ptr_nonnull(p);
    a->x = p, a->dx = a->x + a->nx, a->w = a->dx + a->nx, a->dw = a->w + a->nw;
    a->y = a->dw + a->nw, a->got = a->y + a->ny, a->b = a->got + a->ny, a->db = a->b + wide;
}

static void fill(double *x, int64_t n, nb_rng *r)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(2 * nb_rng_uniform(r) - 1);
}

/* Whether sums of so many terms, each below 1, are what they should be. */
static void close_to(const double *x, const double *y, int64_t n, int64_t terms, nb_dtype d,
                     const char *what)
{
    const double tolerance =
        (double)(terms + 8) * (d == NB_F64 ? DBL_EPSILON : (double)FLT_EPSILON);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance))
            ck_abort_msg("%s[%ld]: %.9g, not %.9g", what, (long)i, x[i], y[i]);
}

static nb_shape shape_of(int axes, int64_t a, int64_t b, const int64_t *sizes)
{
    return axes == 1 ? NB_SHAPE(a, b, sizes[1]) : NB_SHAPE(a, b, sizes[0], sizes[1]);
}

static nb_conv_options options_of(const example *e, int axes)
{
    nb_conv_options o = {.groups = e->groups};
    for (int i = 0; i < axes; i++) {
        o.stride[i] = e->stride[2 - axes + i];
        o.padding[i] = e->padding[2 - axes + i];
        o.dilation[i] = e->dilation[2 - axes + i];
    }
    return o;
}

/* Compares a gradient, and once more after a second sweep that adds to the first. */
static void compare_gradients(nb_var y, const double *seed, size_t n, const nb_var *in,
                              const double *const *want, const int64_t *terms, nb_dtype d)
{
    nb_sweep s = {.n_out = 1, .out = &y, .seed = &seed};
    for (int round = 1; round <= 2; round++) {
        ck_assert_msg(nb_backward_with(&s) == NB_OK, "%s", nb_message(y.tape));
        for (size_t k = 0; k < n; k++) {
            const int64_t size = nb_size(in[k]);
            double *got = malloc((size_t)(size + 1) * sizeof *got);
            ck_assert_int_eq(nb_read_grad(in[k], got, size), NB_OK);
            for (int64_t i = 0; i < size; i++)
                got[i] /= round;
            close_to(got, want[k], size, terms[k], d, k == 0 ? "dx" : k == 1 ? "dw" : "db");
            free(got);
        }
        s.accumulate = true;
    }
}

static void check_forward(const example *e, int axes, nb_dtype d)
{
    arrays a;
    nb_rng r = nb_rng_seed(11);
    open_arrays(e, &a);
    fill(a.x, a.nx, &r);
    fill(a.w, a.nw, &r);
    fill(a.y, a.ny, &r); /* the adjoint */
    fill(a.b, e->groups * e->m, &r);
    naive(e, &a, false);
    const int64_t places = a.out[0] * a.out[1], channels = e->groups * e->m;
    for (int64_t i = 0; i < a.ny; i++) {
        a.got[i] += a.b[i / places % channels];
        a.db[i / places % channels] += a.y[i];
    }

    nb_tape *t = tape_of(d);
    const nb_conv_options o = options_of(e, axes);
    const nb_var in[] = {
        nb_tensor(t, "x", shape_of(axes, e->n, e->groups * e->c, e->in), a.x),
        nb_tensor(t, "w", shape_of(axes, channels, e->c, e->taps), a.w),
        nb_tensor(t, "b", NB_SHAPE(channels), a.b),
    };
    nb_var y = axes == 1 ? nb_conv1d(in[0], in[1], in[2], &o) : nb_conv2d(in[0], in[1], in[2], &o);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(y), shape_of(axes, e->n, channels, a.out)));
    double *read = malloc((size_t)(a.ny + 1) * sizeof *read);
    ck_assert_int_eq(nb_read(y, read, a.ny), NB_OK);
    const int64_t taps = e->taps[0] * e->taps[1], sums = e->n * places;
    close_to(read, a.got, a.ny, e->c * taps, d, "y");
    compare_gradients(y, a.y, 3, in, (const double *const[]){a.dx, a.dw, a.db},
                      (const int64_t[]){e->m * taps, sums, sums}, d);
    free(read);
    free(a.x);
    nb_tape_free(t);
}

static void check_back(const example *e, int axes, nb_dtype d)
{
    arrays a;
    nb_rng r = nb_rng_seed(12);
    open_arrays(e, &a);
    fill(a.y, a.ny, &r);
    fill(a.w, a.nw, &r);
    fill(a.dx, a.nx, &r); /* the adjoint */
    fill(a.b, e->groups * e->c, &r);
    naive(e, &a, true);
    const int64_t places = e->in[0] * e->in[1], channels = e->groups * e->c;
    for (int64_t i = 0; i < a.nx; i++) {
        a.x[i] += a.b[i / places % channels];
        a.db[i / places % channels] += a.dx[i];
    }

    nb_tape *t = tape_of(d);
    nb_conv_options o = options_of(e, axes);
    for (int i = 0; i < axes; i++) {
        const int k = 2 - axes + i;
        o.output_padding[i] = e->in[k] - ((a.out[k] - 1) * e->stride[k] - 2 * e->padding[k] +
                                          e->dilation[k] * (e->taps[k] - 1) + 1);
    }
    const nb_var in[] = {
        nb_tensor(t, "x", shape_of(axes, e->n, e->groups * e->m, a.out), a.y),
        nb_tensor(t, "w", shape_of(axes, e->groups * e->m, e->c, e->taps), a.w),
        nb_tensor(t, "b", NB_SHAPE(channels), a.b),
    };
    nb_var x = axes == 1 ? nb_conv_transposed1d(in[0], in[1], in[2], &o)
                         : nb_conv_transposed2d(in[0], in[1], in[2], &o);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(x), shape_of(axes, e->n, channels, e->in)));
    double *read = malloc((size_t)(a.nx + 1) * sizeof *read);
    ck_assert_int_eq(nb_read(x, read, a.nx), NB_OK);
    const int64_t taps = e->taps[0] * e->taps[1], sums = e->n * places;
    close_to(read, a.x, a.nx, e->m * taps, d, "x");
    compare_gradients(x, a.dx, 3, in, (const double *const[]){a.got, a.dw, a.db},
                      (const int64_t[]){e->c * taps, sums, sums}, d);
    free(read);
    free(a.x);
    nb_tape_free(t);
}

static void check_example(const example *e, int axes)
{
    for (nb_dtype d = NB_F64; d <= NB_F32; d++) {
        check_forward(e, axes, d);
        check_back(e, axes, d);
    }
}

/* ---- the grid -------------------------------------------------------------------------------- */

/* Every combination of the options along one axis that fits; the other axis walks through the same
 * list out of step. */
START_TEST(a_grid_of_options)
{
    static const int64_t list[][5] = {
        /* in, taps, stride, padding, dilation */
        {7, 3, 1, 0, 1},  {7, 3, 1, 1, 1},   {8, 3, 2, 1, 1},  {9, 2, 3, 0, 1}, {9, 3, 2, 2, 2},
        {5, 5, 1, 4, 1},  {6, 1, 2, 0, 1},   {4, 2, 1, 3, 1},  {3, 3, 5, 0, 1}, {10, 3, 4, 3, 3},
        {20, 3, 1, 0, 1}, {19, 4, 1, 2, 1},  {37, 3, 2, 1, 1}, {1, 1, 1, 0, 1}, {1, 3, 1, 1, 1},
        {2, 1, 1, 2, 1},  {33, 2, 1, 0, 16},
    };
    static const int64_t channels[][4] = {/* n, groups, c, m */
                                          {1, 1, 1, 1},
                                          {2, 1, 2, 3},
                                          {2, 3, 1, 2},
                                          {1, 2, 2, 9},
                                          {3, 1, 3, 8}};
    enum { LIST = sizeof list / sizeof *list, CHANNELS = sizeof channels / sizeof *channels };
    setenv("NABLA_ISA", isas[_i], 1);
    for (int i = 0; i < LIST; i++)
        for (int step = 0; step < LIST; step += 3) {
            const int64_t *p = list[(i + step) % LIST], *q = list[i];
            const int64_t *k = channels[(i + step) % CHANNELS];
            const example e = {k[0],         k[1],         k[2],         k[3],        {p[0], q[0]},
                               {p[1], q[1]}, {p[2], q[2]}, {p[3], q[3]}, {p[4], q[4]}};
            check_example(&e, 2);
        }
    for (int i = 0; i < LIST; i++) {
        const int64_t *q = list[i], *k = channels[i % CHANNELS];
        const example e = {k[0],      k[1],      k[2],      k[3],     {1, q[0]},
                           {1, q[1]}, {1, q[2]}, {0, q[3]}, {1, q[4]}};
        check_example(&e, 1);
    }
}
END_TEST

/* More terms than a block of the sum, more rows than a band, more images than go together, more
 * output channels than are taken at a time; layers of a small network. */
START_TEST(large_examples)
{
    static const example list[] = {
        {2, 1, 40, 5, {6, 7}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
        {1, 1, 2, 3, {70, 61}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
        {1, 1, 1, 2, {90, 40}, {5, 3}, {2, 1}, {2, 0}, {1, 1}},
        {1, 1, 3, 2, {80, 80}, {3, 3}, {2, 2}, {1, 1}, {2, 1}},
        {70, 1, 1, 2, {5, 5}, {3, 3}, {1, 1}, {0, 0}, {1, 1}},
        {3, 1, 2, 75, {5, 6}, {2, 2}, {1, 1}, {0, 1}, {1, 1}},
        {1, 1, 75, 3, {5, 6}, {2, 2}, {2, 2}, {0, 1}, {1, 1}},
        {4, 1, 1, 8, {28, 28}, {3, 3}, {1, 1}, {0, 0}, {1, 1}},
        {4, 1, 8, 16, {13, 13}, {3, 3}, {1, 1}, {0, 0}, {1, 1}},
        {1, 24, 1, 1, {12, 12}, {3, 3}, {1, 1}, {1, 1}, {1, 1}},
        {1, 1, 1, 1, {1, 5000}, {1, 7}, {1, 3}, {0, 3}, {1, 1}},
        {1, 1, 1, 1, {3000, 2}, {7, 1}, {1, 1}, {3, 0}, {1, 1}},
    };
    setenv("NABLA_ISA", isas[_i], 1);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        check_example(&list[i], 2);
}
END_TEST

/* An axis shorter than its stride, along which some taps only ever meet zeros: the weights of the next
 * group begin where they do all the same. */
START_TEST(axes_shorter_than_the_stride)
{
    static const example list[] = {
        {2, 3, 2, 3, {2, 3}, {3, 3}, {3, 2}, {2, 1}, {1, 1}},
        {3, 3, 3, 12, {1, 8}, {3, 1}, {2, 1}, {3, 1}, {1, 2}},
        {2, 2, 2, 2, {5, 1}, {4, 4}, {1, 3}, {3, 3}, {2, 1}},
        {1, 2, 5, 7, {2, 2}, {2, 2}, {3, 3}, {2, 2}, {1, 1}},
    };
    setenv("NABLA_ISA", isas[_i], 1);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        check_example(&list[i], 2);
}
END_TEST

/* <conv(x, w), y> = <x, conv_transposed(y, w)>, without bias and with options left to default. */
START_TEST(transposition)
{
    nb_tape *t = tape_of(NB_F64);
    nb_rng r = nb_rng_seed(5);
    nb_var x = nb_normal(t, NB_SHAPE(2, 3, 9, 8), 0, 1, &r);
    nb_var w = nb_normal(t, NB_SHAPE(4, 3, 3, 2), 0, 1, &r);
    nb_var y = nb_conv2d(x, w, NB_NONE, NULL);
    nb_var v = nb_normal(t, nb_shape_of(y), 0, 1, &r);
    nb_var back = nb_conv_transposed2d(v, w, NB_NONE, NULL);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(back), nb_shape_of(x)));
    const double one = nb_value(nb_sum(nb_mul(y, v))), two = nb_value(nb_sum(nb_mul(x, back)));
    ck_assert_double_ne(one, 0);
    ck_assert_double_eq_tol(one, two, 1e-12 * fabs(one));
    nb_tape_free(t);
}
END_TEST

/* Value and gradients of a layer with pooling, one after the other, on so many threads. */
static int64_t step(int threads, const nb_conv_options *o, double *out)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32, .threads = threads});
    nb_rng r = nb_rng_seed(3);
    nb_var x = nb_leaf("x", nb_normal(t, NB_SHAPE(5, 16, 40, 40), 0, 1, &r));
    nb_var w = nb_leaf("w", nb_normal(t, NB_SHAPE(36, 16, 3, 3), 0, 1, &r));
    nb_var b = nb_leaf("b", nb_normal(t, NB_SHAPE(36), 0, 1, &r));
    nb_var y = nb_conv2d(x, w, b, o), z = nb_max_pool2d(y, 2, 2, NULL);
    ck_assert_int_eq(nb_backward(nb_sum(nb_square(z))), NB_OK);
    const nb_var grads[] = {x, w, b};
    int64_t n = nb_size(y);
    nb_read(y, out, n);
    for (int k = 0; k < 3; n += nb_size(grads[k]), k++)
        nb_read_grad(grads[k], out + n, nb_size(grads[k]));
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
    return n;
}

START_TEST(any_number_of_threads)
{
    enum { MOST = 600000 };
    static double one[MOST], many[MOST];
    const nb_conv_options o = {.stride = {1 + _i, 1 + _i}, .padding = {1, 1}};
    const int64_t n = step(0, &o, one);
    ck_assert_int_le(n, MOST);
    for (int threads = 2; threads <= 3; threads++) {
        ck_assert_int_eq(step(threads, &o, many), n);
        ck_assert(!memcmp(one, many, (size_t)n * sizeof *one));
    }
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

/* An infinite pixel reaches the taps that read it and no other, although the kernels run past the ends
 * of rows: of a row of three pixels under a window of two, the first tap never reads the last. */
START_TEST(an_infinite_pixel_stays_in_its_place)
{
    for (int i = 0; i < ISAS; i++)
        for (nb_dtype d = NB_F64; d <= NB_F32; d++) {
            setenv("NABLA_ISA", isas[i], 1);
            nb_tape *t = tape_of(d);
            double x[12 * 20], g[12 * 19], dw[2], sum = 0;
            for (int k = 0; k < 12 * 20; k++)
                x[k] = k % 20 == 19 ? (k % 40 == 19 ? HUGE_VAL : (double)NAN) : 1;
            for (int k = 0; k < 12 * 19; k++)
                sum += g[k] = k % 7 + 1;
            nb_var w = nb_tensor(t, "w", NB_SHAPE(1, 1, 1, 2), (double[]){1, 1});
            nb_var in = nb_constant_tensor(t, NB_SHAPE(1, 1, 12, 20), x);
            nb_var y = nb_conv2d(in, w, NB_NONE, NULL);
            const double *seed = g;
            nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = &seed});
            nb_read_grad(w, dw, 2);
            ck_assert_double_eq(dw[0], sum);
            ck_assert(isnan(dw[1]));
            nb_tape_free(t);
        }
}
END_TEST

/* The sum over a million places of one number, in floats. */
START_TEST(long_sums)
{
    enum { N = 1000000 };
    nb_tape *t = tape_of(NB_F32);
    nb_var x = nb_full(t, NB_SHAPE(1, 1, N), 0.1);
    nb_var w = nb_leaf("w", nb_ones(t, NB_SHAPE(1, 1, 1)));
    nb_var b = nb_leaf("b", nb_zeros(t, NB_SHAPE(1)));
    double dw, db;
    nb_var y = nb_conv1d(x, w, b, NULL);
    ck_assert_int_eq(nb_backward(nb_sum(nb_mul(y, 0.1f))), NB_OK);
    nb_read_grad(w, &dw, 1);
    nb_read_grad(b, &db, 1);
    const double tenth = (double)0.1f;
    ck_assert_double_eq_tol(dw, N * tenth * tenth, 1e-6 * dw);
    ck_assert_double_eq_tol(db, N * tenth, 1e-6 * db);
    nb_tape_free(t);
}
END_TEST

START_TEST(empty_arrays)
{
    nb_tape *t = tape_of(NB_F64);
    double dw[6], db[2], y[18];
    nb_var w = nb_leaf("w", nb_ones(t, NB_SHAPE(2, 3, 1))),
           b = nb_leaf("b", nb_ones(t, NB_SHAPE(2)));
    nb_var none = nb_conv1d(nb_zeros(t, NB_SHAPE(0, 3, 4)), w, b, NULL);
    ck_assert(nb_shape_equal(nb_shape_of(none), NB_SHAPE(0, 2, 4)));
    ck_assert_int_eq(nb_backward(nb_sum(none)), NB_OK);
    nb_read_grad(w, dw, 6);
    nb_read_grad(b, db, 2);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(dw[i], 0);
    ck_assert_double_eq(db[0] + db[1], 0);

    /* no channels: the bias alone */
    nb_var bias = nb_tensor(t, "b", NB_SHAPE(2), (double[]){3, 4});
    nb_var flat =
        nb_conv2d(nb_zeros(t, NB_SHAPE(1, 0, 3, 3)), nb_zeros(t, NB_SHAPE(2, 0, 1, 1)), bias, NULL);
    ck_assert_int_eq(nb_read(flat, y, 18), NB_OK);
    for (int i = 0; i < 18; i++)
        ck_assert_double_eq(y[i], i < 9 ? 3 : 4);
    ck_assert_int_eq(nb_backward(nb_sum(flat)), NB_OK);
    nb_read_grad(bias, db, 2);
    ck_assert_double_eq(db[0], 9);
    ck_assert_double_eq(db[1], 9);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static nb_var with(nb_var x, nb_var w, nb_conv_options o) { return nb_conv2d(x, w, NB_NONE, &o); }
static nb_var back(nb_var x, nb_var w, nb_conv_options o)
{
    return nb_conv_transposed2d(x, w, NB_NONE, &o);
}

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_name(nb_zeros(t, NB_SHAPE(2, 6, 5, 4)), "image"), s = nb_input(t, "s", 1);
    nb_var w = nb_ones(t, NB_SHAPE(4, 6, 3, 3)), thin = nb_ones(t, NB_SHAPE(4, 2, 3, 3));
    nb_var wide = nb_ones(t, NB_SHAPE(4, 6, 3, 5)), none = nb_ones(t, NB_SHAPE(4, 6, 0, 3));
    const int64_t huge = INT64_C(1) << 40;

    refused(t, nb_conv2d(x, thin, NB_NONE, NULL), NB_ERR_SHAPE,
            "x has 6 in each of 1 groups, w takes 2");
    refused(t, nb_conv2d(x, thin, NB_NONE, NULL), NB_ERR_SHAPE, "conv: the channels differ");
    refused(t, nb_conv2d(x, thin, NB_NONE, NULL), NB_ERR_SHAPE, "\"image\"");
    refused(t, nb_conv2d(x, thin, NB_NONE, NULL), NB_ERR_SHAPE, "[4 2 3 3]");
    refused(t, with(x, thin, (nb_conv_options){.groups = 4}), NB_ERR_SHAPE, "x has 6, groups is 4");
    refused(t, with(x, nb_ones(t, NB_SHAPE(4, 2, 1, 1)), (nb_conv_options){.groups = 3}),
            NB_ERR_SHAPE, "w has 4, groups is 3");
    refused(t, with(x, wide, (nb_conv_options){.stride = {1, 1}}), NB_ERR_SHAPE,
            "axis 3 has 4 with its padding, the window spans 5");
    refused(t, with(x, w, (nb_conv_options){.dilation = {4, 1}}), NB_ERR_SHAPE,
            "axis 2 has 5 with its padding, the window spans 9");
    refused(t, nb_conv2d(x, none, NB_NONE, NULL), NB_ERR_SHAPE, "no taps");
    refused(t, nb_conv1d(x, w, NB_NONE, NULL), NB_ERR_SHAPE, "x has 4, w has 4");
    refused(t, nb_conv2d(s, w, NB_NONE, NULL), NB_ERR_SHAPE, "x has 0, w has 4");
    refused(t, nb_conv2d(x, w, nb_ones(t, NB_SHAPE(6)), NULL), NB_ERR_SHAPE,
            "the result has 4 channels");
    refused(t, nb_conv2d(x, w, s, NULL), NB_ERR_SHAPE, "the bias does not fit");
    refused(t, with(x, w, (nb_conv_options){.stride = {-1, 1}}), NB_ERR_ARGUMENT,
            "stride[0] is -1");
    refused(t, with(x, w, (nb_conv_options){.stride = {1, huge}}), NB_ERR_ARGUMENT, "stride[1]");
    refused(t, with(x, w, (nb_conv_options){.padding = {0, -2}}), NB_ERR_ARGUMENT,
            "padding[1] is -2");
    refused(t, with(x, w, (nb_conv_options){.dilation = {-1, 1}}), NB_ERR_ARGUMENT, "dilation[0]");
    refused(t, with(x, w, (nb_conv_options){.groups = -1}), NB_ERR_ARGUMENT, "groups is -1");
    refused(t, with(x, w, (nb_conv_options){.output_padding = {0, 1}}), NB_ERR_ARGUMENT,
            "output_padding[1] is 1");
    ck_assert_int_eq(nb_status(t), NB_OK);

    refused(t, nb_conv_transposed2d(x, w, NB_NONE, NULL), NB_ERR_SHAPE, "x has 6, w takes 4");
    nb_var y = nb_zeros(t, NB_SHAPE(2, 4, 1, 1));
    refused(t, nb_conv_transposed2d(y, w, x, NULL), NB_ERR_SHAPE, "the result has 6 channels");
    refused(t, back(y, w, (nb_conv_options){.padding = {0, 2}}), NB_ERR_SHAPE,
            "axis 3 would have 3 without its padding of 2");
    refused(t, back(y, w, (nb_conv_options){.stride = {2, 2}, .output_padding = {0, 2}}),
            NB_ERR_ARGUMENT, "output padding is not below the stride");
    refused(t, back(nb_zeros(t, NB_SHAPE(2, 4, 0, 1)), w, (nb_conv_options){.groups = 1}),
            NB_ERR_SHAPE, "axis 2 of x");

    /* sizes that overflow, of arrays without elements */
    nb_var long_w = nb_zeros(t, NB_SHAPE(0, 0, huge, 1)),
           long_x = nb_zeros(t, NB_SHAPE(0, 0, huge, 1));
    refused(t, with(long_x, long_w, (nb_conv_options){.dilation = {1 << 30, 1}}), NB_ERR_OVERFLOW,
            "dilation 1073741824");
    refused(t,
            back(nb_zeros(t, NB_SHAPE(0, 4, INT64_C(1) << 61, 1)), w,
                 (nb_conv_options){.stride = {1 << 20, 1}}),
            NB_ERR_OVERFLOW, "axis 2");
    refused(t, back(y, nb_zeros(t, NB_SHAPE(4, huge, 0, 1)), (nb_conv_options){.groups = 1}),
            NB_ERR_SHAPE, "no taps");
    nb_var z = nb_conv2d(x, w, NB_NONE, NULL); /* the tape is usable */
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(z), NB_SHAPE(2, 4, 3, 2)));
    nb_tape_free(t);
}
END_TEST

/* Padding that would need more room than there is: an error, not a crash. */
START_TEST(no_memory)
{
    nb_tape *t = nb_tape_new(&(nb_options){.max_bytes = 1 << 20});
    nb_var x = nb_leaf("x", nb_ones(t, NB_SHAPE(1, 1, 4, 4)));
    nb_var w = nb_leaf("w", nb_ones(t, NB_SHAPE(1, 1, 3, 3)));
    const nb_conv_options o = {.padding = {1 << 20, 1}, .dilation = {1 << 20, 1}};
    nb_var y = nb_conv2d(x, w, NB_NONE, &o);
    ck_assert(!nb_ok(y));
    ck_assert_int_eq(nb_status(t), NB_ERR_LIMIT);
    nb_clear(t);
    y = nb_conv2d(x, w, NB_NONE, NULL);
    ck_assert_int_eq(nb_backward(nb_sum(y)), NB_OK);
    double d[16];
    ck_assert_int_eq(nb_read_grad(x, d, 16), NB_OK);
    ck_assert_double_eq(d[0], 1);
    ck_assert_double_eq(d[5], 4);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("convolution");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, a_grid_of_options, 0, ISAS);
    tcase_add_loop_test(c, axes_shorter_than_the_stride, 0, ISAS);
    tcase_add_loop_test(c, large_examples, 0, ISAS);
    tcase_add_test(c, transposition);
    tcase_add_loop_test(c, any_number_of_threads, 0, 2);
    tcase_add_test(c, an_infinite_pixel_stays_in_its_place);
    tcase_add_test(c, long_sums);
    tcase_add_test(c, empty_arrays);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, no_memory);
    return run_case("conv", c);
}
