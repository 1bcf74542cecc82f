/*
 * Regions.
 *
 * A region whose rule is its derivative must be indistinguishable from the plain graph code, in
 * every mode and order; one whose rule is something else must have exactly that for a derivative.
 * Whatever a function or a rule does wrong is an error that names the region and leaves the tape as
 * it was.
 */
#include "counting.h"
#include "error_is.h"

#include <float.h>
#include <math.h>

/* ---- a region of two operands and three results ----------------------------------------------- */

/* From a scalar s and a vector v: s v, sum of v^3, and the outer product of v and v. */
static nb_code three(void *context, const nb_var *in, nb_var *out)
{
    int *calls = context;
    ++*calls;
    out[0] = nb_mul(in[0], in[1]);
    out[1] = nb_sum(nb_powi(in[1], 3));
    out[2] = nb_outer(in[1], in[1]);
    return NB_OK;
}

static nb_code three_reverse(void *context, const nb_region_rule *r)
{
    (void)context;
    const nb_var s = r->in[0], v = r->in[1], *g = r->g;
    if (r->want[0])
        r->d[0] = nb_dot(g[0], v);
    if (r->want[1])
        r->d[1] = nb_add(nb_add(nb_mul(g[0], s), nb_mul(g[1], nb_mul(3, nb_square(v)))),
                         nb_matmul(nb_add(g[2], nb_transpose(g[2])), v));
    return NB_OK;
}

/* The same as a region and as plain code; f mixes all results. */
static nb_var mixed(nb_tape *t, bool region, nb_var *in, int *calls)
{
    const nb_region_spec spec = {
        .name = "three", .forward = three, .reverse = three_reverse, .context = calls};
    static const double v[] = {0.5, -1.25, 2};
    nb_var out[3];
    in[0] = nb_input(t, "s", 0.75);
    in[1] = nb_tensor(t, "v", NB_SHAPE(3), v);
    nb_var arg[] = {nb_sin(in[0]), nb_exp(in[1])};
    if (region)
        ck_assert_int_eq(nb_region(&spec, 2, arg, 3, out), NB_OK);
    else
        three(calls, arg, out);
    ck_assert_int_eq(nb_rank(out[2]), 2);
    ck_assert(!nb_is_tensor(out[1]));
    nb_var a = nb_mul(nb_sum(nb_square(out[0])), nb_sin(out[1]));
    return nb_add(a, nb_norm(nb_add(out[2], in[0])));
}

START_TEST(like_the_plain_code)
{
    int calls[2] = {0, 0};
    double g[2][4], H[2][16], T[2][64], tangent[2];
    const double tol[] = {_i ? 512 * (double)FLT_EPSILON : 1e-13, _i ? 1e-3 : 1e-11};
    for (int region = 0; region < 2; region++) {
        nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
        nb_var in[2], f = mixed(t, region, in, &calls[region]), d[2], dd[2];
        ck_assert_int_eq(nb_backward(f), NB_OK);
        g[region][0] = nb_grad(in[0]);
        nb_read_grad(in[1], g[region] + 1, 3);
        ck_assert_int_eq(nb_hessian(f, 2, in, H[region]), NB_OK);
        ck_assert_int_eq(nb_forward(2, in, NULL), NB_OK);
        tangent[region] = nb_tangent(f);
        ck_assert_int_eq(nb_diff(1, &f, NULL, 2, in, d), NB_OK);
        nb_var sum = nb_add(nb_sum(nb_square(d[1])), d[0]);
        ck_assert_int_eq(nb_diff(1, &sum, NULL, 2, in, dd), NB_OK);
        nb_var all = nb_mul(nb_sum(dd[1]), dd[0]);
        ck_assert_int_eq(nb_backward(all), NB_OK); /* third derivatives */
        T[region][0] = nb_grad(in[0]);
        nb_read_grad(in[1], T[region] + 1, 3);
        ck_assert_str_eq(nb_message(t), "");
        nb_tape_free(t);
    }
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(g[0][i] / g[1][i], 1, tol[0]);
    for (int i = 0; i < 16; i++)
        ck_assert_double_eq_tol(H[0][i], H[1][i], tol[0] * (1 + fabs(H[0][i])));
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq_tol(T[0][i] / T[1][i], 1, tol[1]);
    ck_assert_double_eq_tol(tangent[0] / tangent[1], 1, tol[0]);
    ck_assert_int_eq(calls[1], 1); /* once, whatever was derived */
}
END_TEST

/* ---- a rule of its own ----------------------------------------------------------------------- */

static nb_code rounded(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_round(in[0]);
    return NB_OK;
}

