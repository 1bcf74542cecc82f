/*
 * Programs over tensors, from inside: what the operation (map.c) and the loops (map_run.c) share.
 */
#ifndef NABLA_SRC_MAP_H
#define NABLA_SRC_MAP_H

#include "program/program.h"
#include "tape/sample.h"
#include "tape/tape.h"

/* What a result is like: the lanes, their sum, or, from 0 on, an operand. It then has the shape of that, and
 * is summed over the lanes that share an element of it. */
enum { NBI_LIKE_LANES = -1, NBI_LIKE_SUM = -2 };

typedef struct nbi_map_in {
    const void *data; /* of the tape's type */
    nb_shape shape;
} nbi_map_in;

typedef struct nbi_map_out {
    void *data;
    int64_t size;
    nb_dtype dtype; /* the tape's, or double for one number */
    bool add;
    int32_t like;
} nbi_map_out;

/* The axes of lanes of an operand of that shape. The rank is -1 if there are none. */
nb_shape nbi_map_axes(const nbi_argument *a, nb_shape shape);
/* The shape of a result for lanes along those axes; its rank may exceed what is possible. */
nb_shape nbi_map_shape(const nbi_argument *a, int32_t like, nb_shape lanes, const nb_shape *in);

/* Computes all outputs. The shapes were checked, `lanes` is what they broadcast to. In scratch, which the
 * caller gives back. An error is on the tape. */
nb_code nbi_map_run(const nb_call *c, const nb_program *p, nb_shape lanes, const nbi_map_in *in,
                    const nbi_map_out *out);

/* The state of a node. */
typedef struct nbi_mapping {
    const nb_program *p;
    int32_t like[]; /* [n_out] */
} nbi_mapping;

/* A node whose operands were checked: lanes and shapes, in scratch. */
typedef struct nbi_map_layout {
    const nb_program *p;
    nb_shape lanes, *in, *out;
} nbi_map_layout;

/* False after an error. */
bool nbi_map_of_arrays(const nb_call *c, nbi_map_layout *l);
bool nbi_map_of_vars(nb_tape *t, const nbi_mapping *m, const nb_var *x, nbi_map_layout *l);

/* A node about to be recorded: its operands and what its results are like, in scratch. */
typedef struct nbi_map_draft {
    const nb_program *p;
    nb_var *x;
    nbi_mapping *m;
} nbi_map_draft;

/* False after an error, and where p is NULL. */
bool nbi_map_open(nb_tape *t, nbi_map_draft *d, const nb_program *p);
/* Records it; inert after an error. */
nb_var nbi_map_apply(const nbi_map_draft *d);

/* The elements of a scalar or a tensor of that shape. */
static inline size_t nbi_map_size(nb_shape s) { return s.rank < 0 ? 1 : (size_t)nb_shape_size(s); }
/* Several results in one array, or one result: the data of the k-th, and each as a var. */
char *nbi_map_part(const nb_array *whole, const nb_shape *shape, size_t k);
void nbi_map_take_apart(nb_var all, size_t n, const nb_shape *shape, nb_var *part);

nb_code nbi_map_reverse(const nb_rule *r);
nb_code nbi_map_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                               const bool *add);
nb_code nbi_map_tangent(const nb_rule *r);

extern const nb_op nbi_op_map;
nb_var nbi_map_sample(nb_sampler *s, int k);

#endif
