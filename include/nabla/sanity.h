/*
 * nabla/sanity.h: what to look at before a long training.
 *
 *     nb_sanity_report s;
 *     nb_sanity(&learner, train, NULL, &s, &why);
 *     nb_sanity_print(stdout, &s);
 *
 * Four checks of a learner as it begins, each of which finds mistakes that training would hide: a wrong
 * scale of the first weights or labels that are not the classes; a penalty that was never added; a part of
 * the model that does not learn; an own operation with a wrong gradient.
 *
 *     chance      the loss is what guessing gives: log(classes), or the variance of the targets
 *     penalty     regularisers raise the loss
 *     overfit     a few rows can be learned by heart
 *     gradient    the gradient agrees with differences (nb_check_model)
 *
 * All of it happens on a copy of the parameters: values, gradients, running statistics and whatever an
 * optimizer remembers stay as they are. The model must reach its parameters through the pass it is given,
 * as layers do.
 */
#ifndef NABLA_SANITY_H
#define NABLA_SANITY_H

#include <nabla/fit.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* check, name */
#define NB_SANITY_CHECKS(X)         \
    X(NB_SANITY_CHANCE, "chance")   \
    X(NB_SANITY_PENALTY, "penalty") \
    X(NB_SANITY_OVERFIT, "overfit") \
    X(NB_SANITY_GRADIENT, "gradient")

#define NBI_SANITY(check, name) check,
typedef enum nb_sanity_check { NB_SANITY_CHECKS(NBI_SANITY) NB_SANITY_COUNT } nb_sanity_check;
#undef NBI_SANITY

typedef enum nb_sanity_status {
    NB_SANITY_SKIPPED,
    NB_SANITY_PASSED,
    NB_SANITY_FAILED
} nb_sanity_status;

/* Zero means the default. */
typedef struct nb_sanity_options {
    uint32_t skip; /* checks to leave out, 1 << NB_SANITY_GRADIENT, … */
    uint64_t seed; /* of the rows that are drawn, and of dropping out */

    /* The loss of guessing: by itself, for labels the logarithm of their number of classes, else the
     * variance of the targets about their means. That is right for cross-entropy and squared error: for
     * other losses give the number, or NaN if there is none. */
    double chance;
    double factor; /* passed from chance / factor to chance times factor; 2 for labels, else 4 */
    int64_t chance_rows; /* the loss is looked at on so many; 256 */

    /* The loss without its regularisers. NULL: the usual one (that of a learner without a loss) if l1
     * or l2 are given; else the check of penalties is left out. Overfitting is done with it, too. */
    nb_learner_loss_fn *plain;
    double l1, l2; /* the penalty's, as in nb_weight_penalty; both 0: it is anything above 0 */

    /* Overfitted when the loss is below `small` times that of guessing, or times the first if that of
     * guessing is not known. */
    int64_t rows;  /* to overfit; 20 */
    int64_t steps; /* of Adam, at most; 1000 */
    double rate;   /* its learning rate; 0.01 */
    double small;  /* 0.01 */

    int64_t gradient_rows; /* 4 */

    const nb_allocator *allocator; /* NULL: the default */
} nb_sanity_options;

typedef struct nb_sanity_result {
    nb_sanity_status status;
    double value, expected; /* the loss and that of guessing; what the penalty adds and should; the
                             * least loss and the limit; the worst coordinate's gradient and difference.
                             * NaN where there is none */
    char text[240];         /* one sentence */
} nb_sanity_result;

typedef struct nb_sanity_report {
    nb_sanity_result check[NB_SANITY_COUNT];
} nb_sanity_report;

/* The code tells whether the checks could be carried out, the report how they ended. options may be NULL.
 *
 * The learner's prep is applied to the rows that are drawn. Running statistics are on hold. For the gradient the
 * pass is one of training, dropping the same elements each time. Losses are those of training passes
 * if there are running statistics (as batch norm at its beginning has nothing else to go by), otherwise of
 * passes that drop nothing, so that dropout does not hide what the model can do. */
NB_API nb_code nb_sanity(const nb_learner *l, const nb_dataset *d, const nb_sanity_options *options,
                         nb_sanity_report *report, nb_reason *why);

/* Whether none failed. */
NB_API bool nb_sanity_ok(const nb_sanity_report *r);
NB_API nb_code nb_sanity_print(FILE *to, const nb_sanity_report *r);
NB_API const char *nb_sanity_check_name(nb_sanity_check check); /* never NULL */

#ifdef __cplusplus
}
#endif
#endif
