/*
 * A program over a grid of lanes.
 *
 * The lanes form a grid with the axes that the operands broadcast to. An argument walks the grid by a
 * step along each axis, which is 0 where it is broadcast: an input is read again and again, an output is
 * the sum over that axis. Neighbouring axes along which every argument walks as if they were one are
 * merged. The longest axis that remains becomes the lanes of a replay, another its rows, and all others are
 * loops around it:
 *
 *     step along the lanes 0      the input is uniform in the replay, the output summed by it
 *     otherwise                   it varies from lane to lane
 *
 * So no sum over the lanes is ever laid out in memory before it is taken. A replay cannot sum over rows what
 * varies along the lanes: an axis where an output would need that is a loop. What a loop sums is added up
 * in double, in the loop's order, which the shapes fix.
 */
#include "program/map.h"

#include "program/run.h"

/* An argument on the grid. */
typedef struct side {
    char *data;
    int64_t step[NB_MAX_RANK];
} side;

/* How an output gets to its place. */
typedef struct target {
    const nbi_map_out *to;
    void *whole;  /* where the replays write, if not to its place: it is moved there at the end */
    void *part;   /* of one that loops sum: what a replay gives, dense */
    double *pile; /* and the sum of those */
} target;

typedef struct grid {
    const nb_call *c;
    const nb_program *p;
    nb_tape *t;
    nb_shape lanes;
    size_t n; /* arguments: inputs, then outputs */
    int rank;
    int64_t dims[NB_MAX_RANK];  /* merged; put in order: loops, rows, lanes */
    int64_t place[NB_MAX_RANK]; /* the step along each in the grid itself, in lanes */
    side *side;
    target *target;
    nb_lanes *at;
    uint8_t *flag; /* shared inputs, summed outputs */
    uint8_t *left;
    nb_replay replay;
} grid;

static const nbi_argument *argument(const grid *g, size_t k)
{
    return k < g->p->n_in ? &g->p->in[k] : &g->p->out[k - g->p->n_in];
}

nb_shape nbi_map_axes(const nbi_argument *a, nb_shape shape)
{
    if (a->vector)
        shape.rank = shape.rank > 1 ? shape.rank - 1 : -1;
    return shape;
}

nb_shape nbi_map_shape(const nbi_argument *a, int32_t like, nb_shape lanes, const nb_shape *in)
{
    if (like >= 0)
        return in[like];
    nb_shape s = like == NBI_LIKE_LANES ? lanes : (nb_shape){-1, {0}};
    if (!a->vector)
        return s;
    s.rank = s.rank < 0 ? 1 : s.rank + 1;
    if (s.rank <= NB_MAX_RANK)
        s.dims[s.rank - 1] = (int64_t)a->count;
    return s;
}

/* ---- the grid -------------------------------------------------------------------------------- */

/* The steps of an argument whose own axes are `axes`, dense, along those of the grid. */
static void walk(const grid *g, nb_shape axes, size_t count, int64_t *step)
{
    int64_t run = (int64_t)count;
    for (int i = g->lanes.rank - 1, j = axes.rank - 1; i >= 0; i--, j--) {
        step[i] = j < 0 || axes.dims[j] == 1 ? 0 : run;
        run *= j < 0 ? 1 : axes.dims[j];
    }
}

/* Whether every argument walks axes i and i + 1 as one. */
static bool alike(const grid *g, int i, const int64_t *dims)
{
    for (size_t k = 0; k < g->n; k++)
        if (g->side[k].step[i] != g->side[k].step[i + 1] * dims[i + 1])
            return false;
    return true;
}

static void copy_axis(grid *g, int to, int from)
{
    for (size_t k = 0; k < g->n; k++)
        g->side[k].step[to] = g->side[k].step[from];
}

