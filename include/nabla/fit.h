/*
 * nabla/fit.h: training.
 *
 * A model is a function over vars, y = model(context, pass, x); how far y is from what it should be is
 * a loss. Both together are a learner, and fitting one is a call:
 *
 *     static nb_var model(void *context, const nb_pass *m, nb_var x) { return nb_mlp_apply(context, m, x); }
 *
 *     const int64_t sizes[] = {64, 64, 10};
 *     nb_mlp net = nb_mlp_new(p, "net", 3, sizes, NULL, &r);
 *     nb_optim *o = nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 1e-3}, &why);
 *     nb_fit_result result;
 *     nb_fit(&(nb_fit_spec){.learner = {.params = p, .model = model, .context = &net},
 *                           .train = train, .valid = valid, .optim = o, .epochs = 30, .seed = 1,
 *                           .progress = stderr, .best = "best.safetensors"},
 *            &result, &why);
 *
 * The same by hand, with nothing that is not public, is the loop
 *
 *     nb_mark start = nb_tape_mark(t);
 *     for (int epoch = 0; epoch < 30; epoch++)
 *         while (!nb_batches_next(batches, &b, &why) && b) {
 *             nb_pass m = nb_training_pass(p, t, &r);
 *             nb_var x = nb_borrow_constant(t, NB_SHAPE(b->rows, b->columns), b->x);
 *             nb_var loss = nb_cross_entropy(model(&net, &m, x), b->rows, b->label, NULL);
 *             if (nb_backward(loss) || nb_optim_step(o, &why))
 *                 …                                       nb_message(t), or why
 *             nb_rewind(start);
 *         }
 *
 * What a fit computes depends on its spec and data alone, to the bit: not on the number of threads, and
 * not on whether it was interrupted, killed, and resumed.
 */
#ifndef NABLA_FIT_H
#define NABLA_FIT_H

#include <nabla/data.h>
#include <nabla/optim.h>
#include <nabla/schedule.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- learners -------------------------------------------------------------------------------- */

/* x is [rows ...], of the data's shape: a constant. */
typedef nb_var nb_model_fn(void *context, const nb_pass *m, nb_var x);
/* A number, the mean over the batch's rows (else parts of a batch do not add up): regularisers belong in it.
 * y is what the model made of the batch's x. */
typedef nb_var nb_learner_loss_fn(void *context, const nb_pass *m, nb_var y,
                                  const nb_dataset *batch);
/* How good y is, [d->rows width] in the data's dtype: one number; NaN where that cannot be told. */
typedef nb_code nb_metric_fn(void *context, const nb_dataset *d, int64_t width, const void *y,
                             double *out, nb_reason *why);

enum { NB_METRICS = 6 }; /* at most */
typedef struct nb_metric {
    const char *name; /* for logs */
    nb_metric_fn *of;
} nb_metric;

/* Those of nabla/metrics.h, to put into such a list: {"F1", nb_metric_f1}. A row's class is that of the
 * greatest number, or if there is but one, 1 where it is above 0. Precision, recall and F1 are means over
 * the classes. The AUC of one class alone is NaN. */
NB_API nb_metric_fn nb_metric_accuracy, nb_metric_top_5, nb_metric_precision, nb_metric_recall,
    nb_metric_f1, nb_metric_auc, nb_metric_r2;

/* Zero means the default, and NULL none. context is that of model, loss and metrics. */
typedef struct nb_learner {
    nb_params *params;
    nb_model_fn *model;
    nb_learner_loss_fn *loss; /* cross-entropy where the data have labels, else squared error */
    const nb_metric *metric;  /* [metrics]; accuracy where the data have labels, else R2 */
    int metrics;
    void *context;
    const nb_prep *prep; /* what the data go through first */
} nb_learner;

/* The mean loss over a data set, and the metrics, in an array of NB_METRICS, NaN behind the last (each of the
 * two may be NULL): batch by batch, all parameters constants, no layer in training. */
NB_API nb_code nb_evaluate(const nb_learner *l, const nb_dataset *d, double *loss,
                           double metric[NB_METRICS], nb_reason *why);
/* What the model makes of a data set: y [d->rows width], in its dtype. */
NB_API nb_code nb_outputs(const nb_learner *l, const nb_dataset *d, int64_t width, void *y,
                          nb_reason *why);

/* ---- fitting --------------------------------------------------------------------------------- */

typedef struct nb_monitor nb_monitor; /* nabla/monitor.h */

/* After an epoch. NaN where there is no such number. loss and metric are means over the batches, each before
 * its step, of metrics that are not NaN; valid_… are those of the validation data, whole, after the
 * last step. */
typedef struct nb_fit_epoch {
    int64_t epoch, step; /* both counted from 1 */
    double loss, metric[NB_METRICS], valid_loss, valid_metric[NB_METRICS];
    double rate, gradient; /* of the last step; the gradient's length before clipping */
    double seconds;        /* since the fit began, those before a resume included */
} nb_fit_epoch;

