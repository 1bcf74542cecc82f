/*
 * Walks; the contract is in move.h.
 *
 * Three shapes of inner loop cover what walks look like after merging:
 *
 *     a run        both innermost strides are 1: one memcpy, or one vector addition
 *     a line       some other stride: one element at a time
 *     a plane      the destination runs along one axis and the source along another, as in a
 *                  transposition: taken in square blocks, so that the pages that a block touches
 *                  on either side stay at hand until they are used up, and within a block in tiles
 *                  that are a line of memory wide
 *
 * The axes outside the inner two are counted through like the digits of an odometer, which keeps
 * the two places up to date by additions alone.
 */
#include "kernels/move.h"

#include <string.h>

enum { BLOCK = 64, TILE = 8 };
enum { GRAIN = 1 << 15 }; /* elements worth handing out: 10 to 30 us */

#define REAL    double
#define NAME(x) x##_f64
#include "kernels/move.inc"
#undef REAL
#undef NAME

#define REAL    float
#define NAME(x) x##_f32
#include "kernels/move.inc"
#undef REAL
#undef NAME

void nbi_walk_axis(nbi_walk *w, int64_t dim, int64_t to, int64_t from)
{
    int last = w->rank - 1;
    if (dim == 0)
        w->empty = true;
    if (dim == 1 || w->empty)
        return;
    if (last >= 0 && w->to[last] == dim * to && w->from[last] == dim * from) {
        w->dims[last] *= dim;
        w->to[last] = to;
        w->from[last] = from;
        return;
    }
    w->dims[w->rank] = dim;
    w->to[w->rank] = to;
    w->from[w->rank] = from;
    w->rank++;
}

static int64_t magnitude(int64_t stride) { return stride < 0 ? -stride : stride; }

/* Moves the axis along which the source is closest to contiguous next to the innermost. */
static void pair_axes(nbi_walk *w)
{
    int best = w->rank - 2;
    for (int i = 0; i < w->rank - 2; i++)
        if (w->from[i] && magnitude(w->from[i]) < magnitude(w->from[best]))
            best = i;
    int64_t dim = w->dims[best], to = w->to[best], from = w->from[best];
    for (int i = best; i < w->rank - 2; i++) {
        w->dims[i] = w->dims[i + 1];
        w->to[i] = w->to[i + 1];
        w->from[i] = w->from[i + 1];
    }
    w->dims[w->rank - 2] = dim;
    w->to[w->rank - 2] = to;
    w->from[w->rank - 2] = from;
}

void nbi_move(nb_dtype d, const nbi_walk *w, void *to, const void *from, bool add)
{
    if (w->empty)
        return;
    nbi_walk v = *w;
    while (v.rank < 2) { /* a point or a line is a plane too */
        for (int i = v.rank; i > 0; i--) {
            v.dims[i] = v.dims[i - 1];
            v.to[i] = v.to[i - 1];
            v.from[i] = v.from[i - 1];
        }
        v.dims[0] = 1;
        v.to[0] = v.from[0] = 0;
        v.rank++;
    }
    if (magnitude(v.from[v.rank - 1]) > 1)
        pair_axes(&v);
    if (d == NB_F64)
        walk_f64(&v, to, from, add);
    else
        walk_f32(&v, to, from, add);
}

/* ---- by a crew ------------------------------------------------------------------------------- */

typedef struct job {
    nb_dtype dtype;
    const nbi_walk *walk;
    int axis; /* that is cut */
    void *to;
    const void *from;
    bool add;
} job;

/* The axis of the longest stride in the destination, or -1: then some of the places that the others
 * reach may be reached again. */
static int widest(const nbi_walk *w)
{
    int64_t reach = 0;
    int widest = 0;
    for (int i = 1; i < w->rank; i++)
        if (magnitude(w->to[i]) > magnitude(w->to[widest]))
            widest = i;
    for (int i = 0; i < w->rank; i++)
        reach += i == widest ? 0 : magnitude(w->to[i]) * (w->dims[i] - 1);
    return w->rank && magnitude(w->to[widest]) > reach ? widest : -1;
}

static void move_part(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    nbi_walk w = *j->walk;
    (void)worker;
    w.dims[j->axis] = to - from;
    nbi_move(j->dtype, &w, nbi_place(j->dtype, j->to, from * w.to[j->axis]),
             nbi_place(j->dtype, j->from, from * w.from[j->axis]), j->add);
}

void nbi_move_by(const nbi_crew *crew, nb_dtype d, const nbi_walk *w, void *to, const void *from,
                 bool add)
{
    const int axis = crew->pool && !w->empty ? widest(w) : -1;
    if (axis < 0) {
        nbi_move(d, w, to, from, add);
        return;
    }
    int64_t others = 1;
    for (int i = 0; i < w->rank; i++)
        others *= i == axis ? 1 : w->dims[i];
    nbi_crew_share(crew, w->dims[axis], others < GRAIN ? GRAIN / others : 1, move_part,
                   &(job){d, w, axis, to, from, add});
}

/* ---- runs ------------------------------------------------------------------------------------ */

void nbi_move_run(nb_dtype d, int64_t n, void *to, const void *from, bool add)
{
    if (n == 0)
        return;
    if (d == NB_F64)
        line_f64(n, to, 1, from, 1, add);
    else
        line_f32(n, to, 1, from, 1, add);
}

void nbi_fill(nb_dtype d, int64_t n, void *to, double value)
{
    if (d == NB_F64)
        fill_f64(n, to, value);
    else
        fill_f32(n, to, (float)value);
}

void *nbi_place(nb_dtype d, const void *data, int64_t i)
{
    char *p = (char *)(uintptr_t)data;
    return p + i * (int64_t)(d == NB_F64 ? sizeof(double) : sizeof(float));
}

void nbi_strides(int rank, const int64_t *dims, int64_t *strides)
{
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= dims[i];
    }
}