static void swap_axes(grid *g, int i, int j)
{
    const int64_t d = g->dims[i], p = g->place[i];
    g->dims[i] = g->dims[j], g->dims[j] = d;
    g->place[i] = g->place[j], g->place[j] = p;
    for (size_t k = 0; k < g->n && i != j; k++) {
        const int64_t s = g->side[k].step[i];
        g->side[k].step[i] = g->side[k].step[j];
        g->side[k].step[j] = s;
    }
}

/* Drops axes of size 1 and merges neighbours, from the last to the first. */
static void merge(grid *g)
{
    int64_t dims[NB_MAX_RANK], place[NB_MAX_RANK], run = 1;
    int n = 0, kept = g->lanes.rank; /* the axes [kept, rank) are done */
    const int rank = g->lanes.rank;
    for (int i = rank - 1; i >= 0; i--) {
        const int64_t d = g->lanes.dims[i];
        if (d != 1) {
            kept--;
            copy_axis(g, kept, i);
            dims[kept] = d;
            place[kept] = run;
            if (kept + 1 < rank && alike(g, kept, dims)) { /* kept + 1 takes kept in */
                dims[kept + 1] *= d;
                kept++;
            }
        }
        run *= d;
    }
    for (int i = kept; i < rank; i++, n++) {
        copy_axis(g, n, i);
        g->dims[n] = dims[i];
        g->place[n] = place[i];
    }
    g->rank = n;
}

/* Whether an output that varies along the last axis is summed over axis i. */
static bool must_loop(const grid *g, int i)
{
    for (size_t k = g->p->n_in; k < g->n; k++)
        if (g->side[k].step[g->rank - 1] && !g->side[k].step[i])
            return true;
    return false;
}

/* Puts the lanes last and the rows before them; false if there are no rows. */
static bool choose(grid *g)
{
    int lanes = 0, rows = -1;
    for (int i = 1; i < g->rank; i++)
        lanes = g->dims[i] >= g->dims[lanes] ? i : lanes;
    swap_axes(g, lanes, g->rank - 1);
    for (int i = 0; i + 1 < g->rank; i++)
        if (!must_loop(g, i) && (rows < 0 || g->dims[i] > g->dims[rows]))
            rows = i;
    if (rows >= 0)
        swap_axes(g, rows, g->rank - 2);
    return rows >= 0;
}

static bool open_grid(grid *g, const nbi_map_in *in, const nbi_map_out *out)
{
    nb_tape *t = g->t;
    g->side = nbi_scratch(t, g->n * sizeof *g->side);
    g->target = nbi_scratch(t, g->p->n_out * sizeof *g->target);
    g->at = nbi_scratch(t, g->n * sizeof *g->at);
    g->flag = nbi_scratch(t, g->n);
    if (!g->side || !g->target || !g->at || !g->flag)
        return false;
    for (size_t k = 0; k < g->n; k++) {
        const nbi_argument *a = argument(g, k);
        const nbi_map_out *to = k < g->p->n_in ? NULL : &out[k - g->p->n_in];
        const int32_t like = to ? to->like : (int32_t)k;
        const nb_shape axes = like >= 0                ? nbi_map_axes(a, in[like].shape)
                              : like == NBI_LIKE_LANES ? g->lanes
                                                       : (nb_shape){-1, {0}};
        g->side[k] = (side){.data = (char *)(to ? to->data : in[k].data)};
        walk(g, axes, a->count, g->side[k].step);
        if (to)
            g->target[k - g->p->n_in] = (target){.to = to};
    }
    merge(g);
    return true;
}

/* ---- replays --------------------------------------------------------------------------------- */

