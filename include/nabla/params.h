/*
 * nabla/params.h: the parameters of a model, which outlive the tape.
 *
 *     nb_params *p = nb_params_new(NULL);
 *     nb_rng r = nb_rng_seed(1);
 *     nb_linear_layer hidden = nb_linear_new(p, "hidden", 2, 16, NULL, &r);     (nabla/layers.h)
 *     nb_linear_layer out = nb_linear_new(p, "out", 16, 1, NULL, &r);
 *     nb_params_print(stdout, p);
 *
 *     nb_mark start = nb_tape_mark(t);                                          a step:
 *     nb_pass m = nb_training_pass(p, t, &r);
 *     nb_var h = nb_linear_apply(&hidden, &m, x, nb_tanh);
 *     nb_backward(nb_squared_error(nb_linear_apply(&out, &m, h, NULL), y, NULL));
 *     …                                       values -= rate * grads
 *     nb_rewind(start);
 *
 * All values lie side by side in one array, their gradients in another and whatever an optimizer
 * remembers in a third, each in the order in which parameters were added and of one element type.
 * So clipping, saving and summing over machines are one call on one pointer. A parameter is known by
 * its index, which never changes; layers keep indices, no pointers, and may be copied.
 *
 * A parameter that is used in several places is one var used several times: its gradients add up.
 *
 * Adding comes first. The first pass, or the first look at gradients or state, seals the list: from then
 * on no array moves and adding is an error. Errors stick, as on a tape: the first one stays, what
 * failed returns -1, and the next pass tells the tape.
 */
#ifndef NABLA_PARAMS_H
#define NABLA_PARAMS_H

#include <nabla/tape.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nb_params nb_params;
typedef int32_t nb_param; /* an index */
#define NB_NO_PARAM (-1)  /* none: a bias that is not wanted, or what an error left */

typedef struct nb_params_options {
    nb_allocator allocator; /* zero: the default one */
    nb_dtype dtype;         /* that of the tapes it will be used on */
} nb_params_options;

/* NULL options mean all defaults. Returns NULL only when there is no memory. */
NB_API nb_params *nb_params_new(const nb_params_options *options);
NB_API void nb_params_free(nb_params *p); /* NULL is fine */

NB_API nb_code nb_params_status(const nb_params *p);
NB_API const char *nb_params_message(const nb_params *p); /* "" when there is none */
NB_API void nb_params_clear(nb_params *p);
/* Puts an error there, unless one stands: for those who write layers. Returns code. */
NB_API nb_code nb_params_refuse(nb_params *p, nb_code code, const char *format, ...)
    NBI_FORMAT(3, 4);

/* ---- initial values -------------------------------------------------------------------------- */

/* rule, name, what it draws, with the meaning of a and b; 0 is the default that is named. n and m are
 * fan-in and fan-out, the numbers of terms in one output and of outputs that one input reaches. */
#define NB_INITS(X)                                                                        \
    X(NB_INIT_DEFAULT, "default", "the layer's own choice; zeros where there is none")     \
    X(NB_INIT_ZEROS, "zeros", "0")                                                         \
    X(NB_INIT_CONSTANT, "constant", "a")                                                   \
    X(NB_INIT_NORMAL, "normal", "normal, mean a, deviation b (0.01)")                      \
    X(NB_INIT_TRUNCATED, "truncated normal",                                               \
      "the same drawn again beyond 2 b from the mean, so that its deviation is 0.880 b")   \
    X(NB_INIT_UNIFORM, "uniform", "uniform in [a, b); both 0: within 1 / sqrt(n) of 0")    \
    X(NB_INIT_LECUN_NORMAL, "lecun normal", "normal, deviation 1 / sqrt(n)")               \
    X(NB_INIT_LECUN_UNIFORM, "lecun uniform", "uniform, of that deviation")                \
    X(NB_INIT_GLOROT_NORMAL, "glorot normal", "normal, deviation a (1) sqrt(2 / (n + m))") \
    X(NB_INIT_GLOROT_UNIFORM, "glorot uniform", "uniform, of that deviation")              \
    X(NB_INIT_HE_NORMAL, "he normal",                                                      \
      "normal, deviation sqrt(2 / (1 + a^2) / n), a the slope"                             \
      " of a leaky relu (0)")                                                              \
    X(NB_INIT_HE_UNIFORM, "he uniform", "uniform, of that deviation")                      \
    X(NB_INIT_ORTHOGONAL, "orthogonal",                                                    \
      "a (1) times a random matrix with orthonormal columns, or rows if these are fewer")  \
    X(NB_INIT_IDENTITY, "identity", "a (1) on the diagonal, 0 elsewhere")

