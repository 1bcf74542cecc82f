/*
 * Planted errors, to be found.
 *
 * A check that passes everything would pass every other test. Here are operations, layers and
 * functions in plain C, first as they should be, then each with one mistake of those that people make.
 * Each mistake must be called wrong, in double, in float with differences of the same function in
 * double, and in float alone. Where it sits in one operation, that operation must be named, in 95 of
 * 100 cases at the least; where it is of a kind that has a name, the diagnosis must be that.
 *
 * The tables give the diagnosis, or ANY where the mistake is none that the check has a name for.
 */
#include "mutants_ops.h"
#include "mutants_plain.h"
#include "run.h"

enum { MODES = 3, ANY = -1 };

static const char *const modes[MODES] = {"double", "float", "float alone"};

/* A gradient that depends on what was evaluated before is not pure: that is its verdict. */
typedef struct tally {
    int all, caught, nameable, named, misread;
    char odd[6000]; /* the last report that was not as expected */
} tally;

/* says: the diagnosis; op: the operation to be named, or NULL. */
static void count(tally *t, const nb_check_report *r, int says, const char *op, const char *what)
{
    const bool caught =
        r->verdict == NB_VERDICT_WRONG || (r->verdict == NB_VERDICT_IMPURE && r->gradient_impure);
    const bool named = op && r->at.found && !strcmp(r->at.op, op);
    t->all++;
    t->caught += caught;
    t->nameable += op != NULL;
    t->named += named;
    t->misread += says != ANY && (int)r->diagnosis != says;
    if (!caught || (op && !named) || (says != ANY && (int)r->diagnosis != says))
        snprintf(t->odd, sizeof t->odd, "%s: %s", what, r->text);
}

static void assert_tally(const tally *t, int least)
{
    ck_assert_int_ge(t->all, least);
    ck_assert_msg(t->caught == t->all, "%d of %d caught; %s", t->caught, t->all, t->odd);
    ck_assert_msg(100 * t->named >= 95 * t->nameable, "%d of %d named; %s", t->named, t->nameable,
                  t->odd);
    ck_assert_msg(t->misread == 0, "%d misread; %s", t->misread, t->odd);
}

/* ---- operations ------------------------------------------------------------------------------ */

typedef struct planted {
    mutant m;
    int says;
} planted;

