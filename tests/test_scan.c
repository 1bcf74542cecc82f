/*
 * A scan is the loop that it stands for: the same program mapped step by step, the same formulas on
 * scalar nodes. Held to these are its results, its gradients by states, inputs and parameters, in every
 * way that lanes may share them, and the derivatives of those; then what it refuses, and what it costs.
 */
#include "error_is.h"
#include "program.h"

#include "program/scan.h"

START_TEST(laws)
{
    nb_law_report r;
    const nb_code code = nb_check_op(&nbi_op_scan, &r);
    ck_assert_msg(code == NB_OK, "%s: %s", nb_code_name(code), r.text);
    for (int law = 0; law < NB_LAW_COUNT; law++)
        ck_assert_msg(r.law[law].passed >= 8, "%s", nb_law_name((nb_law)law));
}
END_TEST

/* ---- the step -------------------------------------------------------------------------------- */

/* s = (a, b), m; x; w = (w0, w1), k  ->
 * s' = (tanh(w0 a + b / 2 + x), b cos(a) + w1 m), m' = m / 2 + k;
 * y = (a m, x b), z = the sum over the lanes of a x */
enum { S, M, X, W, K, IN };

static void formulas(const nb_var *v, nb_var *out)
{
    nb_var a = v[0], b = v[1], m = v[2], x = v[3], w0 = v[4], w1 = v[5], k = v[6];
    out[0] = nb_tanh(nb_add(nb_add(nb_mul(w0, a), nb_mul(0.5, b)), x));
    out[1] = nb_add(nb_mul(b, nb_cos(a)), nb_mul(w1, m));
    out[2] = nb_add(nb_mul(0.5, m), k);
    out[3] = nb_mul(a, m);
    out[4] = nb_mul(x, b);
    out[5] = nb_mul(a, x);
}

static nb_program *freeze(const nb_allocator *a)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var v[7], o[6];
    for (int k = 0; k < 7; k++)
        v[k] = nb_input(t, NULL, 0.5);
    formulas(v, o);
    const nb_argument in[IN] = {{.name = "s", .count = 2, .var = v},
                                {.name = "m", .count = 1, .var = v + 2},
                                {.name = "x", .count = 1, .var = v + 3},
                                {.name = "w", .count = 2, .var = v + 4},
                                {.name = "k", .count = 1, .var = v + 6}};
    const nb_argument out[] = {{.name = "s'", .count = 2, .var = o},
                               {.name = "m'", .count = 1, .var = o + 2},
                               {.name = "y", .count = 2, .var = o + 3},
                               {.name = "z", .count = 1, .var = o + 5, .sum = true}};
    nb_program *p =
        nb_freeze(&(nb_recipe){.n_in = IN, .in = in, .n_out = 4, .out = out, .allocator = a});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

