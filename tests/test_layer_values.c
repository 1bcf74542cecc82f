/*
 * Layers against plain loops over arrays that share nothing with them: what is multiplied with what, in
 * which order gates, heads, directions and pieces lie, and what a mask hides.
 *
 * Parameters are read by name. Each value may differ by rounding only: 1e-12 on doubles, 1e-5 on floats.
 */
#include "error_is.h"

#include <stdlib.h>

enum { MOST = 512 };

typedef struct bench {
    nb_params *p;
    nb_tape *t;
    nb_pass m;
    nb_rng r;
    double tol;
} bench;

static void open_bench(bench *b, int d)
{
    *b = (bench){.p = nb_params_new(&(nb_params_options){.dtype = (nb_dtype)d}),
                 .t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)d}),
                 .r = nb_rng_seed(8),
                 .tol = d ? 1e-5 : 1e-12};
}

/* Fills all parameters, biases too, and makes the pass. */
static void ready(bench *b)
{
    double v[MOST];
    ck_assert_str_eq(nb_params_message(b->p), "");
    for (nb_param i = 0; i < nb_params_count(b->p); i++) {
        const int64_t n = nb_params_info(b->p, i).size;
        for (int64_t k = 0; k < n; k++)
            v[k] = nb_rng_uniform(&b->r) - 0.4;
        nb_params_write(b->p, i, v, n);
    }
    b->m = nb_training_pass(b->p, b->t, &b->r);
}

static void close_bench(bench *b)
{
    ck_assert_str_eq(nb_message(b->t), "");
    nb_tape_free(b->t);
    nb_params_free(b->p);
}

static const double *read_param(const bench *b, const char *name, double *out)
{
    const nb_param i = nb_params_find(b->p, name);
    ck_assert_msg(i >= 0, "no %s", name);
    nb_params_read(b->p, i, out, nb_params_info(b->p, i).size);
    return out;
}

static nb_var input(bench *b, nb_shape shape, double *x)
{
    for (int64_t i = 0; i < nb_shape_size(shape); i++)
        x[i] = (double)(float)(2 * nb_rng_uniform(&b->r) - 1);
    return nb_constant_tensor(b->t, shape, x);
}

static void same(const bench *b, nb_var y, const double *want, int n)
{
    double got[MOST];
    ck_assert_msg(nb_read(y, got, n) == NB_OK, "%s", nb_message(b->t));
    for (int i = 0; i < n; i++)
        ck_assert_msg(fabs(got[i] - want[i]) <= b->tol * (1 + fabs(want[i])),
                      "%d: %.15g, not %.15g", i, got[i], want[i]);
}

/* y[m] = b[m] + x[k] w[k m] of columns that lie `step` apart; b may be NULL. */
static void map(const double *x, const double *w, const double *b, int k, int m, int step,
                double *y)
{
    for (int j = 0; j < m; j++) {
        y[j] = b ? b[j] : 0;
        for (int i = 0; i < k; i++)
            y[j] += x[i] * w[i * step + j];
    }
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* ---- dense ----------------------------------------------------------------------------------- */

START_TEST(dense)
{
    bench b;
    double x[MOST], z[MOST], w[MOST], c[MOST], v[MOST], d[MOST], want[MOST], h[8], y[8];
    open_bench(&b, _i);
    nb_mlp mlp = nb_mlp_new(b.p, "mlp", 3, (int64_t[]){3, 4, 2}, NULL, &b.r);
    nb_bilinear_layer bi = nb_bilinear_new(b.p, "bi", 3, 2, 4, NULL, &b.r);
    nb_maxout_layer most = nb_maxout_new(b.p, "most", 3, 2, 3, NULL, &b.r);
    nb_autoencoder tied = nb_autoencoder_new(b.p, "tied", 2, (int64_t[]){3, 2}, NULL, NULL, &b.r);
    ready(&b);
    nb_var in = input(&b, NB_SHAPE(5, 3), x), other = input(&b, NB_SHAPE(5, 2), z);

    read_param(&b, "mlp.w0", w), read_param(&b, "mlp.b0", c);
    read_param(&b, "mlp.w1", v), read_param(&b, "mlp.b1", d);
    for (int n = 0; n < 5; n++) {
        map(x + 3 * n, w, c, 3, 4, 4, h);
        for (int k = 0; k < 4; k++)
            h[k] = fmax(h[k], 0);
        map(h, v, d, 4, 2, 2, want + 2 * n);
    }
    same(&b, nb_mlp_apply(&mlp, &b.m, in), want, 10);

    read_param(&b, "bi.w", w), read_param(&b, "bi.b", c);
    for (int n = 0; n < 5; n++)
        for (int k = 0; k < 4; k++) {
            want[4 * n + k] = c[k];
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 2; j++)
                    want[4 * n + k] += x[3 * n + i] * w[(i * 4 + k) * 2 + j] * z[2 * n + j];
        }
    same(&b, nb_bilinear_apply(&bi, &b.m, in, other), want, 20);

    read_param(&b, "most.w", w), read_param(&b, "most.b", c);
    for (int n = 0; n < 5; n++) {
        map(x + 3 * n, w, c, 3, 6, 6, h);
        for (int k = 0; k < 2; k++)
            want[2 * n + k] = fmax(h[k], fmax(h[2 + k], h[4 + k]));
    }
    same(&b, nb_maxout_apply(&most, &b.m, in), want, 10);

    read_param(&b, "tied.w0", w), read_param(&b, "tied.b0", c), read_param(&b, "tied.c0", d);
    for (int n = 0; n < 5; n++) {
        map(x + 3 * n, w, c, 3, 2, 2, h);
        for (int i = 0; i < 3; i++)
            y[i] = d[i] + w[2 * i] * sigmoid(h[0]) + w[2 * i + 1] * sigmoid(h[1]);
        memcpy(want + 3 * n, y, 3 * sizeof *y);
    }
    nb_var code = nb_autoencoder_encode(&tied, &b.m, in);
    same(&b, nb_autoencoder_decode(&tied, &b.m, code), want, 15);
    close_bench(&b);
}
END_TEST

