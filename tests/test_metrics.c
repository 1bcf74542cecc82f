/*
 * Metrics against values worked out by hand, and against counting pairs for the area under the curve.
 */
#include "reason.h"

#include <nabla/metrics.h>

#include <math.h>

static nb_reason why;

static bool near(double a, double b) { return fabs(a - b) < 1e-15; }

START_TEST(predictions)
{
    const double scores[] = {1,
                             3,
                             2,
                             5,
                             5,
                             4,
                             0,
                             (double)NAN,
                             9,
                             (double)-INFINITY,
                             (double)-INFINITY,
                             (double)-INFINITY};
    int64_t p[4];
    nb_predict(4, 3, NB_F64, scores, p);
    ck_assert(p[0] == 1 && p[1] == 0 && p[2] == -1 && p[3] == 0);
    const float few[] = {0, 1};
    nb_predict(1, 2, NB_F32, few, p);
    ck_assert(p[0] == 1);
}
END_TEST

START_TEST(accuracy_and_top_k)
{
    const int64_t label[] = {0, 1, 2, 2}, predicted[] = {0, 2, 2, -1};
    const double scores[] = {1, 3, 2, 5, 5, 4, 0, (double)NAN, 9, 7, 7, 7};
    double v = -1;
    fine(nb_accuracy(4, predicted, label, &v, &why), &why);
    ck_assert(v == 0.5);
    fine(nb_top_k(4, 3, NB_F64, scores, label, 1, &v, &why), &why);
    ck_assert(v == 0); /* row 0: class 1; row 1: class 0 comes first; NaN; class 0 first */
    fine(nb_top_k(4, 3, NB_F64, scores, label, 2, &v, &why), &why);
    ck_assert(v == 0.25);
    fine(nb_top_k(4, 3, NB_F64, scores, label, 3, &v, &why), &why);
    ck_assert(v == 0.75);
    v = 7;
    said(nb_top_k(4, 3, NB_F64, scores, label, 4, &v, &why), NB_ERR_ARGUMENT, &why, "k is 4");
    said(nb_top_k(4, 2, NB_F64, scores, label, 1, &v, &why), NB_ERR_INDEX, &why,
         "label 2 in row 3");
    said(nb_accuracy(0, predicted, label, &v, &why), NB_ERR_EMPTY, &why, "no rows");
    said(nb_accuracy(1, NULL, label, &v, &why), NB_ERR_ARGUMENT, &why, "missing");
    ck_assert(v == 7);
}
END_TEST

START_TEST(confusion_and_scores)
{
    /* class 0: 3 of 4 right; 1: 1 of 3; 2: 2 of 2; class 3 does not occur */
    const int64_t label[] = {0, 0, 0, 0, 1, 1, 1, 2, 2}, predicted[] = {0, 0, 0, 1, 1, 0, 2, 2, 2};
    const int64_t expected[16] = {3, 1, 0, 0, 1, 1, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0};
    int64_t m[16];
    fine(nb_confusion(9, 4, predicted, label, m, &why), &why);
    ck_assert_mem_eq(m, expected, sizeof m);
    nb_score s = nb_class_score(4, m, 0);
    ck_assert(near(s.precision, 0.75) && near(s.recall, 0.75) && near(s.f1, 0.75) &&
              s.support == 4);
    s = nb_class_score(4, m, 1);
    ck_assert(near(s.precision, 0.5) && near(s.recall, 1 / 3.0) && near(s.f1, 0.4));
    s = nb_class_score(4, m, 2);
    ck_assert(near(s.precision, 2 / 3.0) && near(s.recall, 1) && near(s.f1, 0.8));
    s = nb_class_score(4, m, 3);
    ck_assert(s.precision == 0 && s.recall == 0 && s.f1 == 0 && s.support == 0);
    s = nb_mean_score(4, m, NB_MEAN_MACRO);
    ck_assert(near(s.precision, (0.75 + 0.5 + 2 / 3.0) / 3) && near(s.f1, 0.65) && s.support == 9);
    s = nb_mean_score(4, m, NB_MEAN_MICRO);
    ck_assert(near(s.precision, 6 / 9.0) && near(s.recall, 6 / 9.0) && near(s.f1, 6 / 9.0));
    s = nb_mean_score(4, m, NB_MEAN_WEIGHTED);
    ck_assert(near(s.f1, (4 * 0.75 + 3 * 0.4 + 2 * 0.8) / 9) && near(s.recall, 6 / 9.0));
    m[0] = 77;
    said(nb_confusion(1, 4, (int64_t[]){-1}, label, m, &why), NB_ERR_INDEX, &why, "from a NaN");
    said(nb_confusion(1, 4, label, (int64_t[]){4}, m, &why), NB_ERR_INDEX, &why, "label 4");
    ck_assert_int_eq(m[0], 77);
}
END_TEST

START_TEST(area_counts_pairs)
{
    enum { N = 60 };
    nb_rng r = nb_rng_seed(3);
    double scores[N], v;
    int64_t label[N];
    for (int round = 0; round < 20; round++) {
        double pairs = 0, right = 0;
        for (int i = 0; i < N; i++) {
            scores[i] = (double)nb_rng_below(&r, round < 10 ? 8 : 100000); /* many ties, or few */
            label[i] = i < 2 ? i : (int64_t)nb_rng_below(&r, 2);
        }
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                if (label[i] > label[j]) {
                    pairs++;
                    right += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
                }
        fine(nb_auc(N, NB_F64, scores, label, NULL, &v, &why), &why);
        ck_assert(near(v, right / pairs));
    }
    said(nb_auc(2, NB_F64, scores, (int64_t[]){1, 1}, NULL, &v, &why), NB_ERR_EMPTY, &why,
         "of class 1");
    said(nb_auc(2, NB_F64, scores, (int64_t[]){0, 2}, NULL, &v, &why), NB_ERR_INDEX, &why,
         "label 2");
    said(nb_auc(2, NB_F32, (float[]){0, NAN}, (int64_t[]){0, 1}, NULL, &v, &why), NB_ERR_ANOMALY,
         &why, "row 2 is NaN");
}
END_TEST

START_TEST(r2_of_columns)
{
    double v;
    const double target[] = {1, 5, 2, 5, 3, 5, 6, 5}, predicted[] = {1, 5, 3, 5, 2, 5, 6, 5};
    /* column 0: mean 3, spread 4 + 1 + 0 + 9 = 14, error 2; column 1: constant, exact */
    fine(nb_r2(4, 2, NB_F64, predicted, target, &v, &why), &why);
    ck_assert(near(v, (1 - 2 / 14.0 + 1) / 2));
    const float t[] = {2, 2}, p[] = {2, 3};
    fine(nb_r2(2, 1, NB_F32, p, t, &v, &why), &why);
    ck_assert(v == 0);
    fine(nb_r2(2, 1, NB_F64, (double[]){(double)NAN, 1}, (double[]){1, 2}, &v, &why), &why);
    ck_assert(isnan(v));
    said(nb_r2(0, 1, NB_F64, target, target, &v, &why), NB_ERR_EMPTY, &why, "no rows");
    said(nb_r2(2, 0, NB_F64, target, target, &v, &why), NB_ERR_ARGUMENT, &why, "0 columns");
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("metrics");
    tcase_add_test(c, predictions);
    tcase_add_test(c, accuracy_and_top_k);
    tcase_add_test(c, confusion_and_scores);
    tcase_add_test(c, area_counts_pairs);
    tcase_add_test(c, r2_of_columns);
    return run_case("metrics", c);
}
