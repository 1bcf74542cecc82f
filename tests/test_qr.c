/*
 * QR: Q's columns are orthonormal and R is a triangle with no negative number on its diagonal,
 * whatever the matrix, and their product is the matrix to within a few n eps. R' R = A' A gives
 * closed forms for derivatives; the rest of them is the laws' affair.
 */
#include "counting.h"
#include "decomposed.h"

/* Leaves r [n n]. */
static void hold_qr(int64_t m, int64_t n, const double *a, nb_dtype d, double *r)
{
    nb_tape *t = tape_of(d);
    double *q = doubles(m * n), *x = doubles(m * n), *turned = doubles(n * n), below = 0;
    nb_var in = nb_tensor(t, "a", NB_SHAPE(m, n), a), first, second;
    ck_assert_msg(nb_qr(in, &first, &second) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(first), NB_SHAPE(m, n)));
    ck_assert(nb_shape_equal(nb_shape_of(second), NB_SHAPE(n, n)));
    read_all(in, x);
    read_all(first, q);
    read_all(second, r);
    for (int64_t i = 0; i < n * n; i++)
        turned[i % n * n + i / n] = r[i];
    const double room = 2 * (double)(m + 1) * unit_of(d);
    ck_assert_double_le(residual(m, n, n, x, q, NULL, turned), room * most(n * n, r));
    ck_assert_double_le(skewness(m, n, q), room);
    for (int64_t i = 0; i < n; i++) {
        below = fmax(below, most(i, r + i * n));
        ck_assert(r[i * n + i] >= 0 && !signbit(r[i * n + i]));
    }
    ck_assert_double_eq(below, 0);
    nb_tape_free(t);
    free(q);
    free(x);
    free(turned);
}

START_TEST(random_matrices)
{
    static const int64_t shapes[][2] = {{1, 1}, {2, 2},  {5, 1},   {7, 3},    {3, 0},
                                        {0, 0}, {30, 8}, {64, 64}, {100, 100}};
    double *a = doubles(ROOM), *r = doubles(ROOM);
    nb_rng g = nb_rng_seed(2);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (nb_dtype d = NB_F64; d <= NB_F32; d++)
            for (int scale = -1; scale <= 1; scale++) {
                const int64_t m = shapes[i][0], n = shapes[i][1];
                fill(a, m * n, &g);
                for (int64_t j = 0; j < m * n; j++)
                    a[j] = ldexp(a[j], scale * (d == NB_F64 ? 1000 : 100));
                hold_qr(m, n, a, d, r);
            }
    free(a);
    free(r);
}
END_TEST

/* Zeros, equal columns, powers of ten by column: no division by a small number anywhere. */
START_TEST(hard_matrices)
{
    double a[36], r[36];
    memset(a, 0, sizeof a);
    hold_qr(6, 6, a, NB_F64, r);
    ck_assert_double_eq(most(36, r), 0);
    for (int i = 0; i < 36; i++)
        a[i] = i / 6 + 1;
    hold_qr(6, 6, a, NB_F64, r);
    ck_assert_double_eq_tol(r[0], sqrt(91), 1e-14);
    ck_assert_double_le(most(30, r + 6), 1e-14);
    nb_rng g = nb_rng_seed(8);
    fill(a, 36, &g);
    for (int i = 0; i < 36; i++)
        a[i] *= pow(10, -8 * (i % 6));
    hold_qr(6, 6, a, NB_F64, r);
}
END_TEST

/* [3 1; 4 2]: R = [5 2.2; 0 .4], Q = [.6 -.8; .8 .6]. */
START_TEST(by_hand)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var a = nb_tensor(t, "a", NB_SHAPE(2, 2), (double[]){3, 1, 4, 2}), q, r;
    static const double due_q[] = {.6, -.8, .8, .6}, due_r[] = {5, 2.2, 0, .4};
    double got[4];
    ck_assert_int_eq(nb_qr(a, &q, &r), NB_OK);
    read_all(q, got);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(got[i], due_q[i], 4 * DBL_EPSILON);
    read_all(r, got);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(got[i], due_r[i], 8 * DBL_EPSILON);
    nb_tape_free(t);
}
END_TEST

