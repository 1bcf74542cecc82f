/*
 * Checks of gradients: what they say of right and of wrong ones, of functions that are none, and of
 * calls that cannot be carried out. Derivatives expected are formulas written beside the functions.
 */
#include "counting.h"
#include "run.h"

#include <float.h>
#include <math.h>
#include <nabla.h>
#include <string.h>

/* ---- a family of functions of one variable --------------------------------------------------- */

enum { KINDS = 8 };

typedef struct member {
    int kind;
    double k, wide, high, offset, noise,
        wrong; /* scales of x and f, cancellation, noise, a factor */
} member;

static double shape(const member *m, double z)
{
    switch (m->kind) {
    case 0: return exp(m->k * z);
    case 1: return sin(m->k * z);
    case 2: return 1 / (1 + m->k * m->k * z * z);
    case 3: return tanh(m->k * z);
    case 4: return z * z * z - z;
    case 5: return fmax(z, 0.3 * z + 1e-7);
    case 6: return log(z * z + 1e-6);
    default: return z > 0 ? z * z : 0;
    }
}

static double slope(const member *m, double z)
{
    const double k = m->k, e = 1 + k * k * z * z;
    switch (m->kind) {
    case 0: return k * exp(k * z);
    case 1: return k * cos(k * z);
    case 2: return -2 * k * k * z / (e * e);
    case 3: return k / (cosh(k * z) * cosh(k * z));
    case 4: return 3 * z * z - 1;
    case 5: return z > 1e-7 / 0.7 ? 1 : 0.3;
    case 6: return 2 * z / (z * z + 1e-6);
    default: return z > 0 ? 2 * z : 0;
    }
}

static double scatter(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    nb_rng r = nb_rng_seed(bits);
    return nb_rng_uniform(&r) - 0.5;
}

static double family_f(const double *x, size_t n, void *context)
{
    const member *m = context;
    (void)n;
    const double v = (shape(m, *x / m->wide) + m->offset) - m->offset;
    return m->high * (v + m->noise * scatter(*x));
}

static void family_g(const double *x, size_t n, double *g, void *context)
{
    const member *m = context;
    (void)n;
    *g = m->wrong * m->high * slope(m, *x / m->wide) / m->wide;
}

static member draw(nb_rng *r, int i, double *x)
{
    member m = {.kind = i % KINDS, .k = 1, .wide = 1, .high = 1, .wrong = 1};
    const double z = pow(10, 3 * nb_rng_uniform(r) - 2) * (i % 16 < 8 ? 1 : -1);
    m.k = pow(10, 3 * nb_rng_uniform(r) - 2);
    switch (nb_rng_below(r, 6)) {
    case 1: m.wide = pow(10, 300 * nb_rng_uniform(r) - 150); break;
    case 2: m.high = pow(10, 200 * nb_rng_uniform(r) - 100); break;
    case 3: m.offset = 1e8; break;
    case 4: m.noise = 1e-10; break;
    default: break;
    }
    *x = z * m.wide;
    return m;
}

static nb_check_coordinate family_check(member *m, double x, uint64_t seed)
{
    nb_check_coordinate c = {.verdict = NB_VERDICT_UNTESTED};
    nb_check_arrays(&(nb_check_plain){.f = family_f, .g = family_g, .context = m, .n = 1, .x = &x},
                    &(nb_check_options){.seed = seed, .directions = -1, .keep = &c, .keep_room = 1},
                    NULL);
    return c;
}

