/*
 * The tape, from inside.
 *
 * A node is 25 bytes in three parallel arrays (cells: value and adjoint; args; ops). The args of a
 * scalar row are its operands' places; those of a row of three operands, or of a function of many
 * scalars, are a place in `list`, where the operands stand; those of a record are a pointer into the
 * arena of values.
 *
 * A record's adjoint lives in its grad buffer; its cell's adjoint is then only a flag: not 0 when the
 * sweep has something to pass on. A scalar-valued record (a sum, say) uses its cell as scalars do.
 *
 * Handles and time. Each rewind starts a new epoch. A handle is alive if its epoch is the tape's, or
 * if its place lies below the lowest point of all rewinds since its epoch. `falls` keeps, for each
 * rewind that matters, its epoch and how low it went; a rewind makes earlier, higher ones irrelevant,
 * so both columns ascend and a loop that rewinds to the same mark keeps one entry.
 */
#ifndef NABLA_SRC_TAPE_H
#define NABLA_SRC_TAPE_H

#include <nabla/op.h>
#include "base/memory.h"
#include "base/pool.h"
#include "base/shape.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "tape/codes.h"
#include <string.h>

enum { NBI_MESSAGE = 1536, NBI_POOLS = 8 * 62 };
#define NBI_INERT UINT32_MAX /* the epoch word of an inert var */

/* What a record does in the sweeps in place of its op's rules, if it stands for a stretch of graph
 * and not for one operation. */
typedef struct nbi_inside {
    bool (*reverse)(nb_tape *t, uint32_t i, const uint8_t *wanted);
    bool (*forward)(nb_tape *t, uint32_t i);
} nbi_inside;

typedef struct nbi_record {
    const nb_op *op;
    const nbi_inside *inside; /* NULL for an operation */
    void *state;
    void *data; /* the elements; NULL for a scalar-valued record */
    void *grad; /* the adjoint's elements, or NULL */
    void *tangent;
    const int64_t *dims;
    int64_t size;
    int rank; /* -1: scalar-valued */
    uint32_t n_in;
    uint32_t older; /* the record before this one in the chain that wants attention on rewind */
    uint32_t state_bytes; /* UINT32_MAX: so many or more */
    bool still;     /* no gradient flows here */
    bool leaf;
    bool borrowed; /* grad is the caller's memory */
    bool fresh;    /* borrowed and not written in this sweep */
    bool retain;   /* keep grad after the sweep has consumed it */
    uint32_t in[];
} nbi_record;

typedef struct nbi_fall {
    uint64_t when; /* in rewinds of this tape */
    uint32_t low;
} nbi_fall;

/* A handle's epoch is the count of rewinds modulo this. (2^30, the count of epochs that fit beside
 * the tags, would include the one that reads as inert.) */
#define NBI_EPOCHS ((1u << 30) - 1)

/* A node's name. Its text outlives the node's own memory when an old node is named late. */
typedef struct nbi_label {
    uint32_t index;
    uint64_t serial; /* the order in which names were given */
    const char *text;
    nbi_spot end; /* of the text, in the arena of names */
} nbi_label;

