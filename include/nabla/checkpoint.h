/*
 * nabla/checkpoint.h: gradients of long computations in little memory.
 *
 * The tape of a computation grows with its length. A segment is a function of vars whose interior is
 * not kept: its outputs are recorded, and when the sweep arrives it calls the function again, sweeps
 * what that records, and forgets it. A loop does this for a state that goes through many steps, with
 * memory for few states, and recomputes as few steps as the theory allows.
 *
 *     static nb_code layer(void *context, const nb_var *in, nb_var *out)
 *     {
 *         out[0] = nb_tanh(nb_affine(in[0], in[1], in[2]));     ordinary graph code
 *         return NB_OK;
 *     }
 *     nb_var in[] = {x, w, b}, y;
 *     nb_segment(&(nb_segment_spec){.name = "layer", .fn = layer}, 3, in, 1, &y);
 *
 * Gradients are bitwise those of the same code without the segment or loop, in every kind of sweep.
 *
 * The function must be pure: called again, with the same context and values, it must record the same.
 * Outputs that differ on recomputation are an error that names them. What it may not do: sweep or
 * rewind the tape, keep vars that it made for later (they are stale when it has returned), or
 * borrow a gradient inside. It may use vars from outside that are older than the call, whether they
 * are among `in` or reach it through its context; handed over as `in` they are faster.
 *
 * A derivative recorded by nb_diff through a segment or loop records the interior for good: what
 * can be differentiated again must be there, and no memory is saved. The adjoints of second order then
 * go through the interior and through the segment itself in two parts: a hook (nabla/region.h) that is
 * not linear in the adjoint sees the parts and not their sum.
 * For nb_has_grad a segment or loop is one node: what any output depends on counts as a path.
 */
#ifndef NABLA_CHECKPOINT_H
#define NABLA_CHECKPOINT_H

#include <nabla/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Computes out from in. Anything but NB_OK is an error of the call, and of a sweep through it. */
typedef nb_code nb_segment_fn(void *context, const nb_var *in, nb_var *out);

typedef struct nb_segment_spec {
    const char *name; /* for messages and pictures; copied, may be NULL */
    nb_segment_fn *fn;
    void *context;        /* must stay as it is while the outputs live, */
    size_t context_bytes; /* unless this is not 0: then so many bytes of it are copied */
    size_t n_rng;         /* generators that fn draws from: each call sees them as the first did, */
    nb_rng *const *rng;   /* and a sweep leaves them as it found them */
} nb_segment_spec;

/* At least one in[k] is a var, which tells the tape; numbers mix in. An output may be a number, one
 * of the inputs, or any older var, and is then that itself. On an error every out[k] is inert. */
NB_API nb_code nb_segment(const nb_segment_spec *s, size_t n_in, const nb_var *in, size_t n_out,
                          nb_var *out);

/* Step number `step`, from 0: in holds the state and behind it the shared vars, out is the state
 * after the step, each var of the kind and shape that it had before. */
typedef nb_code nb_step_fn(void *context, int64_t step, const nb_var *in, nb_var *out);

typedef struct nb_loop_spec {
    const char *name;
    nb_step_fn *fn;
    void *context; /* as in a segment */
    size_t context_bytes;
    size_t n_rng;
    nb_rng *const *rng;
    int64_t steps;  /* 0 to 2^40; 0 returns the state itself */
    int64_t memory; /* states to keep besides the initial one and a few under way; at least 1 */
} nb_loop_spec;

/* out, which may be the array `state`, becomes the state after all steps. At least one of the state
 * and the shared vars is a var. The interior of one step at a time is recorded. */
NB_API nb_code nb_loop(const nb_loop_spec *s, size_t n_state, const nb_var *state, size_t n_shared,
                       const nb_var *shared, nb_var *out);

/* How often a loop calls its step function from nb_loop to the end of the first sweep: the least
 * number possible with that memory. -1 if it is out of range. */
NB_API int64_t nb_loop_calls(int64_t steps, int64_t memory);

#ifdef __cplusplus
}
#endif
#endif
