/*
 * Optimizers at work: groups, frozen parameters, going on where another left off, a rule of the user's,
 * memory, and what is refused.
 */
#include "optim.h"

/* ---- groups ---------------------------------------------------------------------------------- */

START_TEST(groups_and_frozen)
{
    nb_params *p = params_of(_i, 6, NULL);
    const nb_optim_options options = {nb_update_of(NB_SGD), .rate = 0.5, .decay = 0.1, .l2 = 0.2};
    nb_optim *o = nb_optim_new(p, &options, NULL);
    ck_assert_int_eq(
        nb_optim_set_group(o, "head", &(nb_optim_group){.times = 0.25, .decay = 0.4}, NULL), NB_OK);
    for (int i = 0; i < 6; i++) {
        set(nb_params_values(p), _i, i, 2);
        set(nb_params_grads(p), _i, i, 3);
    }
    ok(o); /* a: 2 (1 - 0.5 0.1) - 0.5 (3 + 0.2 2); b: 2 (1 - 0.125 0.4) - 0.125 3 */
    ck_assert_double_eq_tol(get(nb_params_values(p), _i, 2), 0.2, 1e-6);
    ck_assert_double_eq_tol(get(nb_params_values(p), _i, 3), 1.525, 1e-6);
    ck_assert_int_eq(nb_optim_set_rate(o, 1, NULL), NB_OK);
    nb_params_freeze_group(p, "", true);
    ok(o); /* a stays; b: 1.525 (1 - 0.25 0.4) - 0.25 3 */
    ck_assert_double_eq_tol(get(nb_params_values(p), _i, 0), 0.2, 1e-6);
    ck_assert_double_eq_tol(get(nb_params_values(p), _i, 5), 0.6225, 1e-6);
    nb_params_freeze_group(p, "head", true);
    ok(o);
    ck_assert_double_eq_tol(get(nb_params_values(p), _i, 5), 0.6225, 1e-6);
    nb_params_freeze_group(p, "", false);
    ck_assert_int_eq(nb_optim_set_rate(o, 0, NULL), NB_OK);
    ok(o);
    ck_assert_double_eq_tol(get(nb_params_values(p), _i, 0), 0.2, 1e-6);
    nb_optim_free(o);
    nb_params_free(p);
}
END_TEST

/* Saved after three steps and loaded into new parameters, all rules go on to the same bits, threads or not. */
START_TEST(goes_on)
{
    enum { MANY = 5000 };
    const size_t width = _i % 2 ? sizeof(float) : sizeof(double);
    nb_pool *pool = nb_pool_new(3, NULL);
    nb_params *p = params_of(_i % 2, MANY, NULL), *q = params_of(_i % 2, MANY, NULL);
    nb_optim *o = optim_of(p, (nb_update_id)(_i / 2), rate), *r = NULL;
    for (int t = 1; t <= 6; t++) {
        if (t == 4) {
            const char *name;
            r = nb_optim_new(
                q, &(nb_optim_options){nb_update_of((nb_update_id)(_i / 2)), rate, .pool = pool},
                NULL);
            ck_assert_int_eq(nb_optim_set_steps(r, nb_optim_steps(o), NULL), NB_OK);
            memcpy(nb_params_values(q), nb_params_values(p), MANY * width);
            for (int32_t k = 0; k < nb_optim_states(o); k++) {
                memcpy(nb_optim_state(r, k, &name), nb_optim_state(o, k, NULL), MANY * width);
                ck_assert_str_ne(name, "");
            }
        }
        put_gradients(p, _i % 2, t);
        put_gradients(q, _i % 2, t);
        ok(o);
        if (r)
            ok(r);
    }
    ck_assert_mem_eq(nb_params_values(p), nb_params_values(q), MANY * width);
    ck_assert_ptr_null(nb_optim_state(o, nb_optim_states(o), NULL));
    nb_optim_free(o), nb_optim_free(r);
    nb_params_free(p), nb_params_free(q);
    nb_pool_free(pool);
}
END_TEST

/* ---- rules of one's own ---------------------------------------------------------------------- */

/* Momentum with a sign, and a number that depends on the step. */
static nb_var own_rule(nb_var p, nb_var g, nb_var *state, const nb_hyper *h)
{
    state[0] = nb_add(nb_mul(h->own[0], state[0]), nb_sign(g));
    return nb_sub(p, nb_div(nb_mul(nb_mul(h->rate, h->own[1]), state[0]), nb_sqrt(h->step)));
}

static void own_prepare(int64_t step, double *number) { number[1] = step == 2 ? 3 : 1; }

