/*
 * Sweeping a region: each call is recorded anew at the end of the tape, swept there, and forgotten.
 *
 * The call gets the same operand nodes as the first time, so what it passes on to parameters and
 * captured vars goes straight to their adjoints, when it would have without a region: after all
 * younger nodes, before all older ones. The outputs' adjoints wait at the output nodes, which the
 * sweep meets first.
 *
 * A loop goes through its steps last to first. The state before a step, as leaves, collects adjoints,
 * which become the seeds of the step before. `next` is the state that the step must return: it was
 * the start of the step swept before, so every recomputed value is compared with the one it
 * replaces. Where the state is not at hand, it is computed from the nearest kept one, and the
 * schedule (revolve.c) says what to keep on the way.
 */
#include "diff/region.h"

#include "diff/revolve.h"

typedef struct replay {
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
    uint32_t leaves; /* end of the leaves that stand for the state */
    bool open;
} replay;

static bool open_image(replay *r, nbi_image *m)
{
    void *p = nbi_scratch(r->t, nbi_image_size(r->g));
    if (p)
        *m = nbi_image_at(r->g, p);
    return p != NULL;
}

static bool open_replay(replay *r, nb_tape *t, nbi_region *g)
{
    *r = (replay){.t = t, .g = g};
    r->in = nbi_scratch(t, (g->n_in + 1) * sizeof *r->in);
    r->out = nbi_scratch(t, (g->n_out + 1) * sizeof *r->out);
    r->has = nbi_scratch(t, g->n_out + 1);
    r->flow = nbi_scratch(t, g->bytes + 1);
    r->rng = nbi_scratch(t, (g->n_rng + 1) * sizeof *r->rng);
    if (!r->in || !r->out || !r->has || !r->flow || !r->rng || !open_image(r, &r->now) ||
        !open_image(r, &r->seen) || !open_image(r, &r->next)) {
        nbi_no_memory(t, g->title);
        return false;
    }
    for (size_t k = 0; k < g->n_out; k++)
        r->has[k] = false;
    for (size_t k = 0; k < g->n_rng; k++)
        r->rng[k] = *g->rng[k];
    return r->open = true;
}

static void restore_generators(replay *r)
{
    for (size_t k = 0; r->open && k < r->g->n_rng; k++)
        *r->g->rng[k] = r->rng[k];
}

/* Whether output k is a var of its own in the state m, and not an older node or the same as another:
 * only such a one carries an adjoint. */
static bool owned(const nbi_image *m, size_t k) { return m->source[k] == nbi_own(k); }

/* Records a step from r->now, or the first one from the arguments; r->seen is what it returned. */
static bool call(replay *r, int64_t step)
{
    nb_tape *t = r->t;
    const nbi_region *g = r->g;
    r->before = nbi_mark(t);
    for (size_t k = 0; k < g->n_in; k++)
        r->in[k] = nbi_region_in(t, g, k);
    for (size_t k = 0; k < g->n_rng; k++)
        *g->rng[k] = step ? r->now.rng[k] : g->first[k];
    if (step && !nbi_image_record(t, g, &r->now, r->in))
        return false;
    r->leaves = t->hot.length;
    if (!nbi_region_call(t, g, step, r->before.length, r->in, r->out) ||
        !nbi_region_fits(t, g, r->out))
        return false;
    nbi_image_take(t, g, r->out, &r->seen);
    return true;
}

static void swap(nbi_image *a, nbi_image *b)
{
    const nbi_image m = *a;
    *a = *b;
    *b = m;
}

/* Equal constants share a node (leaf.c). Those that the first step has made are made again below the
 * base, for all further steps to find: else every step would make its own. */
enum { SHARED = sizeof((nbi_hot *)0)->shared / sizeof(uint32_t) };

typedef struct numbers {
    int n;
    double value[SHARED];
} numbers;

static numbers shared_since(const nb_tape *t, uint32_t low)
{
    numbers all = {.n = 0};
    for (int k = 0; k < SHARED; k++) {
        const uint32_t i = t->hot.shared[k];
        if (i >= low && i < t->hot.length && t->hot.ops[i] == NBI_CONSTANT)
            all.value[all.n++] = t->hot.cells[i].value;
    }
    return all;
}

static bool hoist(replay *r, const numbers *all)
{
    uint32_t at;
    for (int k = 0; k < all->n; k++)
        if (!nbi_constant_at(r->t, all->value[k], &at))
            return false;
    r->g->base = r->t->hot.length;
    return true;
}

