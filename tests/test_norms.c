/*
 * Layer, RMS, group and batch norm against their definition, element by element:
 *
 *     xhat[i] = (x[i] - m) r,  r = 1 / sqrt(v + eps)
 *     dxhat[i]/dx[j] = r ([i = j] - 1/n) - r^3 (x[i] - m) (x[j] - m) / n
 *
 * (without the 1/n and the m for RMS norm), summed over all pairs of a cell. Each element is told
 * its cell and its channel; the rest is the same for all. Then the hard points, the running
 * statistics, what is refused, memory that runs out, and that work can be cut anywhere.
 */
#include "counting.h"
#include "error_is.h"
#include "run.h"

#include "kernels/norm.h"
#include <float.h>
#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 2000 };

typedef enum form { LAYER, RMS, GROUP, BATCH, RUNNING } form;

typedef struct example {
    form form;
    nb_shape x;
    int64_t k; /* axes or groups */
    bool gain, bias;
} example;

static const example examples[] = {
    {LAYER, {2, {5, 7}}, 1, true, true},       {LAYER, {2, {3, 200}}, 1, true, true},
    {LAYER, {3, {4, 3, 6}}, 2, true, false},   {LAYER, {1, {9}}, 1, false, true},
    {LAYER, {2, {70, 1}}, 1, true, true},      {LAYER, {2, {0, 5}}, 1, true, true},
    {RMS, {2, {5, 7}}, 1, true, true},         {RMS, {3, {2, 3, 65}}, 1, false, false},
    {GROUP, {4, {3, 6, 2, 5}}, 3, true, true}, {GROUP, {3, {2, 4, 70}}, 4, true, true},
    {GROUP, {2, {3, 8}}, 2, true, false},      {GROUP, {3, {2, 4, 1}}, 1, false, true},
    {GROUP, {3, {0, 4, 3}}, 2, true, true},    {BATCH, {2, {9, 5}}, 0, true, true},
    {BATCH, {2, {20, 70}}, 0, true, true},     {BATCH, {2, {300, 3}}, 0, true, false},
    {BATCH, {4, {3, 4, 2, 7}}, 0, true, true}, {BATCH, {3, {2, 3, 130}}, 0, false, true},
    {RUNNING, {2, {9, 5}}, 0, true, true},     {RUNNING, {3, {2, 3, 6}}, 0, true, true},
    {RUNNING, {3, {0, 3, 6}}, 0, true, true},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static double past_mean[100], past_variance[100];

static nb_var call(const example *e, nb_var x, nb_var gain, nb_var bias, double eps)
{
    const nb_running past = {e->x.dims[1], past_mean, past_variance, 0.1, false};
    switch (e->form) {
    case LAYER: return nb_layer_norm(x, (int)e->k, gain, bias, eps);
    case RMS: return nb_rms_norm(x, (int)e->k, gain, bias, eps);
    case GROUP: return nb_group_norm(x, e->k, gain, bias, eps);
    case BATCH: return nb_batch_norm(x, gain, bias, eps, NULL, true);
    default: return nb_batch_norm(x, gain, bias, eps, &past, false);
    }
}

/* ---- the definition -------------------------------------------------------------------------- */

typedef struct figures {
    double y[MOST], dx[MOST], dgain[MOST], dbias[MOST];
} figures;

/* The elements behind each index of the axes [from, to). */
static int64_t count(const nb_shape *s, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++)
        n *= s->dims[i];
    return n;
}

static nb_shape affine_shape(const example *e)
{
    const int first = e->x.rank - (int)e->k;
    if (e->form == LAYER || e->form == RMS)
        return nb_shape_make((size_t)e->k, e->x.dims + first);
    return NB_SHAPE(e->x.dims[1]);
}

static int64_t channel_of(const example *e, int64_t i)
{
    if (e->form == LAYER || e->form == RMS)
        return i % count(&e->x, e->x.rank - (int)e->k, e->x.rank);
    return i / count(&e->x, 2, e->x.rank) % e->x.dims[1];
}

static int64_t cell_of(const example *e, int64_t i)
{
    if (e->form == LAYER || e->form == RMS)
        return i / count(&e->x, e->x.rank - (int)e->k, e->x.rank);
    if (e->form != GROUP)
        return channel_of(e, i);
    return i / (count(&e->x, 2, e->x.rank) * (e->x.dims[1] / e->k));
}

