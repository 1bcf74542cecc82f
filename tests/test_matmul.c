/*
 * The products against a plain loop, value and gradient: for every shape class and both types,
 *
 *     C[i, j] += A[i, k] B[k, j],    dA[i, k] += G[i, j] B[k, j],    dB[k, j] += A[i, k] G[i, j]
 *
 * over all i, j, k and batch entries, where the operands' elements are found by strides that are 0
 * along broadcast axes. Then closed forms, what is refused, and empty operands.
 */
#include "run.h"
#include "error_is.h"

#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static void fill(double *x, int64_t n, nb_rng *r)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(2 * nb_rng_uniform(r) - 1);
}

static void close_to(const double *x, const double *y, int64_t n, nb_dtype d)
{
    for (int64_t i = 0; i < n; i++)
        ck_assert_double_eq_tol(x[i], y[i], d == NB_F64 ? 1e-13 : 2e-5);
}

/* ---- the plain loop -------------------------------------------------------------------------- */

typedef struct operand {
    int64_t batch[NB_MAX_RANK]; /* steps, 0 where broadcast */
    int64_t row, column;        /* steps of the matrix as used */
} operand;

typedef struct example {
    nb_shape a, b, out;
    bool ta, tb;
    int64_t m, n, k;
} example;

static operand operand_of(nb_shape s, bool column_vector, bool transposed, int batch_rank)
{
    operand o = {{0}, 0, 0};
    int64_t step = 1;
    if (s.rank == 1) {
        o.row = column_vector ? 1 : 0;
        o.column = column_vector ? 0 : 1;
        return o;
    }
    o.column = transposed ? s.dims[s.rank - 1] : 1;
    o.row = transposed ? 1 : s.dims[s.rank - 1];
    step = s.dims[s.rank - 1] * s.dims[s.rank - 2];
    for (int i = s.rank - 3, at = batch_rank - 1; i >= 0; i--, at--) {
        o.batch[at] = s.dims[i] == 1 ? 0 : step;
        step *= s.dims[i];
    }
    return o;
}

static void naive(const example *e, const double *a, const double *b, const double *g, double *c,
                  double *da, double *db)
{
    int ra = e->a.rank > 2 ? e->a.rank - 2 : 0, rb = e->b.rank > 2 ? e->b.rank - 2 : 0;
    int rank = ra > rb ? ra : rb;
    operand oa = operand_of(e->a, false, e->ta, rank), ob = operand_of(e->b, true, e->tb, rank);
    int64_t entries = 1;
    for (int i = 0; i < rank; i++)
        entries *= e->out.dims[i];
    for (int64_t z = 0; z < entries; z++) {
        int64_t ia = 0, ib = 0, left = z;
        for (int i = rank - 1; i >= 0; left /= e->out.dims[i], i--) {
            ia += left % e->out.dims[i] * oa.batch[i];
            ib += left % e->out.dims[i] * ob.batch[i];
        }
        for (int64_t i = 0; i < e->m; i++)
            for (int64_t j = 0; j < e->n; j++)
                for (int64_t k = 0; k < e->k; k++) {
                    int64_t pa = ia + i * oa.row + k * oa.column, pc = (z * e->m + i) * e->n + j;
                    int64_t pb = ib + k * ob.row + j * ob.column;
                    c[pc] += a[pa] * b[pb];
                    da[pa] += g[pc] * b[pb];
                    db[pb] += g[pc] * a[pa];
                }
    }
}

static void run_example(example e, nb_dtype d)
{
    double *mem = calloc(8 * MOST, sizeof *mem), *a = mem, *b = a + MOST, *g = b + MOST;
    double *c = g + MOST, *da = c + MOST, *db = da + MOST, *got = db + MOST;
    int64_t na = nb_shape_size(e.a), nbb = nb_shape_size(e.b);
    int64_t nc = e.out.rank < 0 ? 1 : nb_shape_size(e.out);
    nb_rng r = nb_rng_seed(7);
    fill(a, na, &r);
    fill(b, nbb, &r);
    fill(g, nc, &r);
    naive(&e, a, b, g, c, da, db);

    nb_tape *t = tape_of(d);
    nb_var x = nb_tensor(t, "x", e.a, a), w = nb_tensor(t, "w", e.b, b);
    nb_var y = nb_matmul_t(x, e.ta, w, e.tb);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_shape_equal(nb_shape_of(y), e.out));
    ck_assert_int_eq(nb_read(y, got, nc), NB_OK);
    close_to(got, c, nc, d);

    const double *seed[] = {g};
    nb_sweep s = {.n_out = 1, .out = &y, .seed = seed};
    for (int round = 1; round <= 2; round++) { /* the second accumulates */
        ck_assert_msg(nb_backward_with(&s) == NB_OK, "%s", nb_message(t));
        nb_read_grad(x, got, na);
        for (int64_t i = 0; i < na; i++)
            got[i] /= round;
        close_to(got, da, na, d);
        nb_read_grad(w, got, nbb);
        for (int64_t i = 0; i < nbb; i++)
            got[i] /= round;
        close_to(got, db, nbb, d);
        s.accumulate = true;
    }
    nb_tape_free(t);
    free(mem);
}