/* ---- recurrence ------------------------------------------------------------------------------ */

enum { STEPS = 4, N = 2, UNITS = 3 };

/* One step of one row: h [UNITS] in place. */
static void gru_step(const bench *b, const char *part, const double *x, int in, double *h)
{
    char name[40];
    double w[MOST], u[MOST], c[MOST], c_n[MOST], from_x[3 * UNITS], from_h[3 * UNITS];
    snprintf(name, sizeof name, "%s.w_x", part), read_param(b, name, w);
    snprintf(name, sizeof name, "%s.w_h", part), read_param(b, name, u);
    snprintf(name, sizeof name, "%s.b", part), read_param(b, name, c);
    snprintf(name, sizeof name, "%s.b_n", part), read_param(b, name, c_n);
    map(x, w, c, in, 3 * UNITS, 3 * UNITS, from_x);
    map(h, u, NULL, UNITS, 3 * UNITS, 3 * UNITS, from_h);
    for (int k = 0; k < UNITS; k++) {
        const double r = sigmoid(from_x[k] + from_h[k]);
        const double z = sigmoid(from_x[UNITS + k] + from_h[UNITS + k]);
        const double n = tanh(from_x[2 * UNITS + k] + r * (from_h[2 * UNITS + k] + c_n[k]));
        h[k] = (1 - z) * n + z * h[k];
    }
}

/* One direction of a layer: x [STEPS N in], y [STEPS N `step`], h [N UNITS] first and last state. */
static void gru_layer(const bench *b, const char *part, const double *x, int in, bool back,
                      double *y, int step, double *h)
{
    for (int k = 0; k < STEPS; k++) {
        const int t = back ? STEPS - 1 - k : k;
        for (int n = 0; n < N; n++) {
            gru_step(b, part, x + (t * N + n) * in, in, h + n * UNITS);
            memcpy(y + (t * N + n) * step, h + n * UNITS, UNITS * sizeof *h);
        }
    }
}

START_TEST(gru)
{
    bench b;
    double x[MOST], h[MOST], y[MOST], z[MOST];
    open_bench(&b, _i);
    nb_recurrent_layer l =
        nb_recurrent_new(b.p, "g", NB_CELL_GRU, 2, UNITS,
                         &(nb_recurrent_options){.layers = 2, .bidirectional = true}, &b.r);
    ready(&b);
    nb_var in = input(&b, NB_SHAPE(STEPS, N, 2), x);
    nb_recurrent_state first = {.h = input(&b, NB_SHAPE(4, N, UNITS), h)}, last;
    nb_var out = nb_recurrent_apply(&l, &b.m, in, &first, &last);
    const int state = N * UNITS, both = 2 * UNITS;
    gru_layer(&b, "g.0", x, 2, false, y, both, h);
    gru_layer(&b, "g.0r", x, 2, true, y + UNITS, both, h + state);
    gru_layer(&b, "g.1", y, both, false, z, both, h + 2 * state);
    gru_layer(&b, "g.1r", y, both, true, z + UNITS, both, h + 3 * state);
    same(&b, out, z, STEPS * N * both);
    same(&b, last.h, h, 4 * state);
    close_bench(&b);
}
END_TEST

