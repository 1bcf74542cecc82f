/*
 * Making the steps of a region again.
 *
 * A call gets the same operand nodes as the first time, and a state from an image. Where the state
 * before a step is not at hand, it is computed from the nearest kept one; the schedule (revolve.c)
 * says which states to keep on the way. The first pass of a loop goes the same way, from the start to
 * the end, and notes besides which older nodes the steps refer to.
 */
#include "diff/replay.h"

#include "diff/revolve.h"

static bool open_image(nbi_replay *r, nbi_image *m)
{
    void *p = nbi_scratch(r->t, nbi_image_size(r->g));
    if (p)
        *m = nbi_image_at(r->g, p);
    return p != NULL;
}

bool nbi_replay_open(nbi_replay *r, nb_tape *t, nbi_region *g)
{
    *r = (nbi_replay){.t = t, .g = g, .recording = t->recording, .scratch = t->scratch.at};
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

void nbi_replay_close(nbi_replay *r)
{
    for (size_t k = 0; r->open && k < r->g->n_rng; k++)
        *r->g->rng[k] = r->rng[k];
    nb_set_recording(r->t, r->recording);
    nbi_give_back(&r->t->scratch, r->scratch);
}

bool nbi_replay_call(nbi_replay *r, int64_t step)
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

static bool hoist(nbi_replay *r, const numbers *all)
{
    uint32_t at;
    for (int k = 0; k < all->n; k++)
        if (!nbi_constant_at(r->t, all->value[k], &at))
            return false;
    r->g->base = r->t->hot.length;
    return true;
}

/* Moves r->now over one step. */
static bool advance(nbi_replay *r, int64_t step)
{
    bool ok = nbi_replay_call(r, step);
    if (ok && r->touched && r->t->recording)
        ok = nbi_region_touched(r->t, r->g, r->before.length, r->out, r->touched);
    const bool first = r->touched && step == 0;
    const numbers shared = first ? shared_since(r->t, r->before.length) : (numbers){.n = 0};
    ok = nbi_region_forget(r->t, &r->before) && ok;
    if (ok && first)
        ok = hoist(r, &shared);
    nbi_image_swap(&r->now, &r->seen);
    return ok;
}

/* Before which step the next state is to be kept on the way from p to the last step before `end`. */
static int64_t target(const nbi_region *g, int64_t p, int64_t end)
{
    const int64_t free = g->memory - g->used;
    return free && end - p >= 2 ? p + nbi_revolve_split(end - p, free + 1) : end;
}

/* Moves r->now from the last kept state to that before step end - 1, keeping states on the way. */
static bool climb(nbi_replay *r, int64_t end)
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
    nbi_replay r;
    bool ok = nbi_replay_open(&r, t, g);
    r.touched = set;
    ok = ok && climb(&r, g->steps);
    if (ok && g->steps > 1) {
        nbi_image_copy(g, &g->slot[g->memory], &r.now);
        g->first_pass = true;
    }
    ok = ok && advance(&r, g->steps - 1);
    *last = r.now; /* so the scratch stays taken; the caller gives it back */
    return ok;
}

bool nbi_replay_position(nbi_replay *r, int64_t end)
{
    nbi_region *g = r->g;
    if (!g->first_pass || end < g->steps)
        return climb(r, end);
    nbi_image_copy(g, &r->now, &g->slot[g->memory]);
    return true;
}

/* ---- as graph --------------------------------------------------------------------------------- */

bool nbi_region_unroll(nb_tape *t, nbi_region *g, nb_var *out)
{
    nbi_replay r;
    const uint32_t low = t->hot.length;
    bool ok = nbi_replay_open(&r, t, g);
    nb_set_recording(t, true);
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
    nbi_replay_close(&r);
    return ok;
}

/* ---- the nodes of a region in the sweeps ------------------------------------------------------- */

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

static bool forward_output(nb_tape *t, uint32_t i) /* the base has seen to it */
{
    (void)t, (void)i;
    return true;
}

const nbi_inside nbi_region_base = {nbi_region_reverse, nbi_region_forward};
const nbi_inside nbi_region_output = {reverse_output, forward_output};
