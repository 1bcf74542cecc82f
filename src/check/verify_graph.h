/*
 * Recorded functions as subjects, from inside.
 *
 * A source makes the recording: it puts the n numbers x where the function will find them and records
 * the result on tape number k of the check. Tape 0, which may be the caller's, serves the evaluations; the
 * others hold the graph at neighbouring points at the same time, so that nodes can be compared across them.
 */
#ifndef NABLA_SRC_VERIFY_GRAPH_H
#define NABLA_SRC_VERIFY_GRAPH_H

#include "check/verify.h"
#include "tape/tape.h"

enum { NBI_GRAPHS = 6, NBI_POINTS = 5 };

typedef enum nbi_graph_kind { NBI_GRADIENT, NBI_FORWARD, NBI_HESSIAN } nbi_graph_kind;

typedef struct nbi_graph {
    nbi_graph_kind kind;
    nb_dtype dtype;
    nb_tape *tape[NBI_GRAPHS];
    nb_mark start; /* of tape 0, if it is the caller's */
    bool lent;
    /* Fills in var, and leaves the result's var in *y. False: the tape, or the check, tells why. */
    bool (*record)(nbi_verify *c, int k, const double *x, nb_var *y);
    /* Whether the inputs are as they were given; compared bit by bit after each call. */
    bool (*kept)(nbi_verify *c, const double *x);
    /* Reads the gradient after a sweep; NULL: it is that of the vars in `moved`. */
    void (*gradient)(nbi_verify *c, double *to);
    const void *source;
    size_t n_in;
    nb_var *in;     /* [n_in] of the last recording */
    nb_var *moved;  /* those of them that are differentiated */
    nb_shape shape; /* of the result */
    size_t size;    /* its elements */
    double *seed;   /* [size] the weights of its elements */
    double *result; /* [size] */
    bool *path;     /* [blocks] whether the last sweep reached the block */
    double **part;  /* [blocks] room for lists of pointers */
} nbi_graph;

/* Records at x on tape k; y is the result's var. */
bool nbi_graph_record(nbi_verify *c, int k, const double *x, nb_var *y);
/* A sweep of the weighted result; g [n] if it is not NULL. */
bool nbi_graph_sweep(nbi_verify *c, nb_var y, double *g);
/* Sets up tapes and room, and finds the result's shape. */
bool nbi_graph_open(nbi_verify *c, nbi_graph *g);
void nbi_graph_close(nbi_graph *g);
/* Runs the check of what the graph records. */
void nbi_graph_run(nbi_verify *c, nbi_graph *g);

/* What node i of the tape is called. */
nb_check_place nbi_place_at(nb_tape *t, size_t i, int operand);

/* verify_nodes.c, verify_local.c */
void nbi_graph_bend(nbi_verify *c, const nbi_line *line, double h, nb_check_place *at);
void nbi_graph_not_finite(nbi_verify *c, const double *x, bool gradient, nb_check_place *at);
void nbi_graph_localise(nbi_verify *c);
/* Looks for a constant that changes where the inputs do; on [y + 1]: the nodes on the way. */
void nbi_graph_cut(nbi_verify *c, uint32_t y, const bool *on);
/* Marks in on [y + 1] the nodes that a path leads to from y, constants included where asked. */
void nbi_graph_reach(const nb_tape *t, uint32_t y, bool *on);
/* What node k's own rule passes to its operands for the seed u, of its value's elements: their
 * adjoints are on the tape then. With `again`, added to what is there. */
bool nbi_local_sweep(nb_tape *t, uint32_t k, const double *u, bool again);
/* Reads the adjoint of node i that a local sweep left, n numbers; zeros if there is none. */
void nbi_local_read(const nb_tape *t, uint32_t i, double *to, size_t n);

#endif