#define NBI_INIT(rule, name, text) rule,
typedef enum nb_init_rule { NB_INITS(NBI_INIT) NB_INIT_COUNT } nb_init_rule;
#undef NBI_INIT

/* The names after other people. */
#define NB_INIT_XAVIER_NORMAL  NB_INIT_GLOROT_NORMAL
#define NB_INIT_XAVIER_UNIFORM NB_INIT_GLOROT_UNIFORM
#define NB_INIT_FAN_IN_NORMAL  NB_INIT_LECUN_NORMAL

/* {.rule = NB_INIT_HE_NORMAL}, {NB_INIT_NORMAL, 0, 1}. The last two rules see an array of more than
 * two axes as a matrix of its first axis by the rest. */
typedef struct nb_init {
    nb_init_rule rule;
    double a, b;
} nb_init;

NB_API const char *nb_init_name(nb_init_rule rule); /* never NULL */

typedef struct nb_fans {
    double in, out;
} nb_fans;

/* Of the weights of x w: [n m] has fans n and m. A vector [n] has n and n, a number 1 and 1; more axes
 * [m n k …] are a convolution's, with n k … and m k …. */
NB_API nb_fans nb_fans_of(nb_shape w);
/* Of a convolution's weights [co ci/groups k …]: ci/groups k … terms make an output, and an input
 * reaches co/groups k …. transposed: [ci co/groups k …], the other way round. */
NB_API nb_fans nb_fans_conv(nb_shape w, int64_t groups, bool transposed);

/* ---- adding ---------------------------------------------------------------------------------- */

typedef struct nb_param_options {
    nb_init init;
    nb_fans fans; /* zero: nb_fans_of the shape of a part */
    int64_t
        parts; /* the last axis is so many equal parts side by side, each drawn by itself, as the
                    * gates of an LSTM are; 0: 1 */
    bool frozen;
} nb_param_options;

/* Adds a parameter. The name is copied and must be new; dimensions must be positive. NULL options are
 * zeros. r may be NULL where nothing is drawn. */
NB_API nb_param nb_params_add(nb_params *p, const char *name, nb_shape shape,
                              const nb_param_options *options, nb_rng *r);
/* Draws its values again, by a rule of your choice. */
NB_API nb_code nb_params_draw(nb_params *p, nb_param i, nb_init init, nb_rng *r);

/* Parameters that are added from now on belong to this group; the first group is "". A name that
 * exists goes back to its group. Returns the group's index, or -1 after an error. */
NB_API int32_t nb_params_group(nb_params *p, const char *name);

/* A frozen parameter is a constant for the passes that follow, and its gradient reads 0. On a tape on
 * which the parameters are recorded already this counts after the next rewind. */
NB_API nb_code nb_params_freeze(nb_params *p, nb_param i, bool frozen);
NB_API nb_code nb_params_freeze_group(nb_params *p, const char *name, bool frozen);

/* ---- looking --------------------------------------------------------------------------------- */

typedef struct nb_param_info {
    const char *name, *group;
    int32_t group_index;
    nb_shape shape;
    int64_t size, offset; /* elements; where it begins in the arrays */
    bool frozen;
} nb_param_info;

NB_API int32_t nb_params_count(const nb_params *p);
NB_API int64_t nb_params_size(const nb_params *p); /* elements of them all */
NB_API nb_dtype nb_params_dtype(const nb_params *p);
/* Of no parameter, if i is none: names "", rank -1. */
NB_API nb_param_info nb_params_info(const nb_params *p, nb_param i);
NB_API nb_param nb_params_find(const nb_params *p, const char *name); /* NB_NO_PARAM if none */