static void define(const example *e, double eps, const double *x, const double *gain,
                   const double *bias, const double *g, figures *f)
{
    const int64_t size = nb_shape_size(e->x);
    memset(f, 0, sizeof *f);
    for (int64_t i = 0; i < size; i++) {
        const int64_t cell = cell_of(e, i), c = channel_of(e, i);
        double m = 0, v = 0, n = 0;
        for (int64_t j = 0; j < size; j++)
            if (cell_of(e, j) == cell)
                m += x[j], n++;
        m = e->form == RMS ? 0 : e->form == RUNNING ? past_mean[c] : m / n;
        for (int64_t j = 0; j < size; j++)
            if (cell_of(e, j) == cell)
                v += (x[j] - m) * (x[j] - m);
        v = e->form == RUNNING ? past_variance[c] : v / n;
        const double r = 1 / sqrt(v + eps), hat = (x[i] - m) * r;
        f->y[i] = hat * (e->gain ? gain[c] : 1) + (e->bias ? bias[c] : 0);
        f->dgain[c] += g[i] * hat;
        f->dbias[c] += g[i];
        for (int64_t j = 0; j < size; j++) {
            double slope = i == j ? r : 0;
            if (cell_of(e, j) != cell)
                continue;
            if (e->form != RUNNING)
                slope -= r * r * r * (x[i] - m) * (x[j] - m) / n + (e->form == RMS ? 0 : r / n);
            f->dx[j] += g[i] * (e->gain ? gain[c] : 1) * slope;
        }
    }
}

static void fill(double *x, int64_t n, nb_rng *r)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(4 * nb_rng_uniform(r) - 1);
}

static bool close_to(const double *x, const double *y, int64_t n, double tolerance)
{
    double top = 1;
    for (int64_t i = 0; i < n; i++)
        top = fabs(y[i]) > top ? fabs(y[i]) : top;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance * top))
            return false;
    return true;
}

static void agrees(nb_var x, const double *due, double tolerance)
{
    static double got[MOST];
    ck_assert_int_eq(nb_read_grad(x, got, nb_size(x)), NB_OK);
    ck_assert(close_to(got, due, nb_size(x), tolerance));
}

START_TEST(against_the_definition)
{
    static double x[MOST], gain[MOST], bias[MOST], g[MOST], got[MOST];
    static figures due;
    const example *e = &examples[_i % EXAMPLES];
    const nb_dtype d = _i < EXAMPLES ? NB_F64 : NB_F32;
    const double eps = 1e-3, tolerance = d == NB_F64 ? 1e-13 : 1e-5;
    const int64_t size = nb_shape_size(e->x);
    nb_rng r = nb_rng_seed(5);
    fill(x, size, &r), fill(gain, MOST, &r), fill(bias, MOST, &r), fill(g, size, &r);
    fill(past_mean, 100, &r);
    for (int i = 0; i < 100; i++)
        past_variance[i] = 0.5 + 0.1 * i;
    define(e, eps, x, gain, bias, g, &due);
    nb_tape *t = tape_of(d);
    nb_var v = nb_tensor(t, "x", e->x, x);
    nb_var w = e->gain ? nb_tensor(t, "gain", affine_shape(e), gain) : NB_NONE;
    nb_var b = e->bias ? nb_tensor(t, "bias", affine_shape(e), bias) : NB_NONE;
    nb_var y = call(e, v, w, b, eps);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(y), e->x));
    ck_assert_int_eq(nb_read(y, got, size), NB_OK);
    ck_assert(close_to(got, due.y, size, tolerance));
    const double *seed[] = {g};
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seed}), NB_OK);
    agrees(v, due.dx, tolerance);
    if (e->gain)
        agrees(w, due.dgain, tolerance);
    if (e->bias)
        agrees(b, due.dbias, tolerance);
    nb_tape_free(t);
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

/* The op of each form over cells of two elements, the second cell ordinary; cells side by side for
 * lines, interleaved for a batch. Reads the first cell's values and its gradients for the seed u. */
