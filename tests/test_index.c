/*
 * Indexing: one element, selected rows, an index for each element, and their transposes. See ramp.h
 * for how one list of numbers tells value and gradient; where an index is repeated, the gradients
 * of all its readings come together at one place.
 */
#include "ramp.h"

START_TEST(elements)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3)), p = ramp(t, NB_POINT);
    nb_var y = nb_at(x, 1, -1);
    ck_assert(!nb_is_tensor(y));
    ck_assert_double_eq(nb_value(y), 6);
    ck_assert_double_eq(nb_value(nb_at(x, -2, 0)), 1);
    ck_assert_double_eq(nb_value(nb_at_index(p, 0, NULL)), 1);
    nb_var f = nb_add(nb_mul(y, nb_at(x, 0, 1)), nb_mul(3, y));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    double d[6];
    ck_assert_int_eq(nb_read_grad(x, d, 6), NB_OK);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(d[i], i == 5 ? 5 : i == 1 ? 6 : 0);
    /* every element of a gradient, differentiated again: f = x0 x5, so d/dx0 of df/dx5 is 1 */
    nb_var g = nb_derivative(nb_mul(nb_at(x, 0, 0), y), x);
    ck_assert_int_eq(nb_backward(nb_at(g, 1, 2)), NB_OK);
    ck_assert_int_eq(nb_read_grad(x, d, 6), NB_OK);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(d[i], i == 0);
    nb_tape_free(t);
}
END_TEST

START_TEST(elements_refuse)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3)), e = ramp(t, NB_SHAPE(0)), s = nb_input(t, "s", 3);
    REFUSED(nb_at(x, 2, 0), x, NB_ERR_INDEX);
    REFUSED(nb_at(x, 0, -4), x, NB_ERR_INDEX);
    REFUSED(nb_at(x, INT64_MIN, 0), x, NB_ERR_INDEX);
    REFUSED(nb_at(x, 0), x, NB_ERR_INDEX);
    REFUSED(nb_at(x, 0, 0, 0), x, NB_ERR_INDEX);
    REFUSED(nb_at(x, 0, 0, 0, 0, 0, 0, 0, 0, 0), x, NB_ERR_INDEX);
    REFUSED(nb_at_index(x, 2, NULL), x, NB_ERR_ARGUMENT);
    REFUSED(nb_at(e, 0), e, NB_ERR_INDEX);
    REFUSED(nb_at(s, 0), s, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

START_TEST(rows)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3, 2));
    nb_var y = nb_index_select(x, 1, 4, (int64_t[]){2, 0, -1, 2});
    is(y, NB_SHAPE(2, 4, 2), VALUES(5, 6, 1, 2, 5, 6, 5, 6, 11, 12, 7, 8, 11, 12, 11, 12));
    follows(y, x);
    y = nb_index_select(x, -1, 1, (int64_t[]){1});
    is(y, NB_SHAPE(2, 3, 1), VALUES(2, 4, 6, 8, 10, 12));
    follows(y, x);
    y = nb_index_select(x, 0, 0, NULL);
    has_shape(y, NB_SHAPE(0, 3, 2));
    follows(y, x);
    nb_var table = ramp(t, NB_SHAPE(3, 2));
    y = nb_embedding(table, NB_SHAPE(2, 2), (int64_t[]){1, 1, -3, 1});
    is(y, NB_SHAPE(2, 2, 2), VALUES(3, 4, 3, 4, 1, 2, 3, 4));
    follows(y, table);
    is(nb_embedding(table, NB_POINT, (int64_t[]){2}), NB_SHAPE(2), VALUES(5, 6));
    has_shape(nb_embedding(table, NB_SHAPE(4, 0), NULL), NB_SHAPE(4, 0, 2));
    nb_tape_free(t);
}
END_TEST

START_TEST(rows_refuse)
{
    nb_tape *t = tape_of(_i);
    const int64_t index[] = {0, 1, 3, -1};
    nb_var x = ramp(t, NB_SHAPE(2, 3)), e = ramp(t, NB_SHAPE(2, 0)), s = nb_input(t, "s", 3);
    REFUSED(nb_index_select(x, 1, 4, index), x, NB_ERR_INDEX);
    REFUSED(nb_index_select(x, 2, 2, index), x, NB_ERR_AXIS);
    REFUSED(nb_index_select(x, 0, 2, NULL), x, NB_ERR_ARGUMENT);
    REFUSED(nb_index_select(x, 0, SIZE_MAX, index), x, NB_ERR_SHAPE);
    REFUSED(nb_index_select(e, 1, 1, index), e, NB_ERR_INDEX);
    REFUSED(nb_index_select(s, 0, 1, index), s, NB_ERR_SHAPE);
    REFUSED(nb_embedding(x, NB_SHAPE(1), &index[2]), x, NB_ERR_INDEX);
    REFUSED(nb_embedding(x, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 1), index), x, NB_ERR_SHAPE);
    REFUSED(nb_embedding(x, NB_SHAPE(INT64_MAX, 4), index), x, NB_ERR_OVERFLOW);
    REFUSED(nb_embedding(s, NB_SHAPE(1), index), s, NB_ERR_SHAPE);
    nb_index_select(x, 1, 4, index);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "index 3 at place 2"));
    nb_tape_free(t);
}
END_TEST

