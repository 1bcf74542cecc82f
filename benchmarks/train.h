/*
 * What the parts of the training benchmark share: a task, its parameters and data, and a gradient of
 * it computed in one of three ways (a tape; by hand on the library's products; by hand on a BLAS).
 *
 * All parameters are one array of floats and the gradient another, in the same order, so that an
 * update is one loop. A gradient function leaves the gradient in s->g and returns the loss.
 */
#ifndef NABLA_TRAIN_H
#define NABLA_TRAIN_H

#include <nabla.h>

enum { MOST_LAYERS = 4 };

typedef enum task_kind { TASK_MLP, TASK_LSTM, TASK_LSTM_STEPS, TASK_CNN } task_kind;
typedef enum task_loss { LOSS_LOGISTIC, LOSS_SOFTMAX, LOSS_SQUARED } task_loss;

typedef struct task {
    const char *name;
    task_kind kind;
    task_loss loss;
    bool relu; /* else tanh */
    int layers;
    int64_t size[MOST_LAYERS + 1]; /* of an MLP: inputs, then each layer's outputs */
    int64_t batch;
    const char *sgd_bar, *adam_bar; /* microseconds */
} task;

/* Recurrent: x [50 steps, 16, 64] to h [50, 16, 128]; the loss is on all of h. */
enum { STEPS = 50, UNITS = 128, FEATURES = 64 };
/* Convolutional: x [n 1 28 28], 3x3 to 8 channels of 26x26, 3x3 to 16 of 11x11, each with ReLU and
 * halving maximum pooling, and a linear layer of the 16 5 5 that remain to 10 classes. */
enum { SIDE = 28, FIRST = 8, SECOND = 16, KERNEL = 9, LEFT = 5, CLASSES = 10 };

typedef struct state {
    const task *task;
    size_t parameters, inputs, targets;
    float *p, *g;   /* [parameters] */
    float *m, *v;   /* moments, for Adam */
    double steps;   /* taken by Adam */
    float *x;       /* [inputs] */
    float *target;  /* [targets] */
    int64_t *label; /* [batch] */
    void *work;     /* the gradient function's own */
} state;

typedef double gradient_fn(state *s);

/* Opens s->work; false if there is no memory. */
bool tape_open(state *s);
double tape_gradient(state *s);
double tape_megabytes(const state *s);
void tape_close(state *s);

/* How the hand-written versions multiply: C = op(A) op(B) (+ bias) (+ C), all rows dense. */
typedef void product_fn(int64_t m, int64_t n, int64_t k, const float *a, bool ta, const float *b,
                        bool tb, float *c, bool add, const float *bias);
product_fn product_own;
product_fn product_blas;

bool hand_open(state *s, product_fn *product);
double hand_gradient(state *s);
void hand_close(state *s);

/* Sizes of the parts of a task. */
size_t task_parameters(const task *t);
size_t task_inputs(const task *t);
size_t task_targets(const task *t);

/* Loops compiled for the widest vectors of the machine; static functions only. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NARROW
#endif
#endif
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(NARROW)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif

#endif
