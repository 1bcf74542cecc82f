/*
 * The pool of threads.
 *
 * One piece of work is under way at a time, a round. Whoever has work takes the pool by a flag, or
 * does without. All that a round needs is a counter of parts and one word, the gate:
 *
 *     round | open | stop | inside         which round; may one enter; the end; how many are inside
 *
 * The owner writes down the work, opens the gate, takes parts itself until none is left, closes the
 * gate and waits until nobody is inside. A worker that finds the gate open enters, takes parts until
 * none is left, and leaves; it enters a round only once. So the owner waits for those who are at
 * work and for nobody else: a worker that the system is slow to wake, or that is busy elsewhere on a
 * loaded machine, misses the round, and the others do its share. What the work is may be written
 * only while the gate is shut and nobody is inside, and read only inside; entering acquires what
 * opening released, and shutting up acquires what leaving released.
 *
 * Waiting, on either side, begins awake, since the next piece of a training step is a few
 * microseconds away, and ends asleep on a condition. Who goes to sleep first says so and then looks
 * again; who changes the gate first changes it and then looks for sleepers. In the one order that
 * both see (these accesses are sequentially consistent) one of the two sees the other: no wake-up is
 * lost, and none is paid for when nobody sleeps.
 */
#include "base/pool.h"
#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { MOST_THREADS = 1024, PARTS_EACH = 4, LINE = 64, AWAKE_NS = 30000, MESSAGE = 120 };

#define INSIDE 0x3fffffffu
#define STOP   0x40000000u
#define OPEN   0x80000000u
#define ROUND  32 /* the shift of its number */

typedef struct worker {
    nb_pool *pool;
    int number;
    pthread_t thread;
} worker;

struct nb_pool {
    nbi_heap heap;
    nbi_start_thread *start;
    int wanted, started;
    pthread_mutex_t lock;
    pthread_cond_t opened, left;
    atomic_int threads, status;
    char message[MESSAGE];
    atomic_bool busy;

    nbi_piece *work; /* what a round does; of the owner */
    void *context;
    int64_t n, parts, grain;

    char apart[LINE]; /* words that change often lie on lines of their own */
    atomic_ullong gate;
    atomic_int sleepers;
    atomic_bool owner_sleeps;
    char more[LINE];
    atomic_llong next; /* part to take */
    char yet_more[LINE];
    worker worker[]; /* from 1 on; the owner is number 0 */
};

/* ---- waiting --------------------------------------------------------------------------------- */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool may_enter(unsigned long long gate, uint32_t last)
{
    return (gate & OPEN && (uint32_t)(gate >> ROUND) != last) || gate & STOP;
}

static bool all_left(unsigned long long gate, uint32_t unused)
{
    (void)unused;
    return !(gate & INSIDE);
}

/* Whether the gate is as wished before patience ends. */
static bool awake(nb_pool *p, bool (*wished)(unsigned long long, uint32_t), uint32_t round)
{
    for (int64_t end = 0;;) {
        for (int i = 0; i < 16; i++, relax())
            if (wished(atomic_load(&p->gate), round))
                return true;
        if (!end)
            end = now() + AWAKE_NS;
        else if (now() > end)
            return false;
    }
}

/* Until there is a round other than the last, or the end. */
static void await_round(nb_pool *p, uint32_t last)
{
    if (awake(p, may_enter, last))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!may_enter(atomic_load(&p->gate), last))
        pthread_cond_wait(&p->opened, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void wake(nb_pool *p, int64_t most)
{
    int64_t sleepers = atomic_load(&p->sleepers);
    if (sleepers == 0)
        return;
    pthread_mutex_lock(&p->lock);
    if (sleepers <= most)
        pthread_cond_broadcast(&p->opened);
    for (; sleepers > most && most > 0; most--)
        pthread_cond_signal(&p->opened);
    pthread_mutex_unlock(&p->lock);
}

static void await_all_left(nb_pool *p)
{
    if (awake(p, all_left, 0))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->owner_sleeps, true);
    while (!all_left(atomic_load(&p->gate), 0))
        pthread_cond_wait(&p->left, &p->lock);
    atomic_store(&p->owner_sleeps, false);
    pthread_mutex_unlock(&p->lock);
}

/* ---- a round --------------------------------------------------------------------------------- */

/* Where part k begins: parts are equal to within one grain, and the last has what is over. */
static int64_t cut(const nb_pool *p, int64_t k)
{
    const int64_t units = p->n / p->grain, each = units / p->parts, more = units % p->parts;
    return k == p->parts ? p->n : (each * k + (k < more ? k : more)) * p->grain;
}

static void take_parts(nb_pool *p, int number)
{
    int64_t k;
    while ((k = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->parts)
        p->work(p->context, cut(p, k), cut(p, k + 1), number);
}

static void leave(nb_pool *p)
{
    unsigned long long before = atomic_fetch_sub(&p->gate, 1);
    if ((before & INSIDE) == 1 && atomic_load(&p->owner_sleeps)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->left);
        pthread_mutex_unlock(&p->lock);
    }
}

