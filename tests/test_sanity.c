/*
 * Sanity checks: a sound learner passes all four; each kind of mistake fails the check that is there for it
 * and no other. Parameters, gradients, statistics and the optimizer's state stay to the bit.
 */
#include "counting.h"
#include "reason.h"

#include <math.h>
#include <stdio.h>

enum { HIDDEN = 24 };

typedef enum fault {
    NONE,
    SCALE,    /* first weights 30 times too large in the last layer */
    CUT,      /* the first layer is detached */
    RULE,     /* an operation whose gradient is twice what it should be */
    BLIND,    /* the model does not look at x */
    DROPPING, /* no fault: dropout after the hidden layer */
    FAULTS
} fault;

typedef struct net {
    nb_params *p;
    nb_linear_layer hidden, out;
    nb_batch_norm_layer norm;
    bool normed;
    fault fault;
} net;

static nb_code same_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++)
        if (c->out->dtype == NB_F64)
            ((double *)c->out->data)[i] = ((const double *)c->in[0].data)[i];
        else
            ((float *)c->out->data)[i] = ((const float *)c->in[0].data)[i];
    return NB_OK;
}

static nb_code twice_reverse(const nb_rule *r)
{
    r->d[0] = nb_mul(2, r->g);
    return NB_OK;
}

static const nb_op wrong = {.name = "wrong", .forward = same_forward, .reverse = twice_reverse};

static nb_var model(void *context, const nb_pass *m, nb_var x)
{
    const net *n = context;
    if (n->fault == BLIND)
        x = nb_mul(x, 0);
    nb_var h = nb_linear_apply(&n->hidden, m, x, NULL);
    if (n->normed)
        h = nb_batch_norm_apply(&n->norm, m, h);
    h = nb_tanh(h);
    h = n->fault == CUT ? nb_detach(h) : n->fault == RULE ? nb_apply(&wrong, 1, &h, NULL, 0) : h;
    if (n->fault == DROPPING)
        h = nb_dropout_apply(m, h, 0.5);
    return nb_linear_apply(&n->out, m, h, NULL);
}

static net net_of(nb_dtype d, int64_t in, int64_t out, fault f, bool normed)
{
    nb_rng r = nb_rng_seed(3);
    net n = {.p = nb_params_new(&(nb_params_options){.dtype = d}), .fault = f, .normed = normed};
    n.hidden = nb_linear_new(n.p, "hidden", in, HIDDEN, NULL, &r);
    if (normed)
        n.norm = nb_batch_norm_new(n.p, "norm", HIDDEN);
    nb_params_group(n.p, "head");
    n.out = nb_linear_new(n.p, "out", HIDDEN, out, NULL, &r);
    for (int k = 0; f == CUT && k < 2;
         k++) /* so rich that the last layer alone can learn the rows */
        nb_params_draw(n.p, k ? n.hidden.b : n.hidden.w, (nb_init){NB_INIT_NORMAL, 0, 4}, &r);
    if (f == SCALE)
        nb_params_draw(n.p, n.out.w, (nb_init){NB_INIT_NORMAL, 0, 10}, &r);
    ck_assert_int_eq(nb_params_status(n.p), NB_OK);
    return n;
}

static nb_dataset *moons(nb_dtype d)
{
    nb_dataset *data;
    nb_reason why = {""};
    fine(nb_make_moons(&(nb_make){.rows = 300, .noise = 0.1, .seed = 1, .dtype = d}, &data, &why),
         &why);
    return data;
}

static nb_sanity_report run(const nb_learner *l, const nb_dataset *d, const nb_sanity_options *o)
{
    nb_sanity_report r;
    nb_reason why = {""};
    fine(nb_sanity(l, d, o, &r, &why), &why);
    return r;
}

/* The check that is to fail; NB_SANITY_COUNT: none. `skipped` are bits. */
static void ended(const nb_sanity_report *r, nb_sanity_check failed, uint32_t skipped)
{
    for (int k = 0; k < NB_SANITY_COUNT; k++) {
        const nb_sanity_status wanted = k == (int)failed   ? NB_SANITY_FAILED
                                        : skipped >> k & 1 ? NB_SANITY_SKIPPED
                                                           : NB_SANITY_PASSED;
        ck_assert_msg(r->check[k].status == wanted, "%s: %d, not %d: %s",
                      nb_sanity_check_name((nb_sanity_check)k), (int)r->check[k].status,
                      (int)wanted, r->check[k].text);
        ck_assert(r->check[k].text[0]);
    }
    ck_assert(nb_sanity_ok(r) == (failed == NB_SANITY_COUNT));
}

static nb_var with_l2(void *context, const nb_pass *m, nb_var y, const nb_dataset *d)
{
    (void)context;
    return nb_add(nb_cross_entropy(y, d->rows, d->label, NULL), nb_weight_penalty(m, 0, 1e-3));
}

