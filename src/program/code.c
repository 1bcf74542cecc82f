/*
 * Which code a replay needs, made when it is first needed, and kept.
 *
 * Heavy rows are expanded, so that values and slopes share their parts; not for float code, where their
 * kernels compute in double and round once.
 */
#include "program/code.h"
#include "program/plain.h"

enum { LONG_SLOTS = 8 };

/* ---- lists ----------------------------------------------------------------------------------- */

void *nbi_list_add(nbi_heap *h, nbi_list *l)
{
    if (l->count == l->room) {
        const size_t room = l->room ? 2 * l->room : 32;
        if (room > UINT32_MAX / 2)
            return NULL;
        void *at = nbi_resize(h, l->at, l->room * l->size, room * l->size);
        if (!at)
            return NULL;
        l->at = at;
        l->room = room;
    }
    char *item = (char *)l->at + l->count++ * l->size;
    memset(item, 0, l->size);
    return item;
}

void nbi_list_free(nbi_heap *h, nbi_list *l)
{
    nbi_resize(h, l->at, l->room * l->size, 0);
    *l = (nbi_list){.size = l->size};
}

/* ---- making and keeping ---------------------------------------------------------------------- */

static void free_code(const nb_program *p, nbi_heap *h, nbi_code *c)
{
    nbi_list *const lists[] = {&c->once,    &c->each,      &c->runs,   &c->terms,
                               &c->offsets, &c->constants, &c->exports};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
        nbi_list_free(h, lists[k]);
    nbi_resize(h, c->shared, p->n_in, 0);
    nbi_resize(h, c->summed, p->n_out, 0);
    nbi_resize(h, c->home, p->n_in + p->n_out, 0);
    nbi_resize(h, c->sum, p->out_elements * sizeof *c->sum, 0);
    nbi_resize(h, c, sizeof *c, 0);
}

void nbi_codes_free(nb_program *p)
{
    while (p->codes) {
        nbi_code *c = p->codes;
        p->codes = c->next;
        free_code(p, &p->heap, c);
    }
}

static nbi_code *new_code(const nb_program *p, nbi_heap *h, const nbi_pattern *like, uint32_t asked)
{
    nbi_code *c = nbi_resize(h, NULL, 0, sizeof *c);
    if (!c)
        return NULL;
    *c = (nbi_code){.dtype = like->dtype,
                    .asked = asked,
                    .early = like->early,
                    .once.size = sizeof(nbi_instruction),
                    .each.size = sizeof(nbi_instruction),
                    .runs.size = sizeof(nbi_run),
                    .terms.size = sizeof(nbi_term_pair),
                    .offsets.size = sizeof(uint32_t),
                    .constants.size = sizeof(nbi_constant),
                    .exports.size = sizeof(nbi_export)};
    c->shared = nbi_resize(h, NULL, 0, p->n_in);
    c->summed = nbi_resize(h, NULL, 0, p->n_out);
    c->home = nbi_resize(h, NULL, 0, p->n_in + p->n_out);
    c->sum = nbi_resize(h, NULL, 0, p->out_elements * sizeof *c->sum);
    if ((!c->shared && p->n_in) || (!c->summed && p->n_out) || (!c->home && p->n_in + p->n_out) ||
        (!c->sum && p->out_elements)) {
        free_code(p, h, c);
        return NULL;
    }
    if (p->out_elements)
        memset(c->sum, 0xff, p->out_elements * sizeof *c->sum);
    if (p->n_in)
        memcpy(c->shared, like->shared, p->n_in);
    if (p->n_out)
        memcpy(c->summed, like->summed, p->n_out);
    if (asked == NBI_LONG)
        memcpy(c->home, like->home, p->n_in + p->n_out);
    return c;
}

/* Bytes of a slot that suit so many lanes. Few long blocks would not pay: the last is computed whole. */
static uint32_t block_for(const nbi_pattern *like)
{
    const int64_t most = 8 * NBI_LONG, size = like->dtype == NB_F64 ? 8 : 4;
    const int64_t bytes = like->lanes > most ? most : like->lanes * size;
    if (like->home && bytes >= most)
        return NBI_LONG;
    return bytes <= NBI_UNIFORM ? NBI_UNIFORM : bytes <= NBI_BLOCK / 2 ? NBI_BLOCK / 2 : NBI_BLOCK;
}

static bool lay_out(nbi_plan *s)
{
    const size_t n = s->d->count, bytes = (n + 1) * (sizeof *s->uses + 2); /* n may be 0 */
    s->uses = nbi_resize(s->heap, NULL, 0, bytes);
    if (!s->uses)
        return false;
    memset(s->uses, 0, bytes);
    s->varies = (uint8_t *)(s->uses + n);
    s->inside = s->varies + n;
    const bool done = nbi_select(s) && nbi_assign(s);
    nbi_resize(s->heap, s->uses, bytes, 0);
    return done;
}

static nbi_code *make_in(const nb_program *p, nbi_heap *h, const nbi_pattern *like, uint32_t asked,
                         uint32_t block)
{
    nbi_code *c = new_code(p, h, like, asked);
    if (!c)
        return NULL;
    c->block = block;
    nbi_plain plain;
    bool done = nbi_plain_make(&plain, p, h, like->dtype == NB_F64 ? NBI_HEAVY : 0, like->shared);
    nbi_plan s = {p, &plain.d, plain.result, plain.guard, h, c, NULL, NULL, NULL};
    done = done && lay_out(&s);
    nbi_plain_free(&plain);
    if (done)
        return c;
    free_code(p, h, c);
    return NULL;
}

/* In long blocks if the slots fit a first-level cache, with room for what is at home. */
static nbi_code *make_code(const nb_program *p, nbi_heap *h, const nbi_pattern *like,
                           uint32_t asked)
{
    nbi_code *c = make_in(p, h, like, asked, asked);
    if (!c || asked < NBI_LONG || c->slots <= LONG_SLOTS)
        return c;
    free_code(p, h, c);
    return make_in(p, h, like, asked, NBI_BLOCK);
}

static bool is_for(const nb_program *p, const nbi_code *c, const nbi_pattern *like, uint32_t asked)
{
    return c->dtype == like->dtype && c->asked == asked && c->early == like->early &&
           (!p->n_in || !memcmp(c->shared, like->shared, p->n_in)) &&
           (!p->n_out || !memcmp(c->summed, like->summed, p->n_out)) &&
           (asked < NBI_LONG || !memcmp(c->home, like->home, p->n_in + p->n_out));
}

const nbi_code *nbi_code_for(const nb_program *p, const nbi_pattern *like)
{
    const uint32_t asked = block_for(like);
    nb_program *q = (nb_program *)p; /* its codes alone change, under the lock */
    pthread_mutex_lock(&q->lock);
    nbi_code *c = q->codes;
    while (c && !is_for(p, c, like, asked))
        c = c->next;
    if (!c && (c = make_code(p, &q->heap, like, asked))) {
        c->next = q->codes;
        q->codes = c;
    }
    pthread_mutex_unlock(&q->lock);
    return c;
}

void nbi_flags_declared(const nb_program *p, uint8_t *flags)
{
    for (size_t k = 0; k < p->n_in; k++)
        flags[k] = p->in[k].shared;
    for (size_t k = 0; k < p->n_out; k++)
        flags[p->n_in + k] = p->out[k].sum;
}