START_TEST(hard_functions_are_never_wrong_and_estimates_hold)
{
    nb_rng r = nb_rng_seed(5);
    int wrong = 0, right = 0, covered = 0, all = 0, flawed = 0, caught = 0;
    for (int i = 0; i < 4000; i++) {
        double x;
        member m = draw(&r, i, &x);
        const double exact = m.high * slope(&m, x / m.wide) / m.wide;
        if (!isfinite(family_f(&x, 1, &m)) || !isfinite(exact))
            continue;
        const nb_check_coordinate c = family_check(&m, x, (uint64_t)i);
        all++;
        wrong += c.verdict == NB_VERDICT_WRONG;
        right += c.verdict == NB_VERDICT_RIGHT;
        covered += c.verdict != NB_VERDICT_RIGHT || fabs(c.numeric - exact) <= c.estimate;
        if (c.verdict != NB_VERDICT_RIGHT || exact == 0 || c.estimate > 1e-5 * fabs(exact))
            continue;
        m.wrong = (double[]){-1, 2, 1.001, 0}[i % 4];
        flawed++;
        caught += family_check(&m, x, (uint64_t)i + 9).verdict == NB_VERDICT_WRONG;
    }
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_gt(all, 3000);
    ck_assert_int_gt(100 * right, 85 * all);
    ck_assert_int_ge(1000 * covered, 999 * all);
    ck_assert_int_gt(flawed, 2000);
    ck_assert_int_ge(100 * caught, 98 * flawed);
}
END_TEST

/* ---- verdicts of their own ------------------------------------------------------------------- */

typedef struct trouble {
    int calls, kind;
} trouble;

enum { STATE, GRADIENT_STATE, WRITES, NAN_VALUE, JUMP, KINK, NEAR, EDGE, ZERO };

static double trouble_f(const double *x, size_t n, void *context)
{
    trouble *t = context;
    const double v = x[0];
    t->calls++;
    if (t->kind == WRITES) {
        double *y;
        memcpy(&y, &x, sizeof y);
        y[n - 1] += 1e-9;
    }
    switch (t->kind) {
    case STATE: return v + t->calls;
    case NAN_VALUE: return sqrt(v - 10);
    case JUMP: return v >= 1 ? 2 : 1;
    case KINK: return fabs(v - 1);
    case NEAR: return fabs(v - 1 - 1e-9);
    case EDGE: return pow(v - 1, 1.5);
    case ZERO: return 0;
    default: return v * v;
    }
}

static void trouble_g(const double *x, size_t n, double *g, void *context)
{
    trouble *t = context;
    for (size_t i = 0; i < n; i++)
        g[i] = 0;
    switch (t->kind) {
    case GRADIENT_STATE: g[0] = t->calls; break;
    case STATE: g[0] = 1; break;
    case NEAR: g[0] = -1; break;
    case KINK:
    case JUMP:
    case EDGE:
    case ZERO: g[0] = 0; break;
    default: g[0] = 2 * x[0];
    }
}

static nb_check_report trouble_report(int kind)
{
    trouble t = {.kind = kind};
    const double x[] = {1, 3};
    nb_check_report r;
    nb_check_arrays(
        &(nb_check_plain){.f = trouble_f, .g = trouble_g, .context = &t, .n = 2, .x = x}, NULL, &r);
    return r;
}

START_TEST(troubles_have_verdicts)
{
    static const nb_verdict expected[] = {
        [STATE] = NB_VERDICT_IMPURE,
        [GRADIENT_STATE] = NB_VERDICT_IMPURE,
        [WRITES] = NB_VERDICT_CHANGES_INPUTS,
        [NAN_VALUE] = NB_VERDICT_NOT_FINITE,
        [ZERO] = NB_VERDICT_RIGHT,
    };
    for (int k = STATE; k <= NAN_VALUE; k++) {
        const nb_check_report r = trouble_report(k);
        ck_assert_msg(r.verdict == expected[k], "%d: %s", k, r.text);
        ck_assert(!nb_check_ok(&r) && strstr(r.text, nb_verdict_name(r.verdict)) == r.text);
    }
    ck_assert(trouble_report(GRADIENT_STATE).gradient_impure);
    ck_assert(trouble_report(ZERO).verdict == NB_VERDICT_RIGHT);
}
END_TEST

START_TEST(jumps_kinks_and_what_is_near_them)
{
    nb_check_report r = trouble_report(JUMP);
    ck_assert_msg(r.count[NB_VERDICT_STEP] == 1 && r.count[NB_VERDICT_WRONG] == 0, "%s", r.text);
    r = trouble_report(KINK);
    ck_assert_msg(r.count[NB_VERDICT_KINK] == 1, "%s", r.text);
    ck_assert(r.worst[0].between && fabs(r.worst[0].left + 1) < 1e-3 &&
              fabs(r.worst[0].right - 1) < 1e-3);
    r = trouble_report(NEAR);
    ck_assert_msg(r.count[NB_VERDICT_RIGHT] == 2, "%s", r.text);
    r = trouble_report(EDGE);
    ck_assert_msg(r.count[NB_VERDICT_WRONG] == 0, "%s", r.text);
}
END_TEST