struct nb_tape {
    nbi_hot hot; /* must be first: the inlined path casts to it */
    uint32_t capacity;
    size_t room[3]; /* of cells, args, ops; the capacity is the least */
    nb_dtype dtype;
    bool recording, anomaly;
    uint32_t
        busy; /* rules of operations under way: they may record, but neither rewind nor sweep */
    uint32_t dirty;    /* nodes from here up have clean adjoints */
    bool accumulating; /* the last sweep was, so the next may not empty the arena of adjoints */
    nbi_heap heap;
    nbi_arena values, adjoints, tangents, scratch, names;
    nbi_arena *keep; /* where forward rules keep results; NULL: among the values */
    nbi_arena marks; /* outputs, wanted, reached: emptied by every backward sweep */
    uint32_t *list;
    size_t list_length, list_capacity;
    nbi_label *labels; /* ascending by index */
    size_t n_labels, label_capacity;
    uint64_t serial;
    uint64_t rewinds;
    uint32_t floor; /* the lowest fall of all: nodes below never fell */
    nbi_fall *falls;
    size_t n_falls, fall_capacity;
    uint32_t attention;      /* the youngest record of the chain, or NBI_INERT */
    void *pool[NBI_POOLS];   /* free adjoint buffers by size class */
    int pool_low, pool_high; /* the classes in use: [low, high) */
    double *tangent;         /* of scalar nodes, after a forward sweep */
    uint32_t tangents_to;    /* nodes covered by it */
    uint32_t tangent_room;   /* and nodes that it has room for */
    const uint32_t *outputs; /* of the last backward sweep */
    size_t n_outputs;
    uint8_t *wanted, *reached; /* per node of that sweep: on a way to what was asked for; on a way
                                * from an output (made when nb_has_grad asks) */
    uint32_t swept_to;         /* nodes that the two cover and that are still recorded */
    nbi_matmul_fn matmul[2];
    nbi_isa isa;
    const nbi_row_kernels *rows;
    nbi_crew crew;       /* who computes */
    bool own_pool, told; /* the crew's pool is the tape's; its failure was seen and cleared */
    const char *file;    /* of the client's call, where it tells */
    int line;
    nb_code code;
    char message[NBI_MESSAGE];
};

/* ---- handles --------------------------------------------------------------------------------- */

static inline nbi_record *nbi_record_at(const nb_tape *t, uint32_t i)
{
    nbi_record *r;
    memcpy(&r, &t->hot.args[i], sizeof r);
    return r;
}

/* Whether no gradient flows through node i. */
static inline bool nbi_still(const nb_tape *t, uint32_t i)
{
    uint8_t op = t->hot.ops[i];
    return op == NBI_CONSTANT || op == NBI_STILL ||
           (op == NBI_RECORD && nbi_record_at(t, i)->still);
}

static inline bool nbi_is_tensor(const nb_tape *t, uint32_t i)
{
    return t->hot.ops[i] == NBI_RECORD && nbi_record_at(t, i)->rank >= 0;
}

/* A fresh handle to node i. */
static inline nb_var nbi_var(nb_tape *t, uint32_t i)
{
    uint32_t tags = (nbi_is_tensor(t, i) ? NBI_TENSOR : 0) | (nbi_still(t, i) ? NBI_QUIET : 0);
    return nbi_handle(t, i, t->hot.epoch | tags);
}

static inline nb_var nbi_inert(nb_tape *t) { return t ? nbi_handle(t, 0, NBI_INERT) : NB_NONE; }

static inline bool nbi_is_inert(nb_var v)
{
    return v.tape ? v.epoch == NBI_INERT : v.epoch == NB_NONE.epoch && v.index == 0;
}

bool nbi_alive_since(const nb_tape *t, nb_var v);

static inline bool nbi_alive(const nb_tape *t, nb_var v)
{
    if ((v.epoch & ~(uint32_t)NBI_TAGS) == t->hot.epoch || v.index < t->floor)
        return v.index < t->hot.length && v.epoch != NBI_INERT;
    return nbi_alive_since(t, v);
}

/* The lowest point of the rewinds since that epoch; UINT32_MAX if none. */
uint32_t nbi_low_since(const nb_tape *t, uint32_t epoch);
/* The one tape of the operands, all alive or plain numbers; NULL after an error or with an inert
 * operand: *inert is then what the operation returns. */
nb_tape *nbi_home(const char *op, size_t n, const nb_var *x, nb_var *inert);
/* Whether x names a live node; otherwise an error on its tape, if it has one. */
bool nbi_check(const char *what, nb_var x);

/* ---- errors ---------------------------------------------------------------------------------- */

/* Puts the first error on the tape. Returns code. */
nb_code nbi_fail(nb_tape *t, nb_code code, const char *format, ...) NBI_FORMAT(3, 4);
nb_code nbi_no_memory(nb_tape *t, const char *what);
/* Whether a rule of an operation is under way, which must not do this; an error if so. */
bool nbi_busy(nb_tape *t, const char *what);
/* "tanh: the value is nan" with the node's operands; for anomaly mode. */
nb_code nbi_anomaly(nb_tape *t, uint32_t i, const char *what);

/* ---- recording ------------------------------------------------------------------------------- */

