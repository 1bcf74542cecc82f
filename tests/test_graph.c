/*
 * Reading the graph: what a tool sees of each node.
 *
 * The graph that is read must be the one that was recorded. For graphs of scalar nodes it even
 * suffices to compute the gradient: a sweep written here on nothing but nb_count, nb_node,
 * nb_input_of and nb_partial gives, on random graphs, what nb_backward gives.
 */
#include "counting.h"

#include <math.h>

#include <nabla/ops.h>

static void fails(nb_tape *t, nb_code code)
{
    ck_assert_msg(nb_status(t) == code, "expected %s, have %s: %s", nb_code_name(code),
                  nb_code_name(nb_status(t)), nb_message(t));
    nb_clear(t);
}

static void is(nb_var x, const char *op, size_t n_in, bool tensor, bool constant)
{
    nb_info i = nb_inspect(x);
    ck_assert_str_eq(i.op, op);
    ck_assert_uint_eq(i.n_in, n_in);
    ck_assert_int_eq(i.tensor, tensor);
    ck_assert_int_eq(i.constant, constant);
    ck_assert_uint_eq(i.place, x.index);
    ck_assert_str_ne(i.doc, "");
}

START_TEST(kinds_of_nodes)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), c = nb_constant(t, 3),
           v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){1, 2});
    nb_var list[3] = {x, c, x};
    is(x, "input", 0, false, false);
    is(c, "constant", 0, false, true);
    is(v, "input", 0, true, false);
    is(nb_ones(t, NB_POINT), "constant", 0, true, true);
    is(nb_mul(x, x), "mul", 2, false, false);
    is(nb_mul(x, 5), "mul", 2, false, false);
    is(nb_sub(5, x), "sub", 2, false, false);
    is(nb_mul(c, c), "mul", 2, false, true);
    is(nb_exp(c), "exp", 1, false, true);
    is(nb_exp(x), "exp", 1, false, false);
    is(nb_fma(x, 1, c), "fma", 3, false, false);
    is(nb_fma(c, 1, c), "fma", 3, false, true);
    is(nb_lt(x, 1), "lt", 2, false, true);
    is(nb_mul(v, x), "mul", 2, true, false);
    is(nb_sum(v), "sum", 1, false, false);
    is(nb_sum_of(3, list), "sum_of", 3, false, false);
    is(nb_dot_of(3, list, list), "dot_of", 6, false, false);
    is(nb_maxout_of(1, 1, list, list, list), "maxout_of", 3, false, false);
    is(nb_detach(x), "constant", 0, false, true);
    ck_assert_str_eq(nb_inspect(nb_num(1)).op, "number");
    ck_assert_str_eq(nb_inspect(NB_NONE).op, "none");
    ck_assert_uint_eq(nb_inspect(NB_NONE).n_in, 0);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(operands)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), y = nb_input(t, "y", 7), v = nb_ones(t, NB_SHAPE(2));
    nb_var cases[] = {nb_sub(x, y),
                      nb_where(y, x, 4),
                      nb_mul(v, y),
                      nb_sub(5, x),
                      nb_sub(x, 5),
                      nb_sub(nb_constant(t, 1), 5),
                      nb_sum_of(2, (nb_var[]){y, x}),
                      nb_dot_of(1, &x, &y),
                      nb_stack(2, (nb_var[]){x, y}, 0)};
    const double first[] = {2, 7, 1, 5, 2, 1, 7, 2, 2}, second[] = {7, 2, 7, 2, 5, 5, 2, 7, 7};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_var a = nb_input_of(cases[i], 0), b = nb_input_of(cases[i], 1);
        ck_assert(nb_ok(a) && nb_ok(b));
        ck_assert_double_eq(nb_is_tensor(a) ? ((const double *)nb_data(a))[0] : nb_value(a),
                            first[i]);
        ck_assert_double_eq(nb_value(b), second[i]);
    }
    ck_assert(!nb_ok(nb_input_of(cases[0], 2)));
    fails(t, NB_ERR_INDEX);
    ck_assert(!nb_ok(nb_input_of(x, 0)));
    fails(t, NB_ERR_INDEX);
    ck_assert(!nb_ok(nb_input_of(nb_num(1), 0)) && !nb_ok(nb_input_of(NB_NONE, 0)));
    ck_assert_uint_eq(nb_node(t, 1).index, y.index);
    ck_assert(nb_is_tensor(nb_node(t, 2)) && nb_inspect(nb_node(t, 2)).constant);
    ck_assert(!nb_ok(nb_node(t, nb_count(t))) && !nb_ok(nb_node(t, SIZE_MAX)));
    fails(t, NB_ERR_INDEX);
    ck_assert_uint_eq(nb_count(NULL), 0);
    ck_assert(!nb_ok(nb_node(NULL, 0)));
    nb_tape_free(t);
}
END_TEST

