/*
 * A program over tensors is what elementwise operations make of the same tensors: value, gradients by
 * operands broadcast in every manner, higher derivatives. And it refuses what does not fit, survives its
 * program, and gives back what it takes.
 */
#include "error_is.h"
#include "program.h"

#include "ops/elementwise.h"
#include "program/map.h"
#include <pthread.h>

enum { MOST = 64 };

/* f with an argument of one element per input. */
static nb_program *freeze(recorded_fn *f, int which, size_t n, bool strict, const nb_allocator *a)
{
    nb_var x[3];
    nb_argument in[3];
    nb_tape *t = nb_tape_new(NULL);
    static const char *const names[] = {"x", "y", "z"};
    for (size_t k = 0; k < n; k++) {
        x[k] = nb_input(t, NULL, 1);
        in[k] = (nb_argument){.name = names[k], .count = 1, .var = &x[k]};
    }
    nb_var y = f(x, which);
    const nb_argument out = {.name = "f", .count = 1, .var = &y};
    nb_program *p = nb_freeze(&(nb_recipe){
        .n_in = n, .in = in, .n_out = 1, .out = &out, .strict = strict, .allocator = a});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

static nb_var tensor(nb_tape *t, nb_shape shape, double phase)
{
    double x[1024];
    const int64_t n = shape.rank < 0 ? 1 : nb_shape_size(shape);
    for (int64_t i = 0; i < n; i++)
        x[i] = sin(1.3 * (double)i + phase) + 0.1 * phase;
    return shape.rank < 0 ? nb_input(t, NULL, x[0]) : nb_tensor(t, NULL, shape, x);
}

/* Elements of a's values (or gradients) and b's are within `ulps`, of numbers near 1 at least. */
static void near_all(nb_var a, nb_var b, bool gradients, double scale, double ulps)
{
    double x[1024], y[1024];
    const int64_t n = nb_size(b);
    ck_assert_int_eq(nb_size(a), n);
    ck_assert(nb_shape_equal(nb_shape_of(a), nb_shape_of(b)));
    ck_assert((gradients ? nb_read_grad : nb_read)(a, x, n) == NB_OK);
    ck_assert((gradients ? nb_read_grad : nb_read)(b, y, n) == NB_OK);
    for (int64_t i = 0; i < n; i++)
        if (!program_near(x[i], y[i], scale, ulps))
            ck_abort_msg("element %lld: %.17g, not %.17g", (long long)i, x[i], y[i]);
}

static void sweep(nb_var y)
{
    double seed[1024];
    for (int64_t i = 0; i < nb_size(y); i++)
        seed[i] = 1 + 0.5 * cos((double)i);
    const double *list[] = {seed};
    ck_assert_msg(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = list}) == NB_OK, "%s",
                  nb_message(y.tape));
}

START_TEST(laws)
{
    nb_law_report r;
    const nb_code code = nb_check_op(&nbi_op_map, &r);
    ck_assert_msg(code == NB_OK, "%s: %s", nb_code_name(code), r.text);
    for (int law = 0; law < NB_LAW_COUNT; law++)
        ck_assert_msg(r.law[law].passed >= 10, "%s", nb_law_name((nb_law)law));
}
END_TEST

/* ---- the table ------------------------------------------------------------------------------- */

static nb_var row_of(const nb_var *x, int which) { return nbi_row_call((enum nbi_row)which, x); }

static nb_var operand_of_row(nb_tape *t, int row, size_t k)
{
    const double *r = nbi_rows[row].range + 2 * k;
    double x[MOST];
    for (int i = 0; i < MOST; i++)
        x[i] = (double)(float)(r[0] + (r[1] - r[0]) * (0.5 + 0.5 * sin(1.7 * i + 2.0 * (double)k)));
    return nb_tensor(t, NULL, NB_SHAPE(MOST), x);
}

