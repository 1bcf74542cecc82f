/*
 * Views, permutations, repetition, triangles and diagonals: what comes out, where the gradient
 * goes, and what is refused. See ramp.h for how one list of numbers tells all that.
 */
#include "ramp.h"

/* ---- views ----------------------------------------------------------------------------------- */

START_TEST(views)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 1, 6));
    nb_var y = nb_reshape(x, NB_SHAPE(3, -1));
    has_shape(y, NB_SHAPE(3, 4));
    ck_assert_ptr_eq(nb_data(y), nb_data(x));
    follows(y, x);
    y = nb_flatten(x);
    has_shape(y, NB_SHAPE(12));
    follows(y, x);
    has_shape(nb_squeeze(x, NB_ALL), NB_SHAPE(2, 6));
    y = nb_squeeze(x, NB_AXES(-2));
    has_shape(y, NB_SHAPE(2, 6));
    follows(y, x);
    y = nb_unsqueeze(x, -1);
    has_shape(y, NB_SHAPE(2, 1, 6, 1));
    follows(y, x);
    has_shape(nb_unsqueeze(x, 0), NB_SHAPE(1, 2, 1, 6));
    has_shape(nb_reshape(ramp(t, NB_SHAPE(1, 1)), NB_POINT), NB_POINT);
    has_shape(nb_flatten(ramp(t, NB_POINT)), NB_SHAPE(1));
    has_shape(nb_reshape(ramp(t, NB_SHAPE(0, 3)), NB_SHAPE(5, 0, 2)), NB_SHAPE(5, 0, 2));
    has_shape(nb_reshape(ramp(t, NB_SHAPE(0, 3)), NB_SHAPE(2, -1)), NB_SHAPE(2, 0));
    nb_tape_free(t);
}
END_TEST

START_TEST(views_refuse)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 1, 6)), s = nb_input(t, "s", 3);
    nb_var deep = ramp(t, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 2));
    REFUSED(nb_reshape(x, NB_SHAPE(5, 2)), x, NB_ERR_SHAPE);
    REFUSED(nb_reshape(x, NB_SHAPE(-1, -1)), x, NB_ERR_SHAPE);
    REFUSED(nb_reshape(x, NB_SHAPE(5, -1)), x, NB_ERR_SHAPE);
    REFUSED(nb_reshape(x, NB_SHAPE(-2, 6)), x, NB_ERR_SHAPE);
    REFUSED(nb_reshape(x, NB_SHAPE(0, -1)), x, NB_ERR_SHAPE);
    REFUSED(nb_reshape(x, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 1, 12)), x, NB_ERR_SHAPE);
    REFUSED(nb_reshape(x, NB_SHAPE(INT64_MAX, 3)), x, NB_ERR_OVERFLOW);
    REFUSED(nb_reshape(s, NB_SHAPE(1)), s, NB_ERR_SHAPE);
    REFUSED(nb_reshape(x, nb_shape_of(s)), x, NB_ERR_SHAPE);
    REFUSED(nb_flatten(s), s, NB_ERR_SHAPE);
    REFUSED(nb_squeeze(x, NB_AXES(0)), x, NB_ERR_SHAPE);
    REFUSED(nb_squeeze(x, NB_AXES(3)), x, NB_ERR_AXIS);
    REFUSED(nb_squeeze(x, NB_AXES(1, -2)), x, NB_ERR_AXIS);
    REFUSED(nb_unsqueeze(x, 4), x, NB_ERR_AXIS);
    REFUSED(nb_unsqueeze(x, -5), x, NB_ERR_AXIS);
    REFUSED(nb_unsqueeze(deep, 0), deep, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

/* ---- permutations ---------------------------------------------------------------------------- */

START_TEST(permutations)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3, 2));
    nb_var y = nb_permute(x, NB_AXES(2, 0, 1));
    is(y, NB_SHAPE(2, 2, 3), VALUES(1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12));
    follows(y, x);
    y = nb_permute(x, NB_AXES(-2, -1, 0));
    is(y, NB_SHAPE(3, 2, 2), VALUES(1, 7, 2, 8, 3, 9, 4, 10, 5, 11, 6, 12));
    follows(y, x);
    y = nb_transpose(x);
    is(y, NB_SHAPE(2, 2, 3), VALUES(1, 3, 5, 2, 4, 6, 7, 9, 11, 8, 10, 12));
    follows(y, x);
    y = nb_flip(x, NB_AXES(1));
    is(y, NB_SHAPE(2, 3, 2), VALUES(5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8));
    follows(y, x);
    y = nb_flip(x, NB_AXES(0, -1));
    is(y, NB_SHAPE(2, 3, 2), VALUES(8, 7, 10, 9, 12, 11, 2, 1, 4, 3, 6, 5));
    follows(y, x);
    y = nb_flip(x, NB_ALL);
    is(y, NB_SHAPE(2, 3, 2), VALUES(12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1));
    follows(y, x);
    has_shape(nb_permute(ramp(t, NB_SHAPE(0, 4, 3)), NB_AXES(1, 2, 0)), NB_SHAPE(4, 3, 0));
    has_shape(nb_flip(ramp(t, NB_SHAPE(0, 4)), NB_ALL), NB_SHAPE(0, 4));
    has_shape(nb_transpose(ramp(t, NB_SHAPE(0, 4))), NB_SHAPE(4, 0));
    nb_tape_free(t);
}
END_TEST

