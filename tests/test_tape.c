/*
 * The life of a tape: handles through growth, marks and rewinds, modes, names, leaves, reading.
 *
 * The claim about handles is that one is alive exactly if its place lies below every rewind made
 * since it was recorded. A random walk of recordings, marks and rewinds is held against a model
 * that remembers, for each handle, precisely that. Another walk goes around the end of the count of
 * epochs.
 */
#include "counting.h"

#include <math.h>

#include "tape/tape.h"
#include <nabla/ops.h>

static void fails(nb_tape *t, nb_code code)
{
    ck_assert_msg(nb_status(t) == code, "expected %s, have %s: %s", nb_code_name(code),
                  nb_code_name(nb_status(t)), nb_message(t));
    ck_assert_str_ne(nb_message(t), "");
    nb_clear(t);
    ck_assert_str_eq(nb_message(t), "");
}

static void well(const nb_tape *t)
{
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert_str_eq(nb_message(t), "");
}

START_TEST(handles_survive_growth)
{
    nb_tape *t = nb_tape_new(&(nb_options){.nodes = 1, .bytes = 1});
    nb_var x = nb_input(t, "x", 3), v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){1, 2}), y = x;
    for (int i = 0; i < 100000; i++)
        y = nb_add(y, 1);
    for (int i = 0; i < 100; i++)
        v = nb_add(v, 1);
    ck_assert_double_eq(nb_value(x), 3);
    ck_assert_double_eq(nb_value(y), 100003);
    ck_assert_double_eq(((const double *)nb_data(v))[1], 102);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    ck_assert_double_eq(nb_grad(x), 1);
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(rewinding_keeps_what_is_below)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3);
    nb_mark m = nb_tape_mark(t);
    nb_var y = nb_mul(x, x), w = nb_tensor(t, NULL, NB_SHAPE(2), (double[]){1, 2});
    nb_mark inner = nb_tape_mark(t);
    nb_var z = nb_exp(y);
    ck_assert_int_eq(nb_rewind(m), NB_OK);
    ck_assert_uint_eq(nb_count(t), 1);
    ck_assert(nb_ok(x) && !nb_ok(y) && !nb_ok(w) && !nb_ok(z));

    nb_var fresh = nb_mul(x, 5), more = nb_add(fresh, fresh); /* in the places of the forgotten */
    ck_assert_double_eq(nb_value(fresh), 15);
    ck_assert(nb_ok(more) && !nb_ok(y) && !nb_ok(z));
    ck_assert(isnan(nb_value(y)));
    fails(t, NB_ERR_HANDLE);
    ck_assert(isnan(nb_grad(z)) && isnan(nb_value(nb_mul(y, x))) && isnan(nb_value(nb_neg(z))));
    fails(t, NB_ERR_HANDLE);
    ck_assert_ptr_null(nb_data(w));
    fails(t, NB_ERR_HANDLE);
    ck_assert_int_eq(nb_rewind(inner), NB_ERR_HANDLE);
    fails(t, NB_ERR_HANDLE);
    ck_assert_int_eq(nb_backward(y), NB_ERR_HANDLE);
    fails(t, NB_ERR_HANDLE);
    ck_assert_int_eq(nb_rewind(m), NB_OK);
    ck_assert_int_eq(nb_rewind(m), NB_OK); /* nothing to forget is fine */
    ck_assert_int_eq(nb_rewind((nb_mark){0}), NB_ERR_ARGUMENT);
    well(t);
    nb_tape_free(t);
}
END_TEST

/* ---- handles against a model ----------------------------------------------------------------- */

enum { STEPS = 20000, KEPT = 400 };

typedef struct remembered {
    nb_var v;
    nb_mark m;
    bool is_mark, alive;
    uint32_t place;
    double value;
} remembered;

static void check_all(const remembered *r, int n)
{
    for (int i = 0; i < n; i++)
        if (!r[i].is_mark) {
            ck_assert_int_eq(nb_ok(r[i].v), r[i].alive);
            if (r[i].alive)
                ck_assert_double_eq(nb_value(r[i].v), r[i].value);
        }
}

