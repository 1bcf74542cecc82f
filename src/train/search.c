/*
 * The search: rungs of trials, and who goes on.
 *
 * The first n places of the result's order are those on the rung, by number. The threads take places off
 * one counter and hand in what the objective said of them. What was handed in is told, which is to say
 * judged, written into the table and shown to the callback, strictly in the order of places: a
 * trial that is early waits for those before it, and whoever hands in the one that was waited for tells
 * all that are ready. So the table is at all times that of a search on one thread. When telling ends the
 * search, by a callback or a failed trial, what later places have handed in or are still at work on is never
 * told. No place before the end is missing, since the counter has given out all of them before.
 *
 * After a rung its places are sorted by merit. The first of them go on, sorted by number again; the others
 * stay behind, where the last sort of all trials puts them into their order.
 *
 *     told    [0, told) of the places were told; of the rest some may be handed in
 *     stop    no more places are given out
 *     ended   no more places are told
 */
#include "train/search.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/reason.h"
#include "data/order.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

/* What a trial handed in. */
typedef struct answer {
    bool in;
    nb_code code;
    double score;
    nb_reason why;
} answer;

typedef struct search {
    const nb_search_spec *spec;
    nb_search_result *result;
    nb_reason *why;
    nbi_crew crew;
    int64_t budget, most, eta; /* budget: of this rung */
    int64_t n;                 /* places on this rung */
    answer *answer;            /* [trials], by place */
    void **state;              /* [trials], by number */
    atomic_llong next;         /* place to give out */
    atomic_bool stop;

    pthread_mutex_t lock; /* for what follows, the rows, and `in` of the answers */
    int64_t told;
    bool ended;
    nb_code code;
} search;

const char *nb_trial_status_name(nb_trial_status status)
{
#define NBI_TRIAL(status, name, text) name,
    static const char *const names[] = {NB_TRIALS(NBI_TRIAL)};
#undef NBI_TRIAL
    return (unsigned)status < NB_TRIAL_STATUSES ? names[status] : "";
}

/* ---- the result ------------------------------------------------------------------------------ */

/* Rows, then the numbers in order, then the values of all rows. NB_SEARCH_TRIALS and
 * NB_SEARCH_DIMENSIONS keep it far from overflow. */
static size_t result_bytes(const nb_search_result *r)
{
    const size_t each =
        sizeof(nb_search_row) + sizeof(int64_t) + (size_t)r->dimensions * sizeof(double);
    return (size_t)r->trials * each;
}

void nb_search_result_free(nb_search_result *r)
{
    if (!r)
        return;
    if (r->row)
        nb_resize(&r->allocator, r->row, result_bytes(r), 0);
    *r = (nb_search_result){.best = -1};
}

static void draw(const nb_search_spec *spec, nb_search_row *row, double *value)
{
    nb_rng of_search = nb_rng_seed(spec->seed);
    nb_rng r = nb_rng_seed(nb_rng_bits(&of_search) + (uint64_t)row->number);
    row->seed = nb_rng_bits(&r);
    row->value = value;
    if (spec->kind == NB_SEARCH_GRID)
        nbi_grid_point(spec, row->number, value);
    else
        nbi_random_point(spec, &r, value);
}

static bool make_rows(const nb_search_spec *spec, int64_t trials, nb_search_result *r)
{
    r->trials = trials;
    r->dimensions = spec->dimensions;
    if (spec->allocator)
        r->allocator = *spec->allocator;
    r->row = nb_resize(&r->allocator, NULL, 0, result_bytes(r));
    if (!r->row) {
        nb_search_result_free(r);
        return false;
    }
    r->order = (int64_t *)(r->row + trials);
    double *value = (double *)(r->order + trials);
    for (int64_t i = 0; i < trials; i++, value += spec->dimensions) {
        r->order[i] = i;
        r->row[i] = (nb_search_row){.number = i, .score = (double)NAN};
        draw(spec, &r->row[i], value);
    }
    return true;
}

/* ---- merit ----------------------------------------------------------------------------------- */

static bool scored(const nb_search_row *row) { return row->rung > 0 && isfinite(row->score); }

static bool better(const void *context, int64_t i, int64_t j)
{
    const search *s = context;
    const nb_search_row *a = &s->result->row[i], *b = &s->result->row[j];
    if (scored(a) != scored(b))
        return scored(a);
    if (a->rung != b->rung)
        return a->rung > b->rung;
    if (scored(a) && a->score != b->score)
        return a->score < b->score;
    return i < j;
}

static bool by_number(const void *context, int64_t i, int64_t j)
{
    (void)context;
    return i < j;
}

static void free_state(search *s, int64_t number)
{
    void *state = s->state[number];
    s->state[number] = NULL;
    if (state && s->spec->free_state)
        s->spec->free_state(s->spec->context, state);
}

/* ---- a rung ---------------------------------------------------------------------------------- */

static bool fails(nb_code code) { return code != NB_OK && code != NB_ERR_ANOMALY; }

