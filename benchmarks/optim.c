/*
 * What an update of many parameters costs: 10^6 of them by Adam, the look for gradients that are not
 * finite included, against one fused loop in plain C that does the same arithmetic on the same arrays.
 * Before timing, both make some steps from the same values and must agree.
 */
#include "bench.h"

#include <nabla.h>

enum { N = 1000000, STEPS = 5 };

static const double rate = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;

#define BY_HAND(name, real, root)                                                                  \
    static void name(real *restrict p, const real *restrict g, real *restrict m, real *restrict v, \
                     int64_t n, double t)                                                          \
    {                                                                                              \
        const real b1 = (real)beta1, b2 = (real)beta2, d1 = (real)(1 - beta1),                     \
                   d2 = (real)(1 - beta2);                                                         \
        const double c1 = -expm1(t * log(beta1)), c2 = sqrt(-expm1(t * log(beta2)));               \
        const real r = (real)(rate * c2 / c1), e = (real)(eps * c2);                               \
        for (int64_t i = 0; i < n; i++) {                                                          \
            m[i] = b1 * m[i] + d1 * g[i];                                                          \
            v[i] = b2 * v[i] + d2 * g[i] * g[i];                                                   \
            p[i] -= r * m[i] / (root(v[i]) + e);                                                   \
        }                                                                                          \
    }
BY_HAND(by_hand_f64, double, sqrt)
BY_HAND(by_hand_f32, float, sqrtf)

typedef struct rival {
    nb_dtype dtype;
    void *p, *g, *m, *v;
} rival;

static void hand_step(const rival *r, int t)
{
    if (r->dtype == NB_F64)
        by_hand_f64(r->p, r->g, r->m, r->v, N, t);
    else
        by_hand_f32(r->p, r->g, r->m, r->v, N, t);
}

static double element(nb_dtype d, const void *a, int64_t i)
{
    return d == NB_F64 ? ((const double *)a)[i] : (double)((const float *)a)[i];
}

static void set(nb_dtype d, void *a, int64_t i, double x)
{
    if (d == NB_F64)
        ((double *)a)[i] = x;
    else
        ((float *)a)[i] = (float)x;
}

static void fill(nb_params *p, rival *r)
{
    nb_rng rng = nb_rng_seed(7);
    for (int64_t i = 0; i < N; i++) {
        const double x = nb_rng_normal(&rng), g = nb_rng_normal(&rng);
        set(r->dtype, nb_params_values(p), i, x);
        set(r->dtype, r->p, i, x);
        set(r->dtype, nb_params_grads(p), i, g);
        set(r->dtype, r->g, i, g);
    }
}

static bool agree(nb_params *p, const rival *r)
{
    double *a = bench_numbers(N), *b = bench_numbers(N);
    for (int64_t i = 0; i < N; i++) {
        a[i] = element(r->dtype, nb_params_values(p), i);
        b[i] = element(r->dtype, r->p, i);
    }
    const bool same = bench_agree("adam", N, a, b, r->dtype == NB_F64 ? 1e-13 : 2e-6);
    free(a), free(b);
    return same;
}

static int race(nb_params *p, rival *r, nb_optim *o, int repeats)
{
    double ours[256], hand[256];
    const bool f64 = r->dtype == NB_F64;
    int t = 0;
    fill(p, r);
    for (; t < STEPS; t++) {
        if (nb_optim_step(o, NULL) != NB_OK)
            return 1;
        hand_step(r, t + 1);
    }
    if (!agree(p, r))
        return 1;
    for (int k = 0; k < repeats; k++, t++) {
        const double a = bench_now();
        nb_optim_step(o, NULL);
        const double b = bench_now();
        hand_step(r, t + 1);
        hand[k] = bench_now() - b;
        ours[k] = b - a;
    }
    const double us = 1e6 * bench_median(ours, (size_t)repeats);
    const double hand_us = 1e6 * bench_median(hand, (size_t)repeats);
    bench_line("optim", "adam_1e6", f64 ? "us_per_step" : "us_per_step_f32", us, "us", "-");
    bench_line("optim", "adam_1e6", f64 ? "hand_us_per_step" : "hand_us_per_step_f32", hand_us,
               "us", "-");
    bench_line("optim", "adam_1e6", f64 ? "over_hand" : "over_hand_f32", us / hand_us, "x",
               "<=1.2");
    return 0;
}

static int compare(nb_dtype d, int repeats)
{
    rival r = {d, bench_numbers(N), bench_numbers(N), bench_numbers(N), bench_numbers(N)};
    nb_reason why = {""};
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = d});
    nb_params_add(p, "w", NB_SHAPE(N), NULL, NULL);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = rate}, &why);
    const int failed = o ? race(p, &r, o, repeats) : 1;
    if (failed)
        fprintf(stderr, "optim: %s\n", why.text);
    nb_optim_free(o);
    nb_params_free(p);
    free(r.p), free(r.g), free(r.m), free(r.v);
    return failed;
}

int main(int argc, char **argv)
{
    const int repeats = bench_quick(argc, argv) ? 31 : 201;
    return compare(NB_F64, repeats) || compare(NB_F32, repeats);
}
