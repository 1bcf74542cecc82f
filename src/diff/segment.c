/*
 * A segment: a function whose outputs are recorded and whose interior is not.
 *
 * The function records its interior as usual. What stays of it is an image of the outputs and the
 * list of older nodes it refers to; from these the region's nodes are made.
 */
#include "diff/region.h"

/* Records the call, makes an image of what it returned, and forgets the interior. */
static bool call_once(nb_tape *t, nbi_region *g, nbi_touched *set, nbi_image *m)
{
    nb_mark before = nbi_mark(t);
    nb_var *in = nbi_scratch(t, (g->n_in + 1) * sizeof *in);
    nb_var *out = nbi_scratch(t, (g->n_out + 1) * sizeof *out);
    if (!in || !out) {
        nbi_no_memory(t, g->title);
        return false;
    }
    for (size_t k = 0; k < g->n_in; k++)
        in[k] = nbi_region_in(t, g, k);
    bool ok = nbi_region_call(t, g, 0, before.length, in, out) && nbi_region_forms(t, g, out) &&
              (!t->recording || nbi_region_touched(t, g, before.length, out, set));
    for (size_t k = 0; k < g->n_out && ok; k++)
        if (g->form[k].rank > 0) { /* the dims are the interior's */
            const size_t bytes = (size_t)g->form[k].rank * sizeof(int64_t);
            void *dims = nbi_scratch(t, bytes);
            ok = dims || (nbi_no_memory(t, g->title), false);
            if (ok)
                g->form[k].dims = memcpy(dims, g->form[k].dims, bytes);
        }
    void *p = ok ? nbi_scratch(t, nbi_image_size(g)) : NULL;
    if (ok && !p)
        nbi_no_memory(t, g->title);
    if (p) {
        *m = nbi_image_at(g, p);
        nbi_image_take(t, g, out, m);
    }
    return nbi_region_forget(t, &before) && p;
}

nb_code nb_segment(const nb_segment_spec *s, size_t n_in, const nb_var *in, size_t n_out,
                   nb_var *out)
{
    static const nb_segment_spec none = {.fn = NULL};
    nb_var inert;
    s = s ? s : &none;
    const nbi_region like = {.once = s->fn,
                             .context = s->context,
                             .n_rng = s->n_rng,
                             .n_in = n_in,
                             .rng = s->rng,
                             .in = in,
                             .steps = 1};
    if (!nbi_region_given(s->fn && in, &like, s->context_bytes, n_out, out))
        return NB_ERR_ARGUMENT;
    nb_tape *t = nbi_home("segment", n_in, in, &inert);
    for (size_t k = 0; !t && k < n_out; k++)
        out[k] = inert;
    if (!t)
        return inert.tape && inert.tape->code ? inert.tape->code : NB_ERR_HANDLE;
    nb_mark before = nbi_mark(t);
    nbi_spot scratch = t->scratch.at;
    nbi_touched set = {0};
    nbi_image m;
    nbi_region *g = nbi_region_open(t, &like, "segment", s->name, s->context_bytes, n_out);
    bool ok = g && call_once(t, g, &set, &m) && nbi_region_close(t, g, &set, &m, out);
    nbi_give_back(&t->scratch, scratch);
    if (ok)
        return NB_OK;
    nbi_truncate(t, &before);
    for (size_t k = 0; k < n_out; k++)
        out[k] = nbi_inert(t);
    return t->code ? t->code : NB_ERR_CALLBACK;
}