static void pair(form f, double a, double b, double eps, const double u[2], double value[2],
                 double slope[2])
{
    const bool columns = f == BATCH;
    const double x[] = {a, columns ? 1 : b, columns ? b : 1, 3};
    const double g[] = {u[0], columns ? 1 : u[1], columns ? u[1] : 1, 0}, *seed[] = {g};
    const example e = {f, {2, {2, 2}}, 1, false, false};
    double got[4];
    nb_tape *t = tape_of(NB_F64);
    nb_var v = nb_tensor(t, "x", e.x, x), y = call(&e, v, NB_NONE, NB_NONE, eps);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_read(y, got, 4);
    value[0] = got[0], value[1] = got[columns ? 2 : 1];
    ck_assert(isfinite(got[3]));
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seed}), NB_OK);
    nb_read_grad(v, got, 4);
    slope[0] = got[0], slope[1] = got[columns ? 2 : 1];
    ck_assert(isfinite(got[3]));
    nb_var d; /* the same gradient as graph */
    nb_var s = nb_constant_tensor(t, e.x, g);
    ck_assert_msg(nb_diff(1, &y, &s, 1, &v, &d) == NB_OK, "%s", nb_message(t));
    nb_read(d, got, 4);
    const double other[] = {got[0], got[columns ? 2 : 1]};
    for (int i = 0; i < 2; i++)
        ck_assert_msg(other[i] == slope[i] ||
                          fabs(other[i] - slope[i]) <= 1e-12 * fmax(fabs(slope[0]), fabs(slope[1])),
                      "of %g and %g: %g, as graph %g", a, b, slope[i], other[i]);
    nb_tape_free(t);
}

START_TEST(hard_points)
{
    const form f = (form)_i;
    const double up[] = {1, 0}, none[] = {0, 0};
    double y[2], d[2];
    pair(f, 1e200, -1e200, 1e-5, up, y, d);
    ck_assert_double_eq(y[0], 1);
    ck_assert_double_eq(y[1], -1);
    pair(f, 1.7e308, -1.7e308, 1e-5, up, y, d);
    ck_assert_double_eq_tol(y[0], 1, 4 * DBL_EPSILON);
    ck_assert_double_eq_tol(y[1], -1, 4 * DBL_EPSILON);
    pair(f, 1e-200, -1e-200, 0, up, y, d);
    ck_assert_double_eq_tol(y[0], 1, 4 * DBL_EPSILON);
    ck_assert_double_eq_tol(y[1], -1, 4 * DBL_EPSILON);
    pair(f, 5e-324, -5e-324, 0, up, y, d);
    ck_assert_double_eq(y[0], 1);
    pair(f, 1e-200, -1e-200, 1e-4, up, y, d); /* eps rules: slope (1 - 1/n) / sqrt eps */
    ck_assert_double_eq_tol(y[0] * 1e200, 100, 1e-12);
    ck_assert_double_eq_tol(d[0], f == RMS ? 100 : 50, 1e-12);
    pair(f, 0, 0, 0, up, y, d); /* no spread and no eps */
    ck_assert(y[0] == 0 && y[1] == 0 && d[0] == 0 && d[1] == 0);
    pair(f, (double)NAN, 1, 1e-5, none, y, d);
    ck_assert(isnan(y[0]) && isnan(y[1]));
    ck_assert(d[0] == 0 && d[1] == 0); /* an adjoint of 0 contributes 0 */
    pair(f, (double)INFINITY, 1, 1e-5, none, y, d);
    ck_assert(isnan(y[0]) && d[0] == 0 && d[1] == 0);
}
END_TEST

START_TEST(deviations_from_a_large_mean)
{
    const double up[] = {0, 0};
    double y[2], d[2];
    for (int f = LAYER; f <= BATCH; f++)
        if (f != RMS) {
            pair((form)f, 1e15 + 2, 1e15, 0, up, y, d); /* E[x^2] - E[x]^2 would give 0 */
            ck_assert_double_eq(y[0], 1);
            ck_assert_double_eq(y[1], -1);
        }
}
END_TEST

/* ---- running statistics ---------------------------------------------------------------------- */

