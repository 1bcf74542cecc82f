/*
 * nabla/program.h: record once, replay over a batch.
 *
 * A piece of scalar graph, from named inputs to named outputs, is frozen into a program: immutable,
 * optimised, free of the tape. It is evaluated over many lanes at once, a block of lanes per
 * instruction, so that a gradient costs less than calling the plain C function once per sample:
 *
 *     nb_var x[2] = {nb_input(t, "x0", 1), nb_input(t, "x1", 1)}, w = nb_input(t, "w", 1);
 *     nb_var f = nb_tanh(nb_mul(w, nb_sub(x[0], nb_sin(x[1]))));
 *
 *     nb_program *p = nb_freeze(&(nb_recipe){
 *         .n_in = 2, .in = (nb_argument[]){{.name = "x", .count = 2, .var = x},
 *                                          {.name = "w", .count = 1, .var = &w, .shared = true}},
 *         .n_out = 1, .out = &(nb_argument){.name = "f", .count = 1, .var = &f}});
 *     nb_program *g = nb_program_gradient(p, NULL, NULL);       f, then the gradients by x and w
 *
 *     nb_program_run(g, &(nb_replay){.lanes = n,
 *         .in = (nb_lanes[]){{.data = xs}, {.data = &weight}},                       xs [n 2]
 *         .out = (nb_lanes[]){{.data = fs}, {.data = dx}, {.data = &dw}}}, NULL);    fs [n], dx [n 2],
 *                                                                                    dw: summed over n
 *
 * An argument is a list of scalars under one name: "x" above has two elements. An input is given
 * lane by lane, or is shared: one value for all lanes. An output is written lane by lane, or summed
 * over all lanes (gradients by shared inputs are). Sums have a fixed order: results are bitwise the
 * same for any number of threads.
 *
 * The gradient of a program is a program, and so are its Jacobian and its Hessian: they can be run,
 * differentiated again, printed as C (nabla/emit.h), and used on tapes (nabla/map.h).
 *
 * Programs are immutable: any number of threads may run one at the same time.
 */
#ifndef NABLA_PROGRAM_H
#define NABLA_PROGRAM_H

#include <nabla/tape.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nb_program nb_program;

/* ---- freezing -------------------------------------------------------------------------------- */

typedef struct nb_argument {
    const char *name; /* copied; may be NULL */
    size_t count;
    const nb_var *var; /* count scalars; inputs must be inputs of the tape */
    bool shared;       /* of an input: one value for all lanes */
    bool sum;          /* of an output: summed over all lanes */
    bool vector;       /* on tapes (nb_map) it has an axis of its own, even with one element */
} nb_argument;

typedef struct nb_recipe {
    size_t n_in;
    const nb_argument *in;
    size_t n_out;
    const nb_argument *out;
    /* Each operation rounds as it would on the tape. Otherwise a product and a sum may be fused, and
     * quotients by one divisor be products with its reciprocal: the last digit may differ, and where a divisor
     * is below 1e-308 (1e-38 in float) in magnitude the result may be infinite or NaN though the quotient
     * is not. */
    bool strict;
    const nb_allocator *allocator; /* NULL: the tape's */
} nb_recipe;

/* What the outputs compute from the inputs, as it stands on the tape, which may then be rewound or freed.
 * Outputs may be inputs or constants, and be given several times. Other inputs of the tape that they
 * depend on are an error. Branches recorded by nb_guard after the first input and before the last output
 * come along, whatever they are about: a guard on an input that is not listed is an error too. What was
 * detached, or recorded while gradients were off, is computed in every lane and has derivative 0.
 * Errors stick to the tape; the result is then NULL, as it is if no argument has a var. */
NB_API nb_program *nb_freeze(const nb_recipe *recipe);
/* NULL is fine. Nodes of tapes that a program is a part of (nabla/map.h) keep what they need of it. */
NB_API void nb_program_free(nb_program *p);

/* The value of a condition (0 is false), for an if in recording code. The branch taken is remembered:
 * a program frozen from it reports lanes for which the other branch would have been taken. */
NB_API bool nb_guard(nb_var condition);

/* ---- deriving -------------------------------------------------------------------------------- */

/* A new program with the inputs of p. `want`, one flag per input argument of p, says by which to
 * differentiate; NULL: by all. The reason of a NULL result goes to *why, if that is not NULL.
 * A program's total is the sum over its lanes: gradients by shared inputs are summed, and so are Hessians
 * by shared inputs alone. A Jacobian is one per lane, unless all of p's outputs are sums.
 * At a singular point derivatives may be NaN where the tape has 0, or the other way round: an infinite slope
 * times 0 is met in another order. A branch not taken (nb_where, nb_min, nb_max, nb_clamp, nb_relu)
 * contributes 0, whatever its slope. */

