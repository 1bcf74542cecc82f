/*
 * nabla/monitor.h: what happens inside a model while it learns.
 *
 * A model marks the activations that are to be watched, and the monitor is given to the fit:
 *
 *     static nb_var model(void *context, const nb_pass *m, nb_var x)
 *     {
 *         struct net *n = context;
 *         nb_var h = nb_monitor_watch(n->monitor, m, "h", nb_linear_apply(&n->hidden, m, x, nb_relu));
 *         return nb_linear_apply(&n->out, m, h, NULL);
 *     }
 *
 *     nb_monitor *w = nb_monitor_new(p, &(nb_monitor_options){.every = 100}, &why);
 *     nb_fit(&(nb_fit_spec){…, .monitor = w}, NULL, &why);
 *     nb_monitor_print(stdout, w);
 *
 * In a loop by hand a step is
 *
 *     nb_monitor_begin(w, t, step);
 *     …                                              a training pass on t, and nb_backward
 *     nb_monitor_look(w, &why);                      before nb_rewind
 *     nb_monitor_step(w, o, &why);                   in place of nb_optim_step
 *
 * Steps count from 1, and those numbered 1, 1 + every, 1 + 2 every, … are looked at. Each look leaves a
 * row for each watched activation, for its gradient, for the gradient of each parameter and for its
 * update, which is what the step added to it. In other steps the calls cost next to nothing.
 *
 * Every function takes NULL for a monitor, and then does nothing beyond its duty: a model may keep its
 * marks where nobody watches.
 */
#ifndef NABLA_MONITOR_H
#define NABLA_MONITOR_H

#include <nabla/optim.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- statistics ------------------------------------------------------------------------------ */

/* Of the finite numbers among n; NaN where there are none. Quantiles lie between two numbers where
 * they must, in proportion. Whatever the sizes, nothing overflows but a length beyond the largest double. */
typedef struct nb_summary {
    int64_t n, bad;         /* bad: those that are not finite */
    double mean, deviation; /* of the population: divided by n */
    double least, q1, median, q3, most;
    double length; /* sqrt of the sum of squares */
} nb_summary;

/* Of an array. allocator may be NULL. */
NB_API nb_code nb_summarise(nb_dtype dtype, const void *x, int64_t n, const nb_allocator *allocator,
                            nb_summary *out, nb_reason *why);

/* ---- rows ------------------------------------------------------------------------------------ */

/* kind, name */
#define NB_MONITOR_KINDS(X)                    \
    X(NB_MONITOR_ACTIVATION, "activation")     \
    X(NB_MONITOR_SLOPE, "activation gradient") \
    X(NB_MONITOR_GRADIENT, "gradient")         \
    X(NB_MONITOR_UPDATE, "update")

#define NBI_MONITOR(kind, name) kind,
typedef enum nb_monitor_kind {
    NB_MONITOR_KINDS(NBI_MONITOR) NB_MONITOR_KIND_COUNT
} nb_monitor_kind;
#undef NBI_MONITOR

NB_API const char *nb_monitor_kind_name(nb_monitor_kind kind); /* never NULL */

/* flag, name, when it is raised; limits are those of the options below */
#define NB_MONITOR_FLAGS(X)                                                                  \
    X(NB_FLAG_NOT_FINITE, "not finite", "a number is infinite or NaN")                       \
    X(NB_FLAG_VANISHING, "vanishing",                                                        \
      "the gradient's length is at most `vanishing` times that of the last layer")           \
    X(NB_FLAG_EXPLODING, "exploding", "it is at least `exploding` times that")               \
    X(NB_FLAG_DEAD, "dead units", "more than the share `dead` of the units are dead")        \
    X(NB_FLAG_SATURATED, "saturated", "more than the share `saturated` of the elements are") \
    X(NB_FLAG_FAST, "fast", "the update is longer than `fast` times the weights")            \
    X(NB_FLAG_SLOW, "slow", "it is shorter than `slow` times them")

#define NBI_FLAG(flag, name, text) flag,
typedef enum nb_monitor_flag { NB_MONITOR_FLAGS(NBI_FLAG) NB_MONITOR_FLAG_COUNT } nb_monitor_flag;
#undef NBI_FLAG

NB_API const char *nb_monitor_flag_name(nb_monitor_flag flag); /* never NULL */

/* A unit is a place along the last axis of an activation, or along axis 1, the channels, where it has
 * four axes or more. It is silent in a look if it was 0 for all rows, or saturated for all; after so many
 * such looks in succession as the options say it counts as dead.
 *
 * The last layer is, among the gradients of activations, the one that was watched last; among those of
 * parameters, the one that was added last. Parameters of less than two axes, biases and gains, are
 * not compared: neither by gradients nor, as they begin at 0, by updates. A gradient is vanishing
 * also where it is 0, as behind a layer that is cut off. */