bool nbi_room(nb_tape *t); /* for one more node */
void nbi_labels_truncate(nb_tape *t, uint32_t length);
uint32_t *nbi_list_room(nb_tape *t, size_t n);            /* for n more operands */
bool nbi_constant_at(nb_tape *t, double v, uint32_t *at); /* its node, shared or new */
void nbi_truncate(nb_tape *t, const nb_mark *m);          /* forgets nodes, same epoch */
nb_code nbi_new_epoch(nb_tape *t,
                      uint32_t low); /* starts an epoch: handles from low on are stale */
/* The fast path of rows with three operands, as nabla/inline.h has it for two: each is a variable
 * scalar of the one tape, or a number that has a node already. Fills at and returns the tape. */
static inline bool nbi_place3(nb_tape *t, nb_var x, uint32_t *at)
{
    const nbi_hot *h = &t->hot;
    *at = x.index;
    if (x.tape)
        return x.tape == t && x.epoch == h->epoch;
    double value = nbi_number(x);
    *at = *nbi_shared_slot(&t->hot, value);
    return *at < h->length && h->ops[*at] == NBI_CONSTANT &&
           !memcmp(&h->cells[*at].value, &value, sizeof value);
}

static inline nb_tape *nbi_fast3(nb_var x, nb_var y, nb_var z, uint32_t *at)
{
    nb_tape *t = x.tape;
    if (!t || t->hot.length >= t->hot.limit || t->list_capacity - t->list_length < 3)
        return NULL;
    return nbi_place3(t, x, at) && nbi_place3(t, y, at + 1) && nbi_place3(t, z, at + 2) ? t : NULL;
}

static inline nb_var nbi_push3(nb_tape *t, uint8_t op, const uint32_t *at, double value)
{
    memcpy(t->list + t->list_length, at, 3 * sizeof *at);
    t->list_length += 3;
    return nbi_push(t, op, (uint32_t)t->list_length - 3, 3, value);
}

/* A scalar node of a row; the operands are alive, on t, and scalar. */
nb_var nbi_record_row(nb_tape *t, enum nbi_row row, const nb_var *x, double value);
nbi_record *nbi_leaf(nb_tape *t, nb_shape shape, void *data, bool still, nb_var *out);
static inline size_t nbi_element(nb_dtype d)
{
    return d == NB_F64 ? sizeof(double) : sizeof(float);
}
/* Memory until the scratch is given back to where it was. */
void *nbi_scratch(nb_tape *t, size_t bytes);

/* ---- sweeping -------------------------------------------------------------------------------- */

/* A buffer of so many bytes from the pool of adjoints; NULL after an error. The pool is emptied when the
 * next backward sweep begins. */
void *nbi_buffer(nb_tape *t, size_t bytes);
void nbi_buffer_release(nb_tape *t, void *p, size_t bytes);
/* The adjoint buffer of tensor node i, made if need be; *add says whether it holds something. */
void *nbi_adjoint(nb_tape *t, uint32_t i, bool *add);
/* Adds an array to the adjoint of node i, summing over axes along which i was broadcast. */
bool nbi_accumulate(nb_tape *t, uint32_t i, const nb_array *a);
/* Passes the adjoint of a record, or of a function of many scalars, on to its operands. */
/* Whether d, the answer of a rule, can be the adjoint or tangent of node i: a number, or alive on this
 * tape and of a shape that stretches to the node's, or that the node's stretches to. */
bool nbi_fits(nb_tape *t, nb_var d, uint32_t i);
bool nbi_reverse_record(nb_tape *t, uint32_t i, const uint8_t *wanted);
void nbi_reverse_many(nb_tape *t, uint32_t i, double g, const uint8_t *wanted);
/* Pushes the tangents of a record's operands through it. */
bool nbi_forward_record(nb_tape *t, uint32_t i);
/* Room for the tangents of the nodes [from, to), which are at the end of the tape: zeros. */
bool nbi_tangents_room(nb_tape *t, uint32_t from, uint32_t to);
/* Pushes the tangents up the nodes [from, to), but for those that are given. */
bool nbi_push_tangents(nb_tape *t, uint32_t from, uint32_t to, const uint8_t *given);
/* The value of a function of many scalars, from its operands' present values. */
double nbi_value_many(const nb_tape *t, uint32_t i);
double nbi_tangent_many(const nb_tape *t, uint32_t i);
double nbi_partial_many(const nb_tape *t, uint32_t i, size_t k);
/* The derivatives by all operands at once. */
void nbi_partials_many(const nb_tape *t, uint32_t i, double *z);
/* The plain sweep from node `from` down to `to`, restricted to wanted nodes if that is not NULL. */
bool nbi_sweep(nb_tape *t, uint32_t from, uint32_t to, const uint8_t *wanted);
/* Anomaly mode's look at the nodes from `from` down to `to`: the local derivatives of those with
 * reached[i - to], also where the adjoint is 0; and the adjoints, after the sweep. */
