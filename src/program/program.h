/*
 * A program, from inside.
 *
 * What it computes is an expression graph (dag.h) and a list of nodes, one per element of its outputs.
 * That is all that differentiation, printing and keeping know. How it is executed, its code, is made
 * from the graph for an element type and a pattern of shared arguments when such a replay first asks,
 * and kept (code.h).
 */
#ifndef NABLA_SRC_PROGRAM_H
#define NABLA_SRC_PROGRAM_H

#include <nabla/program.h>
#include "base/reason.h"
#include "kernels/cpu.h"
#include "program/dag.h"
#include <pthread.h>
#include <stdatomic.h>

typedef struct nbi_argument {
    char *name;   /* never NULL */
    size_t first; /* of its elements, among all of the inputs or outputs */
    size_t count;
    bool shared, sum, vector;
} nbi_argument;

typedef struct nbi_code nbi_code;
typedef struct nbi_derived nbi_derived;

struct nb_program {
    nbi_heap heap;
    nbi_dag dag;
    size_t n_in, n_out;
    nbi_argument *in, *out;
    size_t in_elements, out_elements;
    uint32_t *result; /* the node of each output element */
    uint32_t *guard;  /* nodes that are not 0 in a lane that stays on the branches recorded */
    size_t n_guards;
    size_t in_room, out_room, result_room, guard_room; /* of these lists */
    size_t recorded;
    bool strict;
    nbi_isa isa;
    atomic_size_t holders; /* the caller, and nodes of tapes (nbi_program_hold) */
    pthread_mutex_t lock;  /* of what follows */
    nbi_code *codes;
    nbi_derived *derived; /* programs that rules on tapes asked for (derived.h) */
};

/* A program without operations, with a copy of its allocator; NULL if there is no memory. */
nb_program *nbi_program_new(const nb_allocator *a);
/* One more holder: nb_program_free makes it one less, and frees with the last. */
void nbi_program_hold(const nb_program *p);
/* Appends an argument. False if there is no memory, or too many elements. */
bool nbi_program_add_in(nb_program *p, const char *name, size_t count, bool shared, bool vector);
/* Its elements' nodes are set to 0. */
bool nbi_program_add_out(nb_program *p, const char *name, size_t count, bool sum, bool vector);
bool nbi_program_add_guard(nb_program *p, uint32_t node);
/* The argument that has the element at that place: the last of those that begin there or before. */
size_t nbi_argument_of(const nbi_argument *list, size_t n, size_t place);
/* Marks, with 1, the nodes of d that depend on an element of an input argument whose flag is `value`, the
 * others with 0. What is held depends on nothing, unless `held`. */
void nbi_mark_dependent(const nb_program *p, const nbi_dag *d, const uint8_t *flags, uint8_t value,
                        bool held, uint8_t *mark);
/* Finite or not, as few digits as read back to the same number of that type; with a point, whatever the
 * locale. */
enum { NBI_NUMBER = 40 };
void nbi_print_number(char to[static NBI_NUMBER], nb_dtype dtype, double v);
/* Drops what neither outputs nor guards need, and renumbers. False if there is no memory. */
bool nbi_program_prune(nb_program *p);
/* A program with the inputs, guards and operations of p (same numbers), and its outputs if asked for. */
nb_program *nbi_program_copy(const nb_program *p, bool outputs);

#endif
