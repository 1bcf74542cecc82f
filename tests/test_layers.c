/*
 * Every layer of a table: the gradients of its input and of all its parameters against central
 * differences of the layer itself, and floats against doubles. Then what training and evaluation
 * change, shared layers, Monte-Carlo dropout, and what is refused.
 */
#include "counting.h"
#include "error_is.h"

enum { MOST = 4000 };

typedef union any_layer {
    nb_linear_layer linear;
    nb_bilinear_layer bilinear;
    nb_embedding_layer embedding;
    nb_maxout_layer maxout;
    nb_mlp mlp;
    nb_autoencoder autoencoder;
    nb_batch_norm_layer batch_norm;
    nb_norm_layer norm;
    nb_conv_layer conv;
    nb_conv_block block;
    nb_recurrent_layer recurrent;
    nb_attention_layer attention;
    nb_transformer_block transformer;
} any_layer;

/* ---- the table ------------------------------------------------------------------------------- */

#define MAKE(name, ...) \
    static void make_##name(nb_params *p, any_layer *l, nb_rng *r) { __VA_ARGS__; }
#define APPLY(name, ...)                                                       \
    static nb_var apply_##name(const any_layer *l, const nb_pass *m, nb_var x) \
    {                                                                          \
        return __VA_ARGS__;                                                    \
    }

MAKE(linear, l->linear = nb_linear_new(p, "l", 3, 4, NULL, r))
APPLY(linear, nb_linear_apply(&l->linear, m, x, nb_tanh))
MAKE(no_bias, l->linear = nb_linear_new(p, "l", 3, 4, &(nb_layer_options){.no_bias = true}, r))
APPLY(no_bias, nb_linear_apply(&l->linear, m, x, NULL))
MAKE(drop_connect, l->linear = nb_linear_new(p, "l", 3, 4, NULL, r))
APPLY(drop_connect, nb_drop_connect_apply(&l->linear, m, x, nb_sigmoid, 0.4))
MAKE(bilinear, l->bilinear = nb_bilinear_new(p, "l", 3, 3, 2, NULL, r))
APPLY(bilinear, nb_bilinear_apply(&l->bilinear, m, x, nb_sin(x)))
MAKE(embedding, l->embedding = nb_embedding_new(p, "l", 5, 3, NULL, r))
APPLY(embedding,
      nb_mul(x, nb_embedding_apply(&l->embedding, m, NB_SHAPE(4), (const int64_t[]){1, 0, 4, 1})))
MAKE(maxout, l->maxout = nb_maxout_new(p, "l", 3, 2, 3, NULL, r))
APPLY(maxout, nb_maxout_apply(&l->maxout, m, x))
MAKE(mlp, l->mlp = nb_mlp_new(p, "l", 4, (int64_t[]){3, 5, 4, 2},
                              &(nb_mlp_options){.f = nb_gelu, .last = nb_tanh, .dropout = 0.3}, r))
APPLY(mlp, nb_mlp_apply(&l->mlp, m, x))
MAKE(autoencoder,
     l->autoencoder = nb_autoencoder_new(p, "l", 3, (int64_t[]){3, 4, 2}, NULL, nb_tanh, r))
APPLY(autoencoder,
      nb_autoencoder_decode(&l->autoencoder, m, nb_autoencoder_encode(&l->autoencoder, m, x)))
MAKE(batch_norm, (void)r; l->batch_norm = nb_batch_norm_new(p, "l", 3))
APPLY(batch_norm, nb_batch_norm_apply(&l->batch_norm, m, x))
MAKE(layer_norm, (void)r; l->norm = nb_layer_norm_new(p, "l", NB_SHAPE(3)))
MAKE(rms_norm, (void)r; l->norm = nb_rms_norm_new(p, "l", NB_SHAPE(4, 3)))
APPLY(norm, nb_norm_apply(&l->norm, m, x))
MAKE(nothing, (void)p; (void)l; (void)r)
APPLY(dropout, ((void)l, nb_dropout_apply(m, x, 0.3)))
APPLY(residual, ((void)l, (void)m, nb_residual(x, nb_square(x))))
MAKE(conv1, l->conv = nb_conv_new(p, "l", 1, 4, 6, (int64_t[]){3},
                                  &(nb_conv_options){.groups = 2, .padding = {1}}, NULL, r))
