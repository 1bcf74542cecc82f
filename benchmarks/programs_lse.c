/*
 * Log-sum-exp of n = 640000 numbers, m + log sum exp(x_i - m) with m their maximum, and its gradient,
 * exp(x_i - m) / sum.
 *
 * On a tape this is one operation, on numbers that are borrowed where they stand.
 */
#include "programs.h"

enum { NUMBERS = 640000 };

typedef struct logs {
    double *x, *hand_g, *g;
    double f, hand_f, nabla_f;
    nb_tape *tape;
} logs;

static double greatest(const double *x)
{
    double m = x[0];
    for (size_t i = 1; i < NUMBERS; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

static void primal(void *data)
{
    logs *l = data;
    const double m = greatest(l->x);
    double s = 0;
    for (size_t i = 0; i < NUMBERS; i++)
        s += exp(l->x[i] - m);
    l->f = m + log(s);
}

static void hand(void *data)
{
    logs *l = data;
    const double m = greatest(l->x);
    double s = 0;
    for (size_t i = 0; i < NUMBERS; i++)
        s += l->hand_g[i] = exp(l->x[i] - m);
    for (size_t i = 0; i < NUMBERS; i++)
        l->hand_g[i] /= s;
    l->hand_f = m + log(s);
}

static void nabla(void *data)
{
    logs *l = data;
    nb_reset(l->tape);
    nb_var f = nb_logsumexp(nb_borrow(l->tape, "x", NB_SHAPE(NUMBERS), l->x, l->g));
    nb_backward(f);
    l->nabla_f = nb_value(f);
}

/* Held to the scalars' log-sum-exp too. */
static bool eager(const logs *l, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var *x = calloc(NUMBERS, sizeof *x);
    if (!x)
        exit(1);
    programs_inputs(t, NUMBERS, l->x, x);
    const bool ok = nb_backward(nb_logsumexp_of(NUMBERS, x)) == NB_OK;
    for (size_t i = 0; i < NUMBERS; i++)
        g[i] = nb_grad(x[i]);
    free(x);
    nb_tape_free(t);
    return ok;
}

bool bench_lse(bool quick)
{
    logs l = {.x = programs_random(NUMBERS, -5, 5, 6),
              .hand_g = bench_numbers(NUMBERS),
              .g = bench_numbers(NUMBERS),
              .tape = nb_tape_new(NULL)};
    primal(&l);
    hand(&l);
    nabla(&l);
    bool ok = bench_agree("lse, by hand", 1, &l.hand_f, &l.f, 1e-12) &&
              bench_agree("lse", 1, &l.nabla_f, &l.f, 1e-12) &&
              bench_agree("lse, gradient", NUMBERS, l.g, l.hand_g, 1e-12);
    ok = ok && eager(&l, l.hand_g) && bench_agree("lse, scalars", NUMBERS, l.g, l.hand_g, 1e-12);
    if (ok)
        programs_time(&(contest){"lse", "<=0.4", &l, primal, hand, nabla}, quick);
    nb_tape_free(l.tape);
    free(l.x);
    free(l.hand_g);
    free(l.g);
    return ok;
}
