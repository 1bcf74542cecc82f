/*
 * The exponential of a matrix at points where it is known: diagonal, nilpotent, rotations, triangles
 * far from normal, its own inverse and powers; its derivative by the closed form for 2 by 2
 * triangles, by e^(A + h E) for commuting E, and through the trace, whose gradient is (e^A)'.
 */
#include "counting.h"

#include <float.h>
#include <math.h>

enum { ROOM = 64 * 64 };

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static void read_all(nb_var x, double *out)
{
    ck_assert_msg(nb_ok(x), "%s", nb_message(x.tape));
    ck_assert_int_eq(nb_read(x, out, nb_size(x)), NB_OK);
}

static void expm_of(int64_t n, const double *a, double *out)
{
    nb_tape *t = tape_of(NB_F64);
    read_all(nb_expm(nb_tensor(t, "a", NB_SHAPE(n, n), a)), out);
    nb_tape_free(t);
}

static void near(const double *x, const double *y, int64_t n, double room)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= room))
            ck_abort_msg("element %d: %.17g, not %.17g", (int)i, x[i], y[i]);
}

START_TEST(diagonal)
{
    static const double x[] = {0, 1e-300, 1e-9, .01, -.1, .5, 1, -1.7, 3, -4, 5, -20, 100, 700};
    double a[ROOM], y[ROOM];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        expm_of(1, &x[i], y);
        const double room = (8 + 4 * fabs(x[i])) * DBL_EPSILON;
        ck_assert_double_le(fabs(y[0] / exp(x[i]) - 1), room);
        memset(a, 0, sizeof a);
        for (int k = 0; k < 5; k++)
            a[6 * k] = x[i] / (k + 1);
        expm_of(5, a, y);
        for (int k = 0; k < 25; k++)
            if (k % 6)
                ck_assert_double_eq(y[k], 0);
            else
                ck_assert_double_le(fabs(y[k] / exp(a[k]) - 1), room);
    }
}
END_TEST

/* N with ones above the diagonal times c: e^N has c^k / k! on diagonal k, exactly so many terms. */
START_TEST(nilpotent)
{
    enum { N = 6 };
    static const double scale[] = {1e-6, .1, 1, 7, 1e3, 1e12};
    double a[N * N], y[N * N];
    for (size_t z = 0; z < sizeof scale / sizeof *scale; z++) {
        memset(a, 0, sizeof a);
        for (int i = 0; i + 1 < N; i++)
            a[i * N + i + 1] = scale[z];
        expm_of(N, a, y);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                const double due = j < i ? 0 : pow(scale[z], j - i) / tgamma(j - i + 1);
                ck_assert_double_le(fabs(y[i * N + j] - due), 32 * DBL_EPSILON * due);
            }
    }
}
END_TEST

START_TEST(rotation)
{
    for (double angle = 1e-8; angle < 2000; angle *= 3.7) {
        const double a[4] = {0, -angle, angle, 0};
        double y[4];
        expm_of(2, a, y);
        near(y, (double[]){cos(angle), -sin(angle), sin(angle), cos(angle)}, 4,
             4 * (1 + angle) * DBL_EPSILON);
    }
}
END_TEST

/* [p b; 0 q] has b (e^p - e^q) / (p - q) in its corner: all digits, whatever b is. */
START_TEST(far_from_normal)
{
    for (double b = 1e-10; b < 1e140; b *= 1000) {
        const double a[4] = {1, b, 0, -1}, due[4] = {exp(1), b * sinh(1), 0, exp(-1)};
        double y[4];
        expm_of(2, a, y);
        for (int i = 0; i < 4; i++)
            ck_assert_double_le(fabs(y[i] - due[i]), 32 * DBL_EPSILON * fabs(due[i]));
    }
}
END_TEST