APPLY(conv, nb_conv_apply(&l->conv, m, x))
MAKE(conv2, l->conv = nb_conv_new(p, "l", 2, 2, 3, (int64_t[]){2, 3}, NULL, NULL, r))
MAKE(block, l->block = nb_conv_block_new(p, "l", 2, 2, 3, (int64_t[]){3, 3},
                                         &(nb_conv_block_options){.conv = {.padding = {1, 1}},
                                                                  .batch_norm = true,
                                                                  .f = nb_gelu,
                                                                  .pooling = NB_POOL_MAX},
                                         r))
APPLY(block, nb_conv_block_apply(&l->block, m, x))
MAKE(block1, l->block = nb_conv_block_new(p, "l", 1, 4, 3, (int64_t[]){2},
                                          &(nb_conv_block_options){.f = nb_tanh,
                                                                   .pooling = NB_POOL_AVERAGE},
                                          r))
MAKE(rnn, l->recurrent = nb_recurrent_new(p, "l", NB_CELL_RNN, 3, 2, NULL, r))
MAKE(lstm, l->recurrent = nb_recurrent_new(p, "l", NB_CELL_LSTM, 3, 2,
                                           &(nb_recurrent_options){.layers = 2}, r))
MAKE(gru, l->recurrent = nb_recurrent_new(p, "l", NB_CELL_GRU, 3, 2,
                                          &(nb_recurrent_options){
                                              .layers = 2, .bidirectional = true, .dropout = 0.3},
                                          r))

/* Results and last states count. */
static nb_var apply_recurrent(const any_layer *l, const nb_pass *m, nb_var x)
{
    nb_recurrent_state end;
    nb_var y = nb_recurrent_apply(&l->recurrent, m, x, NULL, &end);
    nb_var h = nb_sum(nb_square(end.h));
    return nb_add(y, l->recurrent.cell == NB_CELL_LSTM ? nb_add(h, nb_sum(end.c)) : h);
}

MAKE(attention, l->attention = nb_attention_new(p, "l", 4, 2, NULL, r))
APPLY(attention, nb_attention_apply(&l->attention, m, x, nb_slice(nb_sin(x), 1, 0, 2, 1), NULL))
MAKE(transformer,
     l->transformer = nb_transformer_new(
         p, "l", 4, &(nb_transformer_options){.heads = 2, .hidden = 5, .dropout = 0.2}, r))
APPLY(transformer,
      nb_transformer_apply(&l->transformer, m, x, &(nb_attention_options){.causal = true}))
MAKE(transformer_rms,
     l->transformer = nb_transformer_new(p, "l", 4, &(nb_transformer_options){.rms = true}, r))

typedef struct example {
    const char *name;
    void (*make)(nb_params *p, any_layer *l, nb_rng *r);
    nb_var (*apply)(const any_layer *l, const nb_pass *m, nb_var x);
    nb_shape x, y;
    int parameters;
} example;

