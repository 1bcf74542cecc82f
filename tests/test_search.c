/*
 * The search: who goes on after a rung, what becomes of states, how it ends, and that the number of
 * threads cannot be told from what is found.
 *
 * A lab is an objective whose scores are a known curve of a trial's number and budget. It keeps a state
 * with each trial, which says how far the trial has come, and counts the states that are alive and each
 * trial's frees. Threads are brought out of order on purpose: a trial may wait for a later one, but not
 * for ever, in case there is no second thread.
 */
#include "counting.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

enum { MOST = 64 };

typedef double curve(int64_t number, int64_t budget);

typedef struct lab {
    curve *score;
    int64_t fail_number, fail_budget; /* from this trial on fail_code is returned, at this budget */
    nb_code fail_code;
    int64_t waits_for; /* trial 0 waits until this one is over; 0: it does not */
    bool spin;         /* trials take different times */
    int stop_at;       /* at this call the callback returns stop_code */
    nb_code stop_code;

    atomic_int live, faults, freed[MOST], over[MOST];
    int told; /* calls of the callback, and whom they told about */
    int64_t told_number[4 * MOST], told_budget[4 * MOST];
} lab;

typedef struct run {
    int64_t number, spent;
} run;

static void wait_for(lab *l, int64_t number)
{
    for (int k = 0; k < 1000000 && !atomic_load(&l->over[number]); k++)
        sched_yield();
}

static nb_code attempt(void *context, const nb_trial *t, double *score, nb_reason *why)
{
    lab *l = context;
    run *r = *t->state;
    if (!r) {
        r = malloc(sizeof *r);
        *r = (run){t->number, 0};
        *t->state = r;
        atomic_fetch_add(&l->live, 1);
    }
    const bool follows = r->number == t->number && r->spent == t->spent && t->spent < t->budget;
    atomic_fetch_add(&l->faults, !follows || !why);
    r->spent = t->budget;
    if (l->waits_for && t->number == 0)
        wait_for(l, l->waits_for);
    for (volatile uint64_t k = l->spin ? t->seed % 20000 : 0; k > 0;)
        k = k - 1;
    *score = l->score(t->number, t->budget);
    atomic_store(&l->over[t->number], 1);
    if (l->fail_code == NB_OK || t->number < l->fail_number || t->budget != l->fail_budget)
        return NB_OK;
    snprintf(why->text, sizeof why->text, "out of paper");
    return l->fail_code;
}

static void forget(void *context, void *state)
{
    lab *l = context;
    atomic_fetch_add(&l->freed[((run *)state)->number], 1);
    atomic_fetch_sub(&l->live, 1);
    free(state);
}

static nb_code tell(void *context, const nb_search_row *row, void *state)
{
    lab *l = context;
    const run *r = state;
    atomic_fetch_add(&l->faults, !r || r->number != row->number || r->spent != row->spent);
    l->told_number[l->told] = row->number;
    l->told_budget[l->told++] = row->spent;
    return l->told == l->stop_at ? l->stop_code : NB_OK;
}

/* A grid of n trials whose value is their number, on rungs of budgets up to most. */
static nb_search_spec spec_of(lab *l, int64_t n, int64_t most, int threads)
{
    static nb_dimension line;
    line = (nb_dimension){.name = "k", .scale = NB_SCALE_INTEGER, .high = (double)(n - 1)};
    return (nb_search_spec){.kind = NB_SEARCH_GRID,
                            .dimensions = 1,
                            .dimension = &line,
                            .most = most,
                            .threads = threads,
                            .objective = attempt,
                            .free_state = forget,
                            .on_row = tell,
                            .context = l};
}

/* Every state that was made was freed, once, and none was misused. Frees the result. */
static void all_freed(lab *l, nb_search_result *r)
{
    int twice = 0;
    for (int i = 0; i < MOST; i++)
        twice += atomic_load(&l->freed[i]) > 1;
    ck_assert_int_eq(twice, 0);
    ck_assert_int_eq(atomic_load(&l->live), 0);
    ck_assert_int_eq(atomic_load(&l->faults), 0);
    nb_search_result_free(r);
}

/* Permutations of 0 to 26, different for each budget. */
static double crossing(int64_t k, int64_t budget)
{
    return (double)(budget == 1 ? 7 * k % 27 : budget == 3 ? 11 * k % 27 : (5 * k + 13) % 27);
}

static double equal(int64_t k, int64_t budget)
{
    (void)k, (void)budget;
    return 1;
}

/* ---- rungs ----------------------------------------------------------------------------------- */

