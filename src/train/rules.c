/*
 * The update rules, as scalar graph code.
 *
 * Where others keep the mean of squares v, these keep its root s: then s has the range of gradients, and
 * one of 1e200 (or 1e30 in float) is no overflow. The mean of two squares is a hypotenuse,
 *
 *     sqrt(beta s^2 + (1 - beta) g^2) = hypot(sqrt(beta) s, sqrt(1 - beta) g)
 *
 * which costs more than the root on the left; so that is taken where the squares are known to be in
 * range (h->tame). And where Adam has the root of v its s is ready. Its bias corrections c1 = 1 - beta1^t and
 * c2 = sqrt(1 - beta2^t) go into two numbers that are the same for all elements, so that an element costs
 * one quotient and nothing overflows on the way:
 *
 *     r (m / c1) / (s / c2 + eps) = (r c2 / c1) (m / (s + eps c2))
 *
 * 1 - beta^t is -expm1(t log beta): 1 - pow(beta, t) loses digits for small t. Rules see d = 1 - beta, of
 * which a float has all digits; log beta is log1p(-d).
 */
#include "base/reason.h"

#include <math.h>
#include <nabla/ops.h>
#include <nabla/optim.h>
#include <string.h>

enum { D1, D2, EPS, PSI, NOW, NEXT, PRODUCT, AT }; /* numbers of Adam and its kin */

/* beta x + (1 - beta) y, and the root of that of squares; d = 1 - beta */
static nb_var mix(nb_var d, nb_var x, nb_var y)
{
    return nb_add(nb_mul(nb_sub(1, d), x), nb_mul(d, y));
}

static nb_var mixed(const nb_hyper *h, nb_var d, nb_var x, nb_var y)
{
    nb_var keep = nb_sub(1, d);
    if (h->tame)
        return nb_sqrt(nb_add(nb_mul(nb_mul(keep, x), x), nb_mul(nb_mul(d, y), y)));
    return nb_hypot(nb_mul(nb_sqrt(keep), x), nb_mul(nb_sqrt(d), y));
}

/* 1 - beta^t */
static nb_var corrected(nb_var d, nb_var t)
{
    return nb_neg(nb_expm1(nb_mul(t, nb_log1p(nb_neg(d)))));
}

static nb_var sgd(nb_var p, nb_var g, nb_var *state, const nb_hyper *h)
{
    (void)state;
    return nb_sub(p, nb_mul(h->rate, g));
}

static nb_var momentum(nb_var p, nb_var g, nb_var *v, const nb_hyper *h)
{
    v[0] = nb_add(nb_mul(nb_sub(1, h->own[0]), v[0]), g);
    return nb_sub(p, nb_mul(h->rate, v[0]));
}

static nb_var nesterov(nb_var p, nb_var g, nb_var *v, const nb_hyper *h)
{
    nb_var keep = nb_sub(1, h->own[0]);
    v[0] = nb_add(nb_mul(keep, v[0]), g);
    return nb_sub(p, nb_mul(h->rate, nb_add(g, nb_mul(keep, v[0]))));
}

static nb_var adagrad(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    s[0] = nb_hypot(s[0], g);
    return nb_sub(p, nb_mul(h->rate, nb_div(g, nb_add(s[0], h->own[0]))));
}

static nb_var rmsprop(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    s[0] = mixed(h, h->own[0], s[0], g);
    return nb_sub(p, nb_mul(h->rate, nb_div(g, nb_add(s[0], h->own[1]))));
}

static nb_var rmsprop_nesterov(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    const nb_hyper outer = {h->rate, h->step, h->own + 2, h->tame};
    s[0] = mixed(h, h->own[0], s[0], g);
    return nesterov(p, nb_div(g, nb_add(s[0], h->own[1])), s + 1, &outer);
}

