/*
 * Matrix calculus by factorisations: values against closed forms and residuals, what is refused and
 * how it reads, empty matrices, NaN, and memory that runs out. Derivatives are in
 * test_algebra_slopes.c.
 *
 * The matrices are ones of which everything is known: Hilbert's, badly conditioned, with an inverse
 * of whole numbers; Pascal's, whose Cholesky factor are binomials; and random ones, whose solutions
 * are put into their equations.
 */
#include "algebra.h"

/* ---- values ---------------------------------------------------------------------------------- */

/* max |op(A) X - B|, of matrices [n n] and [n m]. */
static double residual(int64_t n, int64_t m, const double *A, const double *X, const double *B)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = -B[i * m + j];
            for (int64_t k = 0; k < n; k++)
                sum += A[i * n + k] * X[k * m + j];
            worst = fmax(worst, fabs(sum));
        }
    return worst;
}

/* At orders on both sides of every switch in the kernels. */
START_TEST(solutions_solve)
{
    static const int64_t order[] = {1, 7, 8, 9, 63, 64, 65, 128, 150}, width[] = {1, 2, 5, 64, 100};
    for (int i = 0; i < 9; i++)
        for (int w = 0; w < 5; w++) {
            const int64_t n = order[i], m = width[w];
            nb_tape *t = tape_of(NB_F64);
            fill(a, n * n, 1);
            fill(b, n * m, 2);
            for (int64_t k = 0; k < n; k++) /* large, and off the diagonal: rows are exchanged */
                a[k * n + (k + n / 2) % n] += (double)n;
            nb_var A = nb_tensor(t, "a", NB_SHAPE(n, n), a);
            nb_var B = nb_tensor(t, "b", NB_SHAPE(n, m), b);
            get(nb_solve(A, B), x);
            double worst = residual(n, m, a, x, b);
            ck_assert_msg(worst < 1e-15 * (double)(n + 8), "n %d, m %d: %g", (int)n, (int)m, worst);
            get(nb_inverse(A), x);
            for (int64_t k = 0; k < n * n; k++)
                due[k] = k % (n + 1) == 0;
            worst = residual(n, n, a, x, due);
            ck_assert_msg(worst < 1e-15 * (double)(n + 8), "n %d: %g", (int)n, worst);
            nb_tape_free(t);
        }
}
END_TEST

/* L L' and a solution with it, at the same orders; its upper triangle is 0. */
START_TEST(cholesky_gives_back)
{
    for (nb_dtype d = NB_F64; d <= NB_F32; d++)
        for (int64_t n = 1; n < 140; n += n < 10 ? 1 : 53) {
            const double u = d == NB_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
            nb_tape *t = tape_of(d);
            fill(a, n * n, 3);
            fill(b, n * 5, 4);
            nb_var r = nb_tensor(t, "r", NB_SHAPE(n, n), a),
                   B = nb_tensor(t, "b", NB_SHAPE(n, 5), b);
            nb_var A = nb_add(nb_matmul_t(r, false, r, true), nb_mul((double)n, nb_eye(t, n, n)));
            nb_var L = nb_cholesky(A);
            get(A, due);
            holds(nb_matmul_t(L, false, L, true), due, 8 * u);
            ck_assert_double_eq(nb_value(nb_norm(nb_upper(L, 1))), 0);
            get(nb_solve(A, B), due);
            holds(nb_cholesky_solve(L, B), due, 16 * u);
            get(nb_logdet(A), due);
            holds(nb_cholesky_logdet(L), due, 16 * u);
            nb_tape_free(t);
        }
}
END_TEST

/* On floats the solution is that of doubles, rounded: Hilbert's matrix of order 5, condition 5e5. */
START_TEST(floats_are_as_good_as_floats_can_be)
{
    const int n = 5;
    nb_tape *f = tape_of(NB_F32), *t = tape_of(NB_F64);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            a[i * n + j] = (double)(1 / (float)(1 + i + j));
    fill(b, n * n, 5);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(n, n), a), B = nb_tensor(t, "b", NB_SHAPE(n, n), b);
    nb_var F = nb_tensor(f, "a", NB_SHAPE(n, n), a), G = nb_tensor(f, "b", NB_SHAPE(n, n), b);
    get(nb_solve(A, B), due);
    get(nb_solve(F, G), x);
    for (int i = 0; i < n * n; i++)
        ck_assert_double_le(fabs(x[i] - due[i]), (double)FLT_EPSILON * fabs(due[i]));
    ck_assert_double_eq(nb_value(nb_det(F)), nb_value(nb_det(A)));
    nb_tape_free(f);
    nb_tape_free(t);
}
END_TEST

