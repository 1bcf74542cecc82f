/*
 * Pushing tangents through a region: each call is recorded anew at the end of the tape, pushed through
 * there, and forgotten. The state's tangents go from step to step beside the state itself; no states
 * need be kept.
 */
#include "diff/replay.h"

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
static void take_tangents(nbi_replay *r)
{
    nb_tape *t = r->t;
    for (size_t k = 0; k < r->g->n_out; k++) {
        const uint32_t i = r->out[k].index;
        const nbi_form *f = &r->g->form[k];
        const bool own = nbi_replay_owned(&r->seen, k), scalar = f->rank < 0;
        const void *from = !own     ? NULL
                           : scalar ? (void *)&t->tangent[i]
                                    : nbi_record_at(t, i)->tangent;
        r->has[k] = from != NULL;
        if (from)
            memcpy(r->flow + f->at, from, f->bytes);
    }
}

static bool forward_step(nbi_replay *r, int64_t step)
{
    nb_tape *t = r->t;
    bool ok = nbi_replay_call(r, step) && nbi_tangents_room(t, r->before.length, t->hot.length);
    nbi_spot spot = t->tangents.at;
    const double *tangent = t->tangent;
    for (size_t k = 0; ok && step && k < r->g->n_out; k++)
        if (r->has[k] && nbi_replay_owned(&r->now, k))
            ok = give_tangent(t, &r->g->form[k], r->in[k].index, r->flow + r->g->form[k].at);
    ok = ok && nbi_push_tangents(t, r->leaves, t->hot.length, NULL);
    if (ok)
        take_tangents(r);
    ok = nbi_region_forget(t, &r->before) && ok;
    if (tangent == t->tangent) /* else it moved to what would be given back */
        nbi_give_back(&t->tangents, spot);
    nbi_image_swap(&r->now, &r->seen);
    return ok;
}

bool nbi_region_forward(nb_tape *t, uint32_t i)
{
    nbi_region *g = nbi_record_at(t, i)->state;
    nbi_replay r;
    bool ok = nbi_replay_open(&r, t, g);
    nb_set_recording(t, true);
    for (int64_t step = 0; ok && step < g->steps; step++)
        ok = forward_step(&r, step);
    if (ok) {
        nbi_image_final(t, g, &r.next);
        ok = nbi_image_same(t, g, g->steps - 1, &r.next, &r.now);
    }
    for (size_t k = 0; ok && k < g->n_out; k++)
        if (r.has[k])
            ok = give_tangent(t, &g->form[k], g->node[k], r.flow + g->form[k].at);
    nbi_replay_close(&r);
    return ok;
}
