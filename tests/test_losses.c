/*
 * Losses against their formulas in plain C, entry by entry, with every reduction, weight and mask; their
 * gradients, in all operands and in the weights, against central differences, on tapes of both types.
 * Regularisers, by hand.
 */
#include "error_is.h"

enum { ROWS = 5, CLASSES = 4, SIZE = ROWS * CLASSES, OPERANDS = 3 };

static const int64_t labels[ROWS] = {2, 0, 3, 3, 1};

/* What the operands of a loss must be like. */
typedef enum kind { REAL, PROBABILITY, SIGN, COUNT, DISTRIBUTION } kind;

typedef struct example {
    const char *name;
    int operands;
    kind kind[OPERANDS];
    bool rows; /* one loss for each row */
    nb_var (*graph)(const nb_var *v, const nb_loss_options *o);
    double (*plain)(const double *const *x, int64_t label); /* of an entry or a row */
    nb_loss_options options;
} example;

/* ---- the formulas ---------------------------------------------------------------------------- */

static double square(const double *const *x, int64_t label)
{
    (void)label;
    return pow(x[0][0] - x[1][0], 2);
}
static double half_square(const double *const *x, int64_t label) { return square(x, label) / 2; }
static double distance(const double *const *x, int64_t label) { return sqrt(square(x, label)); }
static double huber(const double *const *x, int64_t label)
{
    const double e = distance(x, label);
    return e <= 0.7 ? e * e / 2 : 0.7 * (e - 0.35);
}
static double bce(const double *const *x, int64_t label)
{
    (void)label;
    const double p = x[0][0], t = x[1][0];
    return -t * log(p) - (1 - t) * log(1 - p);
}
static double logistic(const double *const *x, int64_t label)
{
    const double p = 1 / (1 + exp(-x[0][0]));
    return bce((const double *const[]){&p, x[1]}, label);
}
static double hinge(const double *const *x, int64_t label)
{
    (void)label;
    return fmax(0, 1 - x[0][0] * x[1][0]);
}
static double poisson(const double *const *x, int64_t label)
{
    (void)label;
    return exp(x[0][0]) - x[1][0] * x[0][0];
}
static double perceptron(const double *const *x, int64_t label)
{
    (void)label;
    return ((x[0][0] > 0) - x[1][0]) * x[0][0];
}
static double log_softmax(const double *z, int64_t k)
{
    double sum = 0;
    for (int i = 0; i < CLASSES; i++)
        sum += exp(z[i]);
    return z[k] - log(sum);
}
static double cross(const double *const *x, int64_t label) { return -log_softmax(x[0], label); }
static double smooth(const double *const *x, int64_t label)
{
    double loss = 0;
    for (int k = 0; k < CLASSES; k++)
        loss -= log_softmax(x[0], k) * (0.2 / CLASSES + (k == label ? 0.8 : 0));
    return loss;
}
static double soft(const double *const *x, int64_t label)
{
    (void)label;
    double loss = 0;
    for (int k = 0; k < CLASSES; k++)
        loss -= log_softmax(x[0], k) * x[1][k];
    return loss;
}
static double likelihood(const double *const *x, int64_t label) { return -x[0][label]; }
static double divergence(const double *const *x, int64_t label)
{
    (void)label;
    double loss = 0;
    for (int k = 0; k < CLASSES; k++)
        loss += x[1][k] * (log(x[1][k]) - x[0][k]);
    return loss;
}
static double margins(const double *const *x, int64_t label)
{
    double loss = 0;
    for (int k = 0; k < CLASSES; k++)
        loss += k == label ? 0 : fmax(0, 0.5 + x[0][k] - x[0][label]);
    return loss;
}
static double dot(const double *x, const double *y)
{
    double sum = 0;
    for (int k = 0; k < CLASSES; k++)
        sum += x[k] * y[k];
    return sum;
}
static double cosine(const double *const *x, int64_t label)
{
    (void)label;
    return 1 - dot(x[0], x[1]) / sqrt(dot(x[0], x[0]) * dot(x[1], x[1]));
}
static double triplet(const double *const *x, int64_t label)
{
    (void)label;
    double near = 0, far = 0;
    for (int k = 0; k < CLASSES; k++) {
        near += pow(x[0][k] - x[1][k], 2);
        far += pow(x[0][k] - x[2][k], 2);
    }
    return fmax(0, sqrt(near) - sqrt(far) + 2);
}