static void rewind_to(nb_tape *t, remembered *r, int n, int k)
{
    ck_assert_int_eq(nb_rewind(r[k].m), r[k].alive ? NB_OK : NB_ERR_HANDLE);
    nb_clear(t);
    if (!r[k].alive)
        return;
    const uint32_t low = r[k].place;
    for (int i = 0; i < n; i++)
        r[i].alive = r[i].alive && (r[i].is_mark ? r[i].place <= low : r[i].place < low);
    ck_assert_uint_eq(nb_count(t), low);
}

START_TEST(handles_against_a_model)
{
    static remembered r[KEPT];
    nb_tape *t = nb_tape_new(NULL);
    nb_rng g = nb_rng_seed(1);
    int n = 0;
    for (int step = 0; step < STEPS; step++) {
        uint64_t what = nb_rng_below(&g, 10);
        int at = n < KEPT ? n++ : (int)nb_rng_below(&g, KEPT);
        const uint32_t place = (uint32_t)nb_count(t);
        if (what < 7) {
            r[at] = (remembered){.alive = true, .place = place, .value = step};
            r[at].v = what < 4 ? nb_input(t, NULL, step)
                               : nb_tensor(t, NULL, NB_SHAPE(1), (double[]){step});
        } else {
            r[at] =
                (remembered){.m = nb_tape_mark(t), .is_mark = true, .alive = true, .place = place};
        }
        int k = (int)nb_rng_below(&g, (uint64_t)n);
        if (what == 9 && r[k].is_mark)
            rewind_to(t, r, n, k);
        if (step % 50 == 0)
            check_all(r, n);
    }
    nb_tape_free(t);
}
END_TEST

static void rewind_often(nb_tape *t, int times)
{
    nb_var w = nb_input(t, "w", 2), b = nb_tensor(t, "b", NB_SHAPE(1), (double[]){7});
    nb_mark m = nb_tape_mark(t);
    nb_var first = nb_mul(w, 3), old = first;
    for (int i = 0; i < times; i++) {
        ck_assert_int_eq(nb_rewind(m), NB_OK);
        nb_var k = nb_detach(b), y = nb_add(nb_mul(w, i), nb_sum(nb_mul(b, k)));
        ck_assert(!nb_ok(old));
        ck_assert_double_eq(nb_value(y), 2.0 * i + 49);
        old = y;
    }
    ck_assert(nb_ok(w) && nb_ok(b) && !nb_ok(first) && nb_ok(old));
    ck_assert_int_eq(nb_backward(old), NB_OK);
    ck_assert_double_eq(nb_grad(w), times - 1);
    well(t);
}

START_TEST(many_rewinds)
{
    nb_tape *t = nb_tape_new(NULL);
    rewind_often(t, 100000);
    nb_tape_free(t);
}
END_TEST

/* A handle's epoch is a 30-bit count of rewinds; the loop passes the end of it. */
START_TEST(epochs_wrap)
{
    nb_tape *t = nb_tape_new(NULL);
    t->rewinds = 7 * (uint64_t)NBI_EPOCHS - 50;
    t->hot.epoch = (NBI_EPOCHS - 50) * 4;
    rewind_often(t, 200);
    nb_var old = nb_input(t, NULL, 42);
    nb_rewind((nb_mark){.tape = t, .epoch = t->hot.epoch});
    t->rewinds += 1u << 29; /* half of all epochs later, with the falls in between forgotten */
    t->hot.epoch = (uint32_t)(t->rewinds % NBI_EPOCHS) * 4;
    nb_input(t, NULL, 7);
    ck_assert(!nb_ok(old));
    nb_tape_free(t);
}
END_TEST