static nb_code bump(void *context, const nb_region_rule *r)
{
    const double *width = context;
    r->d[0] = nb_mul(r->g[0], nb_gauss(nb_mul(*width, r->in[0])));
    return NB_OK;
}

/* The derivative is what the rule says: e^(-w^2 x^2), and that one's is its own. */
START_TEST(a_rule_of_its_own)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0.7), y;
    double width = 0.5;
    nb_region_spec spec = {.name = "bump",
                           .doc = "a rounding",
                           .forward = rounded,
                           .reverse = bump,
                           .context = &width,
                           .context_bytes = sizeof width};
    ck_assert_int_eq(nb_region(&spec, 1, &x, 1, &y), NB_OK);
    width = 100; /* the node has a copy */
    const double slope = exp(-0.25 * 0.49);
    ck_assert_double_eq(nb_value(y), 1);
    ck_assert_str_eq(nb_inspect(y).op, "bump");
    ck_assert_str_eq(nb_inspect(y).doc, "a rounding");
    ck_assert_uint_eq(nb_count(t), 2);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), slope, 1e-15);
    ck_assert_int_eq(nb_forward(1, &x, NULL), NB_OK);
    ck_assert_double_eq_tol(nb_tangent(y), slope, 1e-15);
    nb_var d = nb_derivative(y, x), dd = nb_derivative(d, x);
    ck_assert_double_eq_tol(nb_value(d), slope, 1e-15);
    ck_assert_double_eq_tol(nb_value(dd), -2 * 0.25 * 0.7 * slope, 1e-15);
    ck_assert_int_eq(nb_backward(dd), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), (-0.5 + 0.25 * 0.49) * slope, 1e-15);
    nb_tape_free(t);
}
END_TEST

/* Without a rule there is a value and no derivative; with recording off, a constant. */
START_TEST(no_rule_or_no_recording)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0.7), y;
    nb_region_spec spec = {.name = "steps", .forward = rounded};
    ck_assert_int_eq(nb_region(&spec, 1, &x, 1, &y), NB_OK);
    ck_assert_int_eq(nb_backward(nb_mul(y, x)), NB_ERR_GRADIENT);
    is(t, NB_ERR_GRADIENT, "steps");
    nb_set_recording(t, false);
    ck_assert_int_eq(nb_region(&spec, 1, &x, 1, &y), NB_OK);
    ck_assert(nb_inspect(y).constant);
    ck_assert(!nb_set_recording(t, true));
    ck_assert_int_eq(nb_backward(nb_mul(y, x)), NB_OK);
    ck_assert_double_eq(nb_grad(x), 1);
    nb_tape_free(t);
}
END_TEST

/* ---- mischief -------------------------------------------------------------------------------- */

enum {
    GOOD,
    FAIL,
    FAIL_INSIDE,
    MISSING,
    STALE,
    FOREIGN,
    CAPTURE,
    CAPTURED_RESULT,
    REWIND,
    IN_FORWARD, /* all above are of the function, all below of the rule */
    RULE_FAILS,
    RULE_FAILS_INSIDE,
    WRONG_SHAPE,
    INERT_ANSWER,
    STALE_ANSWER,
    FOREIGN_ANSWER,
    SWEEP,
    ALL
};

typedef struct mischief {
    int what;
    nb_tape *t;
    nb_var w, stale, foreign;
    nb_mark mark;
} mischief;

static nb_code bad_forward(void *context, const nb_var *in, nb_var *out)
{
    const mischief *m = context;
    out[0] = nb_mul(2, in[0]);
    switch (m->what) {
    case FAIL: return NB_ERR_DOMAIN;
    case FAIL_INSIDE: out[0] = nb_matmul(in[0], nb_ones(m->t, NB_SHAPE(7))); break;
    case MISSING: out[0] = NB_NONE; break;
    case STALE: out[0].index += 1000; break;
    case FOREIGN: out[0] = m->foreign; break;
    case CAPTURE: out[0] = nb_mul(out[0], m->w); break;
    case CAPTURED_RESULT: out[0] = m->w; break;
    case REWIND: return nb_rewind(m->mark);
    default: break;
    }
    return NB_OK;
}