static double binomial(int n, int k)
{
    double c = 1;
    for (int i = 1; i <= k; i++)
        c = c * (n - k + i) / i;
    return c;
}

/* Inverse of Hilbert's matrix: (-1)^(i+j) (i+j+1) C(n+i, n-j-1) C(n+j, n-i-1) C(i+j, i)^2. */
START_TEST(hilbert)
{
    const int n = 6;
    nb_tape *t = tape_of(NB_F64);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const double c = binomial(i + j, i), sign = (i + j) % 2 ? -1 : 1;
            a[i * n + j] = 1 / (double)(1 + i + j);
            due[i * n + j] = sign * (i + j + 1) * binomial(n + i, n - j - 1) *
                             binomial(n + j, n - i - 1) * c * c;
        }
    nb_var A = nb_tensor(t, "hilbert", NB_SHAPE(n, n), a), eye = nb_eye(t, n, n);
    const double bound = 1.5e7 * DBL_EPSILON; /* its condition number, times the unit */
    holds(nb_inverse(A), due, bound);
    holds(nb_solve(A, eye), due, bound);
    holds(nb_cholesky_solve(nb_cholesky(A), eye), due, bound);
    const double det = 1.0 / 186313420339200000.0;
    ck_assert_double_eq_tol(nb_value(nb_det(A)) / det, 1, bound);
    ck_assert_double_eq_tol(nb_value(nb_logdet(A)), log(det), bound);
    nb_tape_free(t);
}
END_TEST

START_TEST(pascal)
{
    const int n = 12;
    nb_tape *t = tape_of(NB_F64);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            a[i * n + j] = binomial(i + j, i);
            due[i * n + j] = j <= i ? binomial(i, j) : 0;
        }
    nb_var A = nb_tensor(t, "pascal", NB_SHAPE(n, n), a);
    holds(nb_cholesky(A), due, 0); /* whole numbers all the way */
    ck_assert_double_eq(nb_value(nb_cholesky_logdet(nb_cholesky(A))), 0);
    a[1] += 4; /* the symmetric part is read: these cancel */
    a[n] -= 4;
    holds(nb_cholesky(nb_tensor(t, NULL, NB_SHAPE(n, n), a)), due, 0);
    nb_tape_free(t);
}
END_TEST

/* Signs, and sizes far beyond a double's exponents on the way. */
START_TEST(determinants)
{
    nb_tape *t = tape_of(NB_F64);
    double sign[3] = {0};
    nb_var turn = nb_tensor(t, NULL, NB_SHAPE(3, 3), (double[]){0, 1, 0, 0, 0, 1, 1, 0, 0});
    nb_var swap = nb_tensor(t, NULL, NB_SHAPE(3, 3), (double[]){0, 1, 0, 1, 0, 0, 0, 0, -2});
    nb_var both = nb_stack(3, (nb_var[]){turn, swap, nb_neg(turn)}, 0);
    ck_assert_double_eq(nb_value(nb_det(turn)), 1);
    ck_assert_double_eq(nb_value(nb_det(swap)), 2);
    holds(nb_det(both), (double[]){1, 2, -1}, 0);
    holds(nb_slogdet(both, sign), (double[]){0, log(2), 0}, 0);
    same(sign, (double[]){1, 1, -1}, 3, 0);

    memset(a, 0, sizeof a);
    static const double wide[] = {1e200, 1e200, 1e-200, 1e-200, 3};
    for (int i = 0; i < 5; i++)
        a[i * 6] = wide[i];
    nb_var D = nb_tensor(t, NULL, NB_SHAPE(5, 5), a);
    ck_assert_double_eq_tol(nb_value(nb_det(D)), 3, 1e-14);
    get(nb_cofactor(D), y);
    ck_assert_double_eq_tol(y[0] / 3e-200, 1, 1e-14);
    ck_assert_double_eq_tol(y[24], 1, 1e-14);
    for (int i = 0; i < 100; i++)
        for (int j = 0; j < 100; j++)
            a[i * 100 + j] = i == 99 - j ? -1e7 : 0; /* as many exchanges as make the sign + */
    nb_var big = nb_tensor(t, NULL, NB_SHAPE(100, 100), a);
    ck_assert_double_eq_tol(nb_value(nb_slogdet(big, sign)), 700 * log(10), 1e-10);
    ck_assert_double_eq(sign[0], 1);
    ck_assert_double_eq(nb_value(nb_det(big)), (double)INFINITY);
    nb_tape_free(t);
}
END_TEST

