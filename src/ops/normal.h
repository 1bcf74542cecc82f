/*
 * What the operations that normalise share; see norms.c.
 */
#ifndef NABLA_SRC_NORMAL_H
#define NABLA_SRC_NORMAL_H

#include "kernels/norm.h"
#include <nabla/net.h>
#include <nabla/op.h>

typedef struct nbi_normal {
    int last;               /* layer and RMS norm: how many of the last axes make a line */
    int64_t groups;         /* group norm */
    double eps;             /* as the caller gave it */
    int gain, bias;         /* which operands they are, or -1 */
    const nb_running *past; /* the caller's, during the call only */
    bool training;
    nbi_norm n;
} nbi_normal;

/* Records op on x and on what is given of gain and bias. */
nb_var nbi_normalised(const nb_op *op, nb_var x, nb_var gain, nb_var bias, nbi_normal *s);

/* Refuses an eps that is negative or not finite. */
nb_code nbi_normal_eps(const nb_call *c);
/* And that x has channels, on its second axis. */
nb_code nbi_normal_channels(const nb_call *c);
/* Whether gain and bias have this shape; else a refusal. */
nb_code nbi_normal_affine(const nb_call *c, nb_shape due);

/* The product of a run of dimensions; 0 where it overflows, which only an array without elements
 * allows. */
int64_t nbi_normal_product(int n, const int64_t *dims);

/* Memory for the statistics; then the rules, which follow the layout in the state's n. */
nb_code nbi_normal_room(const nb_call *c);
nb_code nbi_normal_forward(const nb_call *c);
nb_code nbi_normal_forward_given(const nb_call *c);
nb_code nbi_normal_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                  const bool *add);
nb_code nbi_normal_reverse(const nb_rule *r);

#endif