static nb_code bad_reverse(void *context, const nb_region_rule *r)
{
    const mischief *m = context;
    r->d[0] = nb_mul(2, r->g[0]);
    switch (m->what) {
    case RULE_FAILS: return NB_ERR_DOMAIN;
    case RULE_FAILS_INSIDE:
    case INERT_ANSWER: r->d[0] = nb_matmul(r->g[0], nb_ones(m->t, NB_SHAPE(7))); break;
    case WRONG_SHAPE: r->d[0] = nb_ones(m->t, NB_SHAPE(7)); break;
    case STALE_ANSWER: r->d[0].index += 1000; break;
    case FOREIGN_ANSWER: r->d[0] = m->foreign; break;
    case SWEEP: return nb_backward(r->out[0]);
    default: break;
    }
    if (m->what == INERT_ANSWER)
        nb_clear(m->t);
    return NB_OK;
}

static const struct {
    nb_code code;
    const char *part[2];
} verdict[ALL] = {
    [FAIL] = {NB_ERR_DOMAIN, {"mischief: the function failed", ""}},
    [FAIL_INSIDE] = {NB_ERR_SHAPE, {"matmul: ", "\n    in the function of mischief"}},
    [MISSING] = {NB_ERR_CALLBACK, {"mischief", "result 0 is missing"}},
    [STALE] = {NB_ERR_CALLBACK, {"mischief", "result 0 is stale"}},
    [FOREIGN] = {NB_ERR_CALLBACK, {"mischief", "result 0 is of another tape"}},
    [CAPTURE] = {NB_ERR_CALLBACK, {"mischief", "uses node 1, \"w\", which varies"}},
    [CAPTURED_RESULT] = {NB_ERR_CALLBACK, {"mischief", "uses node 1, \"w\", which varies"}},
    [REWIND] = {NB_ERR_CALLBACK, {"rewind: called by a rule", "mischief"}},
    [RULE_FAILS] = {NB_ERR_DOMAIN, {"mischief", "reverse rule"}},
    [RULE_FAILS_INSIDE] = {NB_ERR_SHAPE, {"matmul: ", "\n    in the reverse rule of mischief"}},
    [WRONG_SHAPE] = {NB_ERR_CALLBACK,
                     {"mischief", "operand a has shape [7], which does not fit [3]"}},
    [INERT_ANSWER] = {NB_ERR_CALLBACK, {"mischief", "operand a is inert"}},
    [STALE_ANSWER] = {NB_ERR_CALLBACK, {"mischief", "operand a is stale"}},
    [FOREIGN_ANSWER] = {NB_ERR_CALLBACK, {"mischief", "operand a is of another tape"}},
    [SWEEP] = {NB_ERR_CALLBACK, {"backward: called by a rule", "mischief"}},
};

static void judged(nb_tape *t, int what)
{
    ck_assert_msg(strstr(nb_message(t), verdict[what].part[1]), "%s", nb_message(t));
    is(t, verdict[what].code, verdict[what].part[0]);
}

START_TEST(mischief_of_either)
{
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(3), (double[]){1, 2, 3}), y, d;
    mischief m = {.what = _i, .t = t, .w = nb_input(t, "w", 2)};
    nb_region_spec spec = {
        .name = "mischief", .forward = bad_forward, .reverse = bad_reverse, .context = &m};
    m.foreign = nb_input(other, "y", 3);
    m.mark = nb_tape_mark(t);
    const size_t count = nb_count(t);
    nb_code code = nb_region(&spec, 1, &x, 1, &y);
    if (_i > GOOD && _i < IN_FORWARD) {
        ck_assert_int_eq(code, verdict[_i].code);
        ck_assert(!nb_ok(y) && isnan(nb_value(y)));
        ck_assert_uint_eq(nb_count(t), count);
        judged(t, _i);
    } else {
        ck_assert_int_eq(code, NB_OK);
        nb_var f = nb_sum(y);
        const size_t full = nb_count(t);
        if (_i > IN_FORWARD) {
            ck_assert_int_ne(nb_backward(f), NB_OK);
            judged(t, _i);
            ck_assert_int_ne(nb_diff(1, &f, NULL, 1, &x, &d), NB_OK);
            judged(t, _i);
            ck_assert_int_ne(nb_forward(1, &x, NULL), NB_OK);
            judged(t, _i);
        }
        ck_assert_uint_eq(nb_count(t), full);
        m.what = GOOD;
        ck_assert_int_eq(nb_backward(f), NB_OK);
        ck_assert_double_eq(((const double *)nb_grad_data(x))[2], 2);
    }
    ck_assert_int_eq(nb_backward(nb_sum(nb_mul(x, m.w))), NB_OK); /* the tape goes on */
    ck_assert_double_eq(nb_grad(m.w), 6);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

