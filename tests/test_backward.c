/*
 * The backward sweep against gradients known otherwise: by hand, by closed form, by adding up every
 * path.
 *
 * A custom operation that counts the calls of its reverse rule shows what is visited: nodes on a
 * path from an output, once each, and with wanted vars named only those on a way to them. Bitwise
 * equality of two sweeps shows that nothing of the first is left in the second.
 */
#include "counting.h"

#include <math.h>

#include <nabla/op.h>
#include <nabla/ops.h>

static void well(const nb_tape *t) { ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t)); }

static void fails(nb_tape *t, nb_code code)
{
    ck_assert_msg(nb_status(t) == code, "expected %s, have %s: %s", nb_code_name(code),
                  nb_code_name(nb_status(t)), nb_message(t));
    nb_clear(t);
}

/* ---- an operation that counts ---------------------------------------------------------------- */

typedef struct counts {
    int visits, wanted;
} counts;

static nb_code probe_forward(const nb_call *c)
{
    size_t width = c->out->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    memcpy(c->out->data, c->in[0].data, (size_t)c->out->size * width);
    return NB_OK;
}

static nb_code probe_reverse(const nb_rule *r)
{
    counts *n = *(counts *const *)r->state;
    n->visits++;
    n->wanted += r->want[0];
    r->d[0] = r->g;
    return NB_OK;
}

static const nb_op probe_op = {.name = "probe", .forward = probe_forward, .reverse = probe_reverse};

static nb_var probe(nb_var x, counts *n)
{
    n->visits = n->wanted = 0;
    return nb_apply(&probe_op, 1, &x, &n, sizeof n);
}

/* ---- small graphs by hand -------------------------------------------------------------------- */

START_TEST(by_hand)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", -2), y = nb_input(t, "y", 5), z = nb_input(t, "z", -4);
    nb_var s = nb_add(x, y), f = nb_mul(s, z);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_eq(nb_value(f), -12);
    ck_assert_double_eq(nb_grad(x), -4);
    ck_assert_double_eq(nb_grad(y), -4);
    ck_assert_double_eq(nb_grad(z), 3);
    ck_assert_double_eq(nb_grad(s), -4);
    ck_assert_double_eq(nb_grad(f), 1);

    nb_var two = nb_mul(nb_add(x, y), x), square = nb_mul(x, x), cube = nb_mul(square, x);
    nb_backward(two);
    ck_assert_double_eq(nb_grad(x), 1); /* 2 x + y, along two paths */
    ck_assert_double_eq(nb_grad(y), -2);
    ck_assert_double_eq(nb_grad(z), 0);
    nb_backward(square);
    ck_assert_double_eq(nb_grad(x), -4);
    ck_assert_double_eq(nb_grad(y), 0);
    nb_backward(cube);
    ck_assert_double_eq(nb_grad(x), 12);
    nb_backward(x);
    ck_assert_double_eq(nb_grad(x), 1);
    nb_backward(nb_sub(x, x));
    ck_assert_double_eq(nb_grad(x), 0);
    ck_assert(nb_has_grad(x) && !nb_has_grad(y));
    well(t);
    nb_tape_free(t);
}
END_TEST

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* h1 = s(w1 x1 + w2 x2 + b1), h2 = s(w3 x1 + w4 x2 + b2), o = s(w5 h1 + w6 h2 + b3), E = (o - y)^2
 */
