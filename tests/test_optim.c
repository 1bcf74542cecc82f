/*
 * Optimizers: every rule against its formula in plain C, with squares where the library keeps roots; hard
 * gradients, groups, frozen parameters, going on where another left off, a rule of the user's, the
 * learning rate learned by a gradient through two steps, memory, and what is refused.
 */
#include "counting.h"
#include "error_is.h"

#include <float.h>

enum { N = 203, T = 7 };
static const double rate = 0.01;

static double get(const void *a, int d, int64_t i)
{
    return d == NB_F64 ? ((const double *)a)[i] : (double)((const float *)a)[i];
}

static void set(void *a, int d, int64_t i, double x)
{
    if (d == NB_F64)
        ((double *)a)[i] = x;
    else
        ((float *)a)[i] = (float)x;
}

/* Parameters a [3], b [n - 3] in group "head"; 0.1 i - 1, 1 and on. */
static nb_params *params_of(int d, int64_t n, const nb_allocator *a)
{
    nb_params_options o = {.dtype = (nb_dtype)d};
    if (a)
        o.allocator = *a;
    nb_params *p = nb_params_new(&o);
    nb_params_add(p, "a", NB_SHAPE(3), NULL, NULL);
    nb_params_group(p, "head");
    nb_params_add(p, "b", NB_SHAPE(n - 3), NULL, NULL);
    for (int64_t i = 0; i < n; i++)
        set(nb_params_values(p), d, i, 0.01 * (double)i - 1);
    ck_assert_ptr_nonnull(nb_params_grads(p));
    return p;
}

static nb_optim *optim_of(nb_params *p, nb_update_id id, double r)
{
    nb_reason why = {""};
    nb_optim *o = nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(id), .rate = r}, &why);
    ck_assert_msg(o != NULL, "%s", why.text);
    return o;
}

static double gradient(int64_t i, int t)
{
    return i % 11 == 0 ? 0 : sin(3.7 * (double)i + 1.3 * t) * (i % 5 == 0 ? 30 : 0.3);
}

static void put_gradients(nb_params *p, int d, int t)
{
    for (int64_t i = 0; i < nb_params_size(p); i++)
        set(nb_params_grads(p), d, i, gradient(i, t));
}

static void ok(nb_optim *o)
{
    nb_reason why = {""};
    const nb_code code = nb_optim_step(o, &why);
    ck_assert_msg(code == NB_OK, "%s", why.text);
}

/* ---- the rules, by formulas from their papers and PyTorch's manual --------------------------- */

typedef struct memory {
    double m, v, top, product;
} memory;

static double adam_like(int id, double p, double g, memory *s, double t)
{
    const double b1 = 0.9, b2 = 0.999, eps = 1e-8, c1 = 1 - pow(b1, t), c2 = 1 - pow(b2, t);
    s->m = b1 * s->m + (1 - b1) * g;
    s->v = b2 * s->v + (1 - b2) * g * g;
    s->top = fmax(s->top, s->v);
    const double root = sqrt((id == NB_AMSGRAD ? s->top : s->v) / c2) + eps;
    if (id != NB_NADAM)
        return p - rate * (s->m / c1) / root;
    const double now = b1 * (1 - 0.5 * pow(0.96, t * 0.004));
    const double next = b1 * (1 - 0.5 * pow(0.96, (t + 1) * 0.004));
    s->product = (t == 1 ? 1 : s->product) * now;
    p -= rate * (1 - now) / (1 - s->product) * g / root;
    return p - rate * next / (1 - s->product * next) * s->m / root;
}

static double by_hand(int id, double p, double g, memory *s, double t)
{
    double d;
    switch (id) {
    case NB_SGD: return p - rate * g;
    case NB_MOMENTUM: s->m = 0.9 * s->m + g; return p - rate * s->m;
    case NB_NESTEROV: s->m = 0.9 * s->m + g; return p - rate * (g + 0.9 * s->m);
    case NB_ADAGRAD: s->v += g * g; return p - rate * g / (sqrt(s->v) + 1e-10);
    case NB_RMSPROP: s->v = 0.99 * s->v + 0.01 * g * g; return p - rate * g / (sqrt(s->v) + 1e-8);
    case NB_RMSPROP_NESTEROV:
        s->v = 0.99 * s->v + 0.01 * g * g;
        d = g / (sqrt(s->v) + 1e-8);
        s->m = 0.9 * s->m + d;
        return p - rate * (d + 0.9 * s->m);
    case NB_ADADELTA:
        s->v = 0.9 * s->v + 0.1 * g * g;
        d = sqrt(s->m + 1e-6) / sqrt(s->v + 1e-6) * g;
        s->m = 0.9 * s->m + 0.1 * d * d;
        return p - rate * d;
    case NB_ADAMW: return adam_like(id, p - rate * 0.01 * p, g, s, t);
    case NB_ADAMAX:
        s->m = 0.9 * s->m + 0.1 * g;
        s->v = fmax(0.999 * s->v, fabs(g) + 1e-8);
        return p - rate / (1 - pow(0.9, t)) * s->m / s->v;
    case NB_LION:
        d = 0.9 * s->m + 0.1 * g;
        s->m = 0.99 * s->m + 0.01 * g;
        return p - rate * ((d > 0) - (d < 0));
    default: return adam_like(id, p, g, s, t);
    }
}