START_TEST(bad_calls)
{
    nb_tape *t = nb_tape_new(NULL);
    mischief m = {.what = GOOD, .t = t};
    nb_var x = nb_input(t, "x", 1), y;
    const nb_region_spec good = {.name = "good", .forward = bad_forward, .context = &m};
    nb_region_spec spec = good;
    ck_assert_int_eq(nb_region(NULL, 1, &x, 1, &y), NB_ERR_ARGUMENT);
    ck_assert(!nb_ok(y));
    spec.name = NULL;
    ck_assert_int_eq(nb_region(&spec, 1, &x, 1, &y), NB_ERR_ARGUMENT);
    spec = good, spec.forward = NULL;
    ck_assert_int_eq(nb_region(&spec, 1, &x, 1, &y), NB_ERR_ARGUMENT);
    spec = good, spec.context = NULL, spec.context_bytes = 4;
    ck_assert_int_eq(nb_region(&spec, 1, &x, 1, &y), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_region(&good, 0, &x, 1, &y), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_region(&good, 1, NULL, 1, &y), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_region(&good, 1, &x, 0, &y), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_region(&good, 1, &x, 1, NULL), NB_ERR_ARGUMENT);
    nb_var number = nb_num(3);
    ck_assert_int_eq(nb_region(&good, 1, &number, 1, &y), NB_ERR_HANDLE);
    nb_mark mark = nb_tape_mark(t);
    nb_var stale = nb_exp(x);
    nb_rewind(mark);
    ck_assert_int_eq(nb_region(&good, 1, &stale, 1, &y), NB_ERR_HANDLE);
    is(t, NB_ERR_HANDLE, "good: operand a is stale");
    ck_assert_int_eq(nb_region(&good, 1, &x, 1, &y), NB_OK);
    ck_assert_double_eq(nb_value(y), 2);
    nb_tape_free(t);
}
END_TEST

/* Empty tensors, a result that is an operand, a scalar alone on a tape of floats. */
static nb_code pass(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = in[0];
    return NB_OK;
}

static nb_code pass_back(void *context, const nb_region_rule *r)
{
    (void)context;
    r->d[0] = r->g[0];
    return NB_OK;
}

START_TEST(small_things)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    const nb_region_spec spec = {.name = "pass", .forward = pass, .reverse = pass_back};
    nb_var none = nb_tensor(t, "none", NB_SHAPE(0, 3), NULL), x = nb_input(t, "x", 0.1), y, d;
    ck_assert_int_eq(nb_region(&spec, 1, &none, 1, &y), NB_OK);
    ck_assert_int_eq(nb_dim(y, 1), 3);
    ck_assert_int_eq(nb_backward(nb_sum(y)), NB_OK);
    ck_assert_int_eq(nb_region(&spec, 1, &x, 1, &y), NB_OK);
    ck_assert_double_eq(nb_value(y), 0.1); /* scalars are double */
    d = nb_derivative(nb_square(y), x);
    ck_assert_double_eq(nb_value(d), 0.2);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* What a function keeps of its own vars is stale afterwards, also for its rule; what is older is
 * not. The results may take the operands' place. */
static nb_code keeps(void *context, const nb_var *in, nb_var *out)
{
    nb_var *kept = context;
    *kept = nb_exp(in[0]);
    out[0] = nb_mul(*kept, in[1]);
    out[1] = in[0];
    return NB_OK;
}

static nb_code uses_kept(void *context, const nb_region_rule *r)
{
    const nb_var *kept = context;
    r->d[0] = nb_mul(r->g[0], *kept);
    return NB_OK;
}

START_TEST(kept_vars_are_stale)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0.5), y = nb_input(t, "y", 2), kept, both[] = {x, y};
    const nb_region_spec spec = {
        .name = "keeps", .forward = keeps, .reverse = uses_kept, .context = &kept};
    ck_assert_int_eq(nb_region(&spec, 2, both, 2, both), NB_OK);
    ck_assert_double_eq(nb_value(both[0]), exp(0.5) * 2);
    ck_assert_double_eq(nb_value(both[1]), 0.5);
    ck_assert(!nb_ok(kept) && nb_ok(x) && nb_ok(y));
    ck_assert_int_eq(nb_backward(both[0]), NB_ERR_HANDLE);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "in the reverse rule of keeps"));
    is(t, NB_ERR_HANDLE, "is stale");
    ck_assert_int_eq(nb_backward(nb_mul(x, y)), NB_OK);
    ck_assert_double_eq(nb_grad(x), 2);
    nb_tape_free(t);
}
END_TEST