static nb_var without(void *context, const nb_pass *m, nb_var y, const nb_dataset *d)
{
    (void)context, (void)m;
    return nb_cross_entropy(y, d->rows, d->label, NULL);
}

START_TEST(each_mistake_is_found)
{
    static const nb_sanity_check found[] = {NB_SANITY_COUNT,    NB_SANITY_CHANCE,
                                            NB_SANITY_GRADIENT, NB_SANITY_GRADIENT,
                                            NB_SANITY_OVERFIT,  NB_SANITY_COUNT};
    const nb_dtype d = _i % 2 ? NB_F32 : NB_F64;
    const fault f = (fault)(_i / 2);
    net n = net_of(d, 2, 2, f, false);
    nb_dataset *data = moons(d);
    const nb_learner l = {.params = n.p, .model = model, .loss = with_l2, .context = &n};
    nb_sanity_report r = run(&l, data, &(nb_sanity_options){.l2 = 1e-3});
    ended(&r, found[f], 0);
    if (f == NONE) {
        double w[HIDDEN * 2], squares = 0;
        for (int k = 0; k < 2; k++) {
            nb_params_read(n.p, k ? n.out.w : n.hidden.w, w, HIDDEN * 2);
            for (int i = 0; i < HIDDEN * 2; i++)
                squares += w[i] * w[i];
        }
        ck_assert_double_eq_tol(r.check[NB_SANITY_PENALTY].expected, 1e-3 * squares, 1e-8);
        ck_assert_double_eq_tol(r.check[NB_SANITY_CHANCE].expected, log(2), 1e-15);
        ck_assert_double_eq_tol(r.check[NB_SANITY_OVERFIT].expected, 0.01 * log(2), 1e-15);
    }
    if (f == RULE)
        ck_assert(r.check[NB_SANITY_GRADIENT].value > 1.5 * r.check[NB_SANITY_GRADIENT].expected);
    nb_dataset_free(data);
    nb_params_free(n.p);
}
END_TEST

START_TEST(penalties)
{
    net n = net_of(NB_F64, 2, 2, NONE, false);
    nb_dataset *data = moons(NB_F64);
    nb_learner l = {.params = n.p, .model = model, .context = &n};
    const uint32_t rest = 1u << NB_SANITY_OVERFIT | 1u << NB_SANITY_GRADIENT;
    nb_sanity_options o = {.skip = rest};
    nb_sanity_report r = run(&l, data, &o);
    ended(&r, NB_SANITY_COUNT, rest | 1u << NB_SANITY_PENALTY); /* none was told of */
    o.l2 = 1e-3;
    r = run(&l, data, &o);
    ended(&r, NB_SANITY_PENALTY, rest); /* it was forgotten */
    l.loss = with_l2;
    o.l2 = 2e-3;
    r = run(&l, data, &o);
    ended(&r, NB_SANITY_PENALTY, rest); /* another factor */
    o.l2 = 0;
    o.plain = without;
    r = run(&l, data, &o);
    ended(&r, NB_SANITY_COUNT, rest);
    l.loss = without;
    r = run(&l, data, &o);
    ended(&r, NB_SANITY_PENALTY, rest);
    ck_assert(r.check[NB_SANITY_PENALTY].value == 0);
    nb_dataset_free(data);
    nb_params_free(n.p);
}
END_TEST

/* Targets of mean 5 and variance s^2 / 2 (of a sine): the loss at the beginning is their square. */
START_TEST(regression)
{
    nb_dataset *data;
    nb_reason why = {""};
    fine(nb_make_sine(&(nb_make){.rows = 400, .seed = 2}, &data, &why), &why);
    net n = net_of(NB_F64, 1, 1, NONE, false);
    const nb_learner l = {.params = n.p, .model = model, .context = &n};
    const uint32_t skipped = 1u << NB_SANITY_PENALTY;
    nb_sanity_report r = run(&l, data, NULL);
    ended(&r, NB_SANITY_COUNT, skipped);
    ck_assert_double_eq_tol(r.check[NB_SANITY_CHANCE].expected, 0.5, 0.05);
    double *y = (double *)malloc(400 * sizeof *y);
    for (int i = 0; i < 400; i++)
        y[i] = 5 + ((const double *)data->y)[i];
    nb_dataset far = *data;
    far.y = y;
    r = run(&l, &far, &(nb_sanity_options){.skip = ~(1u << NB_SANITY_CHANCE)});
    ck_assert(r.check[0].status == NB_SANITY_FAILED && r.check[0].value > 20);
    ck_assert_double_eq_tol(r.check[0].expected, 0.5, 0.05);
    r = run(&l, &far, &(nb_sanity_options){.skip = ~(1u << NB_SANITY_CHANCE), .chance = 25.5});
    ck_assert_int_eq(r.check[0].status, NB_SANITY_PASSED);
    r = run(&l, &far,
            &(nb_sanity_options){.skip = ~(1u << NB_SANITY_CHANCE), .chance = (double)NAN});
    ck_assert_int_eq(r.check[0].status, NB_SANITY_SKIPPED);
    free(y);
    nb_dataset_free(data);
    nb_params_free(n.p);
}
END_TEST

