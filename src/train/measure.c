/*
 * Metrics of learners: from what a model makes of the rows of a data set to one number.
 *
 * Classes are read off y as its width tells: of several numbers a row, the class of the greatest; of one
 * number, class 1 where it is above 0, as logits are meant.
 *
 * What cannot be told (a NaN among the scores, an area under the curve of one class alone) is NaN and no
 * error: a batch of a few rows may well be such.
 */
#include "train/parts.h"

#include "base/element.h"
#include "base/reason.h"

#include <math.h>
#include <nabla/metrics.h>

/* ---- classes --------------------------------------------------------------------------------- */

static nb_code wants_labels(const nb_dataset *d, const char *who, nb_reason *why)
{
    return d->label ? NB_OK : nbi_because(why, NB_ERR_ARGUMENT, "%s: the data have no labels", who);
}

/* -1 where there is a NaN. */
static int64_t class_of(const nb_dataset *d, int64_t width, const void *y, int64_t row)
{
    int64_t predicted;
    if (width == 1) {
        const double v = nbi_element_at(d->dtype, y, row);
        return isnan(v) ? -1 : v > 0;
    }
    nb_predict(1, width, d->dtype,
               (const char *)y + (size_t)(row * width) * nbi_dtype_size(d->dtype), &predicted);
    return predicted;
}

nb_code nb_metric_accuracy(void *context, const nb_dataset *d, int64_t width, const void *y,
                           double *out, nb_reason *why)
{
    (void)context;
    int64_t right = 0;
    const nb_code code = wants_labels(d, "accuracy", why);
    for (int64_t i = 0; !code && i < d->rows; i++)
        right += class_of(d, width, y, i) == d->label[i];
    *out = (double)right / (double)d->rows;
    return code;
}

nb_code nb_metric_top_5(void *context, const nb_dataset *d, int64_t width, const void *y,
                        double *out, nb_reason *why)
{
    (void)context;
    const nb_code code = wants_labels(d, "top 5", why);
    return code ? code
                : nb_top_k(d->rows, width, d->dtype, y, d->label, width < 5 ? width : 5, out, why);
}

/* The means of precision, recall and F1 over classes. */
static nb_code score(const nb_dataset *d, int64_t width, const void *y, nb_score *out,
                     nb_reason *why)
{
    const int64_t classes = d->classes > width ? d->classes : width < 2 ? 2 : width;
    size_t cells;
    bool told = true;
    nb_code code = wants_labels(d, "precision and recall", why);
    *out = (nb_score){(double)NAN, (double)NAN, (double)NAN, 0};
    if (code)
        return code;
    if (__builtin_mul_overflow((size_t)classes, (size_t)classes, &cells) ||
        cells > PTRDIFF_MAX / 32 || d->rows > PTRDIFF_MAX / 32)
        return nbi_because(why, NB_ERR_OVERFLOW, "precision and recall: %lld classes",
                           (long long)classes);
    const size_t bytes = (cells + (size_t)d->rows) * sizeof(int64_t);
    int64_t *matrix = nb_resize(d->allocator, NULL, 0, bytes);
    if (!matrix)
        return nbi_because(why, NB_ERR_MEMORY, "precision and recall: no memory");
    for (int64_t i = 0; i < d->rows; i++) {
        const int64_t k = class_of(d, width, y, i);
        matrix[cells + (size_t)i] = k;
        told = told && k >= 0;
    }
    if (told)
        code = nb_confusion(d->rows, classes, matrix + cells, d->label, matrix, why);
    if (told && !code)
        *out = nb_mean_score(classes, matrix, NB_MEAN_MACRO);
    nb_resize(d->allocator, matrix, bytes, 0);
    return code;
}

#define SCORE(name, part)                                                                       \
    nb_code name(void *context, const nb_dataset *d, int64_t width, const void *y, double *out, \
                 nb_reason *why)                                                                \
    {                                                                                           \
        (void)context;                                                                          \
        nb_score s;                                                                             \
        const nb_code code = score(d, width, y, &s, why);                                       \
        *out = s.part;                                                                          \
        return code;                                                                            \
    }
SCORE(nb_metric_precision, precision)
SCORE(nb_metric_recall, recall)
SCORE(nb_metric_f1, f1)
#undef SCORE

/* ---- scores and targets ---------------------------------------------------------------------- */

nb_code nb_metric_auc(void *context, const nb_dataset *d, int64_t width, const void *y, double *out,
                      nb_reason *why)
{
    (void)context;
    nb_code code = wants_labels(d, "AUC", why);
    *out = (double)NAN;
    if (!code && (width > 2 || d->rows > PTRDIFF_MAX / 16))
        code = nbi_because(why, NB_ERR_SHAPE, "AUC: of two classes, not of %lld", (long long)width);
    if (code)
        return code;
    const size_t bytes = (size_t)d->rows * sizeof(double);
    double *apart = nb_resize(d->allocator, NULL, 0, bytes);
    if (!apart)
        return nbi_because(why, NB_ERR_MEMORY, "AUC: no memory");
    for (int64_t i = 0; i < d->rows; i++)
        apart[i] = width == 1 ? nbi_element_at(d->dtype, y, i)
                              : nbi_element_at(d->dtype, y, 2 * i + 1) -
                                    nbi_element_at(d->dtype, y, 2 * i);
    code = nb_auc(d->rows, NB_F64, apart, d->label, d->allocator, out, why);
    nb_resize(d->allocator, apart, bytes, 0);
    return code == NB_ERR_EMPTY || code == NB_ERR_ANOMALY ? NB_OK : code;
}

nb_code nb_metric_r2(void *context, const nb_dataset *d, int64_t width, const void *y, double *out,
                     nb_reason *why)
{
    (void)context;
    *out = (double)NAN;
    if (!d->y || d->targets != width)
        return nbi_because(why, NB_ERR_SHAPE,
                           "R2: the model makes %lld numbers of a row, the data have %lld targets",
                           (long long)width, (long long)(d->y ? d->targets : 0));
    return nb_r2(d->rows, width, d->dtype, y, d->y, out, why);
}

/* ---- of a learner ---------------------------------------------------------------------------- */

static const nb_metric accuracy = {"accuracy", nb_metric_accuracy}, r2 = {"R2", nb_metric_r2},
                       unknown = {"metric", NULL};

const nb_metric *nbi_learner_metrics(const nb_learner *l, const nb_dataset *d, int *count)
{
    *count = l->metrics ? l->metrics : 1;
    return l->metrics ? l->metric : !d ? &unknown : d->label ? &accuracy : &r2;
}

nb_code nbi_learner_measure(const nb_learner *l, const nb_dataset *d, int64_t width, const void *y,
                            double *out, nb_reason *why)
{
    int count;
    nb_code code = NB_OK;
    const nb_metric *m = nbi_learner_metrics(l, d, &count);
    const bool fits = l->metrics || d->label || (d->y && d->targets == width);
    for (int k = 0; k < NB_METRICS; k++)
        out[k] = (double)NAN;
    for (int k = 0; k < count && width && fits && !code; k++) {
        code = m[k].of(l->context, d, width, y, &out[k], why);
        if (code && why && !why->text[0])
            nbi_because(why, code, "the metric \"%.60s\": %s", m[k].name ? m[k].name : "",
                        nb_code_text(code));
    }
    return code;
}
