/*
 * Programs over tensors, from inside: what the operation (map.c) and the loops (map_run.c) share.
 */
#ifndef NABLA_SRC_MAP_H
#define NABLA_SRC_MAP_H

#include "program/program.h"
#include "tape/sample.h"
#include "tape/tape.h"

/* What a result is like, if not like operand k, in whose shape it then is: the sum over the lanes that share an
 * element of it. */
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

extern const nb_op nbi_op_map;
nb_var nbi_map_sample(nb_sampler *s, int k);

#endif