/* With batch norm, preprocessing, an optimizer under way and a frozen bias: all passes, and nothing is
 * changed by a bit. */
START_TEST(nothing_is_touched)
{
    nb_reason why = {""};
    net n = net_of(NB_F32, 2, 2, DROPPING, true);
    n.fault = NONE;
    nb_dataset *data = moons(NB_F32);
    nb_prep *prep;
    fine(nb_prep_fit(data, 1, &(nb_prep_step){NB_PREP_STANDARDISE, 0}, &prep, &why), &why);
    nb_params_freeze(n.p, n.out.b, true);
    nb_optim *o =
        nb_optim_new(n.p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 0.1}, &why);
    const size_t size = (size_t)nb_params_size(n.p), bytes = size * sizeof(float);
    const size_t more = (size_t)nb_params_statistic_size(n.p) * sizeof(double);
    for (size_t k = 0; k < size; k++)
        ((float *)nb_params_grads(n.p))[k] = (float)k;
    fine(nb_optim_step(o, &why), &why);
    char *held = malloc(4 * bytes + more);
    memcpy(held, nb_params_values(n.p), bytes);
    memcpy(held + bytes, nb_params_grads(n.p), bytes);
    memcpy(held + 2 * bytes, nb_optim_state(o, 0, NULL), 2 * bytes);
    memcpy(held + 4 * bytes, nb_params_statistics(n.p), more);
    const nb_learner l = {.params = n.p, .model = model, .context = &n, .prep = prep};
    const nb_sanity_report r = run(&l, data, &(nb_sanity_options){.factor = 10, .seed = 5});
    ended(&r, NB_SANITY_COUNT, 1u << NB_SANITY_PENALTY);
    ck_assert(!memcmp(held, nb_params_values(n.p), bytes));
    ck_assert(!memcmp(held + bytes, nb_params_grads(n.p), bytes));
    ck_assert(!memcmp(held + 2 * bytes, nb_optim_state(o, 0, NULL), 2 * bytes));
    ck_assert(!memcmp(held + 4 * bytes, nb_params_statistics(n.p), more));
    fine(nb_optim_step(o, &why), &why);
    free(held);
    nb_optim_free(o);
    nb_prep_free(prep);
    nb_dataset_free(data);
    nb_params_free(n.p);
}
END_TEST

START_TEST(text)
{
    char all[2048] = "";
    net n = net_of(NB_F64, 2, 2, SCALE, false);
    nb_dataset *data = moons(NB_F64);
    const nb_learner l = {.params = n.p, .model = model, .context = &n};
    const nb_sanity_report r = run(&l, data, NULL);
    FILE *f = tmpfile();
    ck_assert_int_eq(nb_sanity_print(f, &r), NB_OK);
    rewind(f);
    all[fread(all, 1, sizeof all - 1, f)] = 0;
    fclose(f);
    ck_assert_msg(strstr(all, "chance    FAILED   the loss is "), "%s", all);
    ck_assert_msg(strstr(all, "guessing gives 0.6931: is the scale of the first weights"), "%s",
                  all);
    ck_assert_msg(strstr(all, "penalty   skipped  no regularisers"), "%s", all);
    ck_assert_msg(strstr(all, "overfit   passed   the loss of 20 rows went from"), "%s", all);
    ck_assert_msg(strstr(all, "gradient  passed   "), "%s", all);
    ck_assert_int_eq(nb_sanity_print(NULL, &r), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_sanity_print(stdout, NULL), NB_ERR_ARGUMENT);
    ck_assert(!nb_sanity_ok(NULL));
    ck_assert_str_eq(nb_sanity_check_name(NB_SANITY_COUNT), "?");
    nb_dataset_free(data);
    nb_params_free(n.p);
}
END_TEST

static nb_var refuses(void *context, const nb_pass *m, nb_var x)
{
    (void)context;
    return nb_matmul(x, nb_pass_var(m, 2)); /* [24 2], where x is [n 2] */
}

