/*
 * The life of a tape: made, grown, marked, rewound, freed.
 *
 * Three parallel arrays hold the nodes and double when they are full. Nothing is ever freed node by
 * node: a rewind moves the lengths back, tells the few records that asked for it (those with a
 * destructor) and starts a new epoch, so that handles to what was forgotten are known to be stale.
 * The arrays and arenas keep their memory, so that a step which records what the step before
 * recorded takes nothing from the allocator.
 */
#include "tape/tape.h"

#include <stdlib.h>

enum {
    FIRST_NODES = 1024,
    FIRST_BYTES = 1 << 14,
    FIRST_SCRATCH = 1 << 12,
    FIRST_FALLS = 8,
    FIRST_NAMES = 256
};

static void set_limit(nb_tape *t) { t->hot.limit = t->recording && !t->anomaly ? t->capacity : 0; }

/* Grows the array that *p points to, from *capacity elements; both stay as they were on failure. */
static bool grow(nb_tape *t, void *p, size_t width, size_t *capacity, size_t to)
{
    void *old, *new;
    memcpy(&old, p, sizeof old);
    if (*capacity >= to)
        return true;
    if (to > SIZE_MAX / width || !(new = nbi_resize(&t->heap, old, *capacity * width, to * width)))
        return false;
    memcpy(p, &new, sizeof new);
    *capacity = to;
    return true;
}

/* The capacity is that of the shortest array: one that grew before the next failed is just ahead. */
static bool set_capacity(nb_tape *t, size_t to)
{
    if (!grow(t, &t->hot.cells, sizeof *t->hot.cells, &t->room[0], to) ||
        !grow(t, &t->hot.args, sizeof *t->hot.args, &t->room[1], to) ||
        !grow(t, &t->hot.ops, sizeof *t->hot.ops, &t->room[2], to))
        return false;
    t->capacity = (uint32_t)to;
    set_limit(t);
    return true;
}

bool nbi_room(nb_tape *t)
{
    if (t->hot.length < t->capacity)
        return true;
    size_t most = UINT32_MAX - 1, to = t->capacity < most / 2 ? 2 * (size_t)t->capacity : most;
    if (t->capacity == most) {
        nbi_fail(t, NB_ERR_LIMIT,
                 "the tape is full: it holds %zu nodes, the most that ids can tell apart", most);
        return false;
    }
    if (set_capacity(t, to))
        return true;
    size_t modest = t->capacity + t->capacity / 8 + 1; /* near the cap a little may still fit */
    if (modest < to && set_capacity(t, modest))
        return true;
    nbi_no_memory(t, "more nodes");
    return false;
}

uint32_t *nbi_list_room(nb_tape *t, size_t n)
{
    size_t need = t->list_length + n, to = t->list_capacity ? 2 * t->list_capacity : 256;
    if (need < n || need > UINT32_MAX) {
        nbi_fail(t, NB_ERR_LIMIT, "the tape's list of operands is full");
        return NULL;
    }
    to = to < need ? need : to;
    if (need > t->list_capacity && !grow(t, &t->list, sizeof *t->list, &t->list_capacity, to)) {
        nbi_no_memory(t, "the operands of a node");
        return NULL;
    }
    return t->list + t->list_length;
}

static bool make_pool(nb_tape *t, const nb_options *o)
{
    if (o->pool || o->threads == 0 || o->threads == 1)
        return true;
    t->crew.pool = nb_pool_new(o->threads, &o->allocator);
    t->own_pool = t->crew.pool != NULL;
    return t->own_pool;
}