START_TEST(of_ones_own)
{
    nb_params *p = params_of(_i, 4, NULL);
    nb_optim_options options = {.rate = 0.5};
    options.rule = (nb_update){.name = "mine",
                               .update = own_rule,
                               .states = 1,
                               .numbers = 2,
                               .number_name = {"keep", "burst"},
                               .prepare = own_prepare};
    ck_assert_int_eq(nb_update_set(&options.rule, "keep", 0.75, NULL), NB_OK);
    nb_optim *o = nb_optim_new(p, &options, NULL);
    for (int i = 0; i < 4; i++) {
        set(nb_params_values(p), _i, i, 8);
        set(nb_params_grads(p), _i, i, i - 1.5);
    }
    ok(o), ok(o);
    const double moved = 0.5 * 1 + 0.5 * 3 * 1.75 / sqrt(2);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(get(nb_params_values(p), _i, i), i < 2 ? 8 + moved : 8 - moved,
                                1e-6);
    nb_optim_free(o);
    nb_params_free(p);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(no_memory_asked_for)
{
    counting c = {0};
    const nb_allocator a = counting_allocator(&c);
    nb_params *p = params_of(_i, 5000, &a);
    nb_optim *o = optim_of(p, NB_ADAM, rate);
    put_gradients(p, _i, 1);
    ok(o);
    const size_t calls = c.calls;
    ok(o), ok(o);
    ck_assert_uint_eq(c.calls, calls);
    nb_optim_free(o);
    nb_params_free(p);
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

/* Whatever request is refused, nothing leaks, and a step is made whole or not at all. */
START_TEST(memory_runs_out)
{
    bool done = false;
    for (size_t k = 1; !done; k++) {
        counting c = {0};
        nb_reason why;
        double old[300];
        int moved = 0;
        const nb_allocator a = counting_allocator(&c);
        nb_params *p = params_of(_i, 300, &a);
        put_gradients(p, _i, 1);
        memcpy(old, nb_params_values(p), 300 * (_i ? sizeof(float) : sizeof(double)));
        c.refuse = c.calls + k;
        nb_optim *o =
            nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = rate}, &why);
        const nb_code code = o ? nb_optim_step(o, &why) : NB_ERR_MEMORY;
        done = !c.refusals;
        ck_assert(code == NB_OK || code == NB_ERR_MEMORY);
        ck_assert(!done || code == NB_OK);
        for (int i = 0; i < 300; i++)
            moved += get(nb_params_values(p), _i, i) != get(old, _i, i);
        ck_assert_int_eq(moved, code == NB_OK ? 300 - 28 : 0); /* 28 gradients are 0 */
        nb_optim_free(o);
        nb_params_free(p);
        ck_assert_uint_eq(c.blocks, 0);
    }
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void refuses(nb_params *p, nb_optim_options o, const char *part)
{
    nb_reason why = {""};
    ck_assert_ptr_null(nb_optim_new(p, &o, &why));
    ck_assert_msg(strstr(why.text, part) != NULL, "no \"%s\" in: %s", part, why.text);
}

static nb_var guarded(nb_var p, nb_var g, nb_var *state, const nb_hyper *h)
{
    (void)state, (void)h;
    return nb_guard(nb_gt(g, 0)) ? nb_neg(p) : g;
}

static nb_var lost(nb_var p, nb_var g, nb_var *state, const nb_hyper *h)
{
    (void)state, (void)h;
    return nb_matmul(p, g);
}

START_TEST(refusals)
{
    nb_params *p = params_of(0, 5, NULL), *none = nb_params_new(NULL);
    const double bad[] = {0, -1, (double)NAN, (double)INFINITY};
    nb_update adam = nb_update_of(NB_ADAM);
    for (int k = 0; k < 4; k++)
        refuses(p, (nb_optim_options){.rule = adam, .rate = bad[k]}, "learning rate");
    refuses(p, (nb_optim_options){.rate = 1}, "no rule");
    refuses(p, (nb_optim_options){.rule = adam, .rate = 1, .decay = -1}, "decay -1");
    refuses(p, (nb_optim_options){.rule = adam, .rate = 1, .l2 = (double)NAN}, "l2 nan");
    refuses(none, (nb_optim_options){.rule = adam, .rate = 1}, "no parameters");
    refuses(NULL, (nb_optim_options){.rule = adam, .rate = 1}, "NULL");
    nb_update_set(&adam, "beta2", 1, NULL);
    refuses(p, (nb_optim_options){.rule = adam, .rate = 1}, "beta2 is 1, not in [0, 1)");
    adam = nb_update_of(NB_ADAM);
    nb_update_set(&adam, "eps", 0, NULL);
    refuses(p, (nb_optim_options){.rule = adam, .rate = 1}, "eps is 0, not above 0");
    ck_assert_int_eq(nb_update_set(&adam, "gamma", 0, NULL), NB_ERR_ARGUMENT);
    refuses(p, (nb_optim_options){.rule = {.update = adam.update, .states = 5}, .rate = 1},
            "at most 4 states");
    refuses(p, (nb_optim_options){.rule = {.update = guarded}, .rate = 1}, "nb_where");
    refuses(p, (nb_optim_options){.rule = {.update = lost}, .rate = 1}, "matmul");
    ck_assert(!nb_update_of(NB_UPDATE_COUNT).update);

    nb_optim *o = optim_of(p, NB_ADAM, 1);
    ck_assert_int_eq(nb_optim_set_rate(o, -1, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_optim_set_rate(o, (double)NAN, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_optim_set_steps(o, -1, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_optim_set_group(o, "tail", &(nb_optim_group){0}, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_optim_set_group(o, "head", &(nb_optim_group){-1, 0, 0}, NULL),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_optim_step(NULL, NULL), NB_ERR_ARGUMENT);
    nb_params_state(p, 1);
    ck_assert_int_eq(nb_optim_step(o, NULL), NB_ERR_ARGUMENT);
    ck_assert_ptr_null(nb_optim_state(o, 0, NULL));
    ck_assert(nb_optim_rate(o) == 1 && nb_optim_steps(o) == 0);
    nb_optim_free(o);
    nb_optim_free(NULL);
    nb_params_free(p), nb_params_free(none);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("optim_use");
    tcase_add_loop_test(c, groups_and_frozen, 0, 2);
    tcase_add_loop_test(c, goes_on, 0, 2 * NB_UPDATE_COUNT);
    tcase_add_loop_test(c, of_ones_own, 0, 2);
    tcase_add_loop_test(c, no_memory_asked_for, 0, 2);
    tcase_add_loop_test(c, memory_runs_out, 0, 2);
    tcase_add_test(c, refusals);
    return run_case("optim_use", c);
}