static const example examples[] = {
    {"linear", make_linear, apply_linear, {3, {2, 2, 3}}, {3, {2, 2, 4}}, 2},
    {"no bias", make_no_bias, apply_no_bias, {2, {2, 3}}, {2, {2, 4}}, 1},
    {"drop connect", make_drop_connect, apply_drop_connect, {2, {5, 3}}, {2, {5, 4}}, 2},
    {"bilinear", make_bilinear, apply_bilinear, {2, {4, 3}}, {2, {4, 2}}, 2},
    {"embedding", make_embedding, apply_embedding, {2, {4, 3}}, {2, {4, 3}}, 1},
    {"maxout", make_maxout, apply_maxout, {2, {5, 3}}, {2, {5, 2}}, 2},
    {"mlp", make_mlp, apply_mlp, {2, {4, 3}}, {2, {4, 2}}, 6},
    {"autoencoder", make_autoencoder, apply_autoencoder, {2, {4, 3}}, {2, {4, 3}}, 6},
    {"batch norm", make_batch_norm, apply_batch_norm, {3, {4, 3, 2}}, {3, {4, 3, 2}}, 2},
    {"layer norm", make_layer_norm, apply_norm, {3, {2, 4, 3}}, {3, {2, 4, 3}}, 2},
    {"rms norm", make_rms_norm, apply_norm, {3, {2, 4, 3}}, {3, {2, 4, 3}}, 1},
    {"dropout", make_nothing, apply_dropout, {2, {7, 3}}, {2, {7, 3}}, 0},
    {"residual", make_nothing, apply_residual, {2, {2, 3}}, {2, {2, 3}}, 0},
    {"conv 1", make_conv1, apply_conv, {3, {2, 4, 7}}, {3, {2, 6, 7}}, 2},
    {"conv 2", make_conv2, apply_conv, {4, {2, 2, 4, 5}}, {4, {2, 3, 3, 3}}, 2},
    {"block", make_block, apply_block, {4, {2, 2, 4, 6}}, {4, {2, 3, 2, 3}}, 3},
    {"block 1", make_block1, apply_block, {3, {2, 4, 7}}, {3, {2, 3, 3}}, 2},
    {"rnn", make_rnn, apply_recurrent, {3, {4, 2, 3}}, {3, {4, 2, 2}}, 3},
    {"lstm", make_lstm, apply_recurrent, {3, {4, 2, 3}}, {3, {4, 2, 2}}, 6},
    {"gru", make_gru, apply_recurrent, {3, {3, 2, 3}}, {3, {3, 2, 4}}, 16},
    {"attention", make_attention, apply_attention, {3, {2, 3, 4}}, {3, {2, 3, 4}}, 8},
    {"transformer", make_transformer, apply_transformer, {3, {2, 3, 4}}, {3, {2, 3, 4}}, 16},
    {"rms transformer",
     make_transformer_rms,
     apply_transformer,
     {3, {2, 3, 4}},
     {3, {2, 3, 4}},
     14},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

/* ---- gradients ------------------------------------------------------------------------------- */

typedef struct model {
    const example *e;
    any_layer layer;
    nb_params *p;
    nb_tape *t;
    double x[MOST];
    int64_t n; /* elements of x */
} model;

/* Biases and gains get values too: no gradient is to be right by symmetry. */
static void start(model *m, const example *e, nb_dtype d)
{
    nb_rng r = nb_rng_seed(3);
    m->e = e;
    m->p = nb_params_new(&(nb_params_options){.dtype = d});
    m->t = nb_tape_new(&(nb_options){.dtype = d});
    m->n = nb_shape_size(e->x);
    e->make(m->p, &m->layer, &r);
    ck_assert_msg(nb_params_status(m->p) == NB_OK, "%s: %s", e->name, nb_params_message(m->p));
    r = nb_rng_seed(4);
    for (int64_t i = 0; i < nb_params_size(m->p); i++) {
        const double v = (double)(float)(1.2 * nb_rng_uniform(&r) - 0.5);
        if (d == NB_F64)
            ((double *)nb_params_values(m->p))[i] = v;
        else
            ((float *)nb_params_values(m->p))[i] = (float)v;
    }
    for (int64_t i = 0; i < m->n; i++)
        m->x[i] = (double)(float)(2 * nb_rng_uniform(&r) - 1);
}

static void end(model *m)
{
    nb_tape_free(m->t);
    nb_params_free(m->p);
}

/* A number that every element of the result has its own part in; *x the input. */
static nb_var record(model *m, nb_var *x)
{
    static double c[MOST];
    static nb_rng r; /* of the pass, the same in each */
    r = nb_rng_seed(9);
    nb_pass pass = nb_training_pass(m->p, m->t, &r);
    *x = nb_tensor(m->t, "x", m->e->x, m->x);
    nb_var y = m->e->apply(&m->layer, &pass, *x);
    ck_assert_msg(nb_ok(y), "%s: %s", m->e->name, nb_message(m->t));
    ck_assert_msg(nb_shape_equal(nb_shape_of(y), m->e->y), "%s: shape", m->e->name);
    for (int64_t i = 0; i < nb_size(y); i++)
        c[i] = (double)(i % 5) - 1.75;
    return nb_sum(nb_mul(nb_constant_tensor(m->t, m->e->y, c), nb_add(y, nb_square(y))));
}

static double value(model *m)
{
    nb_var x;
    const nb_mark mark = nb_tape_mark(m->t);
    const double f = nb_value(record(m, &x));
    nb_rewind(mark);
    return f;
}

/* Central differences, extrapolated once: the error is of fourth order. */
static double slope(model *m, double *at)
{
    const double h = 1e-4, x = *at;
    double d[2];
    for (int k = 0; k < 2; k++) {
        const double step = k ? h / 2 : h;
        *at = x + step;
        const double up = value(m);
        *at = x - step;
        d[k] = (up - value(m)) / (2 * step);
    }
    *at = x;
    return (4 * d[1] - d[0]) / 3;
}

START_TEST(gradients)
{
    static model m;
    static double g[MOST];
    start(&m, &examples[_i], NB_F64);
    ck_assert_int_eq(nb_params_count(m.p), m.e->parameters);
    nb_var x;
    const nb_mark mark = nb_tape_mark(m.t);
    ck_assert_int_eq(nb_backward(record(&m, &x)), NB_OK);
    nb_read_grad(x, g, m.n);
    const int64_t n = nb_params_size(m.p);
    if (n)
        memcpy(g + m.n, nb_params_grads(m.p), (size_t)n * sizeof *g);
    nb_rewind(mark);
    for (int64_t i = 0; i < m.n + n; i++) {
        double *at = i < m.n ? m.x + i : (double *)nb_params_values(m.p) + (i - m.n);
        const double due = slope(&m, at);
        ck_assert_msg(fabs(g[i] - due) < 1e-7 * (1 + fabs(due)),
                      "%s: %s element %lld: %.12g, not %.12g", m.e->name,
                      i < m.n ? "input" : "parameter", (long long)(i < m.n ? i : i - m.n), g[i],
                      due);
    }
    end(&m);
}
END_TEST

START_TEST(floats_agree)
{
    static model m, s;
    start(&m, &examples[_i], NB_F64);
    start(&s, &examples[_i], NB_F32);
    nb_var x;
    const double f = nb_value(record(&m, &x)), f32 = nb_value(record(&s, &x));
    ck_assert_msg(fabs(f - f32) < 1e-4 * (1 + fabs(f)), "%s: %g, %g", m.e->name, f, f32);
    nb_backward(record(&m, &x));
    nb_backward(record(&s, &x));
    const double *g = nb_params_grads(m.p);
    const float *g32 = nb_params_grads(s.p);
    for (int64_t i = 0; i < nb_params_size(m.p); i++)
        ck_assert_msg(fabs(g[i] - (double)g32[i]) < 5e-4 * (1 + fabs(g[i])),
                      "%s: gradient %lld: %g, %g", m.e->name, (long long)i, g[i], (double)g32[i]);
    end(&m), end(&s);
}
END_TEST

/* ---- training and afterwards ----------------------------------------------------------------- */

START_TEST(batch_norm_runs)
{
    const double x[] = {1, 10, 3, 30, 5, 50};
    double y[6];
    nb_params *p = nb_params_new(NULL);
    nb_batch_norm_layer l = nb_batch_norm_new(p, "n", 2);
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_constant_tensor(t, NB_SHAPE(3, 2), x);
    nb_pass m = nb_training_pass(p, t, NULL);
    nb_batch_norm_apply(&l, &m, v);
    const double *s = nb_params_statistics(p);
    const double want[] = {0.3, 3, 0.9 + 0.1 * 4, 0.9 + 0.1 * 400}; /* unbiased variances */
    for (int k = 0; k < 4; k++)
        ck_assert(fabs(s[k] - want[k]) < 1e-13 * (1 + want[k]));
    ck_assert_str_eq(nb_params_statistic_info(p, 1).name, "n.variance");
    ck_assert(nb_params_statistic_count(p) == 2 && nb_params_statistic_size(p) == 4);
    m.hold = true;
    nb_batch_norm_apply(&l, &m, v);
    m = nb_evaluation_pass(p, t);
    nb_read(nb_batch_norm_apply(&l, &m, v), y, 6);
    for (int k = 0; k < 6; k++)
        ck_assert(fabs(y[k] - (x[k] - want[k % 2]) / sqrt(want[2 + k % 2] + 1e-5)) < 1e-13);
    m = nb_training_pass(p, t, NULL);
    refused(t, nb_batch_norm_apply(&l, &m, nb_ones(t, NB_SHAPE(1, 2))), NB_ERR_EMPTY, "batch_norm");
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

static nb_var dropped(void *context, const nb_pass *m, nb_var x)
{
    ++*(int *)context;
    return nb_dropout_apply(m, x, 0.25);
}

START_TEST(dropout_by_pass)
{
    enum { N = 4, PASSES = 4000 };
    double mean[N + 1], spread[N + 1];
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = (nb_dtype)_i});
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)_i});
    nb_var x = nb_full(t, NB_SHAPE(N), 3);
    nb_pass m = nb_evaluation_pass(p, t);
    nb_rng r = nb_rng_seed(2);
    nb_var same = nb_dropout_apply(&m, x, 0.5);
    ck_assert(same.index == x.index); /* nothing is done */
    const size_t count = nb_count(t);
    int calls = 0;
    ck_assert_int_eq(nb_monte_carlo(&m, &r, PASSES, dropped, &calls, x, N, mean, spread), NB_OK);
    ck_assert_int_eq(calls, PASSES);
    ck_assert_uint_eq(nb_count(t), count);
    for (int k = 0; k < N; k++) { /* 4 with probability 3/4: deviation sqrt 3 */
        ck_assert(fabs(mean[k] - 3) < 5 * sqrt(3.0 / PASSES));
        ck_assert(fabs(spread[k] - sqrt(3)) < 0.1);
    }
    ck_assert(nb_set_recording(t, true));
    nb_monte_carlo(&m, &r, 3, dropped, &calls, x, N + 1, mean, spread);
    ck_assert(isnan(mean[0]) && isnan(spread[N]));
    is(t, NB_ERR_SHAPE, "room for 5");
    nb_monte_carlo(&m, &r, 1, dropped, &calls, x, N, mean, spread);
    is(t, NB_ERR_ARGUMENT, "1 passes");
    m = nb_training_pass(p, t, NULL);
    refused(t, nb_dropout_apply(&m, x, 0.5), NB_ERR_ARGUMENT, "no random numbers");
    refused(t, nb_dropout_apply(&m, x, 1.5), NB_ERR_ARGUMENT, "it is 1.5");
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

