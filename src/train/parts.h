/*
 * A batch, worked on in parts.
 *
 * The rows of a batch are cut into even parts of at most `micro` rows. Each is a pass of its own: its loss L_k is the
 * mean over its rows, and the batch's is sum of w_k L_k with w_k its share of the rows. So are gradients and
 * running statistics, which are added up in the order of the parts. Which thread has worked on a part
 * leaves no trace: a part's random numbers follow from seed, step and the part's number, and what it
 * computes with lies in a slot, of which there are as many as threads. Slots work at once, one part each,
 * in rounds.
 *
 * With one part a slot is the batch, and the threads help with its tensor operations instead.
 */
#ifndef NABLA_SRC_TRAIN_PARTS_H
#define NABLA_SRC_TRAIN_PARTS_H

#include "base/memory.h"
#include "base/pool.h"

#include <nabla/fit.h>
#include <nabla/monitor.h>

typedef struct nbi_slot {
    nb_tape *tape;
    nb_mark start;
    nb_var *var;        /* [parameters] */
    void *grads;        /* [size], or NULL where a batch is one part */
    double *statistics; /* [size] */
    nb_rng rng;
    nb_dataset rows; /* the part: a view of the batch's rows */
    nb_var y;
    double loss;
    nb_code code;
    nb_reason why;
} nbi_slot;

/* Memory that grows as needed. */
typedef struct nbi_block {
    void *data;
    size_t bytes;
} nbi_block;

typedef struct nbi_parts {
    nb_learner learner;
    nbi_heap heap;
    nb_pool *pool;
    bool training, lossless;
    int64_t micro; /* rows of a part, at most */
    uint64_t seed;
    int slots;
    nbi_slot *slot;
    double *statistics; /* of the batch, so far: [size] */
    nbi_block y;        /* [rows width] of the batch */
    nbi_block all;      /* [rows width] of a data set */
    int64_t width;      /* elements of y for a row; 0: y does not belong to rows */
} nbi_parts;

/* What came of a batch. */
typedef struct nbi_outcome {
    double loss, metric[NB_METRICS]; /* NaN where there is none */
} nbi_outcome;

typedef struct nbi_parts_options {
    int64_t micro; /* rows of a part, at most; 0: a batch is one */
    int64_t most;  /* rows of a batch; 0: unknown */
    int threads;
    uint64_t seed;
    bool training;
    bool lossless; /* only y is wanted: the data need no labels */
    const nb_allocator *allocator;
} nbi_parts_options;

/* Whether the learner is one, and fits the data: in dtype, and in what its loss wants. d may be NULL. */
nb_code nbi_learner_check(const nb_learner *l, const nb_dataset *d, bool lossless, nb_reason *why);

/* y of the model for these rows, and its loss: the learner's own, or the usual one. */
nb_var nbi_learner_model(const nb_learner *l, const nb_pass *m, const nb_dataset *rows);
nb_var nbi_learner_loss(const nb_learner *l, const nb_pass *m, nb_var y, const nb_dataset *rows);

/* The learner's metrics, or the usual one for data like d; NULL: nobody knows which that is. */
const nb_metric *nbi_learner_metrics(const nb_learner *l, const nb_dataset *d, int *count);
/* All of them, to out [NB_METRICS]. */
nb_code nbi_learner_measure(const nb_learner *l, const nb_dataset *d, int64_t width, const void *y,
                            double *out, nb_reason *why);

/* `like` is data as will come, or NULL if that is not known. After an error w is freed. */
nb_code nbi_parts_start(nbi_parts *w, const nb_learner *l, const nb_dataset *like,
                        const nbi_parts_options *o, nb_reason *why);
void nbi_parts_free(nbi_parts *w); /* zeroed is fine */

/* The loss of a batch and its metric. If training, gradients are in nb_params_grads, and running statistics
 * in w until they are committed. y of all rows stays in w. A loss that is not finite is
 * NB_ERR_ANOMALY, and the reason tells the first node that is not. */
nb_code nbi_parts_run(nbi_parts *w, const nb_dataset *batch, int64_t step, nb_monitor *monitor,
                      nbi_outcome *out, nb_reason *why);
/* The batch once more, looking for the first value or gradient that is not finite: NB_ERR_ANOMALY, and
 * the reason tells it; NB_OK if there is none. */
nb_code nbi_parts_find(nbi_parts *w, const nb_dataset *batch, int64_t step, nb_reason *why);
/* The running statistics of the batch become the parameters'. */
void nbi_parts_commit(nbi_parts *w);

/* Goes through an epoch of batches of d without training. y takes [rows width]; the metric is that of all
 * rows at once. Each of the three may be NULL. */
nb_code nbi_parts_judge(nbi_parts *w, nb_batches *batches, const nb_dataset *d, double *loss,
                        double *metric, int64_t width, void *y, nb_reason *why);

/* Parts and batches to judge d by, both to be freed. */
nb_code nbi_judges_start(nbi_parts *w, nb_batches **batches, const nb_learner *l,
                         const nb_dataset *d, bool lossless, int threads,
                         const nb_allocator *allocator, nb_reason *why);

#endif