bool nbi_partials_finite(nb_tape *t, uint32_t from, uint32_t to, const uint8_t *reached,
                         const uint8_t *wanted);
bool nbi_adjoints_finite(nb_tape *t, uint32_t from, uint32_t to);
void nbi_adjoint_release(nb_tape *t, nbi_record *r);
void nbi_adjoints_clear(nb_tape *t, bool leaves_too);
/* Gives back the buffers of the nodes from `length` to `end`, which are about to be forgotten. */
void nbi_adjoints_release(nb_tape *t, uint32_t length, uint32_t end);

/* View of node i's value as the rules see it. A scalar's value on a float tape is rounded into
 * *rounded. */
static inline nb_array nbi_array_of(const nb_tape *t, uint32_t i, float *rounded)
{
    const nbi_record *r = t->hot.ops[i] == NBI_RECORD ? nbi_record_at(t, i) : NULL;
    if (r && r->rank >= 0)
        return (nb_array){r->data, r->dims, r->size, r->rank, t->dtype};
    *rounded = (float)t->hot.cells[i].value;
    void *data = t->dtype == NB_F64 ? (void *)&t->hot.cells[i].value : rounded;
    return (nb_array){data, NULL, 1, -1, t->dtype};
}

static inline nb_mark nbi_mark(nb_tape *t)
{
    return (nb_mark){
        t, t->hot.length, t->hot.epoch, t->list_length, t->values.at.used, t->values.at.chunk};
}

/* Operand k of node i and their number, whatever its kind. */
size_t nbi_operands(const nb_tape *t, uint32_t i);
uint32_t nbi_operand(const nb_tape *t, uint32_t i, size_t k);
/* The operands that a gradient may flow to from node i, constants among them, and their number: 0 for
 * a still node. Valid until something is recorded. Made for walks over all nodes. */
size_t nbi_ways(const nb_tape *t, uint32_t i, const uint32_t **in);
/* The rows as operations, in the order of enum nbi_row; defined beside the table's scalar values. */
typedef struct nbi_row_info {
    const char *name, *text;
    int arity;       /* 1 to 3 */
    uint8_t opcode;  /* of a node of the row, all operands variable; 0 for a test */
    double range[6]; /* of each operand's samples; low equal to high marks a whole number */
} nbi_row_info;
extern const nbi_row_info nbi_rows[NBI_ROWS];
/* The row of a node, or -1. */
int nbi_row_of(const nb_tape *t, uint32_t i);

/* ---- sharing work ---------------------------------------------------------------------------- */

/* The threads that nbi_share may use. */
int nbi_workers(const nb_tape *t);
/* nbi_crew_share with the tape's crew. */
void nbi_share(nb_tape *t, int64_t n, int64_t grain, nbi_piece *work, void *context);

/* The matrix product by the kernel that suits the machine. */
bool nbi_tape_matmul(nb_tape *t, nb_dtype d, nbi_matmul *p);

/* Entries along `rank` axes, none of size 0; from one to the next along axis i, operand o of a product
 * (a, b and c) moves by step[o][i] elements. */
typedef struct nbi_batch {
    int rank;
    const int64_t *dims;
    const int64_t *step[3];
} nbi_batch;

/* A product for every entry. Those that share a c, where steps are 0, come in order. */
bool nbi_tape_matmul_batch(nb_tape *t, nb_dtype d, const nbi_matmul *p, const nbi_batch *batch);

#endif