static void *worker_main(void *argument)
{
    const worker *w = argument;
    nb_pool *p = w->pool;
    uint32_t last = 0;
    for (;;) {
        unsigned long long gate = atomic_load(&p->gate);
        if (gate & STOP)
            return NULL;
        if (!may_enter(gate, last))
            await_round(p, last);
        else if (atomic_compare_exchange_weak(&p->gate, &gate, gate + 1)) {
            last = (uint32_t)(gate >> ROUND);
            take_parts(p, w->number);
            leave(p);
        }
    }
}

static void run_round(nb_pool *p, int64_t n, int64_t grain, nbi_piece *work, void *context)
{
    const int64_t units = n / grain, most = (int64_t)PARTS_EACH * nb_pool_threads(p);
    const unsigned long long round = (atomic_load(&p->gate) >> ROUND) + 1;
    p->work = work;
    p->context = context;
    p->n = n;
    p->parts = units < most ? units : most;
    p->grain = grain;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store(&p->gate, round << ROUND | OPEN);
    wake(p, p->parts - 1);
    take_parts(p, 0);
    atomic_fetch_and(&p->gate, ~(unsigned long long)OPEN);
    await_all_left(p);
}

/* ---- starting and ending --------------------------------------------------------------------- */

static int start_thread(void *thread, void *(*body)(void *), void *argument)
{
    return pthread_create(thread, NULL, body, argument);
}

/* Signals are for the threads of the program, so these block them all, as their maker does while it
 * makes them. */
static void start(nb_pool *p)
{
    sigset_t all, before;
    int failure = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < p->wanted && !failure; i++) {
        p->worker[i] = (worker){.pool = p, .number = i};
        failure = p->start(&p->worker[i].thread, worker_main, &p->worker[i]);
        p->started = failure ? i : i + 1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!failure)
        return;
    snprintf(p->message, sizeof p->message,
             "pool: %d threads were asked for, %d could be started (the system's error %d)",
             p->wanted, p->started, failure);
    atomic_store(&p->threads, p->started);
    atomic_store(&p->status, NB_ERR_THREAD);
}

static int processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n < MOST_THREADS ? (int)n : MOST_THREADS;
}

static size_t pool_bytes(int threads) { return sizeof(nb_pool) + (size_t)threads * sizeof(worker); }

nb_pool *nb_pool_new(int threads, const nb_allocator *allocator)
{
    const int wanted = threads <= 0             ? processors()
                       : threads < MOST_THREADS ? threads
                                                : MOST_THREADS;
    nbi_heap heap;
    nbi_heap_init(&heap, allocator, 0);
    nb_pool *p = nbi_resize(&heap, NULL, 0, pool_bytes(wanted));
    if (!p)
        return NULL;
    *p = (nb_pool){.heap = heap, .start = start_thread, .wanted = wanted};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->opened, NULL);
    pthread_cond_init(&p->left, NULL);
    atomic_init(&p->threads, wanted);
    return p;
}

void nb_pool_free(nb_pool *p)
{
    if (!p)
        return;
    atomic_fetch_or(&p->gate, STOP);
    wake(p, p->started);
    for (int i = 1; i < p->started; i++)
        pthread_join(p->worker[i].thread, NULL);
    pthread_cond_destroy(&p->left);
    pthread_cond_destroy(&p->opened);
    pthread_mutex_destroy(&p->lock);
    nbi_heap heap = p->heap;
    nbi_resize(&heap, p, pool_bytes(p->wanted), 0);
}

int nb_pool_threads(const nb_pool *p) { return p ? atomic_load(&p->threads) : 1; }

nb_code nb_pool_status(const nb_pool *p)
{
    return p ? (nb_code)atomic_load(&p->status) : NB_ERR_ARGUMENT;
}

const char *nb_pool_message(const nb_pool *p)
{
    return !p ? "there is no pool" : nb_pool_status(p) == NB_OK ? "" : p->message;
}

void nbi_pool_start_by(nb_pool *p, nbi_start_thread *by) { p->start = by; }

int nbi_pool_started(const nb_pool *p) { return p->started ? p->started - 1 : 0; }

/* ---- sharing --------------------------------------------------------------------------------- */

int nbi_crew_size(const nbi_crew *c) { return c->pool ? nb_pool_threads(c->pool) : 1; }

static int64_t grain_of(const nbi_crew *c, int64_t grain)
{
    return c->grain ? c->grain : grain > 1 ? grain : 1;
}

bool nbi_crew_shares(const nbi_crew *c, int64_t n, int64_t grain)
{
    return c->pool && n / 2 >= grain_of(c, grain) && nbi_crew_size(c) > 1;
}

static bool take(nb_pool *p)
{
    if (atomic_load_explicit(&p->busy, memory_order_relaxed) || atomic_exchange(&p->busy, true))
        return false;
    if (!p->started)
        start(p);
    return true;
}

void nbi_crew_share(const nbi_crew *c, int64_t n, int64_t grain, nbi_piece *work, void *context)
{
    if (n <= 0)
        return;
    if (!nbi_crew_shares(c, n, grain) || !take(c->pool)) {
        work(context, 0, n, 0);
        return;
    }
    run_round(c->pool, n, grain_of(c, grain), work, context);
    atomic_store(&c->pool->busy, false);
}
