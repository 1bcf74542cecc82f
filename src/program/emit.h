/*
 * Printing a program as C, from inside.
 *
 * The plain graph (plain.h), light rows expanded too, has nothing left but operators, comparisons,
 * selections, the chain rule's product and calls of functions. A list of nodes is printed as one
 * constant each, v12 = v3 * v7; comparisons that select are constants m12, apart from their value 1 or 0.
 * The same printing serves a lane, where constants are numbers, and a block of lanes, where they are
 * vectors, but for what is the same in all lanes.
 */
#ifndef NABLA_SRC_EMIT_H
#define NABLA_SRC_EMIT_H

#include <nabla/emit.h>
#include "program/plain.h"

enum { NBI_EMIT_NAME = 64, NBI_EMIT_LONGEST = 60 };

/* How the nodes of a graph are needed: as a number, as a condition. */
enum { NBI_AS_VALUE = 1, NBI_AS_MASK = 2 };

typedef struct nbi_printer {
    FILE *to;
    const char *name; /* of the function */
    nb_dtype dtype;
    const nbi_dag *d;
    const uint8_t *need;     /* by node: NBI_AS_VALUE, NBI_AS_MASK */
    const uint8_t *varies;   /* by node: a vector; NULL: none is */
    const uint32_t *partner; /* by node: of a sine of lanes the cosine, and back, + 1; 0: none */
    const char *indent;
} nbi_printer;

typedef struct nbi_emission {
    const nb_program *p;
    nb_emit options;
    FILE *to;
    nbi_heap *heap;
    nbi_plain plain;
    uint8_t *need, *varies;                     /* by node of the plain graph */
    uint32_t *partner;                          /* as the printer's */
    bool waves;                                 /* there are partners */
    bool calls[NBI_ROWS], lane_calls[NBI_ROWS]; /* rows called: at all, by lanes of vectors */
    bool *used;                                 /* by input argument: some element is needed */
    char (*in)[NBI_EMIT_NAME], (*out)[NBI_EMIT_NAME]; /* names of the arguments */
} nbi_emission;

/* ---- names ----------------------------------------------------------------------------------- */

/* Whether it may name something of the caller's: an identifier without a meaning in C or C++, and none
 * that the file uses itself. */
bool nbi_emit_is_free(const char *name);
/* Names for n arguments at *names, in memory of the heap, different from each other and from the first
 * n_other of `other`; those without one are called by the letter and their number. */
bool nbi_emit_names(nbi_heap *h, const nbi_argument *a, size_t n, char letter,
                    char (*other)[NBI_EMIT_NAME], size_t n_other, char (**names)[NBI_EMIT_NAME]);

/* ---- text ------------------------------------------------------------------------------------ */

/* "double" or "float" */
const char *nbi_emit_real(nb_dtype dtype);
/* A number that reads back exactly. */
void nbi_emit_number(FILE *to, nb_dtype dtype, double v);
/* The operator of a row that is one; else NULL. */
const char *nbi_emit_operator(uint32_t row);
/* Whether a row is printed as a call: it is none of those, and no operation with a form of its own. */
bool nbi_emit_is_call(uint32_t row);
/* What stands before the arguments of a call of the row in the given type, and whether they are widened
 * to double, and the result rounded. Returns the latter. */
bool nbi_emit_call(const nbi_printer *w, uint32_t row);
/* Whether the functions that files take along define such a name. */
bool nbi_emit_occurs(const char *name);
/* The file of vector functions, by number, that has the row's, in double, and its name; 0 if none has. */
int nbi_emit_lane_file(uint32_t row, char *function);
/* Those files that the rows called by lanes need. */
void nbi_emit_lane_functions(const nbi_emission *e);
/* Functions that the rows called need and libm does not have. False if there is no memory. */
bool nbi_emit_helpers(const nbi_emission *e);

/* ---- bodies ---------------------------------------------------------------------------------- */

/* How each node of d is needed if those marked in need are. */
void nbi_emit_spread_need(const nbi_dag *d, uint8_t *need);
/* Node i as a constant of its own, if it is needed and not written out where it stands. */
void nbi_emit_node(const nbi_printer *w, uint32_t i);
/* A node's value: a name or a number; as a vector even if it is uniform. */
void nbi_emit_value(const nbi_printer *w, uint32_t i);
void nbi_emit_vector(const nbi_printer *w, uint32_t i);

/* ---- functions ------------------------------------------------------------------------------- */

void nbi_emit_prototype(const nbi_emission *e, FILE *to, bool batch, const char *end);
void nbi_emit_lane(const nbi_emission *e);
/* A node that is an input, as a constant read from its argument. */
void nbi_emit_input(const nbi_emission *e, uint32_t i);
/* The vectors that the function over a batch works on. */
void nbi_emit_vectors(const nbi_emission *e);
/* False if there is no memory. */
bool nbi_emit_batch(const nbi_emission *e);

#endif
