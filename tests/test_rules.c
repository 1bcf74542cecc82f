/*
 * What the rules of an operation may not do, seen from inside them: each call below is made from a
 * shape, forward, tangent or destroy function, must be refused there, and must leave a tape that
 * works. And the records that are refused before any rule runs.
 */
#include "run.h"

#include <nabla.h>
#include <string.h>

typedef struct attempt {
    nb_mark mark;
    nb_code *answer; /* of what was tried */
    int where;
} attempt;

enum { IN_FORWARD, IN_TANGENT, IN_DESTROY };

static nb_code try_forward(nb_var x) { return nb_forward(1, &x, NULL); }

static nb_code no_rank(const nb_call *c, nb_shape *out)
{
    (void)c;
    out->rank = -2;
    return NB_OK;
}

static nb_code forward(const nb_call *c)
{
    attempt *a = c->state;
    if (a && a->where == IN_FORWARD)
        *a->answer = try_forward(c->vars[0]);
    *(double *)c->out->data = *(const double *)c->in[0].data;
    return NB_OK;
}

static nb_code reverse(const nb_rule *r)
{
    r->d[0] = r->g;
    return NB_OK;
}

static nb_code tangent(const nb_rule *r)
{
    const attempt *a = r->state;
    if (a->where == IN_TANGENT)
        *a->answer = try_forward(r->in[0]);
    r->d[0] = r->t[0];
    return NB_OK;
}

static void destroy(void *state)
{
    attempt *a = state;
    if (a->where == IN_DESTROY)
        *a->answer = nb_rewind(a->mark);
}

static const nb_op same = {
    .name = "same", .forward = forward, .reverse = reverse, .tangent = tangent, .destroy = destroy};

static nb_var record(nb_var x, int where, nb_code *answer)
{
    const attempt a = {nb_tape_mark(x.tape), answer, where};
    *answer = NB_OK;
    return nb_apply(&same, 1, &x, &a, sizeof a);
}

static void says(nb_tape *t, nb_code code, const char *part)
{
    ck_assert_int_eq(nb_status(t), code);
    ck_assert_msg(strstr(nb_message(t), part) != NULL, "no \"%s\" in: %s", part, nb_message(t));
    nb_clear(t);
}

static void still_works(nb_tape *t, nb_var x)
{
    ck_assert(nb_ok(x));
    ck_assert_int_eq(nb_backward(nb_mul(x, x)), NB_OK);
    ck_assert_double_eq(nb_grad(x), 2 * nb_value(x));
    nb_tape_free(t);
}

START_TEST(forward_sweep_in_a_forward_rule)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3);
    nb_code answer;
    ck_assert_double_eq(nb_value(record(x, IN_FORWARD, &answer)), 3);
    ck_assert_int_eq(answer, NB_ERR_CALLBACK);
    says(t, NB_ERR_CALLBACK, "forward");
    still_works(t, x);
}
END_TEST

START_TEST(forward_sweep_in_a_tangent_rule)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3);
    nb_code answer;
    nb_var y = record(x, IN_TANGENT, &answer);
    nb_forward(1, &x, NULL);
    ck_assert_int_eq(answer, NB_ERR_CALLBACK);
    says(t, NB_ERR_CALLBACK, "forward");
    ck_assert(nb_ok(y));
    still_works(t, x);
}
END_TEST

/* What is being forgotten cannot take more with it. */
START_TEST(rewind_in_a_destructor)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3);
    nb_code answer;
    nb_mark m = nb_tape_mark(t);
    nb_var y = record(nb_exp(x), IN_DESTROY, &answer);
    ck_assert_int_eq(nb_rewind(m), NB_OK);
    ck_assert_int_ne(answer, NB_OK);
    ck_assert(!nb_ok(y));
    nb_clear(t);
    record(nb_exp(x), IN_DESTROY, &answer);
    ck_assert_int_eq(nb_reset(t), NB_OK);
    ck_assert_int_ne(answer, NB_OK);
    nb_clear(t);
    x = nb_input(t, "x", 2);
    record(x, IN_DESTROY, &answer);
    still_works(t, x);
    ck_assert_int_ne(answer, NB_OK);
}
END_TEST

START_TEST(records_refused)
{
    static const nb_op nameless = {.forward = forward},
                       rankless = {.name = "rankless", .shape = no_rank, .forward = forward};
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3);
    ck_assert(!nb_ok(nb_apply(&nameless, 1, &x, NULL, 0)));
    says(t, NB_ERR_ARGUMENT, "an op without a name");
    ck_assert(!nb_ok(nb_apply(&rankless, 1, &x, NULL, 0)));
    says(t, NB_ERR_SHAPE, "rank below -1");
    ck_assert(!nb_ok(nb_apply(NULL, 1, &x, NULL, 0)));
    still_works(t, x);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("rules");
    tcase_add_test(c, forward_sweep_in_a_forward_rule);
    tcase_add_test(c, forward_sweep_in_a_tangent_rule);
    tcase_add_test(c, rewind_in_a_destructor);
    tcase_add_test(c, records_refused);
    return run_case("rules", c);
}
