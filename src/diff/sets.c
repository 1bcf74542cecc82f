/*
 * Sets of element numbers; sets.h tells the idea.
 */
#include "diff/sets.h"

#include <stdlib.h>
#include <string.h>

bool nbi_sets_open(nbi_sets *s, nbi_arena *arena, size_t n)
{
    *s = (nbi_sets){.arena = arena};
    if (n > SIZE_MAX / sizeof *s->seen - 1)
        return false;
    s->seen = nbi_take(arena, (n + 1) * sizeof *s->seen, _Alignof(uint32_t));
    s->list = nbi_take(arena, (n + 1) * sizeof *s->list, _Alignof(uint32_t));
    if (!s->seen || !s->list)
        return false;
    memset(s->seen, 0, (n + 1) * sizeof *s->seen);
    return true;
}

static nbi_set **parts(const nbi_set *a) { return (nbi_set **)(uintptr_t)a->element; }

_Static_assert(sizeof(nbi_set) % _Alignof(nbi_set *) == 0, "the parts of a union are aligned");

static nbi_set *make(nbi_sets *s, uint32_t n)
{
    const size_t bytes = n ? n * sizeof(uint32_t) : 2 * sizeof(nbi_set *);
    nbi_set *a = nbi_take(s->arena, sizeof *a + bytes, _Alignof(nbi_set *));
    if (a)
        a->n = n, a->stamp = 0;
    else
        s->failed = true;
    return a;
}

nbi_set *nbi_set_of(nbi_sets *s, uint32_t element)
{
    nbi_set *a = make(s, 1);
    if (a)
        a->element[0] = element;
    return a;
}

/* Two lists merged into `to`; the length. */
static uint32_t merge(const nbi_set *a, const nbi_set *b, uint32_t *to)
{
    const uint32_t *x = a->element, *y = b->element;
    uint32_t i = 0, j = 0, n = 0;
    while (i < a->n || j < b->n) {
        const bool left = j == b->n || (i < a->n && x[i] <= y[j]);
        const bool right = i == a->n || (j < b->n && y[j] <= x[i]);
        to[n++] = left ? x[i] : y[j];
        i += left, j += right;
    }
    return n;
}

/* Whether a, a union, has b as a part of itself, at the first level or the second. */
static bool holds(const nbi_set *a, const nbi_set *b)
{
    for (int k = 0; k < 2; k++) {
        const nbi_set *p = parts(a)[k];
        if (p == b || (!p->n && (parts(p)[0] == b || parts(p)[1] == b)))
            return true;
    }
    return false;
}

nbi_set *nbi_set_union(nbi_sets *s, nbi_set *a, nbi_set *b)
{
    uint32_t both[2 * NBI_FEW];
    if (!a || !b || a == b)
        return a ? a : b;
    if (a->n && b->n) {
        const uint32_t n = merge(a, b, both);
        if (n == a->n || n == b->n)
            return n == a->n ? a : b;
        nbi_set *c = n <= NBI_FEW ? make(s, n) : NULL;
        if (c)
            memcpy(c->element, both, n * sizeof *both);
        if (c || s->failed)
            return c;
    }
    if ((!a->n && holds(a, b)) || (!b->n && holds(b, a)))
        return a->n || (!b->n && holds(b, a)) ? b : a;
    nbi_set *c = make(s, 0);
    if (c)
        parts(c)[0] = a, parts(c)[1] = b;
    return c;
}

/* ---- collecting ------------------------------------------------------------------------------ */

static bool push(nbi_sets *s, size_t *depth, nbi_set *a)
{
    if (*depth == s->stack_room) {
        const size_t room = s->stack_room ? 2 * s->stack_room : 256;
        nbi_set **to = nbi_take(s->arena, room * sizeof *to, _Alignof(nbi_set *));
        if (!to)
            return false;
        if (*depth)
            memcpy(to, s->stack, *depth * sizeof *to);
        s->stack = to;
        s->stack_room = room;
    }
    s->stack[(*depth)++] = a;
    return true;
}

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

size_t nbi_set_collect(nbi_sets *s, nbi_set *a)
{
    size_t n = 0, depth = 0;
    bool sorted = true;
    if (!a)
        return 0;
    s->stamp++;
    for (bool more = push(s, &depth, a); more && depth;) {
        nbi_set *c = s->stack[--depth];
        if (c->stamp == s->stamp)
            continue;
        c->stamp = s->stamp;
        if (!c->n)
            more = push(s, &depth, parts(c)[0]) && push(s, &depth, parts(c)[1]);
        s->failed = s->failed || !more;
        for (uint32_t k = 0; k < c->n; k++) {
            const uint32_t e = c->element[k];
            if (s->seen[e] == s->stamp)
                continue;
            s->seen[e] = s->stamp;
            sorted = sorted && (!n || s->list[n - 1] < e);
            s->list[n++] = e;
        }
    }
    if (!sorted)
        qsort(s->list, n, sizeof *s->list, ascending);
    return n;
}
