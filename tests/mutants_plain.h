/*
 * Functions in plain C with gradients written by hand, right and wrong.
 *
 *     ridge   logistic regression of 12 rows with a ridge: 4 weights and an intercept
 *     layer   a hidden layer [4 4] with tanh, a second matrix [4 4], dropout between them, squares
 *     chain   h <- tanh(w h + x_t) through 6 steps: w [4 4]
 *     soft    cross-entropy of softmax over 4 classes: w [4 4], 6 rows
 *
 * With `single` every value on the way is rounded to float, as it would be if the function were
 * written with floats; the gradient is not, so that only the planted error is wrong with it.
 */
#ifndef NABLA_TESTS_MUTANTS_PLAIN_H
#define NABLA_TESTS_MUTANTS_PLAIN_H

#include <math.h>
#include <nabla.h>
#include <string.h>

enum { W = 4, WW = W * W, ROWS = 12, STEPS = 6 };

typedef enum mistake {
    RIGHT,
    /* ridge */
    RIDGE_SIGN,
    RIDGE_SUM,
    RIDGE_STALE,
    RIDGE_SHIFT,
    RIDGE_OVERWRITTEN,
    RIDGE_TWICE,
    RIDGE_NO_INTERCEPT,
    RIDGE_PENALISES_INTERCEPT,
    RIDGE_ROW_LOST,
    RIDGE_LINEAR,
    /* layer */
    LAYER_TRANSPOSED,
    LAYER_BEFORE_TANH,
    LAYER_FIRST_DROPPED,
    LAYER_HALF,
    LAYER_OTHER_MASK,
    LAYER_TURNED_WEIGHTS,
    LAYER_NO_SCALE,
    /* chain */
    CHAIN_ONE_STEP,
    CHAIN_STARTS_LATE,
    CHAIN_LAST_STATE,
    CHAIN_TURNED,
    /* soft */
    SOFT_NEXT_CLASS,
    SOFT_SUM,
    SOFT_NO_LABEL,
    SOFT_NOT_SHIFTED_BACK,
    SOFT_TRANSPOSED,
    MISTAKES
} mistake;

typedef struct plain {
    mistake mistake;
    bool single;
    double z[ROWS]; /* of the last evaluation */
} plain;

static double in(const plain *p, double v) { return p->single ? (double)(float)v : v; }

/* Features, labels and inputs: numbers without a pattern, of few bits. */
static double feature(int i, int j) { return ldexp((i * 37 + j * 101 + i * j * 13) % 64 - 31, -5); }

static double label(int i) { return (i * 5 + 2) % 3 == 0; }

/* ---- ridge ----------------------------------------------------------------------------------- */

static double ridge_f(const double *w, size_t n, void *context)
{
    plain *p = context;
    double sum = 0, norm = 0;
    for (int i = 0; i < ROWS; i++) {
        double z = w[n - 1];
        for (int j = 0; j < W; j++)
            z = in(p, z + w[j] * feature(i, j));
        p->z[i] = z;
        sum = in(p, sum + log1p(exp(z)) - label(i) * z);
    }
    for (int j = 0; j < W; j++)
        norm = in(p, norm + w[j] * w[j]);
    return in(p, sum / ROWS + 0.15 * norm);
}

static void ridge_g(const double *w, size_t n, double *g, void *context)
{
    plain *p = context;
    const mistake m = p->mistake;
    const double all = m == RIDGE_SIGN ? -1 : m == RIDGE_SUM ? ROWS : m == RIDGE_TWICE ? 2 : 1;
    if (m != RIDGE_STALE)
        ridge_f(w, n, p);
    memset(g, 0, n * sizeof *g);
    for (int i = m == RIDGE_ROW_LOST; i < ROWS; i++) {
        const double e = (m == RIDGE_LINEAR ? p->z[i] : 1 / (1 + exp(-p->z[i]))) - label(i);
        for (int j = 0; j < W; j++)
            g[j] += e * feature(i, j) / ROWS;
        g[W] += m == RIDGE_NO_INTERCEPT ? 0 : e / ROWS;
    }
    for (int j = 0; j < W + (m == RIDGE_PENALISES_INTERCEPT); j++)
        g[j] = (m == RIDGE_OVERWRITTEN ? 0 : g[j]) + 0.3 * w[j];
    for (int j = 0; j <= W; j++)
        g[j] *= all;
    for (int j = 0; m == RIDGE_SHIFT && j < W; j++)
        g[j] = g[j + 1];
}

