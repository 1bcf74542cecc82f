/*
 * Colourings: few sweeps where few are enough, whatever the size; Hessians against closed forms and
 * against the dense ones; a plan used again.
 */
#include "csr.h"

/* A camera of 11 numbers, a point of 3 and a weight make a residual of two numbers. */
static size_t bundle(nb_tape *t, size_t cameras, size_t points, nb_var *in, nb_var *out)
{
    const size_t each = 5, n = 11 * cameras + 3 * points;
    size_t m = 0, k = n;
    for (size_t i = 0; i < n + each * points; i++)
        in[i] = nb_input(t, NULL, 0.3 + 0.1 * sin((double)i));
    for (size_t p = 0; p < points; p++)
        for (size_t e = 0; e < each; e++, m++) {
            const nb_var *c = in + 11 * ((p * 7 + e) % cameras), *x = in + 11 * cameras + 3 * p;
            nb_var u = nb_add(nb_mul(c[0], x[0]), nb_mul(c[1], nb_sin(nb_mul(x[1], c[2]))));
            nb_var v = nb_add(nb_mul(c[3], x[2]), nb_mul(c[4], nb_cos(nb_add(x[1], c[5]))));
            nb_var q = nb_mul(nb_add(nb_mul(u, c[6]), c[7]), nb_exp(nb_mul(v, c[8])));
            out[m] = nb_mul(in[k++], nb_add(nb_mul(q, c[9]), nb_mul(u, c[10])));
        }
    return m;
}

START_TEST(sweeps_of_a_bundle)
{
    size_t sweeps[2], n[2];
    for (int turn = 0; turn < 2; turn++) {
        const size_t cameras = turn ? 40 : 8, points = turn ? 2000 : 60;
        n[turn] = 11 * cameras + 8 * points;
        nb_tape *t = nb_tape_new(NULL);
        nb_var *in = calloc(n[turn], sizeof *in), *out = calloc(5 * points, sizeof *out);
        const size_t m = bundle(t, cameras, points, in, out);
        nb_sparse *s = nb_sparse_jacobian(m, out, n[turn], in, NB_JACOBIAN_AUTO);
        ck_assert_ptr_nonnull(s);
        sweeps[turn] = nb_sparse_sweeps(s);
        const nb_csr J = nb_sparse_matrix(s);
        ck_assert_uint_eq(J.row_start[J.rows], 15 * m);
        if (!turn)
            ck_assert_uint_eq(same_as_dense("bundle", m, out, n[0], in, NB_JACOBIAN_AUTO, 1e-14),
                              0);
        nb_sparse_free(s);
        nb_tape_free(t);
        free(in);
        free(out);
    }
    ck_assert_uint_le(sweeps[0], 16);
    ck_assert_uint_eq(sweeps[0], sweeps[1]);
}
END_TEST

static nb_var rosenbrock(size_t n, const nb_var *x)
{
    nb_var f = nb_num(0);
    for (size_t i = 0; i + 1 < n; i++)
        f = nb_add(f, nb_add(nb_mul(100, nb_square(nb_sub(x[i + 1], nb_square(x[i])))),
                             nb_square(nb_sub(1, x[i]))));
    return f;
}

static bool tridiagonal(nb_csr H, const double *x, double *off)
{
    const size_t n = H.rows;
    bool good = H.row_start[n] == 3 * n - 2;
    *off = 0;
    for (size_t i = 0; i < n && good; i++)
        for (size_t k = H.row_start[i]; k < H.row_start[i + 1]; k++) {
            const size_t j = H.column[k], low = i < j ? i : j;
            const double inner = i + 1 < n ? 1200 * x[i] * x[i] - 400 * x[i + 1] + 2 : 0;
            const double want = i == j ? inner + (i ? 200 : 0) : -400 * x[low];
            good = good && (i > j ? i - j : j - i) <= 1;
            const double size = 1 + 1200 * x[i] * x[i] + 400 * (i + 1 < n ? fabs(x[i + 1]) : 1);
            *off = fmax(*off, fabs(H.value[k] - want) / size);
        }
    return good;
}

static const size_t sizes[] = {2, 3, 4, 10, 100, 1000};

START_TEST(rosenbrock_hessians)
{
    const size_t n = sizes[_i];
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(n);
    double *x = doubles(n), off;
    nb_var in[1000];
    for (size_t i = 0; i < n; i++)
        in[i] = nb_input(t, NULL, x[i] = nb_rng_normal(&r));
    nb_var f = rosenbrock(n, in);
    const size_t count = nb_count(t);
    nb_sparse *s = nb_sparse_hessian(f, n, in);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, n, in), NB_OK);
    ck_assert_uint_eq(nb_count(t), count);
    ck_assert(tridiagonal(nb_sparse_matrix(s), x, &off));
    ck_assert_double_le(off, 1e-14);
    ck_assert_uint_le(nb_sparse_sweeps(s), 3);
    nb_reset(t); /* a new point */
    for (size_t i = 0; i < n; i++)
        in[i] = nb_input(t, NULL, x[i] = nb_rng_normal(&r));
    f = rosenbrock(n, in);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, n, in), NB_OK);
    ck_assert(tridiagonal(nb_sparse_matrix(s), x, &off));
    ck_assert_double_le(off, 1e-14);
    nb_tape_free(t); /* the plan outlives it */
    ck_assert(tridiagonal(nb_sparse_matrix(s), x, &off));
    nb_sparse_free(s);
    free(x);
}
END_TEST

