/*
 * Planted errors: gradients that are wrong in ways in which gradients go wrong, in operations on a tape and
 * in plain C functions. Every one must be called wrong, the operation named, and the diagnosis right where
 * one applies; the same code without the error must be called right.
 */
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <string.h>

enum { ROWS = 4, WIDE = 4 };

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

typedef enum flaw {
    NONE,
    SIGN,
    TWICE,
    HALF,
    DROPPED,
    TRANSPOSED,
    OFF_BY_ONE,
    OVERWRITTEN,
    WRONG_POINT,
    MEAN_FOR_SUM,
    LAST_FOR_SUM,
    LOST_TERM,
    WRONG_EPSILON,
    WRONG_MASK,
    NO_SCALE
} flaw;

/* Adds d to element i of a gradient, as the flaw has it. */
static void give(const nb_array *to, int64_t i, double d, flaw f, bool add)
{
    const int64_t n = to->size, side = (int64_t)(sqrt((double)n) + 0.5);
    int64_t at = i;
    d *= f == SIGN ? -1 : f == TWICE ? 2 : f == HALF ? 0.5 : f == DROPPED ? 0 : 1;
    if (f == OFF_BY_ONE)
        at = (i + 1) % n;
    if (f == TRANSPOSED)
        at = i % side * side + i / side;
    put(to, at, d + (add && f != OVERWRITTEN ? get(to, at) : 0));
}

/* ---- dense: y = x w + b, all WIDE wide; the flaw is in the gradient by w, or in that by b ------- */

static nb_code dense_forward(const nb_call *c)
{
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < WIDE; j++) {
            double s = get(&c->in[2], j);
            for (int k = 0; k < WIDE; k++)
                s += get(&c->in[0], i * WIDE + k) * get(&c->in[1], k * WIDE + j);
            put(c->out, i * WIDE + j, s);
        }
    return NB_OK;
}

static double bias_of(const nb_array *g, int j, flaw f)
{
    double s = 0;
    for (int i = f == LAST_FOR_SUM ? ROWS - 1 : 0; i < ROWS; i++)
        s += get(g, i * WIDE + j);
    return f == MEAN_FOR_SUM ? s / ROWS : s;
}

static nb_code dense_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                             const bool *add)
{
    const flaw f = *(const flaw *)c->state;
    const bool in_bias = f == MEAN_FOR_SUM || f == LAST_FOR_SUM;
    const double moved = f == WRONG_POINT ? 0.05 : 0;
    for (int i = 0; gin[0] && i < ROWS; i++)
        for (int k = 0; k < WIDE; k++) {
            double s = 0;
            for (int j = 0; j < WIDE; j++)
                s += get(g, i * WIDE + j) * get(&c->in[1], k * WIDE + j);
            give(gin[0], i * WIDE + k, s, NONE, add[0]);
        }
    for (int k = 0; gin[1] && k < WIDE; k++)
        for (int j = 0; j < WIDE; j++) {
            double s = 0;
            for (int i = 0; i < ROWS; i++)
                s += (get(&c->in[0], i * WIDE + k) + moved) * get(g, i * WIDE + j);
            give(gin[1], k * WIDE + j, s, in_bias ? NONE : f, add[1]);
        }
    for (int j = 0; gin[2] && j < WIDE; j++)
        give(gin[2], j, bias_of(g, j, f), NONE, add[2]);
    return NB_OK;
}

/* ---- swish: y = x sigmoid(x) ------------------------------------------------------------------- */

static nb_code swish_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++)
        put(c->out, i, get(&c->in[0], i) / (1 + exp(-get(&c->in[0], i))));
    return NB_OK;
}

static nb_code swish_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                             const bool *add)
{
    const flaw f = *(const flaw *)c->state;
    for (int64_t i = 0; gin[0] && i < g->size; i++) {
        const double x = f == WRONG_POINT ? get(c->out, i) : get(&c->in[0], i);
        const double s = 1 / (1 + exp(-x)), rest = f == LOST_TERM ? 0 : x * s * (1 - s);
        give(gin[0], i, get(g, i) * (s + rest), f, add[0]);
    }
    return NB_OK;
}

/* ---- standard: each row less its mean, divided by its deviation -------------------------------- */

static void moments(const nb_array *x, int i, double epsilon, double *mean, double *deviation)
{
    double m = 0, v = 0;
    for (int k = 0; k < WIDE; k++)
        m += get(x, i * WIDE + k) / WIDE;
    for (int k = 0; k < WIDE; k++)
        v += pow(get(x, i * WIDE + k) - m, 2) / WIDE;
    *mean = m;
    *deviation = sqrt(v + epsilon);
}

