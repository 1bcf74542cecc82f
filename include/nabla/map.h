/*
 * nabla/map.h: programs as operations on tensors.
 *
 * A program (nabla/program.h) is a function of a few scalars. Mapped over tensors it is one fused
 * operation: no memory for what lies between, one pass over the operands, one node on the tape.
 *
 *     nb_var x = nb_input(s, "x", 1), w = nb_input(s, "w", 1), f = nb_tanh(nb_mul(w, x));
 *     nb_program *p = nb_freeze(&(nb_recipe){
 *         .n_in = 2, .in = (nb_argument[]){{"x", 1, &x}, {"w", 1, &w}},
 *         .n_out = 1, .out = &(nb_argument){"f", 1, &f}});
 *
 *     nb_var y = nb_map(p, 2, (nb_var[]){a, b});        a [1000 32], b [32]: y [1000 32]
 *
 * It has derivatives of every order and in both modes: they are programs too, derived when they
 * are first needed and kept with the program. Gradients by operands that were broadcast are summed
 * on the way. nb_scan runs a program as the step of a loop over time.
 *
 * Operands. Argument k of the program takes operand x[k]: a scalar, a number or a tensor, all of one
 * tape, at least one of them a var. The last axis of an operand holds the elements of its argument, if
 * that is a vector (its count is not 1, or it was declared one); its other axes, or all of them, are
 * axes of lanes and broadcast with those of the other operands, as in every elementwise operation.
 * What is shared by which lanes follows from that: the program's own `shared` flags have no say.
 *
 * Results. An output has the axes of the lanes, and one more at the end for the elements if it is a
 * vector. An output declared a sum is summed over all lanes: it has no axes of lanes. Without axes
 * of lanes (all operands scalars, say) an output that is no vector is a scalar node. All is computed
 * in the tape's element type, and rounds as the program does (nb_recipe.strict). The tape's threads
 * help; results are bitwise the same for any number of them.
 *
 * Errors. A lane that would take another branch than one recorded by nb_guard is NB_ERR_GUARD, and
 * the message names the lane. On an error every result is inert.
 *
 * Tapes keep what they need of a program: it may be freed as soon as it is mapped.
 */
#ifndef NABLA_MAP_H
#define NABLA_MAP_H

#include <nabla/program.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The output of a program that has one. n is the number of the program's inputs. */
NB_API nb_var nb_map(const nb_program *p, size_t n, const nb_var *x);

/* Every output, into out[k], one per output of the program. They are computed together, into one
 * vector that out[k] are parts of. */
NB_API nb_code nb_map_all(const nb_program *p, size_t n, const nb_var *x, nb_var *out);

/* ---- loops over time ------------------------------------------------------------------------- */

typedef struct nb_scan_spec {
    const nb_program *step;
    int64_t steps;
    size_t n_state; /* so many inputs come first, and so many outputs: the states before and after a
                     * step, of the same counts */
    size_t n_each;  /* so many inputs come next: what each step gets of its own */
} nb_scan_spec;

/* Runs a program step by step: s(t+1), y(t) = step(s(t), x(t), w), for t = 0, 1, … steps - 1, in one
 * node. Operands, one per input of the program, in its order:
 *
 *     states         s(0)         lanes… (count)
 *     each step's    x(t)         [steps, lanes… (count)]; [steps] alone may stand for all lanes
 *     the rest       w            lanes… (count): the same in all steps
 *
 * where the lanes' axes broadcast as in nb_map. Results, one per output of the program:
 *
 *     states         all s(t)     [steps + 1, lanes… (count)], s(0) included
 *     the rest       all y(t)     [steps, lanes… (count)]; [steps (count)] if declared a sum
 *
 * The last state is nb_slice(out[k], 0, -1, NB_END, 1). States cannot be sums. Lanes are independent,
 * so each runs through all steps while its state is at hand. Derivatives are scans backwards in time,
 * of every order. A gradient by w is summed over time, and over the lanes that share it. */
NB_API nb_code nb_scan(const nb_scan_spec *spec, size_t n, const nb_var *x, nb_var *out);

#ifdef __cplusplus
}
#endif
#endif