static nb_code fail(search *s, nb_search_row *row, const answer *a)
{
    row->status = NB_TRIAL_FAILED;
    return nbi_because(s->why, a->code,
                       "search: trial %lld, on the way from budget %lld to %lld: %s",
                       (long long)row->number, (long long)row->spent, (long long)s->budget,
                       a->why.text[0] ? a->why.text : nb_code_text(a->code));
}

/* Whether to go on. */
static bool tell(search *s, int64_t place)
{
    const nb_search_spec *spec = s->spec;
    const answer *a = &s->answer[place];
    nb_search_row *row = &s->result->row[s->result->order[place]];
    if (fails(a->code)) {
        s->code = fail(s, row, a);
        return false;
    }
    row->rung = s->result->rungs;
    s->result->spent += s->budget - row->spent;
    row->spent = s->budget;
    row->score = a->code ? (double)NAN : a->score;
    if (!isfinite(row->score))
        row->status = NB_TRIAL_BAD;
    else if (s->budget == s->most)
        row->status = NB_TRIAL_THROUGH;
    const nb_code code =
        spec->on_row ? spec->on_row(spec->context, row, s->state[row->number]) : NB_OK;
    if (row->status != NB_TRIAL_OPEN)
        free_state(s, row->number);
    if (code == NB_ERR_CALLBACK)
        s->result->stopped = true;
    else if (code)
        s->code = nbi_because(s->why, code, "search: the callback failed after trial %lld: %s",
                              (long long)row->number, nb_code_text(code));
    return code == NB_OK;
}

static void hand_in(search *s, int64_t place)
{
    pthread_mutex_lock(&s->lock);
    s->answer[place].in = true;
    while (!s->ended && s->told < s->n && s->answer[s->told].in)
        s->ended = !tell(s, s->told++);
    if (s->ended || fails(s->answer[place].code))
        atomic_store(&s->stop, true);
    pthread_mutex_unlock(&s->lock);
}

static void run_trial(search *s, int64_t place)
{
    const nb_search_row *row = &s->result->row[s->result->order[place]];
    answer *a = &s->answer[place];
    a->score = (double)NAN;
    a->why.text[0] = 0;
    const nb_trial trial = {.number = row->number,
                            .seed = row->seed,
                            .value = row->value,
                            .spent = row->spent,
                            .budget = s->budget,
                            .state = &s->state[row->number]};
    a->code = s->spec->objective(s->spec->context, &trial, &a->score, &a->why);
}

/* One thread's share: as many places as it can get. */
static void work(void *context, int64_t from, int64_t to, int worker)
{
    search *s = context;
    (void)from, (void)to, (void)worker;
    int64_t place;
    while (!atomic_load(&s->stop) && (place = atomic_fetch_add(&s->next, 1)) < s->n) {
        run_trial(s, place);
        hand_in(s, place);
    }
}

static void run_rung(search *s)
{
    for (int64_t i = 0; i < s->n; i++)
        s->answer[i].in = false;
    s->result->rungs++;
    s->told = 0;
    atomic_store(&s->next, 0);
    nbi_crew_share(&s->crew, nbi_crew_size(&s->crew), 1, work, s);
}

/* ---- halving --------------------------------------------------------------------------------- */

static void log_rung(const search *s, int64_t good, int64_t keep)
{
    const nb_search_row *best = &s->result->row[s->result->order[0]];
    if (!s->spec->log)
        return;
    fprintf(s->spec->log, "rung %lld: %lld trials to budget %lld, %lld with a finite score",
            (long long)s->result->rungs, (long long)s->n, (long long)s->budget, (long long)good);
    if (good)
        fprintf(s->spec->log, ", the best trial %lld with %.6g", (long long)best->number,
                best->score);
    if (keep)
        fprintf(s->spec->log, ", %lld go on", (long long)keep);
    fputc('\n', s->spec->log);
}

/* Leaves those who go on in the first n places. */
static void halve(search *s)
{
    int64_t *order = s->result->order, good = 0, keep = s->n / s->eta;
    nbi_heapsort(s->n, order, better, s);
    while (good < s->n && scored(&s->result->row[order[good]]))
        good++;
    keep = s->budget == s->most ? 0 : keep < 1 ? 1 : keep;
    keep = keep < good ? keep : good;
    log_rung(s, good, keep);
    for (int64_t i = keep; i < s->n; i++) {
        nb_search_row *row = &s->result->row[order[i]];
        if (row->status == NB_TRIAL_OPEN)
            row->status = NB_TRIAL_DROPPED;
        free_state(s, row->number);
    }
    nbi_heapsort(keep, order, by_number, s);
    s->n = keep;
}

/* A budget, or the whole, if less than another factor would be left to do. */
static int64_t rung_budget(const search *s, int64_t budget)
{
    return budget <= s->most / s->eta ? budget : s->most;
}