/* Loop: dtype. Both round, but not at the same places. */
START_TEST(every_row_is_its_elementwise_operation)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    const double unit = _i ? 0x1p29 : 1;
    for (int row = 0; row < NBI_ROWS; row++) {
        const size_t n = (size_t)nbi_rows[row].arity;
        nb_program *p = freeze(row_of, row, n, true, NULL);
        nb_reset(t);
        nb_var x[3], u[3];
        for (size_t k = 0; k < n; k++)
            x[k] = operand_of_row(t, row, k), u[k] = operand_of_row(t, row, k);
        nb_var a = nb_map(p, n, x), b = nbi_row_call((enum nbi_row)row, u);
        ck_assert_msg(nb_ok(a) && nb_ok(b), "%s: %s", nbi_rows[row].name, nb_message(t));
        near_all(a, b, false, 0, 4 * unit);
        sweep(a);
        double g[3][MOST], h[MOST];
        for (size_t k = 0; k < n; k++)
            ck_assert(nb_read_grad(x[k], g[k], MOST) == NB_OK);
        sweep(b);
        for (size_t k = 0; k < n; k++) {
            ck_assert(nb_read_grad(u[k], h, MOST) == NB_OK);
            for (int i = 0; i < MOST; i++)
                if (!program_near(g[k][i], h[i], 0, 64 * unit))
                    ck_abort_msg("%s, slope %zu: %.17g, not %.17g", nbi_rows[row].name, k, g[k][i],
                                 h[i]);
        }
        nb_program_free(p);
    }
    nb_tape_free(t);
}
END_TEST

/* ---- broadcasting ---------------------------------------------------------------------------- */

static nb_var polynomial(const nb_var *x, int which)
{
    (void)which;
    return nb_add(nb_mul(nb_mul(x[0], x[1]), x[1]), nb_mul(x[2], nb_sin(x[0])));
}

static const nb_shape triples[][3] = {
    {{2, {4, 5}}, {1, {5}}, {2, {4, 1}}},
    {{2, {4, 1}}, {2, {1, 5}}, {0, {0}}},
    {{3, {2, 3, 4}}, {2, {3, 1}}, {3, {2, 1, 1}}},
    {{3, {2, 1, 4}}, {2, {3, 1}}, {-1, {0}}},
    {{4, {7, 1, 3, 1}}, {4, {1, 2, 1, 5}}, {1, {5}}},
    {{4, {2, 3, 1, 2}}, {3, {3, 4, 2}}, {4, {2, 1, 4, 1}}},
    {{2, {3, 70}}, {1, {70}}, {2, {3, 1}}},
    {{2, {70, 3}}, {1, {3}}, {2, {70, 1}}},
    {{1, {1}}, {2, {1, 1}}, {-1, {0}}},
    {{-1, {0}}, {-1, {0}}, {-1, {0}}},
    {{0, {0}}, {-1, {0}}, {0, {0}}},
    {{2, {0, 3}}, {1, {3}}, {-1, {0}}},
    {{3, {2, 0, 1}}, {1, {4}}, {1, {1}}},
    {{8, {1, 2, 1, 2, 1, 2, 1, 2}}, {8, {2, 1, 2, 1, 2, 1, 2, 1}}, {3, {2, 1, 2}}},
};

enum { TRIPLES = sizeof triples / sizeof *triples };

