/*
 * Arguments of a replay: nb_lanes with zeros made definite, sizes checked, overlaps found.
 *
 * The elements of an argument lie in an interval of memory. Two whose intervals are disjoint cannot meet. If
 * the intervals meet but both walk by the same step from lane to lane, as columns of one table do, they
 * are disjoint still if what they take of a lane's stretch, seen modulo the step, is.
 */
#include "program/places.h"

/* What an argument covers, in bytes: an interval, and the part that one lane has of it. */
typedef struct extent {
    intptr_t low, high;   /* of all */
    intptr_t first, span; /* of lane 0: its lowest byte, and how far its elements reach */
    int64_t step;         /* from lane to lane, 0 if it is not that simple */
    const nbi_place *place;
    bool single; /* one for all lanes */
    bool empty;
} extent;

typedef struct survey {
    const nb_program *p;
    const nb_replay *r;
    int64_t rows;
    nb_reason *why;
} survey;

static nb_code too_far(const survey *s, const char *kind, const nbi_argument *a)
{
    return nbi_because(s->why, NB_ERR_OVERFLOW,
                       "replay: the steps of %s \"%s\" lead out of the address space", kind,
                       a->name);
}

/* The greatest of at(l), or a negative one if there is any, which as an unsigned number is greater still.
 * Four at a time, since each comparison waits for the one before. */
static int64_t greatest(const nbi_place *p, int64_t lanes)
{
    uint64_t most[4] = {0};
    if (!p->index)
        return lanes - 1;
    for (int64_t l = 0; l < lanes; l++) {
        const uint64_t at = (uint64_t)p->index[l];
        most[l % 4] = at > most[l % 4] ? at : most[l % 4];
    }
    for (int k = 1; k < 4; k++)
        most[0] = most[k] > most[0] ? most[k] : most[0];
    return (int64_t)most[0];
}

/* [low, high] grows by step times [from, to]; false if that overflows. */
static bool reach(int64_t *low, int64_t *high, int64_t step, int64_t from, int64_t to)
{
    int64_t a, b;
    if (__builtin_mul_overflow(step, from, &a) || __builtin_mul_overflow(step, to, &b))
        return false;
    return !__builtin_add_overflow(*low, a < b ? a : b, low) &&
           !__builtin_add_overflow(*high, a < b ? b : a, high);
}

static nb_code measure(const survey *s, const char *kind, const nbi_argument *a, bool single,
                       const nbi_place *p, extent *x)
{
    const int64_t size = s->r->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    const int64_t count = (int64_t)a->count;
    int64_t low = 0, high = 0;
    *x = (extent){.place = p, .single = single, .empty = !count || !s->r->lanes};
    if (x->empty)
        return NB_OK;
    if (!p->data)
        return nbi_because(s->why, NB_ERR_ARGUMENT, "replay: %s \"%s\" has no data", kind, a->name);
    if (!reach(&low, &high, p->element, 0, count - 1))
        return too_far(s, kind, a);
    const int64_t own_low = low, own_high = high;
    const int64_t to = single ? 0 : greatest(p, s->r->lanes);
    if (to < 0)
        return nbi_because(s->why, NB_ERR_INDEX, "replay: the index of %s \"%s\" has %lld in it",
                           kind, a->name, (long long)to);
    if ((!single && !reach(&low, &high, p->lane, 0, to)) ||
        !reach(&low, &high, p->row, 0, s->rows - 1) || __builtin_mul_overflow(low, size, &low) ||
        __builtin_mul_overflow(high, size, &high) ||
        __builtin_add_overflow((intptr_t)p->data, low, &x->low) ||
        __builtin_add_overflow((intptr_t)p->data, high + size, &x->high))
        return too_far(s, kind, a);
    x->first = (intptr_t)p->data + own_low * size;
    x->span = (own_high - own_low + 1) * size;
    if (single || p->index || s->rows > 1 ||
        __builtin_mul_overflow(p->lane, p->lane < 0 ? -size : size, &x->step))
        x->step = 0;
    return NB_OK;
}

static bool meet(const extent *a, const extent *b)
{
    if (a->empty || b->empty || a->high <= b->low || b->high <= a->low)
        return false;
    if (!a->step || a->step != b->step || a->span > a->step || b->span > a->step)
        return true;
    intptr_t apart = (b->first - a->first) % a->step;
    apart = apart < 0 ? apart + a->step : apart;
    return apart < a->span || apart + b->span > a->step;
}

