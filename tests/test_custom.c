/*
 * Custom operations on the tape: what the record promises, and what happens when one misbehaves.
 *
 * One record, `prank`, plays all the tricks; its state says which. Whatever a rule does short of
 * writing where it must not, the tape answers with a status and stays as it was.
 */
#include "counting.h"
#include "error_is.h"

#include <math.h>

#include <nabla/op.h>
#include <nabla/ops.h>

typedef struct prank {
    int trick;
    nb_mark mark;
    nb_var odd;
    int *destroyed;
} prank;

enum {
    NOTHING,
    FAIL_SHAPE,
    RANK_9,
    NEGATIVE,
    HUGE_SHAPE,
    FAIL_FORWARD,
    RECORD,
    REWIND,
    RESET,
    SWEEP,
    FAIL_REVERSE,
    NO_ANSWER,
    A_NUMBER,
    GIVE_ODD,
    GIVE_STALE,
    ANSWER_ALL,
    RECORD_IN_REVERSE,
    REWIND_IN_REVERSE,
    SWEEP_IN_REVERSE
};

static nb_code prank_shape(const nb_call *c, nb_shape *out)
{
    const prank *p = c->state;
    if (p->trick == FAIL_SHAPE)
        return nb_refuse(c, NB_ERR_SHAPE, "does not like this", "%d", 17);
    if (p->trick == RANK_9)
        out->rank = 9;
    if (p->trick == NEGATIVE)
        *out = NB_SHAPE(2, -3);
    if (p->trick == HUGE_SHAPE)
        *out = NB_SHAPE(INT64_MAX, 4);
    return NB_OK;
}

static nb_code prank_forward(const nb_call *c)
{
    prank *p = c->state;
    nb_var x = c->vars[0];
    if (p->trick == FAIL_FORWARD)
        return NB_ERR_DOMAIN;
    for (int i = 0; i < 5000 && p->trick == RECORD; i++)
        nb_input(c->tape, NULL, i);
    if (p->trick == REWIND && nb_rewind(p->mark) != NB_OK)
        return NB_ERR_CALLBACK;
    if (p->trick == RESET && nb_reset(c->tape) != NB_OK)
        return NB_ERR_CALLBACK;
    if (p->trick == SWEEP && nb_backward(x) != NB_OK)
        return NB_ERR_CALLBACK;
    for (int64_t i = 0; i < c->out->size; i++)
        if (c->out->dtype == NB_F64)
            ((double *)c->out->data)[i] =
                nb_is_tensor(x) ? ((const double *)nb_data(x))[i] : nb_value(x);
    return NB_OK;
}

static nb_code prank_reverse(const nb_rule *r)
{
    const prank *p = r->state;
    switch (p->trick) {
    case FAIL_REVERSE: return NB_ERR_DOMAIN;
    case NO_ANSWER: return NB_OK;
    case A_NUMBER: r->d[0] = nb_num(3); return NB_OK;
    case GIVE_ODD: r->d[0] = p->odd; return NB_OK;
    case GIVE_STALE: r->d[0] = nb_exp(nb_node(r->tape, 0)), r->d[0].index += 10; return NB_OK;
    case REWIND_IN_REVERSE: return nb_rewind(p->mark);
    case SWEEP_IN_REVERSE: return nb_backward(r->out);
    default: break;
    }
    for (int i = 0; i < 5000 && p->trick == RECORD_IN_REVERSE; i++)
        nb_exp(nb_input(r->tape, "in a rule", 0.5));
    for (size_t k = 0; k < r->n_in; k++)
        if (r->want[k] || p->trick == ANSWER_ALL)
            r->d[k] = r->g;
    return NB_OK;
}

static void prank_destroy(void *state)
{
    prank *p = state;
    if (p->destroyed)
        ++*p->destroyed;
}

static const nb_op prank_op = {.name = "prank",
                               .shape = prank_shape,
                               .forward = prank_forward,
                               .reverse = prank_reverse,
                               .destroy = prank_destroy};

static nb_var play(nb_var x, int trick)
{
    prank p = {.trick = trick, .mark = nb_tape_mark(x.tape)};
    return nb_apply(&prank_op, 1, &x, &p, sizeof p);
}