#define S(d) NB_DIAGNOSIS_##d
static const planted in_ops[] = {
    {{OP_cube, SIGN, 0}, S(SIGN)},
    {{OP_cube, TWICE, 0}, S(TWICE)},
    {{OP_cube, HALF, 0}, S(HALF)},
    {{OP_cube, FACTOR, 0}, S(FACTOR)},
    {{OP_cube, DROPPED, 0}, S(ZERO)},
    {{OP_cube, TRANSPOSED, 0}, S(TRANSPOSED)},
    {{OP_cube, SHIFTED, 0}, S(SHIFTED)},
    {{OP_cube, OVERWRITTEN, 0}, S(OVERWRITTEN)},
    {{OP_cube, LAST, 0}, S(ZERO)},
    {{OP_cube, AT_RESULT, 0}, S(STALE)},
    {{OP_cube, WRONG_BRANCH, 0}, ANY},
    {{OP_gemm, SIGN, 1}, S(SIGN)},
    {{OP_gemm, DROPPED, 1}, S(ZERO)},
    {{OP_gemm, TRANSPOSED, 0}, S(TRANSPOSED)},
    {{OP_gemm, TRANSPOSED, 1}, S(TRANSPOSED)},
    {{OP_gemm, OVERWRITTEN, 0}, S(OVERWRITTEN)},
    {{OP_gemm, NOT_TRANSPOSED, -1}, ANY},
    {{OP_gemm, SKIPS_FIRST, -1}, ANY},
    {{OP_gemm, TURNED_ADJOINT, -1}, ANY},
    {{OP_bias, LAST_ROW_ONLY, -1}, ANY},
    {{OP_bias, MEAN_FOR_SUM, -1}, S(OVER_BATCH)},
    {{OP_bias, TIMES_ROWS, -1}, S(TIMES_BATCH)},
    {{OP_bias, OTHER_AXIS, -1}, ANY},
    {{OP_bias, SHIFTED, 1}, S(SHIFTED)},
    {{OP_soft, NO_COUPLING, -1}, ANY},
    {{OP_soft, COUPLING_SIGN, -1}, ANY},
    {{OP_soft, COUPLES_COLUMNS, -1}, ANY},
    {{OP_soft, TWICE, 0}, S(TWICE)},
    {{OP_norm, OTHER_EPSILON, -1}, ANY},
    {{OP_norm, NO_MEAN_PATH, -1}, ANY},
    {{OP_norm, NO_VARIANCE_PATH, -1}, ANY},
    {{OP_norm, SIGN, 0}, S(SIGN)},
    {{OP_mean, SUM_FOR_MEAN, -1}, S(TIMES_BATCH)},
    {{OP_mean, ONE_FEWER, -1}, S(FACTOR)},
    {{OP_drop, OTHER_MASK, -1}, ANY},
    {{OP_drop, NO_SCALE, -1}, S(FACTOR)},
    {{OP_drop, NO_MASK, -1}, ANY},
    {{OP_drop, MASK_TURNED, -1}, ANY},
    {{OP_gather, REPEATED_ROW_LOST, -1}, ANY},
    {{OP_gather, NEXT_ROW, -1}, ANY},
    {{OP_gather, OVERWRITTEN, 0}, S(OVERWRITTEN)},
    {{OP_pool, TO_SMALLEST, -1}, ANY},
    {{OP_pool, TO_ALL, -1}, ANY},
    {{OP_pool, TO_NEXT, -1}, ANY},
    {{OP_conv, NOT_TURNED, -1}, ANY},
    {{OP_conv, WEIGHTS_OFF_BY_ONE, -1}, ANY},
    {{OP_conv, WEIGHTS_LAST_ROW, -1}, ANY},
    {{OP_conv, HALF, 1}, S(HALF)},
    {{OP_ratio, SIGN, 1}, S(SIGN)},
    {{OP_ratio, DROPPED, 1}, S(ZERO)},
    {{OP_ratio, NOT_SQUARED, -1}, ANY},
    {{OP_ratio, BY_NUMERATOR, -1}, ANY},
    {{OP_error, HALF, 0}, S(HALF)},
    {{OP_error, SAME_SIGN, -1}, S(SIGN)},
    {{OP_error, SUM_OF_SQUARES, -1}, S(TIMES_BATCH)},
    {{OP_gelu, NO_PRODUCT_RULE, -1}, ANY},
    {{OP_gelu, OTHER_DENSITY, -1}, ANY},
    {{OP_power, OTHER_LOGARITHM, -1}, S(FACTOR)},
    {{OP_power, SAME_EXPONENT, -1}, ANY},
    {{OP_power, DROPPED, 1}, S(ZERO)},
};

enum { IN_OPS = sizeof in_ops / sizeof in_ops[0] };

/* a goes through tanh first, and is used once more beside the operation, so that a rule is called
 * with adjoints that are there already. */
static nb_var record_op(void *context, nb_tape *t, const nb_var *x)
{
    (void)t;
    nb_var h = nb_tanh(x[0]);
    nb_var y = nb_sum(nb_sin(apply(*(const mutant *)context, h, x[1])));
    return nb_add(y, nb_sum(nb_mul(h, h)));
}

static double point_a[DD], point_b[DD];