/* ---- screening, directions, samples ---------------------------------------------------------- */

enum { MANY = 100000 };

static double many_x[MANY];

static double many_f(const double *x, size_t n, void *context)
{
    double sum = 0;
    (void)context;
    for (size_t i = 0; i < n; i++)
        sum += sin(x[i]) + (i ? x[i] * x[i - 1] : 0) / 2;
    return sum;
}

static void many_g(const double *x, size_t n, double *g, void *context)
{
    const size_t *wrong = context;
    for (size_t i = 0; i < n; i++)
        g[i] = cos(x[i]) + (i ? x[i - 1] / 2 : 0) + (i + 1 < n ? x[i + 1] / 2 : 0);
    if (wrong)
        g[*wrong] += 0.5;
}

START_TEST(many_inputs_are_screened_and_suspects_found)
{
    size_t at = 71317;
    nb_check_report r;
    for (size_t i = 0; i < MANY; i++)
        many_x[i] = sin((double)i);
    nb_check_plain c = {.f = many_f, .g = many_g, .n = MANY, .x = many_x};
    nb_check_arrays(&c, NULL, &r);
    ck_assert_msg(nb_check_ok(&r) && r.count[NB_VERDICT_RIGHT] == r.tested, "%s", r.text);
    ck_assert_uint_le(r.screening, 20);
    ck_assert(fabs(r.direction[0].rate_two - 2) < 0.2 && fabs(r.direction[0].rate_three - 3) < 0.4);
    ck_assert_uint_eq(r.count[NB_VERDICT_UNTESTED], MANY - r.tested);
    c.context = &at;
    nb_check_arrays(&c, NULL, &r);
    ck_assert_msg(r.verdict == NB_VERDICT_WRONG && r.worst[0].index == at, "%s", r.text);
}
END_TEST

/* ---- recorded functions ---------------------------------------------------------------------- */

typedef enum flaw {
    FINE,
    TURNED,
    DROPPED,
    OVERWRITES,
    TRANSPOSED,
    REGION,
    CUT,
    INFINITE,
    HIDDEN_KINK,
    FLAWS
} flaw;

static double get(const nb_array *a, int64_t i)
{
    return a->dtype == NB_F64 ? ((double *)a->data)[i] : (double)((float *)a->data)[i];
}

static void put(const nb_array *a, int64_t i, double v)
{
    if (a->dtype == NB_F64)
        ((double *)a->data)[i] = v;
    else
        ((float *)a->data)[i] = (float)v;
}

/* The cubes of a square matrix's elements. */
static nb_code cube_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++)
        put(c->out, i, pow(get(&c->in[0], i), 3));
    return NB_OK;
}

static nb_code cube_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    const flaw f = *(const flaw *)c->state;
    const int64_t n = c->in[0].dims[0];
    for (int64_t i = 0; gin[0] && i < g->size; i++) {
        const int64_t to = f == TRANSPOSED ? i % n * n + i / n : i;
        double d = 3 * pow(get(&c->in[0], i), 2) * get(g, i) * (f == TURNED ? -1 : 1);
        d = f == DROPPED ? 0 : d;
        put(gin[0], to, d + (add[0] && f != OVERWRITES ? get(gin[0], to) : 0));
    }
    return NB_OK;
}

static const nb_op cube = {
    .name = "cube", .forward = cube_forward, .reverse_arrays = cube_reverse, .overwrites = true};

static nb_code exp_forward(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_exp(in[0]);
    return NB_OK;
}

static nb_code exp_reverse(void *context, const nb_region_rule *r)
{
    (void)context;
    r->d[0] = nb_mul(2, nb_mul(r->g[0], r->out[0]));
    return NB_OK;
}