START_TEST(sigmoid_network)
{
    const double x1 = 0.05, x2 = 0.10, y = 0.01;
    const double w[7] = {0, 0.15, 0.20, 0.25, 0.30, 0.40, -0.45}, b[4] = {0, 0.35, -0.35, 0.60};
    nb_tape *t = nb_tape_new(NULL);
    nb_var W[7], B[4], X1 = nb_input(t, "x1", x1), X2 = nb_input(t, "x2", x2);
    for (int i = 1; i < 7; i++)
        W[i] = nb_input(t, NULL, w[i]);
    for (int i = 1; i < 4; i++)
        B[i] = nb_input(t, NULL, b[i]);
    nb_var H1 = nb_sigmoid(nb_add(nb_add(nb_mul(W[1], X1), nb_mul(W[2], X2)), B[1]));
    nb_var H2 = nb_sigmoid(nb_add(nb_add(nb_mul(W[3], X1), nb_mul(W[4], X2)), B[2]));
    nb_var O = nb_sigmoid(nb_add(nb_add(nb_mul(W[5], H1), nb_mul(W[6], H2)), B[3]));
    nb_var E = nb_square(nb_sub(O, y));
    ck_assert_int_eq(nb_backward(E), NB_OK);

    const double h1 = sigmoid(w[1] * x1 + w[2] * x2 + b[1]);
    const double h2 = sigmoid(w[3] * x1 + w[4] * x2 + b[2]);
    const double o = sigmoid(w[5] * h1 + w[6] * h2 + b[3]);
    const double d3 = 2 * (o - y) * o * (1 - o); /* dE by the sum into o */
    const double d1 = d3 * w[5] * h1 * (1 - h1); /* by the sum into h1 */
    const double d2 = d3 * w[6] * h2 * (1 - h2); /* by the sum into h2 */
    const double dw[7] = {0, d1 * x1, d1 * x2, d2 * x1, d2 * x2, d3 * h1, d3 * h2};
    const double db[4] = {0, d1, d2, d3};
    ck_assert_double_eq_tol(nb_value(E), (o - y) * (o - y), 1e-15);
    for (int i = 1; i < 7; i++)
        ck_assert_double_eq_tol(nb_grad(W[i]), dw[i], 1e-16);
    for (int i = 1; i < 4; i++)
        ck_assert_double_eq_tol(nb_grad(B[i]), db[i], 1e-16);
    ck_assert_double_eq_tol(nb_grad(X1), d1 * w[1] + d2 * w[3], 1e-16);
    ck_assert_double_eq_tol(nb_grad(X2), d1 * w[2] + d2 * w[4], 1e-16);
    ck_assert_double_eq_tol(nb_grad(H1), d3 * w[5], 1e-16);
    ck_assert_double_eq_tol(nb_grad(O), 2 * (o - y), 1e-16);
    nb_tape_free(t);
}
END_TEST

/* Ten layers of two nodes, each fed by both of the layer before: 2^10 paths from x to f. */
START_TEST(every_path_enumerated)
{
    enum { LAYERS = 10 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0.7), node[LAYERS][2] = {{nb_sin(x), nb_cos(x)}};
    for (int l = 1; l < LAYERS; l++) {
        nb_var a = node[l - 1][0], b = node[l - 1][1];
        node[l][0] = l % 2 ? nb_hypot(a, b) : nb_logaddexp(a, b);
        node[l][1] = l % 3 ? nb_atan2(a, b) : nb_mul(a, b);
    }
    nb_var f = nb_div(node[LAYERS - 1][0], node[LAYERS - 1][1]);
    double sum = 0, size = 0;
    for (unsigned path = 0; path < 1u << LAYERS; path++) { /* bit l: the node in layer l */
        double product = nb_partial(node[0][path & 1], 0) * nb_partial(f, path >> (LAYERS - 1) & 1);
        for (int l = 1; l < LAYERS; l++)
            product *= nb_partial(node[l][path >> l & 1], path >> (l - 1) & 1);
        sum += product;
        size += fabs(product);
    }
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_gt(size, 0);
    ck_assert_double_eq_tol(nb_grad(x), sum, 1e-14 * size);
    const double h = 1e-6; /* and it is the derivative */
    double value[2];
    for (int side = 0; side < 2; side++) {
        double v = 0.7 + (side ? h : -h), a = sin(v), b = cos(v);
        for (int l = 1; l < LAYERS; l++) {
            double c = l % 2 ? hypot(a, b) : log(exp(a) + exp(b)), d = l % 3 ? atan2(a, b) : a * b;
            a = c, b = d;
        }
        value[side] = a / b;
    }
    ck_assert_double_eq_tol(nb_grad(x), (value[1] - value[0]) / (2 * h), 1e-6 * fabs(sum) + 1e-7);
    nb_tape_free(t);
}
END_TEST

