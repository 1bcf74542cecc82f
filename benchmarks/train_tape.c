/*
 * The tasks of the training benchmark as ordinary graph code.
 *
 * Parameters are borrowed once, below the mark; each step records the rest anew, sweeps and rewinds.
 */
#include "train.h"

#include <stdlib.h>

enum { MOST_PARAMETERS = 2 * MOST_LAYERS };

typedef struct model {
    nb_tape *t;
    nb_mark start;
    nb_var p[MOST_PARAMETERS];
    int n;
    size_t at; /* elements of the parameters borrowed so far */
} model;

static void parameter(state *s, nb_shape shape)
{
    model *m = s->work;
    nb_var v = nb_borrow(m->t, NULL, shape, s->p + m->at, s->g + m->at);
    m->at += (size_t)nb_size(v);
    m->p[m->n++] = v;
}

static void lend_parameters(state *s)
{
    const task *k = s->task;
    for (int l = 0; l < k->layers; l++) {
        parameter(s, NB_SHAPE(k->size[l], k->size[l + 1]));
        parameter(s, NB_SHAPE(k->size[l + 1]));
    }
    if (k->kind == TASK_LSTM || k->kind == TASK_LSTM_STEPS) {
        parameter(s, NB_SHAPE(FEATURES, 4 * UNITS));
        parameter(s, NB_SHAPE(UNITS, 4 * UNITS));
        parameter(s, NB_SHAPE(4 * UNITS));
    }
    if (k->kind == TASK_CNN) {
        parameter(s, NB_SHAPE(FIRST, 1, 3, 3));
        parameter(s, NB_SHAPE(FIRST));
        parameter(s, NB_SHAPE(SECOND, FIRST, 3, 3));
        parameter(s, NB_SHAPE(SECOND));
        parameter(s, NB_SHAPE(SECOND * LEFT * LEFT, CLASSES));
        parameter(s, NB_SHAPE(CLASSES));
    }
}

bool tape_open(state *s)
{
    model *m = calloc(1, sizeof *m);
    s->work = m;
    if (!m || !(m->t = nb_tape_new(&(nb_options){.dtype = NB_F32})))
        return false;
    lend_parameters(s);
    m->start = nb_tape_mark(m->t);
    return nb_status(m->t) == NB_OK;
}

void tape_close(state *s)
{
    model *m = s->work;
    if (m)
        nb_tape_free(m->t);
    free(m);
}

double tape_megabytes(const state *s)
{
    const model *m = s->work;
    return (double)nb_tape_bytes(m->t) / 1e6;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* z [batch classes], or [batch 1] for the logistic loss: one score, labels of 1 and -1 */
static nb_var loss_of(state *s, nb_var z)
{
    nb_tape *t = z.tape;
    nb_var y =
        s->task->loss == LOSS_SOFTMAX ? NB_NONE : nb_borrow_constant(t, nb_shape_of(z), s->target);
    switch (s->task->loss) {
    case LOSS_LOGISTIC: return nb_mean(nb_softplus(nb_neg(nb_mul(y, z))));
    case LOSS_SQUARED: return nb_mean(nb_square(nb_sub(z, y)));
    default: {
        nb_var right = nb_gather(nb_log_softmax(z, 1), 1, NB_SHAPE(s->task->batch, 1), s->label);
        return nb_neg(nb_mean(right));
    }
    }
}

static nb_var mlp(state *s, const model *m)
{
    const task *k = s->task;
    nb_var a = nb_borrow_constant(m->t, NB_SHAPE(k->batch, k->size[0]), s->x);
    for (int l = 0; l < k->layers; l++) {
        nb_var (*f)(nb_var) = l + 1 == k->layers ? NULL : k->relu ? nb_relu : nb_tanh;
        a = nb_dense(a, m->p[2 * l], m->p[2 * l + 1], f);
    }
    return a;
}

static nb_var lstm(state *s, const model *m)
{
    nb_var x = nb_borrow_constant(m->t, NB_SHAPE(STEPS, s->task->batch, FEATURES), s->x);
    return nb_lstm(x, m->p[0], m->p[1], m->p[2], NB_NONE, NB_NONE);
}

/* The same from single operations: c = f c + i g, h = o tanh c. */
static nb_var lstm_by_steps(state *s, const model *m)
{
    const int64_t n = s->task->batch;
    nb_var x = nb_borrow_constant(m->t, NB_SHAPE(STEPS, n, FEATURES), s->x);
    nb_var xw = nb_affine(x, m->p[0], m->p[2]), h = NB_NONE, c = NB_NONE, all[STEPS];
    for (int k = 0; k < STEPS; k++) {
        nb_var z = nb_reshape(nb_slice(xw, 0, k, k + 1, 1), NB_SHAPE(n, 4 * UNITS)), part[4];
        if (k)
            z = nb_add(nb_matmul(h, m->p[1]), z);
        nb_split(z, 4, 1, part);
        nb_var i = nb_sigmoid(part[0]), f = nb_sigmoid(part[1]), g = nb_tanh(part[2]);
        c = k ? nb_add(nb_mul(f, c), nb_mul(i, g)) : nb_mul(i, g);
        h = nb_mul(nb_sigmoid(part[3]), nb_tanh(c));
        all[k] = h;
    }
    return nb_stack(STEPS, all, 0);
}

static nb_var cnn(state *s, const model *m)
{
    const nb_conv_options around = {.padding = {1, 1}};
    const int64_t n = s->task->batch;
    nb_var x = nb_borrow_constant(m->t, NB_SHAPE(n, 1, SIDE, SIDE), s->x);
    nb_var a = nb_max_pool2d(nb_relu(nb_conv2d(x, m->p[0], m->p[1], &around)), 2, 2, NULL);
    nb_var b = nb_max_pool2d(nb_relu(nb_conv2d(a, m->p[2], m->p[3], &around)), 2, 2, NULL);
    return nb_affine(nb_reshape(b, NB_SHAPE(n, -1)), m->p[4], m->p[5]);
}

double tape_gradient(state *s)
{
    model *m = s->work;
    const task_kind kind = s->task->kind;
    nb_var z = kind == TASK_LSTM         ? lstm(s, m)
               : kind == TASK_LSTM_STEPS ? lstm_by_steps(s, m)
               : kind == TASK_CNN        ? cnn(s, m)
                                         : mlp(s, m);
    nb_var loss = loss_of(s, z);
    const double value = nb_value(loss);
    nb_backward(loss);
    nb_rewind(m->start);
    return value;
}