static bool plan_output(grid *g, size_t k, int loops)
{
    nb_tape *t = g->t;
    const size_t size = nbi_element(t->dtype);
    target *to = &g->target[k];
    const side *s = &g->side[g->p->n_in + k];
    nb_lanes *at = &g->at[g->p->n_in + k];
    bool summed = false;
    for (int i = 0; i < loops; i++)
        summed = summed || !s->step[i];
    if (summed) {
        const int64_t count = (int64_t)g->p->out[k].count;
        at->row = at->row ? count * (at->lane ? g->replay.lanes : 1) : 0;
        at->lane = at->lane ? count : 0;
        to->part = nbi_scratch(t, (size_t)to->to->size * size); /* one replay's is no larger */
        to->pile = nbi_scratch(t, (size_t)to->to->size * sizeof *to->pile);
        if (!to->part || !to->pile)
            return false;
        memset(to->pile, 0, (size_t)to->to->size * sizeof *to->pile);
    } else if (to->to->add || to->to->dtype != t->dtype) {
        to->whole = nbi_scratch(t, (size_t)to->to->size * size);
        g->side[g->p->n_in + k].data = to->whole;
    }
    return summed || to->whole || (!to->to->add && to->to->dtype == t->dtype);
}

/* What is the same for all replays of the grid. */
static bool plan(grid *g, int *loops)
{
    const bool rows = g->rank > 1 && choose(g);
    const int lane = g->rank - 1, row = rows ? g->rank - 2 : 0;
    *loops = g->rank - (rows ? 2 : g->rank ? 1 : 0);
    g->replay = (nb_replay){.lanes = g->rank ? g->dims[lane] : 1,
                            .in = g->at,
                            .out = g->at + g->p->n_in,
                            .dtype = g->t->dtype,
                            .rows = rows ? g->dims[row] : 1};
    for (size_t k = 0; k < g->n; k++) {
        g->at[k] = (nb_lanes){.lane = g->rank ? g->side[k].step[lane] : 0,
                              .row = rows ? g->side[k].step[row] : 0};
        g->flag[k] = g->rank && !g->at[k].lane;
        if (k >= g->p->n_in && !plan_output(g, k - g->p->n_in, *loops))
            return false;
    }
    if (g->p->n_guards) /* no larger than the grid */
        g->replay.left = g->left = nbi_scratch(g->t, (size_t)(g->replay.lanes * g->replay.rows));
    return !g->p->n_guards || g->left;
}

/* Names the first lane that left, of the replay that begins at lane `from` of the grid. */
static nb_code refuse_lane(const grid *g, int64_t from)
{
    char lane[NBI_SHAPE_TEXT], all[NBI_SHAPE_TEXT];
    int64_t l = 0, index[NB_MAX_RANK];
    while (l < g->replay.lanes * g->replay.rows - 1 && !g->left[l])
        l++;
    if (g->rank)
        from += l % g->replay.lanes * g->place[g->rank - 1];
    if (g->replay.rows > 1)
        from += l / g->replay.lanes * g->place[g->rank - 2];
    for (int i = g->lanes.rank - 1; i >= 0; i--) {
        index[i] = from % g->lanes.dims[i];
        from /= g->lanes.dims[i];
    }
    return nb_refuse(g->c, NB_ERR_GUARD, "a lane takes another branch than the one recorded",
                     "lane %s of %s", nbi_shape_text(lane, g->lanes.rank, index),
                     nbi_shape_text(all, g->lanes.rank, g->lanes.dims));
}

/* Adds one replay's part to the pile, at the replay's place in it. */
static void pile_up(const grid *g, size_t k, int64_t offset)
{
    const target *to = &g->target[k];
    const nb_lanes *part = &g->at[g->p->n_in + k];
    const int64_t *step = g->side[g->p->n_in + k].step, count = (int64_t)g->p->out[k].count;
    const int64_t lanes = part->lane ? g->replay.lanes : 1, rows = part->row ? g->replay.rows : 1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t l = 0; l < lanes; l++) {
            double *p = to->pile + offset + (lanes > 1 ? l * step[g->rank - 1] : 0) +
                        (rows > 1 ? r * step[g->rank - 2] : 0);
            for (int64_t e = 0; e < count; e++)
                p[e] += nbi_element_at(g->t->dtype, to->part, r * part->row + l * part->lane + e);
        }
}