/* ---- layer: w then v ------------------------------------------------------------------------- */

static bool unit_kept(int j, bool other) { return j != (other ? 1 : 2); }

/* The hidden units of row i, before and after tanh; and the result's. */
static void layer_row(const plain *p, const double *w, int i, double *z, double *h, double *y)
{
    for (int j = 0; j < W; j++) {
        z[j] = 0;
        for (int k = 0; k < W; k++)
            z[j] = in(p, z[j] + feature(i, k) * w[k * W + j]);
        h[j] = unit_kept(j, false) ? in(p, tanh(z[j]) / 0.75) : 0;
    }
    for (int j = 0; j < W; j++) {
        y[j] = -0.3 * j;
        for (int k = 0; k < W; k++)
            y[j] = in(p, y[j] + h[k] * w[WW + k * W + j]);
    }
}

static double layer_f(const double *w, size_t n, void *context)
{
    double sum = 0, z[W], h[W], y[W];
    const plain *p = context;
    (void)n;
    for (int i = 0; i < 3; i++) {
        layer_row(p, w, i, z, h, y);
        for (int j = 0; j < W; j++)
            sum = in(p, sum + y[j] * y[j]);
    }
    return sum;
}

static void layer_g(const double *w, size_t n, double *g, void *context)
{
    const plain *p = context;
    const mistake m = p->mistake;
    double z[W], h[W], y[W], was[WW];
    memset(g, 0, n * sizeof *g);
    for (int i = 0; i < 3; i++) {
        layer_row(p, w, i, z, h, y);
        for (int j = 0; j < W; j++) {
            double back = 0;
            for (int k = 0; k < W; k++) {
                g[WW + j * W + k] += (m == LAYER_HALF ? 1 : 2) * y[k] * h[j];
                back += 2 * y[k] * w[WW + (m == LAYER_TURNED_WEIGHTS ? k * W + j : j * W + k)];
            }
            const double t = m == LAYER_BEFORE_TANH ? z[j] : tanh(z[j]);
            back *= unit_kept(j, m == LAYER_OTHER_MASK) ? (1 - t * t) : 0;
            back /= m == LAYER_NO_SCALE ? 1 : 0.75;
            for (int k = 0; k < W && m != LAYER_FIRST_DROPPED; k++)
                g[k * W + j] += feature(i, k) * back;
        }
    }
    memcpy(was, g + WW, sizeof was);
    for (int k = 0; m == LAYER_TRANSPOSED && k < WW; k++)
        g[WW + k] = was[k % W * W + k / W];
}

/* ---- chain ----------------------------------------------------------------------------------- */

static void chain_run(const plain *p, const double *w, double h[STEPS + 1][W])
{
    for (int j = 0; j < W; j++)
        h[0][j] = 0.2 * j - 0.3;
    for (int t = 0; t < STEPS; t++)
        for (int j = 0; j < W; j++) {
            double z = feature(t, j);
            for (int k = 0; k < W; k++)
                z = in(p, z + h[t][k] * w[k * W + j]);
            h[t + 1][j] = in(p, tanh(z));
        }
}

static double chain_f(const double *w, size_t n, void *context)
{
    double h[STEPS + 1][W], sum = 0;
    (void)n;
    chain_run(context, w, h);
    for (int j = 0; j < W; j++)
        sum += (j + 1) * h[STEPS][j];
    return sum;
}

static void chain_g(const double *w, size_t n, double *g, void *context)
{
    const plain *p = context;
    const mistake m = p->mistake;
    double h[STEPS + 1][W], u[W] = {1, 2, 3, 4};
    memset(g, 0, n * sizeof *g);
    chain_run(p, w, h);
    const int end = m == CHAIN_ONE_STEP ? STEPS - 1 : m == CHAIN_STARTS_LATE ? 2 : 0;
    for (int t = STEPS - 1; t >= end; t--) {
        double back[W] = {0};
        for (int j = 0; j < W; j++) {
            const double d = u[j] * (1 - h[t + 1][j] * h[t + 1][j]);
            for (int k = 0; k < W; k++) {
                g[k * W + j] += h[m == CHAIN_LAST_STATE ? STEPS : t][k] * d;
                back[k] += d * w[m == CHAIN_TURNED ? j * W + k : k * W + j];
            }
        }
        memcpy(u, back, sizeof u);
    }
}