START_TEST(a_long_chain)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), s = x;
    for (int i = 0; i < 1000000; i++)
        s = nb_mul(s, x);
    ck_assert_int_eq(nb_backward(s), NB_OK);
    ck_assert_double_eq(nb_grad(x), 1000001);
    nb_tape_free(t);
}
END_TEST

/* ---- what is asked for ----------------------------------------------------------------------- */

START_TEST(seeds_and_several_outputs)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    nb_var x = nb_input(t, "x", 3), v = nb_tensor(t, "v", NB_SHAPE(3), (double[]){1, 2, 3});
    nb_var w = nb_mul(nb_square(v), x), f = nb_square(x), out[3] = {w, f, f};
    const double seed[3] = {1, 10, 100}, two = 2, *seeds[3] = {seed, &two, NULL};
    double g[3];
    ck_assert_int_eq(nb_backward(w), NB_ERR_SEED);
    fails(t, NB_ERR_SEED);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = out, .seed = seeds}), NB_OK);
    nb_read_grad(v, g, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_double_eq(g[i], seed[i] * 2 * (i + 1) * 3);
    ck_assert_double_eq(nb_grad(x), 1 + 40 + 900);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 3, .out = out, .seed = seeds}), NB_OK);
    ck_assert_double_eq(nb_grad(x), 941 + 2 * 6 + 6);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 2, .out = out + 1}), NB_OK);
    ck_assert_double_eq(nb_grad(x), 12);
    ck_assert(!nb_has_grad(v));
    const double zero = 0, *zeros[1] = {&zero};
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .seed = zeros}), NB_OK);
    ck_assert(nb_has_grad(x)); /* a path, and a gradient of zero */
    ck_assert_double_eq(nb_grad(x), 0);
    nb_var constant = nb_constant(t, 2);
    ck_assert_int_eq(nb_backward(constant), NB_OK);
    ck_assert(!nb_has_grad(x) && !nb_has_grad(constant));
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(only_what_is_wanted)
{
    counts a, b, c, d;
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), y = nb_input(t, "y", 3),
           v = nb_leaf("v", nb_ones(t, NB_SHAPE(4)));
    nb_var px = probe(x, &a), py = probe(y, &b), pv = probe(v, &c);
    nb_var f = nb_mul(nb_mul(px, py), nb_sum(nb_mul(pv, x))), aside = probe(nb_mul(x, y), &d);
    nb_var above = probe(f, &d);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert(a.visits == 1 && b.visits == 1 && c.visits == 1);
    ck_assert_int_eq(d.visits, 0); /* neither beside the output nor above it */
    ck_assert(!nb_has_grad(aside) && !nb_has_grad(above));
    const double gx = nb_grad(x);

    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .n_want = 1, .want = &x}),
                     NB_OK);
    ck_assert(a.visits == 2 && b.visits == 1 && c.visits == 1 && a.wanted == 2);
    ck_assert_double_eq(nb_grad(x), gx);
    ck_assert_double_eq(nb_grad(y), 0);
    ck_assert(nb_has_grad(x) && !nb_has_grad(y) && !nb_has_grad(v) && !nb_has_grad(py));

    nb_var want[2] = {pv, nb_num(1)}; /* an interior tensor: its gradient is kept */
    ck_assert_int_eq(
        nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .n_want = 1, .want = want}), NB_OK);
    ck_assert_ptr_nonnull(nb_grad_data(pv));
    ck_assert_double_eq(((const double *)nb_grad_data(pv))[3], 12);
    ck_assert(a.visits == 2 && b.visits == 1 && c.visits == 1 && !nb_has_grad(x) &&
              !nb_has_grad(v));
    well(t);
    ck_assert_int_eq(
        nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .n_want = 2, .want = want}),
        NB_ERR_HANDLE);
    fails(t, NB_ERR_HANDLE);
    ck_assert_int_eq(
        nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .n_want = 1, .want = want + 1}),
        NB_ERR_HANDLE);
    fails(t, NB_ERR_HANDLE);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &px, .n_want = 1, .want = &f}),
                     NB_OK); /* wanted above the output: no path */
    ck_assert(!nb_has_grad(f) && nb_grad(f) == 0);
    nb_tape_free(t);
}
END_TEST

