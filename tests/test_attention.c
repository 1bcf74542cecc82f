/*
 * Attention against the composition softmax(scale q k^T) v in public operations, at sizes that cross
 * the blocks; hard points; memory, which must not grow with the product of the lengths; and rows and
 * entries, which must not notice each other.
 */
#include "counting.h"
#include "error_is.h"
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 200000 };

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static nb_var drawn(nb_tape *t, nb_shape shape, uint64_t seed)
{
    nb_rng r = nb_rng_seed(seed);
    return nb_leaf(NULL, nb_uniform(t, shape, -1, 1, &r));
}

typedef struct example {
    nb_shape lead; /* leading axes */
    int64_t m, n, d, e;
    bool causal;
    nb_shape mask; /* rank -1: none */
    double scale;
} example;

static const example list[] = {
    {{0, {0}}, 5, 7, 3, 4, false, {-1, {0}}, 0},
    {{0, {0}}, 70, 150, 8, 5, false, {-1, {0}}, 0},
    {{1, {2}}, 64, 128, 16, 16, false, {-1, {0}}, 0.3},
    {{0, {0}}, 200, 260, 7, 9, true, {-1, {0}}, 0},
    {{0, {0}}, 260, 130, 5, 3, true, {-1, {0}}, 0},
    {{2, {2, 3}}, 65, 65, 4, 4, true, {-1, {0}}, 0},
    {{2, {2, 3}}, 10, 140, 4, 4, false, {4, {2, 1, 1, 140}}, 0},
    {{1, {2}}, 70, 140, 4, 4, true, {3, {2, 70, 140}}, 0},
    {{1, {3}}, 66, 20, 4, 2, false, {1, {20}}, 0},
    {{1, {2}}, 1, 300, 6, 2, true, {-1, {0}}, 0},
    {{1, {2}}, 3, 0, 6, 2, false, {-1, {0}}, 0},
    {{1, {0}}, 3, 4, 6, 2, true, {-1, {0}}, 0},
    {{1, {2}}, 0, 4, 6, 2, false, {-1, {0}}, 0},
};
enum { EXAMPLES = sizeof list / sizeof *list };

static nb_shape with(nb_shape lead, int64_t rows, int64_t columns)
{
    lead.dims[lead.rank++] = rows;
    lead.dims[lead.rank++] = columns;
    return lead;
}

/* Seven of ten are seen, at random, but nothing in the first row. */
static nb_var mask_of(nb_tape *t, const example *e)
{
    nb_shape s = e->mask;
    nb_rng r = nb_rng_seed(3);
    if (s.rank < 0)
        return nb_num(0);
    nb_var x = nb_lt(nb_uniform(t, s, 0, 1, &r), 0.7);
    if (s.rank < 2 || s.dims[s.rank - 2] == 1)
        return x;
    nb_var row = nb_reshape(nb_arange(t, 0, (double)e->m, 1), NB_SHAPE(e->m, 1));
    return nb_detach(nb_mul(x, nb_gt(row, 0)));
}

