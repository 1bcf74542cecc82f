/*
 * Singular values and vectors: their factors have the promised form and multiply to the matrix, for
 * random, rank-deficient, wide, tall, huge and tiny cases, and small values of graded matrices keep
 * their digits. Derivatives with closed forms; the rest of them is the laws' affair.
 */
#include "decomposed.h"

static void hold_svd(int64_t m, int64_t n, const double *a, nb_dtype d, double *values)
{
    nb_tape *t = tape_of(d);
    const int64_t k = m < n ? m : n, longer = m < n ? n : m;
    double *u = doubles(m * k), *v = doubles(n * k), *x = doubles(m * n);
    nb_var in = nb_tensor(t, "a", NB_SHAPE(m, n), a), p, s, q;
    ck_assert_msg(nb_svd(in, &p, &s, &q) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(p), NB_SHAPE(m, k)));
    ck_assert(nb_shape_equal(nb_shape_of(s), NB_SHAPE(k)));
    ck_assert(nb_shape_equal(nb_shape_of(q), NB_SHAPE(n, k)));
    read_all(in, x);
    read_all(p, u);
    read_all(s, values);
    read_all(q, v);
    const double room = 2 * (double)(longer + 1) * unit_of(d);
    ck_assert_double_le(residual(m, n, k, x, u, values, v), room * most(k, values));
    ck_assert_double_le(skewness(m, k, u), room);
    ck_assert_double_le(skewness(n, k, v), room);
    for (int64_t i = 0; i < k; i++)
        ck_assert_double_ge(i ? values[i - 1] : values[i], values[i]);
    ck_assert(k == 0 || values[k - 1] >= 0);
    ck_assert(m < n ? signs_hold(m, k, u) : signs_hold(n, k, v));
    read_all(nb_svdvals(in), x);
    for (int64_t i = 0; i < k; i++)
        ck_assert_double_eq(x[i], values[i]);
    nb_tape_free(t);
    free(u);
    free(v);
    free(x);
}

START_TEST(random_matrices)
{
    static const int64_t shapes[][2] = {{1, 1},   {3, 3},  {5, 2},    {2, 5},  {1, 7},
                                        {7, 1},   {0, 3},  {3, 0},    {0, 0},  {40, 25},
                                        {25, 40}, {60, 3}, {100, 50}, {90, 90}};
    double *a = doubles(ROOM), *values = doubles(ROOM);
    nb_rng r = nb_rng_seed(6);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (nb_dtype d = NB_F64; d <= NB_F32; d++)
            for (int scale = -1; scale <= 1; scale++) {
                const int64_t m = shapes[i][0], n = shapes[i][1];
                fill(a, m * n, &r);
                for (int64_t j = 0; j < m * n; j++)
                    a[j] = ldexp(a[j], scale * (d == NB_F64 ? 1000 : 100));
                hold_svd(m, n, a, d, values);
            }
    free(a);
    free(values);
}
END_TEST

/* Products of thin matrices, copies of one column, zeros: U and V are orthonormal all the same. */
START_TEST(deficient_matrices)
{
    double *a = doubles(ROOM), *values = doubles(ROOM), x[40], y[40];
    nb_rng r = nb_rng_seed(7);
    for (int rank = 0; rank < 4; rank++)
        for (int z = 0; z < 3; z++) {
            const int64_t m = z == 1 ? 9 : 20, n = z == 2 ? 9 : 20;
            memset(a, 0, (size_t)(m * n) * sizeof *a);
            for (int l = 0; l < rank; l++) {
                fill(x, m, &r);
                fill(y, n, &r);
                for (int64_t i = 0; i < m * n; i++)
                    a[i] += x[i / n] * y[i % n];
            }
            hold_svd(m, n, a, NB_F64, values);
            ck_assert_double_le(most(9 - rank, values + rank), 100 * DBL_EPSILON);
            ck_assert(rank == 0 || values[rank - 1] > 0.01);
        }
    for (int64_t i = 0; i < 36; i++)
        a[i] = (double)(i / 6);
    hold_svd(6, 6, a, NB_F64, values);
    ck_assert_double_eq_tol(values[0], sqrt(6 * 55), 1e-13);
    free(a);
    free(values);
}
END_TEST

/* A well-conditioned matrix with columns scaled by 1, 1e-10, 1e-20: the values have all digits. The
 * product of the values is |det|, and each is near the distance of a column from those before it. */
START_TEST(graded_matrices)
{
    static const double b[9] = {1, 0, 1, 1, 1, 0, 0, 1, 1}, d[3] = {1, 1e-10, 1e-20};
    double a[9], values[3];
    for (int i = 0; i < 9; i++)
        a[i] = b[i] * d[i % 3];
    hold_svd(3, 3, a, NB_F64, values);
    ck_assert_double_eq_tol(values[0] / sqrt(2), 1, 1e-15);
    ck_assert_double_eq_tol(values[1] / (sqrt(1.5) * 1e-10), 1, 1e-14);
    ck_assert_double_eq_tol(values[2] / (2e-20 / sqrt(3)), 1, 1e-14);
    static const double tiny[4] = {1, 0, 0, 1e-300};
    hold_svd(2, 2, tiny, NB_F64, values);
    ck_assert_double_eq(values[0], 1);
    ck_assert_double_eq(values[1], 0);
}
END_TEST

/* Of the sum of squares 2 A; of the sum, at a matrix with orthonormal columns, that matrix; at 0, a
 * kink, 0. The sum of squares has the Hessian 2 I. */
START_TEST(gradients)
{
    nb_tape *t = tape_of(NB_F64);
    double x[12] = {1, 2, 3, -4, 5, 6, 7, 8, -9, 1, 0, 2}, got[12], h[36];
    nb_var a = nb_tensor(t, "a", NB_SHAPE(4, 3), x);
    ck_assert_int_eq(nb_backward(nb_sum(nb_square(nb_svdvals(a)))), NB_OK);
    nb_read_grad(a, got, 12);
    for (int i = 0; i < 12; i++)
        ck_assert_double_eq_tol(got[i], 2 * x[i], 1e-13);
    nb_var q = nb_tensor(t, "q", NB_SHAPE(3, 2), (double[]){.6, 0, 0, 1, -.8, 0});
    ck_assert_int_eq(nb_backward(nb_sum(nb_svdvals(q))), NB_OK);
    nb_read_grad(q, got, 6);
    nb_read(q, x, 6);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq_tol(got[i], x[i], 1e-15);
    nb_var zero = nb_leaf("zero", nb_zeros(t, NB_SHAPE(3, 2)));
    ck_assert_int_eq(nb_backward(nb_sum(nb_svdvals(zero))), NB_OK);
    nb_read_grad(zero, got, 6);
    ck_assert_double_eq(most(6, got), 0);
    nb_var b = nb_tensor(t, "b", NB_SHAPE(2, 3), (double[]){1, 2, 3, 4, 5, 7});
    ck_assert_int_eq(nb_hessian(nb_sum(nb_square(nb_svdvals(b))), 1, &b, h), NB_OK);
    for (int i = 0; i < 36; i++)
        ck_assert_double_eq_tol(h[i], i % 7 ? 0 : 2, 1e-12);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("svd");
    tcase_add_test(c, random_matrices);
    tcase_add_test(c, deficient_matrices);
    tcase_add_test(c, graded_matrices);
    tcase_add_test(c, gradients);
    return run_case("svd", c);
}