/* ---- soft ------------------------------------------------------------------------------------ */

static void soft_row(const plain *p, const double *w, int i, double *q, double *loss)
{
    double sum = 0, most = 0;
    for (int j = 0; j < W; j++) {
        q[j] = 0;
        for (int k = 0; k < W; k++)
            q[j] = in(p, q[j] + feature(i, k) * w[k * W + j]);
        most = fmax(most, q[j]);
    }
    *loss = most - q[i % W];
    for (int j = 0; j < W; j++)
        sum = in(p, sum + exp(q[j] - most));
    for (int j = 0; j < W; j++)
        q[j] = exp(q[j] - most) / (p->mistake == SOFT_NOT_SHIFTED_BACK ? 1 : sum);
    *loss += log(sum);
}

static double soft_f(const double *w, size_t n, void *context)
{
    double q[W], loss, sum = 0;
    (void)n;
    for (int i = 0; i < 6; i++) {
        soft_row(context, w, i, q, &loss);
        sum = in(context, sum + loss / 6);
    }
    return sum;
}

static void soft_g(const double *w, size_t n, double *g, void *context)
{
    const plain *p = context;
    const mistake m = p->mistake;
    double q[W], loss, was[WW];
    memset(g, 0, n * sizeof *g);
    for (int i = 0; i < 6; i++) {
        soft_row(p, w, i, q, &loss);
        if (m != SOFT_NO_LABEL)
            q[(i + (m == SOFT_NEXT_CLASS)) % W] -= 1;
        for (int k = 0; k < WW; k++)
            g[k] += feature(i, k / W) * q[k % W] / (m == SOFT_SUM ? 1 : 6);
    }
    memcpy(was, g, sizeof was);
    for (int k = 0; m == SOFT_TRANSPOSED && k < WW; k++)
        g[k] = was[k % W * W + k / W];
}

/* ---- all ------------------------------------------------------------------------------------- */

typedef struct subject {
    mistake first; /* its own mistakes are those from here on, as far as the next subject's */
    double (*f)(const double *w, size_t n, void *context);
    void (*g)(const double *w, size_t n, double *g, void *context);
    size_t n_in;
    nb_check_input in[2];
    int64_t batch;
} subject;

enum { SUBJECTS = 4 };

#define VECTOR                   \
    {                            \
        .rank = 1, .dims = { W } \
    }
#define MATRIX                      \
    {                               \
        .rank = 2, .dims = { W, W } \
    }
static const subject subjects[SUBJECTS] = {
    {RIDGE_SIGN, ridge_f, ridge_g, 2, {{"w", VECTOR, 0, 0}, {"b", {.rank = -1}, 0, 0}}, ROWS},
    {LAYER_TRANSPOSED, layer_f, layer_g, 2, {{"w", MATRIX, 0, 0}, {"v", MATRIX, 0, 0}}, 0},
    {CHAIN_ONE_STEP, chain_f, chain_g, 1, {{"w", MATRIX, 0, 0}}, 0},
    {SOFT_NEXT_CLASS, soft_f, soft_g, 1, {{"w", MATRIX, 0, 0}}, 6},
};

static nb_check_report plain_report(const subject *s, mistake m, bool single)
{
    nb_check_report r;
    plain p = {m, single, {0}};
    double w[2 * WW];
    size_t n = 0;
    for (size_t k = 0; k < s->n_in; k++)
        n += s->in[k].shape.rank < 0 ? 1 : (size_t)nb_shape_size(s->in[k].shape);
    for (size_t k = 0; k < n; k++)
        w[k] = in(&p, 0.7 * sin(1.3 * (double)k + 0.4));
    nb_check_arrays(
        &(nb_check_plain){
            .f = s->f, .g = s->g, .context = &p, .n = n, .x = w, .n_in = s->n_in, .in = s->in},
        &(nb_check_options){.seed = 1, .batch = s->batch}, &r);
    return r;
}

#endif
