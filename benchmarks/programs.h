/*
 * The cases of the program `programs`, one function each, and what they share.
 *
 * A case is a function whose derivatives are wanted. It is written three times: the function in plain
 * C; function and derivatives by hand, in plain C; the same with nabla. A case holds the third to the
 * second, and to the tape's own sweeps at a size that these can bear, then has all three timed side
 * by side. It returns whether the numbers agreed.
 */
#ifndef NABLA_BENCH_PROGRAMS_H
#define NABLA_BENCH_PROGRAMS_H

#include "bench.h"

#include <nabla.h>
#include <nabla/program.h>

bool bench_gmm(bool quick);
bool bench_ba(bool quick);
bool bench_llsq(bool quick);
bool bench_lse(bool quick);
bool bench_lstm(bool quick);
bool bench_ode(bool quick);
bool bench_det(bool quick);
bool bench_kmeans(bool quick);
bool bench_ht(bool quick);
bool bench_batch(bool quick);
bool bench_emitted(bool quick);
bool bench_threads(bool quick);
bool bench_rows(bool quick);
bool bench_freeze(bool quick);

typedef struct contest {
    const char *name, *bar; /* of the case; on gradient_over_primal */
    void *data;             /* for all three */
    void (*primal)(void *data), (*hand)(void *data), (*nabla)(void *data);
} contest;

/* Times the three in turn, many times, and prints their figures from the medians. */
void programs_time(const contest *c, bool quick);

/* p itself. A program that could not be made ends the benchmark with the reason: the derivation's, or
 * else the tape's. So do those that follow. */
nb_program *programs_made(nb_program *p, const nb_reason *why, const nb_tape *t);
/* Over doubles, on this thread. A replay that fails ends the benchmark. */
void programs_run(const nb_program *p, int64_t lanes, const nb_lanes *in, const nb_lanes *out);
void programs_run_rows(const nb_program *p, int64_t rows, int64_t lanes, const nb_lanes *in,
                       const nb_lanes *out);

/* Where an argument stands: [lanes, elements]; its transpose, with n lanes; rows of [.., elements], one
 * named for each lane. Of shared inputs and sums only the address counts. */
static inline nb_lanes dense(const double *x) { return (nb_lanes){.data = (void *)(uintptr_t)x}; }
static inline nb_lanes across(const double *x, int64_t n)
{
    return (nb_lanes){.data = (void *)(uintptr_t)x, .lane = 1, .element = n};
}
static inline nb_lanes rows_of(const double *x, const int64_t *index)
{
    return (nb_lanes){.data = (void *)(uintptr_t)x, .index = index};
}
/* A dense array for each row, so many numbers apart. */
static inline nb_lanes row_by_row(const double *x, int64_t row)
{
    return (nb_lanes){.data = (void *)(uintptr_t)x, .row = row};
}

/* Arguments of a recipe: lane by lane; shared by, or summed over, all lanes. */
static inline nb_argument each(const char *name, size_t n, const nb_var *x)
{
    return (nb_argument){.name = name, .count = n, .var = x};
}
static inline nb_argument shared(const char *name, size_t n, const nb_var *x)
{
    return (nb_argument){.name = name, .count = n, .var = x, .shared = true};
}
static inline nb_argument summed(const char *name, size_t n, const nb_var *x)
{
    return (nb_argument){.name = name, .count = n, .var = x, .sum = true};
}

/* The program with one output argument. */
nb_program *programs_freeze(nb_tape *t, size_t n_in, const nb_argument *in, nb_argument out);
typedef nb_program *programs_derive(const nb_program *p, const bool *want, nb_reason *why);
/* Its derivative; it is itself freed. */
nb_program *programs_freeze_derived(nb_tape *t, size_t n_in, const nb_argument *in, nb_argument out,
                                    programs_derive *derive, const bool *want);

/* n inputs without names, with the values at x. */
void programs_inputs(nb_tape *t, size_t n, const double *x, nb_var *in);
/* n numbers, uniform between low and high. */
double *programs_random(size_t n, double low, double high, uint64_t seed);

#endif
