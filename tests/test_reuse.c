/*
 * The memory of a tape that is used again.
 *
 * A step on a tape that has seen two such steps takes nothing: a counting allocator says so of
 * calls, for steps of every kind of node and for gradients that add up over thousands of sweeps,
 * and the system says so of page faults, for a tape of a million nodes.
 */
#include "counting.h"

#include <math.h>
#include <sys/resource.h>

#include <nabla/ops.h>

static void well(const nb_tape *t)
{
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert_str_eq(nb_message(t), "");
}

static void step(nb_tape *t, nb_var w, nb_var b, double *grad)
{
    nb_var h = nb_name(nb_tanh(nb_add(nb_matmul(nb_ones(t, NB_SHAPE(3, 4)), w), b)), "hidden");
    nb_var parts[6] = {h, h, h, h, h, h}, s = nb_sum(nb_concat(6, parts, 0)), r = s;
    for (int i = 0; i < 3000; i++)
        r = nb_add(nb_sin(r), nb_mul(0.5, r));
    r = nb_name(nb_add(r, nb_sum_of(6, (nb_var[]){r, s, r, s, r, s})), "loss");
    ck_assert_int_eq(nb_backward(r), NB_OK);
    ck_assert(nb_has_grad(s) && nb_has_grad(w));
    ck_assert_int_eq(nb_read_grad(w, grad, 20), NB_OK);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &s, .n_want = 1, .want = &b}),
                     NB_OK);
}

START_TEST(a_step_takes_no_memory)
{
    counting c = {0};
    double data[20] = {0.1, -0.2}, grad[20], first[20];
    nb_tape *t = nb_tape_new(
        &(nb_options){.allocator = counting_allocator(&c), .dtype = _i ? NB_F32 : NB_F64});
    nb_var w = nb_tensor(t, "w", NB_SHAPE(4, 5), data), b = nb_tensor(t, "b", NB_SHAPE(5), data);
    nb_mark m = nb_tape_mark(t);
    step(t, w, b, first);
    nb_rewind(m);
    step(t, w, b, grad);
    nb_rewind(m);
    const size_t calls = c.calls, bytes = nb_tape_bytes(t);
    for (int i = 0; i < 50; i++) {
        step(t, w, b, grad);
        nb_name(w, "w"); /* the same name again costs nothing */
        nb_rewind(m);
    }
    ck_assert_uint_eq(c.calls, calls);
    ck_assert_uint_eq(nb_tape_bytes(t), bytes);
    ck_assert_mem_eq(grad, first, sizeof grad);
    well(t);
    nb_tape_free(t);
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

/* Gradients added up over many sweeps, none of which empties the arena of adjoints. */
START_TEST(accumulating_takes_no_memory)
{
    counting c = {0};
    size_t calls = 0;
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = counting_allocator(&c)});
    nb_var w = nb_leaf("w", nb_zeros(t, NB_SHAPE(64))), x = nb_full(t, NB_SHAPE(64), 0.5);
    nb_mark m = nb_tape_mark(t);
    for (int i = 0; i < 2000; i++) {
        nb_var h = nb_retain_grad(nb_exp(nb_mul(w, x))), f = nb_sum(h);
        nb_backward_with(
            &(nb_sweep){.n_out = 1, .out = &f, .n_want = 1, .want = &w, .accumulate = true});
        ck_assert(nb_has_grad(w));
        nb_rewind(m);
        calls = i == 2 ? c.calls : calls;
    }
    ck_assert_uint_eq(c.calls, calls);
    ck_assert_double_eq(((const double *)nb_grad_data(w))[63], 1000);
    well(t);
    nb_tape_free(t);
}
END_TEST

static long page_faults(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_minflt;
}

START_TEST(a_large_step_takes_no_page_faults)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0.5), w = nb_leaf("w", nb_full(t, NB_SHAPE(1 << 16), 0.5));
    nb_mark m = nb_tape_mark(t);
    long before = 0;
    for (int step_no = 0; step_no < 4; step_no++) {
        if (step_no == 2)
            before = page_faults();
        nb_var s = x, v = w;
        for (int i = 0; i < 1000000; i++)
            s = nb_mul(s, x);
        for (int i = 0; i < 10; i++)
            v = nb_mul(v, w);
        ck_assert_int_eq(nb_backward(nb_add(s, nb_sum(v))), NB_OK);
        nb_rewind(m);
    }
    ck_assert_int_lt(page_faults() - before, 20);
    nb_tape_free(t);
}
END_TEST

/* ---- peak memory ----------------------------------------------------------------------------- */

enum { LAYERS = 150, ROWS = 2048, WIDTH = 64 };

/* What a training step takes at most is what the backward pass needs kept, and a tenth: gradients of
 * interior nodes go when they are consumed, and the arenas have little to spare. */
START_TEST(peak_of_a_training_step)
{
    counting count = {0};
    nb_tape *t = nb_tape_new(
        &(nb_options){.allocator = counting_allocator(&count), .dtype = _i ? NB_F32 : NB_F64});
    const size_t element = _i ? sizeof(float) : sizeof(double);
    void *weights = calloc(2 * WIDTH * (WIDTH + 1), element), *x = calloc(ROWS * WIDTH, element);
    char *w = weights, *dw = w + WIDTH * WIDTH * element, *b = dw + WIDTH * WIDTH * element;
    nb_var weight = nb_borrow(t, "w", NB_SHAPE(WIDTH, WIDTH), w, dw);
    nb_var bias = nb_borrow(t, "b", NB_SHAPE(WIDTH), b, b + WIDTH * element);
    nb_mark start = nb_tape_mark(t);
    for (int step = 0; step < 2; step++) {
        nb_var a = nb_borrow_constant(t, NB_SHAPE(ROWS, WIDTH), x);
        for (int l = 0; l < LAYERS; l++)
            a = nb_dense(a, weight, bias, nb_relu);
        ck_assert_int_eq(nb_backward(nb_mean(nb_square(a))), NB_OK);
        nb_rewind(start);
    }
    const size_t kept = (LAYERS + 1) * ROWS * WIDTH * element; /* and the squares */
    ck_assert_uint_gt(count.peak, kept);
    ck_assert_uint_lt(count.peak, kept + kept / 10);
    nb_tape_free(t);
    ck_assert_uint_eq(count.bytes, 0);
    free(weights), free(x);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("reuse");
    tcase_add_loop_test(c, a_step_takes_no_memory, 0, 2);
    tcase_add_test(c, accumulating_takes_no_memory);
    tcase_add_test(c, a_large_step_takes_no_page_faults);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, peak_of_a_training_step, 0, 2);
    return run_case("reuse", c);
}