static nb_var adadelta(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    nb_var e = nb_sqrt(h->own[1]);
    s[0] = mixed(h, h->own[0], s[0], g);
    nb_var d = nb_mul(nb_div(g, nb_hypot(s[0], e)), nb_hypot(s[1], e));
    s[1] = mixed(h, h->own[0], s[1], d);
    return nb_sub(p, nb_mul(h->rate, d));
}

/* s + eps c2 with c2 = sqrt(1 - beta2^t), and c2 itself */
static nb_var denominator(nb_var s, const nb_hyper *h, nb_var *c2)
{
    *c2 = nb_sqrt(corrected(h->own[D2], h->step));
    return nb_add(s, nb_mul(h->own[EPS], *c2));
}

static nb_var adam_with(nb_var p, nb_var m, nb_var s, const nb_hyper *h)
{
    nb_var c2, q = nb_div(m, denominator(s, h, &c2));
    return nb_sub(p, nb_mul(nb_div(nb_mul(h->rate, c2), corrected(h->own[D1], h->step)), q));
}

static nb_var adam(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    s[0] = mix(h->own[D1], s[0], g);
    s[1] = mixed(h, h->own[D2], s[1], g);
    return adam_with(p, s[0], s[1], h);
}

static nb_var amsgrad(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    s[0] = mix(h->own[D1], s[0], g);
    s[1] = mixed(h, h->own[D2], s[1], g);
    s[2] = nb_max(s[2], s[1]);
    return adam_with(p, s[0], s[2], h);
}

static nb_var adamax(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    s[0] = mix(h->own[D1], s[0], g);
    s[1] = nb_max(nb_mul(nb_sub(1, h->own[D2]), s[1]), nb_add(nb_abs(g), h->own[EPS]));
    nb_var rate = nb_div(h->rate, corrected(h->own[D1], h->step));
    return nb_sub(p, nb_mul(rate, nb_div(s[0], s[1])));
}

static nb_var nadam(nb_var p, nb_var g, nb_var *s, const nb_hyper *h)
{
    const nb_var *n = h->own;
    s[0] = mix(n[D1], s[0], g);
    s[1] = mixed(h, n[D2], s[1], g);
    nb_var c2, q = denominator(s[1], h, &c2), rate = nb_mul(h->rate, c2);
    nb_var by_g = nb_div(nb_sub(1, n[NOW]), nb_sub(1, n[PRODUCT]));
    nb_var by_m = nb_div(n[NEXT], nb_sub(1, nb_mul(n[PRODUCT], n[NEXT])));
    nb_var sum = nb_add(nb_mul(by_g, nb_div(g, q)), nb_mul(by_m, nb_div(s[0], q)));
    return nb_sub(p, nb_mul(rate, sum));
}

/* The momentum of step t, that of the next, and the product of all so far: made from the one before, or
 * from the beginning if the number of steps was set. */
static void prepare_nadam(int64_t step, double *n)
{
    if (!(n[AT] > 0 && n[AT] <= (double)step)) {
        n[AT] = 0;
        n[PRODUCT] = 1;
    }
    while (n[AT] < (double)step) {
        n[AT]++;
        n[NOW] = n[D1] * (1 - 0.5 * pow(0.96, n[AT] * n[PSI]));
        n[PRODUCT] *= n[NOW];
    }
    n[NEXT] = n[D1] * (1 - 0.5 * pow(0.96, (n[AT] + 1) * n[PSI]));
}

static nb_var lion(nb_var p, nb_var g, nb_var *m, const nb_hyper *h)
{
    nb_var way = nb_sign(mix(h->own[D1], m[0], g));
    m[0] = mix(h->own[D2], m[0], g);
    return nb_sub(p, nb_mul(h->rate, way));
}

/* ---- the table ------------------------------------------------------------------------------- */