nb_tape *nb_tape_new(const nb_options *options)
{
    nb_options o = options ? *options : (nb_options){.dtype = NB_F64};
    nbi_heap heap;
    nbi_heap_init(&heap, &o.allocator, o.max_bytes);
    nb_tape *t = nbi_resize(&heap, NULL, 0, sizeof *t);
    if (!t)
        return NULL;
    memset(t, 0, sizeof *t);
    t->heap = heap;
    t->dtype = o.dtype == NB_F32 ? NB_F32 : NB_F64;
    t->recording = true;
    t->anomaly = o.anomaly;
    t->attention = NBI_INERT;
    nb_set_isa(t, NULL);
    t->crew.pool = o.pool;
    size_t bytes = o.bytes ? o.bytes : FIRST_BYTES;
    nbi_arena_init(&t->values, &t->heap, bytes);
    nbi_arena_init(&t->adjoints, &t->heap, bytes);
    nbi_arena_init(&t->tangents, &t->heap, bytes);
    nbi_arena_init(&t->scratch, &t->heap, FIRST_SCRATCH);
    nbi_arena_init(&t->names, &t->heap, FIRST_NAMES);
    nbi_arena_init(&t->marks, &t->heap, FIRST_SCRATCH);
    size_t nodes = o.nodes ? o.nodes : FIRST_NODES;
    if (!set_capacity(t, nodes < UINT32_MAX - 1 ? nodes : UINT32_MAX - 1) ||
        !grow(t, &t->falls, sizeof *t->falls, &t->fall_capacity, FIRST_FALLS) ||
        !make_pool(t, &o)) {
        nb_tape_free(t);
        return NULL;
    }
    return t;
}

/* Calls the destructors of the records from `length` on. */
static void dismiss(nb_tape *t, uint32_t length)
{
    while (t->attention != NBI_INERT && t->attention >= length) {
        nbi_record *r = nbi_record_at(t, t->attention);
        t->attention = r->older;
        t->busy++;
        if (r->op->destroy)
            r->op->destroy(r->state);
        t->busy--;
    }
}

void nb_tape_free(nb_tape *t)
{
    if (!t)
        return;
    dismiss(t, 0);
    if (t->own_pool)
        nb_pool_free(t->crew.pool);
    nbi_arena_free(&t->values);
    nbi_arena_free(&t->adjoints);
    nbi_arena_free(&t->tangents);
    nbi_arena_free(&t->scratch);
    nbi_arena_free(&t->names);
    nbi_arena_free(&t->marks);
    nbi_resize(&t->heap, t->hot.cells, t->room[0] * sizeof *t->hot.cells, 0);
    nbi_resize(&t->heap, t->hot.args, t->room[1] * sizeof *t->hot.args, 0);
    nbi_resize(&t->heap, t->hot.ops, t->room[2] * sizeof *t->hot.ops, 0);
    nbi_resize(&t->heap, t->list, t->list_capacity * sizeof *t->list, 0);
    nbi_resize(&t->heap, t->labels, t->label_capacity * sizeof *t->labels, 0);
    nbi_resize(&t->heap, t->falls, t->fall_capacity * sizeof *t->falls, 0);
    nbi_heap heap = t->heap;
    nbi_resize(&heap, t, sizeof *t, 0);
}

/* ---- mark and rewind ------------------------------------------------------------------------- */

nb_mark nb_tape_mark(nb_tape *t) { return t ? nbi_mark(t) : (nb_mark){0}; }

void nbi_truncate(nb_tape *t, const nb_mark *m)
{
    dismiss(t, m->length);
    nbi_labels_truncate(t, m->length);
    if (t->accumulating)
        nbi_adjoints_release(t, m->length, t->dirty);
    if (t->dirty > m->length)
        t->dirty = m->length;
    t->hot.length = m->length;
    t->list_length = m->operands;
    nbi_give_back(&t->values, (nbi_spot){m->chunk, m->used});
    if (t->tangents_to > m->length)
        t->tangents_to = m->length;
    if (t->swept_to > m->length)
        t->swept_to = m->length;
}

/* Notes how low this rewind went, and starts the next epoch. */
static nb_code fall(nb_tape *t, uint32_t low)
{
    nb_code code = NB_OK;
    while (t->n_falls && t->falls[t->n_falls - 1].low >= low)
        t->n_falls--;
    if (t->n_falls == t->fall_capacity) {
        size_t to = 2 * t->fall_capacity;
        if (!grow(t, &t->falls, sizeof *t->falls, &t->fall_capacity, to)) {
            /* take the fall before for this one: handles in between go stale, none stays wrongly */
            low = t->falls[--t->n_falls].low;
            code = nbi_no_memory(t, "the note of a rewind");
        }
    }
    t->falls[t->n_falls++] = (nbi_fall){t->rewinds, low};
    t->floor = t->falls[0].low;
    t->hot.epoch = (uint32_t)(++t->rewinds % NBI_EPOCHS) * (NBI_TAGS + 1);
    return code;
}

