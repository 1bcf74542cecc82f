/*
 * Lookups in a table that is not on the tape, against nb_embedding of the same table as a tensor:
 * the value bitwise, and the gradient row by row, where rows that are not listed must be 0.
 */
#include "counting.h"
#include "error_is.h"
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 40, WIDTH = 3 };

static double table_f64[ROWS * WIDTH];
static float table_f32[ROWS * WIDTH];

static nb_tape *tape_of(int d)
{
    for (int i = 0; i < ROWS * WIDTH; i++)
        table_f64[i] = (double)(table_f32[i] = (float)(i % 17) - 7.5F);
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static nb_sparse_table table_of(int d)
{
    return (nb_sparse_table){d == NB_F64 ? (void *)table_f64 : (void *)table_f32, ROWS, WIDTH};
}

/* What nb_sparse_grad tells, in a full table; rows are ascending. */
static int64_t dense(nb_tape *t, const nb_sparse_table *s, double *g)
{
    nb_sparse_rows r;
    memset(g, 0, ROWS * WIDTH * sizeof *g);
    ck_assert_int_eq(nb_sparse_grad(t, s, &r), NB_OK);
    for (int64_t i = 0; i < r.n; i++) {
        ck_assert(r.row[i] >= 0 && r.row[i] < ROWS && (i == 0 || r.row[i] > r.row[i - 1]));
        for (int j = 0; j < WIDTH; j++)
            g[r.row[i] * WIDTH + j] = nb_tape_dtype(t) == NB_F64
                                          ? ((const double *)r.values)[i * WIDTH + j]
                                          : (double)((const float *)r.values)[i * WIDTH + j];
    }
    return r.n;
}

static bool same(const double *x, const double *y, double factor)
{
    for (int i = 0; i < ROWS * WIDTH; i++)
        if (fabs(x[i] - factor * y[i]) > 1e-5)
            return false;
    return true;
}

START_TEST(against_the_dense_gradient)
{
    static const int64_t one[] = {5, -1, 5, 0, 5, 39, 17, 0}, two[] = {17, 3, 5}, three[] = {8};
    double got[ROWS * WIDTH], due[ROWS * WIDTH], a[24], b[24];
    nb_tape *t = tape_of(_i);
    nb_sparse_table s = table_of(_i), other = s;
    nb_var w = nb_tensor(t, NULL, NB_SHAPE(ROWS, WIDTH), table_f64);
    nb_mark m = nb_tape_mark(t);
    for (int round = 0; round < 2; round++) {
        nb_var x = nb_embedding_sparse(t, &s, NB_SHAPE(2, 4), one);
        nb_var y = nb_embedding_sparse(t, &s, NB_SHAPE(3), two);
        nb_var lost = nb_embedding_sparse(t, &s, NB_POINT, three); /* on no way to the result */
        nb_var foreign = nb_embedding_sparse(t, &other, NB_SHAPE(3), two);
        nb_var u = nb_embedding(w, NB_SHAPE(2, 4), one), v = nb_embedding(w, NB_SHAPE(3), two);
        ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
        ck_assert(nb_shape_equal(nb_shape_of(x), NB_SHAPE(2, 4, WIDTH)));
        ck_assert(nb_shape_equal(nb_shape_of(lost), NB_SHAPE(WIDTH)));
        nb_read(x, a, 24), nb_read(u, b, 24);
        ck_assert_mem_eq(a, b, sizeof a);
        nb_var f = nb_add(nb_sum(nb_exp(nb_mul(x, 0.1))), nb_sum(nb_square(y)));
        nb_var g = nb_add(nb_sum(nb_exp(nb_mul(u, 0.1))), nb_sum(nb_square(v)));
        f = nb_add(f, nb_sum(foreign));
        nb_backward(g);
        nb_read_grad(w, due, ROWS * WIDTH);
        ck_assert_int_eq(dense(t, &s, got), 0); /* that sweep reached none */
        for (int sweep = 0; sweep < 2; sweep++) {
            nb_backward(f);
            ck_assert_int_eq(dense(t, &s, got), 5); /* 0 3 5 17 39 */
            ck_assert(same(got, due, 1));
        }
        ck_assert_int_eq(dense(t, &other, got), 3);
        ck_assert(got[5 * WIDTH] == 1 && got[17 * WIDTH + 2] == 1 && got[0] == 0);
        nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .accumulate = true});
        dense(t, &s, got);
        ck_assert(same(got, due, 2));
        nb_rewind(m);
        ck_assert_int_eq(dense(t, &s, got), 0); /* forgotten with the nodes */
    }
    nb_tape_free(t);
}
END_TEST

