/*
 * nabla/pool.h: threads that share the work of tensor operations.
 *
 * A tape computes on the thread that calls it, alone, unless it is given help: a pool of its own
 * (nb_options.threads), or one that several tapes share (nb_options.pool):
 *
 *     nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32, .threads = NB_ALL_THREADS});
 *
 * Results are bitwise the same for any number of threads: work is split over outputs, never over a
 * sum. Work that is over in a few ten microseconds stays on one thread, and no thread is started
 * before there is work that is worth it.
 *
 * Tapes on different threads may share a pool and use it at the same time. It serves one of them at
 * a time; one that finds it busy does its work alone, and is none the worse for it.
 *
 * Where the system refuses to start some of the threads, the pool works with those it has, which may be
 * the caller's alone, and its status says so; for a pool of its own so does the tape's, once.
 *
 * The threads wait for work a few microseconds awake and then asleep; they take no signals and call
 * no allocator. A pool does not survive a fork: a child makes its own.
 */
#ifndef NABLA_POOL_H
#define NABLA_POOL_H

#include <nabla/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nb_pool nb_pool;

#define NB_ALL_THREADS (-1) /* as many as there are processors that this process may run on */

/* A pool of so many threads, the one that calls among them: 1 means no help. 0 is NB_ALL_THREADS.
 * allocator may be NULL. Returns NULL only when there is no memory. */
NB_API nb_pool *nb_pool_new(int threads, const nb_allocator *allocator);
/* The tapes that use it must have been freed. NULL is fine. */
NB_API void nb_pool_free(nb_pool *p);

/* As many as were asked for, or, once some could not be started, as there are. */
NB_API int nb_pool_threads(const nb_pool *p);
/* NB_ERR_THREAD once some thread could not be started. */
NB_API nb_code nb_pool_status(const nb_pool *p);
NB_API const char *nb_pool_message(const nb_pool *p); /* "" when there is none */

#ifdef __cplusplus
}
#endif
#endif