/* Every order of four axes, against the definition; larger than the blocks of a transposition. */
START_TEST(permutations_all)
{
    nb_tape *t = tape_of(_i);
    const int64_t d[] = {3, 35, 2, 19};
    nb_var x = ramp(t, NB_SHAPE(d[0], d[1], d[2], d[3]));
    const int64_t stride[] = {d[1] * d[2] * d[3], d[2] * d[3], d[3], 1};
    double y[MOST];
    for (int code = 0; code < 256; code++) {
        int o[] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6};
        if ((1 << o[0] | 1 << o[1] | 1 << o[2] | 1 << o[3]) != 15)
            continue;
        nb_var v = nb_permute(x, NB_AXES(o[0], o[1], o[2], o[3]));
        has_shape(v, NB_SHAPE(d[o[0]], d[o[1]], d[o[2]], d[o[3]]));
        ck_assert_int_eq(nb_read(v, y, nb_size(v)), NB_OK);
        const double *p = y;
        for (int64_t a = 0; a < d[o[0]]; a++)
            for (int64_t b = 0; b < d[o[1]]; b++)
                for (int64_t c = 0; c < d[o[2]]; c++)
                    for (int64_t e = 0; e < d[o[3]]; e++)
                        ck_assert_double_eq(*p++,
                                            (double)(a * stride[o[0]] + b * stride[o[1]] +
                                                     c * stride[o[2]] + e * stride[o[3]] + 1));
        follows(v, x);
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(permutations_refuse)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3, 2)), v = ramp(t, NB_SHAPE(3)), s = nb_input(t, "s", 3);
    REFUSED(nb_permute(x, NB_AXES(0, 1)), x, NB_ERR_AXIS);
    REFUSED(nb_permute(x, NB_ALL), x, NB_ERR_AXIS);
    REFUSED(nb_permute(x, NB_AXES(0, 1, 3)), x, NB_ERR_AXIS);
    REFUSED(nb_permute(x, NB_AXES(0, 1, -2)), x, NB_ERR_AXIS);
    REFUSED(nb_permute(x, NB_AXES(0, 1, 2, 0, 1, 2, 0, 1, 2)), x, NB_ERR_AXIS);
    REFUSED(nb_permute(s, NB_AXES(0)), s, NB_ERR_SHAPE);
    REFUSED(nb_transpose(v), v, NB_ERR_SHAPE);
    REFUSED(nb_transpose(s), s, NB_ERR_SHAPE);
    REFUSED(nb_flip(x, NB_AXES(3)), x, NB_ERR_AXIS);
    REFUSED(nb_flip(x, NB_AXES(1, 1)), x, NB_ERR_AXIS);
    REFUSED(nb_flip(s, NB_ALL), s, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

/* ---- repetition and frames ------------------------------------------------------------------- */

START_TEST(repetition)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 1)), y = nb_expand(x, NB_SHAPE(2, 2, 3));
    is(y, NB_SHAPE(2, 2, 3), VALUES(1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2, 2));
    follows(y, x);
    is(nb_expand(nb_input(t, "s", 7), NB_SHAPE(3)), NB_SHAPE(3), VALUES(7, 7, 7));
    has_shape(nb_expand(x, NB_SHAPE(2, 0)), NB_SHAPE(2, 0));
    x = ramp(t, NB_SHAPE(2, 2));
    y = nb_tile(x, NB_SHAPE(2, 3));
    is(y, NB_SHAPE(4, 6),
       VALUES(1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4, 1, 2, 1, 2, 1, 2, 3, 4, 3, 4, 3, 4));
    follows(y, x);
    y = nb_tile(x, NB_SHAPE(2));
    is(y, NB_SHAPE(2, 4), VALUES(1, 2, 1, 2, 3, 4, 3, 4));
    follows(y, x);
    y = nb_tile(x, NB_SHAPE(2, 1, 2));
    has_shape(y, NB_SHAPE(2, 2, 4));
    follows(y, x);
    y = nb_tile(x, NB_SHAPE(0, 1));
    has_shape(y, NB_SHAPE(0, 2));
    follows(y, x);
    has_shape(nb_tile(ramp(t, NB_SHAPE(1, 1, 1)), NB_SHAPE(INT64_MAX, 0, INT64_MAX)),
              NB_SHAPE(INT64_MAX, 0, INT64_MAX));
    y = nb_pad(x, 1, 2, 1, -5);
    is(y, NB_SHAPE(2, 5), VALUES(-5, -5, 1, 2, -5, -5, -5, 3, 4, -5));
    follows(y, x);
    y = nb_pad(x, -2, 0, 1, 0);
    is(y, NB_SHAPE(3, 2), VALUES(1, 2, 3, 4, 0, 0));
    follows(y, x);
    is(nb_pad(ramp(t, NB_SHAPE(0)), 0, 1, 1, 3), NB_SHAPE(2), VALUES(3, 3));
    nb_tape_free(t);
}
END_TEST

