/*
 * The check of a gradient from beginning to end.
 *
 *     purity, screening  ->  coordinates, and suspects  ->  localisation, diagnosis  ->  report
 *
 * What is found on the way is counted; the verdict on the whole is drawn at the end: what makes all
 * the rest meaningless comes first (a failure, inputs written to, impurity, values that are not
 * finite), then wrong, then right. It is "right" only if something was; where every coordinate is in
 * doubt the doubt that is most frequent is the verdict.
 */
#include "check/verify.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- names ----------------------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} verdicts[] = {
#define VERDICT(verdict, name, text) {name, text},
    NB_VERDICTS(VERDICT)
#undef VERDICT
};

const char *nb_verdict_name(nb_verdict v)
{
    return (unsigned)v < NB_VERDICT_COUNT ? verdicts[v].name : "unknown";
}

const char *nb_verdict_text(nb_verdict v)
{
    return (unsigned)v < NB_VERDICT_COUNT ? verdicts[v].text : "no such verdict";
}

const char *nb_diagnosis_name(nb_diagnosis d)
{
    static const char *const names[] = {
#define DIAGNOSIS(diagnosis, name) name,
        NB_DIAGNOSES(DIAGNOSIS)
#undef DIAGNOSIS
    };
    return (unsigned)d < NB_DIAGNOSIS_COUNT ? names[d] : "unknown";
}

bool nb_check_ok(const nb_check_report *r) { return r && r->verdict == NB_VERDICT_RIGHT; }

/* ---- memory, errors, budgets ----------------------------------------------------------------- */

double nbi_seconds(void)
{
    struct timespec t;
    return timespec_get(&t, TIME_UTC) ? (double)t.tv_sec + 1e-9 * (double)t.tv_nsec : 0;
}

bool nbi_check_fail(nbi_verify *c, nb_code code, const char *format, ...)
{
    va_list args;
    c->ended = true;
    if (c->code)
        return false;
    c->code = code;
    va_start(args, format);
    vsnprintf(c->r->message, sizeof c->r->message, format, args);
    va_end(args);
    return false;
}

double *nbi_doubles(nbi_verify *c, size_t n)
{
    size_t bytes;
    double *p = __builtin_mul_overflow(n + 1, sizeof *p, &bytes)
                    ? NULL
                    : nbi_take(&c->work, bytes, NBI_ALIGN);
    if (!p)
        nbi_check_fail(c, NB_ERR_MEMORY, "no memory for %zu numbers", n);
    return p;
}

/* Whether the budget allows another evaluation. */
static bool within_budget(nbi_verify *c)
{
    const nb_check_options *o = &c->o;
    if ((o->max_evaluations && c->r->evaluations >= o->max_evaluations) ||
        (o->max_seconds > 0 && nbi_seconds() - c->began > o->max_seconds)) {
        c->r->stopped = true;
        c->ended = true;
    }
    return !c->ended;
}

/* Whether the call that just returned left its arguments alone; they are put right. */
static bool untouched(nbi_verify *c)
{
    if (c->n && memcmp(c->at, c->sent, c->n * sizeof *c->at) != 0) {
        memcpy(c->at, c->x, c->n * sizeof *c->at);
        c->wrote = true;
    }
    if (c->wrote)
        c->ended = true;
    return !c->wrote;
}

static void send(nbi_verify *c)
{
    if (c->n)
        memcpy(c->sent, c->at, c->n * sizeof *c->at);
}

bool nbi_evaluate(nbi_verify *c, double *y)
{
    if (!within_budget(c))
        return false;
    send(c);
    c->r->evaluations++;
    return c->s->value(c, c->at, y) && untouched(c) && !c->code;
}

bool nbi_claim(nbi_verify *c, double *y, double *claim)
{
    if (!within_budget(c))
        return false;
    send(c);
    c->r->evaluations += c->s->swept;
    c->r->gradients++;
    return c->s->claim(c, c->at, y, claim) && untouched(c) && !c->code;
}