/* The rows are an input like any other: derivatives of second order, and a table that changed. */
START_TEST(second_order_and_updates)
{
    static const int64_t index[] = {4, 4, 9};
    double got[ROWS * WIDTH];
    nb_tape *t = tape_of(_i);
    nb_sparse_table s = table_of(_i);
    nb_var x = nb_embedding_sparse(t, &s, NB_SHAPE(3), index), rows = nb_input_of(x, 0), d;
    nb_var f = nb_sum(nb_mul(nb_square(x), x));
    ck_assert_int_eq(nb_dim(rows, 0), 2);
    ck_assert_int_eq(nb_diff(1, &f, NULL, 1, &rows, &d), NB_OK);
    nb_backward(nb_sum(d));
    ck_assert_int_eq(dense(t, &s, got), 2);
    ck_assert_double_eq_tol(got[4 * WIDTH], 12 * table_f64[4 * WIDTH], 1e-5);
    ck_assert_double_eq_tol(got[9 * WIDTH + 1], 6 * table_f64[9 * WIDTH + 1], 1e-5);
    table_f64[4 * WIDTH] = 100, table_f32[4 * WIDTH] = 100;
    double v[9];
    nb_read(nb_embedding_sparse(t, &s, NB_SHAPE(3), index), v, 9);
    ck_assert_double_eq(v[0], 100);
    nb_read(x, v, 9);
    ck_assert_double_ne(v[0], 100); /* the node keeps what it was computed from */
    nb_tape_free(t);
}
END_TEST

/* A table of 10^6 rows: what is taken is what the touched rows take. */
START_TEST(costs_the_rows_touched)
{
    enum { N = 1000000, D = 16, K = 64 };
    float *data = calloc((size_t)N * D, sizeof *data);
    int64_t index[K];
    nb_tape *t = tape_of(NB_F32);
    nb_sparse_table s = {data, N, D};
    nb_sparse_rows r;
    nb_rng rng = nb_rng_seed(1);
    ck_assert_ptr_nonnull(data);
    for (int i = 0; i < K; i++)
        index[i] = (int64_t)nb_rng_below(&rng, N);
    const size_t before = nb_tape_used(t);
    nb_var x = nb_embedding_sparse(t, &s, NB_SHAPE(K), index);
    nb_backward(nb_sum(x));
    ck_assert_int_eq(nb_sparse_grad(t, &s, &r), NB_OK);
    ck_assert(r.n > K / 2 && r.n <= K);
    ck_assert_uint_le(nb_tape_used(t) - before, 6 * K * D * sizeof(float));
    ck_assert_uint_le(nb_tape_bytes(t), 4 << 20);
    nb_tape_free(t);
    free(data);
}
END_TEST

