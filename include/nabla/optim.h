/*
 * nabla/optim.h: optimizers, clipping, averages of weights, and L-BFGS.
 *
 * An update rule is a plain function over vars, of one parameter's element: from its value p, its
 * gradient g and what is remembered of it, to its new value. It is recorded once, frozen into a
 * program and replayed over all parameters in one pass over memory:
 *
 *     nb_optim *o = nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 1e-3}, &why);
 *     for (…) {
 *         …                                              a pass, and nb_backward (nabla/params.h)
 *         nb_optim_set_rate(o, nb_schedule_at(&s, nb_optim_steps(o)), &why);       (nabla/schedule.h)
 *         nb_clip_norm(p, 1, NULL, &why);
 *         if (nb_optim_step(o, &why))
 *             …                                          a gradient is not finite: nothing has changed
 *     }
 *     nb_optim_free(o);
 *
 * Being graph code, a rule can be differentiated through: call rule.update on vars for as many steps as
 * you like, and the gradient by the learning rate is one backward sweep away. A rule of your own is a
 * function of the same type, given to the same call.
 *
 * Functions return NB_OK or a code, whose reason goes to *why, if that is not NULL.
 */
#ifndef NABLA_OPTIM_H
#define NABLA_OPTIM_H

#include <nabla/params.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- rules ----------------------------------------------------------------------------------- */

/* rule, name, what it does to p, with its numbers and their defaults. r is the learning rate; each root
 * is kept as a root, not squared, so that gradients of any size, 1e200 as well, are ordinary ones; and t
 * counts the steps from 1. hyp(a, b) is sqrt(a^2 + b^2), mix(beta, x, y) is beta x + (1 - beta) y, and
 * mixed(beta, x, y) the root of mix(beta, x^2, y^2). */
#define NB_UPDATES(X)                                                                         \
    X(NB_SGD, "sgd", "p - r g")                                                               \
    X(NB_MOMENTUM, "momentum", "v = momentum (0.9) v + g; p - r v")                           \
    X(NB_NESTEROV, "nesterov", "v = momentum (0.9) v + g; p - r (g + momentum v)")            \
    X(NB_ADAGRAD, "adagrad", "s = hyp(s, g); p - r g / (s + eps (1e-10))")                    \
    X(NB_RMSPROP, "rmsprop", "s = mixed(beta (0.99), s, g); p - r g / (s + eps (1e-8))")      \
    X(NB_RMSPROP_NESTEROV, "rmsprop nesterov",                                                \
      "rmsprop's g / (s + eps) in place of g in nesterov: beta 0.99, eps 1e-8, momentum 0.9") \
    X(NB_ADADELTA, "adadelta",                                                                \
      "s = mixed(beta (0.9), s, g); d = g hyp(q, e) / hyp(s, e), e = sqrt(eps (1e-6));"       \
      " q = mixed(beta, q, d); p - r d, r usually 1")                                         \
    X(NB_ADAM, "adam",                                                                        \
      "m = mix(beta1 (0.9), m, g), s = mixed(beta2 (0.999), s, g);"                           \
      " p - r m' / (s' + eps (1e-8)), m' = m / (1 - beta1^t), s' = s / sqrt(1 - beta2^t)")    \
    X(NB_ADAMW, "adamw", "adam, with a decay of 0.01 unless another is given")                \
    X(NB_AMSGRAD, "amsgrad", "adam, with the greatest s so far in place of s")                \
    X(NB_ADAMAX, "adamax", "s = max(beta2 s, |g| + eps) in adam, and p - r m' / s")           \
    X(NB_NADAM, "nadam",                                                                      \
      "a_t = beta1 (1 - 0.96^(t psi (0.004)) / 2), A_t = a_1 ... a_t;"                        \
      " in adam m' = (1 - a_t) / (1 - A_t) g + a_{t+1} / (1 - A_{t+1}) m")                    \
    X(NB_LION, "lion", "p - r sign(mix(beta1 (0.9), m, g)); m = mix(beta2 (0.99), m, g)")

#define NBI_UPDATE(id, name, text) id,
typedef enum nb_update_id { NB_UPDATES(NBI_UPDATE) NB_UPDATE_COUNT } nb_update_id;
#undef NBI_UPDATE

/* What a rule sees beside p, g and its state: the same numbers for all elements. */
typedef struct nb_hyper {
    nb_var rate, step; /* step: the t above */
    const nb_var *own; /* [numbers]; of a fraction f it is 1 - f */
    bool tame;         /* squares of gradients and roots are in range: see roots below */
} nb_hyper;

