/*
 * The LSTM against the same recurrence in ordinary graph code, value and gradient of every operand;
 * one cell against its formula; saturated gates; what is refused; memory that runs out; and rows of
 * a batch, which must not notice each other.
 */
#include "counting.h"
#include "error_is.h"
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

enum { OPERANDS = 6, MOST = 20000 };

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static void fill(double *x, int64_t n, double size, uint64_t seed)
{
    nb_rng r = nb_rng_seed(seed);
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(size * (2 * nb_rng_uniform(&r) - 1));
}

typedef struct sizes {
    int64_t steps, n, in, units;
} sizes;

static void operands(nb_tape *t, sizes s, nb_var v[OPERANDS])
{
    static double data[MOST];
    const nb_shape shape[OPERANDS] = {NB_SHAPE(s.steps, s.n, s.in),   NB_SHAPE(s.in, 4 * s.units),
                                      NB_SHAPE(s.units, 4 * s.units), NB_SHAPE(4 * s.units),
                                      NB_SHAPE(s.n, s.units),         NB_SHAPE(s.n, s.units)};
    for (int k = 0; k < OPERANDS; k++) {
        fill(data, nb_shape_size(shape[k]), k == 1 || k == 2 ? 0.5 : 1, (uint64_t)k);
        v[k] = nb_tensor(t, NULL, shape[k], data);
    }
}

/* The recurrence as anyone would write it; all results, then the last cell state. */
static nb_var by_hand(const nb_var *v, sizes s)
{
    nb_var h = v[4], c = v[5], all[64];
    for (int64_t t = 0; t < s.steps; t++) {
        nb_var x = nb_reshape(nb_slice(v[0], 0, t, t + 1, 1), NB_SHAPE(s.n, s.in)), gate[4];
        nb_var z = nb_add(nb_add(nb_matmul(x, v[1]), nb_matmul(h, v[2])), v[3]);
        nb_split(z, 4, 1, gate);
        c = nb_add(nb_mul(nb_sigmoid(gate[1]), c), nb_mul(nb_sigmoid(gate[0]), nb_tanh(gate[2])));
        h = nb_mul(nb_sigmoid(gate[3]), nb_tanh(c));
        all[t] = h;
    }
    all[s.steps] = c;
    return nb_stack((size_t)s.steps + 1, all, 0);
}

static bool close_to(const double *x, const double *y, int64_t n, double tolerance)
{
    double top = 0.01;
    for (int64_t i = 0; i < n; i++)
        top = fabs(y[i]) > top ? fabs(y[i]) : top;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= tolerance * top))
            return false;
    return true;
}

static const sizes list[] = {{3, 4, 5, 6},   {1, 1, 1, 1}, {7, 3, 2, 17},
                             {5, 20, 3, 16}, {2, 2, 0, 3}, {20, 2, 4, 33},
                             {4, 0, 3, 2},   {0, 2, 3, 2}, {3, 2, 3, 0}};
enum { SIZES = sizeof list / sizeof *list };

START_TEST(against_graph_code)
{
    static double one[MOST], two[MOST], seed[MOST];
    const sizes s = list[_i % SIZES];
    const nb_dtype d = _i < SIZES ? NB_F64 : NB_F32;
    const double tolerance = d == NB_F64 ? 1e-13 : 1e-5;
    nb_tape *t = tape_of(d);
    nb_var v[OPERANDS], c;
    operands(t, s, v);
    nb_var h = nb_lstm_state(v[0], v[1], v[2], v[3], v[4], v[5], &c), due = by_hand(v, s);
    nb_var alone = nb_lstm(v[0], v[1], v[2], v[3], v[4], v[5]);
    nb_var got = nb_concat(2, (nb_var[]){h, nb_unsqueeze(c, 0)}, 0);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(alone), NB_SHAPE(s.steps, s.n, s.units)));
    ck_assert(nb_shape_equal(nb_shape_of(h), nb_shape_of(alone)));
    ck_assert(nb_shape_equal(nb_shape_of(c), NB_SHAPE(s.n, s.units)));
    nb_read(due, two, nb_size(due));
    nb_read(got, one, nb_size(got));
    ck_assert(close_to(one, two, nb_size(got), tolerance));
    nb_read(alone, one, nb_size(alone));
    ck_assert(close_to(one, two, nb_size(alone), tolerance));
    fill(seed, nb_size(got), 1, 9);
    for (int with_cell = 0; with_cell < 2; with_cell++) {
        for (int64_t i = nb_size(alone); i < nb_size(got) && !with_cell; i++)
            seed[i] = 0;
        for (int k = 0; k < OPERANDS; k++) {
            nb_var out[] = {with_cell ? got : alone, due};
            const double *seeds[] = {seed};
            nb_sweep sweep = {.n_out = 1, .out = &out[0], .seed = seeds};
            ck_assert_msg(nb_backward_with(&sweep) == NB_OK, "%s", nb_message(t));
            nb_read_grad(v[k], one, nb_size(v[k]));
            sweep.accumulate = true; /* adds the same once more */
            nb_backward_with(&sweep);
            nb_read_grad(v[k], two, nb_size(v[k]));
            for (int64_t i = 0; i < nb_size(v[k]); i++)
                two[i] /= 2;
            ck_assert(close_to(one, two, nb_size(v[k]), tolerance));
            sweep = (nb_sweep){.n_out = 1, .out = &out[1], .seed = seeds};
            nb_backward_with(&sweep);
            nb_read_grad(v[k], two, nb_size(v[k]));
            ck_assert(close_to(one, two, nb_size(v[k]), tolerance));
        }
        fill(seed, nb_size(got), 1, 10);
    }
    nb_tape_free(t);
}
END_TEST

