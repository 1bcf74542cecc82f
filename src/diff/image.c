/*
 * States apart from the tape: taken from vars, turned into vars, compared.
 *
 * Which outputs of a call are one node is found in one pass: the nodes are new, their adjoints 0, so
 * the first output that is a node leaves its number there for the others to find, and takes it away
 * afterwards.
 */
#include "diff/region.h"

static size_t aligned(size_t bytes) { return (bytes + NBI_ALIGN - 1) & ~(size_t)(NBI_ALIGN - 1); }

size_t nbi_image_size(const nbi_region *g)
{
    size_t rng, source, all;
    if (__builtin_mul_overflow(g->n_rng, sizeof(nb_rng), &rng) ||
        __builtin_mul_overflow(g->n_out, sizeof(uint32_t), &source) ||
        __builtin_add_overflow(g->bytes, rng, &all) ||
        __builtin_add_overflow(all, source + 2 * NBI_ALIGN, &all))
        return 0;
    return aligned(all);
}

nbi_image nbi_image_at(const nbi_region *g, void *p)
{
    nbi_image m = {.bytes = p};
    m.rng = (nb_rng *)(void *)(m.bytes + aligned(g->bytes));
    m.source = (uint32_t *)(void *)(m.rng + g->n_rng);
    return m;
}

void nbi_image_copy(const nbi_region *g, nbi_image *to, const nbi_image *from)
{
    memcpy(to->bytes, from->bytes, g->bytes);
    memcpy(to->rng, from->rng, g->n_rng * sizeof *to->rng);
    memcpy(to->source, from->source, g->n_out * sizeof *to->source);
}

/* The elements of node i, a scalar's number included, to an image. */
static void take_value(const nb_tape *t, const nbi_form *f, uint32_t i, nbi_image *m)
{
    const void *from = f->rank < 0 ? (void *)&t->hot.cells[i].value : nbi_record_at(t, i)->data;
    memcpy(m->bytes + f->at, from, f->bytes);
}

void nbi_image_take(nb_tape *t, const nbi_region *g, const nb_var *out, nbi_image *m)
{
    nbi_cell *cells = t->hot.cells;
    for (size_t k = 0; k < g->n_out; k++) {
        const uint32_t i = out[k].index, own = nbi_own(k);
        m->source[k] = i < g->base ? i : nbi_still(t, i) ? NBI_INERT : own;
        if (m->source[k] == own && cells[i].adjoint != 0)
            m->source[k] = nbi_own((size_t)cells[i].adjoint - 1);
        else if (m->source[k] == own)
            cells[i].adjoint = (double)(k + 1);
        if (m->source[k] == own || m->source[k] == NBI_INERT)
            take_value(t, &g->form[k], i, m);
    }
    for (size_t k = 0; k < g->n_out; k++)
        if (m->source[k] == nbi_own(k))
            cells[out[k].index].adjoint = 0;
    for (size_t k = 0; k < g->n_rng; k++)
        m->rng[k] = *g->rng[k];
}

void nbi_image_final(nb_tape *t, const nbi_region *g, nbi_image *m)
{
    memcpy(m->source, g->source, g->n_out * sizeof *m->source);
    for (size_t k = 0; k < g->n_out; k++)
        if (g->source[k] >= g->base)
            take_value(t, &g->form[k], g->node[k], m);
}

static bool record_value(nb_tape *t, const nbi_form *f, const nbi_image *m, bool still, nb_var *v)
{
    double value;
    if (f->rank < 0) {
        memcpy(&value, m->bytes + f->at, sizeof value);
        *v = still ? nb_constant(t, value) : nb_input(t, NULL, value);
    } else {
        nbi_leaf(t, nb_shape_make((size_t)f->rank, f->dims), m->bytes + f->at, still, v);
    }
    return nb_ok(*v);
}

bool nbi_image_record(nb_tape *t, const nbi_region *g, const nbi_image *m, nb_var *in)
{
    for (size_t k = 0; k < g->n_out; k++) {
        const uint32_t s = m->source[k];
        if (s < g->base)
            in[k] = nbi_var(t, s);
        else if (s != NBI_INERT && s != nbi_own(k))
            in[k] = in[nbi_own(0) - s];
        else if (!record_value(t, &g->form[k], m, s == NBI_INERT, &in[k]))
            return false;
    }
    return true;
}

/* ---- purity ----------------------------------------------------------------------------------- */

/* Names the first element of output k that differs. */
static void differs(nb_tape *t, const nbi_region *g, int64_t step, size_t k, const char *kept,
                    const char *now)
{
    const nbi_form *f = &g->form[k];
    const bool wide = f->rank < 0 || t->dtype == NB_F64;
    const size_t width = wide ? sizeof(double) : sizeof(float);
    double x[2] = {0, 0};
    float narrow[2];
    size_t at = 0;
    while (at + width < f->bytes && !memcmp(kept + at, now + at, width))
        at += width;
    for (int j = 0; j < 2 && f->bytes; j++)
        if (wide)
            memcpy(&x[j], (j ? now : kept) + at, width);
        else
            memcpy(&narrow[j], (j ? now : kept) + at, width), x[j] = (double)narrow[j];
    nbi_fail(t, NB_ERR_CALLBACK,
             "%s: not pure: output %zu of call %lld differs when it is recomputed (element %zu was "
             "%.17g, is %.17g)",
             g->title, k, (long long)step, at / width, x[0], x[1]);
}

bool nbi_image_same(nb_tape *t, const nbi_region *g, int64_t step, const nbi_image *kept,
                    const nbi_image *now)
{
    for (size_t k = 0; k < g->n_out; k++) {
        const nbi_form *f = &g->form[k];
        const uint32_t s = kept->source[k];
        const bool valued = s == NBI_INERT || s == nbi_own(k);
        if (s != now->source[k]) {
            nbi_fail(t, NB_ERR_CALLBACK,
                     "%s: not pure: output %zu of call %lld is another node when it is recomputed",
                     g->title, k, (long long)step);
            return false;
        }
        if (valued && memcmp(kept->bytes + f->at, now->bytes + f->at, f->bytes)) {
            differs(t, g, step, k, kept->bytes + f->at, now->bytes + f->at);
            return false;
        }
    }
    return true;
}