static void every_rule_in(int id, int d)
{
    double p[N], worst = 0;
    memory s[N] = {{0}};
    nb_params *params = params_of(d, N, NULL);
    nb_optim *o = optim_of(params, (nb_update_id)id, rate);
    for (int i = 0; i < N; i++)
        p[i] = get(nb_params_values(params), d, i);
    for (int t = 1; t <= T; t++) {
        put_gradients(params, d, t);
        ok(o);
        for (int i = 0; i < N; i++) {
            p[i] = by_hand(id, p[i], get(nb_params_grads(params), d, i), &s[i], t);
            worst = fmax(worst, fabs(p[i] - get(nb_params_values(params), d, i)));
        }
    }
    ck_assert_msg(worst < (d == NB_F64 ? 1e-14 : 2e-6), "%s: off by %g",
                  nb_update_name((nb_update_id)id), worst);
    ck_assert_int_eq(nb_optim_steps(o), T);
    nb_optim_free(o);
    nb_params_free(params);
}

START_TEST(every_rule)
{
    every_rule_in(_i, NB_F64);
    every_rule_in(_i, NB_F32);
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

/* A gradient of any size moves a parameter as one of ordinary size does, in the first step by these. */
START_TEST(huge_and_tiny)
{
    const nb_update_id id[] = {NB_ADAM, NB_ADAMW, NB_AMSGRAD, NB_ADAMAX, NB_RMSPROP, NB_ADAGRAD};
    const double size[] = {rate, rate, rate, rate, 10 * rate, rate};
    for (int k = 0; k < 6; k++) {
        nb_params *p = params_of(_i, 5, NULL);
        nb_optim *o = optim_of(p, id[k], rate);
        const double g[] = {_i ? 3e38 : 1e200, _i ? -3e38 : -1e300, 2, _i ? 1e30 : 1e308, 0};
        for (int i = 0; i < 5; i++) {
            set(nb_params_values(p), _i, i, 0);
            set(nb_params_grads(p), _i, i, g[i]);
        }
        ok(o);
        for (int i = 0; i < 5; i++) {
            const double x = get(nb_params_values(p), _i, i), way = (g[i] < 0) - (g[i] > 0);
            ck_assert_msg(fabs(x - way * size[k]) < size[k] * 2e-6, "%s: %d: %g",
                          nb_update_name(id[k]), i, x);
        }
        nb_optim_free(o);
        nb_params_free(p);
    }
}
END_TEST

/* One huge gradient, then ordinary ones: its root stays in the state, where a square would not be a number.
 * The range of long double holds it. Loaded elsewhere after two steps, it goes on the same way. */
START_TEST(huge_once)
{
    long double m[4] = {0}, v[4] = {0}, x[4] = {0};
    nb_params *p = params_of(_i, 4, NULL), *q = params_of(_i, 4, NULL);
    nb_optim *o = optim_of(p, NB_ADAM, rate), *r = optim_of(q, NB_ADAM, rate);
    const size_t width = _i ? sizeof(float) : sizeof(double);
    memset(nb_params_values(p), 0, 4 * width);
    for (int t = 1; t <= 5; t++) {
        for (int i = 0; i < 4; i++) {
            const double g = t == 2 && i == 1 ? _i ? 1e30 : 1e200 : gradient(i + 1, t);
            set(nb_params_grads(p), _i, i, g);
            set(nb_params_grads(q), _i, i, g);
            m[i] = 0.9L * m[i] + 0.1L * (long double)g;
            v[i] = 0.999L * v[i] + 0.001L * (long double)g * (long double)g;
            x[i] -= (long double)rate * m[i] / (1 - powl(0.9L, t)) /
                    (sqrtl(v[i] / (1 - powl(0.999L, t))) + 1e-8L);
        }
        ok(o);
        if (t == 3) {
            memcpy(nb_params_values(q), nb_params_values(p), 4 * width);
            memcpy(nb_optim_state(r, 0, NULL), nb_optim_state(o, 0, NULL), 8 * width);
            ck_assert_int_eq(nb_optim_set_steps(r, 3, NULL), NB_OK);
        } else if (t > 3) {
            ok(r);
        }
    }
    for (int i = 0; LDBL_MAX_EXP > DBL_MAX_EXP && i < 4; i++)
        ck_assert_double_eq_tol(get(nb_params_values(p), _i, i), (double)x[i], _i ? 1e-8 : 1e-16);
    ck_assert_mem_eq(nb_params_values(p), nb_params_values(q), 4 * width);
    nb_optim_free(o), nb_optim_free(r);
    nb_params_free(p), nb_params_free(q);
}
END_TEST

START_TEST(not_finite_changes_nothing)
{
    const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    nb_reason why;
    nb_params *p = params_of(_i, N, NULL);
    nb_optim *o = optim_of(p, NB_ADAM, rate);
    put_gradients(p, _i, 1);
    ok(o);
    const size_t bytes = N * (_i ? sizeof(float) : sizeof(double));
    char before[3 * N * sizeof(double)];
    memcpy(before, nb_params_values(p), bytes);
    memcpy(before + bytes, nb_optim_state(o, 0, NULL), 2 * bytes);
    for (int k = 0; k < 6; k++) {
        put_gradients(p, _i, 2);
        set(nb_params_grads(p), _i, k < 3 ? 2 : N - 1 - k, bad[k % 3]);
        ck_assert_int_eq(nb_optim_step(o, &why), NB_ERR_ANOMALY);
        ck_assert_ptr_nonnull(strstr(why.text, k < 3 ? "\"a\"" : "\"b\""));
        ck_assert_int_eq(nb_optim_steps(o), 1);
        ck_assert_mem_eq(before, nb_params_values(p), bytes);
        ck_assert_mem_eq(before + bytes, nb_optim_state(o, 0, NULL), 2 * bytes);
    }
    put_gradients(p, _i, 2);
    set(nb_params_grads(p), _i, 1, (double)NAN); /* of a frozen parameter nobody asks */
    nb_params_freeze(p, 0, true);
    ok(o);
    nb_optim_free(o);
    nb_params_free(p);
}
END_TEST

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

/* The loss after two steps of a rule on f(p) = (p - 3)^2 sin(p), as a function of the rate. */
static nb_var after_two(nb_tape *t, const nb_update *r, nb_var x)
{
    nb_var own[NB_UPDATE_NUMBERS], state[NB_UPDATE_STATES], p = nb_constant(t, 1.25);
    double number[NB_UPDATE_NUMBERS];
    memcpy(number, r->number, sizeof number);
    for (int k = 0; k < NB_UPDATE_STATES; k++)
        state[k] = nb_constant(t, 0);
    for (int step = 1; step <= 2; step++) {
        if (r->prepare)
            r->prepare(step, number);
        for (int k = 0; k < r->numbers; k++)
            own[k] = nb_constant(t, r->fractions >> k & 1 ? 1 - number[k] : number[k]);
        nb_var off = nb_sub(p, 3); /* f' = 2 (p - 3) sin p + (p - 3)^2 cos p */
        nb_var g = nb_add(nb_mul(nb_mul(2, off), nb_sin(p)), nb_mul(nb_square(off), nb_cos(p)));
        p = r->update(p, g, state,
                      &(nb_hyper){.rate = x, .step = nb_constant(t, step), .own = own});
    }
    return nb_mul(nb_square(nb_sub(p, 3)), nb_sin(p));
}

START_TEST(the_rate_learned)
{
    const nb_update r = nb_update_of((nb_update_id)_i);
    nb_tape *t = nb_tape_new(NULL);
    double f[2];
    nb_var x = nb_input(t, "rate", 0.05), loss = after_two(t, &r, x);
    ck_assert_int_eq(nb_backward(loss), NB_OK);
    const double slope = nb_grad(x), h = 1e-5;
    for (int k = 0; k < 2; k++)
        f[k] = nb_value(after_two(t, &r, nb_input(t, NULL, 0.05 + (k ? h : -h))));
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_msg(fabs(slope) > 1e-3, "%s: %g", r.name, slope);
    ck_assert_double_eq_tol(slope, (f[1] - f[0]) / (2 * h), 2e-6 * (1 + fabs(slope)));
    nb_tape_free(t);
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
    TCase *c = tcase_create("optim");
    tcase_add_loop_test(c, every_rule, 0, NB_UPDATE_COUNT);
    tcase_add_loop_test(c, huge_and_tiny, 0, 2);
    tcase_add_loop_test(c, huge_once, 0, 2);
    tcase_add_loop_test(c, not_finite_changes_nothing, 0, 2);
    tcase_add_loop_test(c, groups_and_frozen, 0, 2);
    tcase_add_loop_test(c, goes_on, 0, 2 * NB_UPDATE_COUNT);
    tcase_add_loop_test(c, of_ones_own, 0, 2);
    tcase_add_loop_test(c, the_rate_learned, 0, NB_UPDATE_COUNT);
    tcase_add_loop_test(c, no_memory_asked_for, 0, 2);
    tcase_add_loop_test(c, memory_runs_out, 0, 2);
    tcase_add_test(c, refusals);
    return run_case("optim", c);
}
