/*
 * Clipping of gradients at sizes where squares leave the range, and averages of weights.
 */
#include "counting.h"

#include <math.h>

static double get(const void *a, int d, int64_t i)
{
    return d == NB_F64 ? ((const double *)a)[i] : (double)((const float *)a)[i];
}

static void put(nb_params *p, bool grads, int64_t n, const double *x)
{
    void *to = grads ? nb_params_grads(p) : nb_params_values(p);
    for (int64_t i = 0; i < n; i++)
        if (nb_params_dtype(p) == NB_F64)
            ((double *)to)[i] = x[i];
        else
            ((float *)to)[i] = (float)x[i];
}

/* Parameters a [2], b [2], c [2], of which b is frozen. */
static nb_params *params_of(int d, const nb_allocator *a)
{
    nb_params_options o = {.dtype = (nb_dtype)d};
    if (a)
        o.allocator = *a;
    nb_params *p = nb_params_new(&o);
    for (const char *name = "abc"; *name; name++)
        nb_params_add(p, (char[]){*name, 0}, NB_SHAPE(2), NULL, NULL);
    nb_params_freeze(p, 1, true);
    return p;
}

static void grads_are(nb_params *p, const double *x, double tol)
{
    for (int i = 0; i < 6; i++) {
        const double g = get(nb_params_grads(p), (int)nb_params_dtype(p), i);
        ck_assert_msg(fabs(g - x[i]) <= tol * fabs(x[i]), "%d: %.17g, not %.17g", i, g, x[i]);
    }
}