START_TEST(rnn)
{
    bench b;
    double x[MOST], w[MOST], u[MOST], c[MOST], h[N * UNITS] = {0}, next[UNITS], y[MOST];
    open_bench(&b, _i);
    nb_recurrent_layer l = nb_recurrent_new(b.p, "r", NB_CELL_RNN, 2, UNITS,
                                            &(nb_recurrent_options){.f = nb_sin}, &b.r);
    ready(&b);
    nb_var in = input(&b, NB_SHAPE(STEPS, N, 2), x);
    read_param(&b, "r.0.w_x", w), read_param(&b, "r.0.w_h", u), read_param(&b, "r.0.b", c);
    for (int at = 0; at < STEPS * N; at++) {
        double *past = h + at % N * UNITS;
        map(x + 2 * at, w, c, 2, UNITS, UNITS, next);
        map(past, u, next, UNITS, UNITS, UNITS, y + at * UNITS);
        for (int k = 0; k < UNITS; k++)
            past[k] = y[at * UNITS + k] = sin(y[at * UNITS + k]);
    }
    same(&b, nb_recurrent_apply(&l, &b.m, in, NULL, NULL), y, STEPS * N * UNITS);
    close_bench(&b);
}
END_TEST

/* A sequence in two halves, the state carried over, is the sequence; and the forget gate starts open. */
START_TEST(lstm)
{
    bench b;
    double x[MOST], whole[MOST];
    open_bench(&b, _i);
    nb_recurrent_layer l = nb_recurrent_new(b.p, "l", NB_CELL_LSTM, 2, UNITS,
                                            &(nb_recurrent_options){.layers = 2}, &b.r);
    read_param(&b, "l.1.b", x);
    for (int k = 0; k < 4 * UNITS; k++)
        ck_assert(x[k] == (k / UNITS == 1 ? 1 : 0));
    ready(&b);
    nb_var in = input(&b, NB_SHAPE(STEPS, N, 2), x);
    nb_recurrent_state middle, last, end;
    nb_read(nb_recurrent_apply(&l, &b.m, in, NULL, &end), whole, STEPS * N * UNITS);
    nb_recurrent_apply(&l, &b.m, nb_slice(in, 0, 0, 1, 1), NULL, &middle);
    nb_var rest = nb_recurrent_apply(&l, &b.m, nb_slice(in, 0, 1, NB_END, 1), &middle, &last);
    same(&b, rest, whole + N * UNITS, (STEPS - 1) * N * UNITS);
    nb_read(end.c, whole, 2 * N * UNITS);
    same(&b, last.c, whole, 2 * N * UNITS);
    close_bench(&b);
}
END_TEST

/* ---- attention ------------------------------------------------------------------------------- */

enum { LENGTH = 4, WIDTH = 6, HEADS = 2, EACH = WIDTH / HEADS };

static void project(const bench *b, const char *name, const double *x, int rows, double *y)
{
    double w[MOST], c[MOST];
    char text[40];
    snprintf(text, sizeof text, "%s.w", name), read_param(b, text, w);
    snprintf(text, sizeof text, "%s.b", name), read_param(b, text, c);
    for (int i = 0; i < rows; i++)
        map(x + i * WIDTH, w, c, WIDTH, WIDTH, WIDTH, y + i * WIDTH);
}

/* Of one sequence x [LENGTH WIDTH] over memory [others WIDTH]; causal, or all but one hidden place. */
static void attend(const bench *b, const double *x, const double *memory, int others, bool causal,
                   int hidden, double *y)
{
    double q[MOST], k[MOST], v[MOST], mixed[MOST] = {0};
    project(b, "a.query", x, LENGTH, q);
    project(b, "a.key", memory, others, k);
    project(b, "a.value", memory, others, v);
    for (int head = 0; head < HEADS; head++)
        for (int i = 0; i < LENGTH; i++) {
            double weight[LENGTH + 1], sum = 0;
            for (int j = 0; j < others; j++) {
                double score = 0;
                for (int c = head * EACH; c < (head + 1) * EACH; c++)
                    score += q[i * WIDTH + c] * k[j * WIDTH + c];
                weight[j] = (causal && j > i) || j == hidden ? 0 : exp(score / sqrt(EACH));
                sum += weight[j];
            }
            for (int j = 0; j < others; j++)
                for (int c = head * EACH; c < (head + 1) * EACH; c++)
                    mixed[i * WIDTH + c] += weight[j] / sum * v[j * WIDTH + c];
        }
    project(b, "a.out", mixed, LENGTH, y);
}