/* One cell without input and state: c = sigmoid(i) tanh(g), h = sigmoid(o) tanh(c). Gates far in
 * their tails keep their slopes: sigmoid'(40) = 4.2483542552915890e-18. */
START_TEST(a_cell_and_its_tails)
{
    const double b[] = {40, -3, 0.5, 1}, zero[4] = {0}, x = 1;
    double db[4], h;
    nb_tape *t = tape_of((nb_dtype)_i);
    nb_var w = nb_tensor(t, NULL, NB_SHAPE(1, 4), zero), bias = nb_tensor(t, NULL, NB_SHAPE(4), b);
    nb_var y = nb_lstm(nb_tensor(t, NULL, NB_SHAPE(1, 1, 1), &x), w, w, bias, NB_NONE, NB_NONE);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_read(y, &h, 1);
    nb_backward(y);
    nb_read_grad(bias, db, 4);
    const double unit = _i ? 1e-6 : 1e-15, g = tanh(0.5), c = g, o = 1 / (1 + exp(-1));
    const double through = o * (1 - tanh(c) * tanh(c));
    ck_assert_double_eq_tol(h, o * tanh(c), unit);
    ck_assert_double_eq_tol(db[0] / 4.2483542552915890e-18, through * g, 4 * unit);
    ck_assert(db[1] == 0); /* there is no cell before */
    ck_assert_double_eq_tol(db[2], through * (1 - g * g), unit);
    ck_assert_double_eq_tol(db[3], tanh(c) * o * (1 - o), unit);

    const double far[] = {800, -800, 800, -800}; /* saturated: finite, and an end of the range */
    bias = nb_tensor(t, NULL, NB_SHAPE(4), far);
    y = nb_lstm(nb_tensor(t, NULL, NB_SHAPE(1, 1, 1), &x), w, w, bias, NB_NONE, NB_NONE);
    nb_backward(y);
    nb_read_grad(bias, db, 4);
    for (int i = 0; i < 4; i++)
        ck_assert(db[i] == 0);
    nb_tape_free(t);
}
END_TEST

/* The last state of one half of a sequence, given to the other half, makes the whole. */
START_TEST(state_is_carried)
{
    static double one[MOST], two[MOST];
    const sizes s = {6, 3, 2, 5};
    nb_tape *t = tape_of((nb_dtype)_i);
    nb_var v[OPERANDS], c, h[2];
    operands(t, s, v);
    nb_var whole = nb_lstm(v[0], v[1], v[2], v[3], v[4], v[5]);
    nb_var head = nb_slice(v[0], 0, 0, 2, 1), tail = nb_slice(v[0], 0, 2, NB_END, 1);
    ck_assert(nb_ok(nb_lstm_state(head, v[1], v[2], v[3], v[4], v[5], NULL)));
    h[0] = nb_lstm_state(head, v[1], v[2], v[3], v[4], v[5], &c);
    nb_var last = nb_reshape(nb_slice(h[0], 0, -1, NB_END, 1), NB_SHAPE(3, 5));
    h[1] = nb_lstm(tail, v[1], v[2], v[3], last, c);
    nb_var parts = nb_concat(2, h, 0);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_read(whole, one, 90);
    nb_read(parts, two, 90);
    ck_assert(close_to(one, two, 90, 1e-6));
    for (int k = 0; k < OPERANDS; k++) {
        nb_backward(nb_sum(nb_square(whole)));
        nb_read_grad(v[k], one, nb_size(v[k]));
        nb_backward(nb_sum(nb_square(parts)));
        nb_read_grad(v[k], two, nb_size(v[k]));
        ck_assert(close_to(one, two, nb_size(v[k]), _i ? 1e-5 : 1e-13));
    }
    nb_tape_free(t);
}
END_TEST