/* A net with a bit of everything, from parameters w and b. */
static nb_var busy_graph(nb_tape *t, nb_var x, nb_var w, nb_var b)
{
    nb_var h = nb_tanh(nb_add(nb_matmul(nb_ones(t, NB_SHAPE(2, 3)), w), b));
    nb_var s = nb_mul(nb_at_index(h, 2, (int64_t[]){1, -1}), nb_sin(x));
    return nb_add(nb_logsumexp_of(3, (nb_var[]){s, x, nb_sum(nb_exp(h))}), nb_fma(s, x, 2));
}

START_TEST(idempotent_and_accumulating)
{
    const nb_dtype d = _i ? NB_F32 : NB_F64;
    const double data[6] = {0.1, -0.7, 0.3, 0.9, -0.2, 0.5};
    double once[6], again[6];
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    nb_var x = nb_input(t, "x", 0.3), w = nb_tensor(t, "w", NB_SHAPE(3, 2), data);
    nb_var b = nb_tensor(t, "b", NB_SHAPE(2), data);
    nb_var f = busy_graph(t, x, w, b), other = nb_mul(x, nb_sum(b));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    const double gx = nb_grad(x), gb = (nb_read_grad(b, again, 2), again[0]);
    nb_read_grad(w, once, 6);
    for (int i = 0; i < 3; i++) {
        nb_backward(other);
        ck_assert_int_eq(nb_backward(f), NB_OK);
        nb_read_grad(w, again, 6);
        ck_assert_mem_eq(once, again, sizeof once);
        ck_assert(nb_grad(x) == gx);
    }
    nb_sweep add = {.n_out = 1, .out = &f, .accumulate = true};
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(nb_backward_with(&add), NB_OK);
    nb_read_grad(w, again, 6);
    for (int i = 0; i < 6; i++)
        ck_assert_double_eq_tol(again[i], 4 * once[i], 1e-6 * fabs(once[i]));
    ck_assert_double_eq_tol(nb_grad(x), 4 * gx, 1e-14);
    ck_assert_double_eq(nb_grad(f), 1); /* only inputs add up */
    add.out = &other;
    ck_assert_int_eq(nb_backward_with(&add), NB_OK);
    nb_read_grad(b, again, 2);
    ck_assert_double_eq_tol(again[0], 4 * gb + 0.3, 1e-5);
    nb_backward(f);
    nb_read_grad(w, again, 6);
    ck_assert_mem_eq(once, again, sizeof once);
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(path_or_zero)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0), y = nb_input(t, "y", 1), z = nb_input(t, "z", 2);
    nb_var v = nb_leaf("v", nb_zeros(t, NB_SHAPE(2))), w = nb_leaf("w", nb_zeros(t, NB_SHAPE(2)));
    nb_var h = nb_exp(nb_mul(v, x)), f = nb_add(nb_mul(x, y), nb_mul(nb_sum(h), nb_sub(z, z)));
    ck_assert(!nb_has_grad(x) && !nb_has_grad(v)); /* nothing swept yet */
    ck_assert_ptr_null(nb_grad_data(v));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert(nb_has_grad(x) && nb_has_grad(y) && nb_has_grad(z) && nb_has_grad(v) &&
              nb_has_grad(h));
    ck_assert(!nb_has_grad(w));
    ck_assert_double_eq(nb_grad(y), 0); /* a path, of slope 0 */
    double g[2] = {5, 5};
    ck_assert_int_eq(nb_read_grad(v, g, 2), NB_OK);
    ck_assert(g[0] == 0 && g[1] == 0);
    ck_assert_int_eq(nb_read_grad(w, g, 2), NB_OK);
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(gradients_of_interior_nodes)
{
    nb_tape *t = nb_tape_new(NULL);
    double g[2];
    nb_var v = nb_leaf("v", nb_ones(t, NB_SHAPE(2))), h = nb_mul(v, 3), k = nb_mul(h, 5);
    nb_var f = nb_sum(nb_retain_grad(k));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_int_eq(nb_read_grad(k, g, 2), NB_OK);
    ck_assert_double_eq(g[1], 1);
    ck_assert_ptr_null(nb_grad_data(h));
    ck_assert_int_eq(nb_read_grad(h, g, 2), NB_ERR_ARGUMENT); /* it was 5, but was not kept */
    fails(t, NB_ERR_ARGUMENT);
    nb_retain_grad(h);
    nb_backward(f);
    ck_assert_int_eq(nb_read_grad(h, g, 2), NB_OK);
    ck_assert_double_eq(g[0], 5);
    ck_assert_int_eq(nb_read_grad(k, g, 2), NB_OK);
    ck_assert_double_eq(g[1], 1);
    nb_retain_grad(nb_num(1));
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(constants_cost_nothing)
{
    counts n, m;
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), c = nb_constant(t, 3),
           k = nb_constant_tensor(t, NB_SHAPE(1), (double[]){4});
    nb_var pc = probe(nb_mul(c, c), &n), pk = probe(nb_detach(nb_mul(k, x)), &m);
    ck_assert(nb_inspect(pc).constant && nb_inspect(pk).constant);
    nb_var f = nb_mul(nb_mul(pc, x), nb_sum(pk));
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_eq(nb_grad(x), 72);
    ck_assert(n.visits == 0 && m.visits == 0);
    ck_assert(!nb_has_grad(c) && !nb_has_grad(pc) && !nb_has_grad(pk) && nb_grad(c) == 0);
    nb_tape_free(t);
}
END_TEST