START_TEST(attention)
{
    bench b;
    double x[MOST], memory[MOST], y[MOST];
    const double mask[] = {1, 1, 0, 1, 1};
    const int size = LENGTH * WIDTH, others = LENGTH + 1;
    open_bench(&b, _i);
    nb_attention_layer l = nb_attention_new(b.p, "a", WIDTH, HEADS, NULL, &b.r);
    ready(&b);
    nb_var in = input(&b, NB_SHAPE(2, LENGTH, WIDTH), x);
    nb_var more = input(&b, NB_SHAPE(2, others, WIDTH), memory);
    for (int n = 0; n < 2; n++)
        attend(&b, x + n * size, x + n * size, LENGTH, true, -1, y + n * size);
    same(&b, nb_attention_apply(&l, &b.m, in, NB_NONE, &(nb_attention_options){.causal = true}), y,
         2 * size);
    for (int n = 0; n < 2; n++)
        attend(&b, x + n * size, memory + n * others * WIDTH, others, false, 2, y + n * size);
    const nb_attention_options hide = {.mask = nb_constant_tensor(b.t, NB_SHAPE(5), mask)};
    same(&b, nb_attention_apply(&l, &b.m, in, more, &hide), y, 2 * size);
    close_bench(&b);
}
END_TEST

static void normalise(const bench *b, const char *name, const double *x, int rows, double *y)
{
    double gain[MOST], bias[MOST];
    char text[40];
    snprintf(text, sizeof text, "%s.gain", name), read_param(b, text, gain);
    snprintf(text, sizeof text, "%s.bias", name), read_param(b, text, bias);
    for (int i = 0; i < rows; i++) {
        double mean = 0, variance = 0;
        for (int c = 0; c < WIDTH; c++)
            mean += x[i * WIDTH + c] / WIDTH;
        for (int c = 0; c < WIDTH; c++)
            variance += pow(x[i * WIDTH + c] - mean, 2) / WIDTH;
        for (int c = 0; c < WIDTH; c++)
            y[i * WIDTH + c] =
                (x[i * WIDTH + c] - mean) / sqrt(variance + 1e-5) * gain[c] + bias[c];
    }
}

START_TEST(transformer)
{
    enum { HIDDEN = 5 };
    bench b;
    double x[MOST], y[MOST], normal[MOST], w[MOST], c[MOST], v[MOST], d[MOST], h[HIDDEN], z[WIDTH];
    open_bench(&b, _i);
    nb_transformer_block l = nb_transformer_new(
        b.p, "a", WIDTH, &(nb_transformer_options){.heads = HEADS, .hidden = HIDDEN}, &b.r);
    ready(&b);
    nb_var in = input(&b, NB_SHAPE(1, LENGTH, WIDTH), x);
    normalise(&b, "a.norm_1", x, LENGTH, normal);
    attend(&b, normal, normal, LENGTH, true, -1, y);
    for (int i = 0; i < LENGTH * WIDTH; i++)
        y[i] += x[i];
    normalise(&b, "a.norm_2", y, LENGTH, normal);
    read_param(&b, "a.up.w", w), read_param(&b, "a.up.b", c);
    read_param(&b, "a.down.w", v), read_param(&b, "a.down.b", d);
    for (int i = 0; i < LENGTH; i++) {
        map(normal + i * WIDTH, w, c, WIDTH, HIDDEN, HIDDEN, h);
        for (int k = 0; k < HIDDEN; k++)
            h[k] *= erfc(-h[k] / sqrt(2)) / 2; /* gelu */
        map(h, v, d, HIDDEN, WIDTH, WIDTH, z);
        for (int k = 0; k < WIDTH; k++)
            y[i * WIDTH + k] += z[k];
    }
    same(&b, nb_transformer_apply(&l, &b.m, in, &(nb_attention_options){.causal = true}), y,
         LENGTH * WIDTH);
    close_bench(&b);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("layer_values");
    const TTest *const tests[] = {dense, gru, rnn, lstm, attention, transformer};
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++)
        tcase_add_loop_test(c, tests[k], 0, 2);
    return run_case("layer_values", c);
}