START_TEST(reset_forgets_all)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_mark m = nb_tape_mark(t);
    nb_var x = nb_input(t, "x", 1), y = nb_exp(x);
    nb_mark above = nb_tape_mark(t);
    nb_backward(y);
    nb_value(nb_tensor(t, NULL, NB_SHAPE(2), (double[]){1, 2}));
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    ck_assert_int_eq(nb_reset(t), NB_OK);
    well(t);
    ck_assert_uint_eq(nb_count(t), 0);
    ck_assert(!nb_ok(x) && !nb_ok(y));
    ck_assert_int_eq(nb_rewind(above), NB_ERR_HANDLE);
    nb_clear(t);
    ck_assert_int_eq(nb_rewind(m), NB_OK);
    nb_var z = nb_input(t, "z", 4);
    ck_assert(!nb_ok(x) && nb_ok(z) && !nb_has_grad(z));
    ck_assert_double_eq(nb_grad(z), 0);
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(tapes_do_not_mix)
{
    nb_tape *t = nb_tape_new(NULL), *u = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), y = nb_input(u, "y", 2);
    nb_var v = nb_zeros(u, NB_SHAPE(3)), list[3] = {x, y, x};
    ck_assert(!nb_ok(nb_add(x, y)));
    fails(t, NB_ERR_HANDLE);
    ck_assert(!nb_ok(nb_mul(x, v)));
    fails(t, NB_ERR_HANDLE);
    ck_assert(!nb_ok(nb_where(1, x, y)) && !nb_ok(nb_sum_of(3, list)));
    fails(t, NB_ERR_HANDLE);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 3, .out = list}), NB_ERR_HANDLE);
    fails(t, NB_ERR_HANDLE);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &x, .n_want = 1, .want = &y}),
                     NB_ERR_HANDLE);
    fails(t, NB_ERR_HANDLE);
    well(u);
    nb_tape_free(t);
    nb_tape_free(u);
}
END_TEST

/* ---- modes ----------------------------------------------------------------------------------- */

START_TEST(paused_recording_makes_constants)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3), v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){1, 2});
    ck_assert(nb_set_recording(t, false));
    nb_var y = nb_mul(x, x), w = nb_mul(v, x), s = nb_sum_of(2, (nb_var[]){x, y});
    nb_var c = nb_clamp(x, 0, 10);
    ck_assert(!nb_set_recording(t, true));
    ck_assert_double_eq(nb_value(y), 9);
    ck_assert_double_eq(nb_value(s), 12);
    ck_assert_double_eq(((const double *)nb_data(w))[1], 6);
    nb_var f = nb_add(nb_mul(x, nb_add(nb_add(y, s), c)), nb_sum(nb_mul(w, v)));
    ck_assert(nb_inspect(y).constant && nb_inspect(w).constant && nb_inspect(s).constant);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_eq(nb_grad(x), 24); /* 9 + 12 + 3, each held fixed */
    ck_assert_double_eq(((const double *)nb_grad_data(v))[1], 6);
    ck_assert(!nb_has_grad(y) && !nb_has_grad(w));
    nb_tape_free(t);
}
END_TEST

START_TEST(leaf_and_detach)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3), y = nb_mul(x, x),
           v = nb_tensor(t, 0, NB_SHAPE(2), (double[]){1, 2});
    nb_var d = nb_detach(y), l = nb_leaf("l", y), e = nb_detach(nb_mul(v, x)), m = nb_leaf("m", v);
    nb_var f = nb_add(nb_mul(nb_mul(d, x), l), nb_sum(nb_mul(nb_mul(e, v), m)));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_eq(nb_grad(x), 81); /* d l */
    ck_assert_double_eq(nb_grad(l), 27);
    ck_assert_double_eq(((const double *)nb_grad_data(v))[1], 12);
    ck_assert_double_eq(((const double *)nb_grad_data(m))[1], 12);
    ck_assert(!nb_has_grad(d) && !nb_has_grad(y) && !nb_has_grad(e));
    ck_assert_str_eq(nb_inspect(l).name, "l");
    ck_assert_str_eq(nb_inspect(m).op, "input");
    ck_assert_double_eq(nb_value(nb_detach(nb_num(2))), 2);
    ck_assert(!nb_ok(nb_detach(NB_NONE)) && !nb_ok(nb_leaf("n", NB_NONE)));
    well(t);
    nb_tape_free(t);
}
END_TEST

