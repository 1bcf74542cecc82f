/*
 * Rows: from arrays to statistics and flags.
 *
 * Whether a gradient vanishes is no question of its size, which any factor before the loss would change,
 * but of what becomes of it on the way: with n layers between, its length is multiplied n times by some
 * number, and where that is not about 1 the first layers learn too slowly or not at all, or too wildly. So
 * each layer's gradient is held against that of the last one. Lengths are compared and not sizes of
 * elements, since an orthogonal map, which is the ideal, keeps the length also where it changes the width.
 */
#include "train/monitor.h"

#include "base/reason.h"
#include "train/summary.h"

#include <math.h>
#include <nabla/tape.h>
#include <string.h>

static uint32_t flag(nb_monitor_flag f, bool raised) { return raised ? 1u << f : 0; }

nb_code nbi_record_reserve(nb_monitor *m, int64_t n, size_t rows, nb_reason *why)
{
    if (nbi_list_reserve(&m->heap, &m->work, (size_t)n, sizeof(double)) &&
        nbi_list_reserve(&m->heap, &m->row, rows, sizeof(nb_monitor_row)))
        return NB_OK;
    return nbi_because(why, NB_ERR_MEMORY,
                       "monitor: no memory for %zu rows and the statistics of %lld numbers",
                       m->row.count + rows, (long long)n);
}

/* A row of the n numbers in m->work, which are destroyed. */
static nb_monitor_row *add_row(nb_monitor *m, const char *name, nb_monitor_kind kind, int64_t n)
{
    nb_monitor_row *row = (nb_monitor_row *)m->row.data + m->row.count++;
    *row = (nb_monitor_row){.step = m->step,
                            .name = name,
                            .kind = kind,
                            .of = nbi_summary(m->work.data, n),
                            .saturated = (double)NAN,
                            .ratio = (double)NAN};
    row->flags = flag(NB_FLAG_NOT_FINITE, row->of.bad > 0);
    return row;
}

/* ---- units ----------------------------------------------------------------------------------- */

static nb_code fit_units(nb_monitor *m, nbi_layer *l, int64_t units, nb_reason *why)
{
    size_t bytes;
    if (l->units == units)
        return NB_OK;
    const bool fits = !__builtin_mul_overflow((size_t)units, sizeof *l->unit, &bytes);
    nbi_unit *unit = fits && bytes ? nbi_resize(&m->heap, NULL, 0, bytes) : NULL;
    if (units && !unit)
        return nbi_because(why, NB_ERR_MEMORY, "monitor: \"%.99s\": no memory for %lld units",
                           l->name, (long long)units);
    if (unit)
        memset(unit, 0, bytes);
    if (l->unit)
        nbi_resize(&m->heap, l->unit, (size_t)l->units * sizeof *l->unit, 0);
    l->unit = unit;
    l->units = units;
    return NB_OK;
}

static const nb_monitor_range *range_of(const nb_monitor *m, const nbi_layer *l)
{
    for (size_t k = 0; k < m->o.ranges; k++) {
        const char *name = m->o.range[k].name;
        if (!name || (strlen(name) == l->base && !memcmp(name, l->name, l->base)))
            return &m->o.range[k];
    }
    return NULL;
}

/* Goes over x [outer units inner] in its order; returns how many elements are saturated. */
static int64_t see_units(nbi_layer *l, const nb_monitor_range *r, const double *x, int64_t outer,
                         int64_t inner)
{
    int64_t beyond = 0;
    for (int64_t u = 0; u < l->units; u++)
        l->unit[u].zero = l->unit[u].saturated = true;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t u = 0; u < l->units; u++)
            for (int64_t i = 0; i < inner; i++, x++) {
                const bool out = r && (*x <= r->low || *x >= r->high);
                l->unit[u].zero = l->unit[u].zero && *x == 0;
                l->unit[u].saturated = l->unit[u].saturated && out;
                beyond += out;
            }
    return beyond;
}

static int64_t count_dead(nbi_layer *l, int64_t looks)
{
    int64_t dead = 0;
    for (int64_t u = 0; u < l->units; u++) {
        nbi_unit *unit = &l->unit[u];
        unit->silent = unit->zero || unit->saturated ? unit->silent + 1 : 0;
        dead += unit->silent >= looks;
    }
    return dead;
}

/* ---- activations ----------------------------------------------------------------------------- */

