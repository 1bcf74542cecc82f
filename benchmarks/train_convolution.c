/*
 * The convolutional task by hand, as it is done on top of a matrix product: for each image the patches
 * under the taps become the columns of a matrix, [ci 9, h v], and
 *
 *     y = W cols,      dW += dy cols^T,      dcols = W^T dy,  gathered back to the image.
 */
#include "train_hand.h"

#include <stdlib.h>
#include <string.h>

enum { HALF = SIDE / 2, FLAT = SECOND * LEFT * LEFT };

/* The arrays of one convolution with ReLU and 2x2 pooling behind it; one image after the other. */
typedef struct stage {
    int64_t in, out, side;
    const float *w, *b;
    float *dw, *db;
    float *cols;    /* [n, in 9, side side] */
    float *y;       /* [n, out, side side]: after ReLU, then its adjoint */
    float *pooled;  /* [n, out, side/2 side/2] */
    int8_t *winner; /* of each window, 0 to 3 */
} stage;

struct convolution {
    stage s[2];
    float *scores, *d_scores, *d_flat, *d_first, *d_cols;
};

static WIDE void to_columns(int64_t channels, int64_t side, const float *x, float *cols)
{
    for (int64_t c = 0; c < channels; c++, x += side * side)
        for (int64_t tap = 0; tap < KERNEL; tap++, cols += side * side) {
            const int64_t di = tap / 3 - 1, dj = tap % 3 - 1;
            for (int64_t i = 0; i < side; i++) {
                float *row = cols + i * side;
                const float *from = x + (i + di) * side + dj;
                memset(row, 0, (size_t)side * sizeof *row);
                if (i + di < 0 || i + di >= side)
                    continue;
                for (int64_t j = dj < 0; j < side - (dj > 0); j++)
                    row[j] = from[j];
            }
        }
}

static WIDE void from_columns(int64_t channels, int64_t side, const float *cols, float *x)
{
    memset(x, 0, (size_t)(channels * side * side) * sizeof *x);
    for (int64_t c = 0; c < channels; c++, x += side * side)
        for (int64_t tap = 0; tap < KERNEL; tap++, cols += side * side) {
            const int64_t di = tap / 3 - 1, dj = tap % 3 - 1;
            for (int64_t i = di < 0; i < side - (di > 0); i++)
                for (int64_t j = dj < 0; j < side - (dj > 0); j++)
                    x[(i + di) * side + j + dj] += cols[i * side + j];
        }
}

/* ReLU in place and the greatest of each 2x2 window. */
static WIDE void pool(int64_t planes, int64_t side, float *restrict y, const float *bias,
                      int64_t channels, float *restrict out, int8_t *restrict winner)
{
    for (int64_t p = 0; p < planes; p++, y += side * side) {
        const float b = bias[p % channels];
        for (int64_t i = 0; i < side * side; i++)
            y[i] = y[i] + b > 0 ? y[i] + b : 0;
        for (int64_t i = 0; i < side / 2; i++)
            for (int64_t j = 0; j < side / 2; j++, out++, winner++) {
                const float *at = y + 2 * i * side + 2 * j;
                float most = at[0];
                int8_t place = 0;
                if (at[1] > most)
                    most = at[1], place = 1;
                if (at[side] > most)
                    most = at[side], place = 2;
                if (at[side + 1] > most)
                    most = at[side + 1], place = 3;
                *out = most;
                *winner = place;
            }
    }
}

/* From the adjoint of the pooled planes to that of what ReLU was given, over y. */
static void unpool(int64_t planes, int64_t side, const float *d, const int8_t *winner, float *y)
{
    for (int64_t p = 0; p < planes; p++, y += side * side)
        for (int64_t i = 0; i < side / 2; i++)
            for (int64_t j = 0; j < side / 2; j++, d++, winner++) {
                float *at = y + 2 * i * side + 2 * j;
                const float g = at[(*winner >> 1) * side + (*winner & 1)] > 0 ? *d : 0;
                at[0] = at[1] = at[side] = at[side + 1] = 0;
                at[(*winner >> 1) * side + (*winner & 1)] = g;
            }
}

static void forward(const hand *w, stage *s, int64_t n, const float *x)
{
    const int64_t area = s->side * s->side, taps = s->in * KERNEL;
    for (int64_t i = 0; i < n; i++) {
        float *cols = s->cols + i * taps * area;
        to_columns(s->in, s->side, x + i * s->in * area, cols);
        w->product(s->out, area, taps, s->w, false, cols, false, s->y + i * s->out * area, false,
                   NULL);
    }
    pool(n * s->out, s->side, s->y, s->b, s->out, s->pooled, s->winner);
}

