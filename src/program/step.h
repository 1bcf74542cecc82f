/*
 * A frozen step, from inside.
 *
 * A step is a list of instructions, each a function and its prepared arguments; the function does its work
 * and returns the instruction that follows. Arguments hold addresses: of the caller's arrays, of constants,
 * and of places in one block, the plan. What the functions of operations ask of a tape (scratch, kernels,
 * memory that nb_keep takes, cells for scalars) is there on a tape of the step's own, whose nodes were
 * copied from the recording (step_copy.c). The nodes of the step come first on it, then those that
 * reverse rules recorded as graph code.
 *
 * The freezer builds it. It runs each instruction as soon as it is made, because rules must see arrays with
 * numbers in them. At that time every interior array has memory of its own, in the arena `rough`; whoever
 * writes an address down reports the place (nbi_step_use), and when all instructions are there, the plan
 * is laid out and every place gets its address in it (step_plan.c).
 *
 * As in a sweep of the tape, a node's adjoint in its cell is the number of a scalar, and of a tensor a
 * flag: whether anything has arrived in this run. An adjoint of exactly 0 is passed on to nobody, so
 * what arrives first is known only as the step runs.
 */
#ifndef NABLA_SRC_STEP_H
#define NABLA_SRC_STEP_H

#include <nabla/step.h>
#include "tape/tape.h"

typedef struct nbi_step_op nbi_step_op;
/* Returns the next instruction; NULL after an error, which is on the step's tape. */
typedef const nbi_step_op *nbi_step_fn(nb_frozen *s, const nbi_step_op *o);
struct nbi_step_op {
    nbi_step_fn *run;
    void *args;
};

typedef struct nbi_step_out {
    void *data; /* NULL for a scalar */
    uint32_t node;
    int64_t size;
} nbi_step_out;

struct nb_frozen {
    nb_tape *t;
    bool freezing;
    nbi_arena args, keep;
    nbi_step_op *ops;
    size_t n, room, n_forward;
    char *plan;
    size_t plan_bytes, unshared;
    uint32_t nodes;        /* of the step: those of rules come after */
    const uint8_t *wanted; /* per node of the step: on a way to a gradient that is asked for */
    size_t n_out, n_in;    /* the recipe's */
    nbi_step_out *out;     /* one more: the loss, of size 0 if there is none */
    uint32_t *in;
};

/* ---- what instructions find ------------------------------------------------------------------ */

/* A scalar operand, as the array of one element that rules see: loaded before each call. */
typedef struct nbi_step_link {
    uint32_t cell;
    void *slot;
} nbi_step_link;

typedef struct nbi_step_call {
    nb_call c;
    nb_array out, *in;
    size_t n_links;
    nbi_step_link *link;
    double value; /* of a scalar-valued call */
    uint32_t node;
    nbi_spot end; /* of what was kept, after the call */
    bool lasts;   /* it is in the step's memory */
} nbi_step_call;

/* The rule over arrays. For operand k the adjoint goes to *to[k], if that is not NULL. */
typedef struct nbi_step_pass {
    const nbi_step_call *of;
    nb_array g, *gin, **to;
    double adjoint, *scalar; /* of a scalar-valued call; of scalar operands */
    bool *add;
    const uint32_t *in;
    nbi_spot end;
} nbi_step_pass;

/* A row of the table over arrays of one size and numbers; backward, by one operand. */
typedef struct nbi_step_row {
    nbi_row_forward_fn forward;
    nbi_row_reverse_fn reverse;
    int64_t n, step[3];
    const void *x[3];
    const void *r, *g;
    void *to;
    size_t n_links;
    const nbi_step_link *link;
    uint32_t node, in; /* backward: of the result and of the operand */
} nbi_step_row;

typedef struct nbi_step_range {
    uint32_t from, to;
} nbi_step_range;

#define NBI_STEP_NONE UINT32_MAX /* no cell */

/* Before the instructions of a rule in graph code: gives the adjoint to its cell, if it is a scalar's;
 * without an adjoint, they are passed over. */
typedef struct nbi_step_rule {
    uint32_t node, cell;
    size_t count;
    nbi_spot end;
} nbi_step_rule;

/* Behind them: adds an answer to the adjoint of a node. */
typedef struct nbi_step_give {
    nb_array from, to;
    double number;
    uint32_t cell, node;
    bool scalar; /* from is the number, or that of the cell if there is one */
} nbi_step_give;

/* The adjoint of the loss; and that of a lent leaf, which is zeros where nothing has arrived. */
typedef struct nbi_step_seed {
    void *data; /* NULL: a scalar's */
    size_t bytes;
    uint32_t node;
} nbi_step_seed;

