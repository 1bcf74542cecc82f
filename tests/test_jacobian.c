/*
 * Jacobians, forward against reverse; and for all dense derivatives that the tape is found again as it
 * was left, what happens without memory, and what is refused.
 */
#include "matrix.h"

#include <stdint.h>

enum {
    OUTPUTS = 8,
    INPUTS = 7,
    ROWS = 3 + 2 + 4 + 1 + 1 + 1 + 1 + 1,
    COLUMNS = 6 + 1 + 3 + 1 + 1 + 1 + 2
};

/* Scalars and tensors, constants, an input that is an output, an interior node that is an input, an
 * input named twice, one that nothing depends on. */
static void mixed(nb_tape *t, nb_var *out, nb_var *in)
{
    static const double w[] = {1, -2, 0.5, 3, 0.25, -1}, b[] = {0.5, 1, -0.75};
    nb_var a = nb_tensor(t, "a", NB_SHAPE(2, 3), w), s = nb_input(t, "s", 0.3);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(3), b), u = nb_sin(s);
    in[0] = a, in[1] = s, in[2] = v, in[3] = u, in[4] = s;
    in[5] = nb_input(t, "alone", 1);
    in[6] = nb_ones(t, NB_SHAPE(2));
    nb_var y = nb_matmul(a, v);
    out[0] = nb_mul(nb_exp(v), u);
    out[1] = nb_mul(nb_tanh(y), in[6]);
    out[2] = nb_outer(y, nb_softmax(y, 0));
    out[3] = nb_mul(s, nb_square(u));
    out[4] = s;
    out[5] = nb_constant(t, 3);
    out[6] = nb_detach(u);
    out[7] = nb_norm_of(2, (nb_var[]){u, nb_logsumexp(v)});
}

static double entry(const double *J, int row, int column) { return J[row * COLUMNS + column]; }

START_TEST(forward_and_reverse)
{
    double J[3][ROWS * COLUMNS];
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    const double tol = _i ? 1e-6 : 1e-15, c = cos(0.3), s = sin(0.3);
    nb_var out[OUTPUTS], in[INPUTS];
    mixed(t, out, in);
    for (int mode = 0; mode < 3; mode++) {
        memset(J[mode], 0xff, sizeof J[mode]);
        ck_assert_int_eq(nb_jacobian(OUTPUTS, out, INPUTS, in, (nb_jacobian_mode)mode, J[mode]),
                         NB_OK);
    }
    same(ROWS * COLUMNS, J[NB_JACOBIAN_FORWARD], J[NB_JACOBIAN_REVERSE], tol);
    same(ROWS * COLUMNS, J[NB_JACOBIAN_AUTO], J[NB_JACOBIAN_REVERSE], tol);
    for (int k = 0; k < 3; k++) {
        ck_assert_double_eq_tol(entry(J[k], 9, 6), s * s + 0.3 * 2 * s * c, 1e-15);
        ck_assert_double_eq_tol(entry(J[k], 9, 10), 0.3 * 2 * s, 1e-15); /* by u alone */
        ck_assert_double_eq(entry(J[k], 9, 11), entry(J[k], 9, 6));      /* s again */
        ck_assert_double_eq(entry(J[k], 10, 6), 1);
        for (int j = 0; j < COLUMNS; j++) {
            ck_assert_double_eq(entry(J[k], 11, j), 0);
            ck_assert_double_eq(entry(J[k], 12, j), 0);
        }
        for (int i = 0; i < ROWS; i++)
            for (int j = 12; j < COLUMNS; j++)
                ck_assert_double_eq(entry(J[k], i, j), 0);
    }
    nb_tape_free(t);
}
END_TEST

