/*
 * The pool: that every output is computed once, by whole parts, whatever the threads do; that no
 * thread is started for nothing; that a system without threads to give is borne; and that several
 * users may ask at once.
 *
 * A tally has a counter per output and a flag per worker, which a part raises while it is at work:
 * two parts at once under one worker's number would see each other.
 */
#include "base/pool.h"

#include "counting.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST = 5000, WORKERS = 8 };

typedef struct tally {
    unsigned char count[MOST]; /* plain: each is one thread's at a time */
    atomic_int at_work[WORKERS];
    atomic_int parts, helped, faults;
    int64_t grain, n;
    int pause; /* microseconds that a part takes */
} tally;

static void count_outputs(void *context, int64_t from, int64_t to, int worker)
{
    tally *c = context;
    if (worker < 0 || worker >= WORKERS || atomic_exchange(&c->at_work[worker], 1))
        atomic_fetch_add(&c->faults, 1);
    if (from % c->grain || (to % c->grain && to != c->n) || (to - from < c->grain && to < c->n))
        atomic_fetch_add(&c->faults, 1);
    for (int64_t i = from; i < to; i++)
        c->count[i]++;
    if (c->pause)
        usleep((useconds_t)c->pause);
    atomic_fetch_add(&c->parts, 1);
    atomic_fetch_add(&c->helped, worker > 0);
    atomic_store(&c->at_work[worker], 0);
}

/* Shares n outputs and holds the tally to what it must be. */
static void share(const nbi_crew *crew, tally *c, int64_t n, int64_t grain)
{
    memset(c->count, 0, sizeof c->count);
    c->n = n;
    c->grain = grain;
    nbi_crew_share(crew, n, grain, count_outputs, c);
    int wrong = 0;
    for (int64_t i = 0; i < MOST; i++)
        wrong += c->count[i] != (i < n);
    ck_assert_int_eq(wrong, 0);
    ck_assert_int_eq(atomic_load(&c->faults), 0);
}

START_TEST(every_output_is_computed_once)
{
    static tally c;
    const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 31, 64, 100, 1023, 4999, 5000};
    const int64_t grains[] = {1, 2, 3, 8, 64, 1000, 5000};
    nbi_crew crew = {.pool = nb_pool_new(_i, NULL)};
    ck_assert_int_eq(nb_pool_threads(crew.pool), _i);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof grains / sizeof *grains; j++) {
            atomic_store(&c.parts, 0);
            share(&crew, &c, sizes[i], grains[j]);
            int64_t units = sizes[i] / grains[j];
            if (_i == 1 || units < 2)
                ck_assert_int_eq(atomic_load(&c.parts), sizes[i] > 0);
            else
                ck_assert_int_ge(atomic_load(&c.parts), units < _i ? units : _i);
        }
    ck_assert_int_eq(nb_pool_status(crew.pool), NB_OK);
    ck_assert_str_eq(nb_pool_message(crew.pool), "");
    nb_pool_free(crew.pool);
}
END_TEST

START_TEST(a_crew_without_a_pool_works_alone)
{
    static tally c;
    const nbi_crew alone = {0};
    ck_assert_int_eq(nbi_crew_size(&alone), 1);
    share(&alone, &c, 1000, 1);
    ck_assert_int_eq(atomic_load(&c.parts), 1);
    ck_assert_int_eq(atomic_load(&c.helped), 0);
}
END_TEST

START_TEST(small_work_starts_no_thread)
{
    static tally c;
    nbi_crew crew = {.pool = nb_pool_new(4, NULL)};
    for (int i = 0; i < 100; i++)
        share(&crew, &c, 1999, 1000);
    ck_assert_int_eq(nbi_pool_started(crew.pool), 0);
    ck_assert_int_eq(atomic_load(&c.parts), 100);
    share(&crew, &c, 2000, 1000);
    ck_assert_int_eq(nbi_pool_started(crew.pool), 3);
    ck_assert_int_eq(atomic_load(&c.parts), 102);
    nb_pool_free(crew.pool);
}
END_TEST