START_TEST(forward_pranks)
{
    static const struct {
        int trick;
        nb_code code;
        const char *part;
    } cases[] = {{FAIL_SHAPE, NB_ERR_SHAPE, "prank: does not like this\n    a  \"v\"        [3]"},
                 {RANK_9, NB_ERR_SHAPE, "too many dimensions"},
                 {NEGATIVE, NB_ERR_OVERFLOW, "size overflows"},
                 {HUGE_SHAPE, NB_ERR_OVERFLOW, "size overflows"},
                 {FAIL_FORWARD, NB_ERR_DOMAIN, "prank: the forward rule failed"},
                 {REWIND, NB_ERR_CALLBACK, "rewind: called by a rule"},
                 {RESET, NB_ERR_CALLBACK, "reset: called by a rule"},
                 {SWEEP, NB_ERR_CALLBACK, "backward: called by a rule"}};
    nb_tape *t = nb_tape_new(&(nb_options){.nodes = 8});
    nb_var v = nb_tensor(t, "v", NB_SHAPE(3), (double[]){1, 2, 3}), x = nb_input(t, "x", 2);
    const size_t count = nb_count(t);
    nb_mark m = nb_tape_mark(t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_var y = play(v, cases[i].trick);
        ck_assert(!nb_ok(y) && isnan(nb_value(y)));
        is(t, cases[i].code, cases[i].part);
        ck_assert_uint_eq(nb_count(t), count);
        ck_assert_double_eq(nb_value(nb_sum(v)), 6);
        nb_rewind(m);
    }
    nb_var y = play(x, RECORD), z = play(v, RECORD); /* a rule may record */
    ck_assert(nb_value(y) == 2 && ((const double *)nb_data(z))[2] == 3);
    ck_assert_int_eq(nb_backward(nb_mul(y, nb_sum(z))), NB_OK);
    ck_assert_double_eq(nb_grad(x), 6);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(reverse_pranks)
{
    nb_tape *t = nb_tape_new(&(nb_options){.nodes = 8});
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6}),
           x = nb_input(t, "x", 2);
    const int bad[] = {FAIL_REVERSE, GIVE_STALE, REWIND_IN_REVERSE, SWEEP_IN_REVERSE};
    nb_mark m = nb_tape_mark(t);
    for (size_t i = 0; i < 4; i++) {
        nb_var f = nb_mul(nb_sum(play(v, bad[i])), x);
        const size_t count = nb_count(t);
        ck_assert_int_ne(nb_backward(f), NB_OK);
        is(t, bad[i] == FAIL_REVERSE ? NB_ERR_DOMAIN : NB_ERR_CALLBACK,
           bad[i] < REWIND_IN_REVERSE ? "prank" : "called by");
        ck_assert_uint_eq(nb_count(t), count);
        ck_assert_int_eq(nb_backward(nb_mul(nb_sum(v), x)), NB_OK);
        ck_assert_double_eq(((const double *)nb_grad_data(v))[5], 2);
        nb_rewind(m);
    }
    const int good[] = {NOTHING, NO_ANSWER, A_NUMBER, ANSWER_ALL, RECORD_IN_REVERSE};
    const double due[] = {2, 0, 3, 2, 2};
    for (size_t i = 0; i < 5; i++) {
        double g[6];
        nb_var f = nb_mul(nb_sum(play(v, good[i])), x);
        const size_t count = nb_count(t);
        ck_assert_int_eq(nb_backward(f), NB_OK);
        ck_assert_int_eq(nb_read_grad(v, g, 6), NB_OK);
        ck_assert_double_eq(g[5], due[i]);
        ck_assert_uint_eq(nb_count(t), count);
        nb_rewind(m);
    }
    nb_tape_free(t);
}
END_TEST

/* A rule's answer may be smaller than its operand, or larger by broadcast axes, and nothing else.
 */
START_TEST(shapes_of_answers)
{
    nb_tape *t = nb_tape_new(NULL), *u = nb_tape_new(NULL);
    const nb_shape good[] = {NB_SHAPE(2, 3), NB_SHAPE(3),       NB_SHAPE(2, 1),   NB_POINT,
                             NB_SHAPE(1),    NB_SHAPE(1, 2, 3), NB_SHAPE(4, 2, 3)};
    const double due[] = {1, 1, 1, 1, 1, 1, 4};
    const nb_shape bad[] = {NB_SHAPE(3, 2),    NB_SHAPE(6), NB_SHAPE(2),
                            NB_SHAPE(4, 1, 3), NB_SHAPE(0), NB_SHAPE(1, 1, 1)};
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6});
    nb_mark m = nb_tape_mark(t);
    for (size_t i = 0; i < 7; i++) {
        prank p = {.trick = GIVE_ODD, .odd = nb_ones(t, good[i])};
        nb_var f = nb_sum(nb_apply(&prank_op, 1, &v, &p, sizeof p));
        ck_assert_msg(nb_backward(f) == NB_OK, "case %zu: %s", i, nb_message(t));
        for (int k = 0; k < 6; k++)
            ck_assert_double_eq(((const double *)nb_grad_data(v))[k], due[i]);
        nb_rewind(m);
    }
    for (size_t i = 0; i <= 6; i++) {
        prank p = {.trick = GIVE_ODD,
                   .odd = i < 6 ? nb_ones(t, bad[i]) : nb_ones(u, NB_SHAPE(2, 3))};
        nb_var f = nb_sum(nb_apply(&prank_op, 1, &v, &p, sizeof p));
        ck_assert_msg(nb_backward(f) == NB_ERR_CALLBACK, "case %zu: %s", i, nb_message(t));
        is(t, NB_ERR_CALLBACK, "prank");
        nb_rewind(m);
    }
    nb_tape_free(t);
    nb_tape_free(u);
}
END_TEST