/* Returns the new p, and puts the new state in place of the old. All vars are scalars of one tape, or
 * tensors of one shape. Only operations with programs will do; branches are nb_where. */
typedef nb_var nb_update_fn(nb_var p, nb_var g, nb_var *state, const nb_hyper *h);

enum { NB_UPDATE_STATES = 4, NB_UPDATE_NUMBERS = 8 };

typedef struct nb_update {
    const char *name;
    nb_update_fn *update;
    int32_t states; /* numbers remembered of each element, 0 at first */
    const char *state[NB_UPDATE_STATES];
    int32_t numbers; /* of its own */
    const char *number_name[NB_UPDATE_NUMBERS];
    double number[NB_UPDATE_NUMBERS];
    /* Bit k is about number k. A fraction lies in [0, 1), and the rule sees 1 minus it, so that a float
     * loses nothing of what sets 0.999 apart from 1. A positive one lies above 0. */
    uint32_t fractions, positives;
    /* States that are roots of means of squares of gradients. A rule with such is recorded twice; one program
     * is for steps in which all these squares are in range, and what is lost below it is nothing beside
     * the positive numbers: there h->tame is set. */
    uint32_t roots;
    double decay; /* the decay where the options give none */
    /* Called before each step: may set numbers that depend on it. NULL: none do. */
    void (*prepare)(int64_t step, double *number);
} nb_update;

/* A copy, to be changed at will; all zeros if there is no such rule. */
NB_API nb_update nb_update_of(nb_update_id id);
NB_API const char *nb_update_name(nb_update_id id); /* never NULL */
/* Sets a number by its name: nb_update_set(&r, "beta1", 0.8, &why). Its range is checked by nb_optim_new. */
NB_API nb_code nb_update_set(nb_update *r, const char *number, double value, nb_reason *why);

/* ---- optimizers ------------------------------------------------------------------------------ */

typedef struct nb_optim nb_optim;

typedef struct nb_optim_options {
    nb_update rule;
    double rate;   /* the learning rate; must be above 0 */
    double decay;  /* decoupled weight decay: p becomes (1 - rate decay) p before the rule's turn;
                    * 0: the rule's own, which is 0 but for adamw */
    double l2;     /* coupled: l2 p is added to the gradient */
    nb_pool *pool; /* threads that help; NULL: none. The bits are the same for any number */
} nb_optim_options;

/* For the parameters, which are sealed, and whose array of states it takes: they have one optimizer at a
 * time, and must outlive it. Memory is the parameters' allocator's. NULL after an error. */
NB_API nb_optim *nb_optim_new(nb_params *p, const nb_optim_options *options, nb_reason *why);
NB_API void nb_optim_free(nb_optim *o); /* NULL is fine */

/* What the parameters of a group have instead of the options above. */
typedef struct nb_optim_group {
    double times; /* their learning rate is so many times the optimizer's; 0: 1 */
    double decay, l2;
} nb_optim_group;
NB_API nb_code nb_optim_set_group(nb_optim *o, const char *group, const nb_optim_group *g,
                                  nb_reason *why);

/* The learning rate from now on: not negative. (It is 0 where some schedules begin or end.) */
NB_API nb_code nb_optim_set_rate(nb_optim *o, double rate, nb_reason *why);
NB_API double nb_optim_rate(const nb_optim *o);

/* A step by the gradients in nb_params_grads. Frozen parameters stay as they are, with their state. A
 * gradient that is not finite: NB_ERR_ANOMALY, the reason names the parameter, and nothing changes. After
 * the first step, or the first since more was frozen or less, no memory is asked for. */
NB_API nb_code nb_optim_step(nb_optim *o, nb_reason *why);

/* All that an optimizer knows besides its options: the number of steps made, and for each state of the
 * rule an array of nb_params_size elements, side by side as the parameters are (nb_params_state). Write
 * the arrays and set the number to go on where another left off, to the bit. */
NB_API int64_t nb_optim_steps(const nb_optim *o);
NB_API nb_code nb_optim_set_steps(nb_optim *o, int64_t steps, nb_reason *why);
NB_API int32_t nb_optim_states(const nb_optim *o);
NB_API const char *nb_optim_name(const nb_optim *o); /* its rule's; never NULL */
/* NULL, with *name "", if there is no such state. name may be NULL. */
NB_API void *nb_optim_state(const nb_optim *o, int32_t k, const char **name);

