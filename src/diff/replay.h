/*
 * Between the files that sweep a region: the work of making its steps again.
 */
#ifndef NABLA_SRC_REPLAY_H
#define NABLA_SRC_REPLAY_H

#include "diff/region.h"

typedef struct nbi_replay {
    nb_tape *t;
    nbi_region *g;
    const uint8_t *wanted;
    uint8_t *mask; /* wanted, continued to the interior's nodes */
    size_t mask_room;
    nbi_touched *touched; /* not NULL in the first pass */
    nb_var *in, *out;
    nbi_image now, seen, next;
    char *flow; /* adjoints or tangents of the state, laid out as an image's elements */
    bool *has;
    nb_rng *rng; /* the generators as the sweep found them */
    nb_mark before;
    uint32_t leaves;      /* end of the leaves that stand for the state */
    bool open, recording; /* recording: as it was */
    nbi_spot scratch;
} nbi_replay;

/* Whatever open returns, close gives back what was taken and restores the generators and whether the
 * tape records. */
bool nbi_replay_open(nbi_replay *r, nb_tape *t, nbi_region *g);
void nbi_replay_close(nbi_replay *r);
/* Records a step from r->now, or the first one from the arguments; r->seen is what it returned. */
bool nbi_replay_call(nbi_replay *r, int64_t step);
/* The base's turn in the sweeps. */
bool nbi_region_reverse(nb_tape *t, uint32_t i, const uint8_t *wanted);
bool nbi_region_forward(nb_tape *t, uint32_t i);
/* Makes r->now the state before step end - 1. */
bool nbi_replay_position(nbi_replay *r, int64_t end);

/* Whether output k is a var of its own in the state m, and not an older node or the same as another:
 * only such a one carries an adjoint. */
static inline bool nbi_replay_owned(const nbi_image *m, size_t k)
{
    return m->source[k] == nbi_own(k);
}

static inline void nbi_image_swap(nbi_image *a, nbi_image *b)
{
    const nbi_image m = *a;
    *a = *b;
    *b = m;
}

#endif