static nb_check_report check_recorded(nb_check_build *f, void *context, int second, int mode)
{
    nb_check_report r;
    for (int i = 0; i < DD; i++) {
        point_a[i] = 0.9 * sin(2.3 * i + 0.5);
        point_b[i] = 1.5 + 0.4 * cos(1.7 * i);
    }
    const nb_check_input x[] = {
        {"a", NB_SHAPE(D, D), point_a, false},
        {"b", second == DD ? NB_SHAPE(D, D) : NB_SHAPE(second), point_b, !second}};
    nb_check_function(
        f, context, 2, x,
        &(nb_check_options){.dtype = mode ? NB_F32 : NB_F64, .no_double = mode == 2, .seed = 3},
        &r);
    return r;
}

START_TEST(mistakes_in_operations)
{
    tally t = {0};
    char what[64];
    for (int mode = 0; mode < MODES; mode++)
        for (int k = 0; k < IN_OPS; k++) {
            mutant m = in_ops[k].m;
            const nb_check_report r = check_recorded(record_op, &m, kinds[m.kind].second, mode);
            snprintf(what, sizeof what, "%s, %s, row %d", modes[mode], ops[m.kind].name, k);
            count(&t, &r, in_ops[k].says, ops[m.kind].name, what);
        }
    assert_tally(&t, 3 * 40);
}
END_TEST

START_TEST(the_same_operations_without_mistakes)
{
    for (int mode = 0; mode < MODES; mode++)
        for (int k = 0; k < KIND_COUNT; k++) {
            mutant m = {k, FINE, -1};
            const nb_check_report r = check_recorded(record_op, &m, kinds[k].second, mode);
            ck_assert_msg(nb_check_ok(&r), "%s, %s: %s", modes[mode], ops[k].name, r.text);
        }
}
END_TEST

/* ---- rules as graph code, regions, storage, cut paths ---------------------------------------- */

typedef enum trick {
    SOUND,
    GRAPH_SIGN,
    GRAPH_AT_RESULT,
    GRAPH_DROPPED,
    REGION_TWICE,
    REGION_SIGN,
    REGION_DROPPED,
    IN_PLACE,
    CUT_FACTOR,
    CUT_VALUE,
    HOOK_SIGN,
    HOOK_ON_SCALAR,
    LATE_CAPTURE,
    TRICKS
} trick;

static nb_code quad_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++)
        put(c->out, i, get(&c->in[0], i) * get(&c->in[0], i) * get(&c->in[1], i));
    return NB_OK;
}

/* y = x^2 z */
static nb_code quad_reverse(const nb_rule *r)
{
    const trick f = *(const trick *)r->state;
    nb_var x = f == GRAPH_AT_RESULT ? r->out : r->in[0];
    r->d[0] = nb_mul(f == GRAPH_SIGN ? -2 : 2, nb_mul(nb_mul(r->g, x), r->in[1]));
    if (f != GRAPH_DROPPED)
        r->d[1] = nb_mul(r->g, nb_square(r->in[0]));
    return NB_OK;
}

static const nb_op quad = {.name = "quad", .forward = quad_forward, .reverse = quad_reverse};

static nb_code wave_forward(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_mul(nb_sin(in[0]), in[1]);
    return NB_OK;
}

static nb_code wave_reverse(void *context, const nb_region_rule *r)
{
    const trick f = *(const trick *)context;
    const double k = f == REGION_TWICE ? 2 : f == REGION_SIGN ? -1 : 1;
    r->d[0] = nb_mul(nb_num(k), nb_mul(nb_mul(r->g[0], r->in[1]), nb_cos(r->in[0])));
    if (f != REGION_DROPPED)
        r->d[1] = nb_mul(r->g[0], nb_sin(r->in[0]));
    return NB_OK;
}

/* Doubles, and leaves what it doubled in the operand's storage too. */
static nb_code double_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++) {
        put(c->out, i, 2 * get(&c->in[0], i));
        if (*(const trick *)c->state == IN_PLACE)
            put(&c->in[0], i, get(c->out, i));
    }
    return NB_OK;
}

