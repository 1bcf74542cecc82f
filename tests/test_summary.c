/*
 * What monitors compute: statistics, against sorting and sums in long double, and paths of parameters
 * whose principal components are known.
 */
#include "counting.h"
#include "reason.h"

#include <math.h>

/* ---- statistics ------------------------------------------------------------------------------ */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, int64_t n, double p)
{
    const double at = p * (double)(n - 1);
    const int64_t k = (int64_t)at;
    const double next = sorted[k + 1 < n ? k + 1 : k];
    return sorted[k] + (at - (double)k) * (next - sorted[k]);
}

static bool near(double x, double y, double tolerance)
{
    return fabs(x - y) <= tolerance * fabs(y);
}

static nb_summary summary(nb_dtype d, const void *x, int64_t n)
{
    nb_summary s;
    nb_reason why = {""};
    fine(nb_summarise(d, x, n, NULL, &s, &why), &why);
    return s;
}

/* Every length up to 40 and some beyond, with many equal numbers among them in half of the cases. */
START_TEST(quantiles_by_sorting)
{
    enum { MOST = 5000 };
    static double x[MOST], sorted[MOST];
    nb_rng r = nb_rng_seed(1);
    for (int n = 1; n <= MOST; n = n < 40 ? n + 1 : n * 3 + 1)
        for (int round = 0; round < 8; round++) {
            long double sum = 0, squares = 0, spread = 0;
            for (int k = 0; k < n; k++) {
                x[k] = round % 2 ? (double)nb_rng_below(&r, 5) : nb_rng_normal(&r);
                sum += (long double)x[k];
                squares += (long double)x[k] * (long double)x[k];
            }
            for (int k = 0; k < n; k++)
                spread += ((long double)x[k] - sum / n) * ((long double)x[k] - sum / n);
            memcpy(sorted, x, sizeof x);
            qsort(sorted, (size_t)n, sizeof *x, ascending);
            const nb_summary s = summary(NB_F64, x, n);
            const bool places = s.least == sorted[0] && s.most == sorted[n - 1] &&
                                fabs(s.q1 - quantile(sorted, n, 0.25)) < 1e-14 &&
                                fabs(s.median - quantile(sorted, n, 0.5)) < 1e-14 &&
                                fabs(s.q3 - quantile(sorted, n, 0.75)) < 1e-14;
            const bool sums = fabs(s.mean - (double)(sum / n)) < 1e-14 &&
                              fabs(s.deviation - (double)sqrtl(spread / n)) < 1e-14 &&
                              near(s.length, (double)sqrtl(squares), 1e-14);
            ck_assert_msg(places && sums && s.n == n && s.bad == 0, "%d numbers, round %d", n,
                          round);
        }
}
END_TEST

START_TEST(sizes_out_of_the_ordinary)
{
    const double most = 1.7e308, least = 4e-320;
    nb_summary s = summary(NB_F64, (double[]){most, -most, most, -most}, 4);
    ck_assert(s.mean == 0 && near(s.deviation, most, 1e-15) && s.median == 0 && s.q1 == -most);
    s = summary(NB_F64, (double[]){most / 4, most / 4, most / 4, most / 4}, 4);
    ck_assert(near(s.length, most / 2, 1e-15) && s.deviation == 0 && near(s.mean, most / 4, 1e-15));
    s = summary(NB_F64, (double[]){least, 3 * least}, 2);
    ck_assert(near(s.mean, 2 * least, 1e-3) && near(s.deviation, least, 1e-3));
    /* 1e8 + {-1, 0, 1}: squares of the numbers themselves would leave nothing of the 2/3 */
    s = summary(NB_F64, (double[]){1e8 - 1, 1e8, 1e8 + 1}, 3);
    ck_assert(near(s.deviation, sqrt(2. / 3), 1e-8) && s.mean == 1e8);
    s = summary(NB_F32, (float[]){3e38f, -3e38f}, 2);
    ck_assert(near(s.deviation, 3e38, 1e-7) && s.mean == 0);
}
END_TEST