/* The replay at one point of the loops. */
static nb_code replay_at(grid *g, int loops, const int64_t *index)
{
    const int64_t size = (int64_t)nbi_element(g->t->dtype);
    const nbi_spot spot = g->t->scratch.at;
    int64_t from = 0;
    nb_reason why = {""};
    for (int i = 0; i < loops; i++)
        from += index[i] * g->place[i];
    for (size_t k = 0; k < g->n; k++) {
        const target *to = k < g->p->n_in ? NULL : &g->target[k - g->p->n_in];
        int64_t offset = 0;
        for (int i = 0; i < loops; i++)
            offset += index[i] * g->side[k].step[i];
        g->at[k].data = to && to->part ? to->part : g->side[k].data + offset * size;
    }
    const nb_code code = nbi_program_run(g->p, &g->replay, g->flag, g->flag + g->p->n_in,
                                         &g->t->crew, &g->t->scratch, &why);
    nbi_give_back(&g->t->scratch, spot);
    if (code == NB_ERR_GUARD)
        return refuse_lane(g, from);
    if (code == NB_ERR_MEMORY)
        return nbi_no_memory(g->t, g->c->op->name);
    for (size_t k = 0; k < g->p->n_out && code == NB_OK; k++) {
        int64_t offset = 0;
        for (int i = 0; i < loops; i++)
            offset += index[i] * g->side[g->p->n_in + k].step[i];
        if (g->target[k].pile)
            pile_up(g, k, offset);
    }
    return code ? nb_refuse(g->c, code, why.text, NULL) : NB_OK;
}

static nb_code loop(grid *g, int loops)
{
    int64_t index[NB_MAX_RANK] = {0};
    for (int i = loops;;) {
        const nb_code code = replay_at(g, loops, index);
        if (code != NB_OK)
            return code;
        for (i = loops; i-- > 0 && ++index[i] == g->dims[i];)
            index[i] = 0;
        if (i < 0)
            return NB_OK;
    }
}

/* Takes outputs that were computed elsewhere to their places. */
static void finish(const grid *g)
{
    for (size_t k = 0; k < g->p->n_out; k++) {
        const target *to = &g->target[k];
        const nbi_map_out *r = to->to;
        const nb_array from = {to->whole, &r->size, r->size, 1, g->t->dtype};
        const nb_array place = {r->data, &r->size, r->size, 1, r->dtype};
        if (to->whole && r->dtype == g->t->dtype)
            nbi_reduce_into(&g->t->crew, &from, &place, r->add);
        else if (to->whole || to->pile)
            for (int64_t i = 0; i < r->size; i++) {
                const double sum =
                    to->pile ? to->pile[i] : nbi_element_at(g->t->dtype, to->whole, i);
                nbi_set_element(r->dtype, r->data, i,
                                r->add ? nbi_element_at(r->dtype, r->data, i) + sum : sum);
            }
    }
}

/* Without lanes sums are 0. */
static void clear(const nb_program *p, const nbi_map_out *out)
{
    for (size_t k = 0; k < p->n_out; k++)
        if (!out[k].add && out[k].size)
            memset(out[k].data, 0, (size_t)out[k].size * nbi_element(out[k].dtype));
}

nb_code nbi_map_run(const nb_call *c, const nb_program *p, nb_shape lanes, const nbi_map_in *in,
                    const nbi_map_out *out)
{
    grid g = {.c = c, .p = p, .t = c->tape, .lanes = lanes, .n = p->n_in + p->n_out};
    int loops;
    for (int i = 0; i < lanes.rank; i++)
        if (lanes.dims[i] == 0) {
            clear(p, out);
            return NB_OK;
        }
    if (!open_grid(&g, in, out) || !plan(&g, &loops))
        return nbi_no_memory(c->tape, c->op->name);
    const nb_code code = loop(&g, loops);
    if (code == NB_OK)
        finish(&g);
    return code;
}