const nbi_block *nbi_block_of(const nbi_verify *c, size_t i)
{
    size_t k = 0;
    while (k + 1 < c->n_block && i >= c->block[k + 1].at)
        k++;
    while (k > 0 && !c->block[k].size)
        k--;
    return &c->block[k];
}

/* ---- coordinates ----------------------------------------------------------------------------- */

static double badness(const nb_check_coordinate *a)
{
    static const int rank[NB_VERDICT_COUNT] = {
        [NB_VERDICT_WRONG] = 7, [NB_VERDICT_NOT_FINITE] = 6, [NB_VERDICT_STEP] = 5,
        [NB_VERDICT_KINK] = 4,  [NB_VERDICT_NOISY] = 3,      [NB_VERDICT_NO_PATH] = 2,
        [NB_VERDICT_RIGHT] = 1,
    };
    const double size = fmax(fabs(a->analytic), fabs(a->numeric)), part = a->error / size;
    return 2 * rank[a->verdict] + (part > 0 ? fmin(part, 2) / 2 : 0);
}

static void note(nbi_verify *c, const nb_check_coordinate *a)
{
    nb_check_report *r = c->r;
    r->count[a->verdict]++;
    r->tested++;
    if (c->o.keep && r->tested <= c->o.keep_room)
        c->o.keep[r->tested - 1] = *a;
    size_t k = r->n_worst;
    while (k > 0 && badness(a) > badness(&r->worst[k - 1]))
        k--;
    if (k == NB_CHECK_WORST)
        return;
    const size_t last = r->n_worst < NB_CHECK_WORST ? r->n_worst++ : NB_CHECK_WORST - 1;
    memmove(&r->worst[k + 1], &r->worst[k], (last - k) * sizeof *r->worst);
    r->worst[k] = *a;
}

/* What coordinate a says of the directions: a derivative is linear, so it is a part of theirs. */
static void share(nbi_verify *c, const nb_check_coordinate *a)
{
    for (size_t k = 0; k < c->r->n_directions && !c->product; k++) {
        const double v = c->direction[k] ? fabs(c->direction[k][a->index]) : 0;
        const bool known = a->verdict == NB_VERDICT_RIGHT || a->verdict == NB_VERDICT_NOISY;
        if (a->verdict == NB_VERDICT_NO_PATH || v == 0)
            continue;
        if (!known || !isfinite(a->estimate)) {
            c->slack[k] = (double)INFINITY;
            continue;
        }
        c->off[k] += c->direction[k][a->index] * (a->analytic - a->numeric);
        c->slack[k] += v * (a->estimate + c->tol * fabs(a->analytic));
    }
}

static bool coordinate(nbi_verify *c, size_t i)
{
    nb_check_coordinate a = {.index = i, .at = {.operand = -1}};
    const nbi_line line = c->product ? (nbi_line){c->v, 0} : (nbi_line){NULL, i};
    if (c->n_block && !c->product) {
        const nbi_block *b = nbi_block_of(c, i);
        a.input = b->number;
        a.element = i - b->at;
    }
    if (!nbi_judge(c, &line, c->product ? i : 0, c->claim[i], &a))
        return false;
    if (a.verdict == NB_VERDICT_RIGHT && a.analytic == 0 && !c->product && c->s->no_path &&
        c->s->no_path(c, i))
        a.verdict = NB_VERDICT_NO_PATH;
    if (a.verdict == NB_VERDICT_NOT_FINITE && c->s->not_finite && !isfinite(a.analytic))
        c->s->not_finite(c, c->x, true, &a.at);
    note(c, &a);
    share(c, &a);
    c->done++;
    const nb_check_progress p = {c->done, c->due, c->r->evaluations, nbi_seconds() - c->began};
    if (c->o.progress && !c->o.progress(c->o.progress_context, &p))
        c->r->stopped = c->ended = true;
    return !c->ended;
}

static void sort(size_t *list, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && list[k - 1] > list[k]; k--) {
            const size_t t = list[k];
            list[k] = list[k - 1];
            list[k - 1] = t;
        }
}

static void add(size_t *list, size_t *n, size_t i)
{
    for (size_t k = 0; k < *n; k++)
        if (list[k] == i)
            return;
    list[(*n)++] = i;
}