START_TEST(handles_from_nodes_work)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), v = nb_leaf("v", nb_ones(t, NB_SHAPE(2)));
    nb_var nx = nb_node(t, x.index), nv = nb_node(t, v.index);
    nb_var f = nb_add(nb_mul(nx, x), nb_sum(nb_mul(nv, v)));
    ck_assert_int_eq(nb_backward(nb_node(t, f.index)), NB_OK);
    ck_assert_double_eq(nb_grad(nx), 4);
    ck_assert_double_eq(((const double *)nb_grad_data(nv))[1], 2);
    nb_mark m = nb_tape_mark(t);
    nb_rewind(m);
    ck_assert(nb_ok(nx) && nb_ok(nv) && nb_value(nb_add(nx, x)) == 4);
    nb_tape_free(t);
}
END_TEST

START_TEST(partials)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), y = nb_input(t, "y", 5), z = nb_input(t, "z", -1);
    nb_var v = nb_ones(t, NB_SHAPE(2)), f = nb_fma(x, y, z), q = nb_div(x, y), c = nb_mul(x, 3);
    ck_assert_double_eq(nb_partial(f, 0), 5);
    ck_assert_double_eq(nb_partial(f, 1), 2);
    ck_assert_double_eq(nb_partial(f, 2), 1);
    ck_assert_double_eq_tol(nb_partial(q, 1), -2.0 / 25, 1e-16);
    ck_assert_double_eq(nb_partial(c, 0), 3);
    ck_assert_double_eq(nb_partial(nb_sub(3, x), 1), -1);
    ck_assert_double_eq(nb_partial(nb_mean_of(2, (nb_var[]){x, y}), 1), 0.5);
    ck_assert_double_eq(nb_partial(nb_floor(x), 0), 0);
    ck_assert_double_eq(nb_partial(nb_lt(x, y), 1), 0);
    ck_assert(isnan(nb_partial(nb_mul(v, x), 0)) && isnan(nb_partial(nb_sum(v), 0)));
    ck_assert(isnan(nb_partial(f, 3)) && isnan(nb_partial(x, 0)) &&
              isnan(nb_partial(nb_num(1), 0)));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* ---- the gradient from the graph alone ------------------------------------------------------- */

enum { NODES = 300, INPUTS = 5 };

static nb_var random_node(nb_tape *t, nb_rng *g)
{
    nb_var x[4];
    for (int k = 0; k < 4; k++)
        x[k] = nb_node(t, nb_rng_below(g, nb_count(t)));
    switch (nb_rng_below(g, 14)) {
    case 0: return nb_add(x[0], x[1]);
    case 1: return nb_sin(nb_mul(x[0], x[1]));
    case 2: return nb_sub(x[0], 0.5);
    case 3: return nb_mul(0.5, x[0]);
    case 4: return nb_tanh(x[0]);
    case 5: return nb_fma(nb_sin(x[0]), x[1], x[2]);
    case 6: return nb_mean_of(4, x);
    case 7: return nb_dot_of(2, (nb_var[]){nb_tanh(x[0]), x[1]}, (nb_var[]){x[2], nb_cos(x[3])});
    case 8: return nb_logsumexp_of(4, x);
    case 9: return nb_max_of(3, x);
    case 10: return nb_where(nb_gt(x[0], x[1]), x[2], x[3]);
    case 11: return nb_combine_of(3, (double[]){0.5, -1, 0.25}, x);
    case 12: return nb_detach(x[0]);
    default: return nb_norm_of(2, x);
    }
}

START_TEST(a_sweep_outside_the_library)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_rng g = nb_rng_seed((uint64_t)_i);
    for (int i = 0; i < INPUTS; i++)
        nb_input(t, NULL, nb_rng_normal(&g));
    while (nb_count(t) < NODES)
        ck_assert(nb_ok(random_node(t, &g)));
    nb_var f = nb_node(t, nb_count(t) - 1);
    const size_t n = nb_count(t);
    double *s = calloc(n, sizeof *s);
    s[n - 1] = nb_inspect(f).constant ? 0 : 1;
    for (size_t i = n; i-- > 0;) {
        nb_var node = nb_node(t, i);
        nb_info info = nb_inspect(node);
        for (size_t k = 0; k < info.n_in && !info.constant && s[i] != 0; k++) {
            nb_var x = nb_input_of(node, k);
            ck_assert_uint_lt(x.index, i); /* the order is topological */
            if (!nb_inspect(x).constant)
                s[x.index] += s[i] * nb_partial(node, k);
        }
    }
    ck_assert_int_eq(nb_backward(f), NB_OK);
    for (size_t i = 0; i < n; i++)
        ck_assert_double_eq_tol(nb_grad(nb_node(t, i)), s[i], 1e-12 * (1 + fabs(s[i])));
    ck_assert_int_eq(nb_status(t), NB_OK);
    free(s);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("graph");
    tcase_add_test(c, kinds_of_nodes);
    tcase_add_test(c, operands);
    tcase_add_test(c, handles_from_nodes_work);
    tcase_add_test(c, partials);
    tcase_add_loop_test(c, a_sweep_outside_the_library, 0, 30);
    return run_case("graph", c);
}