/* Which of the trials that are on a rung go on from it: those that few are ahead of. */
static void expect(const bool *on, int64_t budget, int keep, bool *next)
{
    for (int k = 0; k < 27; k++) {
        int ahead = 0;
        for (int j = 0; j < 27; j++)
            ahead += on[j] && crossing(j, budget) < crossing(k, budget);
        next[k] = on[k] && ahead < keep;
    }
}

START_TEST(halving)
{
    lab l = {.score = crossing};
    const nb_search_spec spec = spec_of(&l, 27, 9, _i);
    nb_search_result r;
    ck_assert_int_eq(nb_search(&spec, &r, NULL), NB_OK);
    bool on[4][27] = {{false}};
    memset(on[0], true, sizeof on[0]);
    const int64_t budget[] = {1, 3, 9};
    const int keep[] = {9, 3, 0};
    int told = 0;
    for (int rung = 0; rung < 3; rung++) {
        expect(on[rung], budget[rung], keep[rung], on[rung + 1]);
        for (int k = 0; k < 27; k++) {
            const nb_search_row *row = &r.row[k];
            if (!on[rung][k])
                continue;
            ck_assert(l.told_number[told] == k && l.told_budget[told] == budget[rung]);
            told++;
            if (on[rung + 1][k])
                continue;
            ck_assert(row->rung == rung + 1 && row->spent == budget[rung]);
            ck_assert(row->score == crossing(k, row->spent) && row->value[0] == k);
            ck_assert_int_eq(row->status, rung == 2 ? NB_TRIAL_THROUGH : NB_TRIAL_DROPPED);
        }
    }
    ck_assert(l.told == told && told == 27 + 9 + 3 && r.rungs == 3 && !r.stopped);
    ck_assert_int_eq(r.spent, 27 + 9 * 2 + 3 * 6);
    for (int i = 1; i < 27; i++) {
        const nb_search_row *a = &r.row[r.order[i - 1]], *b = &r.row[r.order[i]];
        ck_assert(a->rung > b->rung || (a->rung == b->rung && a->score < b->score));
    }
    ck_assert(r.best == r.order[0] && on[2][r.best]);
    all_freed(&l, &r);
}
END_TEST

/* Trials, budget, most and eta, and the budgets and numbers of trials that follow. Of equal scores the
 * lower numbers go on. */
START_TEST(ladders)
{
    const int64_t long_time = INT64_MAX / NB_SEARCH_TRIALS;
    const struct {
        int64_t trials, budget, most, eta, rungs, step[4], n[4];
    } c[] = {{16, 0, 27, 0, 4, {1, 3, 9, 27}, {16, 5, 1, 1}},
             {16, 1, 10, 3, 3, {1, 3, 10}, {16, 5, 1}},
             {8, 2, 16, 2, 4, {2, 4, 8, 16}, {8, 4, 2, 1}},
             {9, 4, 0, 3, 1, {4}, {9}},
             {9, 4, 7, 2, 1, {7}, {9}},
             {2, 1, 3, 3, 2, {1, 3}, {2, 1}},
             {2, 1, long_time, INT64_MAX, 1, {long_time}, {2}},
             {2, 1, long_time, long_time, 2, {1, long_time}, {2, 1}}};
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        lab l = {.score = equal};
        nb_search_spec spec = spec_of(&l, c[k].trials, c[k].most, 0);
        spec.budget = c[k].budget;
        spec.eta = c[k].eta;
        nb_search_result r;
        ck_assert_int_eq(nb_search(&spec, &r, NULL), NB_OK);
        ck_assert_int_eq(r.rungs, c[k].rungs);
        int told = 0;
        for (int64_t rung = 0; rung < c[k].rungs; rung++)
            for (int64_t i = 0; i < c[k].n[rung]; i++, told++)
                ck_assert(l.told_number[told] == i && l.told_budget[told] == c[k].step[rung]);
        ck_assert(l.told == told && r.best == 0);
        all_freed(&l, &r);
    }
}
END_TEST

/* How many states are alive when a trial's turn comes: on one thread all 27 are made one after another, 9
 * are left on the second rung, and of the 3 on the third each is gone as soon as it is through. */
typedef struct census {
    lab lab;
    int at_last, wrong;
} census;

static nb_code look_around(void *context, const nb_trial *t, double *score, nb_reason *why)
{
    census *c = context;
    const int live = atomic_load(&c->lab.live);
    c->wrong += live != (t->budget == 1 ? (int)t->number : t->budget == 3 ? 9 : 3 - c->at_last++);
    return attempt(&c->lab, t, score, why);
}