/* Loop: triples of shapes, in the six orders of the operands, in double and float. */
START_TEST(operands_broadcast_as_elementwise)
{
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i % 2 ? NB_F32 : NB_F64});
    nb_program *p = freeze(polynomial, 0, 3, true, NULL);
    const double ulps = _i % 2 ? 0x1p33 : 64;
    for (int o = 0; o < 6; o++) {
        nb_var x[3], u[3], y[2];
        nb_reset(t);
        for (int k = 0; k < 3; k++) {
            const nb_shape shape = triples[_i / 2][order[o][k]];
            x[k] = tensor(t, shape, k), u[k] = tensor(t, shape, k);
        }
        y[0] = nb_map(p, 3, x);
        ck_assert_msg(nb_ok(y[0]), "%s", nb_message(t));
        y[1] = polynomial(u, 0);
        near_all(y[0], y[1], false, 1, _i % 2 ? 0x1p31 : 4);
        double seed[1024];
        for (int64_t i = 0; i < nb_size(y[0]); i++)
            seed[i] = 1 + 0.5 * cos((double)i);
        const double *seeds[] = {seed, seed};
        ck_assert(nb_backward_with(&(nb_sweep){.n_out = 2, .out = y, .seed = seeds}) == NB_OK);
        for (int k = 0; k < 3; k++)
            near_all(x[k], u[k], true, 16, ulps);
        /* a second gradient is added to the first */
        y[1] = nb_map(p, 3, u);
        ck_assert(nb_backward_with(&(nb_sweep){
                      .n_out = 2, .out = y, .seed = seeds, .accumulate = true}) == NB_OK);
        double g[1024], h[1024];
        for (int k = 0; k < 3; k++) {
            nb_read_grad(x[k], g, nb_size(x[k]));
            nb_read_grad(u[k], h, nb_size(u[k]));
            for (int64_t i = 0; i < nb_size(x[k]); i++)
                if (!program_near(g[i], h[i], 16, 4 * ulps))
                    ck_abort_msg("operand %d: %.17g, not %.17g", k, g[i], h[i]);
        }
    }
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* One operand in two places, and numbers. */
START_TEST(operands_may_be_numbers_and_repeat)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_program *p = freeze(polynomial, 0, 3, true, NULL);
    nb_var x = tensor(t, NB_SHAPE(2, 3), 0), u = tensor(t, NB_SHAPE(2, 3), 0);
    nb_var y = nb_map(p, 3, (nb_var[]){x, x, nb_num(0.5)});
    nb_var v = polynomial((nb_var[]){u, u, nb_num(0.5)}, 0);
    near_all(y, v, false, 1, 4);
    ck_assert(nb_backward_with(&(nb_sweep){.n_out = 2, .out = (nb_var[]){nb_sum(y), nb_sum(v)}}) ==
              NB_OK);
    near_all(x, u, true, 1, 64);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- vectors, sums, several outputs ---------------------------------------------------------- */