static nb_var by_hand(const example *e, nb_var q, nb_var k, nb_var v, nb_var mask)
{
    nb_tape *t = q.tape;
    const double scale = e->scale != 0 ? e->scale : 1 / sqrt((double)e->d);
    nb_var s = nb_mul(nb_matmul_t(q, false, k, true), scale),
           see = nb_ones(t, NB_SHAPE(e->m, e->n));
    if (e->causal) {
        nb_var i = nb_reshape(nb_arange(t, 0, (double)e->m, 1), NB_SHAPE(e->m, 1));
        nb_var j = nb_arange(t, 0, (double)e->n, 1);
        see = nb_le(j, nb_add(i, (double)(e->n - e->m)));
    }
    if (mask.tape)
        see = nb_mul(see, mask);
    return nb_matmul(nb_masked_softmax(s, see, -1), v);
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

START_TEST(against_the_composition)
{
    static double one[MOST], two[MOST];
    const example *e = &list[_i % EXAMPLES];
    const nb_dtype d = _i < EXAMPLES ? NB_F64 : NB_F32;
    const double tolerance = d == NB_F64 ? 1e-13 : 2e-5;
    nb_tape *t = tape_of(d);
    nb_var in[] = {drawn(t, with(e->lead, e->m, e->d), 1), drawn(t, with(e->lead, e->n, e->d), 2),
                   drawn(t, with(e->lead, e->n, e->e), 3)};
    nb_attention_options o = {.mask = mask_of(t, e), .causal = e->causal, .scale = e->scale};
    nb_var y = nb_attention(in[0], in[1], in[2], &o), due = by_hand(e, in[0], in[1], in[2], o.mask);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(y), with(e->lead, e->m, e->e)));
    nb_read(y, one, nb_size(y));
    nb_read(due, two, nb_size(y));
    ck_assert(close_to(one, two, nb_size(y), tolerance));
    nb_var w = drawn(t, nb_shape_of(y), 4), f = nb_sum(nb_mul(y, w)), g = nb_sum(nb_mul(due, w));
    for (int k = 0; k < 3; k++)
        for (int round = 1; round <= 2; round++) { /* the second accumulates, for that operand */
            nb_sweep sweep = {.n_out = 1, .out = &f, .n_want = 1, .want = &in[k]};
            sweep.accumulate = round == 2;
            ck_assert_msg(nb_backward_with(&sweep) == NB_OK, "%s", nb_message(t));
            nb_read_grad(in[k], one, nb_size(in[k]));
            for (int64_t i = 0; i < nb_size(in[k]); i++)
                one[i] /= round;
            if (round == 1) {
                nb_backward(g);
                nb_read_grad(in[k], two, nb_size(in[k]));
                nb_backward_with(&sweep);
            }
            ck_assert(close_to(one, two, nb_size(in[k]), tolerance));
        }
    nb_tape_free(t);
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

START_TEST(hard_points)
{
    nb_tape *t = tape_of((nb_dtype)_i);
    const double large[] = {1000}, both[] = {1, 1}, far[] = {1, -1}, values[] = {2, 6};
    double y[2], g[2];
    nb_var q = nb_tensor(t, "q", NB_SHAPE(1, 1), large);
    nb_var k = nb_tensor(t, "k", NB_SHAPE(2, 1), both),
           v = nb_tensor(t, NULL, NB_SHAPE(2, 1), values);
    nb_var out = nb_attention(q, k, v, NULL);
    ck_assert_double_eq(nb_value(out), 4);
    nb_backward(out);
    nb_read_grad(v, g, 2); /* the weights: .5 exactly, at scores of 1000 */
    ck_assert(g[0] == 0.5 && g[1] == 0.5);
    out = nb_attention(q, nb_tensor(t, NULL, NB_SHAPE(2, 1), far), v, NULL);
    ck_assert_double_eq(nb_value(out), 2); /* 1000 against -1000 */
    nb_backward(out);
    ck_assert_double_eq(nb_grad(q), 0);

    /* A row that sees nothing is 0 with gradient 0, even where the values are NaN; the other row has
     * its own mask. */
    const double rows[] = {0, 0, 1, 0}, bad[] = {2, (double)NAN}, finite[] = {2, 5};
    nb_attention_options o = {.mask = nb_constant_tensor(t, NB_SHAPE(2, 2), rows)};
    nb_var qq = nb_tensor(t, NULL, NB_SHAPE(2, 1), both);
    nb_var w = nb_tensor(t, NULL, NB_SHAPE(2, 1), bad);
    out = nb_attention(qq, k, w, &o);
    nb_read(out, y, 2);
    ck_assert_double_eq(y[0], 0);
    w = nb_tensor(t, NULL, NB_SHAPE(2, 1), finite);
    out = nb_attention(qq, k, w, &o);
    nb_read(out, y, 2);
    ck_assert(y[0] == 0 && y[1] == 2);
    nb_backward(nb_sum(out));
    nb_read_grad(w, g, 2);
    ck_assert(g[0] == 1 && g[1] == 0);
    nb_read_grad(qq, g, 2);
    ck_assert(g[0] == 0 && g[1] == 0);
    nb_read_grad(k, g, 2);
    ck_assert(g[0] == 0 && g[1] == 0);
    nb_tape_free(t);
}
END_TEST