static nb_code odd_tangent(const nb_rule *r)
{
    const prank *p = r->state;
    r->d[0] = p->odd;
    return p->trick == FAIL_REVERSE ? NB_ERR_DOMAIN : NB_OK;
}

/* The same of the forward sweep, by a tangent rule and by the reverse rule. */
START_TEST(shapes_of_tangents)
{
    static const nb_op by_tangent = {
        .name = "prank", .forward = prank_forward, .tangent = odd_tangent};
    nb_tape *t = nb_tape_new(NULL), *u = nb_tape_new(NULL);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 6});
    nb_mark m = nb_tape_mark(t);
    double d[6];
    for (int i = 0; i < 2; i++) {
        prank p = {.trick = GIVE_ODD, .odd = nb_full(t, i ? NB_SHAPE(3) : NB_SHAPE(2, 3), 7)};
        nb_var y = nb_apply(&by_tangent, 1, &v, &p, sizeof p);
        ck_assert_int_eq(nb_forward(1, &v, NULL), NB_OK);
        ck_assert_int_eq(nb_read_tangent(y, d, 6), NB_OK);
        ck_assert_double_eq(d[5], 7);
        nb_rewind(m);
    }
    const nb_shape bad[] = {NB_SHAPE(3, 2), NB_SHAPE(6), NB_SHAPE(2, 4), NB_SHAPE(0)};
    for (size_t i = 0; i <= 8; i++) {
        prank p = {.trick = GIVE_ODD,
                   .odd =
                       i < 8 ? nb_leaf(NULL, nb_ones(t, bad[i % 4])) : nb_ones(u, NB_SHAPE(2, 3))};
        nb_apply(i < 4 || i == 8 ? &by_tangent : &prank_op, 1, &v, &p, sizeof p);
        nb_code code = nb_forward(1, &v, NULL);
        ck_assert_msg(code == NB_ERR_CALLBACK, "case %zu: %d", i, code);
        nb_clear(t);
        nb_rewind(m);
    }
    prank p = {.trick = FAIL_REVERSE};
    nb_apply(&by_tangent, 1, &v, &p, sizeof p);
    ck_assert_int_eq(nb_forward(1, &v, NULL), NB_ERR_DOMAIN);
    is(t, NB_ERR_DOMAIN, "prank: the tangent rule failed");
    nb_tape_free(t);
    nb_tape_free(u);
}
END_TEST

START_TEST(forward_sweeps_take_no_memory)
{
    counting c = {0};
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = counting_allocator(&c)});
    nb_var v = nb_leaf("v", nb_ones(t, NB_SHAPE(100))), y = play(nb_mul(v, 2), NOTHING);
    double d[100];
    size_t calls = 0;
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(nb_forward(1, &v, NULL), NB_OK);
        calls = i == 1 ? c.calls : calls;
    }
    ck_assert_uint_eq(c.calls, calls);
    ck_assert_int_eq(nb_read_tangent(y, d, 100), NB_OK);
    ck_assert_double_eq(d[99], 2);
    nb_tape_free(t);
}
END_TEST

