/*
 * Regions: stretches of graph that are recorded anew whenever a sweep needs them.
 *
 * A region is one node, the base, whose operands are the older nodes that its interior refers to, and
 * behind it one node per output, which has the base as its operand. A segment calls its function
 * once; a loop calls it once per step, each time on the state that the call before returned.
 *
 * An image is a state apart from the tape: per output its elements and its source, which says what
 * stands for it on the tape:
 *
 *     an older node, below the base      the output is that node itself
 *     NBI_INERT                          a constant
 *     nbi_own(k)                         a var of its own if it is output k, else the same as that
 *
 * So vars that are one in the plain computation are one in the recomputed one, and every adjoint
 * is summed in the same order: gradients agree to the last bit.
 */
#ifndef NABLA_SRC_REGION_H
#define NABLA_SRC_REGION_H

#include <nabla/checkpoint.h>
#include "tape/tape.h"

/* The shape of an output, and where its elements stand in an image. */
typedef struct nbi_form {
    const int64_t *dims;
    int64_t size;
    int rank; /* -1: a scalar */
    size_t at, bytes;
} nbi_form;

typedef struct nbi_image {
    char *bytes;
    nb_rng *rng; /* the generators' states */
    uint32_t *source;
} nbi_image;

/* Counted down from the top, where no node's place is. */
static inline uint32_t nbi_own(size_t k) { return NBI_INERT - 1 - (uint32_t)k; }

/* The state of a base node. */
typedef struct nbi_region {
    const char *title; /* "segment \"name\"" */
    nb_segment_fn *once;
    nb_step_fn *step; /* one of the two */
    void *context;
    size_t n_rng, n_in, n_out;
    nb_rng *const *rng; /* the generators, and their states before the first call */
    nb_rng *first;
    const nb_var *in;
    nbi_form *form;
    size_t bytes; /* of an image's elements */
    uint32_t base;
    uint32_t *node;   /* per output what stands for it */
    uint32_t *source; /* of the final state */
    int64_t steps;
    /* A loop's kept states: slot[k] is that before step at[k], k < used. slot[memory] is that before
     * the last step, as long as the first pass's are there. */
    nbi_image *slot;
    int64_t *at, memory, used;
    bool first_pass;
} nbi_region;

/* Whether output k has a node of its own, and is not an older one, a constant or another output. */
static inline bool nbi_region_owns(const nbi_region *g, size_t k)
{
    return g->source[k] == nbi_own(k);
}

/* A set of nodes in the order in which they came, in scratch. */
typedef struct nbi_touched {
    uint32_t *list, *table;
    size_t count, room; /* of the list; the table has twice the room */
} nbi_touched;

extern const nb_op nbi_segment_op, nbi_loop_op;

/* ---- recording: region.c ---------------------------------------------------------------------- */

/* Whether what a call cannot do without is there: besides `given`, its outputs, its generators and a
 * context to be copied. If not, the outputs are inert. */
bool nbi_region_given(bool given, const nbi_region *like, size_t context_bytes, size_t n_out,
                      nb_var *out);
/* The tape's own copy of what `like` holds; NULL after an error. */
nbi_region *nbi_region_open(nb_tape *t, const nbi_region *like, const char *what, const char *name,
                            size_t context_bytes, size_t n_out);
/* Records one call, of a region whose interior starts at `low`; false after an error. */
bool nbi_region_call(nb_tape *t, const nbi_region *g, int64_t step, uint32_t low, const nb_var *in,
                     nb_var *out);
/* Fills in the forms of the outputs: theirs now. The dims stay where they are. */
bool nbi_region_forms(nb_tape *t, nbi_region *g, const nb_var *out);
/* Whether the outputs have the forms; else an error. */
bool nbi_region_fits(nb_tape *t, const nbi_region *g, const nb_var *out);
/* Adds the older nodes that the outputs depend on through the nodes from `low` on. */
bool nbi_region_touched(nb_tape *t, const nbi_region *g, uint32_t low, const nb_var *out,
                        nbi_touched *set);
/* Forgets the nodes since the mark; handles to them are stale. */
bool nbi_region_forget(nb_tape *t, const nb_mark *m);
/* Records the base and the outputs of the image. The outputs' vars, or false after an error. */
bool nbi_region_close(nb_tape *t, nbi_region *g, const nbi_touched *set, const nbi_image *m,
                      nb_var *out);
/* Argument k of the first call, with a fresh handle. */
static inline nb_var nbi_region_in(nb_tape *t, const nbi_region *g, size_t k)
{
    return g->in[k].tape ? nbi_var(t, g->in[k].index) : g->in[k];
}

/* ---- images: image.c -------------------------------------------------------------------------- */

/* The bytes of a whole image, a multiple of NBI_ALIGN; 0 on overflow. */
size_t nbi_image_size(const nbi_region *g);
nbi_image nbi_image_at(const nbi_region *g, void *p);
void nbi_image_copy(const nbi_region *g, nbi_image *to, const nbi_image *from);
/* What a call returned. The nodes from the base on among the outputs must not have been swept. */
void nbi_image_take(nb_tape *t, const nbi_region *g, const nb_var *out, nbi_image *m);
/* The state that the region's output nodes hold. */
void nbi_image_final(nb_tape *t, const nbi_region *g, nbi_image *m);
/* Vars for the state: in[k] for each output k; false after an error. */
bool nbi_image_record(nb_tape *t, const nbi_region *g, const nbi_image *m, nb_var *in);
/* Whether the two are the same; else an error that says the region is not pure. */
bool nbi_image_same(nb_tape *t, const nbi_region *g, int64_t step, const nbi_image *kept,
                    const nbi_image *now);

/* ---- sweeping: replay.c ----------------------------------------------------------------------- */

extern const nbi_inside nbi_region_base, nbi_region_output;
/* The first pass of a loop: all steps, the states that the schedule wants kept, the nodes that they
 * touch, and the final state, which is in scratch. */
bool nbi_region_run(nb_tape *t, nbi_region *g, nbi_touched *set, nbi_image *last);
/* Records all calls of the region as ordinary graph, for good. */
bool nbi_region_unroll(nb_tape *t, nbi_region *g, nb_var *out);

#endif