/* (a . b, a + w b), and the sum over all lanes of w a . b */
static nb_program *freeze_vectors(bool one)
{
    nb_var a[3], b[3], y[3];
    nb_tape *t = nb_tape_new(NULL);
    nb_var w = nb_input(t, "w", 1);
    for (int e = 0; e < 3; e++)
        a[e] = nb_input(t, NULL, 1), b[e] = nb_input(t, NULL, 1);
    nb_var dot = nb_dot_of(3, a, b), total = nb_mul(w, dot);
    for (int e = 0; e < 3; e++)
        y[e] = nb_add(a[e], nb_mul(w, b[e]));
    const nb_argument in[] = {{.name = "a", .count = 3, .var = a},
                              {.name = "w", .count = 1, .var = &w, .vector = one},
                              {.name = "b", .count = 3, .var = b, .shared = true}};
    const nb_argument out[] = {{.name = "dot", .count = 1, .var = &dot},
                               {.name = "y", .count = 3, .var = y},
                               {.name = "total", .count = 1, .var = &total, .sum = true}};
    nb_program *p = nb_freeze(&(nb_recipe){.n_in = 3, .in = in, .n_out = 3, .out = out});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

/* Loop: shapes of a and b; whether w is a vector of one element. */
START_TEST(vectors_have_an_axis_and_sums_have_none)
{
    static const nb_shape shapes[][3] = {{{2, {4, 3}}, {1, {4}}, {1, {3}}},
                                         {{3, {2, 1, 3}}, {1, {5}}, {2, {5, 3}}},
                                         {{1, {3}}, {-1, {0}}, {1, {3}}},
                                         {{2, {0, 3}}, {1, {1}}, {2, {1, 3}}}};
    const bool one = _i % 2;
    nb_program *p = freeze_vectors(one);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[3], u[3], y[3], v[3];
    for (int k = 0; k < 3; k++) {
        x[k] = tensor(t, shapes[_i / 2][k], k), u[k] = tensor(t, shapes[_i / 2][k], k);
        if (k == 1 && one) {
            nb_shape s = nb_shape_of(x[k]);
            s.rank = s.rank < 0 ? 0 : s.rank;
            s.dims[s.rank++] = 1;
            x[k] = nb_reshape(nb_is_tensor(x[k]) ? x[k] : nb_stack(1, &x[k], 0), s);
        }
    }
    ck_assert_msg(nb_map_all(p, 3, x, y) == NB_OK, "%s", nb_message(t));
    nb_shape s = nb_shape_of(u[1]);
    if (s.rank >= 0)
        s.dims[s.rank++] = 1;
    nb_var w = s.rank < 0 ? u[1] : nb_reshape(u[1], s);
    v[0] = nb_sum_over(nb_mul(u[0], u[2]), NB_AXES(-1), false);
    v[1] = nb_add(u[0], nb_mul(w, u[2]));
    v[2] = nb_sum(nb_mul(w, nb_mul(u[0], u[2])));
    if (_i / 2 != 2) {
        v[0] = nb_expand(v[0], nb_shape_of(y[0]));
        near_all(y[0], v[0], false, 1, 16);
    } else {
        ck_assert(!nb_is_tensor(y[0]) && nb_rank(v[0]) == 0);
    }
    near_all(y[1], v[1], false, 1, 16);
    ck_assert(!nb_is_tensor(y[2]) && program_near(nb_value(y[2]), nb_value(v[2]), 1, 64));
    nb_var f = nb_add(nb_add(nb_sum(nb_square(y[0])), nb_sum(nb_square(y[1]))), nb_mul(2, y[2]));
    nb_var h = nb_add(nb_add(nb_sum(nb_square(v[0])), nb_sum(nb_square(v[1]))), nb_mul(2, v[2]));
    ck_assert(nb_backward_with(&(nb_sweep){.n_out = 2, .out = (nb_var[]){f, h}}) == NB_OK);
    near_all(x[0], u[0], true, 16, 64);
    near_all(x[2], u[2], true, 16, 64);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- orders and modes ------------------------------------------------------------------------ */

/* x^4 y: derivatives to the fourth order are known. */
static nb_var fourth(const nb_var *x, int which)
{
    (void)which;
    nb_var s = nb_mul(x[0], x[0]);
    return nb_mul(nb_mul(s, s), x[1]);
}

START_TEST(derivatives_of_every_order)
{
    nb_program *p = freeze(fourth, 0, 2, false, NULL);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = tensor(t, NB_SHAPE(2, 3), 0.3), w = tensor(t, NB_SHAPE(3), 1);
    nb_var y = nb_map(p, 2, (nb_var[]){x, w});
    nb_program_free(p); /* the nodes keep what they need of it */
    double v[6], c[3], d[6];
    nb_read(x, v, 6), nb_read(w, c, 3);
    static const double factor[] = {1, 4, 12, 24, 24};
    for (int order = 0; order <= 4; order++) {
        ck_assert_msg(nb_ok(y), "%s", nb_message(t));
        ck_assert(nb_read(y, d, 6) == NB_OK);
        for (int i = 0; i < 6; i++) {
            const double due = factor[order] * pow(v[i], 4 - order) * c[i % 3];
            if (!program_near(d[i], due, 0, 16))
                ck_abort_msg("order %d: %.17g, not %.17g", order, d[i], due);
        }
        /* mixed: by w, of the derivative by x, summed over what shares an element */
        nb_var m = nb_derivative(y, w);
        ck_assert(nb_read(m, d, 3) == NB_OK);
        for (int i = 0; i < 3; i++) {
            const double due = factor[order] * (pow(v[i], 4 - order) + pow(v[i + 3], 4 - order));
            if (!program_near(d[i], due, 1, 64))
                ck_abort_msg("order %d, mixed: %.17g, not %.17g", order, d[i], due);
        }
        y = nb_derivative(y, x);
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(matrices_are_those_of_elementwise_operations)
{
    nb_program *p = freeze(polynomial, 0, 3, false, NULL);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[3] = {tensor(t, NB_SHAPE(2, 3), 0), tensor(t, NB_SHAPE(3), 1),
                   tensor(t, NB_SHAPE(2, 1), 2)};
    nb_var y = nb_map(p, 3, x), u = polynomial(x, 0);
    enum { N = 11 };
    double a[N * N], b[N * N], v[N], hv[N];
    for (int mode = NB_JACOBIAN_FORWARD; mode <= NB_JACOBIAN_REVERSE; mode++) {
        ck_assert_msg(nb_jacobian(1, &y, 3, x, (nb_jacobian_mode)mode, a) == NB_OK, "%s",
                      nb_message(t));
        ck_assert(nb_jacobian(1, &u, 3, x, (nb_jacobian_mode)mode, b) == NB_OK);
        for (int i = 0; i < 6 * N; i++)
            ck_assert_msg(program_near(a[i], b[i], 1, 16), "%.17g, not %.17g", a[i], b[i]);
    }
    nb_var f = nb_sum(nb_square(y)), h = nb_sum(nb_square(u));
    ck_assert_msg(nb_hessian(f, 3, x, a) == NB_OK, "%s", nb_message(t));
    ck_assert(nb_hessian(h, 3, x, b) == NB_OK);
    for (int i = 0; i < N * N; i++)
        ck_assert_msg(program_near(a[i], b[i], 16, 64), "%.17g, not %.17g", a[i], b[i]);
    for (int i = 0; i < N; i++)
        v[i] = cos(i);
    const double *const direction[] = {v, v + 6, v + 9};
    double *const to[] = {hv, hv + 6, hv + 9};
    ck_assert(nb_hvp(f, 3, x, direction, to) == NB_OK);
    for (int i = 0; i < N; i++) {
        double due = 0;
        for (int j = 0; j < N; j++)
            due += b[i * N + j] * v[j];
        ck_assert_msg(program_near(hv[i], due, 64, 64), "%.17g, not %.17g", hv[i], due);
    }
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- bad input ------------------------------------------------------------------------------- */

START_TEST(what_does_not_fit_is_refused)
{
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_program *p = freeze(polynomial, 0, 3, false, NULL), *q = freeze_vectors(false);
    nb_var a = tensor(t, NB_SHAPE(2, 3), 0), b = nb_name(tensor(t, NB_SHAPE(4), 0), "b"), out[3];
    nb_var c = tensor(other, NB_SHAPE(3), 0);
    refused(t, nb_map(NULL, 1, &a), NB_ERR_ARGUMENT, "map: the program is NULL");
    refused(t, nb_map(p, 2, (nb_var[]){a, b}), NB_ERR_ARGUMENT, "has 3 inputs, 2 operands");
    refused(t, nb_map(q, 3, (nb_var[]){a, b, a}), NB_ERR_ARGUMENT, "has 3 outputs; nb_map_all");
    refused(t, nb_map(p, 3, (nb_var[]){a, nb_num(1), b}), NB_ERR_SHAPE,
            "operand c, \"z\", has lanes [4], those before it [2 3]");
    refused(t, nb_map(p, 3, (nb_var[]){a, b, a}), NB_ERR_SHAPE, "\"b\"");
    refused(t, nb_map(p, 3, (nb_var[]){a, c, a}), NB_ERR_HANDLE, "operand b is of another tape");
    refused(t, nb_map(p, 3, (nb_var[]){a, NB_NONE, a}), NB_ERR_HANDLE, "operand b is no var");
    ck_assert(!nb_ok(nb_map(p, 3, NULL)) && nb_status(t) == NB_OK);
    ck_assert(!nb_ok(nb_map(p, 3, (nb_var[]){nb_num(1), nb_num(1), nb_num(1)})));
    ck_assert(nb_map_all(q, 3, (nb_var[]){a, nb_num(1), b}, out) == NB_ERR_SHAPE);
    ck_assert(!nb_ok(out[0]) && !nb_ok(out[2]));
    refused(t, out[1], NB_ERR_SHAPE, "operand c: the last axis is to hold the 3 of \"b\"");
    ck_assert(nb_map_all(q, 3, (nb_var[]){nb_num(1), nb_num(1), a}, out) == NB_ERR_SHAPE);
    refused(t, out[0], NB_ERR_SHAPE, "operand a: the last axis is to hold the 3 of \"a\"");
    ck_assert(nb_map_all(q, 3, (nb_var[]){a, nb_num(1), a}, NULL) == NB_ERR_ARGUMENT);
    /* an earlier error on the tape is no obstacle, and stays */
    nb_matmul(a, a);
    ck_assert(nb_ok(nb_map(p, 3, (nb_var[]){a, a, a})));
    is(t, NB_ERR_SHAPE, "matmul");
    nb_program_free(p);
    nb_program_free(q);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

static nb_var guarded(const nb_var *x, int which)
{
    (void)which;
    return nb_guard(nb_gt(x[0], -5)) ? nb_mul(x[0], x[1]) : x[1];
}

START_TEST(a_lane_that_leaves_is_named)
{
    double v[12];
    nb_tape *t = nb_tape_new(NULL);
    nb_program *p = freeze(guarded, 0, 2, false, NULL);
    for (int i = 0; i < 12; i++)
        v[i] = i - 4;
    nb_var x = nb_tensor(t, NULL, NB_SHAPE(4, 1, 3), v), w = tensor(t, NB_SHAPE(2, 1), 1);
    nb_var y = nb_map(p, 2, (nb_var[]){x, w});
    ck_assert(nb_ok(y) && nb_backward(nb_sum(y)) == NB_OK);
    v[7] = -6;
    x = nb_tensor(t, NULL, NB_SHAPE(4, 1, 3), v);
    refused(t, nb_map(p, 2, (nb_var[]){x, w}), NB_ERR_GUARD, "lane [2 0 1] of [4 2 3]");
    v[7] = 0, v[5] = (double)NAN;
    x = nb_tensor(t, NULL, NB_SHAPE(12), v);
    refused(t, nb_map(p, 2, (nb_var[]){x, nb_num(1)}), NB_ERR_GUARD, "lane [5] of [12]");
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- memory and threads ---------------------------------------------------------------------- */

static nb_code train(nb_tape *t, const nb_program *p, const nb_program *q, double *g)
{
    nb_var x[3] = {tensor(t, NB_SHAPE(4, 3), 0), tensor(t, NB_SHAPE(4), 1),
                   tensor(t, NB_SHAPE(3), 2)};
    nb_var out[3], y;
    if (nb_map_all(q, 3, x, out) != NB_OK)
        return nb_status(t);
    y = nb_map(p, 3, (nb_var[]){out[1], out[2], x[2]});
    y = nb_add(nb_sum(nb_square(nb_derivative(y, x[2]))), nb_sum(out[0]));
    if (nb_backward(y) == NB_OK)
        nb_read_grad(x[0], g, 12);
    return nb_status(t);
}

START_TEST(a_step_of_training_asks_for_memory_in_the_first_round_only)
{
    double g[12];
    counting c = {0};
    nb_program *p = freeze(polynomial, 0, 3, false, NULL), *q = freeze_vectors(false);
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = counting_allocator(&c)});
    for (int round = 0; round < 4; round++) {
        const size_t calls = c.calls;
        ck_assert(train(t, p, q, g) == NB_OK);
        ck_assert(round < 2 || c.calls == calls);
        nb_reset(t);
    }
    nb_program_free(p);
    nb_program_free(q);
    nb_tape_free(t);
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

/* Loop: whether the allocator refuses once, or from then on; on the tape's behalf and the program's. */
START_TEST(the_kth_request_is_refused)
{
    double due[12], g[12];
    nb_program *q = freeze_vectors(false);
    bool done = false;
    size_t k = 1, failed = 0;
    for (; !done && k < 5000; k++) {
        counting c = {0};
        const nb_allocator a = counting_allocator(&c);
        nb_program *p = freeze(polynomial, 0, 3, false, &a);
        c.refuse = c.calls + k;
        c.for_ever = _i;
        nb_tape *t = nb_tape_new(&(nb_options){.allocator = a, .nodes = 4, .bytes = 128});
        const nb_code code = t ? train(t, p, q, g) : NB_ERR_MEMORY;
        done = c.refusals == 0;
        failed += code != NB_OK;
        ck_assert_msg(code == NB_ERR_MEMORY || code == NB_OK, "request %zu: %s %s", k,
                      nb_code_name(code), t ? nb_message(t) : "");
        ck_assert(code == NB_OK || !done);
        c.refuse = 0;
        if (t) { /* all is usable again */
            nb_reset(t);
            ck_assert(train(t, p, q, due) == NB_OK);
            ck_assert(code != NB_OK ||
                      !memcmp(due, g, sizeof g)); /* got over, by asking for less */
            nb_tape_free(t);
        }
        nb_program_free(p);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(done && failed > 30);
    nb_program_free(q);
}
END_TEST

START_TEST(threads_change_no_bit)
{
    enum { N = 3000 };
    static double g[2][N + 40], x[N * 4];
    nb_program *p = freeze(polynomial, 0, 3, false, NULL);
    for (int i = 0; i < N * 4; i++)
        x[i] = sin(i);
    for (int k = 0; k < 2; k++) {
        nb_tape *t = nb_tape_new(&(nb_options){.threads = k ? 3 : 0});
        t->crew.grain = k;
        nb_var v[3] = {nb_tensor(t, NULL, NB_SHAPE(4, N), x), nb_tensor(t, NULL, NB_SHAPE(N), x),
                       nb_tensor(t, NULL, NB_SHAPE(4, 1), x)};
        ck_assert(nb_backward(nb_sum(nb_map(p, 3, v))) == NB_OK);
        nb_read_grad(v[1], g[k], N);
        nb_read_grad(v[2], g[k] + N, 4);
        nb_tape_free(t);
    }
    ck_assert(!memcmp(g[0], g[1], sizeof g[0]));
    nb_program_free(p);
}
END_TEST

/* A step on a tape of its own, while others do the same with the same programs. */
typedef struct trainee {
    pthread_t thread;
    const nb_program *p, *q;
    nb_code code;
    double g[12];
} trainee;

static void *train_apart(void *context)
{
    trainee *w = context;
    nb_tape *t = nb_tape_new(NULL);
    w->code = train(t, w->p, w->q, w->g);
    nb_tape_free(t);
    return NULL;
}

START_TEST(tapes_of_several_threads_share_a_program)
{
    trainee w[4];
    double due[12];
    nb_program *p = freeze(polynomial, 0, 3, false, NULL), *q = freeze_vectors(false);
    for (int k = 0; k < 4; k++) {
        w[k] = (trainee){.p = p, .q = q};
        ck_assert_int_eq(pthread_create(&w[k].thread, NULL, train_apart, &w[k]), 0);
    }
    for (int k = 0; k < 4; k++)
        pthread_join(w[k].thread, NULL);
    nb_tape *t = nb_tape_new(NULL);
    ck_assert(train(t, p, q, due) == NB_OK);
    for (int k = 0; k < 4; k++)
        ck_assert(w[k].code == NB_OK && !memcmp(w[k].g, due, sizeof due));
    nb_tape_free(t);
    nb_program_free(p);
    nb_program_free(q);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("map");
    tcase_add_test(c, laws);
    tcase_add_loop_test(c, every_row_is_its_elementwise_operation, 0, 2);
    tcase_add_loop_test(c, operands_broadcast_as_elementwise, 0, 2 * TRIPLES);
    tcase_add_test(c, operands_may_be_numbers_and_repeat);
    tcase_add_loop_test(c, vectors_have_an_axis_and_sums_have_none, 0, 8);
    tcase_add_test(c, derivatives_of_every_order);
    tcase_add_test(c, matrices_are_those_of_elementwise_operations);
    tcase_add_test(c, what_does_not_fit_is_refused);
    tcase_add_test(c, a_lane_that_leaves_is_named);
    tcase_add_test(c, a_step_of_training_asks_for_memory_in_the_first_round_only);
    tcase_add_loop_test(c, the_kth_request_is_refused, 0, 2);
    tcase_add_test(c, threads_change_no_bit);
    tcase_add_test(c, tapes_of_several_threads_share_a_program);
    tcase_set_timeout(c, 60);
    return run_case("map", c);
}