/* Nothing is walked over where there is nothing. */
START_TEST(no_end_of_keys)
{
    nb_tape *t = tape_of((nb_dtype)_i);
    nb_var q = nb_leaf(NULL, nb_zeros(t, NB_SHAPE(1, 0)));
    nb_var k = nb_leaf(NULL, nb_zeros(t, NB_SHAPE(INT64_C(1) << 60, 0))), d;
    nb_var y = nb_attention(q, k, k, NULL), f = nb_sum(y);
    ck_assert(nb_shape_equal(nb_shape_of(y), NB_SHAPE(1, 0)));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_int_eq(nb_diff(1, &f, NULL, 1, &k, &d), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* A mask that could have a gradient has none: zeros. */
START_TEST(a_mask_has_no_gradient)
{
    nb_tape *t = tape_of((nb_dtype)_i);
    nb_var x = drawn(t, NB_SHAPE(2, 3), 1), m = drawn(t, NB_SHAPE(2, 2), 2);
    nb_attention_options o = {.mask = m};
    double g[4];
    nb_backward(nb_sum(nb_attention(x, x, x, &o)));
    ck_assert_int_eq(nb_read_grad(m, g, 4), NB_OK);
    for (int i = 0; i < 4; i++)
        ck_assert(g[i] == 0);
    nb_tape_free(t);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(memory_grows_with_the_length)
{
    enum { N = 2048, D = 16 };
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32, .bytes = 1 << 20}); /* in one piece */
    nb_rng r = nb_rng_seed(1);
    nb_var q = nb_leaf(NULL, nb_normal(t, NB_SHAPE(N, D), 0, 1, &r));
    nb_var k = nb_leaf(NULL, nb_normal(t, NB_SHAPE(N, D), 0, 1, &r));
    nb_var v = nb_leaf(NULL, nb_normal(t, NB_SHAPE(N, D), 0, 1, &r));
    const size_t before = nb_tape_used(t), scores = (size_t)N * N * sizeof(float);
    nb_attention_options o = {.causal = true};
    nb_var y = nb_attention(q, k, v, &o);
    const size_t recorded = nb_tape_used(t) - before;
    ck_assert_uint_le(recorded, N * D * sizeof(float) + 2 * N * sizeof(double) + (1 << 14));
    nb_backward(nb_sum(y));
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_uint_le(nb_tape_bytes(t), scores / 4); /* scratch and spare room included */
    nb_tape_free(t);
}
END_TEST

START_TEST(memory_runs_out)
{
    bool done = false, some = false;
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = 0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 4, .bytes = 128});
        nb_var x = drawn(t, NB_SHAPE(2, 70, 8), 1), d;
        c.refuse = c.calls + k, c.for_ever = true;
        nb_var y = nb_sum(nb_attention(x, x, x, NULL));
        nb_backward(y);
        nb_diff(1, &y, NULL, 1, &x, &d);
        done = c.refusals == 0;
        some = some || !done;
        ck_assert_int_eq(nb_status(t), done ? NB_OK : NB_ERR_MEMORY);
        c.refuse = 0;
        nb_clear(t);
        ck_assert_int_eq(nb_backward(nb_sum(nb_attention(x, x, x, NULL))), NB_OK);
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(some);
}
END_TEST

/* ---- parts ----------------------------------------------------------------------------------- */

