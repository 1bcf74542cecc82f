/*
 * Eigenvalues and what holds of singular values as well (test_svd.c has the rest): what defines them,
 * closed forms, and the points where they are hard.
 *
 * A decomposition is right if its factors have the promised form and multiply to the matrix, each to
 * within a few n eps of its size. That holds for random, graded, rank-deficient and repeated cases
 * alike; where eigenvalues or determinants are known in closed form they are held to those.
 * Derivatives are the laws' affair; here they are held at the points where laws say nothing.
 */
#include "counting.h"
#include "error_is.h"
#include "decomposed.h"

#include "kernels/spectral.h"

/* ---- eigh ------------------------------------------------------------------------------------ */

/* Decomposes a, symmetric, and leaves the values in `values`. */
static void hold_eigh(int64_t n, const double *a, nb_dtype d, double *values)
{
    nb_tape *t = tape_of(d);
    double *v = doubles(n * n), *x = doubles(n * n);
    nb_var in = nb_tensor(t, "a", NB_SHAPE(n, n), a), l, q;
    ck_assert_msg(nb_eigh(in, &l, &q) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(l), NB_SHAPE(n)));
    ck_assert(nb_shape_equal(nb_shape_of(q), NB_SHAPE(n, n)));
    read_all(in, x);
    read_all(l, values);
    read_all(q, v);
    const double room = 2 * (double)(n + 1) * unit_of(d);
    ck_assert_double_le(residual(n, n, n, x, v, values, v), room * most(n, values));
    ck_assert_double_le(skewness(n, n, v), room);
    for (int64_t i = 1; i < n; i++)
        ck_assert_double_ge(values[i], values[i - 1]);
    ck_assert(signs_hold(n, n, v));
    read_all(nb_eigvalsh(in), v);
    for (int64_t i = 0; i < n; i++)
        ck_assert_double_eq(v[i], values[i]);
    nb_tape_free(t);
    free(v);
    free(x);
}

static void make_symmetric(int64_t n, double *a)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            a[i * n + j] = a[j * n + i];
}

START_TEST(eigh_of_random_matrices)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 5, 12, 13, 14, 40, 100};
    double *a = doubles(ROOM), *values = doubles(ROOM);
    nb_rng r = nb_rng_seed(5);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (nb_dtype d = NB_F64; d <= NB_F32; d++)
            for (int scale = -1; scale <= 1; scale++) {
                const int64_t n = sizes[i];
                fill(a, n * n, &r);
                for (int64_t j = 0; j < n * n; j++)
                    a[j] = ldexp(a[j], scale * (d == NB_F64 ? 1000 : 100));
                make_symmetric(n, a);
                hold_eigh(n, a, d, values);
            }
    free(a);
    free(values);
}
END_TEST

/* 2 on the diagonal, -1 beside it: 2 - 2 cos(k pi / (n + 1)). All ones: n once, else 0. */
START_TEST(eigh_of_known_matrices)
{
    static const int64_t sizes[] = {4, 12, 20, 100};
    double *a = doubles(ROOM), *values = doubles(ROOM);
    for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++) {
        const int64_t n = sizes[z];
        const double room = 4 * (double)n * DBL_EPSILON;
        memset(a, 0, (size_t)(n * n) * sizeof *a);
        for (int64_t i = 0; i < n; i++) {
            a[i * n + i] = 2;
            if (i)
                a[i * n + i - 1] = a[(i - 1) * n + i] = -1;
        }
        hold_eigh(n, a, NB_F64, values);
        for (int64_t k = 0; k < n; k++)
            ck_assert_double_eq_tol(values[k],
                                    2 - 2 * cos((double)(k + 1) * M_PI / (double)(n + 1)), room);
        for (int64_t i = 0; i < n * n; i++)
            a[i] = 1;
        hold_eigh(n, a, NB_F64, values);
        for (int64_t k = 0; k < n; k++)
            ck_assert_double_eq_tol(values[k], k + 1 == n ? (double)n : 0, (double)n * room);
        for (int64_t i = 0; i < n * n; i++)
            a[i] = i % (n + 1) == 0;
        hold_eigh(n, a, NB_F64, values);
        for (int64_t k = 0; k < n; k++)
            ck_assert_double_eq(values[k], 1);
        memset(a, 0, (size_t)(n * n) * sizeof *a);
        hold_eigh(n, a, NB_F64, values);
        ck_assert_double_eq(most(n, values), 0);
    }
    free(a);
    free(values);
}
END_TEST

/* D M D with D = diag(1, 1e-8, 1e-16), M = [1 .5 0; .5 1 .5; 0 .5 1]: positive definite, and its small
 * eigenvalues are as well determined as its large one. Their product is det M = 1/2 times det D^2;
 * the leading minors say that they are near 1, .75e-16 and 2/3 e-32. */
