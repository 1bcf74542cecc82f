/*
 * nabla/tape.h: the tape, its vars, and the sweeps.
 *
 * A tape records scalar and tensor nodes in one list, in the order in which they are computed,
 * which is a topological order of the graph. A var is a handle to a node, passed by value:
 *
 *     nb_tape *t = nb_tape_new(NULL);
 *     nb_var x = nb_input(t, "x", 3);
 *     nb_var f = nb_mul(x, nb_sin(x));
 *     nb_backward(f);
 *     nb_grad(x);                            sin 3 + 3 cos 3
 *     nb_tape_free(t);
 *
 * Errors stick. The first one stays on the tape with its message; the operation that failed
 * returns an inert var, whose value and gradient read NaN and which makes every operation on it
 * inert too. nb_status and nb_message tell what happened; what was recorded before stays usable.
 *
 * Memory goes by mark and rewind: nb_rewind forgets everything recorded since the mark and keeps
 * the memory for the next step. A var that was forgotten is detected when it is used.
 *
 * A tape belongs to one thread at a time; different threads may each use their own. Threads that help
 * it with large operations are told in nabla/pool.h.
 */
#ifndef NABLA_TAPE_H
#define NABLA_TAPE_H

#include <nabla/base.h>
#include <nabla/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nb_tape nb_tape;

/* A node of a tape. With tape == NULL it is a plain number: nb_num(2) mixes with any var. */
typedef struct nb_var {
    nb_tape *tape;
    uint32_t index;
    uint32_t epoch;
#ifdef __cplusplus
    nb_var() = default;
    inline nb_var(double number);
    nb_var(nb_tape *t, uint32_t i, uint32_t e) : tape(t), index(i), epoch(e) {}
#endif
} nb_var;

/* ---- life ------------------------------------------------------------------------------------ */

typedef struct nb_options {
    nb_allocator allocator; /* zero: the default one */
    nb_dtype dtype;         /* of the tape's tensors; scalar nodes are always double */
    size_t nodes;           /* room for so many nodes at first; 0: a default */
    size_t bytes;           /* room for so many bytes of tensor values at first; 0: a default */
    size_t max_bytes;       /* the memory cap; 0: none */
    bool anomaly;           /* name the first value or gradient that is not finite */
    nb_pool *pool;          /* threads that help, shared with other tapes (nabla/pool.h) */
    int threads;            /* without it: a pool of the tape's own, of so many; 0: no help */
} nb_options;

/* NULL options mean all defaults. Returns NULL only when there is no memory, or when the cap is too
 * small for an empty tape (some 32 KB). */
NB_API nb_tape *nb_tape_new(const nb_options *options);
NB_API void nb_tape_free(nb_tape *t); /* NULL is fine */

/* A point in the recording. The fields are the library's. */
typedef struct nb_mark {
    nb_tape *tape;
    uint32_t length, epoch;
    size_t operands, used;
    void *chunk;
} nb_mark;

NB_API nb_mark nb_tape_mark(nb_tape *t);
/* Forgets every node recorded since the mark. Vars older than the mark stay valid. */
NB_API nb_code nb_rewind(nb_mark mark);
/* Forgets every node and the error, keeps the memory. */
NB_API nb_code nb_reset(nb_tape *t);

NB_API nb_dtype nb_tape_dtype(const nb_tape *t);
NB_API size_t nb_tape_bytes(const nb_tape *t); /* allocated at present, spare room included */
NB_API size_t nb_tape_used(const nb_tape *t);  /* taken by what is recorded, adjoints included */
NB_API void nb_set_anomaly(nb_tape *t, bool on);
/* The instruction set of the kernels: "plain", "avx2", "avx512" or "neon". A new tape has the best
 * that the machine executes, or a lower one that the environment variable NABLA_ISA names.
 * nb_set_isa chooses for what the tape computes from now on; NULL: as a new tape. A name that the
 * machine does not have is an error, which lists those it has. */
NB_API const char *nb_isa_name(const nb_tape *t);
NB_API nb_code nb_set_isa(nb_tape *t, const char *name);
/* While recording is off, operations compute values and their results are constants.
 * Returns what it was. */
NB_API bool nb_set_recording(nb_tape *t, bool on);

/* ---- errors ---------------------------------------------------------------------------------- */

NB_API nb_code nb_status(const nb_tape *t);      /* of the first error since nb_clear */
NB_API const char *nb_message(const nb_tape *t); /* "" when there is none */
NB_API void nb_clear(nb_tape *t);
NB_API bool nb_ok(nb_var x); /* not inert, not stale */
/* Returns x, and has errors of x's tape name this place until the next call of this function.
 * Compile with NB_LOCATE defined and every operation calls it. */
NB_API nb_var nb_located(nb_var x, const char *file, int line);

/* ---- leaves ---------------------------------------------------------------------------------- */

/* A number as a var, without a tape; it takes that of the var it meets. */
static inline nb_var nb_num(double value);

/* Scalars. Names are copied and may be NULL. */
NB_API nb_var nb_input(nb_tape *t, const char *name, double value);
NB_API nb_var nb_constant(nb_tape *t, double value); /* needs no gradient */