/* Moves r->now over one step. */
static bool advance(replay *r, int64_t step)
{
    bool ok = call(r, step);
    if (ok && r->touched && r->t->recording)
        ok = nbi_region_touched(r->t, r->g, r->before.length, r->out, r->touched);
    const bool first = r->touched && step == 0;
    const numbers shared = first ? shared_since(r->t, r->before.length) : (numbers){.n = 0};
    ok = nbi_region_forget(r->t, &r->before) && ok;
    if (ok && first)
        ok = hoist(r, &shared);
    swap(&r->now, &r->seen);
    return ok;
}

/* Before which step the next state is to be kept on the way from p to the last step before `end`. */
static int64_t target(const nbi_region *g, int64_t p, int64_t end)
{
    const int64_t free = g->memory - g->used;
    return free && end - p >= 2 ? p + nbi_revolve_split(end - p, free + 1) : end;
}

/* Moves r->now from the last kept state to that before step end - 1, keeping states on the way. */
static bool climb(replay *r, int64_t end)
{
    nbi_region *g = r->g;
    int64_t p = g->used ? g->at[g->used - 1] : 0, keep = target(g, p, end);
    bool ok = true;
    if (p)
        nbi_image_copy(g, &r->now, &g->slot[g->used - 1]);
    while (ok && p < end - 1) {
        ok = advance(r, p++);
        if (p == keep && p < end - 1) {
            nbi_image_copy(g, &g->slot[g->used], &r->now);
            g->at[g->used++] = p;
            keep = target(g, p, end);
        }
    }
    return ok;
}

bool nbi_region_run(nb_tape *t, nbi_region *g, nbi_touched *set, nbi_image *last)
{
    replay r;
    bool ok = open_replay(&r, t, g);
    r.touched = set;
    ok = ok && climb(&r, g->steps);
    if (ok && g->steps > 1) {
        nbi_image_copy(g, &g->slot[g->memory], &r.now);
        g->first_pass = true;
    }
    ok = ok && advance(&r, g->steps - 1);
    *last = r.now;
    return ok;
}

/* ---- in reverse ------------------------------------------------------------------------------- */

/* The adjoints that wait at the outputs. */
static void collect(replay *r)
{
    nb_tape *t = r->t;
    for (size_t k = 0; k < r->g->n_out; k++) {
        const uint32_t i = r->g->node[k];
        const nbi_form *f = &r->g->form[k];
        r->has[k] = owned(&r->next, k) && t->hot.cells[i].adjoint != 0;
        if (!owned(&r->next, k))
            continue;
        nbi_record *o = nbi_record_at(t, i);
        if (r->has[k])
            memcpy(r->flow + f->at, f->rank < 0 ? (void *)&t->hot.cells[i].adjoint : o->grad,
                   f->bytes);
        nbi_adjoint_release(t, o);
    }
}

static bool flows(const replay *r)
{
    for (size_t k = 0; k < r->g->n_out; k++)
        if (r->has[k])
            return true;
    return false;
}

/* Continues the marks of the wanted nodes to the interior. The state's leaves count as wanted. */
static bool extend_mask(replay *r)
{
    nb_tape *t = r->t;
    const uint32_t base = r->g->base, low = r->before.length, high = t->hot.length;
    if (!r->wanted)
        return true;
    if (high > r->mask_room) {
        const size_t room = 2 * (size_t)high;
        r->mask = nbi_scratch(t, room);
        r->mask_room = r->mask ? room : 0;
        if (!r->mask) {
            nbi_no_memory(t, r->g->title);
            return false;
        }
        memset(r->mask, 0, room);
        memcpy(r->mask, r->wanted, base);
    }
    for (uint32_t i = low; i < high; i++) {
        const uint32_t *x;
        const size_t n = nbi_ways(t, i, &x);
        r->mask[i] = i < r->leaves;
        for (size_t k = 0; k < n && !r->mask[i]; k++)
            r->mask[i] = r->mask[x[k]];
    }
    return true;
}

static bool seed(replay *r)
{
    nb_tape *t = r->t;
    for (size_t k = 0; k < r->g->n_out; k++) {
        const uint32_t i = r->out[k].index;
        const nbi_form *f = &r->g->form[k];
        if (!r->has[k] || (r->mask && !r->mask[i]))
            continue;
        const nb_array a = {r->flow + f->at, f->dims, f->size, f->rank,
                            f->rank < 0 ? NB_F64 : t->dtype};
        if (!nbi_accumulate(t, i, &a))
            return false;
    }
    return true;
}