START_TEST(running_statistics)
{
    const double x[] = {1, 10, 3, 14, 8, 30}; /* channels: 1 3 8 and 10 14 30 */
    double mean[] = {0, 1}, variance[] = {1, 2};
    nb_running past = {2, mean, variance, 0.25, false};
    nb_tape *t = tape_of(NB_F64);
    nb_var v = nb_tensor(t, "x", NB_SHAPE(3, 2), x), dx;
    nb_var y = nb_batch_norm(v, NB_NONE, NB_NONE, 1e-5, &past, true);
    nb_var f = nb_sum(nb_mul(nb_square(y), v));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_int_eq(nb_diff(1, &f, NULL, 1, &v, &dx), NB_OK);
    ck_assert_int_eq(nb_backward(nb_sum(nb_square(dx))), NB_OK);
    /* means 4 and 18; unbiased variances 13 and 112: moved once, by a quarter of the way */
    ck_assert_double_eq_tol(mean[0], 1, 1e-14);
    ck_assert_double_eq_tol(mean[1], 1 + 0.25 * 17, 1e-14);
    ck_assert_double_eq_tol(variance[0], 1 + 0.25 * 12, 1e-13);
    ck_assert_double_eq_tol(variance[1], 2 + 0.25 * 110, 1e-13);

    const double before[] = {mean[0], mean[1], variance[0], variance[1]};
    past.hold = true;
    ck_assert(nb_ok(nb_batch_norm(v, NB_NONE, NB_NONE, 1e-5, &past, true)));
    past.hold = false;
    nb_var e = nb_batch_norm(v, NB_NONE, NB_NONE, 1e-5, &past, false);
    ck_assert(nb_ok(e));
    nb_var bad = nb_ones(t, NB_SHAPE(5));
    ck_assert(!nb_ok(nb_batch_norm(v, bad, NB_NONE, 1e-5, &past, true)));
    nb_clear(t);
    const double after[] = {mean[0], mean[1], variance[0], variance[1]};
    ck_assert_mem_eq(before, after, sizeof before);

    mean[0] = 1e9; /* the node has its own copy of what it was evaluated with */
    double got[6];
    nb_backward(nb_sum(e));
    nb_read_grad(v, got, 6);
    ck_assert_double_eq_tol(got[0], 1 / sqrt(before[2] + 1e-5), 1e-15);
    nb_tape_free(t);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

START_TEST(what_is_refused)
{
    const nb_var no = NB_NONE;
    double mean[2] = {0}, variance[2] = {1, 1};
    nb_running past = {2, mean, variance, 0.1, false};
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_ones(t, NB_SHAPE(4, 6)), w = nb_ones(t, NB_SHAPE(5)), s = nb_input(t, "s", 1);
    nb_var v = nb_ones(t, NB_SHAPE(6)), one = nb_ones(t, NB_SHAPE(1, 6));
    nb_var two = nb_ones(t, NB_SHAPE(3, 2));
    refused(t, nb_layer_norm(x, 1, w, no, 1e-5), NB_ERR_SHAPE, "the gain is [5], x asks for [6]");
    refused(t, nb_layer_norm(x, 1, no, w, 1e-5), NB_ERR_SHAPE, "the bias is [5], x asks for [6]");
    refused(t, nb_layer_norm(x, 2, v, no, 1e-5), NB_ERR_SHAPE, "x asks for [4 6]");
    refused(t, nb_layer_norm(x, 3, no, no, 1e-5), NB_ERR_AXIS, "the last 3, x has 2");
    refused(t, nb_layer_norm(x, 0, no, no, 1e-5), NB_ERR_AXIS, "the last 0, x has 2");
    refused(t, nb_layer_norm(s, 1, no, no, 1e-5), NB_ERR_AXIS, "x has 0");
    refused(t, nb_layer_norm(x, 1, no, no, -1), NB_ERR_ARGUMENT, "it is -1");
    refused(t, nb_rms_norm(x, 1, no, no, (double)NAN), NB_ERR_ARGUMENT, "it is nan");
    refused(t, nb_rms_norm(x, 1, w, no, 0), NB_ERR_SHAPE, "the gain is [5], x asks for [6]");
    refused(t, nb_group_norm(x, 4, no, no, 0), NB_ERR_ARGUMENT, "4 groups, 6 channels");
    refused(t, nb_group_norm(x, 0, no, no, 0), NB_ERR_ARGUMENT, "0 groups, 6 channels");
    refused(t, nb_group_norm(v, 1, no, no, 0), NB_ERR_SHAPE, "x has 1 axes");
    refused(t, nb_group_norm(x, 2, w, no, 0), NB_ERR_SHAPE, "x asks for [6]");
    refused(t, nb_batch_norm(v, no, no, 0, NULL, true), NB_ERR_SHAPE, "x has 1 axes");
    refused(t, nb_batch_norm(x, s, no, 0, NULL, true), NB_ERR_SHAPE, "the gain is scalar");
    refused(t, nb_batch_norm(one, no, no, 0, NULL, true), NB_ERR_EMPTY, "each channel has 1");
    refused(t, nb_batch_norm(nb_ones(t, NB_SHAPE(0, 6)), no, no, 0, NULL, true), NB_ERR_EMPTY,
            "each channel has 0");
    refused(t, nb_batch_norm(x, no, no, 0, NULL, false), NB_ERR_ARGUMENT, "evaluation needs");
    refused(t, nb_batch_norm(x, no, no, 0, &past, true), NB_ERR_SHAPE,
            "they are of 2 channels, x has 6");
    past.momentum = 1.5;
    refused(t, nb_batch_norm(two, no, no, 0, &past, true), NB_ERR_ARGUMENT, "it is 1.5");
    past.momentum = 0.1, variance[1] = -1;
    refused(t, nb_batch_norm(two, no, no, 0, &past, false), NB_ERR_ARGUMENT, "channel 1 has -1");
    past.variance = NULL;
    refused(t, nb_batch_norm(two, no, no, 0, &past, true), NB_ERR_ARGUMENT, "NULL arrays");
    ck_assert_double_eq(nb_value(nb_sum(nb_layer_norm(x, 1, no, v, 1e-5))), 24); /* still usable */
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* ---- memory, and work that is cut ------------------------------------------------------------ */

START_TEST(memory_runs_out)
{
    bool failed = false, done = false;
    for (size_t k = 1; !done; k++) {
        static double x[MOST], mean[50], variance[50];
        nb_running past = {50, mean, variance, 0.5, false};
        counting c = {.refuse = 0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 4, .bytes = 128});
        ck_assert_ptr_nonnull(t);
        x[0] = 1;
        nb_var v = nb_tensor(t, "x", NB_SHAPE(4, 50), x);
        memset(mean, 0, sizeof mean);
        c.for_ever = true;
        c.refuse = c.calls + k;
        nb_var y = nb_batch_norm(v, NB_NONE, NB_NONE, 1, &past, true);
        nb_var z = nb_layer_norm(y, 1, NB_NONE, NB_NONE, 1);
        done = c.refusals == 0;
        if (!done) {
            ck_assert(!nb_ok(z) && nb_status(t) == NB_ERR_MEMORY);
            ck_assert(nb_ok(y) == (mean[0] != 0));
            failed = failed || !nb_ok(y);
            c.refuse = 0;
            nb_clear(t);
            ck_assert(nb_ok(nb_batch_norm(v, NB_NONE, NB_NONE, 1, &past, true)));
        }
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(failed);
}
END_TEST

/* All passes over [0, n) in one piece and in three, on each instruction set, bitwise. */
START_TEST(cuts_and_instruction_sets_do_not_show)
{
    enum { SIZE = 1560 };
    static double x[SIZE], g[SIZE], w[SIZE], out[2][4][SIZE], kept[2][3][SIZE];
    static const nbi_norm layouts[] = {
        {.outer = 10, .groups = 1, .channels = 156, .inner = 1, .centred = true},
        {.outer = 20, .groups = 2, .channels = 13, .inner = 6, .centred = true},
        {.outer = 8, .groups = 1, .channels = 195, .inner = 1, .centred = true, .columns = true},
        {.outer = 4, .groups = 1, .channels = 39, .inner = 10, .centred = true, .columns = true}};
    nb_rng r = nb_rng_seed(8);
    fill(x, SIZE, &r), fill(g, SIZE, &r), fill(w, SIZE, &r);
    nbi_norm s = layouts[_i];
    memset(out, 0, sizeof out);
    for (int isa = 0; isa < NBI_ISA_COUNT; isa++)
        for (int round = 0; round < 2 && nbi_isa_available((nbi_isa)isa); round++) {
            double(*to)[SIZE] = out[round];
            s.mean = kept[round][0], s.scale = kept[round][1], s.rate = kept[round][2];
            nbi_norm_pass p = {.s = &s, .dtype = NB_F64, .isa = (nbi_isa)isa, .x = x, .g = g};
            p.gain = p.bias = w, p.d_gain = to[2], p.d_bias = to[3];
            const int64_t n = nbi_norm_cells(&s), c = s.groups * s.channels;
            const int64_t cells[] = {0, round ? 1 : n, round ? n / 2 : n, n};
            const int64_t channels[] = {0, round ? 3 : c, round ? c - 1 : c, c};
            for (int i = 0; i < 3; i++) {
                nbi_norm_moments(&p, cells[i], cells[i + 1]);
                p.y = to[0];
                nbi_norm_forward(&p, cells[i], cells[i + 1]);
                p.y = to[1];
                nbi_norm_reverse(&p, cells[i], cells[i + 1]);
            }
            for (int i = 0; i < 3; i++)
                nbi_norm_reverse_channels(&p, channels[i], channels[i + 1]);
            if (isa || round)
                ck_assert_mem_eq(out[0], out[1], sizeof out[0]);
            ck_assert(out[0][1][7] != 0 && out[0][2][7] != 0);
        }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("norms");
    tcase_add_loop_test(c, against_the_definition, 0, 2 * EXAMPLES);
    tcase_add_loop_test(c, hard_points, 0, 4);
    tcase_add_test(c, deviations_from_a_large_mean);
    tcase_add_test(c, running_statistics);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, memory_runs_out);
    tcase_add_loop_test(c, cuts_and_instruction_sets_do_not_show, 0, 4);
    return run_case("norms", c);
}