/* Tensors. The data are copied, converted to the tape's dtype. */
NB_API nb_var nb_tensor(nb_tape *t, const char *name, nb_shape shape, const double *data);
NB_API nb_var nb_tensor_f32(nb_tape *t, const char *name, nb_shape shape, const float *data);
NB_API nb_var nb_constant_tensor(nb_tape *t, nb_shape shape, const double *data);
NB_API nb_var nb_constant_tensor_f32(nb_tape *t, nb_shape shape, const float *data);
/* Borrowed data of the tape's dtype, which must outlive the node. If grad is not NULL the gradient
 * is written there: every backward sweep leaves all of it written, zeros where no path leads. */
NB_API nb_var nb_borrow(nb_tape *t, const char *name, nb_shape shape, const void *data, void *grad);
NB_API nb_var nb_borrow_constant(nb_tape *t, nb_shape shape, const void *data);

/* Constants: no gradient. Turn one into an input with nb_leaf. */
NB_API nb_var nb_zeros(nb_tape *t, nb_shape shape);
NB_API nb_var nb_ones(nb_tape *t, nb_shape shape);
NB_API nb_var nb_full(nb_tape *t, nb_shape shape, double value);
NB_API nb_var nb_eye(nb_tape *t, int64_t rows, int64_t columns);
NB_API nb_var nb_arange(nb_tape *t, double start, double stop, double step);     /* stop excluded */
NB_API nb_var nb_linspace(nb_tape *t, double start, double stop, int64_t count); /* both ends */
NB_API nb_var nb_uniform(nb_tape *t, nb_shape shape, double low, double high, nb_rng *r);
NB_API nb_var nb_normal(nb_tape *t, nb_shape shape, double mean, double deviation, nb_rng *r);

/* A new input that holds a copy of x's value. */
NB_API nb_var nb_leaf(const char *name, nb_var x);
/* x's value as a constant: no gradient flows through it. */
NB_API nb_var nb_detach(nb_var x);

/* ---- reading --------------------------------------------------------------------------------- */

NB_API double
nb_value(nb_var x); /* of a scalar or a tensor of one element; else NaN and an error */
NB_API const void *nb_data(nb_var x); /* a tensor's elements in the tape's dtype, or NULL */
/* Copies all elements as doubles; n must be nb_size(x). */
NB_API nb_code nb_read(nb_var x, double *out, int64_t n);
NB_API bool nb_is_tensor(nb_var x);
NB_API int nb_rank(nb_var x);              /* 0 for a scalar */
NB_API int64_t nb_dim(nb_var x, int axis); /* negative axes count from the last; -1 if none */
NB_API int64_t nb_size(nb_var x);          /* 1 for a scalar */
NB_API nb_shape nb_shape_of(nb_var x);     /* rank -1 for a scalar */

NB_API nb_var nb_name(nb_var x, const char *name); /* names the node; returns x */

/* ---- the backward sweep ---------------------------------------------------------------------- */

/* Gradients of f, a scalar or a tensor of one element. Replaces those of the sweep before. */
NB_API nb_code nb_backward(nb_var f);

typedef struct nb_sweep {
    size_t n_out; /* outputs, swept at once */
    const nb_var *out;
    const double *const
        *seed;     /* per output: one number per element; NULL (the list or an entry): 1,
                                * which a tensor of several elements does not accept */
    size_t n_want; /* if not 0: compute gradients of these vars only, and keep them */
    const nb_var *want;
    bool accumulate; /* add to the inputs' gradients of the sweeps before */
} nb_sweep;

NB_API nb_code nb_backward_with(const nb_sweep *s);

NB_API double nb_grad(nb_var x); /* of a scalar or a tensor of one element; 0 if there is no path */
NB_API const void *nb_grad_data(nb_var x); /* a tensor's gradient, or NULL if there is none */
/* Zeros if there is none; an error if an interior tensor's was not kept (nb_retain_grad). */
NB_API nb_code nb_read_grad(nb_var x, double *out, int64_t n);
/* Whether the last sweep found a path from its outputs to x. Tells "no path" from "zero". */
NB_API bool nb_has_grad(nb_var x);
/* Keeps the gradient of an interior tensor after the sweep (inputs and scalars always keep theirs).
 * Returns x. */
NB_API nb_var nb_retain_grad(nb_var x);

/* ---- the forward sweep ----------------------------------------------------------------------- */

/* A var given here has the direction given, also where another one leads to it.
 * Pushes the direction dx (one array of nb_size(x[k]) numbers per var; NULL: ones) through all that
 * is recorded. Afterwards nb_tangent reads J dx at any node. */
NB_API nb_code nb_forward(size_t n, const nb_var *x, const double *const *dx);
NB_API double nb_tangent(nb_var y);
NB_API nb_code nb_read_tangent(nb_var y, double *out, int64_t n);

/* ---- the graph, for tools -------------------------------------------------------------------- */

NB_API size_t nb_count(const nb_tape *t); /* nodes recorded */
NB_API nb_var nb_node(nb_tape *t, size_t place);

typedef struct nb_info {
    size_t place;     /* in the order of the tape */
    const char *op;   /* "add", "matmul", "input", "constant", … */
    const char *doc;  /* one line on the op */
    const char *name; /* given by the user, or NULL */
    size_t n_in;
    bool tensor;
    bool constant; /* no gradient flows here */
} nb_info;

NB_API nb_info nb_inspect(nb_var x);
NB_API nb_var nb_input_of(nb_var x, size_t k); /* the k-th operand */
/* The derivative of scalar x by its k-th operand, at the recorded values; NaN for tensors. */
NB_API double nb_partial(nb_var x, size_t k);

#ifdef __cplusplus
}
#endif

#include <nabla/inline.h>
#endif