/* Of the one element that p computes: p's outputs, then "d x" for each argument x wanted. */
NB_API nb_program *nb_program_gradient(const nb_program *p, const bool *want, nb_reason *why);
/* p's outputs, then "J" [elements of p's outputs, elements wanted] in row-major order; by forward or
 * reverse mode, whichever is shorter. */
NB_API nb_program *nb_program_jacobian(const nb_program *p, const bool *want, nb_reason *why);
/* Of the one element that p computes: p's outputs, "g", the gradient, then "H", the elements wanted
 * squared, exactly symmetric; or, with `diagonal`, only H's diagonal, as "h". */
NB_API nb_program *nb_program_hessian(const nb_program *p, const bool *want, bool diagonal,
                                      nb_reason *why);
/* Inputs: p's, then a seed "u y" for each output argument y. Outputs: "d x" for each x wanted:
 * J^T u. */
NB_API nb_program *nb_program_vjp(const nb_program *p, const bool *want, nb_reason *why);
/* Inputs: p's, then a direction "v x" for each x wanted. Outputs: "t y" for each output y: J v. */
NB_API nb_program *nb_program_jvp(const nb_program *p, const bool *want, nb_reason *why);

/* ---- replaying ------------------------------------------------------------------------------- */

/* Where an argument's elements stand: element e of lane l in row r is
 *
 *     data[r * row + at(l) * lane + e * element]            at(l) = index ? index[l] : l
 *
 * with zeros for the common case: element 0 means 1, and lane 0 means count * element (count is the
 * argument's), so that {.data = x} is a dense [lanes, count] array and {x, 1, n} its transpose. Of shared inputs
 * and of sums only data, element and row count. */
typedef struct nb_lanes {
    void *data;            /* of the replay's dtype; read only, if it is an input */
    int64_t lane, element; /* steps, in elements */
    const int64_t *index;  /* one per lane, none negative; places of an output must differ */
    int64_t row;           /* 0: all rows see, or are summed to, the same place */
} nb_lanes;

typedef struct nb_replay {
    int64_t lanes;
    const nb_lanes *in, *out; /* one per argument of the program */
    nb_dtype dtype;           /* of all arrays, and of the arithmetic */
    /* So many replays in one call, independent of one another; shared inputs may change. 0 means 1. */
    int64_t rows;
    /* [rows, lanes]: set to 1 where a guard would have gone the other way, else 0. NULL: not asked for. */
    uint8_t *left;
    /* An output may stand exactly where an input does, and replaces it: an output per lane an input per
     * lane, a sum a shared input. */
    bool in_place;
    nb_pool *pool; /* threads that help; NULL: none */
} nb_replay;

/* NB_OK: all outputs are written. NB_ERR_GUARD: likewise, but some lanes left the branches recorded; their
 * numbers mean nothing, nor do sums. Anything else: nothing is written, and *why tells. Outputs must not
 * overlap inputs, nor each other, which is checked; nor may the lanes of one output, which is not. An
 * argument without elements needs no data. NaN stays in its lane. Without lanes, sums are 0. The first
 * replay in an element type, of few lanes or of many, of arrays or of parts of them, makes the code for it,
 * and takes memory. */
NB_API nb_code nb_program_run(const nb_program *p, const nb_replay *r, nb_reason *why);

/* ---- looking --------------------------------------------------------------------------------- */

typedef struct nb_program_info {
    size_t n_in, n_out; /* arguments */
    size_t recorded; /* operations between inputs and outputs, on the tape or in the derivation */
    size_t ops;      /* what was left of them: shared between equal terms, folded, pruned */
    size_t instructions; /* executed per block of lanes, loads and stores included */
    size_t once;         /* executed once per replay, since they depend on shared inputs only */
    size_t slots, width; /* lane vectors held at a time, and lanes in each */
    size_t bytes;        /* of the program */
    size_t guards;
} nb_program_info;
NB_API nb_program_info nb_program_inspect(const nb_program *p);

typedef struct nb_argument_info {
    const char *name; /* "" if it has none */
    size_t count;
    bool shared, sum, vector;
} nb_argument_info;
NB_API nb_argument_info nb_program_in(const nb_program *p, size_t k);
NB_API nb_argument_info nb_program_out(const nb_program *p, size_t k);

/* The operations, one a line, as readable text. */
NB_API nb_code nb_program_print(FILE *to, const nb_program *p);

/* ---- keeping --------------------------------------------------------------------------------- */

/* A file with version and checksum. It is written beside its place, synced and renamed. */
NB_API nb_code nb_program_save(const nb_program *p, const char *path, nb_reason *why);
NB_API nb_program *nb_program_load(const char *path, const nb_allocator *allocator, nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