/* One layer applied twice: y = w (w x), dy/dw by the product rule. */
START_TEST(layers_share)
{
    nb_params *p = nb_params_new(NULL);
    const nb_layer_options o = {.weight = {NB_INIT_CONSTANT, 3, 0}, .no_bias = true};
    nb_linear_layer a = nb_linear_new(p, "a", 1, 1, &o, NULL), b = a;
    nb_tape *t = nb_tape_new(NULL);
    nb_pass m = nb_training_pass(p, t, NULL);
    nb_var x = nb_full(t, NB_SHAPE(1, 1), 5);
    nb_var y = nb_linear_apply(&b, &m, nb_linear_apply(&a, &m, x, NULL), NULL);
    ck_assert_double_eq(nb_value(y), 45);
    nb_backward(y);
    ck_assert_double_eq(*(const double *)nb_params_grads(p), 30);
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

/* Rosenblatt's perceptron learns AND with its binary step, by descent at rate 1 from zeros. */
START_TEST(perceptron_learns)
{
    const double x[] = {0, 0, 0, 1, 1, 0, 1, 1}, target[] = {0, 0, 0, 1};
    nb_params *p = nb_params_new(NULL);
    const nb_layer_options o = {.weight = {.rule = NB_INIT_ZEROS}};
    nb_linear_layer l = nb_linear_new(p, "and", 2, 1, &o, NULL);
    nb_tape *t = nb_tape_new(NULL);
    const nb_mark mark = nb_tape_mark(t);
    double *w = nb_params_values(p), answer[4];
    for (int step = 0; step < 80; step++) {
        nb_pass m = nb_training_pass(p, t, NULL);
        nb_var in = nb_constant_tensor(t, NB_SHAPE(1, 2), x + 2 * (step % 4));
        nb_var score = nb_linear_apply(&l, &m, in, NULL);
        nb_backward(nb_perceptron_loss(score, target[step % 4], NULL));
        for (int k = 0; k < 3; k++)
            w[k] -= ((const double *)nb_params_grads(p))[k];
        nb_rewind(mark);
    }
    nb_pass m = nb_evaluation_pass(p, t);
    nb_var all = nb_constant_tensor(t, NB_SHAPE(4, 2), x);
    nb_read(nb_linear_apply(&l, &m, all, nb_step), answer, 4);
    ck_assert_mem_eq(answer, target, sizeof answer);
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void made(nb_params *p, nb_code code, const char *part)
{
    ck_assert_msg(nb_params_status(p) == code && strstr(nb_params_message(p), part), "%s",
                  nb_params_message(p));
    nb_params_clear(p);
}

START_TEST(what_is_not_made)
{
    nb_params *p = nb_params_new(NULL);
    nb_rng r = nb_rng_seed(1);
    nb_linear_new(p, "l", 0, 4, NULL, &r);
    made(p, NB_ERR_SHAPE, "\"l.w\" has the shape [0 4]");
    nb_linear_new(p, NULL, 2, 4, NULL, &r);
    made(p, NB_ERR_ARGUMENT, "name is missing");
    nb_linear_new(p, "l", 2, 4, NULL, NULL);
    made(p, NB_ERR_ARGUMENT, "\"l.w\": glorot uniform needs a random number generator");
    ck_assert_int_eq(nb_attention_new(p, "a", 6, 4, NULL, &r).query.w, NB_NO_PARAM);
    made(p, NB_ERR_ARGUMENT, "\"a\": a width of 6 has no 4 equal heads");
    nb_conv_new(p, "c", 2, 3, 4, (int64_t[]){2, 2}, &(nb_conv_options){.groups = 2}, NULL, &r);
    made(p, NB_ERR_ARGUMENT, "3 to 4 channels in 2 groups");
    nb_conv_new(p, "c", 3, 3, 4, (int64_t[]){2, 2}, NULL, NULL, &r);
    made(p, NB_ERR_ARGUMENT, "3 axes");
    nb_mlp_new(p, "m", 1, (int64_t[]){2}, NULL, &r);
    made(p, NB_ERR_ARGUMENT, "\"m\": 1 sizes make no layer");
    nb_maxout_new(p, "m", 2, 2, 0, NULL, &r);
    made(p, NB_ERR_ARGUMENT, "0 pieces of 2 units");
    nb_recurrent_new(p, "r", (nb_cell)7, 2, 2, NULL, &r);
    made(p, NB_ERR_ARGUMENT, "cell 7");
    nb_mlp bad = nb_mlp_new(p, "m", 3, (int64_t[]){2, 0, 2}, NULL, &r);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_ones(t, NB_SHAPE(1, 2));
    nb_pass m = nb_training_pass(p, t, &r);
    refused(t, nb_mlp_apply(&bad, &m, x), NB_ERR_SHAPE, "\"m.w0\" has the shape [2 0]");
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

START_TEST(what_does_not_fit)
{
    nb_params *p = nb_params_new(NULL);
    nb_rng r = nb_rng_seed(1);
    nb_linear_layer l = nb_linear_new(p, "hidden", 3, 4, NULL, &r);
    nb_attention_layer a = nb_attention_new(p, "look", 4, 2, NULL, &r);
    nb_recurrent_layer g = nb_recurrent_new(p, "past", NB_CELL_GRU, 3, 2, NULL, &r);
    nb_conv_layer c = nb_conv_new(p, "edges", 1, 3, 2, (int64_t[]){2}, NULL, NULL, &r);
    nb_embedding_layer e = nb_embedding_new(p, "words", 5, 2, NULL, &r);
    nb_tape *t = nb_tape_new(NULL);
    nb_pass m = nb_training_pass(p, t, &r);
    nb_var x = nb_name(nb_ones(t, NB_SHAPE(2, 5)), "x"), s = nb_ones(t, NB_SHAPE(2, 1, 3));
    nb_var y = nb_linear_apply(&l, &m, x, nb_relu);
    ck_assert_msg(strstr(nb_message(t), "[2 5]") != NULL, "%s", nb_message(t));
    ck_assert_ptr_nonnull(strstr(nb_message(t), "[3 4]"));
    refused(t, y, NB_ERR_SHAPE, "\"hidden.w\"");
    y = nb_attention_apply(&a, &m, nb_ones(t, NB_SHAPE(2, 3, 5)), NB_NONE, NULL);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "\"look.query.w\""));
    refused(t, y, NB_ERR_SHAPE, "[2 3 5]");
    refused(t, nb_recurrent_apply(&g, &m, x, NULL, NULL), NB_ERR_SHAPE, "[steps n 3]");
    const nb_recurrent_state first = {.h = nb_ones(t, NB_SHAPE(1, 2, 2))};
    refused(t, nb_recurrent_apply(&g, &m, s, &first, NULL), NB_ERR_SHAPE, "it must be [1 1 2]");
    refused(t, nb_gru(s, x, x, x, x, NB_NONE), NB_ERR_SHAPE, "w_x [in 3u]");
    refused(t, nb_conv_apply(&c, &m, nb_ones(t, NB_SHAPE(1, 2, 5))), NB_ERR_SHAPE, "\"edges.w\"");
    refused(t, nb_embedding_apply(&e, &m, NB_SHAPE(1), (int64_t[]){5}), NB_ERR_INDEX,
            "\"words.table\"");
    refused(t, nb_residual(x, s), NB_ERR_SHAPE, "[2 1 3]");
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

/* The k-th request for memory is refused, for every k: an error or all is well, and nothing leaks. */
START_TEST(memory_runs_out)
{
    nb_params *p = nb_params_new(NULL);
    nb_rng r = nb_rng_seed(1);
    nb_recurrent_layer g = nb_recurrent_new(p, "g", NB_CELL_GRU, 3, 4, NULL, &r);
    for (size_t k = 1;; k++) {
        counting c = {.refuse = k};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 16, .bytes = 64});
        nb_pass m = nb_training_pass(p, t, &r);
        nb_var x = nb_ones(t, NB_SHAPE(200, 2, 3));
        nb_var y = nb_recurrent_apply(&g, &m, x, NULL, NULL);
        nb_var f = nb_cross_entropy(nb_slice(y, 0, 0, 1, 1), 2, (int64_t[]){1, 3}, NULL);
        const double loss = nb_value(f);
        ck_assert(!t || nb_status(t) == NB_OK || (nb_status(t) == NB_ERR_MEMORY && isnan(loss)));
        ck_assert(nb_status(t) != NB_OK || (loss > 0 && nb_backward(f) != NB_ERR_HANDLE));
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
        if (!c.refusals)
            break;
    }
    nb_params_free(p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("layers");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, gradients, 0, EXAMPLES);
    tcase_add_loop_test(c, floats_agree, 0, EXAMPLES);
    tcase_add_test(c, batch_norm_runs);
    tcase_add_loop_test(c, dropout_by_pass, 0, 2);
    tcase_add_test(c, layers_share);
    tcase_add_test(c, perceptron_learns);
    tcase_add_test(c, what_is_not_made);
    tcase_add_test(c, what_does_not_fit);
    tcase_add_test(c, memory_runs_out);
    return run_case("layers", c);
}