/* A batch of 20 against its first 8 and its last 12 rows, bitwise. */
START_TEST(rows_do_not_meet)
{
    static double one[MOST], two[MOST];
    const sizes s = {5, 20, 7, 19};
    nb_tape *t = tape_of((nb_dtype)_i);
    nb_var v[OPERANDS];
    operands(t, s, v);
    nb_var all = nb_lstm(v[0], v[1], v[2], v[3], v[4], v[5]);
    for (int part = 0; part < 2; part++) {
        const int64_t from = part ? 8 : 0, to = part ? 20 : 8;
        nb_var h = nb_lstm(nb_slice(v[0], 1, from, to, 1), v[1], v[2], v[3],
                           nb_slice(v[4], 0, from, to, 1), nb_slice(v[5], 0, from, to, 1));
        nb_var same = nb_slice(all, 1, from, to, 1), w = nb_detach(nb_cos(h));
        ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
        nb_read(h, one, nb_size(h));
        nb_read(same, two, nb_size(h));
        ck_assert_mem_eq(one, two, (size_t)nb_size(h) * sizeof *one);
        static const int rows[] = {0, 4, 5};
        for (int k = 0; k < 3; k++) {
            nb_var x = v[rows[k]];
            nb_backward(nb_sum(nb_mul(h, w)));
            nb_read_grad(x, one, nb_size(x));
            nb_backward(nb_sum(nb_mul(same, w)));
            nb_read_grad(x, two, nb_size(x));
            ck_assert_mem_eq(one, two, (size_t)nb_size(x) * sizeof *one);
        }
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    const nb_var no = NB_NONE;
    nb_var v[OPERANDS], c;
    operands(t, (sizes){3, 4, 5, 6}, v);
    nb_var m = nb_ones(t, NB_SHAPE(4, 7)), s = nb_input(t, "s", 1);
    refused(t, nb_lstm(m, v[1], v[2], v[3], no, no), NB_ERR_SHAPE, "x has 2 axes");
    refused(t, nb_lstm(m, v[1], v[2], v[3], v[4], v[5]), NB_ERR_SHAPE, "x has 2 axes, w_h 2");
    refused(t, nb_lstm(v[0], v[1], s, v[3], v[4], v[5]), NB_ERR_SHAPE, "x has 3 axes, w_h 0");
    refused(t, nb_lstm(v[0], m, v[2], v[3], no, no), NB_ERR_SHAPE,
            "w_x is [4 7], the others ask for [5 24]");
    refused(t, nb_lstm(v[0], v[1], m, v[3], v[4], v[5]), NB_ERR_SHAPE, "ask for [5 16]");
    refused(t, nb_lstm(v[0], v[1], v[2], m, no, no), NB_ERR_SHAPE,
            "b is [4 7], the others ask for [24]");
    refused(t, nb_lstm(v[0], v[1], v[2], v[3], m, no), NB_ERR_SHAPE,
            "h0 is [4 7], the others ask for [4 6]");
    refused(t, nb_lstm_state(v[0], v[1], v[2], v[3], no, m, &c), NB_ERR_SHAPE, "c0 is [4 7]");
    ck_assert(!nb_ok(c));
    nb_var big = nb_zeros(t, NB_SHAPE(0, INT64_C(1) << 40, 5));
    nb_var wide = nb_zeros(t, NB_SHAPE(INT64_C(1) << 40, 0));
    refused(t, nb_lstm(v[0], v[1], wide, v[3], v[4], v[5]), NB_ERR_SHAPE, "ask for");
    refused(t, nb_lstm(big, v[1], v[2], v[3], v[4], v[5]), NB_ERR_SHAPE, "ask for");
    ck_assert(nb_ok(nb_lstm(v[0], v[1], v[2], v[3], no, no)));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(memory_runs_out)
{
    bool done = false, some = false;
    for (size_t k = 1; !done; k++) {
        counting m = {.refuse = 0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&m), .nodes = 4, .bytes = 128});
        nb_var v[OPERANDS], d;
        operands(t, (sizes){10, 8, 6, 12}, v);
        m.refuse = m.calls + k, m.for_ever = true;
        nb_var y = nb_sum(nb_lstm(v[0], v[1], v[2], v[3], v[4], v[5]));
        nb_backward(y);
        nb_diff(1, &y, NULL, 1, &v[2], &d);
        done = m.refusals == 0;
        some = some || !done;
        ck_assert_int_eq(nb_status(t), done ? NB_OK : NB_ERR_MEMORY);
        m.refuse = 0;
        nb_clear(t);
        ck_assert_int_eq(nb_backward(nb_sum(nb_lstm(v[0], v[1], v[2], v[3], v[4], v[5]))), NB_OK);
        nb_tape_free(t);
        ck_assert_uint_eq(m.blocks, 0);
    }
    ck_assert(some);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("lstm");
    tcase_add_loop_test(c, against_graph_code, 0, 2 * SIZES);
    tcase_add_loop_test(c, a_cell_and_its_tails, 0, 2);
    tcase_add_loop_test(c, state_is_carried, 0, 2);
    tcase_add_loop_test(c, rows_do_not_meet, 0, 2);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, memory_runs_out);
    return run_case("lstm", c);
}
