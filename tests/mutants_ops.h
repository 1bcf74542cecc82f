/*
 * Operations with a right rule and with planted errors.
 *
 * Each kind is a function of a matrix a [4 4], and mostly of a second operand b, written twice over
 * plain doubles: its value, and its rule, which pulls the adjoint g of the result back to da and db.
 * Mistakes that any rule can make (a sign, a factor, what is overwritten instead of added) are made
 * here, by `spoil`, on what the right rule gave for one operand. Those that belong to one operation
 * (a sum over broadcast rows that is missing, another mask than in forward) are made by its rule,
 * which compares `flaw` with the number of the mistake.
 *
 * One wrapper makes an nb_op of each kind, over double and float.
 */
#ifndef NABLA_TESTS_MUTANTS_OPS_H
#define NABLA_TESTS_MUTANTS_OPS_H

#include <math.h>
#include <nabla.h>
#include <string.h>

enum { D = 4, DD = D * D };

enum {
    FINE,
    SIGN,
    TWICE,
    HALF,
    FACTOR, /* 5 per cent too much */
    DROPPED,
    TRANSPOSED,
    SHIFTED,     /* what belongs to the next element */
    OVERWRITTEN, /* stored where it should be added */
    LAST,        /* the last element is left out */
    FIRST_OWN    /* the first of an operation's own mistakes; the next are those after it */
};

typedef struct mutant {
    int kind, flaw, operand;
} mutant;

static double normal_cdf(double x) { return erfc(-x / sqrt(2)) / 2; }

static const double keep_prob = 0.75;

static bool kept(int i, bool other) { return (i * 7 + (other ? 3 : 1)) % 4 != 0; }

static const int rows_of[D] = {2, 0, 2, 1}; /* gather: row 3 never, row 2 twice */

/* ---- values ---------------------------------------------------------------------------------- */

static void cube_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int i = 0; i < DD; i++)
        y[i] = a[i] * a[i] * a[i];
}

static void gemm_value(const double *a, const double *b, double *y)
{
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++) {
            y[i * D + j] = 0;
            for (int k = 0; k < D; k++)
                y[i * D + j] += a[i * D + k] * b[k * D + j];
        }
}

static void bias_value(const double *a, const double *b, double *y)
{
    for (int i = 0; i < DD; i++)
        y[i] = a[i] + b[i % D];
}

static void soft_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int i = 0; i < D; i++) {
        double sum = 0;
        for (int j = 0; j < D; j++)
            sum += exp(a[i * D + j]);
        for (int j = 0; j < D; j++)
            y[i * D + j] = exp(a[i * D + j]) / sum;
    }
}

static void moments(const double *row, double eps, double *mean, double *scale)
{
    double sum = 0, squares = 0;
    for (int j = 0; j < D; j++)
        sum += row[j];
    for (int j = 0; j < D; j++)
        squares += (row[j] - sum / D) * (row[j] - sum / D);
    *mean = sum / D;
    *scale = 1 / sqrt(squares / D + eps);
}

static void norm_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int i = 0; i < DD; i++) {
        double mean, scale;
        moments(a + i / D * D, 0.01, &mean, &scale);
        y[i] = (a[i] - mean) * scale;
    }
}

static void mean_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int j = 0; j < D; j++)
        y[j] = (a[j] + a[D + j] + a[2 * D + j] + a[3 * D + j]) / D;
}

static void drop_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int i = 0; i < DD; i++)
        y[i] = kept(i, false) ? a[i] / keep_prob : 0;
}

static void gather_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int i = 0; i < DD; i++)
        y[i] = a[rows_of[i / D] * D + i % D];
}

static int extreme(const double *row, double sign)
{
    int at = 0;
    for (int j = 1; j < D; j++)
        at = sign * row[j] > sign * row[at] ? j : at;
    return at;
}

static void pool_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int i = 0; i < D; i++)
        y[i] = a[i * D + extreme(a + i * D, 1)];
}

/* Along each row, with zeros outside: b [3]. */
static void conv_value(const double *a, const double *b, double *y)
{
    for (int i = 0; i < DD; i++) {
        y[i] = 0;
        for (int k = 0; k < 3; k++)
            if (i % D + k - 1 >= 0 && i % D + k - 1 < D)
                y[i] += a[i + k - 1] * b[k];
    }
}

