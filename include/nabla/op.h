/*
 * nabla/op.h: what an operation is, for those who write their own.
 *
 * An operation is one constant record. Nabla's own tensor operations are records of this kind too;
 * there is no privileged path. The smallest useful one has a name, a shape rule, a forward and a
 * reverse rule:
 *
 *     static nb_code twice_forward(const nb_call *c)  { out[i] = 2 * in[i] … }
 *     static nb_code twice_reverse(const nb_rule *r)
 *     {
 *         r->d[0] = nb_mul(2, r->g);             the rule as graph code: it differentiates again
 *         return NB_OK;
 *     }
 *     static const nb_op twice = {.name = "twice", .forward = twice_forward,
 *                                 .reverse = twice_reverse};
 *     nb_var y = nb_apply(&twice, 1, &x, NULL, 0);
 *
 * An operand may be a scalar or a tensor; a rule sees a scalar as an array of rank 0 in the tape's
 * dtype. nb_check_op (nabla/check.h) holds a record to the laws that every operation obeys.
 */
#ifndef NABLA_OP_H
#define NABLA_OP_H

#include <nabla/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nb_op nb_op;

/* A dense row-major array. dims has rank entries. */
typedef struct nb_array {
    void *data; /* double or float, by dtype */
    const int64_t *dims;
    int64_t size;
    int rank; /* -1: the value of a scalar node */
    nb_dtype dtype;
} nb_array;

/* What the numeric rules of an operation see. */
typedef struct nb_call {
    nb_tape *tape;
    const nb_op *op;
    size_t n_in;
    const nb_array *in;
    const nb_array *out;
    void *state;        /* the library's copy of what nb_apply was given, or NULL */
    const nb_var *vars; /* the operands, for messages; NULL in reverse */
} nb_call;

/* What the graph rules of an operation see. In a reverse rule g is the adjoint of out, with out's
 * shape; for each k with want[k], d[k] is to be set to the adjoint of in[k], in a shape that in[k]
 * broadcasts to (the library sums over broadcast axes), or left alone if no gradient flows.
 * In a tangent rule t[k] is the tangent of in[k] where has[k], and d[0] is to be set to that of out.
 */
typedef struct nb_rule {
    nb_tape *tape;
    const nb_op *op;
    size_t n_in;
    const nb_var *in;
    nb_var out;
    nb_var g;
    const nb_var *t;
    const bool *want; /* has[k], in a tangent rule */
    nb_var *d;
    const void *state;
} nb_rule;

typedef struct nb_sampler nb_sampler;

struct nb_op {
    const char *name;
    const char *doc; /* one line */

    /* Rules may record on their tape (what a forward rule records is not the user's to see, so it
     * had better not), but neither rewind, reset nor sweep it: that is refused. */

    /* The shape of the result; rank -1 makes it a scalar node. NULL: that of the first operand.
     * A refusal goes through nb_refuse. Operands' data must not be read. */
    nb_code (*shape)(const nb_call *c, nb_shape *out);

    /* Fills out->data, every element. May keep results for the reverse rule in *state. */
    nb_code (*forward)(const nb_call *c);
    bool view; /* instead of forward: the result shares the first operand's storage */

    /* The reverse rule as graph code. */
    nb_code (*reverse)(const nb_rule *r);

    /* The reverse rule over arrays: adds the adjoint of operand k to gin[k] for each k where gin[k]
     * is not NULL. Optional where reverse is given (then it must agree with it); alone, the op has
     * first derivatives only. If overwrites is true, it must set gin[k] instead where !add[k]. */
    nb_code (*reverse_arrays)(const nb_call *c, const nb_array *g, nb_array *const *gin,
                              const bool *add);
    bool overwrites;

    /* The forward-mode rule as graph code. Optional: without it the reverse rule is applied twice. */
    nb_code (*tangent)(const nb_rule *r);

    /* Builds the k-th example call from sampled inputs and returns its result; an inert var
     * (NB_NONE) ends the list. */
    nb_var (*sample)(nb_sampler *s, int k);

    /* Called on the captured state when the node is forgotten. Optional. */
    void (*destroy)(void *state);
};

/* No var. */
#define NB_NONE (nbi_handle(NULL, 0, 0x7ff80001u))

/* Records op on the operands. bytes of state are copied; rules see the copy. */
NB_API nb_var nb_apply(const nb_op *op, size_t n_in, const nb_var *in, const void *state,
                       size_t bytes);

/* Puts the first error on the tape with a message that names the operation, this reason, the
 * operands with their names and shapes, and the detail (a printf format, may be NULL).
 * Returns code. */
NB_API nb_code nb_refuse(const nb_call *c, nb_code code, const char *reason, const char *detail,
                         ...) NBI_FORMAT(4, 5);

/* Memory that lives as long as the node, for forward to keep results that reverse will need.
 * NULL when there is none (the error is on the tape already). */
NB_API void *nb_keep(const nb_call *c, size_t bytes);

/* ---- for sample functions -------------------------------------------------------------------- */

NB_API nb_tape *nb_sample_tape(nb_sampler *s);
/* A differentiable input with elements drawn from [low, high]. */
NB_API nb_var nb_sample(nb_sampler *s, nb_shape shape, double low, double high);
NB_API nb_var nb_sample_scalar(nb_sampler *s, double low, double high);
/* An integer in [0, n), for indices. */
NB_API int64_t nb_sample_index(nb_sampler *s, int64_t n);

#ifdef __cplusplus
}
#endif
#endif