/* With the k-th request for memory refused, an error or the result; and the tape goes on. */
START_TEST(without_memory)
{
    bool through = false;
    for (size_t k = 1; k < 400 && !through; k++) {
        counting c = {0};
        int calls = 0;
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 8, .bytes = 64});
        nb_var in[] = {nb_input(t, "s", 2), nb_leaf("v", nb_ones(t, NB_SHAPE(30)))}, out[3];
        const nb_region_spec spec = {
            .name = "three", .forward = three, .reverse = three_reverse, .context = &calls};
        const size_t count = nb_count(t);
        c.refuse = c.calls + k;
        nb_code code = nb_region(&spec, 2, in, 3, out);
        ck_assert(code == NB_OK || (code == NB_ERR_MEMORY && nb_count(t) == count));
        nb_code swept = code == NB_OK ? nb_backward(nb_sum(out[2])) : code;
        ck_assert(swept == NB_OK || swept == NB_ERR_MEMORY);
        through = !c.refusals;
        c.refuse = 0;
        nb_clear(t);
        ck_assert_int_eq(nb_region(&spec, 2, in, 3, out), NB_OK);
        ck_assert_int_eq(nb_backward(nb_mul(out[1], nb_sum(out[2]))), NB_OK);
        ck_assert_double_eq(((const double *)nb_grad_data(in[1]))[7], 3 * 900 + 30 * 60);
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(through);
}
END_TEST

/* A loop that records, sweeps and rewinds asks for no memory after its first turn. */
START_TEST(steady_memory)
{
    counting c = {0};
    size_t after = 0;
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = counting_allocator(&c)});
    nb_mark m = nb_tape_mark(t);
    for (int turn = 0; turn < 20; turn++) {
        int calls = 0;
        nb_var in[2], f = mixed(t, true, in, &calls);
        ck_assert_int_eq(nb_backward(f), NB_OK);
        nb_rewind(m);
        after = turn == 1 ? c.calls : after;
    }
    ck_assert_uint_eq(c.calls, after);
    nb_tape_free(t);
}
END_TEST

/* Numbers are double on a tape of floats too: forward mode, which asks the reverse rule, says so. */
static nb_code wave(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_sin(in[0]);
    return NB_OK;
}

static nb_code wave_rule(void *context, const nb_region_rule *r)
{
    (void)context;
    r->d[0] = nb_mul(r->g[0], nb_cos(r->in[0]));
    return NB_OK;
}

START_TEST(numbers_among_floats)
{
    static const nb_region_spec spec = {.name = "wave", .forward = wave, .reverse = wave_rule};
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    nb_var x = nb_input(t, "x", 0.3), h = nb_mul(x, x), y;
    nb_region(&spec, 1, &h, 1, &y);
    y = nb_straight_through(nb_round(y), nb_scale_gradient(nb_mul(y, h), 0.7));
    ck_assert_int_eq(nb_forward(1, &x, NULL), NB_OK);
    const double due = 0.7 * (sin(0.09) + 0.09 * cos(0.09)) * 0.6;
    ck_assert_msg(fabs(nb_tangent(y) - due) < 1e-15, "%.17g, not %.17g", nb_tangent(y), due);
    nb_tape_free(t);
}
END_TEST

/* A rule that pauses recording pauses it for itself alone. */
static nb_code pausing_rule(void *context, const nb_region_rule *r)
{
    (void)context;
    r->d[0] = nb_mul(r->g[0], nb_cos(r->in[0]));
    nb_set_recording(r->tape, false);
    return NB_OK;
}

START_TEST(a_rule_that_pauses)
{
    static const nb_region_spec spec = {.name = "wave", .forward = wave, .reverse = pausing_rule};
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0.3), y, h = nb_mul(x, x);
    nb_region(&spec, 1, &h, 1, &y);
    nb_var d = nb_derivative(y, x);
    ck_assert(nb_set_recording(t, true));
    ck_assert_int_eq(nb_backward(d), NB_OK);
    const double due = 2 * cos(0.09) - 4 * 0.09 * sin(0.09);
    ck_assert_msg(fabs(nb_grad(x) - due) < 1e-15, "%.17g, not %.17g", nb_grad(x), due);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("region");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, like_the_plain_code, 0, 2);
    tcase_add_test(c, a_rule_of_its_own);
    tcase_add_test(c, numbers_among_floats);
    tcase_add_test(c, a_rule_that_pauses);
    tcase_add_test(c, no_rule_or_no_recording);
    tcase_add_loop_test(c, mischief_of_either, 0, ALL);
    tcase_add_test(c, bad_calls);
    tcase_add_test(c, small_things);
    tcase_add_test(c, kept_vars_are_stale);
    tcase_add_test(c, without_memory);
    tcase_add_test(c, steady_memory);
    return run_case("region", c);
}
