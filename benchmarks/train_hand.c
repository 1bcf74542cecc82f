/*
 * The tasks of the training benchmark written by hand, as an expert would: activations in place,
 * everything allocated once, products by the kernel given, elementwise loops fused and vectorised.
 */
#include "kernels/matmul.h"
#include "train_hand.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef NB_HAVE_OPENBLAS
#include <cblas.h>
#endif

/* ---- products -------------------------------------------------------------------------------- */

void product_own(int64_t m, int64_t n, int64_t k, const float *a, bool ta, const float *b, bool tb,
                 float *c, bool add, const float *bias)
{
    static _Alignas(64) char scratch[2 << 20];
    nbi_matmul x = {.m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = n, .ta = ta, .tb = tb};
    x.lda = ta ? m : k;
    x.ldb = tb ? k : n;
    x.accumulate = add;
    x.bias = bias;
    x.scratch = scratch;
    nbi_matmul_choose(nbi_isa_best(), false)(&x);
}

#ifdef NB_HAVE_OPENBLAS
void product_blas(int64_t m, int64_t n, int64_t k, const float *a, bool ta, const float *b, bool tb,
                  float *c, bool add, const float *bias)
{
    for (int64_t i = 0; bias && i < m; i++)
        memcpy(c + i * n, bias, (size_t)n * sizeof *c);
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                (blasint)m, (blasint)n, (blasint)k, 1, a, (blasint)(ta ? m : k), b,
                (blasint)(tb ? k : n), add || bias ? 1 : 0, c, (blasint)n);
}
#endif

/* ---- loops ----------------------------------------------------------------------------------- */

static WIDE void relu(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

static WIDE void relu_back(int64_t n, const float *y, float *d)
{
    for (int64_t i = 0; i < n; i++)
        d[i] = y[i] > 0 ? d[i] : 0;
}

static WIDE void tanh_back(int64_t n, const float *y, float *d)
{
    for (int64_t i = 0; i < n; i++)
        d[i] *= 1 - y[i] * y[i];
}

static WIDE void sum_rows(int64_t rows, int64_t columns, const float *d, float *out)
{
    memset(out, 0, (size_t)columns * sizeof *out);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            out[j] += d[i * columns + j];
}

void column_sums(int64_t rows, int64_t columns, const float *d, float *out)
{
    sum_rows(rows, columns, d, out);
}

double softmax_loss(int64_t rows, int64_t columns, const float *z, const int64_t *label, float *d)
{
    double loss = 0;
    for (int64_t i = 0; i < rows; i++, z += columns, d += columns) {
        float most = z[0], sum = 0;
        for (int64_t j = 1; j < columns; j++)
            most = z[j] > most ? z[j] : most;
        for (int64_t j = 0; j < columns; j++)
            sum += d[j] = expf(z[j] - most);
        loss -= (double)(z[label[i]] - most - logf(sum));
        for (int64_t j = 0; j < columns; j++)
            d[j] = (d[j] / sum - (j == label[i] ? 1.f : 0.f)) / (float)rows;
    }
    return loss / (double)rows;
}

static double logistic_loss(int64_t n, const float *z, const float *y, float *d)
{
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        const float u = -y[i] * z[i], e = expf(-fabsf(u));
        loss += (double)(fmaxf(u, 0) + log1pf(e));
        d[i] = -y[i] * (u >= 0 ? 1 / (1 + e) : e / (1 + e)) / (float)n;
    }
    return loss / (double)n;
}

static WIDE double squared_loss(int64_t n, const float *z, const float *y, float *d)
{
    double loss = 0;
    for (int64_t i = 0; i < n; i++) {
        const float e = z[i] - y[i];
        loss += (double)(e * e);
        d[i] = 2 * e / (float)n;
    }
    return loss / (double)n;
}

/* ---- a network of layers --------------------------------------------------------------------- */