nbi_step_fn nbi_step_scalars;                           /* args: nbi_step_range, up */
nbi_step_fn nbi_step_sweep_scalars;                     /* likewise, down */
nbi_step_fn nbi_step_forward;                           /* nbi_step_call */
nbi_step_fn nbi_step_reverse;                           /* nbi_step_pass */
nbi_step_fn nbi_step_row_forward, nbi_step_row_reverse; /* nbi_step_row */
nbi_step_fn nbi_step_begin_rule;                        /* nbi_step_rule */
nbi_step_fn nbi_step_add;                               /* nbi_step_give */
nbi_step_fn nbi_step_start;  /* nbi_step_seed; clears all adjoints first */
nbi_step_fn nbi_step_finish; /* nbi_step_seed, of a lent leaf */

/* Whether something has arrived at tensor i; from now on it has. */
static inline bool nbi_step_arrive(nbi_cell *cells, uint32_t i)
{
    const bool before = cells[i].adjoint != 0;
    cells[i].adjoint = 1;
    return before;
}

/* ---- building --------------------------------------------------------------------------------- */

/* An interior array. */
typedef struct nbi_step_buffer {
    struct nbi_step_buffer *next, *next_dead; /* in the lists by first and by last */
    size_t bytes, offset;
    size_t first, last; /* instructions that use it; first SIZE_MAX: none yet */
    void *lent;         /* it becomes this memory of the caller's */
} nbi_step_buffer;

typedef struct nbi_step_place {
    struct nbi_step_place *next;
    void **place;
    nbi_step_buffer *buffer;
} nbi_step_place;

/* From addresses to what they stand for. */
typedef struct nbi_step_map {
    nbi_heap *heap;
    const void **key;
    void **value;
    size_t count, room; /* room: a power of two */
} nbi_step_map;

typedef struct nbi_freezer {
    nb_frozen *s;
    nb_tape *t, *from; /* the step's tape, the recording's */
    const nb_frozen_recipe *recipe;
    nbi_arena work, rough, rules; /* rules: what a rule records, until it is copied */
    nbi_step_map seen;    /* addresses of the recording, or of a rule's: what has their place */
    nbi_step_map buffers; /* rough addresses */
    nbi_step_place *places;
    const nbi_arena *source; /* where the records being copied stand */
    uint32_t *place;         /* per node of the recording: its copy + 1, or 0 */
    nbi_step_call **call;    /* per node of the step: its call, if it is a record */
    void **adjoint;          /* and its adjoint's array, if there is one yet */
    uint8_t *
        reached; /* per node: REACHED, or SURELY, an array into which something arrives in every run */
} nbi_freezer;

/* Memory of the step's own, or NULL after an error. */
void *nbi_step_args(nbi_freezer *f, size_t bytes);
/* Appends an instruction, and runs it. */
bool nbi_step_emit(nbi_freezer *f, nbi_step_fn *run, void *args);

/* step_plan.c */
void nbi_step_map_open(nbi_step_map *m, nbi_heap *heap);
void nbi_step_map_clear(nbi_step_map *m);
void nbi_step_map_close(nbi_step_map *m);
void *nbi_step_map_get(const nbi_step_map *m, const void *key); /* NULL: not there */
bool nbi_step_map_put(nbi_step_map *m, const void *key, void *value);
/* Memory of an array while freezing. In the plan it has a place of its own, or, if not NULL, the lent one. */
void *nbi_step_array(nbi_freezer *f, size_t bytes, void *lent);
/* The instruction to be appended next uses the array at p, if that is interior. */
void nbi_step_touch(nbi_freezer *f, const void *p);
/* *p too is such an address. */
bool nbi_step_use(nbi_freezer *f, void *p);
bool nbi_step_layout(nbi_freezer *f);

/* step_copy.c */
bool nbi_step_copy_recording(nbi_freezer *f);
/* A record in the step's memory, with its state and a place for its elements; NULL after an error. */
nbi_record *nbi_step_copy_record(nbi_freezer *f, uint32_t named, const nbi_record *r,
                                 const uint32_t *in);
/* Makes the instructions of node i, whose record is a copy of r. */
bool nbi_step_revive(nbi_freezer *f, uint32_t i, const nbi_record *r);

/* step_forward.c */
bool nbi_step_emit_scalar(nbi_freezer *f, uint32_t i);
bool nbi_step_emit_call(nbi_freezer *f, uint32_t i);
/* Whether the call is that of a row over arrays of one size and numbers, for one thread; then *to has all
 * but the kernel and where the result goes. */
bool nbi_step_flat(nbi_freezer *f, const nbi_step_call *a, nbi_step_row *to);
/* The call in the step's memory, for an instruction to use; NULL after an error. */
nbi_step_call *nbi_step_lasting(nbi_freezer *f, nbi_step_call *a);
void nbi_step_evaluate(nb_tape *t, uint32_t from, uint32_t to);

/* step_affine.c: x w + b by calls of the kernel, where that is the same. */
bool nbi_step_is_affine(const nbi_freezer *f, const nbi_step_call *a);
bool nbi_step_affine_forward(nbi_freezer *f, const nbi_step_call *a);
bool nbi_step_affine_reverse(nbi_freezer *f, const nbi_step_call *a, const uint32_t *in,
                             const nb_array *g, const nb_array *to);

/* step_reverse.c */
bool nbi_step_emit_reverse(nbi_freezer *f);

#endif
