/*
 * The update rules: each against its formula in plain C, with squares where the library keeps roots; hard
 * gradients; and the learning rate learned, by a gradient through two steps.
 */
#include "optim.h"

#include <float.h>

enum { T = 7 };

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
 * The range of long double holds it. Loaded elsewhere after three steps, it goes on the same way. */
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

int main(void)
{
    TCase *c = tcase_create("optim");
    tcase_add_loop_test(c, every_rule, 0, NB_UPDATE_COUNT);
    tcase_add_loop_test(c, huge_and_tiny, 0, 2);
    tcase_add_loop_test(c, huge_once, 0, 2);
    tcase_add_loop_test(c, not_finite_changes_nothing, 0, 2);
    tcase_add_loop_test(c, the_rate_learned, 0, NB_UPDATE_COUNT);
    return run_case("optim", c);
}
