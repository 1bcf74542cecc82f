/*
 * Derivatives of the operations on matrices, against closed forms: gradients at the second
 * difference (tridiagonal with -1, 2, -1, of determinant n + 1 and known inverse), Hessians of
 * logdet and of a Cholesky factor, every derivative of the functions that matrices of one element
 * are; and determinants at singular matrices of whole numbers, whose minors are sums of a few
 * products, so that cofactors and their derivatives are known at every rank.
 */
#include "algebra.h"

/* ---- where there is an inverse ----------------------------------------------------------------------------- */

/* With Y = A^-1, known: d sum(C o A^-1 B) = -Y' C X' and Y' C; d logdet = Y'; d det = det Y'. */
START_TEST(gradients_at_the_second_difference)
{
    const int n = 70, m = 5;
    nb_tape *t = tape_of(NB_F64);
    second_difference(n);
    fill(b, n * m, 8);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(n, n), a), B = nb_tensor(t, "b", NB_SHAPE(n, m), b);
    nb_var C = nb_sin(nb_detach(B));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            due[i * n + j] = (double)((i < j ? i : j) + 1) * (n - (i < j ? j : i)) / (n + 1);
    nb_var Y = nb_constant_tensor(t, NB_SHAPE(n, n), due), X = nb_matmul(Y, nb_detach(B));
    slopes(nb_logdet(A), A, due, 1e-13);
    slopes(nb_cholesky_logdet(nb_cholesky(A)), A, due, 1e-13);
    for (int i = 0; i < n * n; i++)
        due[i] *= n + 1;
    slopes(nb_det(A), A, due, 1e-13);
    nb_var W = nb_matmul(Y, C), f = nb_sum(nb_mul(C, nb_solve(A, B)));
    get(W, due);
    slopes(f, B, due, 1e-13);
    get(nb_neg(nb_matmul_t(W, false, X, true)), due);
    slopes(f, A, due, 1e-13);
    slopes(nb_sum(nb_mul(C, nb_matmul(nb_inverse(A), B))), A, due, 1e-13);
    nb_var whole = nb_matmul_t(W, false, X, true);
    get(nb_mul(-0.5, nb_add(whole, nb_transpose(whole))), due); /* through the symmetric part */
    slopes(nb_sum(nb_mul(C, nb_cholesky_solve(nb_cholesky(A), B))), A, due, 1e-13);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
}
END_TEST

/* d2 logdet / dA[i,j] dA[k,l] = -Y[j,k] Y[l,i]. */
START_TEST(hessian_of_logdet)
{
    enum { N = 4, M = N * N };
    static double H[M * M];
    nb_tape *t = tape_of(NB_F64);
    second_difference(N);
    a[3] = 0.5; /* not symmetric */
    nb_var A = nb_tensor(t, "a", NB_SHAPE(N, N), a);
    get(nb_inverse(A), x);
    for (int p = 0; p < M; p++)
        for (int q = 0; q < M; q++)
            due[p * M + q] = -x[p % N * N + q / N] * x[q % N * N + p / N];
    ck_assert_int_eq(nb_hessian(nb_logdet(A), 1, &A, H), NB_OK);
    same(H, due, M * M, 1e-14);
    nb_tape_free(t);
}
END_TEST

/* 1 x 1, where inverse is 1/a, cholesky sqrt a, and so on: three derivatives of each. */
START_TEST(one_by_one)
{
    const double v = 1.7;
    nb_tape *t = tape_of(NB_F64);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(1, 1), &v), b1 = nb_full(t, NB_SHAPE(1), 3);
    const struct {
        nb_var y;
        double due[4];
    } list[] = {
        {nb_inverse(A), {1 / v, -1 / (v * v), 2 / pow(v, 3), -6 / pow(v, 4)}},
        {nb_solve(A, b1), {3 / v, -3 / (v * v), 6 / pow(v, 3), -18 / pow(v, 4)}},
        {nb_solve_triangular(A, b1, NB_UPPER),
         {3 / v, -3 / (v * v), 6 / pow(v, 3), -18 / pow(v, 4)}},
        {nb_cholesky(A), {sqrt(v), 0.5 / sqrt(v), -0.25 * pow(v, -1.5), 0.375 * pow(v, -2.5)}},
        {nb_logdet(A), {log(v), 1 / v, -1 / (v * v), 2 / pow(v, 3)}},
        {nb_det(A), {v, 1, 0, 0}},
        {nb_solve_triangular(A, b1, NB_UNIT), {3, 0, 0, 0}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        nb_var d = list[i].y;
        for (int order = 0; order < 4; order++, d = nb_derivative(d, A))
            ck_assert_msg(fabs(nb_value(nb_sum(d)) - list[i].due[order]) < 1e-14,
                          "case %d, order %d: %.17g", (int)i, order, nb_value(nb_sum(d)));
    }
    nb_tape_free(t);
}
END_TEST