static double mlp(state *s)
{
    hand *w = s->work;
    const task *k = s->task;
    const int64_t n = k->batch;
    const float *p[MOST_LAYERS];
    float *g[MOST_LAYERS];
    size_t at = 0;
    for (int l = 0; l < k->layers; l++) {
        const int64_t in = k->size[l], out = k->size[l + 1];
        p[l] = s->p + at, g[l] = s->g + at;
        at += (size_t)((in + 1) * out);
        w->product(n, out, in, w->a[l], false, p[l], false, w->a[l + 1], false, p[l] + in * out);
        if (l + 1 < k->layers && k->relu)
            relu(n * out, w->a[l + 1]);
        else if (l + 1 < k->layers)
            w->v->tanh(n * out, w->a[l + 1], w->a[l + 1]);
    }
    const int64_t last = k->size[k->layers];
    float *d = w->d[0], *below = w->d[1];
    const float *z = w->a[k->layers];
    const double loss = k->loss == LOSS_SOFTMAX    ? softmax_loss(n, last, z, s->label, d)
                        : k->loss == LOSS_LOGISTIC ? logistic_loss(n, z, s->target, d)
                                                   : squared_loss(n * last, z, s->target, d);
    for (int l = k->layers - 1; l >= 0; l--) {
        const int64_t in = k->size[l], out = k->size[l + 1];
        w->product(in, out, n, w->a[l], true, d, false, g[l], false, NULL);
        column_sums(n, out, d, g[l] + in * out);
        if (l == 0)
            break;
        w->product(n, in, out, d, false, p[l], true, below, false, NULL);
        (k->relu ? relu_back : tanh_back)(n * in, w->a[l], below);
        float *swap = d;
        d = below, below = swap;
    }
    return loss;
}

/* ---- a recurrent layer ----------------------------------------------------------------------- */

enum { GATES = 4 * UNITS };

/* One sample's cell after its gates z [4 UNITS] have been squashed in place. */
static WIDE void cell_forward(int64_t n, const float *z, const float *before, float *cell)
{
    for (int64_t i = 0; i < n; i++, z += GATES, cell += UNITS) {
        for (int64_t j = 0; j < UNITS; j++)
            cell[j] = z[j] * z[2 * UNITS + j] + (before ? z[UNITS + j] * before[i * UNITS + j] : 0);
    }
}

static WIDE void output_forward(int64_t n, const float *z, const float *tanh_cell, float *h)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < UNITS; j++)
            h[i * UNITS + j] = z[i * GATES + 3 * UNITS + j] * tanh_cell[i * UNITS + j];
}

/* From the adjoint of h and of the cell to those of the gates' arguments and of the cell before. */
static WIDE void cell_backward(int64_t n, const float *z, const float *before,
                               const float *tanh_cell, const float *dh, float *dc, float *dz)
{
    for (int64_t i = 0; i < n; i++, z += GATES, dz += GATES)
        for (int64_t j = 0; j < UNITS; j++) {
            const float in = z[j], keep = z[UNITS + j], fresh = z[2 * UNITS + j];
            const float out = z[3 * UNITS + j], t = tanh_cell[i * UNITS + j];
            const float g = dh[i * UNITS + j], c = dc[i * UNITS + j] + g * out * (1 - t * t);
            dz[j] = c * fresh * in * (1 - in);
            dz[UNITS + j] = before ? c * before[i * UNITS + j] * keep * (1 - keep) : 0;
            dz[2 * UNITS + j] = c * in * (1 - fresh * fresh);
            dz[3 * UNITS + j] = g * t * out * (1 - out);
            dc[i * UNITS + j] = c * keep;
        }
}