START_TEST(a_grain_for_tests_overrules)
{
    static tally c;
    nbi_crew crew = {.pool = nb_pool_new(3, NULL), .grain = 1};
    share(&crew, &c, 12, 1);
    ck_assert_int_eq(atomic_load(&c.parts), 12);
    ck_assert(nbi_crew_shares(&crew, 2, 1000000));
    crew.grain = 0;
    ck_assert(!nbi_crew_shares(&crew, 2, 1000000));
    ck_assert(!nbi_crew_shares(&crew, INT64_MAX, INT64_MAX));
    nb_pool_free(crew.pool);
}
END_TEST

/* Rounds in quick succession, and with pauses in which all fall asleep. */
START_TEST(many_rounds)
{
    static tally c;
    nbi_crew crew = {.pool = nb_pool_new(4, NULL)};
    for (int i = 0; i < 3000; i++)
        share(&crew, &c, 40 + i % 7, 2);
    for (int i = 0; i < 50; i++) {
        usleep(500);
        share(&crew, &c, 400, 10);
    }
    nb_pool_free(crew.pool);
}
END_TEST

/* Parts that take long: the owner falls asleep waiting, and the others do help. */
START_TEST(long_parts)
{
    static tally c;
    c.pause = 2000;
    nbi_crew crew = {.pool = nb_pool_new(3, NULL)};
    for (int i = 0; i < 5; i++)
        share(&crew, &c, 12, 1);
    ck_assert_int_gt(atomic_load(&c.helped), 0);
    nb_pool_free(crew.pool);
}
END_TEST

static void check_mask(void *context, int64_t from, int64_t to, int worker)
{
    sigset_t mask;
    (void)from, (void)to;
    usleep(1000);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    if (worker > 0)
        atomic_fetch_add((atomic_int *)context, sigismember(&mask, SIGUSR1) ? 1 : 1000);
    else if (sigismember(&mask, SIGUSR1))
        atomic_fetch_add((atomic_int *)context, 1000000);
}

START_TEST(workers_take_no_signals)
{
    atomic_int seen = 0;
    nbi_crew crew = {.pool = nb_pool_new(2, NULL)};
    for (int i = 0; i < 20 && !atomic_load(&seen); i++)
        nbi_crew_share(&crew, 8, 1, check_mask, &seen);
    ck_assert_int_gt(atomic_load(&seen), 0);
    ck_assert_int_lt(atomic_load(&seen), 1000);
    nb_pool_free(crew.pool);
}
END_TEST

/* ---- several users --------------------------------------------------------------------------- */

static void *use(void *argument)
{
    const nbi_crew *crew = argument;
    tally *c = calloc(1, sizeof *c);
    for (int i = 0; i < 500; i++) {
        c->n = 100 + i % 50;
        c->grain = 3;
        memset(c->count, 0, sizeof c->count);
        nbi_crew_share(crew, c->n, c->grain, count_outputs, c);
        for (int64_t k = 0; k < MOST; k++)
            if (c->count[k] != (k < c->n))
                atomic_fetch_add(&c->faults, 1);
    }
    return c;
}

START_TEST(several_users_share_a_pool)
{
    pthread_t user[3];
    nbi_crew crew = {.pool = nb_pool_new(3, NULL)};
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&user[i], NULL, use, &crew), 0);
    for (int i = 0; i < 3; i++) {
        void *c;
        pthread_join(user[i], &c);
        ck_assert_int_eq(atomic_load(&((tally *)c)->faults), 0);
        free(c);
    }
    nb_pool_free(crew.pool);
}
END_TEST

/* ---- what may be missing --------------------------------------------------------------------- */

static atomic_int to_give; /* threads that the system has left */

