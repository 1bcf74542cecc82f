/*
 * Sweeping a region in reverse: each call is recorded anew at the end of the tape, swept there, and forgotten.
 *
 * The call gets the same operand nodes as the first time, so what it passes on to parameters and
 * captured vars goes straight to their adjoints, when it would have without a region: after all
 * younger nodes, before all older ones. The outputs' adjoints wait at the output nodes, which the
 * sweep meets first.
 *
 * A loop goes through its steps last to first. The state before a step, as leaves, collects adjoints,
 * which become the seeds of the step before. `next` is the state that the step must return: it was
 * the start of the step swept before, so every recomputed value is compared with the one it
 * replaces.
 */
#include "diff/replay.h"

/* The adjoints that wait at the outputs. */
static void collect(nbi_replay *r)
{
    nb_tape *t = r->t;
    for (size_t k = 0; k < r->g->n_out; k++) {
        const uint32_t i = r->g->node[k];
        const nbi_form *f = &r->g->form[k];
        r->has[k] = nbi_replay_owned(&r->next, k) && t->hot.cells[i].adjoint != 0;
        if (!nbi_replay_owned(&r->next, k))
            continue;
        nbi_record *o = nbi_record_at(t, i);
        if (r->has[k])
            memcpy(r->flow + f->at, f->rank < 0 ? (void *)&t->hot.cells[i].adjoint : o->grad,
                   f->bytes);
        nbi_adjoint_release(t, o);
    }
}

static bool flows(const nbi_replay *r)
{
    for (size_t k = 0; k < r->g->n_out; k++)
        if (r->has[k])
            return true;
    return false;
}

/* Continues the marks of the wanted nodes to the interior. The state's leaves count as wanted. */
static bool extend_mask(nbi_replay *r)
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

static bool seed(nbi_replay *r)
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
static bool look(nbi_replay *r)
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

static bool sweep(nbi_replay *r)
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
static void pass_on(nbi_replay *r)
{
    nb_tape *t = r->t;
    for (size_t k = 0; k < r->g->n_out; k++) {
        const uint32_t i = r->in[k].index;
        const nbi_form *f = &r->g->form[k];
        r->has[k] = nbi_replay_owned(&r->now, k) && t->hot.cells[i].adjoint != 0;
        if (r->has[k])
            memcpy(r->flow + f->at,
                   f->rank < 0 ? (void *)&t->hot.cells[i].adjoint : nbi_record_at(t, i)->grad,
                   f->bytes);
    }
}

static bool reverse_step(nbi_replay *r, int64_t step)
{
    bool ok = nbi_replay_call(r, step) && nbi_image_same(r->t, r->g, step, &r->next, &r->seen) &&
              extend_mask(r) && seed(r) && sweep(r);
    if (ok && step) {
        pass_on(r);
        nbi_image_copy(r->g, &r->next, &r->now);
    }
    nbi_adjoints_release(r->t, r->before.length, r->t->hot.length);
    return nbi_region_forget(r->t, &r->before) && ok;
}

bool nbi_region_reverse(nb_tape *t, uint32_t i, const uint8_t *wanted)
{
    nbi_region *g = nbi_record_at(t, i)->state;
    nbi_replay r;
    bool ok = nbi_replay_open(&r, t, g);
    nb_set_recording(t, true);
    r.wanted = wanted;
    if (ok) {
        nbi_image_final(t, g, &r.next);
        collect(&r);
    }
    for (int64_t end = g->steps; ok && end > 0 && flows(&r); end--) {
        ok = nbi_replay_position(&r, end) && reverse_step(&r, end - 1);
        if (g->used && g->at[g->used - 1] == end - 1)
            g->used--;
    }
    g->used = 0;
    g->first_pass = false;
    nbi_replay_close(&r);
    return ok;
}