static nb_var record(void *context, nb_tape *t, const nb_var *in)
{
    const nb_region_spec doubled = {
        .name = "doubled", .forward = exp_forward, .reverse = exp_reverse};
    flaw f = *(const flaw *)context;
    (void)t;
    nb_var h = nb_name(nb_tanh(nb_matmul(in[0], in[1])), "h"), y;
    y = nb_apply(&cube, 1, &h, &f, sizeof f);
    switch (f) {
    case OVERWRITES: y = nb_add(y, h); break;
    case REGION: nb_region(&doubled, 1, &y, 1, &y); break;
    case CUT: y = nb_mul(y, nb_detach(nb_sigmoid(h))); break;
    case INFINITE: y = nb_mul(y, nb_sqrt(nb_sub(y, y))); break;
    case HIDDEN_KINK: y = nb_sub(nb_relu(h), nb_relu(nb_neg(h))); break;
    default: break;
    }
    return nb_sum(nb_mul(y, in[2]));
}

static double left[12], right[12], scale = 0.7;

static nb_check_report record_report(flaw f, nb_dtype dtype, bool no_double)
{
    nb_check_report r;
    for (int i = 0; i < 12; i++) {
        left[i] = f == HIDDEN_KINK ? 0 : sin(i + 1);
        right[i] = cos(i);
    }
    const nb_check_input in[] = {{"left", NB_SHAPE(3, 4), left, false},
                                 {"right", NB_SHAPE(4, 3), right, false},
                                 {"scale", {.rank = -1}, &scale, true}};
    nb_check_function(record, &f, 3, in,
                      &(nb_check_options){.dtype = dtype, .no_double = no_double}, &r);
    return r;
}

START_TEST(the_first_wrong_rule_is_named)
{
    static const struct {
        nb_verdict verdict;
        nb_diagnosis says;
        const char *op;
    } expected[FLAWS] = {
        [FINE] = {NB_VERDICT_RIGHT, NB_DIAGNOSIS_NONE, ""},
        [TURNED] = {NB_VERDICT_WRONG, NB_DIAGNOSIS_SIGN, "cube"},
        [DROPPED] = {NB_VERDICT_WRONG, NB_DIAGNOSIS_ZERO, "cube"},
        [OVERWRITES] = {NB_VERDICT_WRONG, NB_DIAGNOSIS_OVERWRITTEN, "cube"},
        [TRANSPOSED] = {NB_VERDICT_WRONG, NB_DIAGNOSIS_TRANSPOSED, "cube"},
        [REGION] = {NB_VERDICT_WRONG, NB_DIAGNOSIS_TWICE, "doubled"},
        [CUT] = {NB_VERDICT_WRONG, NB_DIAGNOSIS_CUT, "constant"},
    };
    for (int mode = 0; mode < 3; mode++) /* double; float replayed in double; float alone */
        for (int k = FINE; k <= CUT; k++) {
            const nb_check_report r = record_report((flaw)k, mode ? NB_F32 : NB_F64, mode == 2);
            ck_assert_msg(r.verdict == expected[k].verdict && r.diagnosis == expected[k].says &&
                              !strcmp(r.at.op, expected[k].op),
                          "mode %d, flaw %d: %s", mode, k, r.text);
            ck_assert(r.in_float == (mode == 2));
        }
}
END_TEST

START_TEST(nodes_that_are_not_finite_or_have_a_kink_are_named)
{
    nb_check_report r = record_report(INFINITE, NB_F64, false);
    ck_assert_msg(r.verdict == NB_VERDICT_NOT_FINITE, "%s", r.text);
    ck_assert_str_eq(r.worst[0].at.op, "sqrt");
    r = record_report(HIDDEN_KINK, NB_F64, false);
    ck_assert_msg(r.count[NB_VERDICT_WRONG] == 0 && r.count[NB_VERDICT_KINK] > 0, "%s", r.text);
    ck_assert_str_eq(r.worst[0].at.op, "relu");
}
END_TEST

static nb_var unused_second(void *context, nb_tape *t, const nb_var *in)
{
    (void)context, (void)t;
    return nb_square(in[0]);
}

