/*
 * nabla/metrics.h: how good predictions are.
 *
 * Everything works on plain arrays of n rows: scores [n classes] in row-major order, labels and
 * predictions [n] from 0. From scores to a table of results:
 *
 *     nb_predict(n, 10, NB_F32, scores, predicted);
 *     nb_confusion(n, 10, predicted, label, matrix, &why);
 *     for (int64_t c = 0; c < 10; c++)
 *         s = nb_class_score(10, matrix, c);                    precision, recall, F1, support
 *     macro = nb_mean_score(10, matrix, NB_MEAN_MACRO);
 *
 * Functions that can fail return NB_OK or a code, whose reason goes to *why, if that is not NULL, and
 * write nothing else then. No rows at all are NB_ERR_EMPTY. A label out of [0, classes) is NB_ERR_INDEX.
 */
#ifndef NABLA_METRICS_H
#define NABLA_METRICS_H

#include <nabla/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The class of the largest score of each row, the first of equal ones. A row with a NaN has no largest:
 * its prediction is -1, which is never right. Nor has one without classes. */
NB_API void nb_predict(int64_t n, int64_t classes, nb_dtype dtype, const void *scores,
                       int64_t *predicted);

/* The share of rows that are right. */
NB_API nb_code nb_accuracy(int64_t n, const int64_t *predicted, const int64_t *label, double *out,
                           nb_reason *why);

/* The share of rows whose label is among the k largest scores: fewer than k classes score higher, where of
 * equal scores those of lower classes count as higher. 1 <= k <= classes. A row with a NaN is wrong. */
NB_API nb_code nb_top_k(int64_t n, int64_t classes, nb_dtype dtype, const void *scores,
                        const int64_t *label, int64_t k, double *out, nb_reason *why);

/* matrix[t * classes + p]: how many rows of class t were predicted as p. Predictions
 * must be in [0, classes) too: what nb_predict says of a row with a NaN, -1, is NB_ERR_INDEX. */
NB_API nb_code nb_confusion(int64_t n, int64_t classes, const int64_t *predicted,
                            const int64_t *label, int64_t *matrix, nb_reason *why);

/* Of a class: precision, the share of rows predicted as it that are of it; recall, the share of rows of
 * it that are predicted as it; f1 = 2 precision recall / (precision + recall). 0/0 is 0. */
typedef struct nb_score {
    double precision, recall, f1;
    int64_t support; /* rows of the class; of a mean: all rows */
} nb_score;

NB_API nb_score nb_class_score(int64_t classes, const int64_t *matrix, int64_t c);

typedef enum nb_mean_kind {
    NB_MEAN_MACRO,   /* of the classes that occur, among labels or predictions, each alike */
    NB_MEAN_MICRO,   /* counts are added up first: all three are then the accuracy */
    NB_MEAN_WEIGHTED /* each class by its support */
} nb_mean_kind;
NB_API nb_score nb_mean_score(int64_t classes, const int64_t *matrix, nb_mean_kind kind);

/* The area under the ROC curve: the chance that a row of class 1 scores higher than one of class 0, where
 * equal scores count half. Labels are 0 or 1, and both must occur (else NB_ERR_EMPTY); a NaN among the
 * scores is NB_ERR_ANOMALY. allocator, for the order of the rows, may be NULL. */
NB_API nb_code nb_auc(int64_t n, nb_dtype dtype, const void *scores, const int64_t *label,
                      const nb_allocator *allocator, double *out, nb_reason *why);

/* 1 - sum (target - predicted)^2 / sum (target - mean)^2, of each of the m columns of [n m], averaged. A
 * column that is constant has no spread to explain: it counts as 1 if predicted exactly, else as 0. NaN
 * spreads. */
NB_API nb_code nb_r2(int64_t n, int64_t m, nb_dtype dtype, const void *predicted, const void *target,
                     double *out, nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