typedef struct nb_monitor_row {
    int64_t step;
    const char *name; /* of the activation or parameter; valid as long as the monitor */
    nb_monitor_kind kind;
    nb_summary of;
    int64_t units, dead; /* of activations; else 0 */
    double saturated; /* of activations: the share of the elements; NaN where no range is given */
    double ratio; /* of gradients, their length over the last layer's; of updates, over that of the
                   * weights before. NaN where there is nothing to compare, or that is 0 */
    uint32_t flags; /* 1 << NB_FLAG_DEAD, … */
} nb_monitor_row;

/* ---- life ------------------------------------------------------------------------------------ */

/* An element that is at most low or at least high is saturated: {NULL, -0.99, 0.99} for tanh. */
typedef struct nb_monitor_range {
    const char *name; /* of the activation; NULL: of all that are not named before */
    double low, high;
} nb_monitor_range;

/* Zero means the default. */
typedef struct nb_monitor_options {
    int64_t every;  /* 1 */
    uint32_t kinds; /* what is recorded, 1 << NB_MONITOR_UPDATE, …; all */

    size_t ranges; /* where activations saturate; the list outlives the monitor */
    const nb_monitor_range *range;
    int64_t silent; /* looks in which a unit was silent until it is dead; 1 */

    double vanishing; /* 1e-3 */
    double exploding; /* 1e3 */
    double dead;      /* 0.5 */
    double saturated; /* 0.5 */
    double fast;      /* 0.1; about 1e-3 is usual */
    double slow;      /* 1e-6 */

    /* Of all parameters, for nb_monitor_path: at least 3; 0: none. When there is no room left, every
     * other one is given up, and from then on every other one taken: those kept are evenly spaced, and
     * span all that was looked at. */
    int64_t snapshots;
    const nb_allocator *allocator; /* NULL: the default */
} nb_monitor_options;

typedef struct nb_monitor nb_monitor;

/* Seals p, which must outlive it. options may be NULL. NULL after an error. */
NB_API nb_monitor *nb_monitor_new(nb_params *p, const nb_monitor_options *options, nb_reason *why);
NB_API void nb_monitor_free(nb_monitor *m); /* NULL is fine */

/* ---- a step ---------------------------------------------------------------------------------- */

/* Whether this step is looked at; if so, passes on t are watched from now on. The parameters are as they
 * were before the step. */
NB_API bool nb_monitor_begin(nb_monitor *m, nb_tape *t, int64_t step);
/* In a model: marks an activation, and returns it. Nothing happens on other tapes than that begun with,
 * and in passes that are not in training. The name is copied; NULL: what the tape calls the node. One that
 * comes up again in a step becomes "name 2". Passes on other tapes may go on in other threads. */
NB_API nb_var nb_monitor_watch(nb_monitor *m, const nb_pass *pass, const char *name, nb_var x);
/* After the sweep and before the rewind: reads the activations and their gradients. Watching is over. */
NB_API nb_code nb_monitor_look(nb_monitor *m, nb_reason *why);
/* nb_optim_step, with the gradients as it sees them, after any clipping, and what it did to the parameters
 * recorded. If it fails, its code and reason are those returned, and the gradients are recorded all the
 * same. */
NB_API nb_code nb_monitor_step(nb_monitor *m, nb_optim *o, nb_reason *why);

/* ---- reading --------------------------------------------------------------------------------- */

/* All rows, in the order in which they were recorded; valid until the next step. */
NB_API const nb_monitor_row *nb_monitor_rows(const nb_monitor *m, int64_t *count);
/* The last of that kind and name; NULL if there is none. */
NB_API const nb_monitor_row *nb_monitor_latest(const nb_monitor *m, nb_monitor_kind kind,
                                               const char *name);

/* A table of the last look, with flags in words. */
NB_API nb_code nb_monitor_print(FILE *to, const nb_monitor *m);
/* All rows, with a header, as RFC 4180 wants it; numbers read back exactly, NaN is an empty field. */
NB_API nb_code nb_monitor_write_csv(FILE *to, const nb_monitor *m);

/* The way of the parameters: each snapshot's place along the two directions in which they vary most,
 * the principal components of all snapshots, in the parameters' own unit of length. */
typedef struct nb_monitor_point {
    int64_t step; /* the snapshot is from before it */
    double x, y;
} nb_monitor_point;

NB_API int64_t nb_monitor_snapshots(const nb_monitor *m); /* taken and kept */
/* point: [nb_monitor_snapshots], in their order. share: of the variance, along x and along y; may be
 * NULL. Without snapshots NB_ERR_EMPTY, NB_ERR_ANOMALY where a parameter was not finite. */
NB_API nb_code nb_monitor_path(const nb_monitor *m, nb_monitor_point *point, double share[2],
                               nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