START_TEST(nothing_to_look_up)
{
    nb_tape *t = tape_of(_i);
    nb_sparse_table s = table_of(_i), none = {NULL, 0, WIDTH}, thin = {NULL, 5, 0};
    nb_sparse_rows r;
    nb_var x = nb_embedding_sparse(t, &s, NB_SHAPE(2, 0), NULL);
    nb_var y = nb_embedding_sparse(t, &none, NB_SHAPE(0), NULL);
    nb_var z = nb_embedding_sparse(t, &thin, NB_SHAPE(2), (int64_t[]){4, 4});
    ck_assert(nb_ok(x) && nb_ok(y) && nb_ok(z));
    nb_backward(nb_add(nb_sum(x), nb_add(nb_sum(y), nb_sum(z))));
    ck_assert_int_eq(nb_sparse_grad(t, &s, &r), NB_OK);
    ck_assert_int_eq(r.n, 0);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(what_is_refused)
{
    const int64_t good[] = {1, 2}, high[] = {1, ROWS}, low[] = {-ROWS - 1, 0};
    nb_tape *t = tape_of(_i);
    nb_sparse_table s = table_of(_i), bad = {NULL, 4, 4}, huge = {&s, INT64_MAX, 4};
    nb_sparse_rows r;
    nb_var first = nb_embedding_sparse(t, &s, NB_SHAPE(2), good);
    const size_t count = nb_count(t), used = nb_tape_used(t);
    refused(t, nb_embedding_sparse(t, &s, NB_SHAPE(2), high), NB_ERR_INDEX,
            "index 40 at place 1, the table has 40 rows");
    refused(t, nb_embedding_sparse(t, &s, NB_SHAPE(2), low), NB_ERR_INDEX, "index -41 at place 0");
    refused(t, nb_embedding_sparse(t, &s, NB_SHAPE(2), NULL), NB_ERR_ARGUMENT, "NULL");
    refused(t, nb_embedding_sparse(t, NULL, NB_SHAPE(2), good), NB_ERR_ARGUMENT, "table");
    refused(t, nb_embedding_sparse(t, &bad, NB_SHAPE(2), good), NB_ERR_ARGUMENT, "data");
    refused(t, nb_embedding_sparse(t, &huge, NB_SHAPE(2), good), NB_ERR_ARGUMENT, "size");
    refused(t, nb_embedding_sparse(t, &s, NB_SHAPE(-1), good), NB_ERR_SHAPE,
            "none of them negative");
    refused(t, nb_embedding_sparse(t, &s, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 1), good), NB_ERR_SHAPE,
            "have 8 dimensions");
    ck_assert_int_eq(nb_sparse_grad(t, &s, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_sparse_grad(NULL, &s, &r), NB_ERR_ARGUMENT);
    ck_assert(!nb_ok(nb_embedding_sparse(NULL, &s, NB_SHAPE(2), good)));
    ck_assert_uint_eq(nb_count(t), count);
    ck_assert_uint_eq(nb_tape_used(t), used);
    ck_assert_int_eq(nb_backward(nb_sum(first)), NB_OK);
    ck_assert_int_eq(nb_sparse_grad(t, &s, &r), NB_OK);
    ck_assert_int_eq(r.n, 2);
    nb_tape_free(t);
}
END_TEST

START_TEST(memory_runs_out)
{
    enum { N = 3000 };
    static int64_t index[N];
    bool done = false, some = false;
    for (int i = 0; i < N; i++)
        index[i] = i * 7 % ROWS;
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = 0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 4, .bytes = 128});
        nb_sparse_table s = {table_f64, ROWS, WIDTH};
        nb_sparse_rows r;
        nb_input(t, "x", 1);
        c.refuse = c.calls + k, c.for_ever = true;
        nb_var x = nb_embedding_sparse(t, &s, NB_SHAPE(N), index);
        nb_var y = nb_embedding_sparse(t, &s, NB_SHAPE(N), index);
        nb_backward(nb_sum(nb_add(x, y)));
        nb_sparse_grad(t, &s, &r);
        done = c.refusals == 0;
        some = some || !done;
        ck_assert_int_eq(nb_status(t), done ? NB_OK : NB_ERR_MEMORY);
        c.refuse = 0;
        nb_clear(t);
        x = nb_embedding_sparse(t, &s, NB_SHAPE(N), index);
        ck_assert_int_eq(nb_backward(nb_sum(x)), NB_OK);
        ck_assert_int_eq(nb_sparse_grad(t, &s, &r), NB_OK);
        ck_assert_int_eq(r.n, ROWS);
        ck_assert_double_eq(((const double *)r.values)[0], N / ROWS);
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(some);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("sparse");
    tcase_add_loop_test(c, against_the_dense_gradient, 0, 2);
    tcase_add_loop_test(c, second_order_and_updates, 0, 2);
    tcase_add_test(c, costs_the_rows_touched);
    tcase_add_loop_test(c, nothing_to_look_up, 0, 2);
    tcase_add_loop_test(c, what_is_refused, 0, 2);
    tcase_add_test(c, memory_runs_out);
    return run_case("sparse", c);
}