/* Anomaly mode's look at the local derivatives on the way. */
static bool look(replay *r)
{
    nb_tape *t = r->t;
    const uint32_t low = r->before.length, high = t->hot.length;
    nbi_spot spot = t->scratch.at;
    uint8_t *reached = nbi_scratch(t, high - low);
    if (!reached) {
        nbi_no_memory(t, r->g->title);
        return false;
    }
    memset(reached, 0, high - low);
    for (size_t k = 0; k < r->g->n_out; k++)
        if (r->has[k])
            reached[r->out[k].index - low] = 1;
    for (uint32_t i = high; i-- > low;) {
        const uint32_t *x;
        const size_t n = reached[i - low] ? nbi_ways(t, i, &x) : 0;
        for (size_t k = 0; k < n; k++)
            if (x[k] >= low)
                reached[x[k] - low] = 1;
    }
    const bool ok = nbi_partials_finite(t, high - 1, low, reached, r->mask);
    nbi_give_back(&t->scratch, spot);
    return ok;
}

static bool sweep(replay *r)
{
    nb_tape *t = r->t;
    const uint32_t low = r->before.length, high = t->hot.length;
    if (high == low)
        return true;
    const bool ok = !t->anomaly || look(r);
    return nbi_sweep(t, high - 1, low, r->mask) && ok &&
           (!t->anomaly || nbi_adjoints_finite(t, high - 1, low));
}

/* The adjoints of the state before the step, from its leaves. */
static void pass_on(replay *r)
{
    nb_tape *t = r->t;
    for (size_t k = 0; k < r->g->n_out; k++) {
        const uint32_t i = r->in[k].index;
        const nbi_form *f = &r->g->form[k];
        r->has[k] = owned(&r->now, k) && t->hot.cells[i].adjoint != 0;
        if (r->has[k])
            memcpy(r->flow + f->at,
                   f->rank < 0 ? (void *)&t->hot.cells[i].adjoint : nbi_record_at(t, i)->grad,
                   f->bytes);
    }
}

static bool reverse_step(replay *r, int64_t step)
{
    bool ok = call(r, step) && nbi_image_same(r->t, r->g, step, &r->next, &r->seen) &&
              extend_mask(r) && seed(r) && sweep(r);
    if (ok && step) {
        pass_on(r);
        nbi_image_copy(r->g, &r->next, &r->now);
    }
    nbi_adjoints_release(r->t, r->before.length, r->t->hot.length);
    return nbi_region_forget(r->t, &r->before) && ok;
}

/* Makes r->now the state before step end - 1. */
static bool position(replay *r, int64_t end)
{
    nbi_region *g = r->g;
    if (!g->first_pass || end < g->steps)
        return climb(r, end);
    nbi_image_copy(g, &r->now, &g->slot[g->memory]);
    return true;
}

static bool reverse(nb_tape *t, uint32_t i, const uint8_t *wanted)
{
    nbi_region *g = nbi_record_at(t, i)->state;
    nbi_spot scratch = t->scratch.at;
    replay r;
    bool ok = open_replay(&r, t, g);
    const bool recording = nb_set_recording(t, true);
    r.wanted = wanted;
    if (ok) {
        nbi_image_final(t, g, &r.next);
        collect(&r);
    }
    for (int64_t end = g->steps; ok && end > 0 && flows(&r); end--) {
        ok = position(&r, end) && reverse_step(&r, end - 1);
        if (g->used && g->at[g->used - 1] == end - 1)
            g->used--;
    }
    g->used = 0;
    g->first_pass = false;
    restore_generators(&r);
    nb_set_recording(t, recording);
    nbi_give_back(&t->scratch, scratch);
    return ok;
}

/* An output's adjoint waits for the base. */
static bool reverse_output(nb_tape *t, uint32_t i, const uint8_t *wanted)
{
    nbi_record *r = nbi_record_at(t, i);
    if (!wanted || wanted[r->in[0]])
        t->hot.cells[r->in[0]].adjoint = 1;
    else
        nbi_adjoint_release(t, r);
    return true;
}

/* ---- forward ---------------------------------------------------------------------------------- */