static nb_var tensor(nb_tape *t, nb_shape shape, double phase)
{
    const int64_t n = shape.rank < 0 ? 1 : nb_shape_size(shape);
    double *x = malloc(((size_t)n + 1) * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.7 * sin(1.3 * (double)i + phase) + 0.1 * phase;
    nb_var v = shape.rank < 0 ? nb_input(t, NULL, 0.3 + phase / 9) : nb_tensor(t, NULL, shape, x);
    free(x);
    return v;
}

/* A number that depends on all results. */
static nb_var loss(const nb_var *out)
{
    nb_var f = nb_sum(nb_square(nb_slice(out[0], 0, -1, NB_END, 1)));
    f = nb_add(f, nb_mul(0.3, nb_sum(nb_sin(out[0]))));
    f = nb_add(f, nb_sum(nb_mul(out[1], out[1])));
    f = nb_add(f, nb_sum(nb_sin(out[2])));
    return nb_add(f, nb_sum(nb_square(out[3])));
}

/* The same loop, a node of nb_map for each step; the states are expanded to all lanes before. */
static void loop(const nb_program *p, int64_t steps, const nb_var *x, nb_var *out)
{
    nb_var at[IN], part[4][16], y[4];
    memcpy(at, x, sizeof at);
    for (int64_t t = 0; t < steps; t++) {
        nb_shape s = nb_shape_of(x[X]);
        memmove(s.dims, s.dims + 1, sizeof s.dims - sizeof *s.dims);
        s.rank--;
        at[X] = nb_reshape(nb_slice(x[X], 0, t, t + 1, 1), s);
        ck_assert_msg(nb_map_all(p, IN, at, y) == NB_OK, "%s", nb_message(x[0].tape));
        if (!t) {
            part[0][0] = nb_expand(x[S], nb_shape_of(y[0]));
            part[1][0] = nb_is_tensor(y[1]) ? nb_expand(x[M], nb_shape_of(y[1])) : x[M];
        }
        part[0][t + 1] = at[S] = y[0];
        part[1][t + 1] = at[M] = y[1];
        part[2][t] = y[2];
        part[3][t] = y[3];
    }
    for (int k = 0; k < 4; k++)
        out[k] = nb_stack((size_t)steps + (k < 2), part[k], 0);
}

static nb_scan_spec spec_of(const nb_program *p, int64_t steps)
{
    return (nb_scan_spec){.step = p, .steps = steps, .n_state = 2, .n_each = 1};
}

static void scan(const nb_program *p, int64_t steps, const nb_var *x, nb_var *out)
{
    const nb_scan_spec spec = spec_of(p, steps);
    ck_assert_msg(nb_scan(&spec, IN, x, out) == NB_OK, "%s", nb_message(x[0].tape));
}

static void same(nb_var a, nb_var b, bool gradient, double scale, double ulps, const char *what)
{
    const int64_t n = nb_size(b);
    ck_assert_int_eq(nb_size(a), n);
    double *x = malloc(2 * ((size_t)n + 1) * sizeof *x), *y = x + n;
    ck_assert((gradient ? nb_read_grad : nb_read)(a, x, n) == NB_OK);
    ck_assert((gradient ? nb_read_grad : nb_read)(b, y, n) == NB_OK);
    for (int64_t i = 0; i < n; i++)
        if (!program_near(x[i], y[i], scale, ulps))
            ck_abort_msg("%s, element %lld: %.17g, not %.17g", what, (long long)i, x[i], y[i]);
    free(x);
}

/* ---- the loop that it stands for ------------------------------------------------------------- */

enum { STEPS = 5 };

/* In how many ways lanes may share what they are given. */
static const nb_shape shapes[][IN] = {
    {{1, {2}}, {-1, {0}}, {1, {STEPS}}, {1, {2}}, {-1, {0}}},
    {{2, {7, 2}}, {1, {7}}, {2, {STEPS, 7}}, {1, {2}}, {-1, {0}}},
    {{2, {7, 2}}, {1, {7}}, {1, {STEPS}}, {2, {7, 2}}, {1, {7}}},
    {{1, {2}}, {1, {65}}, {1, {STEPS}}, {1, {2}}, {0, {0}}},
    {{2, {1, 2}}, {-1, {0}}, {2, {STEPS, 3}}, {2, {1, 2}}, {1, {1}}},
    {{3, {2, 1, 2}}, {2, {2, 3}}, {2, {STEPS, 3}}, {3, {2, 1, 2}}, {1, {3}}},
    {{3, {2, 1, 2}}, {1, {3}}, {3, {STEPS, 2, 1}}, {1, {2}}, {2, {2, 1}}},
    {{2, {600, 2}}, {1, {600}}, {1, {STEPS}}, {1, {2}}, {-1, {0}}},
    {{2, {0, 2}}, {1, {0}}, {1, {STEPS}}, {1, {2}}, {-1, {0}}},
};

enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Loop: shapes, in double and float. */
START_TEST(a_scan_is_a_loop_of_maps)
{
    nb_program *p = freeze(NULL);
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i % 2 ? NB_F32 : NB_F64});
    const double unit = _i % 2 ? 0x1p29 : 1;
    nb_var x[IN], u[IN], a[4], b[4];
    for (int k = 0; k < IN; k++)
        x[k] = tensor(t, shapes[_i / 2][k], k), u[k] = tensor(t, shapes[_i / 2][k], k);
    scan(p, STEPS, x, a);
    loop(p, STEPS, u, b);
    for (int k = 0; k < 4; k++) {
        const nb_shape s = nb_shape_of(a[k]), d = nb_shape_of(b[k]);
        ck_assert_msg(nb_shape_equal(s, d), "result %d", k);
        same(a[k], b[k], false, k == 3 ? 600 : 1, 16 * unit, "result");
    }
    nb_var f[] = {loss(a), loss(b)};
    ck_assert_msg(nb_backward_with(&(nb_sweep){.n_out = 2, .out = f}) == NB_OK, "%s",
                  nb_message(t));
    for (int k = 0; k < IN; k++)
        same(x[k], u[k], true, 64, 64 * unit, "gradient");
    /* once more, of an operand that has a gradient already: it is added */
    double g[1200], h[1200];
    nb_read_grad(x[M], g, nb_size(x[M]));
    ck_assert(nb_backward_with(&(nb_sweep){.n_out = 1, .out = f, .accumulate = true}) == NB_OK);
    nb_read_grad(x[M], h, nb_size(x[M]));
    for (int64_t i = 0; i < nb_size(x[M]); i++)
        ck_assert(program_near(h[i], 2 * g[i], 1, 4 * unit));
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* Three lanes on scalar nodes, which know nothing of programs. */
START_TEST(a_scan_is_a_loop_of_scalars)
{
    enum { L = 3 };
    nb_program *p = freeze(NULL);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[IN] = {tensor(t, NB_SHAPE(L, 2), 0), tensor(t, NB_SHAPE(L), 1),
                    tensor(t, NB_SHAPE(STEPS, L), 2), tensor(t, NB_SHAPE(2), 3),
                    tensor(t, NB_POINT, 4)};
    nb_var out[4], f = nb_num(0), s[L][3], u[STEPS][L], w[3];
    double v[STEPS * L];
    scan(p, STEPS, x, out);
    const double weight[] = {1, -2, 3};
    nb_read(x[W], v, 2);
    for (int e = 0; e < 2; e++)
        w[e] = nb_input(t, NULL, v[e]);
    w[2] = nb_input(t, NULL, nb_value(x[K]));
    nb_read(x[X], v, STEPS * L);
    for (int i = 0; i < STEPS; i++)
        for (int l = 0; l < L; l++)
            u[i][l] = nb_input(t, NULL, v[i * L + l]);
    nb_var first[L][3];
    for (int l = 0; l < L; l++) {
        nb_read(x[S], v, 2 * L);
        first[l][0] = nb_input(t, NULL, v[2 * l]), first[l][1] = nb_input(t, NULL, v[2 * l + 1]);
        nb_read(x[M], v, L);
        first[l][2] = nb_input(t, NULL, v[l]);
        memcpy(s[l], first[l], sizeof s[l]);
        for (int i = 0; i < STEPS; i++) {
            nb_var o[6];
            formulas((nb_var[]){s[l][0], s[l][1], s[l][2], u[i][l], w[0], w[1], w[2]}, o);
            ck_assert(program_near(nb_value(nb_at(out[0], i + 1, l, 1)), nb_value(o[1]), 1, 16));
            ck_assert(program_near(nb_value(nb_at(out[2], i, l, 0)), nb_value(o[3]), 1, 16));
            f = nb_add(f, nb_mul(weight[l], nb_add(nb_square(o[3]), o[4])));
            memcpy(s[l], o, sizeof s[l]);
        }
        f = nb_add(f, nb_mul(nb_mul(weight[l], s[l][0]), s[l][2]));
    }
    nb_var y = nb_constant_tensor(t, NB_SHAPE(L), weight);
    nb_var last = nb_index_select(nb_slice(out[0], 0, -1, NB_END, 1), 2, 1, (int64_t[]){0});
    nb_var g = nb_mul(nb_reshape(last, NB_SHAPE(L)), nb_slice(out[1], 0, -1, NB_END, 1));
    nb_var y0 = nb_reshape(nb_slice(out[2], 2, 0, 1, 1), NB_SHAPE(STEPS, L));
    nb_var y1 = nb_reshape(nb_slice(out[2], 2, 1, 2, 1), NB_SHAPE(STEPS, L));
    g = nb_sum(
        nb_add(nb_mul(y, g), nb_sum_over(nb_mul(y, nb_add(nb_square(y0), y1)), NB_AXES(0), true)));
    ck_assert(program_near(nb_value(g), nb_value(f), 1, 64));
    ck_assert_msg(nb_backward_with(&(nb_sweep){.n_out = 2, .out = (nb_var[]){f, g}}) == NB_OK, "%s",
                  nb_message(t));
    nb_read_grad(x[X], v, STEPS * L);
    for (int i = 0; i < STEPS * L; i++)
        ck_assert(program_near(v[i], nb_grad(u[i / L][i % L]), 4, 64));
    nb_read_grad(x[S], v, 2 * L);
    for (int i = 0; i < 2 * L; i++)
        ck_assert(program_near(v[i], nb_grad(first[i / 2][i % 2]), 4, 64));
    nb_read_grad(x[W], v, 2);
    for (int i = 0; i < 2; i++)
        ck_assert(program_near(v[i], nb_grad(w[i]), 16, 64));
    ck_assert(program_near(nb_grad(x[K]), nb_grad(w[2]), 16, 64));
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* Loop: the shapes with few lanes. Hessians and Jacobians in both modes, and a third derivative. */
START_TEST(derivatives_of_every_order)
{
    enum { MOST = 60 };
    static double a[MOST * MOST], b[MOST * MOST];
    nb_program *p = freeze(NULL);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[IN], out[4], ref[4];
    size_t n = 0;
    for (int k = 0; k < IN; k++) {
        x[k] = tensor(t, shapes[_i][k], k);
        n += (size_t)nb_size(x[k]);
    }
    ck_assert(n <= MOST);
    scan(p, STEPS, x, out);
    loop(p, STEPS, x, ref);
    for (int mode = NB_JACOBIAN_FORWARD; mode <= NB_JACOBIAN_REVERSE; mode++) {
        const int64_t m = nb_size(out[3]);
        ck_assert_msg(nb_jacobian(1, &out[3], IN, x, (nb_jacobian_mode)mode, a) == NB_OK, "%s",
                      nb_message(t));
        ck_assert(nb_jacobian(1, &ref[3], IN, x, (nb_jacobian_mode)mode, b) == NB_OK);
        for (size_t i = 0; i < (size_t)m * n; i++)
            if (!program_near(a[i], b[i], 4, 64))
                ck_abort_msg("mode %d: %.17g, not %.17g", mode, a[i], b[i]);
    }
    nb_var f = loss(out), h = loss(ref);
    ck_assert_msg(nb_hessian(f, IN, x, a) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_hessian(h, IN, x, b) == NB_OK);
    for (size_t i = 0; i < n * n; i++)
        if (!program_near(a[i], b[i], 16, 256))
            ck_abort_msg("second derivative %zu: %.17g, not %.17g", i, a[i], b[i]);
    nb_var d[2] = {f, h};
    for (int order = 0; order < 2; order++) /* by w, by k */
        for (int i = 0; i < 2; i++)
            d[i] = nb_sum(nb_sin(nb_derivative(d[i], x[order ? K : W])));
    ck_assert_msg(nb_backward(d[0]) == NB_OK, "%s", nb_message(t));
    for (int k = 0; k < IN; k++)
        nb_read_grad(x[k], a + k * MOST, nb_size(x[k]));
    ck_assert(nb_backward(d[1]) == NB_OK);
    for (int k = 0; k < IN; k++) {
        nb_read_grad(x[k], b, nb_size(x[k]));
        for (int64_t i = 0; i < nb_size(x[k]); i++)
            if (!program_near(a[k * MOST + i], b[i], 64, 4096))
                ck_abort_msg("third derivative: %.17g, not %.17g", a[k * MOST + i], b[i]);
    }
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* s' = s + 1, z = the sum over the lanes of c x: what is summed is the same in all of them, which are several
 * chunks. */
START_TEST(sums_of_what_does_not_vary)
{
    enum { L = 1200 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var s = nb_input(t, "s", 1), x = nb_input(t, "x", 1), c = nb_input(t, "c", 1), out[2];
    nb_var next = nb_add(s, 1), z = nb_mul(c, x);
    const nb_argument in[] = {{.name = "s", .count = 1, .var = &s},
                              {.name = "x", .count = 1, .var = &x},
                              {.name = "c", .count = 1, .var = &c}};
    const nb_argument to[] = {{.name = "s'", .count = 1, .var = &next},
                              {.name = "z", .count = 1, .var = &z, .sum = true}};
    nb_program *p = nb_freeze(&(nb_recipe){.n_in = 3, .in = in, .n_out = 2, .out = to});
    const nb_scan_spec spec = {.step = p, .steps = 3, .n_state = 1, .n_each = 1};
    nb_var u = nb_tensor(t, NULL, NB_SHAPE(3), (double[]){1, -2, 4});
    nb_var w = nb_input(t, NULL, 5), from = nb_leaf(NULL, nb_zeros(t, NB_SHAPE(L)));
    ck_assert(nb_scan(&spec, 3, (nb_var[]){from, u, w}, out) == NB_OK);
    const double *y = nb_data(out[1]), *last = (const double *)nb_data(out[0]) + 3 * L;
    for (int i = 0; i < 3; i++)
        ck_assert(y[i] == L * 5 * ((const double *)nb_data(u))[i]);
    ck_assert(last[0] == 3 && last[L - 1] == 3);
    ck_assert(nb_backward(nb_sum(nb_square(out[1]))) == NB_OK);
    ck_assert(nb_grad(w) == 2.0 * L * L * 5 * (1 + 4 + 16));
    for (int i = 0; i < 3; i++)
        ck_assert(((const double *)nb_grad_data(u))[i] ==
                  2.0 * L * L * 25 * ((const double *)nb_data(u))[i]);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

START_TEST(no_step_leaves_the_state)
{
    nb_program *p = freeze(NULL);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[IN] = {tensor(t, NB_SHAPE(3, 2), 0), tensor(t, NB_SHAPE(3), 1),
                    tensor(t, NB_SHAPE(0), 2), tensor(t, NB_SHAPE(2), 3), nb_num(0.5)};
    nb_var out[4];
    scan(p, 0, x, out);
    ck_assert(nb_shape_equal(nb_shape_of(out[0]), NB_SHAPE(1, 3, 2)));
    ck_assert(nb_shape_equal(nb_shape_of(out[2]), NB_SHAPE(0, 3, 2)));
    ck_assert(nb_shape_equal(nb_shape_of(out[3]), NB_SHAPE(0)));
    same(out[0], x[S], false, 0, 0, "state");
    double g[6], w[2];
    ck_assert(nb_backward(nb_sum(nb_mul(out[0], 3))) == NB_OK);
    nb_read_grad(x[S], g, 6), nb_read_grad(x[W], w, 2);
    for (int i = 0; i < 6; i++)
        ck_assert(g[i] == 3 && w[i / 3] == 0);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- bad input ------------------------------------------------------------------------------- */

START_TEST(what_does_not_fit_is_refused)
{
    nb_program *p = freeze(NULL);
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var out[4];
    const nb_var x[IN] = {tensor(t, NB_SHAPE(3, 2), 0), tensor(t, NB_SHAPE(3), 1),
                          tensor(t, NB_SHAPE(4), 2), tensor(t, NB_SHAPE(2), 3), nb_num(0.5)};
    nb_scan_spec s = spec_of(p, 4), none = {.step = NULL};
#define REFUSED(code, part)                                                \
    ck_assert_msg(nb_scan(&s, IN, v, out) == (code), "%s", nb_message(t)); \
    ck_assert(!nb_ok(out[0]) && !nb_ok(out[3]));                           \
    refused(t, out[1], code, part)
    nb_var v[IN];
    memcpy(v, x, sizeof v);
    ck_assert(nb_scan(&s, IN, v, out) == NB_OK);
    ck_assert(nb_scan(&none, IN, v, out) == NB_ERR_ARGUMENT);
    is(t, NB_ERR_ARGUMENT, "scan: the program is NULL");
    ck_assert(nb_scan(NULL, IN, v, out) == NB_ERR_ARGUMENT);
    is(t, NB_ERR_ARGUMENT, "scan: the program is NULL");
    ck_assert(nb_scan(&s, IN, v, NULL) == NB_ERR_ARGUMENT);
    ck_assert(nb_scan(&s, IN, NULL, out) == NB_ERR_HANDLE);
    ck_assert(nb_scan(&s, IN - 1, v, out) == NB_ERR_ARGUMENT);
    is(t, NB_ERR_ARGUMENT, "the program has 5 inputs, 4 operands were given");
    s.steps = -1;
    REFUSED(NB_ERR_ARGUMENT, "-1 steps");
    s.steps = 5;
    REFUSED(NB_ERR_SHAPE, "operand c, \"x\", has shape [4]: its first axis is to hold the 5 steps");
    s = spec_of(p, 4), s.n_each = 4;
    REFUSED(NB_ERR_ARGUMENT, "2 states and 4 operands for each step");
    s = spec_of(p, 4), s.n_state = 3, s.n_each = 0;
    REFUSED(NB_ERR_SHAPE, "state \"x\" has 1 elements, \"y\" after a step 2");
    s = spec_of(p, 4);
    v[W] = x[M];
    REFUSED(NB_ERR_SHAPE,
            "operand d, \"w\", has shape [3]: its last axis is to hold the 2 elements");
    memcpy(v, x, sizeof v);
    v[K] = tensor(t, NB_SHAPE(4), 0);
    REFUSED(NB_ERR_SHAPE, "operand e, \"k\", has lanes [4], those before it [3]");
    v[K] = tensor(other, NB_POINT, 0);
    REFUSED(NB_ERR_HANDLE, "operand e is of another tape");
    v[K] = NB_NONE;
    REFUSED(NB_ERR_HANDLE, "operand e is no var");
    v[K] = tensor(t, NB_SHAPE(1, 1, 1, 1, 1, 1, 1), 0);
    REFUSED(NB_ERR_SHAPE, "too many axes");
    memcpy(v, x, sizeof v);
    nb_matmul(x[S], x[S]); /* an earlier error is no obstacle, and stays */
    ck_assert(nb_scan(&s, IN, v, out) == NB_OK && nb_ok(nb_derivative(nb_sum(out[0]), x[S])));
    is(t, NB_ERR_SHAPE, "matmul");
    nb_program_free(p);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

/* s' = s + x while s stays below 10 */
START_TEST(a_lane_that_leaves_is_named)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var s = nb_input(t, "s", 1), x = nb_input(t, "x", 1), out[1];
    nb_var next = nb_guard(nb_lt(s, 10)) ? nb_add(s, x) : s;
    const nb_argument in[] = {{.name = "s", .count = 1, .var = &s},
                              {.name = "x", .count = 1, .var = &x}};
    const nb_argument to = {.name = "s'", .count = 1, .var = &next};
    nb_program *p = nb_freeze(&(nb_recipe){.n_in = 2, .in = in, .n_out = 1, .out = &to});
    nb_var from = nb_tensor(t, NULL, NB_SHAPE(4), (double[]){0, -9, 3, -1});
    const nb_scan_spec spec = {.step = p, .steps = 7, .n_state = 1};
    ck_assert(nb_scan(&spec, 2, (nb_var[]){from, nb_num(1)}, out) == NB_OK);
    ck_assert(nb_backward(nb_sum(out[0])) == NB_OK);
    ck_assert(nb_scan(&spec, 2, (nb_var[]){from, nb_num(2)}, out) == NB_ERR_GUARD);
    refused(t, out[0], NB_ERR_GUARD, "step 4, lane 2 of 4");
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- memory and threads ---------------------------------------------------------------------- */

static nb_code train(nb_tape *t, const nb_program *p, double *g)
{
    nb_var x[IN], out[4];
    const nb_scan_spec spec = spec_of(p, STEPS);
    for (int k = 0; k < IN; k++)
        x[k] = tensor(t, shapes[6][k], k);
    if (nb_scan(&spec, IN, x, out) != NB_OK)
        return nb_status(t);
    nb_var d = nb_derivative(loss(out), x[W]);
    if (nb_backward(nb_sum(nb_square(d))) == NB_OK)
        nb_read_grad(x[S], g, 4);
    return nb_status(t);
}

START_TEST(a_step_of_training_asks_for_memory_in_the_first_round_only)
{
    double g[4];
    counting c = {0};
    const nb_allocator a = counting_allocator(&c);
    nb_program *p = freeze(&a);
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = a});
    for (int round = 0; round < 4; round++) {
        const size_t calls = c.calls;
        ck_assert_msg(train(t, p, g) == NB_OK, "%s", nb_message(t));
        ck_assert(round < 2 || c.calls == calls);
        nb_reset(t);
    }
    nb_program_free(p);
    nb_tape_free(t);
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

/* Loop: whether the allocator refuses once, or from then on. */
START_TEST(the_kth_request_is_refused)
{
    double due[4], g[4];
    bool done = false;
    size_t failed = 0;
    for (size_t k = 1; !done && k < 5000; k++) {
        counting c = {0};
        const nb_allocator a = counting_allocator(&c);
        nb_program *p = freeze(&a);
        c.refuse = c.calls + k;
        c.for_ever = _i;
        nb_tape *t = nb_tape_new(&(nb_options){.allocator = a, .nodes = 4, .bytes = 128});
        const nb_code code = t ? train(t, p, g) : NB_ERR_MEMORY;
        done = c.refusals == 0;
        failed += code != NB_OK;
        ck_assert_msg(code == NB_ERR_MEMORY || code == NB_OK, "request %zu: %s %s", k,
                      nb_code_name(code), t ? nb_message(t) : "");
        c.refuse = 0;
        if (t) {
            nb_reset(t);
            ck_assert(train(t, p, due) == NB_OK);
            ck_assert(code != NB_OK ||
                      !memcmp(due, g, sizeof g)); /* got over, by asking for less */
            nb_tape_free(t);
        }
        nb_program_free(p);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(done && failed > 30);
}
END_TEST

START_TEST(threads_change_no_bit)
{
    enum { L = 3000 };
    static double g[2][STEPS + L + 3];
    nb_program *p = freeze(NULL);
    for (int k = 0; k < 2; k++) {
        nb_tape *t = nb_tape_new(&(nb_options){.threads = k ? 3 : 0});
        t->crew.grain = k;
        nb_var x[IN] = {tensor(t, NB_SHAPE(L, 2), 0), tensor(t, NB_SHAPE(L), 1),
                        tensor(t, NB_SHAPE(STEPS), 2), tensor(t, NB_SHAPE(2), 3),
                        tensor(t, NB_SHAPE(L), 4)};
        nb_var out[4];
        scan(p, STEPS, x, out);
        ck_assert(nb_backward(loss(out)) == NB_OK);
        nb_read_grad(x[X], g[k], STEPS);
        nb_read_grad(x[K], g[k] + STEPS, L);
        nb_read_grad(x[W], g[k] + STEPS + L, 2);
        nb_tape_free(t);
    }
    ck_assert(!memcmp(g[0], g[1], sizeof g[0]));
    nb_program_free(p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("scan");
    tcase_add_test(c, laws);
    tcase_add_loop_test(c, a_scan_is_a_loop_of_maps, 0, 2 * SHAPES);
    tcase_add_test(c, a_scan_is_a_loop_of_scalars);
    tcase_add_loop_test(c, derivatives_of_every_order, 0, 3);
    tcase_add_loop_test(c, derivatives_of_every_order, 4, 7);
    tcase_add_test(c, sums_of_what_does_not_vary);
    tcase_add_test(c, no_step_leaves_the_state);
    tcase_add_test(c, what_does_not_fit_is_refused);
    tcase_add_test(c, a_lane_that_leaves_is_named);
    tcase_add_test(c, a_step_of_training_asks_for_memory_in_the_first_round_only);
    tcase_add_loop_test(c, the_kth_request_is_refused, 0, 2);
    tcase_add_test(c, threads_change_no_bit);
    tcase_set_timeout(c, 60);
    return run_case("scan", c);
}