/* e^A e^-A = 1, (e^(A/2))^2 = e^A, in floats too. */
START_TEST(of_random_matrices)
{
    static const int64_t sizes[] = {1, 2, 5, 16, 17, 60};
    double x[ROOM], y[ROOM], unit[ROOM];
    nb_rng r = nb_rng_seed(3);
    for (size_t z = 0; z < sizeof sizes / sizeof *sizes; z++)
        for (nb_dtype d = NB_F64; d <= NB_F32; d++)
            for (double size = .01; size < 20; size *= 9) {
                const int64_t n = sizes[z];
                const double eps = d == NB_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
                nb_tape *t = tape_of(d);
                nb_var a = nb_normal(t, NB_SHAPE(n, n), 0, size / sqrt((double)n), &r);
                nb_var e = nb_expm(a), back = nb_expm(nb_neg(a)), half = nb_expm(nb_mul(.5, a));
                const double top = nb_value(nb_norm(e)), low = nb_value(nb_norm(back));
                for (int64_t i = 0; i < n * n; i++)
                    unit[i] = i % (n + 1) == 0;
                read_all(nb_matmul(e, back), y);
                near(y, unit, n * n, 16 * (1 + size) * eps * top * low);
                read_all(e, x);
                read_all(nb_matmul(half, half), y);
                near(y, x, n * n, 16 * (1 + size) * eps * pow(nb_value(nb_norm(half)), 2));
                nb_tape_free(t);
            }
}
END_TEST

