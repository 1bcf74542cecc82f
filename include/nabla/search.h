/*
 * nabla/search.h: the search for good hyperparameters.
 *
 * A space is a list of dimensions; a trial is a point in it, with a seed. What a trial is worth is for the
 * caller to say, by a function that trains and gives a score, the lower the better:
 *
 *     const nb_dimension space[] = {
 *         {.name = "rate", .scale = NB_SCALE_LOG, .low = 1e-4, .high = 1},
 *         {.name = "hidden", .scale = NB_SCALE_LOG_INTEGER, .low = 4, .high = 64},
 *         {.name = "activation", .choices = 2, .choice_name = (const char *[]){"tanh", "relu"}}};
 *     const nb_search_spec spec = {.dimensions = 3, .dimension = space, .trials = 27, .seed = 1,
 *                                  .budget = 2, .most = 18, .threads = NB_ALL_THREADS,
 *                                  .objective = train, .free_state = forget, .context = &data};
 *     nb_search_result found;
 *     if (nb_search(&spec, &found, &why) == NB_OK)
 *         nb_search_print(stdout, &spec, &found);
 *     nb_search_result_free(&found);
 *
 * Successive halving: all trials get the small budget (epochs, say), the best third of them goes on to
 * three times as much, the best third of those to nine times, up to the most there is. So most of the
 * work is spent on trials that are worth it. A trial goes on, it does not start again: it keeps what it
 * needs for that in a state of its own. Here 27 trials train for 2 epochs, 9 for 6 and 3 for 18.
 *
 * What is found depends on the spec and the objective alone, to the bit: not on the number of threads.
 */
#ifndef NABLA_SEARCH_H
#define NABLA_SEARCH_H

#include <nabla/pool.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- spaces ---------------------------------------------------------------------------------- */

/* scale, name, how it draws from a range at random, and divides it for a grid of m points; both ends are
 * in the range */
#define NB_SCALES(X)                                                                      \
    X(NB_SCALE_LINEAR, "linear", "evenly; in steps of (high - low) / (m - 1)")            \
    X(NB_SCALE_LOG, "log", "its logarithm evenly; by a factor of (high / low)^(1/(m-1))") \
    X(NB_SCALE_INTEGER, "integer", "a whole number, all alike; linear, rounded")          \
    X(NB_SCALE_LOG_INTEGER, "log integer",                                                \
      "a whole number, by the logarithm of [low - 1/2, high + 1/2) rounded; log, rounded")

#define NBI_SCALE(scale, name, text) scale,
typedef enum nb_scale_kind { NB_SCALES(NBI_SCALE) NB_SCALE_COUNT } nb_scale_kind;
#undef NBI_SCALE

NB_API const char *nb_scale_name(nb_scale_kind scale); /* never NULL */

/* A range, or a list of choices. */
typedef struct nb_dimension {
    const char *name;
    nb_scale_kind scale;
    double low, high;
    int64_t points; /* of a grid: at least 2, all different; 0: each NB_SCALE_INTEGER there is */

    int64_t choices;                /* not 0: so many choices instead of a range */
    const double *choice;           /* [choices], or NULL: they are the numbers from 0 on */
    const char *const *choice_name; /* [choices], for tables, or NULL */
} nb_dimension;

enum { NB_SEARCH_DIMENSIONS = 64, NB_SEARCH_TRIALS = 1000000 }; /* at most */

/* ---- trials ---------------------------------------------------------------------------------- */

typedef struct nb_trial {
    int64_t number; /* from 0 */
    uint64_t seed;  /* its own, made from the search's and the number alone, as its values are */
    const double *value;   /* one for each dimension */
    int64_t spent, budget; /* it has had `spent`, and is to go on until it has had `budget` */
    void **state;          /* its own: NULL at first, kept until free_state is called */
} nb_trial;

/* What the trial is worth, with that budget, goes to *score. One that is not finite makes the trial a bad
 * one, and so does returning NB_ERR_ANOMALY, as training that diverges does; the search goes on. Any
 * other failure ends the search with that code, and with what is in *why, which is not NULL here.
 *
 * With several threads it is called for several trials at once, never for one of them twice at a time,
 * and not always for the same one on the same thread: whatever the context leads to is to be read only,
 * or locked. A trial has a thread to itself from beginning to end of a call. */
typedef nb_code nb_trial_fn(void *context, const nb_trial *t, double *score, nb_reason *why);

/* Called once for a state that is not NULL, on any of the threads: when the trial is dropped, bad or
 * through, or else when the search ends, in whatever way. */
typedef void nb_trial_free_fn(void *context, void *state);