START_TEST(eigh_of_a_graded_matrix)
{
    static const double m[9] = {1, .5, 0, .5, 1, .5, 0, .5, 1}, d[3] = {1, 1e-8, 1e-16};
    double a[9], values[3];
    for (int i = 0; i < 9; i++)
        a[i] = m[i] * d[i / 3] * d[i % 3];
    hold_eigh(3, a, NB_F64, values);
    ck_assert_double_eq_tol(values[2], 1, 1e-15);
    ck_assert_double_eq_tol(values[1] / .75e-16, 1, 1e-14);
    ck_assert_double_eq_tol(values[0] / (2e-32 / 3), 1, 1e-14);
    static const double b[4] = {1, .5e-16, .5e-16,
                                1e-32}; /* negligible beside 1, but not beside both */
    hold_eigh(2, b, NB_F64, values);
    ck_assert_double_eq(values[1], 1);
    ck_assert_double_eq_tol(values[0] / .75e-32, 1, 1e-15);
}
END_TEST

/* Only the symmetric part counts, and the gradient is symmetric: of the sum of all values I, of the
 * sum of their squares 2 S, at repeated values as well. */
START_TEST(eigh_gradients)
{
    nb_tape *t = tape_of(NB_F64);
    double got[9], h[81];
    nb_var a = nb_tensor(t, "a", NB_SHAPE(3, 3), (double[]){2, 1, 5, -1, 2, 0, -5, 0, 2}), l, v;
    ck_assert_int_eq(nb_eigh(a, &l, &v), NB_OK);
    read_all(l, got);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq(got[i], 2);
    ck_assert_int_eq(nb_backward(nb_sum(nb_square(l))), NB_OK);
    nb_read_grad(a, got, 9);
    for (int i = 0; i < 9; i++)
        ck_assert_double_eq_tol(got[i], i % 4 ? 0 : 4, 1e-15);
    ck_assert_int_eq(nb_backward(nb_sum(v)), NB_OK); /* equal values pull at no vector */
    nb_read_grad(a, got, 9);
    ck_assert_double_eq(most(9, got), 0);

    /* sum of squares: the Hessian maps dA to 2 (dA + dA') / 2 */
    nb_var b = nb_tensor(t, "b", NB_SHAPE(3, 3), (double[]){1, 0, 0, 1, 3, 0, 0, 1, 7});
    ck_assert_int_eq(nb_hessian(nb_sum(nb_square(nb_eigvalsh(b))), 1, &b, h), NB_OK);
    for (int i = 0; i < 9; i++)
        for (int j = 0; j < 9; j++)
            ck_assert_double_eq_tol(h[9 * i + j], (i == j) + (i / 3 == j % 3 && i % 3 == j / 3),
                                    1e-13);
    nb_tape_free(t);
}
END_TEST

/* ---- with svd -------------------------------------------------------------------------------- */

/* Values 1, 1, 1, 2 with the space of the first three turned: they come out equal but for rounding, and
 * no derivative is divided by that rounding. The same for the singular values. */
START_TEST(gaps_of_rounding_size)
{
    nb_tape *t = tape_of(NB_F64);
    nb_rng r = nb_rng_seed(12);
    double x[16], l[4];
    nb_var q, s, v, u;
    nb_qr(nb_normal(t, NB_SHAPE(4, 4), 0, 1, &r), &q, NULL);
    nb_var d = nb_constant_tensor(t, NB_SHAPE(4), (double[]){1, 1, 1, 2});
    nb_var a = nb_leaf("a", nb_einsum("ij,j,kj->ik", q, d, q)), m;
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            nb_eigh(a, &s, &v);
        else
            nb_svd(a, &u, &s, &v);
        read_all(s, l); /* 1 1 1 2, or 2 1 1 1; not exactly, or there is nothing to test */
        ck_assert(l[1] != l[2] || l[i ? 3 : 0] != l[1]);
        m = nb_mul(v, nb_detach(nb_square(v)));
        ck_assert_int_eq(nb_backward(nb_sum(m)), NB_OK);
        nb_read_grad(a, x, 16);
        ck_assert_double_le(most(16, x), 10);
        ck_assert_double_ge(most(16, x), 0.01);
    }
    nb_tape_free(t);
}
END_TEST

/* ---- all of them ----------------------------------------------------------------------------- */