START_TEST(hard_points)
{
    nb_tape *t = tape_of(NB_F64);
    double y[8];
    read_all(
        nb_expm(nb_tensor(t, "a", NB_SHAPE(2, 2, 2), (double[]){0, (double)NAN, 0, 0, 0, 1, 0, 0})),
        y);
    ck_assert(isnan(y[0]) && isnan(y[1]) && isnan(y[2]) && isnan(y[3]));
    near(y + 4, (double[]){1, 1, 0, 1}, 4, 0);
    read_all(nb_expm(nb_tensor(t, "a", NB_SHAPE(1, 1), (double[]){(double)INFINITY})), y);
    ck_assert(isnan(y[0]));
    read_all(nb_expm(nb_tensor(t, "a", NB_SHAPE(1, 1), (double[]){1000})), y);
    ck_assert_double_eq(y[0], (double)INFINITY);
    read_all(nb_expm(nb_tensor(t, "a", NB_SHAPE(1, 1), (double[]){-1e300})), y);
    ck_assert_double_eq(y[0], 0);
    nb_var none = nb_expm(nb_zeros(t, NB_SHAPE(3, 0, 0)));
    ck_assert(nb_shape_equal(nb_shape_of(none), NB_SHAPE(3, 0, 0)));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* ---- derivatives ----------------------------------------------------------------------------- */

/* Of the trace: (e^A)'. Of a corner of [p b; 0 q], by b: (e^p - e^q) / (p - q); by p, with w = p - q:
 * b (e^p w - (e^p - e^q)) / w^2. */
START_TEST(gradients)
{
    nb_tape *t = tape_of(NB_F64);
    double x[16], g[16], e[16];
    nb_rng r = nb_rng_seed(9);
    for (int i = 0; i < 16; i++)
        x[i] = 3 * nb_rng_uniform(&r) - 1;
    nb_var a = nb_tensor(t, "a", NB_SHAPE(4, 4), x), y = nb_expm(a);
    ck_assert_int_eq(nb_backward(nb_trace(y)), NB_OK);
    nb_read_grad(a, g, 16);
    read_all(nb_transpose(y), e);
    near(g, e, 16, 64 * DBL_EPSILON * nb_value(nb_norm(y)));
    for (double b = 1e-6; b < 1e10; b *= 100) {
        const double p = 1, q = -2, w = p - q, f = exp(p) - exp(q);
        nb_var z = nb_tensor(t, "z", NB_SHAPE(2, 2), (double[]){p, b, 0, q});
        ck_assert_int_eq(nb_backward(nb_at(nb_expm(z), 0, 1)), NB_OK);
        nb_read_grad(z, g, 4);
        const double by_p = b * (exp(p) * w - f) / (w * w), by_q = b * (f - exp(q) * w) / (w * w);
        ck_assert_double_le(fabs(g[0] / by_p - 1), 64 * DBL_EPSILON);
        ck_assert_double_le(fabs(g[3] / by_q - 1), 64 * DBL_EPSILON);
        ck_assert_double_le(fabs(g[1] / (f / w) - 1), 64 * DBL_EPSILON);
    }
    nb_tape_free(t);
}
END_TEST

/* Along E = A: A e^A. Of a huge direction as of a small one. And second derivatives: along E twice at
 * A = [p], all 1 by 1, everything is e^p. */
START_TEST(along_directions)
{
    nb_tape *t = tape_of(NB_F64);
    nb_rng r = nb_rng_seed(4);
    double x[25], y[25];
    nb_var a = nb_normal(t, NB_SHAPE(5, 5), 0, 1, &r);
    read_all(nb_expm_along(a, a), x);
    read_all(nb_matmul(a, nb_expm(a)), y);
    const double size = nb_value(nb_norm(nb_matmul(a, nb_expm(a))));
    near(x, y, 25, 64 * DBL_EPSILON * size);
    nb_var big = nb_tensor(t, "a", NB_SHAPE(2, 2), (double[]){1, .5, -.25, 2});
    nb_var e = nb_tensor(t, "e", NB_SHAPE(2, 2), (double[]){1e200, 0, 3e200, 0});
    nb_var small = nb_tensor(t, "s", NB_SHAPE(2, 2), (double[]){1, 0, 3, 0});
    ck_assert_int_eq(nb_backward(nb_sum(nb_expm_along(big, e))), NB_OK);
    nb_read_grad(big, x, 4);
    ck_assert_int_eq(nb_backward(nb_sum(nb_expm_along(big, small))), NB_OK);
    nb_read_grad(big, y, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_double_le(fabs(x[i] / y[i] / 1e200 - 1), 64 * DBL_EPSILON);
    nb_var p = nb_tensor(t, "p", NB_SHAPE(1, 1), (double[]){.75}), f = nb_sum(nb_expm(p));
    for (int order = 1; order <= 4; order++) {
        f = nb_sum(nb_derivative(f, p));
        ck_assert_double_le(fabs(nb_value(f) / exp(.75) - 1), 16 * DBL_EPSILON);
    }
    nb_tape_free(t);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(nb_tape *t, nb_var y, const char *part)
{
    ck_assert(!nb_ok(y));
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    ck_assert_msg(strstr(nb_message(t), part) != NULL, "%s", nb_message(t));
    nb_clear(t);
}

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var a = nb_ones(t, NB_SHAPE(2, 3)), s = nb_ones(t, NB_SHAPE(2, 2)), x = nb_input(t, "x", 1);
    refused(t, nb_expm(a), "expm: the matrix is not square");
    refused(t, nb_expm(x), "expm: needs a matrix");
    refused(t, nb_expm_along(a, a), "expm_along: the matrix is not square");
    refused(t, nb_expm_along(s, x), "expm_along: the operands differ");
    refused(t, nb_expm_along(s, a), "expm_along: the operands differ");
    ck_assert_double_eq(nb_value(nb_trace(nb_expm(nb_zeros(t, NB_SHAPE(2, 2))))), 2);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

static nb_var everything(nb_tape *t)
{
    nb_rng r = nb_rng_seed(1);
    nb_var a = nb_leaf("a", nb_normal(t, NB_SHAPE(20, 20), 0, 1, &r));
    nb_var f = nb_sum(nb_expm(a));
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
        everything(t);
        through = c.refusals == 0;
        ck_assert(nb_status(t) == NB_OK || nb_status(t) == NB_ERR_MEMORY);
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
    TCase *c = tcase_create("expm");
    tcase_add_test(c, diagonal);
    tcase_add_test(c, nilpotent);
    tcase_add_test(c, rotation);
    tcase_add_test(c, far_from_normal);
    tcase_add_test(c, of_random_matrices);
    tcase_add_test(c, hard_points);
    tcase_add_test(c, gradients);
    tcase_add_test(c, along_directions);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, no_memory);
    return run_case("expm", c);
}