#define PAIR(name)                                                    \
    static nb_var g_##name(const nb_var *v, const nb_loss_options *o) \
    {                                                                 \
        return nb_##name(v[0], v[1], o);                              \
    }
#define LABELLED(name)                                                \
    static nb_var g_##name(const nb_var *v, const nb_loss_options *o) \
    {                                                                 \
        return nb_##name(v[0], ROWS, labels, o);                      \
    }
PAIR(squared_error)
PAIR(quadratic_cost)
PAIR(absolute_error)
PAIR(huber)
PAIR(binary_cross_entropy)
PAIR(logistic_loss)
PAIR(hinge)
PAIR(poisson_loss)
PAIR(perceptron_loss)
PAIR(soft_cross_entropy)
PAIR(kl_divergence)
PAIR(cosine_loss)
LABELLED(cross_entropy)
LABELLED(negative_log_likelihood)
LABELLED(multiclass_hinge)
static nb_var g_triplet_loss(const nb_var *v, const nb_loss_options *o)
{
    return nb_triplet_loss(v[0], v[1], v[2], o);
}

static const example examples[] = {
    {"squared_error", 2, {REAL, REAL}, false, g_squared_error, square, {.delta = 0}},
    {"quadratic_cost", 2, {REAL, REAL}, false, g_quadratic_cost, half_square, {.delta = 0}},
    {"absolute_error", 2, {REAL, REAL}, false, g_absolute_error, distance, {.delta = 0}},
    {"huber", 2, {REAL, REAL}, false, g_huber, huber, {.delta = 0.7}},
    {"bce", 2, {PROBABILITY, PROBABILITY}, false, g_binary_cross_entropy, bce, {.delta = 0}},
    {"logistic", 2, {REAL, PROBABILITY}, false, g_logistic_loss, logistic, {.delta = 0}},
    {"hinge", 2, {REAL, SIGN}, false, g_hinge, hinge, {.delta = 0}},
    {"poisson", 2, {REAL, COUNT}, false, g_poisson_loss, poisson, {.delta = 0}},
    {"perceptron", 2, {REAL, PROBABILITY}, false, g_perceptron_loss, perceptron, {.delta = 0}},
    {"cross_entropy", 1, {REAL}, true, g_cross_entropy, cross, {.delta = 0}},
    {"smoothed", 1, {REAL}, true, g_cross_entropy, smooth, {.smoothing = 0.2}},
    {"soft", 2, {REAL, DISTRIBUTION}, true, g_soft_cross_entropy, soft, {.delta = 0}},
    {"nll", 1, {REAL}, true, g_negative_log_likelihood, likelihood, {.delta = 0}},
    {"kl", 2, {REAL, DISTRIBUTION}, true, g_kl_divergence, divergence, {.delta = 0}},
    {"margins", 1, {REAL}, true, g_multiclass_hinge, margins, {.margin = 0.5}},
    {"cosine", 2, {REAL, REAL}, true, g_cosine_loss, cosine, {.delta = 0}},
    {"triplet", 3, {REAL, REAL, REAL}, true, g_triplet_loss, triplet, {.margin = 2}},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

/* ---- values and gradients -------------------------------------------------------------------- */

static void fill(double *x, kind k, nb_rng *r)
{
    for (int i = 0; i < SIZE; i++) {
        const double u = nb_rng_uniform(r);
        x[i] = k == REAL ? 4 * u - 2 : k == SIGN ? (u < 0.5 ? -1 : 1) : 0.1 + 0.8 * u;
        x[i] = (double)(float)(k == COUNT ? floor(5 * u) : x[i]);
    }
    for (int i = 0; k == DISTRIBUTION && i < SIZE; i += CLASSES) {
        double sum = 0;
        for (int c = 0; c < CLASSES; c++)
            sum += x[i + c];
        for (int c = 0; c < CLASSES; c++)
            x[i + c] /= sum;
    }
}

/* weights [rows 1] or [rows] and a mask of the losses' shape */
typedef struct data {
    double x[OPERANDS][SIZE], weight[ROWS], mask[SIZE];
} data;

static void make(const example *e, data *d)
{
    nb_rng r = nb_rng_seed(5);
    for (int k = 0; k < e->operands; k++)
        fill(d->x[k], e->kind[k], &r);
    for (int i = 0; i < ROWS; i++)
        d->weight[i] = 0.25 * (1 + i);
    for (int i = 0; i < SIZE; i++)
        d->mask[i] = i % 3 != 1;
}

/* Losses by the formula; returns their number. */
static int formula(const example *e, const data *d, double *loss)
{
    const int n = e->rows ? ROWS : SIZE;
    for (int i = 0; i < n; i++) {
        const int at = e->rows ? i * CLASSES : i;
        const double *const x[] = {d->x[0] + at, d->x[1] + at, d->x[2] + at};
        loss[i] = e->plain(x, labels[e->rows ? i : 0]);
    }
    return n;
}

static double reduced(const example *e, const data *d, nb_reduction r, bool weigh, bool mask)
{
    double loss[SIZE], sum = 0, total = 0;
    const int n = formula(e, d, loss);
    for (int i = 0; i < n; i++) {
        const double w =
            (weigh ? d->weight[e->rows ? i : i / CLASSES] : 1) * (mask ? d->mask[i] : 1);
        sum += w * loss[i], total += w;
    }
    return r == NB_REDUCE_SUM ? sum : sum / total;
}

/* The loss as a graph; v receives the operands and, last, the weight. */
static nb_var build(nb_tape *t, const example *e, const data *d, nb_reduction r, bool weigh,
                    bool mask, nb_var v[OPERANDS + 1])
{
    nb_loss_options o = e->options;
    o.reduction = r;
    for (int k = 0; k < e->operands; k++)
        v[k] = nb_tensor(t, NULL, NB_SHAPE(ROWS, CLASSES), d->x[k]);
    nb_shape w = {e->rows ? 1 : 2, {ROWS, 1}};
    v[OPERANDS] = nb_tensor(t, NULL, w, d->weight);
    if (weigh)
        o.weight = v[OPERANDS];
    nb_shape m = {w.rank, {ROWS, CLASSES}};
    if (mask)
        o.mask = nb_constant_tensor(t, m, d->mask);
    return e->graph(v, &o);
}

START_TEST(against_the_formulas)
{
    const example *e = &examples[_i / 2];
    const double tol = _i % 2 ? 2e-5 : 1e-13;
    static data d;
    double want[SIZE], got[SIZE];
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)(_i % 2)});
    nb_var v[OPERANDS + 1];
    make(e, &d);
    const int n = formula(e, &d, want);
    nb_var each = build(t, e, &d, NB_REDUCE_NONE, false, false, v);
    ck_assert_msg(nb_read(each, got, n) == NB_OK, "%s: %s", e->name, nb_message(t));
    for (int i = 0; i < n; i++)
        ck_assert_msg(fabs(got[i] - want[i]) <= tol * (1 + fabs(want[i])),
                      "%s: %d: %.17g, not %.17g", e->name, i, got[i], want[i]);
    for (int k = 0; k < 8; k++) {
        const nb_reduction r = k & 4 ? NB_REDUCE_SUM : NB_REDUCE_MEAN;
        const double due = reduced(e, &d, r, k & 1, k & 2);
        const double is = nb_value(build(t, e, &d, r, k & 1, k & 2, v));
        ck_assert_msg(fabs(is - due) <= tol * (1 + fabs(due)), "%s: case %d: %.17g, not %.17g",
                      e->name, k, is, due);
    }
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* Of the formula, by element i of array x, which lies in d. */
static double slope(const example *e, data *d, double *x, bool weigh, bool mask)
{
    const double h = 1e-5, at = *x;
    *x = at + h;
    const double up = reduced(e, d, NB_REDUCE_MEAN, weigh, mask);
    *x = at - h;
    const double down = reduced(e, d, NB_REDUCE_MEAN, weigh, mask);
    *x = at;
    return (up - down) / (2 * h);
}