START_TEST(bad_arguments)
{
    nb_reason why = {""};
    nb_sanity_report r;
    net n = net_of(NB_F64, 2, 2, NONE, false);
    nb_dataset *data = moons(NB_F64), *single = moons(NB_F32);
    nb_learner l = {.params = n.p, .model = model, .context = &n};
    said(nb_sanity(NULL, data, NULL, &r, &why), NB_ERR_ARGUMENT, &why, "NULL");
    said(nb_sanity(&l, data, NULL, NULL, &why), NB_ERR_ARGUMENT, &why, "NULL");
    said(nb_sanity(&l, single, NULL, &r, &why), NB_ERR_ARGUMENT, &why, "data are float");
    said(nb_sanity(&l, data, &(nb_sanity_options){.rows = -1}, &r, &why), NB_ERR_ARGUMENT, &why,
         "-1");
    said(nb_sanity(&l, data, &(nb_sanity_options){.factor = 0.5}, &r, &why), NB_ERR_ARGUMENT, &why,
         "factor 0.5");
    said(nb_sanity(&l, data, &(nb_sanity_options){.rate = (double)INFINITY}, &r, &why),
         NB_ERR_ARGUMENT, &why, "rate inf");
    nb_dataset none = *data;
    none.rows = 0;
    ck_assert_int_ne(nb_sanity(&l, &none, NULL, &r, &why), NB_OK);
    none = *data;
    none.label = NULL;
    said(nb_sanity(&l, &none, NULL, &r, &why), NB_ERR_ARGUMENT, &why, "needs a loss");
    l.model = refuses;
    said(nb_sanity(&l, data, NULL, &r, &why), NB_ERR_SHAPE, &why,
         "sanity: the loss at the beginning: matmul");
    said(nb_sanity(&l, data, &(nb_sanity_options){.skip = 1u << NB_SANITY_CHANCE}, &r, &why),
         NB_ERR_SHAPE, &why, "sanity: overfitting: matmul");
    l.params = nb_params_new(NULL);
    said(nb_sanity(&l, data, NULL, &r, &why), NB_ERR_EMPTY, &why, "no parameters");
    nb_params_free(l.params);
    nb_dataset_free(data);
    nb_dataset_free(single);
    nb_params_free(n.p);
}
END_TEST

/* A gradient that is not finite fails the check, not the call. */
static nb_var root(void *context, const nb_pass *m, nb_var y, const nb_dataset *d)
{
    (void)context, (void)m, (void)d;
    return nb_add(nb_sqrt(nb_mul(0, nb_sum(nb_square(y)))), 1);
}

START_TEST(not_finite)
{
    net n = net_of(NB_F64, 2, 2, NONE, false);
    nb_dataset *data = moons(NB_F64);
    const nb_learner l = {.params = n.p, .model = model, .loss = root, .context = &n};
    const nb_sanity_report r = run(&l, data, NULL);
    ck_assert_int_eq(r.check[NB_SANITY_OVERFIT].status, NB_SANITY_FAILED);
    ck_assert_ptr_nonnull(strstr(r.check[NB_SANITY_OVERFIT].text, "not finite"));
    ck_assert_int_eq(r.check[NB_SANITY_GRADIENT].status, NB_SANITY_FAILED);
    nb_dataset_free(data);
    nb_params_free(n.p);
}
END_TEST

START_TEST(memory_ends)
{
    net n = net_of(NB_F64, 2, 2, NONE, false);
    nb_dataset *data = moons(NB_F64);
    const nb_learner l = {.params = n.p, .model = model, .loss = with_l2, .context = &n};
    bool done = false;
    for (size_t k = 1; !done; k += k < 60 ? 1 : 1 + k / 16) {
        counting c = {.refuse = k, .for_ever = k % 2};
        const nb_allocator a = counting_allocator(&c);
        nb_reason why = {""};
        nb_sanity_report r;
        const nb_sanity_options o = {
            .l2 = 1e-3, .steps = 3, .rows = 4, .gradient_rows = 2, .allocator = &a};
        const nb_code code = nb_sanity(&l, data, &o, &r, &why);
        done = !c.refusals;
        ck_assert_msg(done ? code == NB_OK : code == NB_OK || code == NB_ERR_MEMORY, "%zu: %s: %s",
                      k, nb_code_name(code), why.text);
        ck_assert(code == NB_OK || why.text[0]);
        ck_assert_uint_eq(c.blocks, 0);
    }
    nb_dataset_free(data);
    nb_params_free(n.p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("sanity");
    tcase_add_loop_test(c, each_mistake_is_found, 0, 2 * FAULTS);
    tcase_add_test(c, penalties);
    tcase_add_test(c, regression);
    tcase_add_test(c, nothing_is_touched);
    tcase_add_test(c, text);
    tcase_add_test(c, bad_arguments);
    tcase_add_test(c, not_finite);
    tcase_add_test(c, memory_ends);
    tcase_set_timeout(c, 60);
    return run_case("sanity", c);
}
