/*
 * Out of memory, everywhere.
 *
 * A program that uses everything is run with the k-th request for memory refused, for every k until
 * there is no k-th request: once with only that one refused, once with all after it refused too.
 * Each time the status must say so, what was recorded before must be readable, the same program
 * must succeed on the same tape once memory is back, and no block may be lost.
 */
#include "counting.h"

#include <math.h>

#include <nabla/op.h>
#include <nabla/ops.h>

/* An operation with a large state and memory kept for its reverse rule. */

typedef struct large {
    double factor, ballast[600];
    double *kept;
} large;

static nb_code large_forward(const nb_call *c)
{
    large *s = c->state;
    double *out = c->out->data;
    const double *in = c->in[0].data;
    s->kept = nb_keep(c, (size_t)c->out->size * sizeof *s->kept);
    if (!s->kept)
        return NB_ERR_MEMORY;
    for (int64_t i = 0; i < c->out->size; i++) {
        s->kept[i] = cos(in[i]);
        out[i] = s->factor * sin(in[i]);
    }
    return NB_OK;
}

static nb_code large_reverse(const nb_rule *r)
{
    const large *s = r->state;
    nb_var slope = nb_constant_tensor(r->tape, nb_shape_of(r->in[0]), s->kept);
    r->d[0] = nb_mul(nb_mul(r->g, s->factor), slope);
    return NB_OK;
}

static int destroyed;

static void large_destroy(void *state) { destroyed += ((large *)state)->factor > 0; }

static const nb_op large_op = {
    .name = "large", .forward = large_forward, .reverse = large_reverse, .destroy = large_destroy};

/* Uses everything; returns f, and in *g its derivative by x plus the first tangent. */
static nb_var everything(nb_tape *t, double *g)
{
    static double data[40], grad_w[40], got[40];
    static int64_t index[300];
    large state = {.factor = 2};
    for (int i = 0; i < 40; i++)
        data[i] = 0.01 * i;
    nb_var x = nb_input(t, "x", 0.5), w = nb_borrow(t, "w", NB_SHAPE(4, 10), data, grad_w);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(4), data), s = x, parts[9];
    nb_mark m = nb_tape_mark(t);
    for (int i = 0; i < 40; i++)
        s = nb_name(nb_add(nb_sin(s), nb_fma(s, 0.01 * i, 0.5)), "link");
    for (int i = 0; i < 9; i++)
        parts[i] = nb_apply(&large_op, 1, &v, &state, sizeof state);
    nb_var all = nb_concat(9, parts, 0), h = nb_tanh(nb_matmul(v, w));
    nb_var picked = nb_index_select(all, 0, 300, index);
    nb_var p = nb_sum(nb_mul(nb_softmax(nb_sort(h, 0, true, NULL), 0), nb_mul(h, s)));
    nb_var many = nb_logsumexp_of(3, (nb_var[]){s, p, nb_sum(picked)});
    nb_var f = nb_add(nb_add(many, nb_sum(nb_cumsum(all, 0))), nb_std(nb_retain_grad(h), 1));
    f = nb_add(
        f, nb_sum(nb_mul(nb_expand(v, NB_SHAPE(3, 4)), nb_transpose(nb_ones(t, NB_SHAPE(4, 3))))));
    nb_backward(f);
    *g = nb_grad(x);
    nb_has_grad(x);
    nb_backward_with(&(nb_sweep){.n_out = 2,
                                 .out = (nb_var[]){f, h},
                                 .seed = (const double *const[]){NULL, data},
                                 .n_want = 2,
                                 .want = (nb_var[]){x, v},
                                 .accumulate = true});
    *g += nb_grad(x) + (nb_read_grad(v, got, 4) == NB_OK ? got[0] : (double)NAN);
    nb_forward(2, (nb_var[]){x, v}, NULL);
    *g += nb_tangent(f);
    for (int i = 0; i < 12; i++) { /* rewinds, each deeper than the one before */
        nb_mark inner = nb_tape_mark(t);
        nb_name(nb_exp(x), "again");
        nb_rewind(inner);
        nb_input(t, NULL, 1);
    }
    *g += nb_value(f);
    nb_rewind(m);
    return x;
}

static void run(size_t k, bool for_ever, double due, bool *done)
{
    counting c = {.refuse = k, .for_ever = for_ever};
    destroyed = 0;
    nb_tape *t =
        nb_tape_new(&(nb_options){.allocator = counting_allocator(&c), .nodes = 4, .bytes = 128});
    if (!t) {
        ck_assert_uint_eq(c.blocks, 0);
        ck_assert_uint_gt(c.refusals, 0);
        return;
    }
    double g;
    nb_var first = nb_input(t, "first", 42), x = everything(t, &g);
    *done = c.refusals == 0;
    if (nb_ok(first))
        ck_assert_double_eq(nb_value(first), 42);
    if (*done || nb_status(t) == NB_OK) { /* a refusal may be got over, by asking for less */
        ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
        ck_assert_double_eq(g, due);
    } else {
        ck_assert_msg(nb_status(t) == NB_ERR_MEMORY, "request %zu: %s: %s", k,
                      nb_code_name(nb_status(t)), nb_message(t));
        ck_assert_ptr_nonnull(strstr(nb_message(t), "memory"));
        ck_assert(!nb_ok(x) || nb_value(x) == 0.5);
    }
    c.refuse = 0;
    nb_clear(t);
    if (nb_ok(first))
        ck_assert_double_eq(nb_value(first), 42);
    everything(t, &g);
    ck_assert_msg(nb_status(t) == NB_OK, "after request %zu: %s", k, nb_message(t));
    ck_assert_double_eq(g, due);
    nb_tape_free(t);
    ck_assert_uint_eq(c.blocks, 0);
    ck_assert_int_ge(destroyed, 9);
}

START_TEST(the_kth_request_is_refused)
{
    double due;
    nb_tape *t = nb_tape_new(NULL);
    everything(t, &due);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
    bool done = false;
    size_t k = 1;
    for (; !done && k < 10000; k++)
        run(k, _i, due, &done);
    ck_assert(done);
    ck_assert_uint_gt(k, 30); /* it was a program with many requests */
}
END_TEST

/* As much again, with a cap instead of an allocator that refuses. */
START_TEST(every_cap)
{
    double g, due;
    nb_tape *t = nb_tape_new(&(nb_options){.nodes = 4, .bytes = 128});
    everything(t, &due);
    const size_t enough = 2 * nb_tape_bytes(t);
    nb_tape_free(t);
    for (size_t cap = 1000; cap < enough; cap += cap / 100) {
        t = nb_tape_new(&(nb_options){.nodes = 4, .bytes = 128, .max_bytes = cap});
        if (!t)
            continue;
        everything(t, &g);
        ck_assert_uint_le(nb_tape_bytes(t), cap);
        ck_assert_msg(nb_status(t) == NB_OK || nb_status(t) == NB_ERR_LIMIT, "%s", nb_message(t));
        if (nb_status(t) == NB_OK)
            ck_assert_double_eq(g, due);
        nb_tape_free(t);
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("memory");
    tcase_add_loop_test(c, the_kth_request_is_refused, 0, 2);
    tcase_add_test(c, every_cap);
    tcase_set_timeout(c, 60);
    return run_case("memory", c);
}