/* A polar map: the determinant is r. One input by many outputs, and the other way. */
START_TEST(shapes)
{
    nb_tape *t = nb_tape_new(NULL);
    double J[4], wide[5], tall[5];
    static const double x[] = {1, 2, 3, 4, 5};
    nb_var in[] = {nb_input(t, "r", 2), nb_input(t, "phi", 0.7)};
    nb_var out[] = {nb_mul(in[0], nb_cos(in[1])), nb_mul(in[0], nb_sin(in[1]))};
    ck_assert_int_eq(nb_jacobian(2, out, 2, in, NB_JACOBIAN_AUTO, J), NB_OK);
    ck_assert_double_eq_tol(J[0] * J[3] - J[1] * J[2], 2, 1e-15);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(5), x), f = nb_sum(nb_square(v)), y = nb_mul(v, in[0]);
    ck_assert_int_eq(nb_jacobian(1, &f, 1, &v, NB_JACOBIAN_AUTO, wide), NB_OK);
    ck_assert_int_eq(nb_jacobian(1, &y, 1, in, NB_JACOBIAN_AUTO, tall), NB_OK);
    for (int i = 0; i < 5; i++) {
        ck_assert_double_eq(wide[i], 2 * x[i]);
        ck_assert_double_eq(tall[i], x[i]);
    }
    nb_var none = nb_tensor(t, "none", NB_SHAPE(0, 3), x), sum = nb_sum(none);
    ck_assert_int_eq(nb_jacobian(1, &sum, 1, &none, NB_JACOBIAN_AUTO, wide), NB_OK);
    ck_assert_int_eq(nb_jacobian(1, &none, 1, &v, NB_JACOBIAN_REVERSE, wide), NB_OK);
    ck_assert_int_eq(nb_hessian(sum, 1, &none, wide), NB_OK);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* ---- the tape afterwards --------------------------------------------------------------------- */

/* All three; returns the first error. */
static nb_code all_three(nb_var f, size_t n, nb_var *in, double *H, double *J, double *hv)
{
    double *out[] = {hv, hv + 3, hv + 4};
    const double ones[3] = {1, 1, 1}, *v[] = {ones, ones, ones};
    nb_code code = nb_hessian(f, n, in, H);
    code = code ? code : nb_hvp(f, n, in, v, out);
    code = code ? code : nb_jacobian(1, &f, n, in, NB_JACOBIAN_FORWARD, J);
    return code ? code : nb_jacobian(1, &f, n, in, NB_JACOBIAN_REVERSE, J);
}

static nb_var cubic(nb_tape *t, nb_var *in)
{
    static const double x[] = {1, -2, 3};
    in[0] = nb_tensor(t, "x", NB_SHAPE(3), x);
    in[1] = nb_input(t, "a", 2);
    return nb_mul(in[1], nb_sum(nb_powi(in[0], 3)));
}

START_TEST(the_tape_is_as_it_was)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[2], f = cubic(t, in), before = nb_tanh(in[1]);
    double H[16], J[4], hv[4], again[16];
    size_t count = nb_count(t), bytes = 0;
    for (int turn = 0; turn < 3; turn++) {
        nb_set_recording(t, turn != 1);
        ck_assert_int_eq(all_three(f, 2, in, H, J, hv), NB_OK);
        ck_assert(nb_set_recording(t, true) == (turn != 1));
        ck_assert_uint_eq(nb_count(t), count);
        ck_assert(!turn || nb_tape_bytes(t) == bytes);
        bytes = nb_tape_bytes(t);
        ck_assert(nb_ok(f) && nb_ok(in[0]) && nb_ok(in[1]) && nb_ok(before));
        ck_assert(!turn || !memcmp(H, again, sizeof H));
        memcpy(again, H, sizeof H);
    }
    ck_assert_double_eq(H[0], 12);
    ck_assert_double_eq(H[3], 3);
    ck_assert_double_eq(H[15], 0);
    ck_assert_double_eq(hv[0], 12 + 3);
    nb_var g = nb_mul(f, before); /* recorded where the gradient stood */
    ck_assert_int_eq(nb_backward(g), NB_OK);
    ck_assert_double_eq_tol(nb_grad(before), nb_value(f), 1e-15);
    ck_assert_int_eq(nb_hessian(g, 2, in, H), NB_OK);
    ck_assert_double_eq_tol(H[0], 12 * tanh(2), 1e-13);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* With the k-th request for memory refused, an error or the result; and the tape goes on. */
