/*
 * The two ways to a Hessian times a vector must agree: nb_hvp walks over scalars in dual numbers, the
 * rows of nb_hessian come from sweeps over the recorded gradient. For every row of the table, with its
 * result used twice so that first and second derivatives mix, and for every function of many scalars.
 */
#include "run.h"

#include "ops/elementwise.h"
#include <math.h>
#include <nabla.h>

enum { MOST = 8, ROUNDS = 20 };

static void agree(const char *what, nb_var f, size_t n, const nb_var *x, nb_rng *r)
{
    double H[MOST * MOST], v[MOST], got[MOST];
    const double *to_v[MOST];
    double *to_got[MOST];
    for (size_t i = 0; i < n; i++) {
        v[i] = nb_rng_normal(r);
        to_v[i] = &v[i], to_got[i] = &got[i];
    }
    ck_assert_int_eq(nb_hessian(f, n, x, H), NB_OK);
    ck_assert_int_eq(nb_hvp(f, n, x, to_v, to_got), NB_OK);
    for (size_t i = 0; i < n; i++) {
        double want = 0, size = 1;
        for (size_t j = 0; j < n; j++) {
            want += H[i * n + j] * v[j];
            size += fabs(H[i * n + j] * v[j]);
        }
        const bool right =
            isfinite(want) ? fabs(got[i] - want) <= 1e-11 * size : isnan(got[i]) == isnan(want);
        ck_assert_msg(right, "%s: row %zu: %.17g for %.17g", what, i, got[i], want);
    }
}

START_TEST(every_row)
{
    const enum nbi_row row = (enum nbi_row)_i;
    const size_t n = (size_t)nbi_rows[row].arity;
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(11);
    for (int round = 0; round < ROUNDS; round++) {
        nb_var x[3], at[3];
        size_t inputs = 0;
        for (size_t k = 0; k < n; k++) {
            const double low = nbi_rows[row].range[2 * k], high = nbi_rows[row].range[2 * k + 1];
            const double value = low + (high - low) * nb_rng_uniform(&r);
            const bool number = low == high || round % (4 + (int)k) == 3; /* all variants */
            at[k] = number ? nb_num(value) : nb_input(t, NULL, value);
            if (!number)
                x[inputs++] = at[k];
        }
        nb_var f = inputs ? nbi_row_call(row, at) : NB_NONE;
        if (inputs)
            agree(nbi_rows[row].name, nb_mul(f, nb_add(nb_sin(f), x[0])), inputs, x, &r);
        nb_reset(t);
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(many_scalars)
{
    static const char *const names[] = {"sum",  "mean", "dot", "combine", "logsumexp",
                                        "norm", "max",  "min", "maxout"};
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(5);
    nb_var x[MOST], f;
    for (int i = 0; i < MOST; i++)
        x[i] = nb_input(t, NULL, nb_rng_normal(&r));
    const double c[3] = {2, -1, 0.5};
    switch (_i) {
    case 0: f = nb_sum_of(MOST, x); break;
    case 1: f = nb_mean_of(MOST, x); break;
    case 2: f = nb_dot_of(MOST / 2, x, x + MOST / 2); break;
    case 3: f = nb_combine_of(3, c, x); break;
    case 4: f = nb_logsumexp_of(MOST, x); break;
    case 5: f = nb_norm_of(MOST, x); break;
    case 6: f = nb_max_of(MOST, x); break;
    case 7: f = nb_min_of(MOST, x); break;
    default: f = nb_maxout_of(2, 2, x, x + 4, x + 6); break;
    }
    agree(names[_i], nb_mul(f, nb_exp(f)), MOST, x, &r);
    agree(names[_i], nb_square(nb_sub(f, x[0])), MOST, x, &r);
    nb_tape_free(t);
}
END_TEST

/* Both factors are 0 here, and both come through a tensor: nothing of them may be lost. */
START_TEST(through_tensors)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(1);
    nb_var x[2] = {nb_input(t, "x", 0), nb_input(t, "y", 0)};
    nb_var v = nb_stack(2, x, 0), f = nb_mul(nb_at(v, 0), nb_at(v, 1));
    double got[2], one[2] = {1, 3};
    ck_assert_int_eq(
        nb_hvp(f, 2, x, (const double *const[]){one, one + 1}, (double *const[]){got, got + 1}),
        NB_OK);
    ck_assert_double_eq(got[0], 3);
    ck_assert_double_eq(got[1], 1);
    agree("tensors", nb_exp(nb_add(f, nb_sum(nb_tanh(v)))), 2, x, &r);
    nb_tape_free(t);
}
END_TEST

/* An adjoint of 0 contributes 0, in the second order too. */
START_TEST(infinite_slopes)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0), y = nb_input(t, "y", 2);
    nb_var f = nb_mul(nb_where(nb_gt(x, 0), nb_sqrt(x), nb_mul(x, y)), y);
    double got[2], v[2] = {1, 1};
    ck_assert_int_eq(nb_hvp(f, 2, (nb_var[]){x, y}, (const double *const[]){v, v + 1},
                            (double *const[]){got, got + 1}),
                     NB_OK);
    ck_assert_double_eq(got[0], 4); /* of x y^2 at (0, 2): d2/dxdy = 2 y */
    ck_assert_double_eq(got[1], 4);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("second");
    tcase_add_loop_test(c, every_row, 0, NBI_ROWS);
    tcase_add_loop_test(c, many_scalars, 0, 9);
    tcase_add_test(c, through_tensors);
    tcase_add_test(c, infinite_slopes);
    return run_case("second", c);
}