static nb_code standard_forward(const nb_call *c)
{
    for (int i = 0; i < ROWS; i++) {
        double m, d;
        moments(&c->in[0], i, 1e-3, &m, &d);
        for (int k = 0; k < WIDE; k++)
            put(c->out, i * WIDE + k, (get(&c->in[0], i * WIDE + k) - m) / d);
    }
    return NB_OK;
}

static nb_code standard_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                const bool *add)
{
    const flaw f = *(const flaw *)c->state;
    for (int i = 0; gin[0] && i < ROWS; i++) {
        double m, d, sum = 0, along = 0;
        moments(&c->in[0], i, f == WRONG_EPSILON ? 1e-1 : 1e-3, &m, &d);
        for (int k = 0; k < WIDE; k++) {
            sum += get(g, i * WIDE + k) / WIDE;
            along += get(g, i * WIDE + k) * get(c->out, i * WIDE + k) / WIDE;
        }
        if (f == LOST_TERM)
            along = 0;
        for (int k = 0; k < WIDE; k++)
            give(gin[0], i * WIDE + k,
                 (get(g, i * WIDE + k) - sum - get(c->out, i * WIDE + k) * along) / d, f, add[0]);
    }
    return NB_OK;
}

/* ---- mask: every third element dropped, the others scaled -------------------------------------- */

static double kept(int64_t i) { return i % 3 ? 1.5 : 0; }

static nb_code mask_forward(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++)
        put(c->out, i, get(&c->in[0], i) * kept(i));
    return NB_OK;
}

static nb_code mask_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    const flaw f = *(const flaw *)c->state;
    for (int64_t i = 0; gin[0] && i < g->size; i++) {
        const double k = kept(f == WRONG_MASK ? i + 1 : i);
        give(gin[0], i, get(g, i) * (f == NO_SCALE ? k != 0 : k), f, add[0]);
    }
    return NB_OK;
}

/* ---- softmax over rows ------------------------------------------------------------------------- */

static nb_code soft_forward(const nb_call *c)
{
    for (int i = 0; i < ROWS; i++) {
        double s = 0;
        for (int k = 0; k < WIDE; k++)
            s += exp(get(&c->in[0], i * WIDE + k));
        for (int k = 0; k < WIDE; k++)
            put(c->out, i * WIDE + k, exp(get(&c->in[0], i * WIDE + k)) / s);
    }
    return NB_OK;
}

static nb_code soft_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    const flaw f = *(const flaw *)c->state;
    for (int i = 0; gin[0] && i < ROWS; i++) {
        double along = 0;
        for (int k = 0; k < WIDE; k++)
            along += get(g, i * WIDE + k) * get(c->out, i * WIDE + k);
        along = f == LOST_TERM ? 0 : f == MEAN_FOR_SUM ? along / WIDE : along;
        for (int k = 0; k < WIDE; k++)
            give(gin[0], i * WIDE + k, get(c->out, i * WIDE + k) * (get(g, i * WIDE + k) - along),
                 f, add[0]);
    }
    return NB_OK;
}

static const nb_op dense = {.name = "mutant_dense",
                            .forward = dense_forward,
                            .reverse_arrays = dense_reverse,
                            .overwrites = true};
static const nb_op swish = {.name = "mutant_swish",
                            .forward = swish_forward,
                            .reverse_arrays = swish_reverse,
                            .overwrites = true};
static const nb_op standard = {.name = "mutant_standard",
                               .forward = standard_forward,
                               .reverse_arrays = standard_reverse,
                               .overwrites = true};
static const nb_op mask = {.name = "mutant_mask",
                           .forward = mask_forward,
                           .reverse_arrays = mask_reverse,
                           .overwrites = true};
static const nb_op soft = {.name = "mutant_softmax",
                           .forward = soft_forward,
                           .reverse_arrays = soft_reverse,
                           .overwrites = true};

typedef struct mutant {
    const nb_op *op;
    flaw f;
    nb_diagnosis says; /* NONE: any */
} mutant;