/* A batch of matrices against single ones, and batch axes that broadcast. */
START_TEST(batches)
{
    nb_tape *t = tape_of(NB_F64);
    fill(a, 24, 6);
    fill(b, 12, 7);
    nb_var A = nb_tensor(t, "a", NB_SHAPE(3, 2, 2, 2), a),
           B = nb_tensor(t, "b", NB_SHAPE(2, 2, 3), b);
    nb_var X = nb_solve(A, B), L = nb_solve_triangular(A, B, NB_LOWER), v = nb_slice(B, 2, 0, 1, 1);
    nb_var line = nb_reshape(nb_slice(v, 0, 0, 1, 1), NB_SHAPE(2)), y1 = nb_solve(A, line);
    ck_assert(nb_shape_equal(nb_shape_of(X), NB_SHAPE(3, 2, 2, 3)));
    ck_assert(nb_shape_equal(nb_shape_of(y1), NB_SHAPE(3, 2, 2)));
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++) {
            const int64_t at = i * 2 + j;
            nb_var one = nb_tensor(t, NULL, NB_SHAPE(2, 2), a + 4 * at);
            nb_var right = nb_tensor(t, NULL, NB_SHAPE(2, 3), b + 6 * j);
            get(nb_solve(one, right), due);
            get(X, y);
            same(y + 6 * at, due, 6, 0);
            get(nb_solve_triangular(one, right, NB_LOWER), due);
            get(L, y);
            same(y + 6 * at, due, 6, 0);
            get(nb_solve(one, line), due);
            get(y1, y);
            same(y + 2 * at, due, 2, 0);
            get(nb_det(A), y);
            ck_assert_double_eq(y[at], nb_value(nb_det(one)));
            get(nb_logdet(A), y);
            ck_assert_double_eq(y[at], nb_value(nb_logdet(one)));
        }
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

START_TEST(empty_matrices)
{
    nb_tape *t = tape_of(NB_F64);
    double sign[2] = {0, 0};
    nb_var none = nb_leaf("none", nb_zeros(t, NB_SHAPE(0, 0)));
    nb_var two = nb_leaf("two", nb_zeros(t, NB_SHAPE(2, 0, 0)));
    ck_assert_double_eq(nb_value(nb_det(none)), 1);
    ck_assert_double_eq(nb_value(nb_slogdet(none, sign)), 0);
    ck_assert_double_eq(sign[0], 1);
    holds(nb_det(two), (double[]){1, 1}, 0);
    holds(nb_slogdet(two, sign), (double[]){0, 0}, 0);
    ck_assert_double_eq(sign[1], 1);
    ck_assert(nb_shape_equal(nb_shape_of(nb_inverse(two)), NB_SHAPE(2, 0, 0)));
    ck_assert(nb_shape_equal(nb_shape_of(nb_cofactor(none)), NB_SHAPE(0, 0)));
    nb_var L = nb_cholesky(none), X = nb_cholesky_solve(L, nb_zeros(t, NB_SHAPE(0, 3)));
    ck_assert(nb_shape_equal(nb_shape_of(X), NB_SHAPE(0, 3)));
    ck_assert_double_eq(nb_value(nb_cholesky_logdet(L)), 0);
    nb_var f = nb_add(nb_add(nb_det(none), nb_logdet(none)), nb_sum(nb_det(two)));
    f = nb_add(f, nb_sum(nb_solve(two, nb_zeros(t, NB_SHAPE(2, 0, 3)))));
    ck_assert_msg(nb_backward(f) == NB_OK, "%s", nb_message(t));
    nb_var wide = nb_zeros(t, NB_SHAPE(0, INT64_MAX / 2, 3, 3)); /* a batch that would overflow */
    ck_assert_int_eq(nb_size(nb_det(wide)), 0);
    ck_assert_int_eq(nb_size(nb_solve(wide, nb_ones(t, NB_SHAPE(3)))), 0);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
}
END_TEST

/* NaN is no error, and stays. */
START_TEST(nan_stays)
{
    nb_tape *t = tape_of(NB_F64);
    const double n = (double)NAN;
    nb_var A = nb_tensor(t, "a", NB_SHAPE(3, 3), (double[]){1, 2, 3, 4, n, 6, 7, 8, 10});
    nb_var Z = nb_tensor(t, "z", NB_SHAPE(2, 2), (double[]){0, n, 0, 1});
    nb_var list[] = {nb_solve(A, nb_ones(t, NB_SHAPE(3))),
                     nb_inverse(A),
                     nb_det(A),
                     nb_logdet(A),
                     nb_cofactor(A),
                     nb_det(Z),
                     nb_slice(nb_cholesky(nb_add(A, nb_transpose(A))), 0, 2, 3, 1)};
    double sign;
    for (int i = 0; i < 7; i++) {
        ck_assert_msg(nb_ok(list[i]), "%s", nb_message(t));
        ck_assert_msg(isnan(nb_value(nb_sum(list[i]))), "case %d", i);
    }
    nb_slogdet(A, &sign);
    ck_assert(isnan(sign));
    nb_tape_free(t);
}
END_TEST