static void ratio_value(const double *a, const double *b, double *y)
{
    for (int i = 0; i < DD; i++)
        y[i] = a[i] / b[i];
}

static void error_value(const double *a, const double *b, double *y)
{
    for (int i = 0; i < D; i++) {
        y[i] = 0;
        for (int j = 0; j < D; j++)
            y[i] += (a[i * D + j] - b[i * D + j]) * (a[i * D + j] - b[i * D + j]) / D;
    }
}

static void gelu_value(const double *a, const double *b, double *y)
{
    (void)b;
    for (int i = 0; i < DD; i++)
        y[i] = a[i] * normal_cdf(a[i]);
}

static void power_value(const double *a, const double *b, double *y)
{
    for (int i = 0; i < DD; i++)
        y[i] = pow(2 + a[i], b[i]);
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* What a rule sees; da and db are zero when it is called. */
typedef struct pull {
    int flaw;
    const double *a, *b, *y, *g;
    double *da, *db;
} pull;

enum { AT_RESULT = FIRST_OWN, WRONG_BRANCH };

static void cube_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        const double at = p->flaw == AT_RESULT ? p->y[i] : p->a[i];
        p->da[i] = 3 * at * at * p->g[i] * (p->flaw == WRONG_BRANCH && at < 0 ? -1 : 1);
    }
}

enum { NOT_TRANSPOSED = FIRST_OWN, SKIPS_FIRST, TURNED_ADJOINT };

static void gemm_pull(const pull *p)
{
    for (int i = 0; i < D; i++)
        for (int j = 0; j < D; j++)
            for (int k = p->flaw == SKIPS_FIRST; k < D; k++) {
                const int b = p->flaw == NOT_TRANSPOSED ? k * D + j : j * D + k;
                const int g = p->flaw == TURNED_ADJOINT ? j * D + k : k * D + j;
                p->da[i * D + j] += p->g[i * D + k] * p->b[b];
                p->db[i * D + j] += p->a[k * D + i] * p->g[g];
            }
}

enum { LAST_ROW_ONLY = FIRST_OWN, MEAN_FOR_SUM, TIMES_ROWS, OTHER_AXIS };

static void bias_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        const double f = p->flaw == MEAN_FOR_SUM ? 1.0 / D : p->flaw == TIMES_ROWS ? D : 1;
        p->da[i] = p->g[i];
        if (p->flaw != LAST_ROW_ONLY || i / D == D - 1)
            p->db[p->flaw == OTHER_AXIS ? i / D : i % D] += f * p->g[i];
    }
}

enum { NO_COUPLING = FIRST_OWN, COUPLING_SIGN, COUPLES_COLUMNS };

static void soft_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        double dot = 0;
        for (int j = 0; j < D; j++) {
            const int k = p->flaw == COUPLES_COLUMNS ? j * D + i % D : i / D * D + j;
            dot += p->y[k] * p->g[k];
        }
        dot *= p->flaw == NO_COUPLING ? 0 : p->flaw == COUPLING_SIGN ? -1 : 1;
        p->da[i] = p->y[i] * (p->g[i] - dot);
    }
}

enum { OTHER_EPSILON = FIRST_OWN, NO_MEAN_PATH, NO_VARIANCE_PATH };

static void norm_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        double mean, scale, sum = 0, dot = 0;
        const double *row = p->a + i / D * D, *g = p->g + i / D * D;
        moments(row, p->flaw == OTHER_EPSILON ? 0.05 : 0.01, &mean, &scale);
        for (int j = 0; j < D; j++) {
            sum += g[j] / D;
            dot += g[j] * (row[j] - mean) * scale / D;
        }
        sum = p->flaw == NO_MEAN_PATH ? 0 : sum;
        dot = p->flaw == NO_VARIANCE_PATH ? 0 : dot;
        p->da[i] = scale * (p->g[i] - sum - (p->a[i] - mean) * scale * dot);
    }
}

enum { SUM_FOR_MEAN = FIRST_OWN, ONE_FEWER };