/* |R|^2 = |A|^2: gradient 2 A, Hessian 2 I. Sum of log of R's diagonal: half of log det A' A, whose
 * gradient is A (A' A)^-1; of Q alone, <Q, C> is blind to the length of A: <A, gradient> = 0. */
START_TEST(gradients)
{
    nb_tape *t = tape_of(NB_F64);
    double x[6] = {1, 2, -3, 4, 5, 7}, g[6], due[6], h[36], inner = 0;
    nb_var a = nb_tensor(t, "a", NB_SHAPE(3, 2), x), q, r;
    nb_qr(a, &q, &r);
    ck_assert_int_eq(nb_backward(nb_sum(nb_square(r))), NB_OK);
    nb_read_grad(a, g, 6);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq_tol(g[i], 2 * x[i], 1e-13);
    ck_assert_int_eq(nb_backward(nb_sum(nb_log(nb_diagonal(r, 0)))), NB_OK);
    nb_read_grad(a, g, 6);
    read_all(nb_matmul(a, nb_inverse(nb_matmul_t(a, true, a, false))), due);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq_tol(g[i], due[i], 1e-14);
    ck_assert_int_eq(nb_backward(nb_sum(nb_mul(q, nb_detach(nb_exp(a))))), NB_OK);
    nb_read_grad(a, g, 6);
    for (int i = 0; i < 6; i++)
        inner += g[i] * x[i];
    ck_assert_double_ge(most(6, g), 1);
    ck_assert_double_le(fabs(inner), 1e-10);
    ck_assert_int_eq(nb_hessian(nb_sum(nb_square(r)), 1, &a, h), NB_OK);
    for (int i = 0; i < 36; i++)
        ck_assert_double_eq_tol(h[i], i % 7 ? 0 : 2, 1e-12);
    nb_tape_free(t);
}
END_TEST

static void refused(nb_tape *t, nb_code code, const char *part)
{
    ck_assert_int_eq(nb_status(t), code);
    ck_assert_msg(strstr(nb_message(t), part) != NULL, "%s", nb_message(t));
    nb_clear(t);
}

/* Bad shapes; a gradient where there is none; a NaN, which stays within its matrix. */
START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var q, r;
    ck_assert_int_eq(nb_qr(nb_ones(t, NB_SHAPE(2, 3)), &q, &r), NB_ERR_SHAPE);
    ck_assert(!nb_ok(q) && !nb_ok(r));
    refused(t, NB_ERR_SHAPE, "qr: the matrix has more columns than rows");
    ck_assert_int_eq(nb_qr(nb_ones(t, NB_SHAPE(2)), &q, &r), NB_ERR_SHAPE);
    refused(t, NB_ERR_SHAPE, "qr: needs a matrix");
    ck_assert_int_eq(nb_qr(nb_zeros(t, NB_SHAPE(0, INT64_MAX, INT64_MAX)), &q, &r),
                     NB_ERR_OVERFLOW);
    refused(t, NB_ERR_OVERFLOW, "overflows");
    nb_var a = nb_leaf("a", nb_zeros(t, NB_SHAPE(3, 2)));
    ck_assert_int_eq(nb_qr(a, &q, &r), NB_OK);
    ck_assert_int_eq(nb_backward(nb_sum(r)), NB_ERR_SINGULAR);
    refused(t, NB_ERR_SINGULAR, "pivot 0");
    double got[12];
    nb_var b = nb_tensor(t, "b", NB_SHAPE(2, 2, 1), (double[]){3, 4, (double)NAN, 1});
    ck_assert_int_eq(nb_qr(b, NULL, &r), NB_OK);
    read_all(r, got);
    ck_assert(got[0] == 5 && isnan(got[1]));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("qr");
    tcase_add_test(c, random_matrices);
    tcase_add_test(c, hard_matrices);
    tcase_add_test(c, by_hand);
    tcase_add_test(c, gradients);
    tcase_add_test(c, what_is_refused);
    return run_case("qr", c);
}