/* Whether two of equal count take the same place in every lane. */
static bool same_place(const extent *x, const extent *y)
{
    const nbi_place *a = x->place, *b = y->place;
    return x->single == y->single && a->data == b->data && a->lane == b->lane &&
           a->element == b->element && a->row == b->row && a->index == b->index;
}

static nb_code find_overlaps(const survey *s, const extent *in, const extent *out)
{
    const nb_program *p = s->p;
    for (size_t k = 0; k < p->n_out; k++) {
        for (size_t j = 0; j < p->n_in; j++)
            if (meet(&out[k], &in[j]) && !(s->r->in_place && p->in[j].count == p->out[k].count &&
                                           same_place(&out[k], &in[j])))
                return nbi_because(s->why, NB_ERR_ARGUMENT,
                                   "replay: output \"%s\" overlaps input \"%s\"", p->out[k].name,
                                   p->in[j].name);
        for (size_t j = 0; j < k; j++)
            if (meet(&out[k], &out[j]))
                return nbi_because(s->why, NB_ERR_ARGUMENT,
                                   "replay: output \"%s\" overlaps output \"%s\"", p->out[k].name,
                                   p->out[j].name);
    }
    return NB_OK;
}

/* Whether two rows, or two lanes, of an output write to one place. */
static nb_code check_output(const survey *s, const nbi_argument *a, bool summed, const nbi_place *p)
{
    if (!summed && s->rows > 1 && p->row == 0 && a->count && s->r->lanes)
        return nbi_because(s->why, NB_ERR_ARGUMENT,
                           "replay: output \"%s\" has no step from row to row", a->name);
    if (!summed && p->lane == 0 && s->r->lanes > 1 && a->count)
        return nbi_because(s->why, NB_ERR_ARGUMENT,
                           "replay: output \"%s\" has no step from lane to lane", a->name);
    return NB_OK;
}

static nbi_place definite(const nb_lanes *l, const nbi_argument *a)
{
    nbi_place p = {l->data, l->lane, l->element ? l->element : 1, l->row, l->index};
    if (!p.lane && __builtin_mul_overflow((int64_t)a->count, p.element, &p.lane))
        p.lane = INT64_MAX;
    return p;
}

static nb_code survey_all(const survey *s, const uint8_t *shared, const uint8_t *summed,
                          nbi_place *in, nbi_place *out, extent *x)
{
    const nb_program *p = s->p;
    nb_code code = NB_OK;
    for (size_t k = 0; code == NB_OK && k < p->n_in; k++) {
        in[k] = definite(&s->r->in[k], &p->in[k]);
        code = measure(s, "input", &p->in[k], shared[k], &in[k], &x[k]);
    }
    for (size_t k = 0; code == NB_OK && k < p->n_out; k++) {
        out[k] = definite(&s->r->out[k], &p->out[k]);
        code = check_output(s, &p->out[k], summed[k], &out[k]);
        if (code == NB_OK)
            code = measure(s, "output", &p->out[k], summed[k], &out[k], &x[p->n_in + k]);
    }
    return code == NB_OK ? find_overlaps(s, x, x + p->n_in) : code;
}

nb_code nbi_places(const nb_program *p, const nb_replay *r, const uint8_t *shared,
                   const uint8_t *summed, nbi_place *in, nbi_place *out, nb_reason *why)
{
    survey s = {p, r, r->rows ? r->rows : 1, why};
    const size_t n = p->n_in + p->n_out;
    extent few[16], *x = few;
    nbi_heap h;
    nbi_heap_init(&h, &p->heap.allocator, 0);
    if (r->lanes < 0 || r->rows < 0)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "replay: %lld lanes, %lld rows: neither can be negative",
                           (long long)r->lanes, (long long)r->rows);
    if (r->dtype != NB_F64 && r->dtype != NB_F32)
        return nbi_because(why, NB_ERR_ARGUMENT, "replay: there is no element type %d",
                           (int)r->dtype);
    if ((p->n_in && !r->in) || (p->n_out && !r->out))
        return nbi_because(why, NB_ERR_ARGUMENT, "replay: the list of inputs or outputs is NULL");
    if (n > sizeof few / sizeof *few && !(x = nbi_resize(&h, NULL, 0, n * sizeof *x)))
        return nbi_because(why, NB_ERR_MEMORY, "replay: out of memory");
    const nb_code code = survey_all(&s, shared, summed, in, out, x);
    if (x != few)
        nbi_resize(&h, x, n * sizeof *x, 0);
    return code;
}