static nb_code double_reverse(const nb_rule *r)
{
    r->d[0] = nb_mul(2, r->g);
    return NB_OK;
}

static const nb_op doubling = {
    .name = "doubling", .forward = double_forward, .reverse = double_reverse};

/* Squares, through a buffer that all of its nodes share: the rule finds what the last one left. */
static double shared[DD];

static nb_code late_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++) {
        shared[i] = get(&c->in[0], i);
        put(c->out, i, shared[i] * shared[i]);
    }
    return NB_OK;
}

static nb_code late_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    const bool late = *(const trick *)c->state == LATE_CAPTURE;
    (void)add;
    for (int64_t i = 0; gin[0] && i < g->size; i++) {
        const double x = late ? shared[i] : get(&c->in[0], i);
        put(gin[0], i, get(gin[0], i) + 2 * x * get(g, i));
    }
    return NB_OK;
}

static const nb_op late = {.name = "late", .forward = late_forward, .reverse_arrays = late_reverse};

static nb_var record_trick(void *context, nb_tape *t, const nb_var *x)
{
    trick f = *(const trick *)context;
    nb_var h = nb_tanh(x[0]), y[2];
    const nb_region_spec wave = {.name = "wave",
                                 .forward = wave_forward,
                                 .reverse = wave_reverse,
                                 .context = &f,
                                 .context_bytes = sizeof f};
    y[0] = nb_apply(&quad, 2, (nb_var[]){h, x[1]}, &f, sizeof f);
    nb_region(&wave, 2, (nb_var[]){y[0], x[1]}, 1, y);
    y[0] = nb_apply(&late, 1, y, &f, sizeof f);
    y[0] = nb_apply(&late, 1, (nb_var[]){nb_cos(y[0])}, &f, sizeof f);
    y[0] = nb_apply(&doubling, 1, (nb_var[]){nb_exp(y[0])}, &f, sizeof f);
    switch (f) {
    case CUT_FACTOR: y[0] = nb_mul(y[0], nb_detach(nb_sigmoid(h))); break;
    case CUT_VALUE: y[0] = nb_mul(y[0], nb_constant(t, nb_value(nb_sum(h)))); break;
    case HOOK_SIGN: y[0] = nb_scale_gradient(y[0], -1); break;
    default: break;
    }
    y[0] = nb_sum(y[0]);
    return f == HOOK_ON_SCALAR ? nb_scale_gradient(y[0], 2) : y[0];
}

START_TEST(mistakes_around_operations)
{
    static const struct {
        const char *op;
        int says;
    } expected[TRICKS] = {
        [GRAPH_SIGN] = {"quad", S(SIGN)},
        [GRAPH_AT_RESULT] = {"quad", ANY},
        [GRAPH_DROPPED] = {"quad", S(ZERO)},
        [REGION_TWICE] = {"wave", S(TWICE)},
        [REGION_SIGN] = {"wave", S(SIGN)},
        [REGION_DROPPED] = {"wave", S(ZERO)},
        [IN_PLACE] = {"doubling", S(STALE)},
        [CUT_FACTOR] = {"constant", S(CUT)},
        [CUT_VALUE] = {"constant", S(CUT)},
        [HOOK_SIGN] = {"scale_gradient", S(SIGN)},
        [HOOK_ON_SCALAR] = {"scale_gradient", S(TWICE)},
        [LATE_CAPTURE] = {"late", S(STALE)},
    };
    tally t = {0};
    char what[64];
    for (int mode = 0; mode < MODES; mode++) {
        trick f = SOUND;
        nb_check_report r = check_recorded(record_trick, &f, DD, mode);
        ck_assert_msg(nb_check_ok(&r), "%s: %s", modes[mode], r.text);
        for (int k = SOUND + 1; k < TRICKS; k++) {
            f = (trick)k;
            r = check_recorded(record_trick, &f, DD, mode);
            snprintf(what, sizeof what, "%s, trick %d", modes[mode], k);
            count(&t, &r, expected[k].says, expected[k].op, what);
        }
    }
    assert_tally(&t, 3 * 12);
}
END_TEST