static void mean_pull(const pull *p)
{
    for (int i = 0; i < DD; i++)
        p->da[i] = p->g[i % D] / (p->flaw == SUM_FOR_MEAN ? 1 : p->flaw == ONE_FEWER ? D - 1 : D);
}

enum { OTHER_MASK = FIRST_OWN, NO_SCALE, NO_MASK, MASK_TURNED };

static void drop_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        const bool through = kept(i, p->flaw == OTHER_MASK) != (p->flaw == MASK_TURNED);
        p->da[i] = through || p->flaw == NO_MASK ? p->g[i] / keep_prob : 0;
        p->da[i] *= p->flaw == NO_SCALE ? keep_prob : 1;
    }
}

enum { REPEATED_ROW_LOST = FIRST_OWN, NEXT_ROW };

static void gather_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        double *to = p->da + (rows_of[i / D] + (p->flaw == NEXT_ROW)) % D * D + i % D;
        *to = p->g[i] + (p->flaw == REPEATED_ROW_LOST ? 0 : *to);
    }
}

enum { TO_SMALLEST = FIRST_OWN, TO_ALL, TO_NEXT };

static void pool_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        const int at = extreme(p->a + i / D * D, p->flaw == TO_SMALLEST ? -1 : 1);
        const int to = p->flaw == TO_NEXT ? (at + 1) % D : at;
        p->da[i] = i % D == to || p->flaw == TO_ALL ? p->g[i / D] : 0;
    }
}

enum { NOT_TURNED = FIRST_OWN, WEIGHTS_OFF_BY_ONE, WEIGHTS_LAST_ROW };

static void conv_pull(const pull *p)
{
    for (int i = 0; i < DD; i++)
        for (int k = 0; k < 3; k++) {
            const int j = i % D + k - 1, from = i + k - 1;
            const int w = p->flaw == WEIGHTS_OFF_BY_ONE ? (k + 1) % 3 : k;
            if (j < 0 || j >= D)
                continue;
            p->da[from] += p->g[i] * p->b[p->flaw == NOT_TURNED ? 2 - k : k];
            if (p->flaw != WEIGHTS_LAST_ROW || i / D == D - 1)
                p->db[w] += p->g[i] * p->a[from];
        }
}

enum { NOT_SQUARED = FIRST_OWN, BY_NUMERATOR };

static void ratio_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        const double below = p->flaw == NOT_SQUARED ? p->b[i] : p->b[i] * p->b[i];
        p->da[i] = p->g[i] / (p->flaw == BY_NUMERATOR ? 2 + p->a[i] : p->b[i]);
        p->db[i] = -p->g[i] * p->a[i] / below;
    }
}

enum { SAME_SIGN = FIRST_OWN, SUM_OF_SQUARES };

static void error_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        p->da[i] = 2 * (p->a[i] - p->b[i]) * p->g[i / D] / (p->flaw == SUM_OF_SQUARES ? 1 : D);
        p->db[i] = p->flaw == SAME_SIGN ? p->da[i] : -p->da[i];
    }
}

enum { NO_PRODUCT_RULE = FIRST_OWN, OTHER_DENSITY };

static void gelu_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        const double x = p->a[i], width = p->flaw == OTHER_DENSITY ? 1 : 0.5;
        const double density = exp(-width * x * x) / sqrt(2 * acos(-1));
        p->da[i] = p->g[i] * (normal_cdf(x) + (p->flaw == NO_PRODUCT_RULE ? 0 : x * density));
    }
}

enum { OTHER_LOGARITHM = FIRST_OWN, SAME_EXPONENT };

static void power_pull(const pull *p)
{
    for (int i = 0; i < DD; i++) {
        const double x = 2 + p->a[i], lower = p->flaw == SAME_EXPONENT ? 0 : 1;
        p->da[i] = p->g[i] * p->b[i] * pow(x, p->b[i] - lower);
        p->db[i] = p->g[i] * p->y[i] * (p->flaw == OTHER_LOGARITHM ? log10(x) : log(x));
    }
}

/* ---- the operations -------------------------------------------------------------------------- */

