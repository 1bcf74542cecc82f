/*
 * Which elements of the outputs may depend on which of the inputs, read off the graph.
 */
#ifndef NABLA_SRC_DIFF_PATTERN_H
#define NABLA_SRC_DIFF_PATTERN_H

#include "diff/sets.h"
#include "tape/tape.h"

/* A matrix of places: those of row r are column[row_start[r]] to column[row_start[r + 1] - 1],
 * ascending. */
typedef struct nbi_pattern {
    size_t rows, columns;
    size_t *row_start; /* [rows + 1] */
    uint32_t *column;
} nbi_pattern;

/* A walk up the graph under way. */
typedef struct nbi_trace {
    nb_tape *t;
    nbi_arena *work; /* given back by the caller */
    nbi_sets sets;
    const uint8_t *role; /* enum nbi_role, of a block */
    void **at;           /* per node: its set, or for a tensor an array of sets; NULL: not made */
} nbi_trace;

/* The pattern of the derivatives of out by in, kept in `keep`. */
nb_code nbi_pattern_find(nbi_pattern *p, const char *what, nb_tape *t, size_t n_out,
                         const nb_var *out, size_t n_in, const nb_var *in, nbi_arena *keep,
                         nbi_arena *work);
/* The transpose of q; NULL columns where there is no memory. */
bool nbi_pattern_transpose(nbi_pattern *p, const nbi_pattern *q, nbi_arena *keep);

/* The sets of record i (pattern_record.c). False after an error. */
bool nbi_trace_record(nbi_trace *w, uint32_t i);
/* The sets of tensor node i, empty at first; and of element j of node i, a scalar or a tensor. */
nbi_set **nbi_trace_sets(nbi_trace *w, uint32_t i);
nbi_set *nbi_trace_set(const nbi_trace *w, uint32_t i, int64_t j);

/* Adds set s to element j of record i, whose sets are made. */
void nbi_trace_put(nbi_trace *w, uint32_t i, int64_t j, nbi_set *s);
/* The ways of some ops: every result reads everything; moves, asked forward; moves that add, asked
 * backward (pattern_move.c). */
bool nbi_trace_dense(nbi_trace *w, uint32_t i);
bool nbi_trace_move(nbi_trace *w, uint32_t i);
bool nbi_trace_adding_move(nbi_trace *w, uint32_t i);

#endif