START_TEST(against_a_plain_loop)
{
    static const example list[] = {
        {{2, {3, 4}}, {2, {4, 2}}, {2, {3, 2}}, false, false, 3, 2, 4},
        {{2, {4, 3}}, {2, {4, 2}}, {2, {3, 2}}, true, false, 3, 2, 4},
        {{2, {3, 4}}, {2, {2, 4}}, {2, {3, 2}}, false, true, 3, 2, 4},
        {{2, {4, 3}}, {2, {2, 4}}, {2, {3, 2}}, true, true, 3, 2, 4},
        {{2, {33, 17}}, {2, {17, 21}}, {2, {33, 21}}, false, false, 33, 21, 17},
        {{2, {17, 33}}, {2, {21, 17}}, {2, {33, 21}}, true, true, 33, 21, 17},
        {{1, {4}}, {2, {4, 3}}, {1, {3}}, false, false, 1, 3, 4},
        {{1, {4}}, {2, {3, 4}}, {1, {3}}, false, true, 1, 3, 4},
        {{2, {3, 4}}, {1, {4}}, {1, {3}}, false, false, 3, 1, 4},
        {{2, {4, 3}}, {1, {4}}, {1, {3}}, true, false, 3, 1, 4},
        {{1, {21}}, {1, {21}}, {-1, {0}}, false, false, 1, 1, 21},
        {{2, {1, 1}}, {2, {1, 1}}, {2, {1, 1}}, false, false, 1, 1, 1},
        {{3, {2, 3, 4}}, {2, {4, 2}}, {3, {2, 3, 2}}, false, false, 3, 2, 4},
        {{3, {2, 3, 4}}, {2, {2, 4}}, {3, {2, 3, 2}}, false, true, 3, 2, 4},
        {{3, {2, 4, 3}}, {2, {4, 2}}, {3, {2, 3, 2}}, true, false, 3, 2, 4},
        {{3, {2, 3, 4}}, {1, {4}}, {2, {2, 3}}, false, false, 3, 1, 4},
        {{3, {2, 4, 3}}, {1, {4}}, {2, {2, 3}}, true, false, 3, 1, 4},
        {{1, {4}}, {3, {2, 4, 3}}, {2, {2, 3}}, false, false, 1, 3, 4},
        {{2, {3, 4}}, {3, {2, 4, 2}}, {3, {2, 3, 2}}, false, false, 3, 2, 4},
        {{2, {4, 3}}, {3, {2, 2, 4}}, {3, {2, 3, 2}}, true, true, 3, 2, 4},
        {{3, {5, 2, 3}}, {3, {5, 3, 2}}, {3, {5, 2, 2}}, false, false, 2, 2, 3},
        {{4, {2, 1, 2, 3}}, {3, {3, 3, 2}}, {4, {2, 3, 2, 2}}, false, false, 2, 2, 3},
        {{4, {2, 1, 3, 2}}, {4, {1, 3, 2, 3}}, {4, {2, 3, 2, 2}}, true, true, 2, 2, 3},
        {{4, {2, 3, 2, 3}}, {4, {2, 3, 3, 1}}, {4, {2, 3, 2, 1}}, false, false, 2, 1, 3},
        {{8, {1, 2, 1, 1, 2, 1, 2, 3}},
         {4, {2, 3, 3, 2}},
         {8, {1, 2, 1, 1, 2, 3, 2, 2}},
         false,
         false,
         2,
         2,
         3},
        {{2, {0, 3}}, {2, {3, 2}}, {2, {0, 2}}, false, false, 0, 2, 3},
        {{2, {2, 0}}, {2, {0, 3}}, {2, {2, 3}}, false, false, 2, 3, 0},
        {{2, {2, 3}}, {2, {3, 0}}, {2, {2, 0}}, false, false, 2, 0, 3},
        {{1, {0}}, {1, {0}}, {-1, {0}}, false, false, 1, 1, 0},
        {{3, {2, 2, 0}}, {2, {0, 3}}, {3, {2, 2, 3}}, false, false, 2, 3, 0},
        {{3, {2, 2, 3}}, {2, {3, 0}}, {3, {2, 2, 0}}, false, false, 2, 0, 3},
        {{3, {1, 2, 3}}, {3, {0, 3, 2}}, {3, {0, 2, 2}}, false, false, 2, 2, 3},
        {{3, {0, 2, 3}}, {1, {3}}, {2, {0, 2}}, false, false, 2, 1, 3},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        run_example(list[i], NB_F64);
        run_example(list[i], NB_F32);
    }
}
END_TEST