/* In a batch one matrix holds a NaN or an infinity: it alone is lost, and that quickly. */
START_TEST(what_is_not_finite)
{
    static const double bad[] = {(double)NAN, (double)INFINITY};
    for (int i = 0; i < 2; i++) {
        nb_tape *t = tape_of(NB_F64);
        double got[8];
        nb_var a = nb_tensor(t, "a", NB_SHAPE(2, 2, 2), (double[]){3, 0, 0, bad[i], 3, 0, 0, 5}), v;
        nb_eigh(a, &v, NULL);
        read_all(v, got);
        ck_assert(isnan(got[0]) && isnan(got[1]) && got[2] == 3 && got[3] == 5);
        read_all(nb_svdvals(a), got);
        ck_assert(isnan(got[0]) && isnan(got[1]) && got[2] == 5 && got[3] == 3);
        ck_assert_int_eq(nb_backward(nb_sum(v)), NB_OK);
        nb_read_grad(a, got, 8);
        ck_assert(isnan(got[0]) && isnan(got[3]) && got[4] == 1 && got[5] == 0);
        ck_assert_int_eq(nb_status(t), NB_OK);
        nb_tape_free(t);
    }
}
END_TEST

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var a = nb_ones(t, NB_SHAPE(2, 3)), v = nb_ones(t, NB_SHAPE(3)), s = nb_input(t, "s", 1);
    nb_var x = v, y = v, z = v;
    refused(t, nb_eigvalsh(a), NB_ERR_SHAPE, "eigh: the matrix is not square");
    refused(t, nb_eigvalsh(a), NB_ERR_SHAPE, "a has 2 rows and 3 columns");
    refused(t, nb_eigvalsh(v), NB_ERR_SHAPE, "eigh: needs a matrix");
    refused(t, nb_eigvalsh(s), NB_ERR_SHAPE, "eigh: needs a matrix");
    refused(t, nb_svdvals(v), NB_ERR_SHAPE, "svd: needs a matrix");
    ck_assert_int_eq(nb_eigh(a, &x, &y), NB_ERR_SHAPE);
    ck_assert(!nb_ok(x) && !nb_ok(y));
    nb_clear(t);
    ck_assert_int_eq(nb_svd(s, &x, &y, &z), NB_ERR_SHAPE);
    ck_assert(!nb_ok(x) && !nb_ok(y) && !nb_ok(z));
    nb_clear(t);
    ck_assert_int_ne(nb_eigh(NB_NONE, &x, &y), NB_OK);
    nb_var huge = nb_zeros(t, NB_SHAPE(0, INT64_MAX, INT64_MAX));
    refused(t, nb_eigvalsh(huge), NB_ERR_OVERFLOW, "overflows");
    refused(t, nb_svdvals(huge), NB_ERR_OVERFLOW, "overflows");
    ck_assert_double_eq(nb_value(nb_sum(nb_eigvalsh(nb_eye(t, 3, 3)))), 3);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* Iterations end, also where they are not done. */
START_TEST(limits)
{
    static const double a[9] = {2, 1, .5, 1, 3, 1, .5, 1, 4};
    double x[9], values[3], v[9], work[6];
    for (int limit = 0; limit < 2; limit++) {
        memcpy(x, a, sizeof x);
        ck_assert(!nbi_eigh_jacobi(3, x, values, v, limit));
        memcpy(x, a, sizeof x);
        ck_assert(!nbi_eigh_shifted(3, x, values, v, work, limit));
        memcpy(x, a, sizeof x);
        ck_assert(!nbi_svd(3, 3, x, values, v, limit));
    }
    double one[3], two[3];
    memcpy(x, a, sizeof x);
    ck_assert(nbi_eigh_jacobi(3, x, one, v, NBI_ROUNDS));
    memcpy(x, a, sizeof x);
    ck_assert(nbi_eigh_shifted(3, x, two, v, work, NBI_ROUNDS));
    for (int i = 0; i < 3; i++) { /* in whatever order */
        double gap = HUGE_VAL;
        for (int j = 0; j < 3; j++)
            gap = fmin(gap, fabs(one[i] - two[j]));
        ck_assert_double_le(gap, 8 * DBL_EPSILON);
    }
}
END_TEST

/* No memory at any one point: an error that says so, and afterwards all goes well. */
static nb_var everything(nb_tape *t)
{
    double x[400];
    nb_rng r = nb_rng_seed(1);
    fill(x, 400, &r);
    nb_var a = nb_tensor(t, "a", NB_SHAPE(20, 20), x), l, u, s, v;
    nb_eigh(a, &l, &v);
    nb_var f = nb_add(nb_sum(l), nb_sum(v));
    nb_svd(a, &u, &s, &v);
    f = nb_add(f, nb_einsum("ij,j,kj->", u, s, v));
    nb_backward(f);
    return f;
}

START_TEST(no_memory)
{
    nb_tape *t = tape_of(NB_F64);
    const double due = nb_value(everything(t));
    nb_tape_free(t);
    bool through = false;
    for (size_t k = 1; !through; k++) {
        counting c = {.refuse = k};
        t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 4, .bytes = 64});
        if (!t)
            continue;
        nb_var f = everything(t);
        through = c.refusals == 0;
        if (nb_status(t) == NB_OK)
            ck_assert_double_eq(nb_value(f), due);
        else
            ck_assert_int_eq(nb_status(t), NB_ERR_MEMORY);
        c.refuse = 0;
        nb_clear(t);
        ck_assert_double_eq(nb_value(everything(t)), due);
        ck_assert_int_eq(nb_status(t), NB_OK);
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("decompositions");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, eigh_of_random_matrices);
    tcase_add_test(c, eigh_of_known_matrices);
    tcase_add_test(c, eigh_of_a_graded_matrix);
    tcase_add_test(c, eigh_gradients);
    tcase_add_test(c, gaps_of_rounding_size);
    tcase_add_test(c, what_is_not_finite);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, limits);
    tcase_add_test(c, no_memory);
    return run_case("spectral", c);
}
