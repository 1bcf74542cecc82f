/*
 * Metrics.
 *
 * The area under the ROC curve is not integrated: it is Mann and Whitney's statistic. Let the rows be
 * ranked by score, from 1, equal scores sharing the mean of their ranks, and let R be the sum of the
 * ranks of the p rows of class 1. A row's rank, less its rank among those of its own class, is how many of
 * the q rows of class 0 lie below, so
 *
 *     area = (R - p (p + 1) / 2) / (p q)
 *
 * Ranks are whole or half numbers, so twice their sum is a whole number, and exact.
 */
#include <nabla/metrics.h>

#include "base/memory.h"
#include "base/reason.h"
#include "data/dataset.h"
#include "data/order.h"

#include <math.h>

/* ---- classes --------------------------------------------------------------------------------- */

static nb_code check_rows(int64_t n, bool given, const char *what, nb_reason *why)
{
    if (n < 0 || (n && !given))
        return nbi_because(why, NB_ERR_ARGUMENT, "%s: an array is missing, or %lld rows", what,
                           (long long)n);
    return n ? NB_OK : nbi_because(why, NB_ERR_EMPTY, "%s: no rows", what);
}

static nb_code check_labels(int64_t n, int64_t classes, const int64_t *label, const char *what,
                            nb_reason *why)
{
    for (int64_t i = 0; i < n; i++)
        if (label[i] < 0 || label[i] >= classes)
            return nbi_because(why, NB_ERR_INDEX,
                               "%s: label %lld in row %lld, but there are %lld classes, from 0",
                               what, (long long)label[i], (long long)(i + 1), (long long)classes);
    return NB_OK;
}

void nb_predict(int64_t n, int64_t classes, nb_dtype dtype, const void *scores, int64_t *predicted)
{
    for (int64_t i = 0; i < n; i++) {
        double most = (double)-INFINITY;
        int64_t best = classes > 0 ? 0 : -1;
        for (int64_t c = 0; c < classes && best >= 0; c++) {
            const double v = nbi_element_at(dtype, scores, i * classes + c);
            if (isnan(v))
                best = -1;
            else if (v > most) {
                most = v;
                best = c;
            }
        }
        predicted[i] = best;
    }
}

nb_code nb_accuracy(int64_t n, const int64_t *predicted, const int64_t *label, double *out,
                    nb_reason *why)
{
    int64_t right = 0;
    nb_code code = check_rows(n, predicted && label && out, "accuracy", why);
    if (code)
        return code;
    for (int64_t i = 0; i < n; i++)
        right += predicted[i] == label[i] && label[i] >= 0;
    *out = (double)right / (double)n;
    return NB_OK;
}

/* Whether fewer than k classes of a row come before class c. */
static bool is_among(int64_t classes, nb_dtype dtype, const void *scores, int64_t row, int64_t c,
                     int64_t k)
{
    const double own = nbi_element_at(dtype, scores, row * classes + c);
    int64_t before = 0;
    for (int64_t j = 0; j < classes; j++) {
        const double v = nbi_element_at(dtype, scores, row * classes + j);
        if (isnan(v))
            return false;
        before += v > own || (v == own && j < c);
    }
    return before < k;
}

nb_code nb_top_k(int64_t n, int64_t classes, nb_dtype dtype, const void *scores,
                 const int64_t *label, int64_t k, double *out, nb_reason *why)
{
    int64_t right = 0;
    nb_code code = check_rows(n, scores && label && out, "top-k", why);
    if (!code && (k < 1 || k > classes))
        code = nbi_because(why, NB_ERR_ARGUMENT, "top-k: k is %lld, of %lld classes", (long long)k,
                           (long long)classes);
    if (!code)
        code = check_labels(n, classes, label, "top-k", why);
    if (code)
        return code;
    for (int64_t i = 0; i < n; i++)
        right += is_among(classes, dtype, scores, i, label[i], k);
    *out = (double)right / (double)n;
    return NB_OK;
}

nb_code nb_confusion(int64_t n, int64_t classes, const int64_t *predicted, const int64_t *label,
                     int64_t *matrix, nb_reason *why)
{
    int64_t size = 0;
    nb_code code = check_rows(n, predicted && label && matrix, "confusion", why);
    if (!code && (classes < 1 || __builtin_mul_overflow(classes, classes, &size)))
        code = nbi_because(why, NB_ERR_ARGUMENT, "confusion: %lld classes", (long long)classes);
    if (!code)
        code = check_labels(n, classes, label, "confusion", why);
    for (int64_t i = 0; i < n && !code; i++)
        if (predicted[i] < 0 || predicted[i] >= classes)
            code =
                nbi_because(why, NB_ERR_INDEX,
                            "confusion: prediction %lld in row %lld%s, but there are %lld classes",
                            (long long)predicted[i], (long long)(i + 1),
                            predicted[i] == -1 ? ", from a NaN" : "", (long long)classes);
    if (code)
        return code;
    for (int64_t i = 0; i < size; i++)
        matrix[i] = 0;
    for (int64_t i = 0; i < n; i++)
        matrix[label[i] * classes + predicted[i]]++;
    return NB_OK;
}

/* From rows that are right, predicted as the class, and of it. */
static nb_score score_of(double right, double predicted, double support)
{
    nb_score s = {.support = (int64_t)support};
    s.precision = predicted > 0 ? right / predicted : 0;
    s.recall = support > 0 ? right / support : 0;
    s.f1 = predicted + support > 0 ? 2 * right / (predicted + support) : 0;
    return s;
}

