/*
 * Taking apart along an axis and putting together: slices, splits, concat and stack. See ramp.h for
 * how one list of numbers tells value and gradient.
 */
#include "ramp.h"

/* ---- slices ---------------------------------------------------------------------------------- */

/* Start, stop and step on an axis of n, and the positions that Python's range gives. */
START_TEST(slice_positions)
{
    static const struct {
        int64_t n, start, stop, step, count, at[5];
    } cases[] = {
        {5, 0, 5, 1, 5, {0, 1, 2, 3, 4}},
        {5, 1, NB_END, 2, 2, {1, 3}},
        {5, -2, NB_END, 1, 2, {3, 4}},
        {5, 0, -1, 1, 4, {0, 1, 2, 3}},
        {5, NB_END, NB_BEGIN, -1, 5, {4, 3, 2, 1, 0}},
        {5, NB_END, NB_BEGIN, -2, 3, {4, 2, 0}},
        {5, 3, 0, -1, 3, {3, 2, 1}},
        {5, 3, -5, -1, 3, {3, 2, 1}},
        {5, 3, -6, -1, 4, {3, 2, 1, 0}},
        {5, -9, 9, 3, 2, {0, 3}},
        {5, 9, -9, -3, 2, {4, 1}},
        {5, 3, 3, 1, 0, {0}},
        {5, 4, 1, 1, 0, {0}},
        {5, 1, 4, -1, 0, {0}},
        {5, -9, NB_BEGIN, -1, 0, {0}},
        {5, 9, NB_END, 1, 0, {0}},
        {5, 2, NB_END, INT64_MAX, 1, {2}},
        {5, 2, NB_BEGIN, INT64_MIN, 1, {2}},
        {5, INT64_MIN, INT64_MAX, INT64_MAX, 1, {0}},
        {5, INT64_MAX, INT64_MIN, INT64_MIN, 1, {4}},
        {5, INT64_MIN, INT64_MIN, 1, 0, {0}},
        {1, 0, 1, -1, 0, {0}},
        {1, -1, NB_BEGIN, -1, 1, {0}},
        {0, 0, NB_END, 1, 0, {0}},
        {0, NB_END, NB_BEGIN, -1, 0, {0}},
    };
    nb_tape *t = tape_of(_i);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int64_t inner = 1; inner < 4; inner++) {
            nb_var x = ramp(t, NB_SHAPE(2, cases[k].n, inner));
            nb_var y = nb_slice(x, 1, cases[k].start, cases[k].stop, cases[k].step);
            double want[MOST], *p = want;
            for (int64_t o = 0; o < 2; o++)
                for (int64_t j = 0; j < cases[k].count; j++)
                    for (int64_t i = 0; i < inner; i++)
                        *p++ = (double)((o * cases[k].n + cases[k].at[j]) * inner + i + 1);
            is(y, NB_SHAPE(2, cases[k].count, inner), want);
            follows(y, x);
        }
    nb_tape_free(t);
}
END_TEST

START_TEST(slice_refuses)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 3)), s = nb_input(t, "s", 3);
    REFUSED(nb_slice(x, 2, 0, 1, 1), x, NB_ERR_AXIS);
    REFUSED(nb_slice(x, 0, 0, 1, 0), x, NB_ERR_ARGUMENT);
    REFUSED(nb_slice(s, 0, 0, 1, 1), s, NB_ERR_SHAPE);
    nb_tape_free(t);
}
END_TEST

/* ---- joining --------------------------------------------------------------------------------- */

START_TEST(joins)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 2)), c = nb_zeros(t, NB_SHAPE(2, 1)), s = nb_input(t, "s", 9);
    nb_var y = nb_concat(3, (nb_var[]){x, c, x}, -1);
    is(y, NB_SHAPE(2, 5), VALUES(1, 2, 0, 1, 2, 3, 4, 0, 3, 4));
    follows(y, x);
    y = nb_concat(2, (nb_var[]){x, nb_zeros(t, NB_SHAPE(0, 2))}, 0);
    is(y, NB_SHAPE(2, 2), VALUES(1, 2, 3, 4));
    follows(y, x);
    y = nb_stack(2, (nb_var[]){x, nb_zeros(t, NB_SHAPE(2, 2))}, 1);
    is(y, NB_SHAPE(2, 2, 2), VALUES(1, 2, 0, 0, 3, 4, 0, 0));
    follows(y, x);
    y = nb_stack(2, (nb_var[]){x, x}, -1);
    is(y, NB_SHAPE(2, 2, 2), VALUES(1, 1, 2, 2, 3, 3, 4, 4));
    follows(y, x);
    y = nb_stack(3, (nb_var[]){s, nb_constant(t, 2), s}, 0);
    is(y, NB_SHAPE(3), VALUES(9, 2, 9));
    const double seed[] = {1, 2, 4}, *const seeds[] = {seed};
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seeds}), NB_OK);
    ck_assert_double_eq(nb_grad(s), 5);
    has_shape(nb_stack(1, (nb_var[]){ramp(t, NB_SHAPE(0, 3))}, 0), NB_SHAPE(1, 0, 3));
    nb_tape_free(t);
}
END_TEST

