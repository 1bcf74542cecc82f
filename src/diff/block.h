/*
 * A block of directions or seeds, swept together.
 *
 * J V for a block V of directions, or U'J for a block U of seeds, is one sweep in which every node
 * carries up to NBI_LANES tangents or adjoints side by side. What a node costs whatever it carries
 * (reading it, its local derivatives, the search for its operands) is then paid once for the block,
 * and what it costs per number is a multiplication and an addition in vector code.
 *
 * Only nodes between the inputs and the outputs take part: those that some input leads to and that
 * lead to some output. They are found once, by a walk each way, for all the sweeps of the block.
 *
 * A node's lanes live from the first number that arrives to the last that is read: in a reverse
 * sweep until the node is visited, in a forward sweep until its last consumer is. So a sweep holds
 * as many lanes as the graph is wide, not as it is long, and mostly in the first-level cache. What
 * was asked for is kept until it has been read. The tape's own adjoints and tangents are left
 * alone.
 *
 * Lanes: of a scalar node NBI_LANES doubles, all in use; of a tensor `lanes` arrays one after the
 * other, of which `full` says, bit by bit, which hold something: the others are zero, unwritten.
 */
#ifndef NABLA_SRC_DIFF_BLOCK_H
#define NABLA_SRC_DIFF_BLOCK_H

#include "tape/tape.h"

enum { NBI_LANES = 16 };
typedef uint16_t nbi_mask; /* a bit for each */

/* A node takes no part; takes part; and its lanes are asked for. */
enum nbi_role { NBI_OFF, NBI_ON, NBI_ASKED };

typedef struct nbi_block {
    nb_tape *t;
    const char *what; /* the caller's name, for messages */
    bool forward;
    uint32_t low, high; /* the nodes that take part lie in [low, high] */
    uint8_t *role;      /* [high + 1] enum nbi_role */
    nbi_mask *full;     /* [high + 1] */
    void **at;          /* [high + 1] the lanes, NULL where all are zero */
    uint32_t *last;     /* [high + 1] forward: the last consumer that takes part */
    double
        *tangent;  /* [high + 1] forward, for records: what the tape's field points to meanwhile */
    size_t lanes;  /* in the sweep under way */
    double *spare; /* free lanes of scalars, linked by their first word */
    size_t n_spare;
    nbi_spot scratch;
} nbi_block;

/* Finds the nodes that take part. The vars are live nodes of t. After an error nothing is open. */
nb_code nbi_block_open(nbi_block *b, const char *what, nb_tape *t, bool forward, size_t n_out,
                       const nb_var *out, size_t n_in, const nb_var *in);
void nbi_block_close(nbi_block *b);

/* A sweep: begun with the number of lanes, seeded, run, read, ended. Seeds go to outputs, or
 * forward to inputs, and add up; a node that takes no part ignores them and reads zeros. */
void nbi_block_begin(nbi_block *b, size_t lanes);
nb_code nbi_block_seed(nbi_block *b, nb_var x, size_t lane, const double *d);
nb_code nbi_block_seed_one(nbi_block *b, nb_var x, size_t lane, int64_t element, double d);
nb_code nbi_block_run(nbi_block *b);
/* Element j goes to to[j * step]. */
void nbi_block_read(const nbi_block *b, nb_var x, size_t lane, double *to, size_t step);
/* One of them. */
static inline double nbi_block_number(const nbi_block *b, nb_var x, size_t lane, size_t element)
{
    const uint32_t i = x.index;
    if (i > b->high || !b->at[i])
        return 0;
    if (!nbi_is_tensor(b->t, i))
        return ((const double *)b->at[i])[lane];
    if (!(b->full[i] >> lane & 1))
        return 0;
    const size_t at = lane * (size_t)nbi_record_at(b->t, i)->size + element;
    return b->t->dtype == NB_F64 ? ((const double *)b->at[i])[at]
                                 : (double)((const float *)b->at[i])[at];
}
void nbi_block_end(nbi_block *b);

/* ---- between the files of the block ---------------------------------------------------------- */

/* The lanes of scalar node i, zeros at first; NULL after an error. */
double *nbi_block_numbers(nbi_block *b, uint32_t i);
/* The arrays of tensor node i, unwritten at first. */
void *nbi_block_arrays(nbi_block *b, uint32_t i);
/* Lane l of tensor node i as an array. */
nb_array nbi_block_lane(const nbi_block *b, uint32_t i, size_t l);
/* Lanes [first, first + count) of tensor node i as one array with a leading axis; dims has room for
 * its dims. *add says whether they all hold something; if only some do, the others are zeroed. */
nb_array nbi_block_stack(nbi_block *b, uint32_t i, size_t first, size_t count, int64_t *dims,
                         bool *add);
void nbi_block_release(nbi_block *b, uint32_t i);
/* The lanes of node i that hold something other than zero. */
nbi_mask nbi_block_active(const nbi_block *b, uint32_t i);

/* Passes the lanes of node i on to its operands, or forward makes them from its operands'. */
bool nbi_block_reverse_many(nbi_block *b, uint32_t i);
bool nbi_block_forward_many(nbi_block *b, uint32_t i);
bool nbi_block_reverse_record(nbi_block *b, uint32_t i);
bool nbi_block_forward_record(nbi_block *b, uint32_t i);
/* Whether node i is an output of a segment or loop, whose lanes wait for its base. */
bool nbi_block_waits(const nbi_block *b, uint32_t i);
/* Whether the record is a row of the table whose lanes go in one go, and that: down with the lanes
 * [first, first + count), up with all. */
bool nbi_block_is_row(const nbi_record *r);
bool nbi_block_reverse_row(nbi_block *b, uint32_t i, size_t first, size_t count);
bool nbi_block_forward_row(nbi_block *b, uint32_t i);

#endif