/* ---- layers ---------------------------------------------------------------------------------- */

typedef struct stack {
    nb_params *p;
    nb_linear_layer in, out;
    nb_norm_layer norm;
    nb_batch_norm_layer batch;
    nb_autoencoder coder;
    int design;
} stack;

enum { DENSE, NORMED, TIED, BATCHED, DESIGNS };

static mutant in_layer; /* an activation has no context */

static nb_var bent(nb_var x) { return apply(in_layer, x, NB_NONE); }

/* The operation is recorded first, so that its rule finds an adjoint in x already. */
static nb_var bent_residual(nb_var x)
{
    nb_var y = bent(x);
    return nb_add(y, nb_sin(x));
}

static nb_var stack_loss(void *context, nb_tape *t)
{
    stack *s = context;
    double x[DD];
    for (int i = 0; i < DD; i++)
        x[i] = cos(1.1 * i);
    const nb_pass m = nb_training_pass(s->p, t, NULL);
    nb_var y = nb_constant_tensor(t, NB_SHAPE(D, D), x);
    y = nb_linear_apply(&s->in, &m, y, nb_tanh);
    switch (s->design) {
    case DENSE: y = bent_residual(y); break;
    case NORMED: y = bent_residual(nb_norm_apply(&s->norm, &m, y)); break;
    case BATCHED: y = bent_residual(nb_batch_norm_apply(&s->batch, &m, y)); break;
    default: y = nb_autoencoder_decode(&s->coder, &m, nb_autoencoder_encode(&s->coder, &m, y));
    }
    return nb_mean(nb_square(nb_linear_apply(&s->out, &m, y, NULL)));
}

static nb_check_report check_stack(int design, nb_dtype dtype)
{
    nb_check_report r;
    nb_check_parameter parameter[12];
    nb_rng g = nb_rng_seed(8);
    stack s = {.p = nb_params_new(&(nb_params_options){.dtype = dtype}), .design = design};
    s.in = nb_linear_new(s.p, "in", D, D, NULL, &g);
    s.out = nb_linear_new(s.p, "out", D, 2, NULL, &g);
    if (design == NORMED)
        s.norm = nb_layer_norm_new(s.p, "norm", NB_SHAPE(D));
    if (design == BATCHED)
        s.batch = nb_batch_norm_new(s.p, "batch", D);
    if (design == TIED)
        s.coder = nb_autoencoder_new(s.p, "coder", 2, (int64_t[]){D, D}, bent_residual, NULL, &g);
    char *values = nb_params_values(s.p), *grads = nb_params_grads(s.p);
    const size_t width = dtype == NB_F64 ? sizeof(double) : sizeof(float);
    const int32_t n = nb_params_count(s.p);
    for (int32_t k = 0; k < n; k++) {
        const nb_param_info i = nb_params_info(s.p, (nb_param){k});
        const size_t at = (size_t)i.offset * width;
        parameter[k] = (nb_check_parameter){i.name, i.shape, values + at, grads + at};
    }
    nb_check_model(
        &(nb_check_model_spec){
            .loss = stack_loss, .context = &s, .n_parameters = (size_t)n, .parameter = parameter},
        &(nb_check_options){.dtype = dtype}, &r);
    nb_params_free(s.p);
    return r;
}

