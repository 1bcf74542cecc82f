/*
 * The memory plan of a step.
 *
 * An interior array is alive from the first instruction that uses it to the last. Two whose lives do not
 * overlap may stand at the same place. The plan is laid out in the order of time: when an array's life
 * begins it gets the first gap in the block that is large enough, when it ends its place becomes a gap,
 * joined with gaps beside it. Values wait for the way back in the order opposite to that of their
 * making, so gaps join and there are few of them.
 *
 * Every address of an array that was written down, in arguments or in the state of an operation, was
 * reported, and becomes that of its place in the block.
 */
#include "program/step.h"

/* ---- from addresses to things ---------------------------------------------------------------- */

void nbi_step_map_open(nbi_step_map *m, nbi_heap *heap) { *m = (nbi_step_map){.heap = heap}; }

void nbi_step_map_clear(nbi_step_map *m)
{
    if (m->count)
        memset(m->key, 0, m->room * sizeof *m->key);
    m->count = 0;
}

void nbi_step_map_close(nbi_step_map *m)
{
    nbi_resize(m->heap, m->key, m->room * sizeof *m->key, 0);
    nbi_resize(m->heap, m->value, m->room * sizeof *m->value, 0);
    *m = (nbi_step_map){.heap = m->heap};
}

/* Where the key is, or would be. */
static size_t slot_of(const nbi_step_map *m, const void *key)
{
    size_t i = (size_t)(((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u) >> 20) & (m->room - 1);
    while (m->key[i] && m->key[i] != key)
        i = (i + 1) & (m->room - 1);
    return i;
}

void *nbi_step_map_get(const nbi_step_map *m, const void *key)
{
    if (!m->count || !key)
        return NULL;
    const size_t i = slot_of(m, key);
    return m->key[i] ? m->value[i] : NULL;
}

static bool widen(nbi_step_map *m)
{
    nbi_step_map wide = {.heap = m->heap, .room = m->room ? 2 * m->room : 64};
    const size_t bytes = wide.room * sizeof *wide.key;
    wide.key = nbi_resize(m->heap, NULL, 0, bytes);
    wide.value = nbi_resize(m->heap, NULL, 0, bytes);
    if (!wide.key || !wide.value) {
        nbi_resize(m->heap, wide.key, wide.key ? bytes : 0, 0);
        nbi_resize(m->heap, wide.value, wide.value ? bytes : 0, 0);
        return false;
    }
    memset(wide.key, 0, bytes);
    for (size_t i = 0; i < m->room; i++)
        if (m->key[i])
            nbi_step_map_put(&wide, m->key[i], m->value[i]);
    nbi_step_map_close(m);
    *m = wide;
    return true;
}

bool nbi_step_map_put(nbi_step_map *m, const void *key, void *value)
{
    if (2 * m->count >= m->room && !widen(m))
        return false;
    const size_t i = slot_of(m, key);
    m->count += !m->key[i];
    m->key[i] = key;
    m->value[i] = value;
    return true;
}

/* ---- arrays and their lives ------------------------------------------------------------------ */

void *nbi_step_array(nbi_freezer *f, size_t bytes, void *lent)
{
    nbi_step_buffer *b = nbi_take(&f->work, sizeof *b, _Alignof(nbi_step_buffer));
    size_t whole = (bytes + NBI_ALIGN - 1) & ~(size_t)(NBI_ALIGN - 1);
    whole = whole ? whole : NBI_ALIGN; /* no two at one address */
    void *p = b && bytes <= SIZE_MAX / 4 ? nbi_take(&f->rough, whole, NBI_ALIGN) : NULL;
    if (!p || !nbi_step_map_put(&f->buffers, p, b)) {
        nbi_no_memory(f->t, "freeze");
        return NULL;
    }
    *b = (nbi_step_buffer){.bytes = whole, .first = SIZE_MAX, .lent = lent};
    return p;
}

void nbi_step_touch(nbi_freezer *f, const void *p)
{
    nbi_step_buffer *b = nbi_step_map_get(&f->buffers, p);
    if (!b)
        return;
    b->first = b->first == SIZE_MAX ? f->s->n : b->first;
    b->last = f->s->n;
}

bool nbi_step_use(nbi_freezer *f, void *p)
{
    void *address;
    memcpy(&address, p, sizeof address);
    nbi_step_buffer *b = nbi_step_map_get(&f->buffers, address);
    if (!b)
        return true;
    nbi_step_place *u = nbi_take(&f->work, sizeof *u, _Alignof(nbi_step_place));
    if (!u) {
        nbi_no_memory(f->t, "freeze");
        return false;
    }
    *u = (nbi_step_place){f->places, p, b};
    f->places = u;
    nbi_step_touch(f, address);
    return true;
}

/* ---- the layout ------------------------------------------------------------------------------ */

typedef struct gap {
    size_t from, to;
} gap;

typedef struct layout {
    gap *gap; /* ascending, never touching; the last has no end */
    size_t n;
} layout;

static void settle(layout *l, nbi_step_buffer *b)
{
    size_t i = 0;
    while (l->gap[i].to - l->gap[i].from < b->bytes)
        i++;
    b->offset = l->gap[i].from;
    l->gap[i].from += b->bytes;
    if (l->gap[i].from == l->gap[i].to) {
        l->n--;
        memmove(l->gap + i, l->gap + i + 1, (l->n - i) * sizeof *l->gap);
    }
}

static void release(layout *l, const nbi_step_buffer *b)
{
    const size_t from = b->offset, to = from + b->bytes;
    size_t i = 0;
    while (l->gap[i].from < from)
        i++;
    const bool joins_left = i && l->gap[i - 1].to == from, joins_right = l->gap[i].from == to;
    if (joins_left && joins_right) {
        l->gap[i - 1].to = l->gap[i].to;
        l->n--;
        memmove(l->gap + i, l->gap + i + 1, (l->n - i) * sizeof *l->gap);
    } else if (joins_left) {
        l->gap[i - 1].to = to;
    } else if (joins_right) {
        l->gap[i].from = from;
    } else {
        memmove(l->gap + i + 1, l->gap + i, (l->n - i) * sizeof *l->gap);
        l->gap[i] = (gap){from, to};
        l->n++;
    }
}

/* Lists the buffers by the instruction that begins and by that which ends their lives. */
static size_t list_lives(nbi_freezer *f, nbi_step_buffer **born, nbi_step_buffer **dead)
{
    size_t count = 0;
    for (size_t i = 0; i < f->buffers.room; i++) {
        nbi_step_buffer *b = f->buffers.key[i] ? f->buffers.value[i] : NULL;
        if (!b || b->lent || b->first == SIZE_MAX)
            continue;
        count++;
        f->s->unshared += b->bytes;
        b->next = born[b->first];
        born[b->first] = b;
        b->next_dead = dead[b->last];
        dead[b->last] = b;
    }
    return count;
}

static bool assign_offsets(nbi_freezer *f)
{
    const size_t n = f->s->n + 1; /* what is read afterwards is used past the end */
    nbi_step_buffer **born = nbi_take(&f->work, 2 * n * sizeof *born, _Alignof(void *));
    if (!born)
        return false;
    memset(born, 0, 2 * n * sizeof *born);
    nbi_step_buffer **dead = born + n;
    layout l = {.n = 1};
    l.gap = nbi_take(&f->work, (list_lives(f, born, dead) + 1) * sizeof *l.gap, _Alignof(gap));
    if (!l.gap)
        return false;
    l.gap[0] = (gap){0, SIZE_MAX};
    for (size_t i = 0; i < n; i++) {
        for (nbi_step_buffer *b = born[i]; b; b = b->next) {
            settle(&l, b);
            const size_t end = b->offset + b->bytes;
            f->s->plan_bytes = f->s->plan_bytes > end ? f->s->plan_bytes : end;
        }
        for (nbi_step_buffer *b = dead[i]; b; b = b->next_dead)
            release(&l, b);
    }
    return true;
}

bool nbi_step_layout(nbi_freezer *f)
{
    nb_frozen *s = f->s;
    if (!assign_offsets(f) ||
        !(s->plan = nbi_take(&s->args, s->plan_bytes + NBI_ALIGN, NBI_ALIGN))) {
        nbi_no_memory(f->t, "freeze");
        return false;
    }
    memset(s->plan, 0, s->plan_bytes);
    for (nbi_step_place *u = f->places; u; u = u->next) {
        void *to = u->buffer->lent ? u->buffer->lent : s->plan + u->buffer->offset;
        memcpy(u->place, &to, sizeof to);
    }
    return true;
}