/* status, name, meaning */
#define NB_TRIALS(X)                                                                         \
    X(NB_TRIAL_OPEN, "open", "the search ended before the trial's turn came, or came again") \
    X(NB_TRIAL_DROPPED, "dropped", "others were better: it got no more budget")              \
    X(NB_TRIAL_BAD, "bad", "its score was not finite, or it said NB_ERR_ANOMALY")            \
    X(NB_TRIAL_THROUGH, "through", "it had the whole budget")                                \
    X(NB_TRIAL_FAILED, "failed", "it ended the search by an error")

#define NBI_TRIAL(status, name, text) status,
typedef enum nb_trial_status { NB_TRIALS(NBI_TRIAL) NB_TRIAL_STATUSES } nb_trial_status;
#undef NBI_TRIAL

NB_API const char *nb_trial_status_name(nb_trial_status status); /* never NULL */

/* What became of a trial. It holds all that it takes to make an nb_trial of it and train it again. */
typedef struct nb_search_row {
    int64_t number;
    uint64_t seed;
    const double *value;
    int64_t rung;  /* how many it has been on: 0 if it was never tried */
    int64_t spent; /* the budget of the last one */
    double score;  /* there; NaN if there is none */
    nb_trial_status status;
} nb_search_row;

/* ---- searching ------------------------------------------------------------------------------- */

typedef enum nb_search_kind {
    NB_SEARCH_RANDOM, /* points at random. Those of a longer search begin with the same ones */
    NB_SEARCH_GRID,   /* all points of a grid; the last dimension varies fastest */
    NB_SEARCH_KINDS
} nb_search_kind;

/* After a trial has had its turn on a rung, and before its state is freed, if it is. It is called in the
 * order of rungs and, on a rung, of numbers, so it may be late where several threads are at work;
 * never twice at a time, and on any of them. NB_OK goes on, and anything else ends the search:
 * NB_ERR_CALLBACK well, and anything but that with this code. Then what other threads have already made of
 * later trials on this rung is as if it had never been. */
typedef nb_code nb_search_row_fn(void *context, const nb_search_row *row, void *state);

typedef struct nb_search_spec {
    nb_search_kind kind;
    int32_t dimensions;
    const nb_dimension *dimension;
    int64_t trials; /* at random; 0 for a grid, which has its own number */
    uint64_t seed;

    /* Rungs. After each the best 1 / eta of its trials, but at least one, go on to eta times the budget; of
     * equal scores that of the lower number is better. The last rung goes to `most`, and so does one
     * that would leave less than a factor of eta to be done. */
    int64_t budget; /* of the first; 0: 1 */
    int64_t most;   /* of the last, below 9e12; 0: there is only one */
    int64_t eta;    /* at least 2; 0: 3 */

    int threads; /* that try several trials at once; 0: one. Or NB_ALL_THREADS */
    nb_trial_fn *objective;
    nb_trial_free_fn *free_state;  /* NULL: nothing is to be freed */
    nb_search_row_fn *on_row;      /* may be NULL */
    void *context;                 /* of all three */
    FILE *log;                     /* a line for each rung; NULL: none */
    const nb_allocator *allocator; /* NULL: the default. Only the calling thread calls it */
} nb_search_spec;

/* A trial is better than another if it got to a higher rung or, on the same, has the lower score; those
 * without a finite score come last. */
typedef struct nb_search_result {
    int64_t trials;
    nb_search_row *row; /* [trials], by number */
    int64_t *order;     /* [trials], numbers: the best first */
    int64_t best;       /* order[0], or -1 if that has no finite score */
    int64_t rungs;      /* begun */
    int64_t spent;      /* by all trials together */
    bool stopped;       /* by the callback */
    int32_t dimensions;
    nb_allocator allocator; /* which the rows are from */
} nb_search_result;
/* Also after a failure. A zeroed one, or one that was freed, is fine. */
NB_API void nb_search_result_free(nb_search_result *r);

/* Searches. *result is written whatever happens; after an error in the spec it is all zeros, with best
 * -1, and after one in a trial it tells how far things went. A search that comes to its end without a
 * single finite score is NB_ERR_ANOMALY. */
NB_API nb_code nb_search(const nb_search_spec *spec, nb_search_result *result, nb_reason *why);

/* The trials as a table, the best first, for people; and as CSV, by number, with numbers that read back to
 * the bit: the columns are trial, seed, those of the space, rung, budget, score and status. A choice with
 * a name goes by it; a score that is not finite is an empty field. The spec is the one searched by.
 * NB_ERR_CALLBACK: writing failed. */
NB_API nb_code nb_search_print(FILE *to, const nb_search_spec *spec, const nb_search_result *r);
NB_API nb_code nb_search_csv(FILE *to, const nb_search_spec *spec, const nb_search_result *r);

#ifdef __cplusplus
}
#endif
#endif
