/*
 * nabla/step.h: a training step, frozen.
 *
 * A step is recorded once, as any other: parameters lent by nb_borrow with an array for the gradient, data
 * lent by nb_borrow_constant, a loss. Frozen, it is a list of calls over fixed addresses: to run it
 * records nothing, checks no shapes and allocates no memory. Each run computes with what the lent arrays
 * hold at the time, and writes the gradients where a sweep of the tape would have, bit for bit the same:
 *
 *     nb_var w = nb_borrow(t, "w", NB_SHAPE(8, 1), weights, dweights);
 *     nb_var x = nb_borrow_constant(t, NB_SHAPE(32, 8), samples);
 *     nb_var y = nb_borrow_constant(t, NB_SHAPE(32, 1), targets);
 *     nb_var loss = nb_mean(nb_square(nb_sub(nb_matmul(x, w), y)));
 *
 *     nb_frozen *s = nb_freeze_step(&(nb_frozen_recipe){.loss = loss});
 *     while (next_batch(samples, targets) && nb_frozen_run(s) == NB_OK)
 *         update(weights, dweights);                  nb_frozen_loss(s) is the loss
 *     nb_frozen_free(s);
 *
 * A step keeps nothing of the tape, which may be rewound or freed. The arrays lent must outlive it, and
 * so must what custom operations point to in their state.
 *
 * What varies from run to run is what the graph says: lent arrays, the scalars named in the recipe, and
 * the masks of dropout. All else is the number that it was when it was recorded: elements copied to the
 * tape (nb_tensor, nb_uniform), indices, other inputs, numbers read with nb_value, what nb_detach or
 * nb_leaf make of a scalar, a function of many scalars none of which varies; and so is the course of a
 * reverse rule of one's own, which is called once.
 *
 * A step belongs to one thread at a time.
 */
#ifndef NABLA_STEP_H
#define NABLA_STEP_H

#include <nabla/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nb_frozen nb_frozen;

typedef struct nb_frozen_recipe {
    nb_var loss; /* a scalar or a tensor of one element; left out: values only, no gradients */
    size_t n_out;
    const nb_var *out; /* what else is to be read after a run */
    size_t n_in;
    const nb_var *in; /* scalar inputs or constants that nb_frozen_set changes between runs */
    size_t n_rng;
    nb_rng *const *rng; /* the generators that dropout draws from; they must outlive the step */
    nb_pool *pool;      /* threads that help (nabla/pool.h); NULL: none */
    const nb_allocator *allocator; /* NULL: the tape's */
} nb_frozen_recipe;

/* The step that computes the loss, its gradients and the outputs, without what they do not need. Freezing
 * computes the step once, but leaves lent gradients and the generators as they were.
 *
 * It refuses, naming the operation and the node: segments and loops, regions, hooks that call a function,
 * sparse embeddings, batch norm with running statistics, dropout from a generator that the recipe does
 * not name, operations whose state wants destruction, an input that is no scalar leaf. Errors stick to
 * the tape; the result is then NULL, as it is without a recipe or if neither loss nor outputs are vars. */
NB_API nb_frozen *nb_freeze_step(const nb_frozen_recipe *recipe);
NB_API void nb_frozen_free(nb_frozen *s); /* NULL is fine */

/* Computes the step. An operation that refuses its operands (a singular matrix) ends the run with its
 * status and message; gradients are then partly those of the run before. The next run starts afresh. */
NB_API nb_code nb_frozen_run(nb_frozen *s);
NB_API const char *nb_frozen_message(const nb_frozen *s); /* of the last run; "" if it went well */

/* The k-th of the recipe's inputs: its value from the next run on, and its gradient in the last. */
NB_API nb_code nb_frozen_set(nb_frozen *s, size_t k, double value);
NB_API double nb_frozen_grad(const nb_frozen *s, size_t k); /* NaN if there is no such input */

/* As of the last run, or of the freezing. NaN if there is none, or it has several elements. */
NB_API double nb_frozen_loss(const nb_frozen *s);
NB_API double nb_frozen_value(const nb_frozen *s,
                              size_t k); /* of the k-th of the recipe's outputs */
/* Its elements, in the tape's dtype (a scalar is a double). They keep their place until the step is
 * freed, and change with each run. NULL if there is no such output. */
NB_API const void *nb_frozen_data(const nb_frozen *s, size_t k);

typedef struct nb_frozen_info {
    size_t forward, reverse; /* calls in a run */
    size_t bytes;            /* held by the step in all */
    size_t plan,
        unshared; /* of them for interior values and gradients; without sharing it would take */
} nb_frozen_info;
NB_API nb_frozen_info nb_frozen_inspect(const nb_frozen *s);

#ifdef __cplusplus
}
#endif
#endif