/* Every sweep leaves all of a borrowed gradient written, whatever it held. */
START_TEST(borrowed_gradients)
{
    const double data[2] = {2, 3};
    double gw[2] = {9, 9}, gb[2] = {9, 9}, got[2];
    nb_tape *t = nb_tape_new(NULL);
    nb_var w = nb_borrow(t, "w", NB_SHAPE(2), data, gw),
           b = nb_borrow(t, "b", NB_SHAPE(2), data, gb);
    ck_assert_int_eq(nb_read_grad(w, got, 2), NB_OK);
    ck_assert(got[0] == 0 && gw[0] == 9); /* no sweep so far */
    nb_mark m = nb_tape_mark(t);
    for (int i = 0; i < 3; i++) {
        memset(gw, 0xff, sizeof gw);
        memset(gb, 0xff, sizeof gb);
        ck_assert_int_eq(nb_backward(nb_sum(nb_mul(w, w))), NB_OK);
        ck_assert(gw[0] == 4 && gw[1] == 6 && gb[0] == 0 && gb[1] == 0);
        ck_assert(nb_has_grad(w) && !nb_has_grad(b));
        nb_var f = nb_sum(nb_mul(w, b));
        ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .accumulate = true}),
                         NB_OK);
        ck_assert(gw[0] == 6 && gw[1] == 9 && gb[0] == 2 && gb[1] == 3);
        nb_rewind(m);
        ck_assert_int_eq(nb_backward(nb_constant(t, 1)), NB_OK);
        ck_assert(gw[0] == 0 && gw[1] == 0 && gb[0] == 0 && gb[1] == 0);
        nb_rewind(m);
    }
    ck_assert_ptr_eq(nb_data(w), data);
    well(t);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("backward");
    tcase_add_test(c, by_hand);
    tcase_add_test(c, sigmoid_network);
    tcase_add_test(c, every_path_enumerated);
    tcase_add_test(c, a_long_chain);
    tcase_add_loop_test(c, seeds_and_several_outputs, 0, 2);
    tcase_add_test(c, only_what_is_wanted);
    tcase_add_loop_test(c, idempotent_and_accumulating, 0, 2);
    tcase_add_test(c, path_or_zero);
    tcase_add_test(c, gradients_of_interior_nodes);
    tcase_add_test(c, constants_cost_nothing);
    tcase_add_test(c, borrowed_gradients);
    return run_case("backward", c);
}
