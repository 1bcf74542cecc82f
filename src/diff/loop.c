/*
 * A loop: a state that goes through many steps, recorded as one node.
 *
 * The first pass computes all steps, one interior at a time, and keeps the states that the schedule
 * will want first, in memory that lives with the node. What else is needed is recomputed by the
 * sweep (replay.c). Counted over both, with T steps and memory for c states, the initial one not
 * counted since it is on the tape, the step function is called
 *
 *     T                        times by the first pass,
 *     t(T, c + 1) - (T - 1)    times to advance (revolve.c), as the first pass has done T - 1 of it
 *                              and keeps the state before the last step too,
 *     T                        times to be swept:
 *
 * t(T, c + 1) + T + 1 in all, and t(T, c + 1) + T in each further sweep.
 */
#include "diff/region.h"

#include "diff/revolve.h"

int64_t nb_loop_calls(int64_t steps, int64_t memory)
{
    int64_t calls;
    if (steps < 0 || steps > NBI_REVOLVE_MOST || memory < 1)
        return -1;
    if (!steps)
        return 0;
    memory = memory < steps ? memory : steps;
    return __builtin_add_overflow(nbi_revolve_advances(steps, memory + 1), steps + 1, &calls)
               ? -1
               : calls;
}

/* The memory for the kept states. */
static bool open_slots(nb_tape *t, nbi_region *g)
{
    const size_t n = (size_t)g->memory + 1, one = nbi_image_size(g);
    size_t all, images, steps;
    if (!one || __builtin_mul_overflow(n, one, &all) ||
        __builtin_mul_overflow(n, sizeof *g->slot, &images) ||
        __builtin_mul_overflow(n, sizeof *g->at, &steps)) {
        nbi_fail(t, NB_ERR_OVERFLOW, "%s: the size of the kept states overflows", g->title);
        return false;
    }
    char *p = nbi_take(&t->values, all, NBI_ALIGN);
    g->slot = nbi_take(&t->values, images, 16);
    g->at = nbi_take(&t->values, steps, 16);
    if (!p || !g->slot || !g->at) {
        nbi_no_memory(t, g->title);
        return false;
    }
    for (size_t k = 0; k < n; k++)
        g->slot[k] = nbi_image_at(g, p + k * one);
    return true;
}

/* The arguments as nodes: the state's forms are asked of them. */
static nb_var *arguments(nb_tape *t, size_t n, const nb_var *state, size_t m, const nb_var *shared)
{
    nb_var *in = nbi_scratch(t, (n + m + 1) * sizeof *in);
    if (!in)
        nbi_no_memory(t, "loop");
    for (size_t k = 0; in && k < n + m; k++) {
        in[k] = k < n ? state[k] : shared[k - n];
        if (!in[k].tape)
            in[k] = nb_constant(t, nbi_number(in[k]));
        if (in[k].epoch == NBI_INERT)
            return NULL;
    }
    return in;
}

static bool run(nb_tape *t, const nb_loop_spec *s, nbi_region *like, size_t n, nb_var *out)
{
    nbi_touched set = {0};
    nbi_image last;
    nbi_region *g = nbi_region_open(t, like, "loop", s->name, s->context_bytes, n);
    return g && nbi_region_forms(t, g, g->in) && open_slots(t, g) &&
           nbi_region_run(t, g, &set, &last) && nbi_region_close(t, g, &set, &last, out);
}

/* Whether the spec makes sense; else an error. */
static bool sound(nb_tape *t, const nb_loop_spec *s)
{
    const char *name = s->name ? s->name : "";
    if (s->memory < 1)
        nbi_fail(t, NB_ERR_ARGUMENT,
                 "loop \"%.60s\": a schedule with no memory: room for at least 1 state is needed, "
                 "%lld were given",
                 name, (long long)s->memory);
    else if (s->steps < 0 || s->steps > NBI_REVOLVE_MOST)
        nbi_fail(t, NB_ERR_ARGUMENT, "loop \"%.60s\": %lld steps; 0 to 2^%d are possible", name,
                 (long long)s->steps, NBI_REVOLVE_LOG);
    else
        return true;
    return false;
}

/* The tape of the state and the shared vars. */
static nb_tape *home(size_t n, const nb_var *state, size_t m, const nb_var *shared, nb_var *inert)
{
    nb_tape *t = nbi_home("loop", n, state, inert);
    if ((!t && inert->tape) || !m)
        return t;
    nb_tape *u = nbi_home("loop", m, shared, inert);
    if (t && u && t != u) {
        nbi_fail(t, NB_ERR_HANDLE, "loop: a shared var is of another tape than the state");
        *inert = nbi_inert(t);
        return NULL;
    }
    return !u && inert->tape ? NULL : t ? t : u;
}

nb_code nb_loop(const nb_loop_spec *s, size_t n_state, const nb_var *state, size_t n_shared,
                const nb_var *shared, nb_var *out)
{
    static const nb_loop_spec none = {.fn = NULL};
    nb_var inert;
    s = s ? s : &none;
    nbi_region like = {.step = s->fn,
                       .context = s->context,
                       .n_rng = s->n_rng,
                       .n_in = n_state + n_shared,
                       .rng = s->rng,
                       .steps = s->steps,
                       .memory = s->memory < s->steps ? s->memory : s->steps};
    if (!nbi_region_given(s->fn && state && (shared || !n_shared), &like, s->context_bytes, n_state,
                          out))
        return NB_ERR_ARGUMENT;
    nb_tape *t = home(n_state, state, n_shared, shared, &inert);
    nb_mark before = nb_tape_mark(t);
    nbi_spot scratch = t ? t->scratch.at : (nbi_spot){NULL, 0};
    nb_var *in = t && sound(t, s) ? arguments(t, n_state, state, n_shared, shared) : NULL;
    bool ok = in != NULL;
    if (ok && s->steps == 0) {
        memmove(out, in, n_state * sizeof *out);
    } else if (ok) {
        like.in = in;
        ok = run(t, s, &like, n_state, out);
    }
    if (t)
        nbi_give_back(&t->scratch, scratch);
    if (ok)
        return NB_OK;
    if (t)
        nbi_truncate(t, &before);
    for (size_t k = 0; k < n_state; k++)
        out[k] = t ? nbi_inert(t) : inert;
    nb_tape *owner = t ? t : inert.tape;
    return owner && owner->code ? owner->code : owner ? NB_ERR_CALLBACK : NB_ERR_HANDLE;
}