START_TEST(joins_refuse)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 2)), y = ramp(t, NB_SHAPE(2, 3)), s = nb_input(t, "s", 9);
    nb_var p = ramp(t, NB_POINT), v = ramp(t, NB_SHAPE(4)),
           deep = ramp(t, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, 2));
    REFUSED(nb_concat(2, (nb_var[]){x, y}, 0), x, NB_ERR_SHAPE);
    REFUSED(nb_concat(2, (nb_var[]){x, v}, 0), x, NB_ERR_SHAPE);
    REFUSED(nb_concat(2, (nb_var[]){x, x}, 2), x, NB_ERR_AXIS);
    REFUSED(nb_concat(2, (nb_var[]){x, s}, 0), x, NB_ERR_SHAPE);
    REFUSED(nb_concat(2, (nb_var[]){p, p}, 0), x, NB_ERR_AXIS);
    REFUSED(nb_stack(2, (nb_var[]){x, y}, 0), x, NB_ERR_SHAPE);
    REFUSED(nb_stack(2, (nb_var[]){x, s}, 0), x, NB_ERR_SHAPE);
    REFUSED(nb_stack(2, (nb_var[]){s, p}, 0), x, NB_ERR_SHAPE);
    REFUSED(nb_stack(2, (nb_var[]){s, s}, 1), x, NB_ERR_AXIS);
    REFUSED(nb_stack(2, (nb_var[]){x, x}, -4), x, NB_ERR_AXIS);
    REFUSED(nb_stack(2, (nb_var[]){deep, deep}, 0), x, NB_ERR_SHAPE);
    ck_assert(!nb_ok(nb_concat(0, NULL, 0)));
    ck_assert(!nb_ok(nb_stack(0, &x, 0)));
    nb_tape_free(t);
}
END_TEST

START_TEST(splits)
{
    nb_tape *t = tape_of(_i);
    nb_var x = ramp(t, NB_SHAPE(2, 6)), part[6];
    ck_assert_int_eq(nb_split(x, 3, 1, part), NB_OK);
    is(part[0], NB_SHAPE(2, 2), VALUES(1, 2, 7, 8));
    is(part[2], NB_SHAPE(2, 2), VALUES(5, 6, 11, 12));
    follows(part[1], x);
    follows(nb_concat(3, part, 0), x);
    ck_assert_int_eq(nb_split(x, 1, 0, part), NB_OK);
    has_shape(part[0], NB_SHAPE(2, 6));
    size_t count = nb_count(t);
    static const struct {
        size_t n;
        int axis;
        nb_code code;
    } bad[] = {{4, 1, NB_ERR_SHAPE}, {2, 2, NB_ERR_AXIS}, {0, 0, NB_ERR_ARGUMENT}};
    for (size_t k = 0; k < 3; k++) {
        ck_assert_int_eq(nb_split(x, bad[k].n, bad[k].axis, part), bad[k].code);
        ck_assert(bad[k].n == 0 || (!nb_ok(part[0]) && !nb_ok(part[bad[k].n - 1])));
        ck_assert_uint_eq(nb_count(t), count);
        nb_clear(t);
    }
    ck_assert_int_eq(nb_split(x, 2, 0, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_ne(nb_split(NB_NONE, 2, 0, part), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* All parts or none, when memory ends in the middle. */
START_TEST(splits_wholly)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)_i, .max_bytes = 1 << 20});
    static double zeros[1 << 14];
    nb_var x = nb_tensor(t, "x", NB_SHAPE(2, 1 << 13), zeros), part[2] = {x, x};
    size_t count = 0;
    nb_code code = NB_OK;
    while (code == NB_OK) {
        count = nb_count(t);
        code = nb_split(x, 2, 0, part);
    }
    ck_assert(code == NB_ERR_LIMIT || code == NB_ERR_MEMORY);
    ck_assert_uint_eq(nb_count(t), count);
    ck_assert(!nb_ok(part[0]) && !nb_ok(part[1]));
    ck_assert(nb_ok(x));
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {slice_positions, slice_refuses, joins,
                                  joins_refuse,    splits,        splits_wholly};
    return run("slice", sizeof tests / sizeof *tests, tests);
}