/* After a step. */
typedef struct nb_fit_step {
    int64_t epoch, step, batch; /* from 1 */
    double loss, metric[NB_METRICS], rate, gradient;
} nb_fit_step;

typedef nb_code nb_fit_step_fn(void *context, const nb_fit_step *s);
typedef nb_code nb_fit_epoch_fn(void *context, const nb_fit_epoch *e);

/* Zero means the default, and NULL none. */
typedef struct nb_fit_spec {
    nb_learner learner;

    /* Data. Without valid, valid_share of train, in [0, 1), is held out: of each class, if there are labels.
     * batches are read in place of train, from a file, say; they come with a preprocessing of
     * their own. */
    const nb_dataset *train, *valid;
    double valid_share;
    nb_batches *batches;
    uint64_t seed; /* of shuffling, holding out and dropping out */

    /* A batch has so many rows (32). It is worked on in even parts of at most `micro` rows, or whole;
     * their gradients are added up in order. (Batch norm sees a part at a time.) Threads (1; NB_ALL_THREADS)
     * share the parts, calling the model at the same time, each with a pass of its own; a batch that is
     * whole they help with in its tensor operations. drop_last leaves out the last batch of an epoch if it
     * would be shorter than the others: batch norm cannot learn from a single row. */
    int64_t batch, micro;
    int threads;
    bool drop_last;

    /* Steps. The learning rate is the optimizer's; or the schedule's, which lasts as long as the fit if its
     * steps are 0; or the plateau's, which is told the watched loss after each epoch. Gradients are clipped
     * if a limit is above 0. An average is told after each step, and judged and kept as best in place
     * of the parameters, which stay as they are: nb_average_swap puts it in their place. After the fit the
     * optimizer's rate is what it was before. */
    nb_optim *optim;
    nb_schedule schedule;
    nb_plateau *plateau;
    double clip_value, clip_norm;
    nb_average *average;

    /* The end. The watched loss is that of the validation data, or without these the training loss. If
     * patience is not 0, so many epochs in which it does not fall by more than `least` below what it was
     * when it last did are the end. */
    int64_t epochs; /* at most; at least 1 */
    int64_t patience;
    double least;

    /* Files, written as nb_save does. best: parameters, preprocessing and schema whenever the watched loss
     * is least. last: all that is needed to go on; after each epoch, when the fit is interrupted, and
     * after each save_every steps. resume goes on from it, if there is such a file. */
    const char *best, *last;
    int64_t save_every;
    bool resume;
    const nb_schema *schema;

    /* SIGINT and SIGTERM end the fit after the step, or the judging of an epoch. They are blocked on this
     * thread meanwhile, and must be on others that the program has. */
    bool interruptible;

    /* A bar, and a line for each epoch, if it is a terminal; the lines. */
    FILE *progress, *log;

    /* Called with the learner's context. NB_OK goes on, NB_ERR_CALLBACK ends the fit well, and any other
     * code badly. */
    nb_fit_step_fn *on_step;
    nb_fit_epoch_fn *on_epoch;
    nb_monitor *monitor; /* sees the steps that it wants to see, and of a batch the first part */

    const nb_allocator *allocator; /* with threads it is called from several at once */
} nb_fit_spec;

typedef enum nb_fit_end {
    NB_FIT_FAILED,      /* with the code returned */
    NB_FIT_EPOCHS,      /* all were made */
    NB_FIT_PATIENCE,    /* the watched loss fell no more */
    NB_FIT_CALLBACK,    /* a callback wanted it */
    NB_FIT_INTERRUPTED, /* by a signal */
    NB_FIT_ENDS
} nb_fit_end;
NB_API const char *nb_fit_end_name(nb_fit_end end); /* never NULL */

typedef struct nb_fit_result {
    nb_fit_end end;
    int64_t steps;
    int64_t best_epoch; /* 0: none */
    double best_loss;   /* the watched one */
    int64_t epochs;     /* that were finished: rows of the history */
    nb_fit_epoch *history;
    int64_t room; /* for so many rows, from this allocator */
    nb_allocator allocator;
} nb_fit_result;
/* Also after a failure. A zeroed one, or one that was freed, is fine. */
NB_API void nb_fit_result_free(nb_fit_result *r);

/* Trains. The optimizer goes on from where it is: a second fit continues a first, with epochs of its own, and
 * should have a seed of its own, or its batches come in the same order again.
 * result may be NULL.
 *
 * A loss or gradient that is not finite ends it, NB_ERR_ANOMALY: the reason tells step and batch, and
 * the first node whose value or gradient was not. The parameters are then as before that step, and
 * the files as they were. */
NB_API nb_code nb_fit(const nb_fit_spec *spec, nb_fit_result *result, nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
