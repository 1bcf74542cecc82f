/*
 * The plan of a sparse matrix, from inside.
 */
#ifndef NABLA_SRC_DIFF_SPARSE_H
#define NABLA_SRC_DIFF_SPARSE_H

#include <nabla/sparse.h>
#include "diff/pattern.h"

struct nb_sparse {
    nbi_heap heap;
    nbi_arena keep, work;
    bool forward, hessian;
    size_t n_out, n_in;
    size_t *out_start, *in_start; /* the vars' first elements; [n + 1] */
    nbi_pattern p;
    double *value;
    uint32_t colours;
    size_t *seed_start;   /* by colour: [colours + 1] */
    uint32_t *seed, *var; /* elements to seed, and the var that each is in */
    size_t *entry_start;  /* by block of NBI_LANES colours: [blocks + 1] */
    uint32_t *from;       /* entries: the element to read, */
    uint8_t *lane;        /* in which lane of the block, */
    size_t *to;           /* and the place to fill */
    uint32_t *read_var;   /* the vars that the elements at the end that is read are in */
};

#endif