static int64_t predicted_as(int64_t classes, const int64_t *matrix, int64_t c)
{
    int64_t n = 0;
    for (int64_t j = 0; j < classes; j++)
        n += matrix[j * classes + c];
    return n;
}

nb_score nb_class_score(int64_t classes, const int64_t *matrix, int64_t c)
{
    int64_t support = 0;
    if (!matrix || c < 0 || c >= classes)
        return (nb_score){0};
    for (int64_t j = 0; j < classes; j++)
        support += matrix[c * classes + j];
    return score_of((double)matrix[c * classes + c], (double)predicted_as(classes, matrix, c),
                    (double)support);
}

nb_score nb_mean_score(int64_t classes, const int64_t *matrix, nb_mean_kind kind)
{
    nb_score sum = {0};
    double weights = 0;
    int64_t right = 0;
    for (int64_t c = 0; matrix && c < classes; c++) {
        const nb_score s = nb_class_score(classes, matrix, c);
        const bool occurs = s.support || predicted_as(classes, matrix, c);
        const double w = kind == NB_MEAN_WEIGHTED ? (double)s.support : (double)occurs;
        sum.precision += w * s.precision;
        sum.recall += w * s.recall;
        sum.f1 += w * s.f1;
        sum.support += s.support;
        weights += w;
        right += matrix[c * classes + c];
    }
    if (kind == NB_MEAN_MICRO)
        return score_of((double)right, (double)sum.support, (double)sum.support);
    if (weights > 0) {
        sum.precision /= weights;
        sum.recall /= weights;
        sum.f1 /= weights;
    }
    return sum;
}

/* ---- the ROC curve --------------------------------------------------------------------------- */

typedef struct scored {
    nb_dtype dtype;
    const void *scores;
} scored;

static bool lower_score(const void *context, int64_t i, int64_t j)
{
    const scored *s = context;
    const double a = nbi_element_at(s->dtype, s->scores, i),
                 b = nbi_element_at(s->dtype, s->scores, j);
    return a != b ? a < b : i < j;
}

static double area(int64_t n, scored s, const int64_t *label, int64_t *order, int64_t ones)
{
    double twice = 0; /* the sum of the ranks of ones */
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    nbi_heapsort(n, order, lower_score, &s);
    for (int64_t from = 0, to; from < n; from = to) {
        const double v = nbi_element_at(s.dtype, s.scores, order[from]);
        int64_t count = 0;
        for (to = from; to < n && nbi_element_at(s.dtype, s.scores, order[to]) == v; to++)
            count += label[order[to]];
        twice += (double)count * (double)(from + 1 + to); /* the ranks from + 1 to `to` */
    }
    const double p = (double)ones, q = (double)(n - ones);
    return (twice - p * (p + 1)) / (2 * p * q);
}

nb_code nb_auc(int64_t n, nb_dtype dtype, const void *scores, const int64_t *label,
               const nb_allocator *allocator, double *out, nb_reason *why)
{
    int64_t ones = 0, bytes;
    nb_code code = check_rows(n, scores && label && out, "auc", why);
    if (!code)
        code = check_labels(n, 2, label, "auc", why);
    for (int64_t i = 0; i < n && !code; i++) {
        ones += label[i];
        if (isnan(nbi_element_at(dtype, scores, i)))
            code = nbi_because(why, NB_ERR_ANOMALY, "auc: the score of row %lld is NaN",
                               (long long)(i + 1));
    }
    if (!code && (!ones || ones == n))
        code = nbi_because(why, NB_ERR_EMPTY, "auc: all %lld rows are of class %d", (long long)n,
                           ones ? 1 : 0);
    if (code)
        return code;
    nbi_heap heap;
    nbi_heap_init(&heap, allocator, 0);
    int64_t *order = __builtin_mul_overflow(n, (int64_t)sizeof *order, &bytes)
                         ? NULL
                         : nbi_resize(&heap, NULL, 0, (size_t)bytes);
    if (!order)
        return nbi_because(why, NB_ERR_MEMORY, "auc: no memory to rank %lld rows", (long long)n);
    *out = area(n, (scored){dtype, scores}, label, order, ones);
    nbi_resize(&heap, order, (size_t)bytes, 0);
    return NB_OK;
}

/* ---- regression ------------------------------------------------------------------------------ */

static double explained(int64_t n, int64_t m, int64_t j, nb_dtype dtype, const void *predicted,
                        const void *target)
{
    double mean = 0, spread = 0, error = 0;
    for (int64_t i = 0; i < n; i++) {
        const double t = nbi_element_at(dtype, target, i * m + j), off = t - mean;
        const double miss = t - nbi_element_at(dtype, predicted, i * m + j);
        mean += off / (double)(i + 1);
        spread += off * (t - mean);
        error += miss * miss;
    }
    return spread != 0 ? 1 - error / spread : error == 0 ? 1 : isnan(error) ? error : 0;
}

nb_code nb_r2(int64_t n, int64_t m, nb_dtype dtype, const void *predicted, const void *target,
              double *out, nb_reason *why)
{
    int64_t size;
    double sum = 0;
    nb_code code = check_rows(n, predicted && target && out, "r2", why);
    if (!code && (m < 1 || __builtin_mul_overflow(n, m, &size)))
        code = nbi_because(why, NB_ERR_ARGUMENT, "r2: %lld columns", (long long)m);
    if (code)
        return code;
    for (int64_t j = 0; j < m; j++)
        sum += explained(n, m, j, dtype, predicted, target);
    *out = sum / (double)m;
    return NB_OK;
}
