/*
 * A fit under way, from inside.
 *
 * What a fit knows that its spec does not say is one plain struct, the state, beside the history: that,
 * with parameters, optimizer, average and the place among the batches, is what `last` holds, and all
 * that it takes to go on.
 */
#ifndef NABLA_SRC_TRAIN_FIT_H
#define NABLA_SRC_TRAIN_FIT_H

#include "train/parts.h"

#include <nabla/plot.h>

/* In a file as two arrays: the integers, then measured; the doubles, then metric. */
typedef struct nbi_fit_state {
    int64_t epochs;     /* finished; rows of the history */
    int64_t steps;      /* made */
    int64_t batch;      /* batches of this epoch */
    int64_t rows;       /* of this epoch, that have been seen */
    int64_t best_epoch; /* 0: none */
    int64_t bad;        /* epochs since the loss was last below mark - least */
    double loss;        /* of this epoch: the sum over rows */
    double best_loss, rate, gradient, seconds;
    double mark;                  /* the loss when it last was */
    double metric[NB_METRICS];    /* of this epoch: sums over rows */
    int64_t measured[NB_METRICS]; /* of its rows those in batches that have the metric */
} nbi_fit_state;

enum {
    NBI_FIT_INTEGERS = 9 + NB_METRICS, /* three are the plateau's */
    NBI_FIT_DOUBLES = 8 + NB_METRICS,  /* two are */
    NBI_FIT_COLUMNS = 7 + 2 * NB_METRICS
};

typedef struct nbi_training {
    nb_fit_spec spec;
    nbi_heap heap;
    nb_dataset *rest, *part; /* where a share is held out */
    const nb_dataset *train, *valid;
    nb_batches *batches, *made, *judged; /* made: by us */
    nbi_parts parts, judges;
    nb_schedule schedule; /* its rate is 0: there is none */
    nbi_fit_state at;
    double own_rate;       /* the optimizer's, before a schedule or plateau set it */
    nb_fit_epoch *history; /* [at.epochs] in a block of room */
    int64_t room;
    double before; /* seconds of the clock when this run began, less those made before */
    nb_fit_end end;
    bool unmeasured; /* at.gradient is not yet that of the last step, whose gradients stand */
    nb_bar bar;
} nbi_training;

/* Room for so many rows of history. */
nb_code nbi_fit_room(nbi_training *f, int64_t rows, nb_reason *why);

/* Trains until f->end says why it ended. */
nb_code nbi_fit_loop(nbi_training *f, nb_reason *why);

/* The mean of metric k so far in this epoch; NaN if there is none. */
double nbi_fit_mean(const nbi_training *f, int k);
/* Batches of an epoch; 0: nobody knows. */
int64_t nbi_fit_batches(const nbi_training *f);
/* After a step: the bar. After an epoch: its line. */
void nbi_fit_show(nbi_training *f);
void nbi_fit_tell(nbi_training *f, const nb_fit_epoch *e);

/* Whether files can be written, as far as that can be known before there is anything to write. */
nb_code nbi_fit_try(const nbi_training *f, nb_reason *why);
/* Writes `best`: the parameters, averaged if they are, statistics, preprocessing. */
nb_code nbi_fit_keep_best(const nbi_training *f, nb_reason *why);
/* Writes `last`. */
nb_code nbi_fit_keep_last(const nbi_training *f, nb_reason *why);
/* Takes all from `last`, if there is such a file: *found. */
nb_code nbi_fit_resume(nbi_training *f, bool *found, nb_reason *why);

#endif