START_TEST(an_input_without_a_path_is_said_to_have_none)
{
    const double x = 2;
    nb_check_report r;
    const nb_check_input in[] = {{"x", {.rank = -1}, &x, false}, {"y", {.rank = -1}, &x, false}};
    nb_check_function(unused_second, NULL, 2, in, NULL, &r);
    ck_assert(nb_check_ok(&r));
    ck_assert_uint_eq(r.count[NB_VERDICT_NO_PATH], 1);
    nb_check_function(unused_second, NULL, 2,
                      (nb_check_input[]){{"x", {.rank = -1}, &x, true}, in[1]}, NULL, &r);
    ck_assert_msg(r.verdict == NB_VERDICT_NO_PATH && !nb_check_ok(&r), "%s", r.text);
    nb_check_function(unused_second, NULL, 1, (nb_check_input[]){{"x", {.rank = -1}, &x, true}},
                      NULL, &r);
    ck_assert_msg(r.verdict == NB_VERDICT_UNTESTED && !nb_check_ok(&r), "%s", r.text);
}
END_TEST

/* ---- products -------------------------------------------------------------------------------- */

static void pair_f(const double *x, size_t n, double *y, size_t m, void *context)
{
    (void)n, (void)m, (void)context;
    y[0] = x[0] * x[1];
    y[1] = sin(x[0]);
}

static void pair_jvp(const double *x, size_t n, const double *v, double *jv, size_t m,
                     void *context)
{
    (void)n, (void)m;
    jv[0] = x[1] * v[0] + x[0] * v[1];
    jv[1] = (context ? -1 : 1) * cos(x[0]) * v[0];
}

static void gradient(const double *x, size_t n, double *g, void *context)
{
    (void)n, (void)context;
    g[0] = 2 * x[0] * x[1];
    g[1] = x[0] * x[0];
}

static void hessian(const double *x, size_t n, const double *v, double *hv, void *context)
{
    (void)n;
    hv[0] = 2 * x[1] * v[0] + 2 * x[0] * v[1];
    hv[1] = (context ? 1 : 2) * x[0] * v[0];
}

START_TEST(products_are_checked_by_element)
{
    int wrong = 1;
    nb_check_report r;
    const double x[] = {0.5, 2};
    nb_check_plain_jvp j = {.f = pair_f, .jvp = pair_jvp, .n = 2, .m = 2, .x = x};
    nb_check_plain_hvp h = {.g = gradient, .hvp = hessian, .n = 2, .x = x};
    ck_assert(nb_check_jvp(&j, NULL, &r) == NB_VERDICT_RIGHT && r.tested == 2);
    ck_assert(nb_check_hvp(&h, NULL, &r) == NB_VERDICT_RIGHT && r.tested == 2);
    j.context = h.context = &wrong;
    ck_assert(nb_check_jvp(&j, NULL, &r) == NB_VERDICT_WRONG && r.count[NB_VERDICT_WRONG] == 1);
    ck_assert(r.worst[0].index == 1 && r.diagnosis == NB_DIAGNOSIS_SIGN);
    ck_assert(nb_check_hvp(&h, NULL, &r) == NB_VERDICT_WRONG && r.count[NB_VERDICT_WRONG] == 1);
    ck_assert(r.diagnosis == NB_DIAGNOSIS_HALF);
}
END_TEST

static nb_var smooth(void *context, nb_tape *t, const nb_var *in)
{
    (void)context, (void)t;
    return nb_mul(nb_tanh(in[0]), nb_exp(in[1]));
}

START_TEST(products_of_recorded_functions)
{
    const double x[] = {0.1, -0.4, 0.7}, y[] = {1, 0.2, -0.3};
    const nb_check_input in[] = {{"x", NB_SHAPE(3), x, false}, {"y", NB_SHAPE(3), y, false}};
    nb_check_report r;
    nb_check_function_jvp(smooth, NULL, 2, in, NULL, &r);
    ck_assert_msg(nb_check_ok(&r) && r.tested == 3, "%s", r.text);
    nb_check_function_hvp(smooth, NULL, 2, in, NULL, &r);
    ck_assert_msg(nb_check_ok(&r) && r.tested == 6, "%s", r.text);
}
END_TEST

/* ---- models ---------------------------------------------------------------------------------- */

static float weight[6], weight_grad[6];

