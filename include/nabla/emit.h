/*
 * nabla/emit.h: a program printed as C.
 *
 * What a program computes becomes one self-contained C99 file: no dependency but libm, no memory but
 * the stack, no state. It is for where nabla is not: a microcontroller, a hot loop, another language.
 * A gradient, a Jacobian or a Hessian is printed by deriving the program first:
 *
 *     nb_program *g = nb_program_gradient(p, NULL, NULL);
 *     nb_program_emit(g, &(nb_emit){.name = "loss", .batch = true}, source, header, &why);
 *
 * For a program of inputs x [2] and w, shared, and outputs f, "d x" [2] and "d w", summed, the file has
 *
 *     void loss(const double *x, const double *w, double *f, double *d_x, double *d_w);
 *     void loss_batch(size_t lanes, const double *x, const double *w,
 *                     double *f, double *d_x, double *d_w);
 *
 * The first is one lane: pointers to the elements of each argument, in the program's order, and in
 * outputs that a program would sum, what this lane adds. The second is a dense batch, as a replay with
 * zeroed steps: an argument given lane by lane is [lanes, elements] row by row, sums are formed over all
 * lanes in a fixed order. It works on vectors where the compiler has GCC's vector extensions (gcc 12
 * and clang), as wide as the machine that it compiles for: use -O3 -march=native; elsewhere it is a loop
 * over the first. Outputs must not overlap inputs, nor each other; inputs are read before outputs are
 * written, lane by lane.
 *
 * Names that are no C identifiers have '_' for what does not fit; names that are missing are x0, x1, …
 * and y0, y1, …; one that occurs twice, or means something in C, gets '_' at its end.
 *
 * Both functions return int if the program has guards (nb_guard): 1 if a lane left the branches
 * recorded, in which case its numbers mean nothing; else 0.
 *
 * Numbers agree with a replay's to two units in the last place where both have the same functions: one lane
 * calls libm; in double, vectors on a machine with fused products and sums have the library's own, which
 * the file takes along. What NaN and infinities do is the same. A program frozen `strict` forbids the compiler
 * to fuse products and sums; any other allows it, as replays do, but not always the same ones. Not for
 * -ffast-math.
 */
#ifndef NABLA_EMIT_H
#define NABLA_EMIT_H

#include <nabla/program.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nb_emit {
    const char *name; /* of the function, and what all that the file defines begins with: a C
                         identifier of at most 60 characters; NULL: "program" */
    nb_dtype dtype;   /* of the arguments, and of the arithmetic */
    bool batch;       /* the function over a batch, too */
    bool index; /* it takes, after each input given lane by lane, `const int64_t *x_at`: the row
                   for each lane; NULL: lane by lane */
} nb_emit;

/* Prints the file to `source`, and to `header` one that declares its functions and the elements of each
 * argument (as enum constants <name>_size_<argument>), for C and C++. Either may be NULL; so may `options`,
 * for all zero. Errors: a name that is no identifier; out of memory; a stream that does not take the
 * text (NB_ERR_FILE), of which part may then be written. */
NB_API nb_code nb_program_emit(const nb_program *p, const nb_emit *options, FILE *source,
                               FILE *header, nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
