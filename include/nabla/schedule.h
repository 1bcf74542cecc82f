/*
 * nabla/schedule.h: the learning rate as a function of the step.
 *
 *     const nb_schedule s = {.kind = NB_COSINE, .rate = 1e-3, .steps = 10000, .warm_up = 500};
 *     nb_optim_set_rate(o, nb_schedule_at(&s, nb_optim_steps(o)), &why);
 *
 * A schedule is a few numbers and no state: the rate of any step can be asked for, in any order. Reducing
 * on a plateau, and the search for a good rate, depend on losses, and so have structs that are told them.
 */
#ifndef NABLA_SCHEDULE_H
#define NABLA_SCHEDULE_H

#include <nabla/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* kind, name, the rate at step t = 0, 1, …; x = min(t / steps, 1) */
#define NB_SCHEDULES(X)                                                                       \
    X(NB_CONSTANT, "constant", "rate")                                                        \
    X(NB_LINEAR, "linear", "(1 - x) rate + x last")                                           \
    X(NB_STEPWISE, "step", "rate k^floor(t / steps), k 0.1")                                  \
    X(NB_EXPONENTIAL, "exponential", "rate exp(-k t)")                                        \
    X(NB_INVERSE, "inverse", "rate / (1 + k t)")                                              \
    X(NB_POLYNOMIAL, "polynomial", "last + (rate - last) (1 - x)^k, k 1")                     \
    X(NB_COSINE, "cosine",                                                                    \
      "last + (rate - last) (1 + cos(pi x)) / 2; with times, which is at least 1, it starts"  \
      " anew after `steps`, then after times as many, and so on")                             \
    X(NB_ONE_CYCLE, "one cycle",                                                              \
      "by half a cosine from rate / 25 to rate in the first k (0.3) of the steps, by another" \
      " to last in the rest")

#define NBI_SCHEDULE(kind, name, text) kind,
typedef enum nb_schedule_kind { NB_SCHEDULES(NBI_SCHEDULE) NB_SCHEDULE_COUNT } nb_schedule_kind;
#undef NBI_SCHEDULE

typedef struct nb_schedule {
    nb_schedule_kind kind;
    double rate, last; /* rate above 0; last not negative, and 0 unless given */
    double k;          /* where a number stands behind k above, 0 means that */
    double times;      /* of cosine; 0: no restart, the rate stays at last */
    int64_t steps;     /* at least 1 where it is used */
    int64_t warm_up;   /* so many steps come before, in which the rate rises linearly:
                        * (t + 1) / (warm_up + 1) of what it is when they are over */
} nb_schedule;

NB_API const char *nb_schedule_name(nb_schedule_kind kind); /* never NULL */
/* Whether its numbers are in range. */
NB_API nb_code nb_schedule_check(const nb_schedule *s, nb_reason *why);
/* NaN, which nb_optim_set_rate refuses, if they are not, or t is negative. */
NB_API double nb_schedule_at(const nb_schedule *s, int64_t t);

/* ---- on a plateau ---------------------------------------------------------------------------- */

/* When the loss told has not fallen for more than `patience` tellings in a row, the rate is multiplied by
 * `factor`. It has fallen if it lies below best - threshold |best|. */
typedef struct nb_plateau {
    double rate;      /* the one to begin with, then the present one */
    double factor;    /* 0: 0.1 */
    double threshold; /* 0: 1e-4 */
    double lowest;    /* the rate is never less */
    int64_t patience; /* 0: 10 */
    int64_t cool;     /* so many tellings after a reduction do not count */
    /* What it knows; zeros at first. It can be saved and restored as it is. */
    double best;
    int64_t told, bad, cooling;
} nb_plateau;

/* Takes a loss (NaN is never an improvement), and returns the rate; NaN if a number is out of range. */
NB_API double nb_plateau_tell(nb_plateau *p, double loss);

/* ---- finding a learning rate ----------------------------------------------------------------- */

/* The range test: train for `steps` steps while the rate grows geometrically from low to high, and look
 * where the loss, smoothed, falls fastest.
 *
 *     nb_rate_test r = {.low = 1e-6, .high = 1, .steps = 200};
 *     do {
 *         nb_optim_set_rate(o, nb_rate_test_rate(&r), NULL);
 *         …                                                      a step, its loss
 *     } while (nb_rate_test_tell(&r, loss));
 *     double rate = nb_rate_test_best(&r);
 */
typedef struct nb_rate_test {
    double low, high; /* 0 < low < high */
    int64_t steps;    /* at least 2 */
    /* What it knows; zeros at first. */
    int64_t told;
    double mean, smooth, first, least, steepest, best;
    bool over;
} nb_rate_test;

/* The rate of the next step; NaN if the numbers are out of range. */
NB_API double nb_rate_test_rate(const nb_rate_test *r);
/* Whether to go on. It is over after `steps` steps, when a loss is not finite, and when the smoothed loss
 * has risen above its least by three times as much as that is in magnitude, or as it had fallen. */
NB_API bool nb_rate_test_tell(nb_rate_test *r, double loss);
/* The rate at which the smoothed loss fell fastest, the first ten steps left out, or a quarter of all if
 * that is less; NaN if it never fell. */
NB_API double nb_rate_test_best(const nb_rate_test *r);

#ifdef __cplusplus
}
#endif
#endif