/* kind, number of elements of the result, and of b */
#define KINDS(X)                                                                              \
    X(cube, DD, 0)                                                                            \
    X(gemm, DD, DD)                                                                           \
    X(bias, DD, D)                                                                            \
    X(soft, DD, 0) X(norm, DD, 0) X(mean, D, 0) X(drop, DD, 0) X(gather, DD, 0) X(pool, D, 0) \
        X(conv, DD, 3) X(ratio, DD, DD) X(error, D, DD) X(gelu, DD, 0) X(power, DD, DD)

#define KIND_NAME(kind, out, second) OP_##kind,
enum { KINDS(KIND_NAME) KIND_COUNT };

#define KIND_ROW(kind, out, second) {kind##_value, kind##_pull, out, second},
static const struct {
    void (*value)(const double *a, const double *b, double *y);
    void (*pull)(const pull *p);
    int out, second;
} kinds[KIND_COUNT] = {KINDS(KIND_ROW)};

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

static void operands(const nb_call *c, double in[2][DD])
{
    for (size_t k = 0; k < c->n_in; k++)
        for (int64_t i = 0; i < c->in[k].size; i++)
            in[k][i] = get(&c->in[k], i);
}

static nb_code any_shape(const nb_call *c, nb_shape *out)
{
    const mutant *m = c->state;
    *out = kinds[m->kind].out == DD ? NB_SHAPE(D, D) : NB_SHAPE(D);
    return NB_OK;
}

static nb_code any_forward(const nb_call *c)
{
    const mutant *m = c->state;
    double in[2][DD] = {{0}}, y[DD];
    operands(c, in);
    kinds[m->kind].value(in[0], in[1], y);
    for (int64_t i = 0; i < c->out->size; i++)
        put(c->out, i, y[i]);
    return NB_OK;
}

/* The mistakes that any rule can make, in d, the adjoint of n elements. */
static void spoil(int flaw, int64_t n, double *d)
{
    static const double factor[] = {[SIGN] = -1, [TWICE] = 2, [HALF] = 0.5, [FACTOR] = 1.05};
    const double first = d[0];
    double was[DD];
    memcpy(was, d, sizeof was);
    for (int64_t i = 0; i < n; i++)
        switch (flaw) {
        case SIGN:
        case TWICE:
        case HALF:
        case FACTOR: d[i] *= factor[flaw]; break;
        case DROPPED: d[i] = 0; break;
        case TRANSPOSED: d[i] = was[i % D * D + i / D]; break;
        case SHIFTED: d[i] = i + 1 < n ? was[i + 1] : first; break;
        case LAST: d[i] = i + 1 < n ? d[i] : 0; break;
        default: break;
        }
}

static nb_code any_reverse(const nb_call *c, const nb_array *g, nb_array *const *gin,
                           const bool *add)
{
    const mutant *m = c->state;
    double in[2][DD] = {{0}}, d[2][DD] = {{0}}, y[DD], u[DD];
    operands(c, in);
    for (int64_t i = 0; i < g->size; i++) {
        y[i] = get(c->out, i);
        u[i] = get(g, i);
    }
    kinds[m->kind].pull(&(pull){m->flaw, in[0], in[1], y, u, d[0], d[1]});
    for (size_t k = 0; k < c->n_in; k++) {
        if (!gin[k])
            continue;
        const int f = (int)k == m->operand ? m->flaw : FINE;
        spoil(f, gin[k]->size, d[k]);
        for (int64_t i = 0; i < gin[k]->size; i++)
            put(gin[k], i, d[k][i] + (add[k] && f != OVERWRITTEN ? get(gin[k], i) : 0));
    }
    return NB_OK;
}

#define KIND_OP(kind, out, second)  \
    {.name = #kind,                 \
     .shape = any_shape,            \
     .forward = any_forward,        \
     .reverse_arrays = any_reverse, \
     .overwrites = true},
static const nb_op ops[KIND_COUNT] = {KINDS(KIND_OP)};

/* kind of a and b, or of a alone where it has no second operand. */
static nb_var apply(mutant m, nb_var a, nb_var b)
{
    return nb_apply(&ops[m.kind], kinds[m.kind].second ? 2 : 1, (nb_var[]){a, b}, &m, sizeof m);
}

#endif