/* One var on both sides: both adjoints meet in it. d/dX of sum(X X) at X = [1 2; 3 4]. */
START_TEST(an_operand_used_twice)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(2, 2), (double[]){1, 2, 3, 4});
    nb_var y = nb_matmul(x, x);
    const double ones[] = {1, 1, 1, 1}, *seed[] = {ones};
    double got[4];
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seed}), NB_OK);
    nb_read_grad(x, got, 4);
    close_to(got, (double[]){7, 11, 9, 13}, 4, NB_F64);
    nb_tape_free(t);
}
END_TEST

START_TEST(affine_against_matmul)
{
    static const struct {
        nb_shape x;
        int64_t k, m;
    } list[] = {
        {{1, {4}}, 4, 3},       {{2, {3, 4}}, 4, 2},       {{2, {70, 5}}, 5, 67},
        {{3, {2, 3, 2}}, 2, 5}, {{4, {2, 1, 2, 3}}, 3, 1}, {{2, {0, 3}}, 3, 2},
        {{2, {3, 0}}, 0, 2},    {{3, {2, 2, 0}}, 0, 3},    {{2, {2, 3}}, 3, 0},
    };
    static double x[MOST], w[MOST], b[MOST], g[2 * MOST], one[2 * MOST], two[2 * MOST];
    nb_rng r = nb_rng_seed(3);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        for (nb_dtype d = NB_F64; d <= NB_F32; d++) {
            fill(x, MOST, &r);
            fill(w, MOST, &r);
            fill(b, MOST, &r);
            fill(g, 2 * MOST, &r);
            nb_tape *t = tape_of(d);
            nb_var in[3] = {nb_tensor(t, "x", list[i].x, x),
                            nb_tensor(t, "w", NB_SHAPE(list[i].k, list[i].m), w),
                            nb_tensor(t, "b", NB_SHAPE(list[i].m), b)};
            nb_var y = nb_affine(in[0], in[1], in[2]);
            nb_var z = nb_add(nb_matmul(in[0], in[1]), in[2]);
            ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
            ck_assert(nb_shape_equal(nb_shape_of(y), nb_shape_of(z)));
            nb_read(y, one, nb_size(y));
            nb_read(z, two, nb_size(z));
            close_to(one, two, nb_size(y), d);
            const double *seed[] = {g};
            for (int k = 0; k < 3; k++) {
                nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seed});
                nb_read_grad(in[k], one, nb_size(in[k]));
                nb_backward_with(&(nb_sweep){.n_out = 1, .out = &z, .seed = seed});
                nb_read_grad(in[k], two, nb_size(in[k]));
                close_to(one, two, nb_size(in[k]), d);
            }
            ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
            nb_tape_free(t);
        }
}
END_TEST

START_TEST(dot_and_outer)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var a = nb_tensor(t, "a", NB_SHAPE(3), (double[]){1, 2, 3});
    nb_var b = nb_tensor(t, "b", NB_SHAPE(3), (double[]){4, -5, 6});
    nb_var y = nb_dot(a, b);
    double got[6];
    ck_assert(!nb_is_tensor(y));
    ck_assert_double_eq(nb_value(y), 12);
    ck_assert_int_eq(nb_backward(nb_mul(2, y)), NB_OK);
    nb_read_grad(a, got, 3);
    close_to(got, (double[]){8, -10, 12}, 3, NB_F64);

    nb_var c = nb_tensor(t, "c", NB_SHAPE(2), (double[]){7, 8});
    nb_var z = nb_outer(a, c);
    nb_read(z, got, 6);
    close_to(got, (double[]){7, 8, 14, 16, 21, 24}, 6, NB_F64);
    const double g[] = {1, 2, 3, 4, 5, 6}, *seed[] = {g};
    nb_backward_with(&(nb_sweep){.n_out = 1, .out = &z, .seed = seed});
    nb_read_grad(a, got, 3);
    close_to(got, (double[]){23, 53, 83}, 3, NB_F64);
    nb_read_grad(c, got, 2);
    close_to(got, (double[]){22, 28}, 2, NB_F64);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* A float sequence of 10^6 equal terms: summed in double and not rounded. An adjoint of exactly 0
 * contributes exactly 0, even through an infinite element. */