START_TEST(states_go_early)
{
    census c = {.lab = {.score = crossing}};
    nb_search_spec spec = spec_of(&c.lab, 27, 9, 1);
    spec.context = &c; /* whose first member the lab is */
    spec.objective = look_around;
    nb_search_result r;
    ck_assert_int_eq(nb_search(&spec, &r, NULL), NB_OK);
    ck_assert(c.wrong == 0 && c.at_last == 3);
    all_freed(&c.lab, &r);
}
END_TEST

/* Only 1, 4 and 5 of nine are finite at first, and 5 is not later. */
static double mostly_bad(int64_t k, int64_t budget)
{
    if (k == 5 && budget > 1)
        return -(double)INFINITY;
    return k == 1 ? 3 : k == 4 ? 2 : k == 5 ? 1 : k % 2 ? (double)NAN : (double)INFINITY;
}

START_TEST(bad_trials)
{
    lab l = {.score = mostly_bad};
    nb_search_spec spec = spec_of(&l, 9, 2, _i);
    spec.eta = 2;
    nb_search_result r;
    nb_reason why;
    ck_assert_int_eq(nb_search(&spec, &r, &why), NB_OK);
    ck_assert(l.told == 9 + 3 && r.best == 4); /* four may go on, but three are good */
    for (int k = 0; k < 9; k++) {
        const bool good = k == 1 || k == 4;
        ck_assert_int_eq(r.row[k].status, good ? NB_TRIAL_THROUGH : NB_TRIAL_BAD);
        ck_assert_int_eq(r.row[k].rung, good || k == 5 ? 2 : 1);
    }
    ck_assert(r.order[1] == 1 && r.order[2] == 5 && r.order[3] == 0 && r.order[8] == 8);
    all_freed(&l, &r);
    lab none = {.score = equal, .fail_code = NB_ERR_ANOMALY, .fail_budget = 2};
    spec.context = &none;
    ck_assert_int_eq(nb_search(&spec, &r, &why), NB_OK); /* the dropped have their scores */
    ck_assert(r.best == 4 && r.row[0].status == NB_TRIAL_BAD && isnan(r.row[0].score));
    ck_assert(r.row[0].rung == 2 && r.row[8].status == NB_TRIAL_DROPPED && none.told == 9 + 4);
    all_freed(&none, &r);
    lab all = {.score = equal, .fail_code = NB_ERR_ANOMALY, .fail_budget = 1};
    spec.context = &all;
    ck_assert_int_eq(nb_search(&spec, &r, &why), NB_ERR_ANOMALY);
    ck_assert(strstr(why.text, "none of 9 trials") && r.trials == 9 && r.best == -1);
    all_freed(&all, &r);
}
END_TEST

/* ---- ends ------------------------------------------------------------------------------------ */

/* All trials fail, and trial 0 later than another: it is still the one that counts. */
START_TEST(failures)
{
    lab l = {.score = crossing, .fail_code = NB_ERR_FILE, .fail_budget = 1};
    l.waits_for = _i > 1 ? 1 : 0;
    nb_search_spec spec = spec_of(&l, 27, 9, _i);
    nb_search_result r;
    nb_reason why;
    ck_assert_int_eq(nb_search(&spec, &r, &why), NB_ERR_FILE);
    ck_assert_msg(strstr(why.text, "trial 0,") && strstr(why.text, "out of paper"), "%s", why.text);
    ck_assert(r.best == -1 && l.told == 0 && r.row[0].status == NB_TRIAL_FAILED);
    for (int k = 1; k < 27; k++)
        ck_assert(r.row[k].status == NB_TRIAL_OPEN && r.row[k].rung == 0 && isnan(r.row[k].score));
    all_freed(&l, &r);

    lab later = {.score = crossing, .fail_code = NB_ERR_FILE, .fail_budget = 3, .fail_number = 9};
    spec.context = &later; /* on the second rung, where 7 k mod 27 < 9: 0 1 4 5 8 12 16 20 24 */
    ck_assert_int_eq(nb_search(&spec, &r, NULL), NB_ERR_FILE);
    ck_assert(r.row[12].status == NB_TRIAL_FAILED && r.row[12].rung == 1 && later.told == 27 + 5);
    ck_assert(r.row[8].status == NB_TRIAL_OPEN && r.row[8].rung == 2);
    ck_assert(r.row[16].status == NB_TRIAL_OPEN && r.row[16].rung == 1);
    ck_assert(r.row[2].status == NB_TRIAL_DROPPED);
    ck_assert(r.best == 0 && r.order[1] == 5); /* 11 k mod 27 of those told: 0 11 17 1 7 */
    all_freed(&later, &r);
}
END_TEST