/* Outside the triangle and, for a unit one, on the diagonal, nothing is read and nothing flows. */
START_TEST(only_the_triangle_counts)
{
    nb_tape *t = tape_of(NB_F64);
    const double n = (double)NAN;
    nb_var L = nb_tensor(t, "l", NB_SHAPE(2, 2), (double[]){2, n, 3, 4});
    nb_var U = nb_tensor(t, "u", NB_SHAPE(2, 2), (double[]){n, 3, n, n});
    nb_var b1 = nb_tensor(t, "b", NB_SHAPE(2), (double[]){2, 11});
    nb_var X = nb_solve_triangular(L, b1, NB_LOWER);
    holds(X, (double[]){1, 2}, 0);
    holds(nb_solve_triangular(L, b1, NB_LOWER | NB_TRANSPOSED), (double[]){-3.125, 2.75}, 0);
    /* w = L^-T (1, 1) = (1/8, 1/4); -w X' cut */
    slopes(nb_sum(X), L, (double[]){-0.125, 0, -0.25, -0.5}, 0);
    nb_var V = nb_solve_triangular(U, b1, NB_UPPER | NB_UNIT);
    holds(V, (double[]){-31, 11}, 0);
    slopes(nb_sum(V), U, (double[]){0, -11, 0, 0}, 0);
    nb_tape_free(t);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void whole_message(nb_tape *t, nb_var v, const char *text)
{
    ck_assert(!nb_ok(v));
    ck_assert_int_eq(nb_status(t), NB_ERR_SINGULAR);
    ck_assert_str_eq(nb_message(t), text);
    nb_clear(t);
}

START_TEST(no_inverse)
{
    nb_tape *t = tape_of(_i ? NB_F32 : NB_F64);
    nb_var A = nb_tensor(t, "A", NB_SHAPE(2, 2), (double[]){1, 2, 2, 4});
    nb_var S = nb_tensor(t, NULL, NB_SHAPE(2, 2), (double[]){1, 2, 2, 1});
    nb_var I = nb_eye(t, 2, 2), z = nb_sum(A);
    nb_var all = nb_reshape(nb_stack(4, (nb_var[]){I, I, A, I}, 0), NB_SHAPE(2, 2, 2, 2));
    const size_t count = nb_count(t);
    whole_message(t, nb_solve(A, I),
                  "solve: the matrix is singular\n"
                  "    a  \"A\"        [2 2]        node 0, input\n"
                  "    b             [2 2]        node 2, constant\n"
                  "    pivot 1 is 0");
    refused(t, nb_inverse(A), NB_ERR_SINGULAR, "inverse: the matrix is singular");
    refused(t, nb_logdet(A), NB_ERR_SINGULAR, "logdet: the matrix is singular");
    refused(t, nb_inverse(all), NB_ERR_SINGULAR, "pivot 1 is 0, in entry [1 0] of the batch");
    refused(t, nb_logdet(all), NB_ERR_SINGULAR, "in entry [1 0] of the batch");
    refused(t, nb_solve(all, I), NB_ERR_SINGULAR, "in entry [1 0] of the batch");
    refused(t, nb_cholesky(S), NB_ERR_SINGULAR, "cholesky: the matrix is not positive definite");
    refused(t, nb_cholesky(S), NB_ERR_SINGULAR, "pivot 1 is -3");
    refused(t, nb_cholesky(all), NB_ERR_SINGULAR, "pivot 1 is 0, in entry [1 0] of the batch");
    refused(t, nb_solve_triangular(nb_sub(I, I), I, NB_LOWER), NB_ERR_SINGULAR, "pivot 0 is 0");
    ck_assert_double_eq(nb_value(nb_det(A)), 0); /* but a determinant it has */
    ck_assert_uint_eq(nb_count(t), count + 2);
    ck_assert_int_eq(nb_backward(z), NB_OK);
    nb_read_grad(A, y, 4);
    same(y, (double[]){1, 1, 1, 1}, 4, 0);
    nb_tape_free(t);
}
END_TEST

START_TEST(unfit_shapes)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var v = nb_ones(t, NB_SHAPE(3)), r = nb_ones(t, NB_SHAPE(2, 3)), I = nb_eye(t, 3, 3);
    nb_var (*const single[])(nb_var) = {(nb_inverse), (nb_cholesky), (nb_det), (nb_cofactor),
                                        (nb_logdet)};
    for (int i = 0; i < 5; i++) {
        refused(t, single[i](v), NB_ERR_SHAPE, "needs a matrix, or a batch of them");
        refused(t, single[i](r), NB_ERR_SHAPE, "a has 2 rows and 3 columns");
        refused(t, single[i](nb_input(t, "s", 1)), NB_ERR_SHAPE, "needs a matrix");
    }
    refused(t, nb_solve(r, v), NB_ERR_SHAPE, "the matrix is not square");
    refused(t, nb_solve(I, r), NB_ERR_SHAPE, "a has 3 rows, b has 2");
    refused(t, nb_solve(I, nb_num(2)), NB_ERR_SHAPE, "needs a vector or a matrix to solve for");
    refused(t, nb_solve(nb_expand(I, NB_SHAPE(2, 3, 3)), nb_ones(t, NB_SHAPE(4, 3, 1))),
            NB_ERR_SHAPE, "batch axes do not broadcast");
    refused(t, nb_solve_triangular(I, r, NB_LOWER), NB_ERR_SHAPE, "a has 3 rows, b has 2");
    refused(t, nb_solve_triangular(I, v, 8), NB_ERR_ARGUMENT, "flags are 8");
    refused(t, nb_cholesky_logdet(r), NB_ERR_SHAPE, "cholesky_logdet: the matrix is not square");
    refused(t, nb_cholesky_logdet(v), NB_ERR_SHAPE, "cholesky_logdet: the matrix is not square");
    refused(t, nb_cholesky_solve(r, v), NB_ERR_SHAPE, "the matrix is not square");
    get(nb_solve(I, v), y);
    same(y, (double[]){1, 1, 1}, 3, 0);
    nb_tape_free(t);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static double everything(nb_tape *t)
{
    nb_var A = nb_add(nb_tensor(t, "a", NB_SHAPE(2, 20, 20), a), nb_mul(20, nb_eye(t, 20, 20)));
    nb_var S = nb_add(A, nb_transpose(A)), B = nb_tensor(t, "b", NB_SHAPE(20, 6), b);
    nb_var f = nb_add(nb_sum(nb_solve(A, B)), nb_sum(nb_solve_triangular(A, B, NB_LOWER)));
    f = nb_add(f, nb_add(nb_sum(nb_inverse(A)), nb_sum(nb_cholesky(S))));
    f = nb_add(f, nb_add(nb_sum(nb_logdet(A)), nb_mul(1e-30, nb_sum(nb_det(A)))));
    nb_var d = nb_derivative(f, B);
    nb_backward(nb_add(f, nb_sum(nb_square(d))));
    nb_read_grad(B, y, 120);
    return nb_value(f) + y[0];
}

START_TEST(memory_runs_out)
{
    const nb_dtype d = _i ? NB_F32 : NB_F64;
    fill(a, 800, 9);
    fill(b, 120, 10);
    nb_tape *t = tape_of(d);
    const double whole = everything(t);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    nb_tape_free(t);
    size_t k = 1, refusals = 1;
    for (; refusals; k++) {
        counting c = {.refuse = k};
        t = nb_tape_new(&(nb_options){
            .allocator = counting_allocator(&c), .nodes = 4, .bytes = 128, .dtype = d});
        if (t) {
            double got = everything(t);
            if (nb_status(t) == NB_OK)
                ck_assert_double_eq(got, whole);
            else
                ck_assert_msg(nb_status(t) == NB_ERR_MEMORY, "%s", nb_message(t));
            c.refuse = 0;
            nb_reset(t);
            ck_assert_double_eq(everything(t), whole);
        }
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
        refusals = c.refusals;
    }
    ck_assert_uint_gt(k, 10);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("algebra");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, solutions_solve);
    tcase_add_test(c, cholesky_gives_back);
    tcase_add_test(c, floats_are_as_good_as_floats_can_be);
    tcase_add_test(c, hilbert);
    tcase_add_test(c, pascal);
    tcase_add_test(c, determinants);
    tcase_add_test(c, batches);
    tcase_add_test(c, empty_matrices);
    tcase_add_test(c, nan_stays);
    tcase_add_test(c, only_the_triangle_counts);
    tcase_add_loop_test(c, no_inverse, 0, 2);
    tcase_add_test(c, unfit_shapes);
    tcase_add_loop_test(c, memory_runs_out, 0, 2);
    return run_case("algebra", c);
}