static nb_code climb(search *s)
{
    nb_search_result *r = s->result;
    s->budget = rung_budget(s, s->budget);
    while (s->n > 0) {
        run_rung(s);
        if (s->ended)
            break;
        halve(s);
        if (s->n > 0)
            s->budget = rung_budget(s, s->budget * s->eta);
    }
    for (int64_t i = 0; i < r->trials; i++)
        free_state(s, i);
    nbi_heapsort(r->trials, r->order, better, s);
    r->best = scored(&r->row[r->order[0]]) ? r->order[0] : -1;
    if (s->ended || r->best >= 0)
        return s->code;
    return nbi_because(s->why, NB_ERR_ANOMALY, "search: none of %lld trials had a finite score",
                       (long long)r->trials);
}

/* ---- from the spec to the result ------------------------------------------------------------- */

static nb_code check_numbers(const nb_search_spec *spec, nb_reason *why)
{
    const int64_t budget = spec->budget ? spec->budget : 1;
    const int64_t most = spec->most ? spec->most : budget;
    if (!spec->objective)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: there is no objective");
    if ((unsigned)spec->kind >= NB_SEARCH_KINDS)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: there is no kind %d", (int)spec->kind);
    if (spec->threads < 0 && spec->threads != NB_ALL_THREADS)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: %d threads", spec->threads);
    if (spec->eta != 0 && spec->eta < 2)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: eta is %lld, not at least 2",
                           (long long)spec->eta);
    if (budget < 1 || most < budget || most > INT64_MAX / NB_SEARCH_TRIALS)
        return nbi_because(
            why, NB_ERR_ARGUMENT,
            "search: budgets from %lld to %lld: they are to rise, from 1 to %lld at most",
            (long long)budget, (long long)most, (long long)(INT64_MAX / NB_SEARCH_TRIALS));
    return NB_OK;
}

/* The number of trials goes to *trials. */
static nb_code check(const nb_search_spec *spec, int64_t *trials, nb_reason *why)
{
    nb_code code = check_numbers(spec, why);
    if (!code)
        code = nbi_space_check(spec, why);
    if (code)
        return code;
    if (spec->kind == NB_SEARCH_GRID && spec->trials != 0)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "search: a grid has its own number of trials: %lld was given, not 0",
                           (long long)spec->trials);
    *trials = spec->kind == NB_SEARCH_GRID ? nbi_grid_size(spec) : spec->trials;
    if (*trials < 0 && spec->kind == NB_SEARCH_GRID)
        return nbi_because(why, NB_ERR_LIMIT, "search: the grid has more than %d points",
                           (int)NB_SEARCH_TRIALS);
    if (*trials < 1 || *trials > NB_SEARCH_TRIALS)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: %lld trials, not 1 to %d",
                           (long long)*trials, (int)NB_SEARCH_TRIALS);
    return NB_OK;
}

/* With the answers and states that it needs meanwhile, and the pool. */
static nb_code search_with(search *s)
{
    const int threads = s->spec->threads;
    const bool alone = threads == 0 || threads == 1 || s->n == 1;
    const nb_allocator *a = s->spec->allocator;
    const size_t n = (size_t)s->n, answers = n * sizeof *s->answer, states = n * sizeof *s->state;
    s->answer = nb_resize(a, NULL, 0, answers);
    s->state = nb_resize(a, NULL, 0, states);
    s->crew.pool = alone ? NULL : nb_pool_new(threads < s->n ? threads : (int)s->n, a);
    nb_code code = NB_ERR_MEMORY;
    if (s->answer && s->state && (s->crew.pool || alone)) {
        for (size_t i = 0; i < n; i++)
            s->state[i] = NULL;
        code = climb(s);
    } else {
        nb_search_result_free(s->result);
    }
    nb_pool_free(s->crew.pool);
    nb_resize(a, s->state, s->state ? states : 0, 0);
    nb_resize(a, s->answer, s->answer ? answers : 0, 0);
    return code;
}

nb_code nb_search(const nb_search_spec *spec, nb_search_result *result, nb_reason *why)
{
    int64_t trials = 0;
    if (result)
        *result = (nb_search_result){.best = -1};
    if (!spec || !result)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: no %s", spec ? "result" : "spec");
    nb_code code = check(spec, &trials, why);
    if (code)
        return code;
    search s = {.spec = spec,
                .result = result,
                .why = why,
                .budget = spec->budget ? spec->budget : 1,
                .eta = spec->eta ? spec->eta : 3,
                .n = trials};
    s.most = spec->most ? spec->most : s.budget;
    atomic_init(&s.next, 0);
    atomic_init(&s.stop, false);
    code = make_rows(spec, trials, result) ? NB_OK : NB_ERR_MEMORY;
    if (!code) {
        pthread_mutex_init(&s.lock, NULL);
        code = search_with(&s);
        pthread_mutex_destroy(&s.lock);
    }
    if (code == NB_ERR_MEMORY && !result->row)
        nbi_because(why, code, "search: out of memory for %lld trials", (long long)trials);
    return code;
}