static bool give_tangent(nb_tape *t, const nbi_form *f, uint32_t i, const char *from)
{
    if (f->rank < 0) {
        memcpy(&t->tangent[i], from, sizeof *t->tangent);
        return true;
    }
    void *to = nbi_take(&t->tangents, f->bytes, NBI_ALIGN);
    if (!to) {
        nbi_no_memory(t, "a tangent");
        return false;
    }
    nbi_record_at(t, i)->tangent = memcpy(to, from, f->bytes);
    return true;
}

/* The tangents of the step's results. */
static void take_tangents(replay *r)
{
    nb_tape *t = r->t;
    for (size_t k = 0; k < r->g->n_out; k++) {
        const uint32_t i = r->out[k].index;
        const nbi_form *f = &r->g->form[k];
        const bool own = owned(&r->seen, k), scalar = f->rank < 0;
        const void *from = !own     ? NULL
                           : scalar ? (void *)&t->tangent[i]
                                    : nbi_record_at(t, i)->tangent;
        r->has[k] = from != NULL;
        if (from)
            memcpy(r->flow + f->at, from, f->bytes);
    }
}

static bool forward_step(replay *r, int64_t step)
{
    nb_tape *t = r->t;
    bool ok = call(r, step) && nbi_tangents_room(t, r->before.length, t->hot.length);
    nbi_spot spot = t->tangents.at;
    const double *tangent = t->tangent;
    for (size_t k = 0; ok && step && k < r->g->n_out; k++)
        if (r->has[k] && owned(&r->now, k))
            ok = give_tangent(t, &r->g->form[k], r->in[k].index, r->flow + r->g->form[k].at);
    ok = ok && nbi_push_tangents(t, r->leaves, t->hot.length, NULL);
    if (ok)
        take_tangents(r);
    ok = nbi_region_forget(t, &r->before) && ok;
    if (tangent == t->tangent) /* else it moved to what would be given back */
        nbi_give_back(&t->tangents, spot);
    swap(&r->now, &r->seen);
    return ok;
}

static bool forward(nb_tape *t, uint32_t i)
{
    nbi_region *g = nbi_record_at(t, i)->state;
    nbi_spot scratch = t->scratch.at;
    replay r;
    bool ok = open_replay(&r, t, g);
    const bool recording = nb_set_recording(t, true);
    for (int64_t step = 0; ok && step < g->steps; step++)
        ok = forward_step(&r, step);
    if (ok) {
        nbi_image_final(t, g, &r.next);
        ok = nbi_image_same(t, g, g->steps - 1, &r.next, &r.now);
    }
    for (size_t k = 0; ok && k < g->n_out; k++)
        if (r.has[k])
            ok = give_tangent(t, &g->form[k], g->node[k], r.flow + g->form[k].at);
    restore_generators(&r);
    nb_set_recording(t, recording);
    nbi_give_back(&t->scratch, scratch);
    return ok;
}

static bool forward_output(nb_tape *t, uint32_t i) /* the base has seen to it */
{
    (void)t, (void)i;
    return true;
}

const nbi_inside nbi_region_base = {reverse, forward};
const nbi_inside nbi_region_output = {reverse_output, forward_output};

/* ---- as graph --------------------------------------------------------------------------------- */

bool nbi_region_unroll(nb_tape *t, nbi_region *g, nb_var *out)
{
    nbi_spot scratch = t->scratch.at;
    replay r;
    const uint32_t low = t->hot.length;
    bool ok = open_replay(&r, t, g);
    const bool recording = nb_set_recording(t, true);
    for (size_t k = 0; ok && k < g->n_rng; k++)
        *g->rng[k] = g->first[k];
    for (int64_t step = 0; ok && step < g->steps; step++) {
        for (size_t k = 0; k < g->n_in; k++)
            r.in[k] = step && k < g->n_out ? r.out[k] : nbi_region_in(t, g, k);
        ok = nbi_region_call(t, g, step, low, r.in, r.out) && nbi_region_fits(t, g, r.out);
    }
    if (ok) {
        memcpy(out, r.out, g->n_out * sizeof *out);
        nbi_image_take(t, g, out, &r.seen);
        nbi_image_final(t, g, &r.next);
        ok = nbi_image_same(t, g, g->steps - 1, &r.next, &r.seen);
    }
    restore_generators(&r);
    nb_set_recording(t, recording);
    nbi_give_back(&t->scratch, scratch);
    return ok;
}