static nb_var loss(void *context, nb_tape *t)
{
    static const float x[] = {1, 2, 0.5F, -1, 0.25F, 3};
    nb_var w = nb_borrow(t, "w", NB_SHAPE(3, 2), weight, weight_grad);
    nb_var y = nb_matmul(nb_borrow_constant(t, NB_SHAPE(2, 3), x), w);
    if (context)
        y = nb_scale_gradient(y, *(double *)context);
    return nb_mean(nb_square(nb_tanh(y)));
}

START_TEST(a_model_keeps_its_parameters_and_a_lent_tape_its_nodes)
{
    float before[6];
    double factor = -1;
    nb_check_report r;
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    const nb_check_parameter p[] = {{"w", NB_SHAPE(3, 2), weight, weight_grad}};
    nb_check_model_spec m = {.tape = t, .loss = loss, .n_parameters = 1, .parameter = p};
    for (int i = 0; i < 6; i++)
        before[i] = weight[i] = (float)sin(i + 1);
    nb_var kept = nb_input(t, "kept", 3);
    nb_check_model(&m, NULL, &r);
    ck_assert_msg(nb_check_ok(&r) && r.tested == 6 && r.in_float, "%s", r.text);
    m.context = &factor;
    nb_check_model(&m, NULL, &r);
    ck_assert_msg(r.verdict == NB_VERDICT_WRONG && r.diagnosis == NB_DIAGNOSIS_SIGN, "%s", r.text);
    ck_assert(memcmp(before, weight, sizeof before) == 0);
    ck_assert(nb_count(t) == 1 && nb_value(kept) == 3);
    nb_tape_free(t);
}
END_TEST

/* ---- options --------------------------------------------------------------------------------- */

static bool stop_at_third(void *context, const nb_check_progress *p)
{
    *(size_t *)context = p->of;
    return p->done < 3;
}