START_TEST(dot_hard_points)
{
    enum { N = 1000000 };
    nb_tape *t = tape_of(NB_F32);
    nb_var a = nb_full(t, NB_SHAPE(N), 0.1), b = nb_ones(t, NB_SHAPE(N));
    ck_assert_double_eq_tol(nb_value(nb_dot(a, b)), N * (double)0.1f, 1e-6);
    nb_tape_free(t);

    t = tape_of(NB_F64);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(2), (double[]){1, 1});
    nb_var y = nb_dot(x, nb_constant_tensor(t, NB_SHAPE(2), (double[]){HUGE_VAL, 1}));
    nb_backward_with(
        &(nb_sweep){.n_out = 1, .out = &y, .seed = (const double *const[]){(double[]){0}}});
    double got[2];
    nb_read_grad(x, got, 2);
    ck_assert_double_eq(got[0], 0);
    nb_tape_free(t);
}
END_TEST

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var h = nb_name(nb_zeros(t, NB_SHAPE(32, 16)), "hidden"), w = nb_ones(t, NB_SHAPE(20, 2));
    nb_var v = nb_ones(t, NB_SHAPE(16)), s = nb_input(t, "s", 1);
    nb_var batch = nb_ones(t, NB_SHAPE(4, 16, 3)), other = nb_ones(t, NB_SHAPE(5, 32, 16));
    size_t count = nb_count(t);
    refused(t, nb_matmul(h, w), NB_ERR_SHAPE, "matmul: inner dimensions differ");
    refused(t, nb_matmul(h, w), NB_ERR_SHAPE, "a has 16 columns, b has 20 rows");
    refused(t, nb_matmul_t(h, true, w, true), NB_ERR_SHAPE, "a has 32 rows, b has 2 columns");
    refused(t, nb_matmul(v, w), NB_ERR_SHAPE, "a has 16 elements, b has 20 rows");
    refused(t, nb_matmul(h, w), NB_ERR_SHAPE, "\"hidden\"");
    refused(t, nb_matmul(s, w), NB_ERR_SHAPE, "a has no axis");
    refused(t, nb_matmul(h, s), NB_ERR_SHAPE, "b has no axis");
    refused(t, nb_matmul_t(v, true, h, true), NB_ERR_SHAPE, "cannot be transposed");
    refused(t, nb_matmul(other, batch), NB_ERR_SHAPE, "a has 5 where b has 4");
    refused(t, nb_affine(h, w, v), NB_ERR_SHAPE, "x has 16 columns, w has 20 rows");
    refused(t, nb_affine(w, nb_ones(t, NB_SHAPE(2, 3)), v), NB_ERR_SHAPE, "the bias does not fit");
    refused(t, nb_affine(h, batch, v), NB_ERR_SHAPE, "needs x [... k]");
    refused(t, nb_affine(s, s, s), NB_ERR_SHAPE, "needs x [... k]");
    refused(t, nb_dot(v, nb_ones(t, NB_SHAPE(3))), NB_ERR_SHAPE, "a has 16 elements, b has 3");
    refused(t, nb_dot(v, h), NB_ERR_SHAPE, "needs two vectors");
    refused(t, nb_outer(s, v), NB_ERR_SHAPE, "needs two vectors");
    nb_var big = nb_zeros(t, NB_SHAPE(INT64_C(1) << 40, 0)), flat = nb_transpose(big);
    refused(t, nb_matmul(big, flat), NB_ERR_OVERFLOW, "overflow");
    ck_assert_uint_le(count, nb_count(t));

    nb_var y = nb_dot(v, v); /* the tape is usable */
    ck_assert_double_eq(nb_value(y), 16);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("products");
    tcase_add_test(c, against_a_plain_loop);
    tcase_add_test(c, an_operand_used_twice);
    tcase_add_test(c, affine_against_matmul);
    tcase_add_test(c, dot_and_outer);
    tcase_add_test(c, dot_hard_points);
    tcase_add_test(c, what_is_refused);
    return run_case("matmul", c);
}