START_TEST(odd_records)
{
    static const nb_op empty = {.name = "empty"},
                       view = {.name = "view", .shape = prank_shape, .view = true};
    static const nb_op no_reverse = {.name = "no reverse", .forward = prank_forward};
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(3), (double[]){1, 2, 3}), x = nb_input(t, "x", 2);
    prank p = {.trick = NOTHING};
    ck_assert(!nb_ok(nb_apply(&empty, 1, &v, NULL, 0)));
    is(t, NB_ERR_CALLBACK, "no forward rule");
    ck_assert(!nb_ok(nb_apply(&prank_op, 1, &v, NULL, sizeof p)));
    is(t, NB_ERR_ARGUMENT, "state is NULL");
    ck_assert(!nb_ok(nb_apply(&prank_op, SIZE_MAX, &v, &p, sizeof p)));
    ck_assert(!nb_ok(nb_apply(&prank_op, 1, &v, &p, SIZE_MAX)));
    is(t, NB_ERR_MEMORY, "prank");
    ck_assert(!nb_ok(nb_apply(&prank_op, 0, &v, &p, sizeof p)));
    ck_assert(!nb_ok(nb_apply(&view, 1, &x, &p, sizeof p)));
    is(t, NB_ERR_SHAPE, "a view must");
    ck_assert_ptr_eq(nb_data(nb_apply(&view, 1, &v, &p, sizeof p)), nb_data(v));
    nb_var y = nb_apply(&no_reverse, 1, &x, &p, sizeof p);
    ck_assert_int_eq(nb_backward(nb_mul(x, 3)), NB_OK); /* it is not on the way */
    ck_assert_int_eq(nb_backward(nb_mul(y, 3)), NB_ERR_GRADIENT);
    is(t, NB_ERR_GRADIENT, "no reverse: node");
    nb_tape_free(t);
}
END_TEST

START_TEST(destructors)
{
    int destroyed = 0;
    nb_tape *t = nb_tape_new(NULL);
    prank p = {.trick = NOTHING, .destroyed = &destroyed}, failing = p;
    failing.trick = FAIL_FORWARD;
    nb_var x = nb_input(t, "x", 1), kept = nb_apply(&prank_op, 1, &x, &p, sizeof p);
    nb_mark m = nb_tape_mark(t);
    for (int i = 0; i < 5; i++)
        nb_apply(&prank_op, 1, &x, &p, sizeof p);
    ck_assert(!nb_ok(nb_apply(&prank_op, 1, &x, &failing, sizeof p)));
    ck_assert_int_eq(destroyed, 0); /* what failed was never captured */
    nb_rewind(m);
    ck_assert_int_eq(destroyed, 5);
    ck_assert(nb_ok(kept));
    nb_apply(&prank_op, 1, &x, &p, sizeof p);
    nb_tape_free(t);
    ck_assert_int_eq(destroyed, 7);
}
END_TEST

/* out = a b c, over arrays; adds, as the contract of a rule that does not overwrite says. */
static nb_code product_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++) {
        double p = 1;
        for (size_t k = 0; k < c->n_in; k++)
            p *= ((const double *)c->in[k].data)[i];
        ((double *)c->out->data)[i] = p;
    }
    return NB_OK;
}

static nb_code product_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                               const bool *add)
{
    (void)add;
    for (size_t k = 0; k < c->n_in; k++)
        for (int64_t i = 0; gin[k] && i < g->size; i++) {
            double p = ((const double *)g->data)[i];
            for (size_t j = 0; j < c->n_in; j++)
                p *= j == k ? 1 : ((const double *)c->in[j].data)[i];
            ((double *)gin[k]->data)[i] += p;
        }
    return NB_OK;
}

START_TEST(operands_used_twice)
{
    static const nb_op product = {
        .name = "product", .forward = product_forward, .reverse_arrays = product_reverse};
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){2, 3}), x = nb_input(t, "x", 5);
    nb_var cube = nb_apply(&product, 3, (nb_var[]){v, v, v}, NULL, 0);
    nb_var seventh = nb_apply(&product, 7, (nb_var[]){x, x, x, x, x, x, nb_num(2)}, NULL, 0);
    ck_assert_int_eq(nb_backward(nb_add(nb_sum(cube), nb_sum(v))), NB_OK);
    ck_assert_double_eq(((const double *)nb_grad_data(v))[0], 13);
    ck_assert_double_eq(((const double *)nb_grad_data(v))[1], 28);
    ck_assert_int_eq(nb_backward(seventh), NB_OK);
    ck_assert_double_eq(nb_grad(x), 2 * 6 * 3125);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("custom");
    tcase_add_test(c, forward_pranks);
    tcase_add_test(c, reverse_pranks);
    tcase_add_test(c, shapes_of_answers);
    tcase_add_test(c, shapes_of_tangents);
    tcase_add_test(c, forward_sweeps_take_no_memory);
    tcase_add_test(c, odd_records);
    tcase_add_test(c, destructors);
    tcase_add_test(c, operands_used_twice);
    return run_case("custom", c);
}