#define STATES(n, ...)  .states = n, .state = {__VA_ARGS__}
#define NAMES(n, ...)   .numbers = n, .number_name = {__VA_ARGS__}
#define VALUES(...)     .number = {__VA_ARGS__}
#define MOMENTS         STATES(2, "mean", "root"), .roots = 2
#define ADAM_NUMBERS    NAMES(3, "beta1", "beta2", "eps"), VALUES(0.9, 0.999, 1e-8), .fractions = 3
#define RMSPROP_NUMBERS VALUES(0.99, 1e-8, 0.9), .positives = 2, .roots = 1

static const nb_update rules[NB_UPDATE_COUNT] = {
    [NB_SGD] = {.update = sgd},
    [NB_MOMENTUM] = {.update = momentum,
                     STATES(1, "velocity"),
                     NAMES(1, "momentum"),
                     VALUES(0.9),
                     .fractions = 1},
    [NB_NESTEROV] = {.update = nesterov,
                     STATES(1, "velocity"),
                     NAMES(1, "momentum"),
                     VALUES(0.9),
                     .fractions = 1},
    [NB_ADAGRAD] =
        {.update = adagrad, STATES(1, "root"), NAMES(1, "eps"), VALUES(1e-10), .positives = 1},
    [NB_RMSPROP] = {.update = rmsprop,
                    STATES(1, "root"),
                    NAMES(2, "beta", "eps"),
                    RMSPROP_NUMBERS,
                    .fractions = 1},
    [NB_RMSPROP_NESTEROV] = {.update = rmsprop_nesterov,
                             STATES(2, "root", "velocity"),
                             NAMES(3, "beta", "eps", "momentum"),
                             RMSPROP_NUMBERS,
                             .fractions = 5},
    [NB_ADADELTA] = {.update = adadelta,
                     STATES(2, "root", "change"),
                     NAMES(2, "beta", "eps"),
                     VALUES(0.9, 1e-6),
                     .fractions = 1,
                     .positives = 2},
    [NB_ADAM] = {.update = adam, MOMENTS, ADAM_NUMBERS, .positives = 4},
    [NB_ADAMW] = {.update = adam, MOMENTS, ADAM_NUMBERS, .positives = 4, .decay = 0.01},
    [NB_AMSGRAD] = {.update = amsgrad,
                    STATES(3, "mean", "root", "greatest"),
                    .roots = 6,
                    ADAM_NUMBERS,
                    .positives = 4},
    [NB_ADAMAX] = {.update = adamax, STATES(2, "mean", "greatest"), ADAM_NUMBERS, .positives = 4},
    [NB_NADAM] = {.update = nadam,
                  MOMENTS,
                  NAMES(8, "beta1", "beta2", "eps", "psi", "now", "next", "product", "at"),
                  VALUES(0.9, 0.999, 1e-8, 0.004),
                  .fractions = 3,
                  .positives = 4,
                  .prepare = prepare_nadam},
    [NB_LION] = {.update = lion,
                 STATES(1, "mean"),
                 NAMES(2, "beta1", "beta2"),
                 VALUES(0.9, 0.99),
                 .fractions = 3},
};

const char *nb_update_name(nb_update_id id)
{
#define NBI_UPDATE(id, name, text) name,
    static const char *const names[] = {NB_UPDATES(NBI_UPDATE)};
#undef NBI_UPDATE
    return (unsigned)id < NB_UPDATE_COUNT ? names[id] : "";
}

nb_update nb_update_of(nb_update_id id)
{
    nb_update r = {0};
    if ((unsigned)id < NB_UPDATE_COUNT) {
        r = rules[id];
        r.name = nb_update_name(id);
    }
    return r;
}

nb_code nb_update_set(nb_update *r, const char *number, double value, nb_reason *why)
{
    for (int32_t k = 0; r && number && k < r->numbers && k < NB_UPDATE_NUMBERS; k++)
        if (r->number_name[k] && !strcmp(r->number_name[k], number)) {
            r->number[k] = value;
            return NB_OK;
        }
    return nbi_because(why, NB_ERR_ARGUMENT, "rule: \"%.60s\" has no number \"%.60s\"",
                       r && r->name ? r->name : "", number ? number : "(null)");
}