/* L = [p 0; q r] with p = sqrt a, q = b / p, r = sqrt(c - q^2): its Hessian's entries for r, where
 * r^2 = c - b^2/a =: s. As the symmetric part is read, a[0][1] and a[1][0] have half of b each. */
START_TEST(cholesky_of_order_two)
{
    const double A0[] = {2, 1.2, 1.2, 3}, pa = A0[0], pb = A0[1], pc = A0[3];
    const double s = pc - pb * pb / pa, r = sqrt(s);
    const double sa = pb * pb / (pa * pa), sb = -2 * pb / pa; /* slopes of s by a and b; by c: 1 */
    const double saa = -2 * sa / pa, sab = 2 * pb / (pa * pa), sbb = -2 / pa;
    const double d1[] = {sa, sb, 1}, d2[3][3] = {{saa, sab, 0}, {sab, sbb, 0}, {0, 0, 0}};
    static const int part[] = {0, 1, 1, 2};
    double H[16];
    nb_tape *t = tape_of(NB_F64);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(2, 2), A0), f = nb_at(nb_cholesky(A), 1, 1);
    for (int p = 0; p < 4; p++)
        for (int q = 0; q < 4; q++) {
            const int i = part[p], j = part[q];
            const double half = (i == 1 ? 0.5 : 1) * (j == 1 ? 0.5 : 1);
            due[p * 4 + q] = half * (d2[i][j] / (2 * r) - d1[i] * d1[j] / (4 * s * r));
        }
    ck_assert_int_eq(nb_hessian(f, 1, &A, H), NB_OK);
    same(H, due, 16, 1e-14);
    nb_tape_free(t);
}
END_TEST

/* ---- determinants of singular matrices ------------------------------------------------------- */

enum { N4 = 4, M4 = 16 };

/* The determinant of what is left of a 4 x 4 matrix without the rows and columns marked. */
static double minor_of(const double *m, unsigned rows, unsigned columns)
{
    double sum = 0, sign = 1;
    int i = 0;
    while (i < N4 && rows & 1U << i)
        i++;
    if (i == N4)
        return 1;
    for (int j = 0; j < N4; j++)
        if (!(columns & 1U << j)) {
            sum += sign * m[i * N4 + j] * minor_of(m, rows | 1U << i, columns | 1U << j);
            sign = -sign;
        }
    return sum;
}

/* d2 det / dm[i,j] dm[k,l], by laying out along both rows. */
static double second_minor(const double *m, int i, int j, int k, int l)
{
    if (i == k || j == l)
        return 0;
    const bool odd = (i + j + k + l + (k < i) + (l < j)) % 2;
    const double v = minor_of(m, 1U << i | 1U << k, 1U << j | 1U << l);
    return odd ? -v : v;
}

static const double by_rank[][M4] = {
    {0}, /* 0 */
    {1, 2, 3, 4, 2, 4, 6, 8, -1, -2, -3, -4, 3, 6, 9, 12},
    {1, 2, 3, 4, 0, 1, -1, 2, 1, 3, 2, 6, 2, 5, 5, 10},
    {1, 2, 3, 4, 0, 1, -1, 2, 5, 0, 2, 1, 1, 3, 2, 6}, /* 3 */
    {1, 2, 3, 4, 0, 1, -1, 2, 5, 0, 2, 1, 1, 3, 2, -7},
};

/* |got - exact| <= tol times the largest product of so many elements of m. */
static void near(const double *got, const double *exact, int n, const double *m, int factors)
{
    double most = 0;
    for (int i = 0; i < M4; i++)
        most = fmax(most, fabs(m[i]));
    for (int i = 0; i < n; i++)
        ck_assert_double_le(fabs(got[i] - exact[i]), 1e-14 * pow(most, factors));
}