/* The arrays, of nb_params_size elements. Values may be asked for at any time, but move while
 * parameters are added; the others seal. NULL if there is no memory. */
NB_API void *nb_params_values(nb_params *p);
NB_API void *nb_params_grads(nb_params *p);
/* The first of `arrays` arrays one behind another, for an optimizer; zeros when they are made, which is
 * when their number changes. */
NB_API void *nb_params_state(nb_params *p, size_t arrays);

/* One parameter's elements as doubles; n must be its size. */
NB_API nb_code nb_params_read(const nb_params *p, nb_param i, double *out, int64_t n);
NB_API nb_code nb_params_read_grad(const nb_params *p, nb_param i, double *out, int64_t n);
NB_API nb_code nb_params_write(nb_params *p, nb_param i, const double *in, int64_t n);

/* A table of names, groups, shapes and sizes, with the sum below. */
NB_API nb_code nb_params_print(FILE *to, const nb_params *p);

/* Scales down what is longer than `limit`: the weights of each unit, which are those at one place of
 * `axis`, as one vector. That is axis 1 of a linear layer's [in out], axis 0 of a convolution's. */
NB_API nb_code nb_params_max_norm(nb_params *p, nb_param i, int axis, double limit);

/* ---- statistics ------------------------------------------------------------------------------ */

/* Numbers that belong to a model and are saved with it, but are not learned: the running means of a
 * batch norm. They are doubles, in one array of their own, each a named vector. */
NB_API int32_t nb_params_add_statistic(nb_params *p, const char *name, int64_t n, double value);
NB_API int32_t nb_params_statistic_count(const nb_params *p);
NB_API int64_t nb_params_statistic_size(const nb_params *p); /* elements of them all */
NB_API nb_param_info nb_params_statistic_info(const nb_params *p, int32_t i);
NB_API double *nb_params_statistics(nb_params *p); /* as nb_params_values */

/* ---- passes ---------------------------------------------------------------------------------- */

/* One walk through the model: its parameters as vars of a tape, and how layers are to behave. */
typedef struct nb_pass {
    nb_tape *tape;
    const nb_params *params;
    const nb_var *var; /* [count], one for each parameter */
    int32_t count;     /* 0 after an error, which is on the tape */
    double *statistics;
    bool
        training; /* dropout drops; batch norm takes the batch's statistics, and moves the running ones */
    bool sampling; /* dropout drops though this is no training: Monte-Carlo dropout */
    bool hold;     /* running statistics stay as they are */
    nb_rng *rng;   /* for dropout; NULL is an error only where something drops */
} nb_pass;

/* With gradients, which every backward sweep leaves in nb_params_grads. Where the tape still holds the
 * parameters of such a pass, the new one has the same vars. It is over when the tape is rewound, or
 * when p is given to another training pass on another tape. */
NB_API nb_pass nb_training_pass(nb_params *p, nb_tape *t, nb_rng *r);
/* All parameters are constants; no layer is in training. */
NB_API nb_pass nb_evaluation_pass(nb_params *p, nb_tape *t);

/* With arrays of the caller's, so that several threads, each with a tape, can share the values of
 * sealed parameters. */
typedef struct nb_pass_spec {
    nb_var *var;        /* [nb_params_count], written */
    void *grads;        /* [nb_params_size], written by every sweep; NULL: constants */
    double *statistics; /* [nb_params_statistic_size]; NULL: the parameters' own, on hold */
    bool training;
    nb_rng *rng;
} nb_pass_spec;

NB_API nb_pass nb_pass_with(const nb_params *p, nb_tape *t, const nb_pass_spec *spec);

/* The var of a parameter; NB_NONE for NB_NO_PARAM. A pass that is over is an error. */
NB_API nb_var nb_pass_var(const nb_pass *m, nb_param i);

#ifdef __cplusplus
}
#endif
#endif