nb_code nb_rewind(nb_mark m)
{
    nb_tape *t = m.tape;
    if (!t)
        return NB_ERR_ARGUMENT;
    if (nbi_busy(t, "rewind"))
        return NB_ERR_CALLBACK;
    if (m.length > t->hot.length || m.length > nbi_low_since(t, m.epoch))
        return nbi_fail(t, NB_ERR_HANDLE,
                        "rewind: the mark at node %u is stale: the tape was rewound below it",
                        m.length);
    nbi_truncate(t, &m);
    return fall(t, m.length);
}

nb_code nb_reset(nb_tape *t)
{
    if (!t)
        return NB_ERR_ARGUMENT;
    if (nbi_busy(t, "reset"))
        return NB_ERR_CALLBACK;
    nb_mark start = {.tape = t};
    nbi_truncate(t, &start);
    nb_clear(t);
    nbi_adjoints_clear(t, true);
    return fall(t, 0);
}

uint32_t nbi_low_since(const nb_tape *t, uint32_t epoch)
{
    const uint32_t now = t->hot.epoch / (NBI_TAGS + 1), then = epoch / (NBI_TAGS + 1);
    const uint64_t age = then <= now ? now - then : now + NBI_EPOCHS - then;
    if (age > t->rewinds)
        return 0; /* no handle of this tape */
    for (size_t i = 0; i < t->n_falls; i++)
        if (t->falls[i].when >= t->rewinds - age)
            return t->falls[i].low;
    return UINT32_MAX;
}

bool nbi_alive_since(const nb_tape *t, nb_var v)
{
    return v.epoch != NBI_INERT && v.index < t->hot.length && v.index < nbi_low_since(t, v.epoch);
}

/* ---- modes ----------------------------------------------------------------------------------- */

nb_dtype nb_tape_dtype(const nb_tape *t) { return t ? t->dtype : NB_F64; }

size_t nb_tape_bytes(const nb_tape *t) { return t ? t->heap.used : 0; }

size_t nb_tape_used(const nb_tape *t)
{
    if (!t)
        return 0;
    return t->hot.length * (sizeof(nbi_cell) + sizeof(nbi_args) + 1) +
           t->list_length * sizeof *t->list + nbi_arena_used(&t->values) +
           nbi_arena_used(&t->adjoints);
}

void nb_set_anomaly(nb_tape *t, bool on)
{
    if (!t)
        return;
    t->anomaly = on;
    set_limit(t);
}

const char *nb_isa_name(const nb_tape *t) { return t ? nbi_isa_name(t->isa) : ""; }

static nb_code no_such_isa(nb_tape *t, const char *name)
{
    char names[64] = "";
    for (int i = 0; i < NBI_ISA_COUNT; i++)
        if (nbi_isa_available((nbi_isa)i)) {
            strcat(names, names[0] ? ", " : "");
            strcat(names, nbi_isa_name((nbi_isa)i));
        }
    return nbi_fail(t, NB_ERR_ARGUMENT, "set_isa: there is no \"%.20s\" here; there are: %s", name,
                    names);
}

nb_code nb_set_isa(nb_tape *t, const char *name)
{
    if (!t)
        return NB_ERR_ARGUMENT;
    nbi_isa isa = nbi_isa_lower(nbi_isa_best(), name ? name : getenv("NABLA_ISA"));
    if (name && strcmp(name, nbi_isa_name(isa)))
        return no_such_isa(t, name);
    t->isa = isa;
    t->rows = nbi_row_kernels_choose(isa);
    t->matmul[0] = nbi_matmul_choose(isa, true);
    t->matmul[1] = nbi_matmul_choose(isa, false);
    return NB_OK;
}

bool nb_set_recording(nb_tape *t, bool on)
{
    if (!t)
        return false;
    bool was = t->recording;
    t->recording = on;
    set_limit(t);
    return was;
}