START_TEST(gradients)
{
    const example *e = &examples[_i / 2];
    const double tol = _i % 2 ? 2e-5 : 1e-8;
    static data d;
    double got[SIZE];
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)(_i % 2)});
    nb_var v[OPERANDS + 1];
    make(e, &d);
    for (int mask = 0; mask < 2; mask++) {
        nb_var f = build(t, e, &d, NB_REDUCE_MEAN, true, mask, v);
        ck_assert_int_eq(nb_backward(f), NB_OK);
        for (int k = 0; k <= OPERANDS; k++) {
            if (k >= e->operands && k < OPERANDS)
                continue;
            double *x = k < OPERANDS ? d.x[k] : d.weight;
            const int n = k < OPERANDS ? SIZE : ROWS;
            ck_assert_int_eq(nb_read_grad(v[k], got, n), NB_OK);
            for (int i = 0; i < n; i++) {
                const double due = slope(e, &d, x + i, true, mask);
                ck_assert_msg(fabs(got[i] - due) < tol * (1 + fabs(due)),
                              "%s: operand %d, element %d: %.10g, not %.10g", e->name, k, i, got[i],
                              due);
            }
        }
    }
    nb_tape_free(t);
}
END_TEST

/* ---- regularisers ---------------------------------------------------------------------------- */