static double lstm(state *s)
{
    hand *w = s->work;
    const int64_t n = s->task->batch, row = n * UNITS;
    const float *in = s->p, *rec = in + FEATURES * GATES, *bias = rec + UNITS * GATES;
    float *din = s->g, *drec = din + FEATURES * GATES, *dbias = drec + UNITS * GATES;
    w->product(STEPS * n, GATES, FEATURES, s->x, false, in, false, w->gate, false, bias);
    for (int k = 0; k < STEPS; k++) {
        float *z = w->gate + k * n * GATES, *cell = w->cell + k * row;
        if (k)
            w->product(n, GATES, UNITS, w->h + (k - 1) * row, false, rec, false, z, true, NULL);
        for (int64_t i = 0; i < n; i++) {
            float *zi = z + i * GATES;
            w->v->sigmoid(2 * UNITS, zi, zi);
            w->v->tanh(UNITS, zi + 2 * UNITS, zi + 2 * UNITS);
            w->v->sigmoid(UNITS, zi + 3 * UNITS, zi + 3 * UNITS);
        }
        cell_forward(n, z, k ? cell - row : NULL, cell);
        w->v->tanh(row, cell, w->tanh_cell + k * row);
        output_forward(n, z, w->tanh_cell + k * row, w->h + k * row);
    }
    const double loss = squared_loss(STEPS * row, w->h, s->target, w->h_adjoint);
    memset(w->cell_adjoint, 0, (size_t)row * sizeof(float));
    for (int k = STEPS - 1; k >= 0; k--) {
        float *dz = w->gate_adjoint + k * n * GATES;
        cell_backward(n, w->gate + k * n * GATES, k ? w->cell + (k - 1) * row : NULL,
                      w->tanh_cell + k * row, w->h_adjoint + k * row, w->cell_adjoint, dz);
        if (k)
            w->product(n, UNITS, GATES, dz, false, rec, true, w->h_adjoint + (k - 1) * row, true,
                       NULL);
    }
    w->product(FEATURES, GATES, STEPS * n, s->x, true, w->gate_adjoint, false, din, false, NULL);
    w->product(UNITS, GATES, (STEPS - 1) * n, w->h, true, w->gate_adjoint + n * GATES, false, drec,
               false, NULL);
    column_sums(STEPS * n, GATES, w->gate_adjoint, dbias);
    return loss;
}

/* ---- the calls ------------------------------------------------------------------------------- */

float *room(bool *good, int64_t n)
{
    float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 127) / 64 * 64);
    *good = *good && x;
    return x;
}

bool hand_open(state *s, product_fn *product)
{
    hand *w = calloc(1, sizeof *w);
    const task *k = s->task;
    bool good = w != NULL;
    s->work = w;
    if (!good)
        return false;
    int64_t widest = 1;
    w->product = product;
    w->v = nbi_vmath_choose(nbi_isa_best(), false);
    w->a[0] = s->x;
    for (int l = 1; l <= k->layers; l++) {
        w->a[l] = room(&good, k->batch * k->size[l]);
        widest = widest > k->size[l] ? widest : k->size[l];
    }
    for (int j = 0; j < 2; j++)
        w->d[j] = room(&good, k->batch * widest);
    if (k->kind == TASK_LSTM || k->kind == TASK_LSTM_STEPS) {
        const int64_t all = STEPS * k->batch * UNITS;
        float **const parts[] = {&w->cell, &w->tanh_cell, &w->h, &w->h_adjoint, &w->cell_adjoint};
        for (size_t j = 0; j < sizeof parts / sizeof *parts; j++)
            *parts[j] = room(&good, all);
        w->gate = room(&good, 4 * all);
        w->gate_adjoint = room(&good, 4 * all);
    }
    if (k->kind == TASK_CNN)
        good = (w->convolution = convolution_open(k)) && good;
    return good;
}

void hand_close(state *s)
{
    hand *w = s->work;
    if (!w)
        return;
    for (int l = 1; l <= MOST_LAYERS; l++)
        free(w->a[l]);
    float *const parts[] = {w->d[0], w->d[1],      w->cell,         w->tanh_cell,   w->h,
                            w->gate, w->h_adjoint, w->cell_adjoint, w->gate_adjoint};
    for (size_t j = 0; j < sizeof parts / sizeof *parts; j++)
        free(parts[j]);
    convolution_close(w->convolution);
    free(w);
}

double hand_gradient(state *s)
{
    switch (s->task->kind) {
    case TASK_LSTM:
    case TASK_LSTM_STEPS: return lstm(s);
    case TASK_CNN: return hand_convolution(s);
    default: return mlp(s);
    }
}