/* ---- clipping -------------------------------------------------------------------------------- */

/* Gradients of parameters that are not frozen, in place: between backward and step. What is not finite is
 * NB_ERR_ANOMALY, the parameter is named, and nothing changes. */

/* Each element into [-limit, limit]. */
NB_API nb_code nb_clip_value(nb_params *p, double limit, nb_reason *why);
/* All are scaled by one number, so that their length, all together as one vector, is at most limit. What
 * it was goes to *norm, if that is not NULL. Lengths neither overflow nor vanish: the floats
 * {3e38, 3e38} become {.7071, .7071} at limit 1. (A length beyond the largest double reads infinity.) */
NB_API nb_code nb_clip_norm(nb_params *p, double limit, double *norm, nb_reason *why);

/* ---- averages of weights --------------------------------------------------------------------- */

/* A mean over steps of all values, frozen ones too, kept in double whatever the parameters are. */
typedef struct nb_average nb_average;

/* decay in (0, 1): exponential, a = decay a + (1 - decay) p, beginning with the first p told; 0: the
 * plain mean of all p told. Seals p, which must outlive it. NULL after an error. */
NB_API nb_average *nb_average_new(nb_params *p, double decay, nb_reason *why);
NB_API void nb_average_free(nb_average *a); /* NULL is fine */
/* Takes the present values into the mean. */
NB_API nb_code nb_average_tell(nb_average *a, nb_reason *why);
/* Exchanges the parameters' values and their mean: once to evaluate with the mean, once more to go
 * on. In between nothing may be told. An average that was told nothing is NB_ERR_EMPTY. */
NB_API nb_code nb_average_swap(nb_average *a, nb_reason *why);
/* The mean, [nb_params_size], and how many values are in it: to save, and to set. */
NB_API double *nb_average_data(nb_average *a);
NB_API int64_t nb_average_count(const nb_average *a);
NB_API nb_code nb_average_set_count(nb_average *a, int64_t count, nb_reason *why);

/* ---- L-BFGS ---------------------------------------------------------------------------------- */

/* f(x) to *f and its gradient to g, [n]. Anything but NB_OK ends the search. A value or gradient that is
 * not finite makes the line search come back. */
typedef nb_code nb_objective_fn(void *context, const double *x, double *f, double *g);

typedef enum nb_line_search {
    NB_WOLFE,  /* strong Wolfe conditions, by cubic interpolation in a shrinking bracket */
    NB_ARMIJO, /* halving until there is sufficient decrease; pairs without curvature are skipped */
    NB_LINE_SEARCHES
} nb_line_search;

typedef struct nb_lbfgs_options {
    nb_line_search search;
    int32_t history;    /* pairs remembered; 0: 10 */
    int32_t iterations; /* at most; 0: 200 */
    int32_t calls;      /* of the function, at most; 0: 20 times iterations */
    double gradient;    /* it has converged when no element of the gradient is larger; 0: 1e-8 */
    double
        change; /* or when f falls by no more than this times max(|f|, 1), twice in a row; 0: never */
    const nb_allocator *allocator; /* NULL: the default one */
} nb_lbfgs_options;

typedef struct nb_lbfgs_result {
    double f, gradient; /* at the end: the value, and the largest element of the gradient */
    int32_t iterations, calls;
} nb_lbfgs_result;

/* Minimises from x, [n], which becomes the best point found, also after an error. options and result may
 * be NULL. NB_ERR_CONVERGENCE: the iterations or calls are used up, or no step along the way brings f
 * down (which is so at a minimum, too, when the tolerance asks for more than rounding allows).
 * NB_ERR_ANOMALY: f or its gradient is not finite at the start. */
NB_API nb_code nb_lbfgs(int64_t n, double *x, nb_objective_fn *f, void *context,
                        const nb_lbfgs_options *options, nb_lbfgs_result *result, nb_reason *why);

/* The same for parameters that are not frozen. The callback records and sweeps as in a training step on all
 * data: it is to leave the gradients in nb_params_grads, and its loss in *f. */
typedef nb_code nb_loss_fn(void *context, double *f);
NB_API nb_code nb_lbfgs_params(nb_params *p, nb_loss_fn *f, void *context,
                               const nb_lbfgs_options *options, nb_lbfgs_result *result,
                               nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