START_TEST(what_is_not_finite)
{
    const double inf = (double)INFINITY;
    nb_summary s = summary(NB_F64, (double[]){1, (double)NAN, 3, inf, -inf}, 5);
    ck_assert(s.n == 5 && s.bad == 3 && s.mean == 2 && s.least == 1 && s.most == 3);
    s = summary(NB_F64, (double[]){inf}, 1);
    ck_assert(s.bad == 1 && isnan(s.mean) && isnan(s.median) && isnan(s.length));
    s = summary(NB_F64, NULL, 0);
    ck_assert(s.n == 0 && s.bad == 0 && isnan(s.mean));
    nb_reason why = {""};
    said(nb_summarise(NB_F64, NULL, 3, NULL, &s, &why), NB_ERR_ARGUMENT, &why, "3 numbers");
    said(nb_summarise(NB_F64, &inf, 1, NULL, NULL, &why), NB_ERR_ARGUMENT, &why, "NULL");
    said(nb_summarise(NB_F64, &inf, INT64_MAX / 2, NULL, &s, &why), NB_ERR_OVERFLOW, &why, "many");
    counting c = {.refuse = 1};
    const nb_allocator a = counting_allocator(&c);
    said(nb_summarise(NB_F64, &inf, 1, &a, &s, &why), NB_ERR_MEMORY, &why, "1 numbers");
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

/* ---- paths ----------------------------------------------------------------------------------- */

/* Parameters that run around an ellipse with half axes 10 and 1 times size, in a plane turned into many
 * dimensions: points are those of the ellipse but for signs, and shares 100 to 1. */
START_TEST(path_of_an_ellipse)
{
    enum { LONG = 300, POINTS = 16 };
    const double size = (const double[]){1, 1e-150, 1e300}[_i], angle = 2 * acos(-1) / POINTS;
    nb_reason why = {""};
    nb_params *p = nb_params_new(NULL);
    nb_params_add(p, "w", NB_SHAPE(LONG), NULL, NULL);
    nb_monitor *m = nb_monitor_new(p, &(nb_monitor_options){.snapshots = POINTS}, &why);
    nb_monitor_point point[POINTS];
    double share[2];
    said(nb_monitor_path(m, point, share, &why), NB_ERR_EMPTY, &why, "ask for 16");
    for (int i = 0; i < POINTS; i++) {
        double *w = nb_params_values(p);
        for (int k = 0; k < LONG; k++) /* two directions of length 1 at right angles, and a mean */
            w[k] = size * (0.25 + (k % 2 ? sin(angle * i) : 10 * cos(angle * i)) / sqrt(LONG / 2.));
        ck_assert(nb_monitor_begin(m, NULL, i + 1));
    }
    ck_assert_int_eq(nb_monitor_snapshots(m), POINTS);
    fine(nb_monitor_path(m, point, share, &why), &why);
    ck_assert(near(share[0], 100. / 101, 1e-12) && near(share[1], 1. / 101, 1e-12));
    const double x = point[0].x > 0 ? 1 : -1, y = point[POINTS / 4].y > 0 ? 1 : -1;
    for (int i = 0; i < POINTS; i++)
        ck_assert(point[i].step == i + 1 &&
                  fabs(point[i].x - x * size * 10 * cos(angle * i)) < 1e-11 * size &&
                  fabs(point[i].y - y * size * sin(angle * i)) < 1e-11 * size);
    ((double *)nb_params_values(p))[7] = (double)NAN;
    ck_assert(nb_monitor_begin(m, NULL, POINTS + 1));
    said(nb_monitor_path(m, point, share, &why), NB_ERR_ANOMALY, &why, "element 7");
    said(nb_monitor_path(m, NULL, share, &why), NB_ERR_ARGUMENT, &why, "NULL");
    nb_monitor_free(m);
    nb_params_free(p);
}
END_TEST

/* However many steps: at most so many snapshots, evenly spaced, from the first on. */
START_TEST(snapshots_thin_out)
{
    nb_reason why = {""};
    for (int64_t most = 3; most <= 8; most++) {
        nb_params *p = nb_params_new(NULL);
        nb_params_add(p, "w", NB_SHAPE(1), NULL, NULL);
        nb_monitor *m = nb_monitor_new(p, &(nb_monitor_options){.snapshots = most}, &why);
        nb_monitor_point point[8];
        for (int64_t k = 1; k <= 100; k++) {
            *(double *)nb_params_values(p) = (double)k;
            nb_monitor_begin(m, NULL, k);
            const int64_t n = nb_monitor_snapshots(m);
            fine(nb_monitor_path(m, point, NULL, &why), &why);
            ck_assert(n <= most && (k < most || 2 * n >= most));
            const int64_t stride = n > 1 ? point[1].step - point[0].step : 1;
            for (int64_t i = 0; i < n; i++)
                ck_assert(point[i].step == 1 + i * stride &&
                          fabs(fabs(point[i].x - point[0].x) - (double)(i * stride)) < 1e-9);
            ck_assert(point[n - 1].step + stride > k);
        }
        nb_monitor_free(m);
        nb_params_free(p);
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("summary");
    tcase_add_test(c, quantiles_by_sorting);
    tcase_add_test(c, sizes_out_of_the_ordinary);
    tcase_add_test(c, what_is_not_finite);
    tcase_add_loop_test(c, path_of_an_ellipse, 0, 3);
    tcase_add_test(c, snapshots_thin_out);
    return run_case("summary", c);
}