START_TEST(mistakes_within_layers)
{
    static const planted in_layers[] = {
        {{OP_cube, SIGN, 0}, S(SIGN)},         {{OP_cube, TWICE, 0}, S(TWICE)},
        {{OP_cube, DROPPED, 0}, S(ZERO)},      {{OP_cube, OVERWRITTEN, 0}, S(OVERWRITTEN)},
        {{OP_gelu, NO_PRODUCT_RULE, -1}, ANY}, {{OP_drop, OTHER_MASK, -1}, ANY},
        {{OP_soft, NO_COUPLING, -1}, ANY},     {{OP_norm, OTHER_EPSILON, -1}, ANY},
    };
    tally t = {0};
    char what[64];
    for (int d = 0; d < 2 * DESIGNS; d++) {
        const nb_dtype dtype = d % 2 ? NB_F32 : NB_F64;
        in_layer = (mutant){OP_gelu, FINE, -1};
        nb_check_report r = check_stack(d / 2, dtype);
        ck_assert_msg(nb_check_ok(&r), "design %d: %s", d, r.text);
        for (size_t k = 0; k < sizeof in_layers / sizeof in_layers[0]; k++) {
            in_layer = in_layers[k].m;
            r = check_stack(d / 2, dtype);
            snprintf(what, sizeof what, "%s, design %d, row %zu", modes[2 * (d % 2)], d / 2, k);
            count(&t, &r, in_layers[k].says, ops[in_layer.kind].name, what);
        }
    }
    assert_tally(&t, 2 * 4 * 8);
}
END_TEST

/* ---- plain C --------------------------------------------------------------------------------- */

START_TEST(mistakes_in_plain_functions)
{
    static const int says[MISTAKES] = {
        [RIDGE_SIGN] = S(SIGN),
        [RIDGE_SUM] = S(TIMES_BATCH),
        [RIDGE_STALE] = S(STALE),
        [RIDGE_SHIFT] = S(SHIFTED),
        [RIDGE_OVERWRITTEN] = ANY,
        [RIDGE_TWICE] = S(TWICE),
        [RIDGE_NO_INTERCEPT] = S(ZERO),
        [RIDGE_PENALISES_INTERCEPT] = ANY,
        [RIDGE_ROW_LOST] = ANY,
        [RIDGE_LINEAR] = ANY,
        [LAYER_TRANSPOSED] = S(TRANSPOSED),
        [LAYER_BEFORE_TANH] = ANY,
        [LAYER_FIRST_DROPPED] = S(ZERO),
        [LAYER_HALF] = S(HALF),
        [LAYER_OTHER_MASK] = ANY,
        [LAYER_TURNED_WEIGHTS] = ANY,
        [LAYER_NO_SCALE] = S(FACTOR),
        [CHAIN_ONE_STEP] = ANY,
        [CHAIN_STARTS_LATE] = ANY,
        [CHAIN_LAST_STATE] = ANY,
        [CHAIN_TURNED] = ANY,
        [SOFT_NEXT_CLASS] = ANY,
        [SOFT_SUM] = S(TIMES_BATCH),
        [SOFT_NO_LABEL] = ANY,
        [SOFT_NOT_SHIFTED_BACK] = ANY,
        [SOFT_TRANSPOSED] = S(TRANSPOSED),
    };
    tally t = {0};
    char what[64];
    for (int k = 0; k < 2 * SUBJECTS; k++) {
        const subject *s = &subjects[k / 2];
        const mistake end = k / 2 + 1 < SUBJECTS ? s[1].first : MISTAKES;
        nb_check_report r = plain_report(s, RIGHT, k % 2);
        ck_assert_msg(nb_check_ok(&r), "subject %d: %s", k, r.text);
        for (mistake m = s->first; m < end; m++) {
            r = plain_report(s, m, k % 2);
            snprintf(what, sizeof what, "plain %s, mistake %d", modes[k % 2], (int)m);
            count(&t, &r, says[m], NULL, what);
        }
    }
    assert_tally(&t, 2 * 20);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("mutants");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, the_same_operations_without_mistakes);
    tcase_add_test(c, mistakes_in_operations);
    tcase_add_test(c, mistakes_around_operations);
    tcase_add_test(c, mistakes_within_layers);
    tcase_add_test(c, mistakes_in_plain_functions);
    return run_case("mutants", c);
}