static const mutant mutants[] = {
    {&dense, SIGN, NB_DIAGNOSIS_NONE},         {&dense, TWICE, NB_DIAGNOSIS_NONE},
    {&dense, DROPPED, NB_DIAGNOSIS_NONE},      {&dense, TRANSPOSED, NB_DIAGNOSIS_NONE},
    {&dense, OFF_BY_ONE, NB_DIAGNOSIS_NONE},   {&dense, WRONG_POINT, NB_DIAGNOSIS_NONE},
    {&dense, MEAN_FOR_SUM, NB_DIAGNOSIS_NONE}, {&dense, LAST_FOR_SUM, NB_DIAGNOSIS_NONE},
    {&swish, SIGN, NB_DIAGNOSIS_SIGN},         {&swish, TWICE, NB_DIAGNOSIS_TWICE},
    {&swish, HALF, NB_DIAGNOSIS_HALF},         {&swish, DROPPED, NB_DIAGNOSIS_ZERO},
    {&swish, TRANSPOSED, NB_DIAGNOSIS_NONE},   {&swish, OFF_BY_ONE, NB_DIAGNOSIS_NONE},
    {&swish, WRONG_POINT, NB_DIAGNOSIS_NONE},  {&swish, LOST_TERM, NB_DIAGNOSIS_NONE},
    {&standard, SIGN, NB_DIAGNOSIS_SIGN},      {&standard, WRONG_EPSILON, NB_DIAGNOSIS_NONE},
    {&standard, LOST_TERM, NB_DIAGNOSIS_NONE}, {&standard, HALF, NB_DIAGNOSIS_HALF},
    {&mask, WRONG_MASK, NB_DIAGNOSIS_NONE},    {&mask, NO_SCALE, NB_DIAGNOSIS_NONE},
    {&mask, OFF_BY_ONE, NB_DIAGNOSIS_NONE},    {&soft, LOST_TERM, NB_DIAGNOSIS_NONE},
    {&soft, MEAN_FOR_SUM, NB_DIAGNOSIS_NONE},  {&soft, TWICE, NB_DIAGNOSIS_TWICE},
    {&soft, TRANSPOSED, NB_DIAGNOSIS_NONE},
};

/* The mutant between honest operations: a loss of x, w and b. */
static nb_var record(void *context, nb_tape *t, const nb_var *in)
{
    const mutant *m = context;
    nb_var x = nb_mul(nb_sin(in[0]), 1.3), y;
    (void)t;
    if (m->op == &dense)
        y = nb_apply(m->op, 3, (nb_var[]){x, in[1], in[2]}, &m->f, sizeof m->f);
    else
        y = nb_apply(m->op, 1, (nb_var[]){nb_add(nb_matmul(x, in[1]), in[2])}, &m->f, sizeof m->f);
    return nb_sum(nb_mul(nb_add(y, nb_square(y)), in[3]));
}

static nb_check_report report_of(const mutant *m, nb_dtype dtype)
{
    static double x[ROWS * WIDE], w[WIDE * WIDE], b[WIDE], weight[ROWS * WIDE];
    mutant copy = *m;
    nb_check_report r;
    for (int i = 0; i < ROWS * WIDE; i++) {
        x[i] = sin(1.3 * i + 0.2);
        w[i] = cos(2.1 * i);
        weight[i] = 0.5 + 0.3 * sin(0.7 * i);
        b[i % WIDE] = 0.2 * i;
    }
    const nb_check_input in[] = {{"x", NB_SHAPE(ROWS, WIDE), x, false},
                                 {"w", NB_SHAPE(WIDE, WIDE), w, false},
                                 {"b", NB_SHAPE(WIDE), b, false},
                                 {"weight", NB_SHAPE(ROWS, WIDE), weight, true}};
    nb_check_function(record, &copy, 4, in,
                      &(nb_check_options){.dtype = dtype, .no_double = dtype == NB_F32}, &r);
    return r;
}

START_TEST(operations_with_errors_are_caught_and_named)
{
    const int n = sizeof mutants / sizeof *mutants;
    int named = 0;
    ck_assert_int_ge(2 * n, 40);
    for (int d = 0; d < 2; d++)
        for (int k = 0; k < n; k++) {
            const nb_check_report r = report_of(&mutants[k], (nb_dtype)d);
            ck_assert_msg(r.verdict == NB_VERDICT_WRONG, "%s, flaw %d, dtype %d: %s",
                          mutants[k].op->name, (int)mutants[k].f, d, r.text);
            named += r.at.found && !strcmp(r.at.op, mutants[k].op->name);
            if (mutants[k].says)
                ck_assert_msg(r.diagnosis == mutants[k].says, "%s, flaw %d, dtype %d: %s",
                              mutants[k].op->name, (int)mutants[k].f, d, r.text);
        }
    ck_assert_msg(100 * named >= 95 * 2 * n, "%d of %d named", named, 2 * n);
}
END_TEST