nb_code nbi_record_activation(nb_monitor *m, const nbi_mark *mark, nb_reason *why)
{
    nbi_layer *l = (nbi_layer *)m->layer.data + mark->layer;
    const int64_t n = nb_size(mark->x);
    const int rank = nb_rank(mark->x), axis = rank < 4 ? rank - 1 : 1;
    int64_t outer = 1;
    for (int k = 0; k < axis; k++)
        outer *= nb_dim(mark->x, k);
    const int64_t units = rank > 0 ? nb_dim(mark->x, axis) : 1;
    const int64_t inner = n ? n / outer / units : 0;
    nb_code code = fit_units(m, l, n ? units : 0, why);
    if (code == NB_OK && nb_read(mark->x, m->work.data, n) != NB_OK)
        code = nbi_because(why, nb_status(mark->x.tape), "monitor: %s", nb_message(mark->x.tape));
    if (code != NB_OK)
        return code;
    const nb_monitor_range *range = range_of(m, l);
    const int64_t beyond = see_units(l, range, m->work.data, outer, inner);
    nb_monitor_row *row = add_row(m, l->name, NB_MONITOR_ACTIVATION, n);
    row->units = l->units;
    row->dead = count_dead(l, m->o.silent);
    if (range && n)
        row->saturated = (double)beyond / (double)n;
    row->flags |= flag(NB_FLAG_DEAD, (double)row->dead > m->o.dead * (double)row->units) |
                  flag(NB_FLAG_SATURATED, row->saturated > m->o.saturated);
    return NB_OK;
}

nb_code nbi_record_slope(nb_monitor *m, const nbi_mark *mark, nb_reason *why)
{
    const int64_t n = nb_size(mark->x);
    const bool reached = nb_has_grad(mark->x);
    if (reached && nb_read_grad(mark->x, m->work.data, n) != NB_OK)
        return nbi_because(why, nb_status(mark->x.tape), "monitor: %s", nb_message(mark->x.tape));
    for (int64_t k = 0; !reached && k < n; k++)
        ((double *)m->work.data)[k] = 0;
    add_row(m, ((nbi_layer *)m->layer.data)[mark->layer].name, NB_MONITOR_SLOPE, n)->ratio = 0;
    return NB_OK;
}

/* ---- parameters ------------------------------------------------------------------------------ */

void nbi_record_gradients(nb_monitor *m)
{
    const nb_params *p = m->params;
    for (int32_t i = 0; i < p->params.count; i++) {
        const nbi_entry *e = &p->params.entry[i];
        for (int64_t k = 0; !e->frozen && k < e->size; k++)
            ((double *)m->work.data)[k] = nbi_load(p->grads, p->dtype, e->offset + k);
        if (!e->frozen)
            add_row(m, e->name, NB_MONITOR_GRADIENT, e->size)->ratio =
                e->shape.rank >= 2 ? 0 : (double)NAN;
    }
}

static void record_update(nb_monitor *m, const nbi_entry *e)
{
    const nb_params *p = m->params;
    double *x = m->work.data;
    for (int64_t k = 0; k < e->size; k++)
        x[k] = nbi_load(m->before, p->dtype, e->offset + k);
    const double weights = nbi_length(x, e->size);
    for (int64_t k = 0; k < e->size; k++)
        x[k] = nbi_load(p->params.data, p->dtype, e->offset + k) - x[k];
    nb_monitor_row *row = add_row(m, e->name, NB_MONITOR_UPDATE, e->size);
    if (!(weights > 0))
        return;
    row->ratio = row->of.length / weights;
    if (e->shape.rank >= 2)
        row->flags |=
            flag(NB_FLAG_FAST, row->ratio > m->o.fast) | flag(NB_FLAG_SLOW, row->ratio < m->o.slow);
}

void nbi_record_updates(nb_monitor *m)
{
    for (int32_t i = 0; i < m->params->params.count; i++)
        if (!m->params->params.entry[i].frozen)
            record_update(m, &m->params->params.entry[i]);
}

/* ---- comparing ------------------------------------------------------------------------------- */

void nbi_compare(nb_monitor *m, size_t first, nb_monitor_kind kind)
{
    nb_monitor_row *row = m->row.data, *last = NULL;
    for (size_t k = first; k < m->row.count; k++)
        if (row[k].kind == kind && row[k].ratio == 0)
            last = &row[k];
    const double length = last ? last->of.length : 0;
    for (size_t k = first; k < m->row.count; k++) {
        if (row[k].kind != kind || row[k].ratio != 0)
            continue;
        const double own = row[k].of.length;
        row[k].ratio = length > 0 ? own / length : (double)NAN;
        row[k].flags |= flag(NB_FLAG_VANISHING, own <= m->o.vanishing * length) |
                        flag(NB_FLAG_EXPLODING, length > 0 && own >= m->o.exploding * length);
    }
}