/* Of many: one of each input, the largest, and others at random. */
static void draw(nbi_verify *c, size_t all, size_t *list, size_t *n)
{
    size_t top = 0;
    for (size_t i = 0; i < all; i++)
        if (!isfinite(c->claim[i]) || fabs(c->claim[i]) > fabs(c->claim[top]))
            top = i;
    add(list, n, top);
    for (size_t k = 0; !c->product && k < c->n_block && *n < c->o.sample; k++)
        if (c->block[k].size)
            add(list, n, c->block[k].at + (size_t)nb_rng_below(&c->rng, c->block[k].size));
    while (*n < c->o.sample)
        add(list, n, (size_t)nb_rng_below(&c->rng, all));
}

static bool coordinates(nbi_verify *c)
{
    const size_t all = c->product ? c->m : c->n;
    size_t first = 0, count = all, n = 0;
    if (c->o.count) {
        first = c->o.first < all ? c->o.first : all;
        count = c->o.count < all - first ? c->o.count : all - first;
    } else if (all > c->o.all_up_to && c->o.sample < all) {
        const size_t room = c->o.sample + c->o.suspects;
        size_t *list = nbi_take(&c->work, (room + 1) * sizeof *list, NBI_ALIGN);
        if (!list)
            return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for the sample");
        draw(c, all, list, &n);
        if (!c->product && !nbi_suspects(c, list, &n, room))
            return false;
        sort(list, n);
        c->due = n;
        for (size_t k = 0; k < n; k++)
            if (!coordinate(c, list[k]))
                return false;
        return true;
    }
    c->due = count;
    for (size_t i = first; i < first + count; i++)
        if (!coordinate(c, i))
            return false;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* A direction through inputs of which some have steps in their rounding, which others hide, can seem
 * to contradict the claim. If each coordinate has been tested, they know better. */
static void acquit_directions(nbi_verify *c)
{
    nb_check_report *r = c->r;
    for (size_t k = 0; k < r->n_directions; k++)
        if (r->direction[k].verdict == NB_VERDICT_WRONG && r->tested == r->n && !c->product &&
            isfinite(c->slack[k]) && fabs(c->off[k]) <= c->slack[k])
            r->direction[k].verdict = NB_VERDICT_NOISY;
}

/* What screening says where only a sample of coordinates was tested: right if any direction is, since
 * each takes in all of them; else what the first one is. */
static nb_verdict of_the_rest(nb_check_report *r)
{
    for (size_t k = 0; k < r->n_directions; k++)
        if (r->direction[k].verdict == NB_VERDICT_RIGHT)
            return NB_VERDICT_RIGHT;
    snprintf(r->message, sizeof r->message,
             "the sample is not all: no direction through the other inputs could be decided");
    return r->direction[0].verdict;
}

static nb_verdict conclude(nbi_verify *c)
{
    nb_check_report *r = c->r;
    nb_verdict most = NB_VERDICT_UNTESTED;
    r->count[NB_VERDICT_UNTESTED] = r->n - r->tested;
    if (c->code)
        return NB_VERDICT_FAILED;
    if (c->wrote)
        return NB_VERDICT_CHANGES_INPUTS;
    if (r->verdict != NB_VERDICT_UNTESTED) /* purity, or f(x) */
        return r->verdict;
    bool wrong = r->count[NB_VERDICT_WRONG];
    if (!wrong)
        acquit_directions(c);
    for (size_t k = 0; k < r->n_directions; k++)
        wrong = wrong || r->direction[k].verdict == NB_VERDICT_WRONG;
    if (wrong)
        return NB_VERDICT_WRONG;
    for (size_t k = 0; k < r->tested && k < r->n_worst; k++)
        if (r->worst[k].verdict == NB_VERDICT_NOT_FINITE && !isfinite(r->worst[k].analytic))
            return NB_VERDICT_NOT_FINITE;
    if (r->count[NB_VERDICT_RIGHT])
        return r->n_directions && r->tested < r->n && !r->stopped ? of_the_rest(r)
                                                                  : NB_VERDICT_RIGHT;
    for (int v = NB_VERDICT_UNTESTED + 1; v < NB_VERDICT_COUNT; v++)
        if (r->count[v] > (most ? r->count[most] : 0))
            most = (nb_verdict)v;
    return most;
}

/* First steps: the size of the element, or of its input where it is 0. */
static bool find_units(nbi_verify *c)
{
    c->unit = nbi_doubles(c, c->n);
    for (size_t k = 0; c->unit && k < c->n_block; k++) {
        const nbi_block *b = &c->block[k];
        double most = 0;
        for (size_t i = b->at; i < b->at + b->size; i++)
            most = fmax(most, isfinite(c->x[i]) ? fabs(c->x[i]) : 0);
        for (size_t i = b->at; i < b->at + b->size; i++)
            c->unit[i] = c->x[i] != 0 ? fabs(c->x[i]) : most > 0 ? most : 1;
    }
    return c->unit != NULL;
}

static bool prepare(nbi_verify *c)
{
    const size_t wide = c->product ? c->m : c->n;
    c->at = nbi_doubles(c, c->n);
    c->sent = nbi_doubles(c, c->n);
    c->y = nbi_doubles(c, c->m);
    c->y0 = nbi_doubles(c, c->m);
    c->claim = nbi_doubles(c, wide);
    c->again = nbi_doubles(c, wide);
    if (!c->at || !c->sent || !c->y || !c->y0 || !c->claim || !c->again || !find_units(c))
        return false;
    if (c->n)
        memcpy(c->at, c->x, c->n * sizeof *c->at);
    c->r->n = wide;
    c->tol = c->o.tolerance > 0 ? c->o.tolerance : c->single ? 1e-3 : 1e-7;
    c->eps = c->single ? (double)FLT_EPSILON : DBL_EPSILON;
    c->r->in_float = c->single;
    return true;
}

void nbi_check_open(nbi_verify *c, const nb_check_options *options, nb_check_report *report)
{
    *report = (nb_check_report){.factor = (double)NAN, .at = {.operand = -1}};
    *c = (nbi_verify){.r = report, .began = nbi_seconds()};
    if (options)
        c->o = *options;
    c->o.directions = c->o.directions > NB_CHECK_DIRECTIONS ? NB_CHECK_DIRECTIONS
                      : c->o.directions < 0                 ? 0
                      : c->o.directions == 0                ? 2
                                                            : c->o.directions;
    c->o.all_up_to = c->o.all_up_to ? c->o.all_up_to : 512;
    c->o.sample = c->o.sample ? c->o.sample : 32;
    c->o.suspects = c->o.suspects ? c->o.suspects : 8;
    report->seed = c->o.seed;
    c->stages = NBI_STAGES;
    c->rng = nb_rng_seed(c->o.seed);
    nbi_heap_init(&c->heap, &c->o.allocator, 0);
    nbi_arena_init(&c->work, &c->heap, 1 << 16);
}

nb_verdict nbi_check_run(nbi_verify *c)
{
    if (c->code || !prepare(c) || !nbi_purity(c))
        return c->r->verdict = conclude(c);
    if (!c->o.count && !c->product)
        nbi_screen(c);
    if (!c->ended)
        nbi_pure_after(c);
    c->r->screening = c->r->evaluations;
    if (!c->ended)
        coordinates(c);
    const nb_verdict v = conclude(c);
    if (v == NB_VERDICT_WRONG && !c->code) {
        c->ended = false;
        c->o.max_evaluations = 0; /* what was found wrong is looked into, whatever is left */
        if (c->s->localise)
            c->s->localise(c);
        nbi_diagnose(c);
    }
    return c->r->verdict = v;
}

nb_verdict nbi_check_close(nbi_verify *c)
{
    nb_check_report *r = c->r;
    r->code = c->code;
    r->verdict = c->code ? NB_VERDICT_FAILED : r->verdict;
    r->seconds = nbi_seconds() - c->began;
    nbi_check_write(c);
    nbi_arena_free(&c->work);
    return r->verdict;
}