START_TEST(penalties)
{
    nb_params *p = nb_params_new(NULL);
    nb_params_add(p, "w", NB_SHAPE(1, 2), &(nb_param_options){.init = {NB_INIT_CONSTANT, -2, 0}},
                  NULL);
    nb_params_add(p, "b", NB_SHAPE(2), &(nb_param_options){.init = {NB_INIT_CONSTANT, 5, 0}}, NULL);
    nb_params_add(p, "v", NB_SHAPE(1, 1), &(nb_param_options){.init = {NB_INIT_CONSTANT, 3, 0}},
                  NULL);
    nb_tape *t = nb_tape_new(NULL);
    nb_pass m = nb_training_pass(p, t, NULL);
    nb_var f = nb_weight_penalty(&m, 0.5, 0.25);
    ck_assert_double_eq(nb_value(f), 0.5 * 7 + 0.25 * 17);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    const double *g = nb_params_grads(p);
    ck_assert(g[0] == -0.5 - 1 && g[1] == g[0] && g[2] == 0 && g[3] == 0 && g[4] == 0.5 + 1.5);
    const nb_var both[] = {nb_pass_var(&m, 1), nb_pass_var(&m, 2)};
    ck_assert_double_eq(nb_value(nb_penalty(2, both, 0, 1)), 59);
    ck_assert_double_eq(nb_value(nb_penalty(2, both, 1, 0)), 13);
    ck_assert_double_eq(nb_value(nb_penalty(2, both, 0, 0)), 0);
    ck_assert_double_eq(nb_value(nb_penalty(0, NULL, 1, 1)), 0);
    refused(t, nb_penalty(2, both, -1, 0), NB_ERR_ARGUMENT, "l1 is -1");
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("losses");
    tcase_add_loop_test(c, against_the_formulas, 0, 2 * EXAMPLES);
    tcase_add_loop_test(c, gradients, 0, 2 * EXAMPLES);
    tcase_add_test(c, penalties);
    return run_case("losses", c);
}