START_TEST(det_of_any_rank)
{
    static double H[M4 * M4];
    const double *m = by_rank[_i], det = minor_of(m, 0, 0);
    nb_tape *t = tape_of(NB_F64);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(N4, N4), m), f = nb_det(A);
    y[0] = nb_value(f);
    near(y, &det, 1, m, 4);
    for (int p = 0; p < M4; p++) {
        const int i = p / N4, j = p % N4;
        due[p] = ((i + j) % 2 ? -1 : 1) * minor_of(m, 1U << i, 1U << j);
    }
    get(nb_cofactor(A), y);
    near(y, due, M4, m, 3);
    ck_assert_msg(nb_backward(f) == NB_OK, "%s", nb_message(t));
    nb_read_grad(A, y, M4);
    near(y, due, M4, m, 3);
    for (int p = 0; p < M4; p++)
        for (int q = 0; q < M4; q++)
            due[p * M4 + q] = second_minor(m, p / N4, p % N4, q / N4, q % N4);
    ck_assert_msg(nb_hessian(f, 1, &A, H) == NB_OK, "%s", nb_message(t));
    near(H, due, M4 * M4, m, 2);
    nb_tape_free(t);
}
END_TEST

/* The third derivative of a determinant of order 3 is the sign of the two permutations. */
START_TEST(third_derivative_of_det)
{
    nb_tape *t = tape_of(NB_F64);
    static double J[9];
    nb_var A = nb_tensor(t, "a", NB_SHAPE(3, 3), (double[]){2, 1, 0, -1, 3, 1, 1, 0, 2});
    nb_var first = nb_derivative(nb_det(A), A);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            nb_var second = nb_derivative(nb_at(first, 0, i), A);
            nb_var f = nb_at(second, 1, j);
            const int k = 3 - i - j, sign = j == (i + 1) % 3 ? 1 : -1;
            ck_assert_int_eq(nb_jacobian(1, &f, 1, &A, NB_JACOBIAN_REVERSE, J), NB_OK);
            for (int q = 0; q < 9; q++)
                due[q] = i != j && q == 6 + k ? sign : 0;
            for (int q = 0; q < 9; q++)
                ck_assert_double_eq_tol(J[q], due[q], 1e-14);
        }
    nb_tape_free(t);
}
END_TEST

/* The third derivative of det needs an inverse, and says so. */
START_TEST(third_derivative_of_a_singular_det)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(N4, N4), by_rank[0]);
    nb_var second = nb_derivative(nb_at(nb_derivative(nb_det(A), A), 0, 0), A);
    ck_assert(nb_ok(second));
    refused(t, nb_derivative(nb_at(second, 1, 1), A), NB_ERR_SINGULAR, "inverse");
    nb_tape_free(t);
}
END_TEST

/* A solution that a rule records uses the factors that are there: it keeps none of its own. */
START_TEST(factors_are_shared)
{
    const int64_t n = 100;
    nb_tape *t = tape_of(NB_F64);
    second_difference((int)n);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(n, n), a);
    nb_var B = nb_leaf("b", nb_ones(t, NB_SHAPE(n)));
    const size_t before = nb_tape_used(t);
    nb_var f = nb_sum(nb_square(nb_solve(A, B)));
    const size_t factors = nb_tape_used(t) - before, matrix = (size_t)(n * n) * sizeof(double);
    nb_var d = nb_derivative(nb_sum(nb_derivative(f, B)), B);
    ck_assert(nb_ok(d));
    ck_assert_uint_gt(factors, matrix);
    ck_assert_uint_lt(nb_tape_used(t) - before - factors, matrix);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("algebra_slopes");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, gradients_at_the_second_difference);
    tcase_add_test(c, hessian_of_logdet);
    tcase_add_test(c, one_by_one);
    tcase_add_test(c, cholesky_of_order_two);
    tcase_add_loop_test(c, det_of_any_rank, 0, 5);
    tcase_add_test(c, third_derivative_of_det);
    tcase_add_test(c, third_derivative_of_a_singular_det);
    tcase_add_test(c, factors_are_shared);
    return run_case("algebra_slopes", c);
}