START_TEST(each)
{
    nb_tape *t = tape_of(_i);
    const int64_t index[] = {1, 0, -1, 1, 1, 0};
    nb_var x = ramp(t, NB_SHAPE(2, 3)), y = nb_gather(x, 0, NB_SHAPE(2, 3), index);
    is(y, NB_SHAPE(2, 3), VALUES(4, 2, 6, 4, 5, 3));
    follows(y, x);
    y = nb_gather(x, -1, NB_SHAPE(2, 2), index);
    is(y, NB_SHAPE(2, 2), VALUES(2, 1, 6, 5));
    follows(y, x);
    has_shape(nb_gather(x, 1, NB_SHAPE(2, 0), NULL), NB_SHAPE(2, 0));
    nb_var source = ramp(t, NB_SHAPE(2, 3)), base = nb_full(t, NB_SHAPE(2, 3), 100);
    y = nb_scatter_add(base, 0, NB_SHAPE(2, 3), index, source);
    is(y, NB_SHAPE(2, 3), VALUES(100, 102, 106, 105, 105, 103));
    y = nb_scatter_add(x, 1, NB_SHAPE(2, 3), (int64_t[]){0, 0, 0, 2, 1, 2}, source);
    is(y, NB_SHAPE(2, 3), VALUES(7, 2, 3, 4, 10, 16));
    const double seed[] = {1, 2, 3, 4, 5, 6}, *const seeds[] = {seed};
    for (int again = 0; again < 2; again++) /* the second sweep finds used buffers */
        ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seeds}),
                         NB_OK);
    double dx[6], ds[6];
    ck_assert_int_eq(nb_read_grad(x, dx, 6) | nb_read_grad(source, ds, 6), NB_OK);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(dx[i], seed[i]);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq(ds[i], VALUES(1, 1, 1, 6, 5, 6)[i]);
    nb_tape_free(t);
}
END_TEST

START_TEST(each_refuse)
{
    nb_tape *t = tape_of(_i);
    const int64_t index[] = {1, 0, 2, 1, 1, 0};
    nb_var x = ramp(t, NB_SHAPE(2, 3)), v = ramp(t, NB_SHAPE(6)), s = nb_input(t, "s", 3);
    REFUSED(nb_gather(x, 0, NB_SHAPE(2, 3), index), x, NB_ERR_INDEX);
    REFUSED(nb_gather(x, 0, NB_SHAPE(2, 2), index), x, NB_ERR_SHAPE);
    REFUSED(nb_gather(x, 0, NB_SHAPE(6), index), x, NB_ERR_SHAPE);
    REFUSED(nb_gather(x, 2, NB_SHAPE(2, 3), index), x, NB_ERR_AXIS);
    REFUSED(nb_gather(x, 0, NB_SHAPE(2, 3), NULL), x, NB_ERR_ARGUMENT);
    REFUSED(nb_gather(x, 0, NB_SHAPE(-1, 3), index), x, NB_ERR_SHAPE);
    REFUSED(nb_gather(s, 0, NB_SHAPE(1), index), s, NB_ERR_SHAPE);
    REFUSED(nb_scatter_add(x, 0, NB_SHAPE(2, 3), index, x), x, NB_ERR_INDEX);
    REFUSED(nb_scatter_add(x, 1, NB_SHAPE(2, 3), index, v), x, NB_ERR_SHAPE);
    REFUSED(nb_scatter_add(x, 1, NB_SHAPE(2, 3), index, s), x, NB_ERR_SHAPE);
    REFUSED(nb_scatter_add(x, 1, NB_SHAPE(6), index, v), x, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

/* The caller's indices may change after the call; the gradient follows what was recorded. */
START_TEST(indices_are_copied)
{
    nb_tape *t = tape_of(_i);
    int64_t index[] = {2, 2, 0};
    nb_var x = ramp(t, NB_SHAPE(3)), y = nb_index_select(x, 0, 3, index);
    index[0] = index[1] = index[2] = 1;
    follows(y, x);
    nb_tape_free(t);
}
END_TEST

/* A place that is named a million times: the sum's error does not grow with their number. */
START_TEST(repeated_often)
{
    enum { N = 1000000 };
    nb_tape *t = tape_of(_i);
    int64_t *index = calloc(N, sizeof *index);
    double sum;
    nb_var x = ramp(t, NB_SHAPE(1)), tenth = nb_full(t, NB_SHAPE(N), 0.1);
    nb_var y = nb_scatter_add(x, 0, NB_SHAPE(N), index, tenth);
    ck_assert_int_eq(nb_read(y, &sum, 1), NB_OK);
    ck_assert_double_eq_tol(sum, 100001, _i == NB_F32 ? 0.01 : 1e-5);
    ck_assert_int_eq(nb_backward(nb_sum(nb_mul(nb_index_select(x, 0, N, index), tenth))), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), 100000, _i == NB_F32 ? 0.01 : 1e-5);
    free(index);
    nb_tape_free(t);
}
END_TEST

START_TEST(masks)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3)), v = nb_input(t, "v", -9), row, y;
    row = nb_constant_tensor(t, NB_SHAPE(3), VALUES(0, 1, 0));
    y = nb_masked_fill(x, row, v);
    is(y, NB_SHAPE(2, 3), VALUES(1, -9, 3, 4, -9, 6));
    follows(y, x);
    ck_assert_int_eq(nb_backward(nb_sum(y)), NB_OK);
    ck_assert_double_eq(nb_grad(v), 2);
    is(nb_masked_fill(x, row, 0), NB_SHAPE(2, 3), VALUES(1, 0, 3, 4, 0, 6));
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        elements,    elements_refuse,    rows,           rows_refuse, each,
        each_refuse, indices_are_copied, repeated_often, masks};
    return run("index", sizeof tests / sizeof *tests, tests);
}