static WIDE float sum(int64_t n, const float *x)
{
    enum { LANES = 16 };
    float lane[LANES] = {0};
    for (int64_t i = 0; i + LANES <= n; i += LANES)
        for (int64_t l = 0; l < LANES; l++)
            lane[l] += x[i + l];
    for (int64_t i = n - n % LANES; i < n; i++)
        lane[0] += x[i];
    for (int64_t l = 1; l < LANES; l++)
        lane[0] += lane[l];
    return lane[0];
}

/* dx may be NULL. */
static void backward(const hand *w, stage *s, int64_t n, const float *d_pooled, float *dx,
                     float *d_cols)
{
    const int64_t area = s->side * s->side, taps = s->in * KERNEL;
    unpool(n * s->out, s->side, d_pooled, s->winner, s->y);
    memset(s->db, 0, (size_t)s->out * sizeof *s->db);
    for (int64_t i = 0; i < n; i++) {
        const float *dy = s->y + i * s->out * area;
        for (int64_t c = 0; c < s->out; c++)
            s->db[c] += sum(area, dy + c * area);
        w->product(s->out, taps, area, dy, false, s->cols + i * taps * area, true, s->dw, i > 0,
                   NULL);
        if (dx) {
            w->product(taps, area, s->out, s->w, true, dy, false, d_cols, false, NULL);
            from_columns(s->in, s->side, d_cols, dx + i * s->in * area);
        }
    }
}

double hand_convolution(state *s)
{
    hand *w = s->work;
    convolution *c = w->convolution;
    const int64_t n = s->task->batch;
    stage *one = &c->s[0], *two = &c->s[1];
    const size_t second = FIRST * (KERNEL + 1), last = second + SECOND * (FIRST * KERNEL + 1);
    one->w = s->p, one->b = one->w + FIRST * KERNEL;
    one->dw = s->g, one->db = one->dw + FIRST * KERNEL;
    two->w = s->p + second, two->b = two->w + SECOND * FIRST * KERNEL;
    two->dw = s->g + second, two->db = two->dw + SECOND * FIRST * KERNEL;
    const float *p = s->p + last;
    float *g = s->g + last;
    forward(w, one, n, s->x);
    forward(w, two, n, one->pooled);
    w->product(n, CLASSES, FLAT, two->pooled, false, p, false, c->scores, false,
               p + FLAT * CLASSES);
    const double loss = softmax_loss(n, CLASSES, c->scores, s->label, c->d_scores);
    w->product(FLAT, CLASSES, n, two->pooled, true, c->d_scores, false, g, false, NULL);
    column_sums(n, CLASSES, c->d_scores, g + FLAT * CLASSES);
    w->product(n, FLAT, CLASSES, c->d_scores, false, p, true, c->d_flat, false, NULL);
    backward(w, two, n, c->d_flat, c->d_first, c->d_cols);
    backward(w, one, n, c->d_first, NULL, NULL);
    return loss;
}

convolution *convolution_open(const task *k)
{
    convolution *c = calloc(1, sizeof *c);
    const int64_t n = k->batch;
    bool good = c != NULL;
    for (int i = 0; i < 2 && good; i++) {
        stage *s = &c->s[i];
        s->in = i ? FIRST : 1, s->out = i ? SECOND : FIRST, s->side = i ? HALF : SIDE;
        const int64_t area = s->side * s->side;
        s->cols = room(&good, n * s->in * KERNEL * area);
        s->y = room(&good, n * s->out * area);
        s->pooled = room(&good, n * s->out * area / 4);
        s->winner = (int8_t *)room(&good, n * s->out * area / 16);
    }
    if (good) {
        c->scores = room(&good, n * CLASSES), c->d_scores = room(&good, n * CLASSES);
        c->d_flat = room(&good, n * FLAT), c->d_first = room(&good, n * FIRST * HALF * HALF);
        c->d_cols = room(&good, FIRST * KERNEL * HALF * HALF);
    }
    return good ? c : NULL;
}

void convolution_close(convolution *c)
{
    for (int i = 0; c && i < 2; i++)
        free(c->s[i].cols), free(c->s[i].y), free(c->s[i].pooled), free(c->s[i].winner);
    if (c)
        free(c->scores), free(c->d_scores), free(c->d_flat), free(c->d_first), free(c->d_cols);
    free(c);
}