/* ---- names ----------------------------------------------------------------------------------- */

START_TEST(names)
{
    nb_tape *t = nb_tape_new(NULL);
    char text[] = "first", long_name[5000];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    nb_var a = nb_input(t, text, 1), b = nb_input(t, NULL, 2);
    text[0] = 'F'; /* it was copied */
    nb_mark m = nb_tape_mark(t);
    nb_var c = nb_name(nb_add(a, b), "c");
    nb_name(b, "late"); /* an old node, named after a young one */
    ck_assert_str_eq(nb_inspect(a).name, "first");
    ck_assert_str_eq(nb_inspect(c).name, "c");
    nb_rewind(m);
    for (int i = 0; i < 300; i++) {
        nb_var x = nb_name(nb_mul(a, i), i % 2 ? "odd" : long_name);
        nb_name(nb_add(x, 1), "sum");
        ck_assert_str_eq(nb_inspect(x).name, i % 2 ? "odd" : long_name);
    }
    ck_assert_str_eq(nb_inspect(b).name, "late");
    ck_assert_ptr_null(nb_inspect(nb_mul(a, a)).name);
    nb_name(a, "again");
    nb_name(a, NULL);
    nb_rewind(m);
    ck_assert_str_eq(nb_inspect(a).name, "again");
    ck_assert_str_eq(nb_inspect(b).name, "late");
    well(t);
    nb_name(c, "gone");
    fails(t, NB_ERR_HANDLE);
    nb_tape_free(t);
}
END_TEST

/* ---- leaves and reading ---------------------------------------------------------------------- */

static void holds(nb_var x, int64_t n, const double *expected, double within)
{
    double got[16];
    ck_assert_int_eq(nb_read(x, got, n), NB_OK);
    for (int64_t i = 0; i < n; i++)
        ck_assert(fabs(got[i] - expected[i]) <= within);
}