/* Some rows of q, and one entry of all, give bitwise what they give among the others. */
START_TEST(parts_do_not_meet)
{
    static double one[MOST], two[MOST];
    nb_tape *t = tape_of((nb_dtype)_i);
    nb_var q = drawn(t, NB_SHAPE(3, 150, 9), 1), k = drawn(t, NB_SHAPE(3, 200, 9), 2);
    nb_var v = drawn(t, NB_SHAPE(3, 200, 7), 3), all = nb_attention(q, k, v, NULL);
    nb_var rows = nb_attention(nb_slice(q, 1, 70, 141, 1), k, v, NULL);
    nb_var same = nb_slice(all, 1, 70, 141, 1), w = drawn(t, nb_shape_of(rows), 4);
    nb_read(rows, one, nb_size(rows));
    nb_read(same, two, nb_size(rows));
    ck_assert_mem_eq(one, two, (size_t)nb_size(rows) * sizeof *one);
    nb_backward(nb_sum(nb_mul(rows, w)));
    nb_read_grad(q, one, nb_size(q));
    nb_backward(nb_sum(nb_mul(same, w)));
    nb_read_grad(q, two, nb_size(q));
    ck_assert_mem_eq(one, two, (size_t)nb_size(q) * sizeof *one);

    nb_var in[] = {q, k, v}, part[3];
    for (int i = 0; i < 3; i++)
        part[i] = nb_slice(in[i], 0, 1, 2, 1);
    nb_var entry = nb_attention(part[0], part[1], part[2], NULL);
    same = nb_slice(all, 0, 1, 2, 1), w = drawn(t, nb_shape_of(entry), 5);
    for (int i = 0; i < 3; i++) {
        nb_backward(nb_sum(nb_mul(entry, w)));
        nb_read_grad(in[i], one, nb_size(in[i]));
        nb_backward(nb_sum(nb_mul(same, w)));
        nb_read_grad(in[i], two, nb_size(in[i]));
        ck_assert_mem_eq(one, two, (size_t)nb_size(in[i]) * sizeof *one);
    }
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var q = drawn(t, NB_SHAPE(2, 5, 3), 1), k = drawn(t, NB_SHAPE(2, 4, 3), 1);
    nb_var v = drawn(t, NB_SHAPE(2, 4, 6), 1), s = nb_input(t, "s", 1);
    refused(t, nb_attention(q, v, k, NULL), NB_ERR_SHAPE, "q is [2 5 3], k [2 4 6], v [2 4 3]");
    refused(t, nb_attention(q, k, q, NULL), NB_ERR_SHAPE, "v [2 5 3]");
    refused(t, nb_attention(s, k, v, NULL), NB_ERR_SHAPE, "q is scalar");
    refused(t, nb_attention(nb_ones(t, NB_SHAPE(3, 5, 3)), k, v, NULL), NB_ERR_SHAPE,
            "q is [3 5 3], k [2 4 3]");
    nb_attention_options o = {.mask = nb_ones(t, NB_SHAPE(5, 5))};
    refused(t, nb_attention(q, k, v, &o), NB_ERR_SHAPE,
            "the mask is [5 5], the scores are [2 5 4]");
    o.mask = nb_ones(t, NB_SHAPE(3, 2, 5, 4));
    refused(t, nb_attention(q, k, v, &o), NB_ERR_SHAPE, "the mask is [3 2 5 4]");
    o.mask = s;
    refused(t, nb_attention(q, k, v, &o), NB_ERR_SHAPE, "the mask is scalar");
    o = (nb_attention_options){.scale = (double)NAN};
    refused(t, nb_attention(q, k, v, &o), NB_ERR_ARGUMENT, "it is nan");
    ck_assert(nb_ok(nb_attention(q, k, v, NULL)));
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("attention");
    tcase_add_loop_test(c, against_the_composition, 0, 2 * EXAMPLES);
    tcase_add_loop_test(c, hard_points, 0, 2);
    tcase_add_loop_test(c, no_end_of_keys, 0, 2);
    tcase_add_loop_test(c, a_mask_has_no_gradient, 0, 2);
    tcase_add_test(c, memory_grows_with_the_length);
    tcase_add_test(c, memory_runs_out);
    tcase_add_loop_test(c, parts_do_not_meet, 0, 2);
    tcase_add_test(c, what_is_refused);
    tcase_set_timeout(c, 30);
    return run_case("attention", c);
}