START_TEST(by_value)
{
    nb_params *p = params_of(_i, NULL);
    put(p, true, 6, (double[]){-3, 0.25, 9, -9, 1e30, -0.5});
    ck_assert_int_eq(nb_clip_value(p, 0.5, NULL), NB_OK);
    grads_are(p, (double[]){-0.5, 0.25, 9, -9, 0.5, -0.5}, 0);
    ck_assert_int_eq(nb_clip_value(p, 0, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_clip_value(p, (double)NAN, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_clip_value(NULL, 1, NULL), NB_ERR_ARGUMENT);
    nb_params_free(p);
}
END_TEST

START_TEST(by_norm)
{
    const double most = _i ? 3e38 : 1.7e308, least = _i ? 1e-44 : 4e-323, h = 0.70710678118654757;
    const double tol = _i ? 1e-7 : 1e-15;
    double norm;
    nb_params *p = params_of(_i, NULL);
    put(p, true, 6, (double[]){3, 0, 99, 99, 0, 4});
    ck_assert_int_eq(nb_clip_norm(p, 5, &norm, NULL), NB_OK);
    ck_assert_double_eq(norm, 5);
    grads_are(p, (double[]){3, 0, 99, 99, 0, 4}, 0);
    ck_assert_int_eq(nb_clip_norm(p, 0.5, &norm, NULL), NB_OK);
    grads_are(p, (double[]){0.3, 0, 99, 99, 0, 0.4}, tol);
    put(p, true, 6, (double[]){most, 0, 0, 0, 0, -most});
    ck_assert_int_eq(nb_clip_norm(p, 1, &norm, NULL), NB_OK);
    grads_are(p, (double[]){h, 0, 0, 0, 0, -h}, tol);
    ck_assert(_i ? fabs(norm / 4.2426406871192851e38 - 1) < 1e-7 : norm == (double)INFINITY);
    put(p, true, 6, (double[]){least, 0, 0, 0, 0, least});
    ck_assert_int_eq(nb_clip_norm(p, 1, &norm, NULL), NB_OK);
    ck_assert(norm > least && norm < 1.6 * least && get(nb_params_grads(p), _i, 0) > 0);
    put(p, true, 6, (double[]){0, 0, 7, 0, 0, 0});
    ck_assert_int_eq(nb_clip_norm(p, 1, &norm, NULL), NB_OK);
    ck_assert_double_eq(norm, 0);
    nb_params_free(p);
}
END_TEST

START_TEST(not_finite)
{
    nb_reason why = {""};
    nb_params *p = params_of(_i, NULL);
    put(p, true, 6, (double[]){9, 9, (double)NAN, 9, 9, (double)INFINITY});
    ck_assert_int_eq(nb_clip_norm(p, 1, NULL, &why), NB_ERR_ANOMALY);
    ck_assert_ptr_nonnull(strstr(why.text, "\"c\" is inf at element 1"));
    ck_assert_int_eq(nb_clip_value(p, 1, &why), NB_ERR_ANOMALY);
    ck_assert(get(nb_params_grads(p), _i, 0) == 9);
    nb_params_free(p);
}
END_TEST

/* Of a million equal floats the length is exact to its last digit. */
START_TEST(many)
{
    enum { MANY = 1000000 };
    double norm;
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    nb_params_add(p, "w", NB_SHAPE(MANY), NULL, NULL);
    for (int i = 0; i < MANY; i++)
        ((float *)nb_params_grads(p))[i] = 0.1f;
    ck_assert_int_eq(nb_clip_norm(p, 1e9, &norm, NULL), NB_OK);
    ck_assert_double_eq_tol(norm, 1000 * (double)0.1f, 1e-11);
    nb_params_free(p);
}
END_TEST

/* ---- averages -------------------------------------------------------------------------------- */

START_TEST(mean_of_weights)
{
    nb_params *p = params_of(_i, NULL);
    nb_average *mean = nb_average_new(p, 0, NULL), *fading = nb_average_new(p, 0.75, NULL);
    ck_assert_int_eq(nb_average_swap(mean, NULL), NB_ERR_EMPTY);
    const double told[] = {1, 4, 7, -8};
    for (int k = 0; k < 4; k++) {
        double x[6];
        for (int i = 0; i < 6; i++)
            x[i] = told[k] * (i + 1);
        put(p, false, 6, x);
        ck_assert_int_eq(nb_average_tell(mean, NULL), NB_OK);
        ck_assert_int_eq(nb_average_tell(fading, NULL), NB_OK);
    }
    /* ((0.75 + 0.25 4) 0.75 + 0.25 7) 0.75 - 0.25 8 */
    const double faded = 0.296875;
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(nb_average_swap(mean, NULL), NB_OK);
        ck_assert_int_eq(nb_average_tell(mean, NULL), NB_ERR_ARGUMENT);
        ck_assert(get(nb_params_values(p), _i, 2) == 3);
        ck_assert_int_eq(nb_average_swap(mean, NULL), NB_OK);
        ck_assert(get(nb_params_values(p), _i, 2) == -24);
    }
    for (int i = 0; i < 6; i++) {
        ck_assert_double_eq_tol(nb_average_data(mean)[i], i + 1, 1e-14);
        ck_assert_double_eq_tol(nb_average_data(fading)[i], faded * (i + 1), 1e-14);
    }
    ck_assert_int_eq(nb_average_count(mean), 4);
    ck_assert_int_eq(nb_average_set_count(mean, -1, NULL), NB_ERR_ARGUMENT);
    nb_average_free(mean), nb_average_free(fading), nb_average_free(NULL);
    nb_params_free(p);
}
END_TEST

START_TEST(averages_refused)
{
    const double bad[] = {-0.1, 1, (double)NAN};
    counting c = {0};
    const nb_allocator a = counting_allocator(&c);
    nb_params *p = params_of(0, &a);
    ck_assert_ptr_nonnull(nb_params_grads(p));
    for (int k = 0; k < 3; k++)
        ck_assert_ptr_null(nb_average_new(p, bad[k], NULL));
    ck_assert_ptr_null(nb_average_new(NULL, 0, NULL));
    for (size_t k = 1; k <= 2; k++) {
        nb_reason why = {""};
        c.refuse = c.calls + k;
        ck_assert_ptr_null(nb_average_new(p, 0, &why));
        ck_assert_ptr_nonnull(strstr(why.text, "out of memory"));
    }
    nb_params_free(p);
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("clip");
    tcase_add_loop_test(c, by_value, 0, 2);
    tcase_add_loop_test(c, by_norm, 0, 2);
    tcase_add_loop_test(c, not_finite, 0, 2);
    tcase_add_test(c, many);
    tcase_add_loop_test(c, mean_of_weights, 0, 2);
    tcase_add_test(c, averages_refused);
    return run_case("clip", c);
}