START_TEST(repetition_refuse)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3)), s = nb_input(t, "s", 3);
    REFUSED(nb_expand(x, NB_SHAPE(2, 4)), x, NB_ERR_SHAPE);
    REFUSED(nb_expand(x, NB_SHAPE(3)), x, NB_ERR_SHAPE);
    REFUSED(nb_expand(x, NB_SHAPE(-1, 3)), x, NB_ERR_SHAPE);
    REFUSED(nb_expand(s, NB_SHAPE(INT64_MAX, INT64_MAX)), s, NB_ERR_OVERFLOW);
    REFUSED(nb_expand(s, NB_SHAPE(INT64_MAX)), s, NB_ERR_OVERFLOW);
    REFUSED(nb_expand(x, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 2, 3)), x, NB_ERR_SHAPE);
    REFUSED(nb_tile(x, NB_SHAPE(-1)), x, NB_ERR_SHAPE);
    REFUSED(nb_tile(x, NB_SHAPE(INT64_MAX)), x, NB_ERR_OVERFLOW);
    REFUSED(nb_tile(s, NB_SHAPE(2)), s, NB_ERR_SHAPE);
    REFUSED(nb_pad(x, 2, 1, 1, 0), x, NB_ERR_AXIS);
    REFUSED(nb_pad(x, 0, -1, 1, 0), x, NB_ERR_ARGUMENT);
    REFUSED(nb_pad(x, 0, 1, INT64_MIN, 0), x, NB_ERR_ARGUMENT);
    REFUSED(nb_pad(x, 0, INT64_MAX, INT64_MAX, 0), x, NB_ERR_OVERFLOW);
    REFUSED(nb_pad(s, 0, 1, 1, 0), s, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

/* ---- triangles and diagonals ----------------------------------------------------------------- */

START_TEST(triangles)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(3, 4)), y = nb_lower(x, 0);
    is(y, NB_SHAPE(3, 4), VALUES(1, 0, 0, 0, 5, 6, 0, 0, 9, 10, 11, 0));
    follows(y, x);
    y = nb_upper(x, 1);
    is(y, NB_SHAPE(3, 4), VALUES(0, 2, 3, 4, 0, 0, 7, 8, 0, 0, 0, 12));
    follows(y, x);
    y = nb_upper(x, -1);
    is(y, NB_SHAPE(3, 4), VALUES(1, 2, 3, 4, 5, 6, 7, 8, 0, 10, 11, 12));
    is(nb_lower(x, INT64_MAX), NB_SHAPE(3, 4), VALUES(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
    is(nb_upper(x, INT64_MIN), NB_SHAPE(3, 4), VALUES(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12));
    is(nb_lower(x, INT64_MIN), NB_SHAPE(3, 4), VALUES(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    is(nb_upper(x, INT64_MAX), NB_SHAPE(3, 4), VALUES(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    x = ramp(t, NB_SHAPE(2, 2, 2));
    y = nb_lower(x, 0);
    is(y, NB_SHAPE(2, 2, 2), VALUES(1, 0, 3, 4, 5, 0, 7, 8));
    follows(y, x);
    nb_var wild = nb_tensor(t, NULL, NB_SHAPE(2, 2), VALUES(1, (double)INFINITY, 3, 4));
    is(nb_lower(wild, 0), NB_SHAPE(2, 2), VALUES(1, 0, 3, 4));
    has_shape(nb_lower(ramp(t, NB_SHAPE(0, 3)), 0), NB_SHAPE(0, 3));
    nb_var v = ramp(t, NB_SHAPE(3)), s = nb_input(t, "s", 1);
    REFUSED(nb_lower(v, 0), v, NB_ERR_SHAPE);
    REFUSED(nb_upper(s, 0), s, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

START_TEST(diagonals)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2)), y = nb_diag(x, 1);
    is(y, NB_SHAPE(3, 3), VALUES(0, 1, 0, 0, 0, 2, 0, 0, 0));
    follows(y, x);
    y = nb_diag(x, -1);
    is(y, NB_SHAPE(3, 3), VALUES(0, 0, 0, 1, 0, 0, 0, 2, 0));
    follows(y, x);
    has_shape(nb_diag(ramp(t, NB_SHAPE(0)), 0), NB_SHAPE(0, 0));
    is(nb_diag(ramp(t, NB_SHAPE(0)), 1), NB_SHAPE(1, 1), VALUES(0));
    x = ramp(t, NB_SHAPE(2, 3, 4));
    y = nb_diagonal(x, 0);
    is(y, NB_SHAPE(2, 3), VALUES(1, 6, 11, 13, 18, 23));
    follows(y, x);
    y = nb_diagonal(x, 2);
    is(y, NB_SHAPE(2, 2), VALUES(3, 8, 15, 20));
    follows(y, x);
    y = nb_diagonal(x, -2);
    is(y, NB_SHAPE(2, 1), VALUES(9, 21));
    follows(y, x);
    has_shape(nb_diagonal(x, INT64_MAX), NB_SHAPE(2, 0));
    has_shape(nb_diagonal(x, INT64_MIN), NB_SHAPE(2, 0));
    is(nb_trace(x), NB_SHAPE(2), VALUES(18, 54));
    nb_var m = ramp(t, NB_SHAPE(3, 3)), trace = nb_trace(m);
    ck_assert(!nb_is_tensor(trace));
    ck_assert_double_eq(nb_value(trace), 15);
    ck_assert_int_eq(nb_backward(nb_square(trace)), NB_OK);
    double d[9];
    ck_assert_int_eq(nb_read_grad(m, d, 9), NB_OK);
    for (int i = 0; i < 9; i++)
        ck_assert_double_eq(d[i], i % 4 ? 0 : 30);
    ck_assert_double_eq(nb_value(nb_trace(ramp(t, NB_SHAPE(0, 5)))), 0);
    nb_tape_free(t);
}
END_TEST

START_TEST(diagonals_refuse)
{
    nb_tape *t = tape_of(_i);
    nb_var deep = ramp(t, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 2)), m = ramp(t, NB_SHAPE(3, 3));
    nb_var v = ramp(t, NB_SHAPE(3)), s = nb_input(t, "s", 1);
    REFUSED(nb_diag(deep, 0), deep, NB_ERR_SHAPE);
    REFUSED(nb_diag(s, 0), s, NB_ERR_SHAPE);
    REFUSED(nb_diag(m, INT64_MIN), m, NB_ERR_OVERFLOW);
    REFUSED(nb_diag(m, INT64_MAX), m, NB_ERR_OVERFLOW);
    REFUSED(nb_diag(m, INT64_MAX - 3), m, NB_ERR_OVERFLOW);
    REFUSED(nb_diagonal(v, 0), v, NB_ERR_SHAPE);
    REFUSED(nb_trace(v), v, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        views,      views_refuse,      permutations, permutations_all, permutations_refuse,
        repetition, repetition_refuse, triangles,    diagonals,        diagonals_refuse};
    return run("shape", sizeof tests / sizeof *tests, tests);
}