START_TEST(without_memory)
{
    double H[16], J[4], hv[4], want[16];
    bool through = false;
    for (size_t k = 0; k < 200 && !through; k++) {
        counting c = {0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 16, .bytes = 64});
        nb_var in[2], f = cubic(t, in);
        size_t count = nb_count(t);
        if (k)
            c.refuse = c.calls + k;
        nb_code code = all_three(f, 2, in, H, J, hv);
        through = k && !c.refusals;
        if (!k)
            memcpy(want, H, sizeof H);
        ck_assert(code == NB_OK ? nb_status(t) == NB_OK : code == NB_ERR_MEMORY);
        ck_assert_uint_eq(nb_count(t), count);
        c.refuse = 0;
        nb_clear(t);
        ck_assert_int_eq(all_three(f, 2, in, H, J, hv), NB_OK);
        ck_assert(!memcmp(H, want, sizeof H));
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(through);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static nb_code triple(nb_var f, nb_var x, int which)
{
    double H[9], out[3], one[3] = {1, 1, 1}, *to = out;
    const double *v = one;
    switch (which) {
    case 0: return nb_hessian(f, 1, &x, H);
    case 1: return nb_hvp(f, 1, &x, &v, &to);
    case 2: return nb_jacobian(1, &f, 1, &x, NB_JACOBIAN_FORWARD, H);
    default: return nb_jacobian(1, &f, 1, &x, NB_JACOBIAN_REVERSE, H);
    }
}

static void refused(nb_tape *t, nb_code code, nb_code want)
{
    ck_assert_str_eq(nb_code_name(code), nb_code_name(want));
    ck_assert_int_eq(nb_status(t), want);
    ck_assert_str_ne(nb_message(t), "");
    nb_clear(t);
}

START_TEST(refusals)
{
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    double x0[] = {1, 2, 3};
    nb_var x = nb_tensor(t, "x", NB_SHAPE(3), x0), f = nb_sum(nb_square(x));
    nb_var foreign = nb_input(other, "y", 1), inert = nb_add(x, foreign);
    nb_clear(t);
    nb_mark m = nb_tape_mark(t);
    nb_var stale = nb_exp(f);
    nb_rewind(m);
    if (_i < 2)
        refused(t, triple(x, x, _i), NB_ERR_SHAPE);
    refused(t, triple(f, nb_num(2), _i), NB_ERR_HANDLE);
    refused(t, triple(nb_num(2), x, _i), NB_ERR_HANDLE);
    refused(t, triple(stale, x, _i), NB_ERR_HANDLE);
    refused(t, triple(f, stale, _i), NB_ERR_HANDLE);
    refused(other, triple(foreign, x, _i), NB_ERR_HANDLE);
    refused(t, triple(f, foreign, _i), NB_ERR_HANDLE);
    ck_assert_int_eq(triple(inert, x, _i), NB_ERR_HANDLE);
    ck_assert_int_eq(triple(f, inert, _i), NB_ERR_HANDLE);
    nb_clear(t);
    ck_assert_int_eq(triple(NB_NONE, NB_NONE, _i), NB_ERR_HANDLE);
    ck_assert_int_eq(triple(f, x, _i), NB_OK);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

START_TEST(null_and_none)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), f = nb_square(x);
    double one = 1, *to = &one, *null = NULL;
    const double *v = &one;
    ck_assert_int_eq(nb_hessian(f, 0, &x, to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_hessian(f, 1, NULL, to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_hessian(f, 1, &x, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_hvp(f, 0, &x, &v, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_hvp(f, 1, NULL, &v, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_hvp(f, 1, &x, NULL, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_hvp(f, 1, &x, &v, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_hvp(f, 1, &x, &v, &null), NB_ERR_ARGUMENT);
    v = NULL;
    ck_assert_int_eq(nb_hvp(f, 1, &x, &v, &to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jacobian(0, &f, 1, &x, NB_JACOBIAN_AUTO, to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jacobian(1, NULL, 1, &x, NB_JACOBIAN_AUTO, to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jacobian(1, &f, 0, &x, NB_JACOBIAN_AUTO, to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jacobian(1, &f, 1, NULL, NB_JACOBIAN_AUTO, to), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jacobian(1, &f, 1, &x, NB_JACOBIAN_AUTO, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_jacobian(1, &f, 1, &x, (nb_jacobian_mode)7, to), NB_ERR_ARGUMENT);
    nb_tape_free(t);
}
END_TEST

/* 2^31 by 2^31 doubles: refused before anything is touched. */
START_TEST(overflow)
{
    nb_tape *t = nb_tape_new(NULL);
    double one = 1;
    nb_var x = nb_borrow(t, "x", NB_SHAPE((int64_t)1 << 31), &one, NULL), f = nb_input(t, "f", 1);
    refused(t, nb_jacobian(1, &x, 1, &x, NB_JACOBIAN_AUTO, &one), NB_ERR_OVERFLOW);
    refused(t, nb_hessian(f, 1, &x, &one), NB_ERR_OVERFLOW);
    nb_tape_free(t);
}
END_TEST

static nb_code array_forward(const nb_call *c)
{
    const double *x = c->in[0].data;
    double *y = c->out->data;
    for (int64_t i = 0; i < c->out->size; i++)
        y[i] = x[i] * x[i];
    return NB_OK;
}

static nb_code array_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                             const bool *add)
{
    const double *x = c->in[0].data, *d = g->data;
    double *to = gin[0]->data;
    for (int64_t i = 0; i < c->out->size; i++)
        to[i] = 2 * x[i] * d[i] + (add[0] ? to[i] : 0);
    return NB_OK;
}

/* An op with a rule over arrays alone has first derivatives, both ways, and is named by the second.
 */
START_TEST(first_derivatives_only)
{
    static const nb_op op = {.name = "firstonly",
                             .forward = array_forward,
                             .reverse_arrays = array_reverse,
                             .overwrites = true};
    nb_tape *t = nb_tape_new(NULL);
    static const double x0[] = {1, 2, 3};
    double J[2][9], H[9];
    nb_var x = nb_tensor(t, "x", NB_SHAPE(3), x0), y = nb_apply(&op, 1, &x, NULL, 0);
    size_t count = 0;
    ck_assert_int_eq(nb_jacobian(1, &y, 1, &x, NB_JACOBIAN_FORWARD, J[0]), NB_OK);
    ck_assert_int_eq(nb_jacobian(1, &y, 1, &x, NB_JACOBIAN_REVERSE, J[1]), NB_OK);
    ck_assert(!memcmp(J[0], J[1], sizeof *J));
    ck_assert_double_eq(J[0][4], 4);
    nb_var f = nb_sum(y);
    count = nb_count(t);
    ck_assert_int_eq(nb_hessian(f, 1, &x, H), NB_ERR_GRADIENT);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "firstonly"));
    ck_assert_uint_eq(nb_count(t), count);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("jacobian");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, forward_and_reverse, 0, 2);
    tcase_add_test(c, shapes);
    tcase_add_test(c, the_tape_is_as_it_was);
    tcase_add_test(c, without_memory);
    tcase_add_loop_test(c, refusals, 0, 4);
    tcase_add_test(c, null_and_none);
    tcase_add_test(c, overflow);
    tcase_add_test(c, first_derivatives_only);
    return run_case("jacobian", c);
}