START_TEST(budgets_and_progress_end_a_check)
{
    size_t of = 0;
    nb_check_report r;
    nb_check_coordinate c[4];
    const double x[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const nb_check_plain p = {.f = many_f, .g = many_g, .n = 8, .x = x};
    nb_check_arrays(&p, &(nb_check_options){.progress = stop_at_third, .progress_context = &of},
                    &r);
    ck_assert(r.stopped && r.tested == 3 && of == 8 && r.count[NB_VERDICT_UNTESTED] == 5);
    nb_check_arrays(&p, &(nb_check_options){.max_evaluations = 40}, &r);
    ck_assert(r.stopped && r.evaluations <= 40 && r.tested < 8);
    nb_check_arrays(&p, &(nb_check_options){.max_seconds = 1e-300}, &r);
    ck_assert(r.stopped && r.tested == 0 && r.verdict == NB_VERDICT_UNTESTED);
    nb_check_arrays(&p, &(nb_check_options){.first = 2, .count = 3, .keep = c, .keep_room = 4}, &r);
    ck_assert(r.tested == 3 && c[0].index == 2 && c[2].index == 4 && nb_check_ok(&r));
}
END_TEST

START_TEST(reports_are_reproducible_and_readable_by_machines)
{
    nb_check_report a, b;
    char text[8192], small[16];
    const double x[] = {1, 2, 3, 4};
    const nb_check_plain p = {.f = many_f, .g = many_g, .n = 4, .x = x};
    nb_check_arrays(&p, &(nb_check_options){.seed = 7}, &a);
    nb_check_arrays(&p, &(nb_check_options){.seed = 7}, &b);
    ck_assert_str_eq(a.text, b.text);
    ck_assert_ptr_nonnull(strstr(a.text, ".seed = 7"));
    const size_t n = nb_check_json(&a, text, sizeof text);
    ck_assert(n < sizeof text && n == strlen(text) && nb_check_json(&a, NULL, 0) == n);
    ck_assert(nb_check_json(&a, small, sizeof small) == n && strlen(small) == 15);
    int depth = 0;
    for (size_t i = 0; i < n; i++)
        depth += (text[i] == '{') + (text[i] == '[') - (text[i] == '}') - (text[i] == ']');
    ck_assert_int_eq(depth, 0);
    ck_assert_ptr_nonnull(strstr(text, "\"verdict\": \"right\""));
    ck_assert_ptr_null(strstr(text, ", }"));
}
END_TEST

static nb_var nothing(void *context, nb_tape *t, const nb_var *in)
{
    (void)context, (void)t, (void)in;
    return NB_NONE;
}

static nb_var misshapen(void *context, nb_tape *t, const nb_var *in)
{
    (void)context, (void)t;
    return nb_matmul(in[0], in[0]);
}

START_TEST(bad_calls_fail_with_a_message)
{
    nb_check_report r;
    const double x[6] = {0};
    const nb_check_input in[] = {{"x", NB_SHAPE(2, 3), x, false}};
    ck_assert(nb_check_arrays(NULL, NULL, &r) == NB_VERDICT_FAILED && r.code == NB_ERR_ARGUMENT);
    ck_assert(nb_check_jvp(NULL, NULL, &r) == NB_VERDICT_FAILED);
    ck_assert(nb_check_hvp(NULL, NULL, &r) == NB_VERDICT_FAILED);
    ck_assert(nb_check_model(NULL, NULL, &r) == NB_VERDICT_FAILED);
    ck_assert(nb_check_function(NULL, NULL, 0, NULL, NULL, &r) == NB_VERDICT_FAILED);
    ck_assert(nb_check_function(nothing, NULL, 1, in, NULL, &r) == NB_VERDICT_FAILED);
    ck_assert(nb_check_function(misshapen, NULL, 1, in, NULL, &r) == NB_VERDICT_FAILED);
    ck_assert(r.code == NB_ERR_SHAPE && strstr(r.text, "matmul"));
    ck_assert(nb_check_function(nothing, NULL, 1,
                                (nb_check_input[]){{"x", NB_SHAPE(2, 3), NULL, false}}, NULL,
                                &r) == NB_VERDICT_FAILED);
    ck_assert(nb_check_arrays(
                  &(nb_check_plain){.f = many_f, .g = many_g, .n = 5, .x = x, .n_in = 1, .in = in},
                  NULL, &r) == NB_VERDICT_FAILED &&
              r.code == NB_ERR_SHAPE);
    ck_assert(!nb_check_ok(NULL));
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    flaw f = TURNED;
    const nb_check_input in[] = {{"left", NB_SHAPE(3, 4), left, false},
                                 {"right", NB_SHAPE(4, 3), right, false},
                                 {"scale", {.rank = -1}, &scale, true}};
    record_report(f, NB_F64, false); /* fills the inputs */
    for (size_t k = 1; k < 200; k++) {
        counting c = {.refuse = k};
        nb_check_report r;
        const nb_check_options o = {.allocator = counting_allocator(&c)};
        const nb_verdict v = nb_check_function(record, &f, 3, in, &o, &r);
        ck_assert_uint_eq(c.blocks, 0);
        ck_assert_msg(v == NB_VERDICT_WRONG || (v == NB_VERDICT_FAILED && r.code == NB_ERR_MEMORY),
                      "request %zu: %s", k, r.text);
        if (!c.refusals)
            return;
    }
    ck_abort_msg("the check never ran without a refusal");
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("verify");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, hard_functions_are_never_wrong_and_estimates_hold);
    tcase_add_test(c, troubles_have_verdicts);
    tcase_add_test(c, jumps_kinks_and_what_is_near_them);
    tcase_add_test(c, many_inputs_are_screened_and_suspects_found);
    tcase_add_test(c, the_first_wrong_rule_is_named);
    tcase_add_test(c, nodes_that_are_not_finite_or_have_a_kink_are_named);
    tcase_add_test(c, an_input_without_a_path_is_said_to_have_none);
    tcase_add_test(c, products_are_checked_by_element);
    tcase_add_test(c, products_of_recorded_functions);
    tcase_add_test(c, a_model_keeps_its_parameters_and_a_lent_tape_its_nodes);
    tcase_add_test(c, budgets_and_progress_end_a_check);
    tcase_add_test(c, reports_are_reproducible_and_readable_by_machines);
    tcase_add_test(c, bad_calls_fail_with_a_message);
    tcase_add_test(c, every_allocation_may_fail);
    return run_case("verify", c);
}