/* Hessians of sums of terms of a few variables each, against the dense ones. */
START_TEST(random_hessians)
{
    enum { N = 60 };
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed((uint64_t)_i);
    double *H = doubles(N * N);
    size_t extra;
    nb_var in[N], f = nb_num(0);
    for (size_t i = 0; i < N; i++)
        in[i] = nb_input(t, NULL, nb_rng_normal(&r));
    for (int k = 0; k < 50 + 10 * _i; k++) {
        nb_var a = in[nb_rng_below(&r, N)], b = in[nb_rng_below(&r, N / 2)];
        nb_var c = in[nb_rng_below(&r, (uint64_t)(_i + 2))];
        f = nb_add(f, nb_rng_below(&r, 2) ? nb_sin(nb_mul(a, b)) : nb_mul(a, nb_exp(c)));
    }
    ck_assert_int_eq(nb_hessian(f, N, in, H), NB_OK);
    nb_sparse *s = nb_sparse_hessian(f, N, in);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, N, in), NB_OK);
    ck_assert_double_le(apart(nb_sparse_matrix(s), H, &extra), 1e-13);
    ck_assert_uint_lt(nb_sparse_sweeps(s), N);
    nb_sparse_free(s);
    nb_tape_free(t);
    free(H);
}
END_TEST

/* One variable meets all the others: two colours. */
START_TEST(arrow)
{
    enum { N = 2000 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[N], f = nb_num(0);
    for (size_t i = 0; i < N; i++)
        in[i] = nb_input(t, NULL, 0.001 * (double)i);
    for (size_t i = 1; i < N; i++)
        f = nb_add(f, nb_mul(nb_sin(in[0]), nb_square(in[i])));
    nb_sparse *s = nb_sparse_hessian(f, N, in);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, N, in), NB_OK);
    ck_assert_uint_eq(nb_sparse_sweeps(s), 2);
    const nb_csr H = nb_sparse_matrix(s);
    ck_assert_uint_eq(H.row_start[N], 3 * N - 2);
    for (size_t i = 1; i < N; i++) {
        ck_assert_double_eq(H.value[i], 2 * 0.001 * (double)i); /* cos 0 */
        ck_assert_double_eq(H.value[H.row_start[i]], H.value[i]);
        ck_assert_double_eq(H.value[H.row_start[i] + 1], 0);
    }
    nb_sparse_free(s);
    nb_tape_free(t);
}
END_TEST

/* A full row and a full column, one at a time: the other way takes two sweeps. A long sum costs no
 * square of memory. */
START_TEST(full_rows_and_columns)
{
    enum { N = 20000 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var *in = calloc(N, sizeof *in), *out = calloc(N, sizeof *out);
    nb_var sum = nb_num(0);
    for (size_t i = 0; i < N; i++) {
        in[i] = nb_input(t, NULL, 1);
        out[i] = nb_square(in[i]);
        sum = nb_add(sum, nb_sin(in[i]));
    }
    out[0] = sum;
    nb_sparse *s = nb_sparse_jacobian(N, out, N, in, NB_JACOBIAN_AUTO);
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(nb_sparse_sweeps(s), 2);
    ck_assert_uint_eq(nb_sparse_matrix(s).row_start[1], N);
    nb_sparse_free(s);
    for (size_t i = 0; i < N; i++)
        out[i] = nb_mul(in[0], in[i]);
    s = nb_sparse_jacobian(N, out, N, in, NB_JACOBIAN_AUTO);
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(nb_sparse_sweeps(s), 2);
    ck_assert_int_eq(nb_sparse_values(s, N, out, N, in), NB_OK);
    ck_assert_double_eq(nb_sparse_matrix(s).value[0], 2);
    nb_sparse_free(s);
    ck_assert_uint_lt(nb_tape_bytes(t), (size_t)100 << 20);
    nb_tape_free(t);
    free(in);
    free(out);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("colours");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, sweeps_of_a_bundle);
    tcase_add_loop_test(c, rosenbrock_hessians, 0, COUNT(sizes));
    tcase_add_loop_test(c, random_hessians, 0, 10);
    tcase_add_test(c, arrow);
    tcase_add_test(c, full_rows_and_columns);
    return run_case("colours", c);
}