static int give_few(void *thread, void *(*body)(void *), void *argument)
{
    return atomic_fetch_sub(&to_give, 1) > 0 ? pthread_create(thread, NULL, body, argument)
                                             : EAGAIN;
}

START_TEST(a_pool_makes_do_with_the_threads_there_are)
{
    static tally c;
    char text[64];
    nbi_crew crew = {.pool = nb_pool_new(6, NULL)};
    atomic_store(&to_give, _i);
    nbi_pool_start_by(crew.pool, give_few);
    ck_assert_int_eq(nb_pool_threads(crew.pool), 6);
    for (int i = 0; i < 100; i++)
        share(&crew, &c, 1000, 10);
    ck_assert_int_eq(nb_pool_threads(crew.pool), _i + 1);
    ck_assert_int_eq(nbi_pool_started(crew.pool), _i);
    ck_assert_int_eq(nb_pool_status(crew.pool), NB_ERR_THREAD);
    snprintf(text, sizeof text, "6 threads were asked for, %d could be started", _i + 1);
    ck_assert_ptr_nonnull(strstr(nb_pool_message(crew.pool), text));
    nb_pool_free(crew.pool);
}
END_TEST

START_TEST(memory_is_asked_for_once_and_given_back)
{
    static tally c;
    counting k = {0};
    nb_allocator allocator = counting_allocator(&k);
    nbi_crew crew = {.pool = nb_pool_new(3, &allocator)};
    share(&crew, &c, 1000, 1);
    ck_assert_uint_eq(k.calls, 1);
    nb_pool_free(crew.pool);
    ck_assert_uint_eq(k.blocks, 0);
    k = (counting){.refuse = 1};
    ck_assert_ptr_null(nb_pool_new(3, &allocator));
}
END_TEST

START_TEST(pools_that_are_hardly_there)
{
    nb_pool_free(NULL);
    nb_pool_free(nb_pool_new(4, NULL)); /* never used */
    ck_assert_int_eq(nb_pool_threads(NULL), 1);
    ck_assert_int_eq(nb_pool_status(NULL), NB_ERR_ARGUMENT);
    ck_assert_str_eq(nb_pool_message(NULL), "there is no pool");
}
END_TEST

START_TEST(all_threads_are_those_that_may_run)
{
    cpu_set_t may, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof may, &may), 0);
    nb_pool *p = nb_pool_new(NB_ALL_THREADS, NULL), *q = nb_pool_new(0, NULL);
    ck_assert_int_eq(nb_pool_threads(p), CPU_COUNT(&may));
    ck_assert_int_eq(nb_pool_threads(q), CPU_COUNT(&may));
    nb_pool_free(p);
    nb_pool_free(q);
    CPU_ZERO(&one);
    for (size_t i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
        if (CPU_ISSET(i, &may))
            CPU_SET(i, &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    p = nb_pool_new(NB_ALL_THREADS, NULL);
    ck_assert_int_eq(nb_pool_threads(p), 1);
    nb_pool_free(p);
    p = nb_pool_new(1 << 30, NULL); /* lowered to what is sane, and not started */
    ck_assert_int_le(nb_pool_threads(p), 1024);
    nb_pool_free(p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("pool");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, every_output_is_computed_once, 1, 6);
    tcase_add_test(c, a_crew_without_a_pool_works_alone);
    tcase_add_test(c, small_work_starts_no_thread);
    tcase_add_test(c, a_grain_for_tests_overrules);
    tcase_add_test(c, many_rounds);
    tcase_add_test(c, long_parts);
    tcase_add_test(c, workers_take_no_signals);
    tcase_add_test(c, several_users_share_a_pool);
    tcase_add_loop_test(c, a_pool_makes_do_with_the_threads_there_are, 0, 4);
    tcase_add_test(c, memory_is_asked_for_once_and_given_back);
    tcase_add_test(c, pools_that_are_hardly_there);
    tcase_add_test(c, all_threads_are_those_that_may_run);
    return run_case("pool", c);
}