START_TEST(the_same_operations_without_errors_are_right)
{
    const nb_op *const ops[] = {&dense, &swish, &standard, &mask, &soft};
    for (int d = 0; d < 2; d++)
        for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
            const mutant fine = {ops[k], NONE, NB_DIAGNOSIS_NONE};
            const nb_check_report r = report_of(&fine, (nb_dtype)d);
            ck_assert_msg(nb_check_ok(&r), "%s: %s", ops[k]->name, r.text);
        }
}
END_TEST

/* ---- plain C: logistic regression and a small network ------------------------------------------ */

enum { SAMPLES = 12, FEATURES = 5 };

static double feature(int i, int k) { return sin(1.7 * i + 0.9 * k) + 0.1 * k; }
static double label(int i) { return i % 3 == 0; }

static double loss(const double *w, size_t n, void *context)
{
    double s = 0;
    (void)context;
    for (int i = 0; i < SAMPLES; i++) {
        double u = 0;
        for (size_t k = 0; k < n; k++)
            u += w[k] * feature(i, (int)k);
        s += (fmax(u, 0) - u * label(i) + log1p(exp(-fabs(u)))) / SAMPLES;
    }
    for (size_t k = 0; k < n; k++)
        s += 0.05 * w[k] * w[k];
    return s;
}

static void gradient(const double *w, size_t n, double *g, void *context)
{
    const flaw f = *(const flaw *)context;
    memset(g, 0, n * sizeof *g);
    for (int i = f == LAST_FOR_SUM ? SAMPLES - 1 : 0; i < SAMPLES; i++) {
        double u = f == WRONG_POINT ? 0.3 : 0;
        for (size_t k = 0; k < n; k++)
            u += w[k] * feature(i, (int)k);
        const double e = 1 / (1 + exp(-u)) - label(i);
        for (size_t k = 0; k < n; k++)
            g[k] += e * feature(i, (int)k + (f == OFF_BY_ONE)) / (f == MEAN_FOR_SUM ? 1 : SAMPLES);
    }
    for (size_t k = 0; k < n; k++) {
        g[k] += f == LOST_TERM ? 0 : (f == NO_SCALE ? 0.05 : 0.1) * w[k];
        g[k] *= f == SIGN ? -1 : f == TWICE ? 2 : f == HALF ? 0.5 : 1;
    }
    if (f == DROPPED)
        g[2] = 0;
    if (f == TRANSPOSED) {
        const double t = g[1];
        g[1] = g[3];
        g[3] = t;
    }
    if (f == WRONG_EPSILON)
        g[4] += 1e-4;
}

START_TEST(plain_functions_with_errors_are_caught)
{
    static const struct {
        flaw f;
        nb_diagnosis says;
    } cases[] = {
        {SIGN, NB_DIAGNOSIS_SIGN},         {TWICE, NB_DIAGNOSIS_TWICE},
        {HALF, NB_DIAGNOSIS_HALF},         {DROPPED, NB_DIAGNOSIS_NONE},
        {OFF_BY_ONE, NB_DIAGNOSIS_NONE},   {TRANSPOSED, NB_DIAGNOSIS_NONE},
        {WRONG_POINT, NB_DIAGNOSIS_NONE},  {MEAN_FOR_SUM, NB_DIAGNOSIS_NONE},
        {LAST_FOR_SUM, NB_DIAGNOSIS_NONE}, {LOST_TERM, NB_DIAGNOSIS_NONE},
        {NO_SCALE, NB_DIAGNOSIS_NONE},     {WRONG_EPSILON, NB_DIAGNOSIS_NONE},
    };
    const double w[FEATURES] = {0.4, -0.7, 1.1, 0.2, -0.3};
    flaw planted = NONE;
    nb_check_report r;
    const nb_check_plain what = {
        .f = loss, .g = gradient, .context = &planted, .n = FEATURES, .x = w};
    nb_check_arrays(&what, NULL, &r);
    ck_assert_msg(nb_check_ok(&r), "%s", r.text);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        planted = cases[k].f;
        nb_check_arrays(&what, NULL, &r);
        ck_assert_msg(r.verdict == NB_VERDICT_WRONG, "flaw %d: %s", (int)cases[k].f, r.text);
        if (cases[k].says)
            ck_assert_msg(r.diagnosis == cases[k].says, "flaw %d: %s", (int)cases[k].f, r.text);
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("mutants");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, operations_with_errors_are_caught_and_named);
    tcase_add_test(c, the_same_operations_without_errors_are_right);
    tcase_add_test(c, plain_functions_with_errors_are_caught);
    return run_case("mutants", c);
}
