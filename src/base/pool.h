/*
 * Sharing work, from inside.
 *
 * A piece of work is a function over outputs [0, n). It is cut at fixed places; the threads take the
 * parts in turn, off one counter, and each part is computed whole by one thread. So the result does
 * not depend on the number of threads, provided that what a part computes for an output does not
 * depend on where the cuts lie.
 *
 * A crew is who may work: a pool, or nobody but the caller.
 */
#ifndef NABLA_SRC_POOL_H
#define NABLA_SRC_POOL_H

#include <nabla/pool.h>

/* Computes the outputs [from, to). worker, from 0 to nbi_crew_size - 1, tells which thread it is, for
 * scratch of its own; 0 is the caller. A piece of a tensor operation must touch neither the tape nor its
 * allocator, which are one thread's, nor share work. A piece that leads to a caller's function, as a trial of
 * a search or a part of a batch does, may do what it likes with what is its own: a tape, for one, even if the
 * tape's pool is this one, which it then finds busy. */
typedef void nbi_piece(void *context, int64_t from, int64_t to, int worker);

typedef struct nbi_crew {
    nb_pool *pool; /* or NULL */
    int64_t grain; /* if not 0, instead of every grain: for tests, whose work is small */
} nbi_crew;

/* The most threads that a piece of work may be shared among. */
int nbi_crew_size(const nbi_crew *c);
/* Whether so many outputs of that grain would be shared. */
bool nbi_crew_shares(const nbi_crew *c, int64_t n, int64_t grain);
/* Covers [0, n). All cuts lie at multiples of `grain`, and all parts are at least that long if n is:
 * a grain should be worth some ten microseconds. */
void nbi_crew_share(const nbi_crew *c, int64_t n, int64_t grain, nbi_piece *work, void *context);

/* How a pool starts threads: pthread_create, unless a test puts one that fails. */
typedef int nbi_start_thread(void *thread, void *(*body)(void *), void *argument);
void nbi_pool_start_by(nb_pool *p, nbi_start_thread *start);
/* Threads that have been started. */
int nbi_pool_started(const nb_pool *p);

#endif