/* The callback wants no more after trial 0, which ended after another. */
START_TEST(stops)
{
    lab l = {.score = crossing, .stop_at = 1, .stop_code = NB_ERR_CALLBACK};
    l.waits_for = _i > 1 ? 1 : 0;
    nb_search_spec spec = spec_of(&l, 27, 0, _i);
    nb_search_result r;
    nb_reason why;
    ck_assert_int_eq(nb_search(&spec, &r, &why), NB_OK);
    ck_assert(r.stopped && r.best == 0 && r.spent == 1 && l.told == 1);
    ck_assert(r.row[0].status == NB_TRIAL_THROUGH && r.row[1].status == NB_TRIAL_OPEN);
    ck_assert(r.row[1].rung == 0 && isnan(r.row[1].score));
    all_freed(&l, &r);
    lab other = {.score = crossing, .stop_at = 30, .stop_code = NB_ERR_FILE};
    spec.context = &other;
    spec.most = 9;
    ck_assert_int_eq(nb_search(&spec, &r, &why), NB_ERR_FILE);
    ck_assert(strstr(why.text, "callback") && !r.stopped && other.told == 30 && r.rungs == 2);
    all_freed(&other, &r);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

static double rough(int64_t k, int64_t budget)
{
    return k % 5 == 0 ? (double)NAN : sin((double)(k * k + budget)) / (double)budget;
}

static bool same_bits(double a, double b) { return !memcmp(&a, &b, sizeof a); }

static int differences(const nb_search_result *x, const nb_search_result *y)
{
    int differ = x->best != y->best || x->spent != y->spent || x->rungs != y->rungs;
    for (int64_t i = 0; i < x->trials; i++) {
        const nb_search_row *a = &x->row[i], *b = &y->row[i];
        differ += a->rung != b->rung || a->spent != b->spent || a->status != b->status ||
                  a->seed != b->seed || !same_bits(a->score, b->score) ||
                  !same_bits(a->value[0], b->value[0]) || x->order[i] != y->order[i];
    }
    return differ;
}

/* To the end, stopped, and failing. */
START_TEST(any_number_of_threads)
{
    nb_search_result first = {0};
    for (int threads = 1; threads <= 4; threads++) {
        lab l = {.score = rough, .spin = true, .stop_code = NB_ERR_CALLBACK};
        l.stop_at = _i == 1 ? 45 : 0;
        l.fail_code = _i == 2 ? NB_ERR_DOMAIN : NB_OK;
        l.fail_number = 17;
        l.fail_budget = 2;
        nb_search_spec spec = spec_of(&l, 40, 8, threads);
        spec.kind = NB_SEARCH_RANDOM;
        spec.trials = 40;
        spec.eta = 2;
        nb_search_result r;
        ck_assert_int_eq(nb_search(&spec, &r, NULL), l.fail_code);
        ck_assert_int_eq(r.stopped, _i == 1);
        ck_assert_int_eq(threads > 1 ? differences(&first, &r) : 0, 0);
        if (threads == 1) {
            first = r;
            r = (nb_search_result){0};
        }
        all_freed(&l, &r);
    }
    nb_search_result_free(&first);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(without_memory)
{
    size_t refusals = 1;
    for (size_t k = 1; refusals; k++) {
        counting count = {.refuse = k};
        const nb_allocator a = counting_allocator(&count);
        lab l = {.score = crossing};
        nb_search_spec spec = spec_of(&l, 27, 9, _i);
        spec.allocator = &a;
        nb_search_result r;
        nb_reason why = {""};
        const nb_code code = nb_search(&spec, &r, &why);
        refusals = count.refusals;
        ck_assert_int_eq(code, refusals ? NB_ERR_MEMORY : NB_OK);
        ck_assert(!refusals || (!r.row && r.best == -1 && strstr(why.text, "27 trials")));
        all_freed(&l, &r);
        ck_assert_uint_eq(count.blocks, 0);
        ck_assert(refusals || k == (_i > 1 ? 5 : 4));
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("search");
    tcase_add_loop_test(c, halving, 0, 4);
    tcase_add_test(c, ladders);
    tcase_add_test(c, states_go_early);
    tcase_add_loop_test(c, bad_trials, 1, 4);
    tcase_add_loop_test(c, failures, 1, 4);
    tcase_add_loop_test(c, stops, 1, 4);
    tcase_add_loop_test(c, any_number_of_threads, 0, 3);
    tcase_add_loop_test(c, without_memory, 1, 3);
    tcase_set_timeout(c, 60);
    return run_case("search", c);
}