START_TEST(constructors)
{
    nb_dtype d = _i ? NB_F32 : NB_F64;
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    const double within = d == NB_F32 ? 1e-6 : 0, list[] = {0.25, 0.5, 4};
    const float floats[] = {0.25f, 0.5f, 4};
    ck_assert_int_eq(nb_tape_dtype(t), d);
    holds(nb_tensor(t, NULL, NB_SHAPE(3), list), 3, list, 0);
    holds(nb_tensor_f32(t, NULL, NB_SHAPE(3), floats), 3, list, 0);
    holds(nb_constant_tensor(t, NB_SHAPE(1, 3), list), 3, list, 0);
    holds(nb_constant_tensor_f32(t, NB_SHAPE(3, 1), floats), 3, list, 0);
    holds(nb_zeros(t, NB_SHAPE(2)), 2, (double[]){0, 0}, 0);
    holds(nb_ones(t, NB_SHAPE(2)), 2, (double[]){1, 1}, 0);
    holds(nb_full(t, NB_POINT, 0.5), 1, (double[]){0.5}, 0);
    holds(nb_eye(t, 2, 3), 6, (double[]){1, 0, 0, 0, 1, 0}, 0);
    holds(nb_eye(t, 3, 2), 6, (double[]){1, 0, 0, 1, 0, 0}, 0);
    holds(nb_arange(t, 0, 1, 0.25), 4, (double[]){0, 0.25, 0.5, 0.75}, 0);
    holds(nb_arange(t, 3, 0, -1), 3, (double[]){3, 2, 1}, 0);
    holds(nb_arange(t, 3, 0, 1), 0, NULL, 0);
    holds(nb_linspace(t, 0, 1, 3), 3, (double[]){0, 0.5, 1}, 0);
    holds(nb_linspace(t, 2, 5, 1), 1, (double[]){2}, 0);
    holds(nb_linspace(t, 2, 5, 0), 0, NULL, 0);
    holds(nb_linspace(t, 0, 0.7, 8), 8, (double[]){0, .1, .2, .3, .4, .5, .6, .7}, within + 1e-16);
    nb_rng g = nb_rng_seed(7), h = g;
    nb_var u = nb_uniform(t, NB_SHAPE(8), -1, 1, &g), n = nb_normal(t, NB_SHAPE(8), 2, 0.5, &g);
    for (int i = 0; i < 8; i++) {
        double v[8];
        nb_read(u, v, 8);
        ck_assert_double_eq_tol(v[i], 2 * nb_rng_uniform(&h) - 1, 1e-7);
    }
    double v[8];
    nb_read(n, v, 8);
    ck_assert_double_eq_tol(v[0], 2 + 0.5 * nb_rng_normal(&h), 1e-6);
    ck_assert(nb_inspect(u).constant && nb_inspect(n).constant);
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(shapes_are_read)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_zeros(t, NB_SHAPE(2, 0, 4)), s = nb_input(t, NULL, 5),
           p = nb_full(t, NB_POINT, 6);
    ck_assert(nb_is_tensor(v) && !nb_is_tensor(s) && nb_is_tensor(p) && !nb_is_tensor(nb_num(1)));
    ck_assert_int_eq(nb_rank(v), 3);
    ck_assert_int_eq(nb_dim(v, -1), 4);
    ck_assert_int_eq(nb_dim(v, 3), -1);
    ck_assert_int_eq(nb_dim(v, -4), -1);
    ck_assert_int_eq(nb_size(v), 0);
    ck_assert_int_eq(nb_size(s), 1);
    ck_assert_int_eq(nb_shape_of(s).rank, -1);
    ck_assert_int_eq(nb_shape_of(p).rank, 0);
    ck_assert(nb_shape_equal(nb_shape_of(v), NB_SHAPE(2, 0, 4)));
    ck_assert_double_eq(nb_value(p), 6);
    ck_assert_double_eq(nb_value(nb_num(0.5)), 0.5);
    ck_assert_ptr_null(nb_data(s));
    well(t);
    double two[2];
    ck_assert(isnan(nb_value(v)));
    fails(t, NB_ERR_SHAPE);
    ck_assert_int_eq(nb_read(s, two, 2), NB_ERR_SHAPE);
    fails(t, NB_ERR_SHAPE);
    ck_assert_int_eq(nb_read(s, NULL, 1), NB_ERR_ARGUMENT);
    fails(t, NB_ERR_ARGUMENT);
    nb_tape_free(t);
}
END_TEST

START_TEST(odd_options)
{
    nb_tape_free(NULL);
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)7, .bytes = SIZE_MAX, .nodes = 1});
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(nb_tape_dtype(t), NB_F64);
    ck_assert_double_eq(nb_value(nb_sum(nb_ones(t, NB_SHAPE(100)))), 100);
    well(t);
    nb_tape_free(t);
    ck_assert_ptr_null(nb_tape_new(&(nb_options){.max_bytes = 100}));
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("tape");
    tcase_add_test(c, handles_survive_growth);
    tcase_add_test(c, rewinding_keeps_what_is_below);
    tcase_add_test(c, handles_against_a_model);
    tcase_add_test(c, many_rewinds);
    tcase_add_test(c, epochs_wrap);
    tcase_add_test(c, reset_forgets_all);
    tcase_add_test(c, tapes_do_not_mix);
    tcase_add_test(c, paused_recording_makes_constants);
    tcase_add_test(c, leaf_and_detach);
    tcase_add_test(c, names);
    tcase_add_loop_test(c, constructors, 0, 2);
    tcase_add_test(c, shapes_are_read);
    tcase_add_test(c, odd_options);
    tcase_set_timeout(c, 60);
    return run_case("tape", c);
}
