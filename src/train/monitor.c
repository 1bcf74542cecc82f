/*
 * Monitors: when a step is looked at, and what is marked in it.
 *
 * The life of a look: begin opens it and says which tape is watched; watch, called from within the model,
 * marks nodes of that tape, whose gradients the sweep is then to keep; look closes the watch and turns
 * marks into rows; step adds those of the parameters. Whatever is left out or fails, the next begin starts
 * afresh.
 *
 * Threads that work on other tapes call watch at the same time. All they do is compare their tape with
 * the watched one, which is why that pointer is atomic; the rest is touched by the watched tape's thread
 * alone.
 */
#include "train/monitor.h"

#include "base/reason.h"

#include <nabla/tape.h>
#include <stdio.h>
#include <string.h>

enum { ALL_KINDS = (1 << NB_MONITOR_KIND_COUNT) - 1, FEWEST_SNAPSHOTS = 3 };

bool nbi_list_reserve(nbi_heap *h, nbi_list *list, size_t more, size_t width)
{
    size_t need, room, bytes;
    if (__builtin_add_overflow(list->count, more, &need))
        return false;
    if (need <= list->room)
        return true;
    room = need > SIZE_MAX / 2 || need > 2 * list->room ? need : 2 * list->room;
    if (__builtin_mul_overflow(room, width, &bytes))
        return false;
    void *data = nbi_resize(h, list->data, list->room * width, bytes);
    if (!data)
        return false;
    list->data = data;
    list->room = room;
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

static nb_monitor_options with_defaults(const nb_monitor_options *o)
{
    nb_monitor_options all = o ? *o : (nb_monitor_options){0};
    all.every = all.every ? all.every : 1;
    all.kinds = all.kinds ? all.kinds : (uint32_t)ALL_KINDS;
    all.silent = all.silent ? all.silent : 1;
    all.vanishing = all.vanishing != 0 ? all.vanishing : 1e-3;
    all.exploding = all.exploding != 0 ? all.exploding : 1e3;
    all.dead = all.dead != 0 ? all.dead : 0.5;
    all.saturated = all.saturated != 0 ? all.saturated : 0.5;
    all.fast = all.fast != 0 ? all.fast : 0.1;
    all.slow = all.slow != 0 ? all.slow : 1e-6;
    return all;
}

static nb_code check_options(nb_params *p, const nb_monitor_options *o, nb_reason *why)
{
    if (!p || (o->ranges && !o->range))
        return nbi_because(why, NB_ERR_ARGUMENT, "monitor: the %s NULL",
                           p ? "list of ranges is" : "parameters are");
    if (nb_params_status(p) != NB_OK)
        return nbi_because(why, nb_params_status(p), "monitor: %s", nb_params_message(p));
    if (o->every < 0 || o->silent < 0 || o->kinds & ~(uint32_t)ALL_KINDS)
        return nbi_because(
            why, NB_ERR_ARGUMENT,
            "monitor: every %lld steps, silent for %lld looks, kinds %#x: none of them "
            "may be negative, and kinds are below %#x",
            (long long)o->every, (long long)o->silent, (unsigned)o->kinds, ALL_KINDS + 1);
    if (o->snapshots && o->snapshots < FEWEST_SNAPSHOTS)
        return nbi_because(why, NB_ERR_ARGUMENT, "monitor: %lld snapshots, not at least %d or none",
                           (long long)o->snapshots, FEWEST_SNAPSHOTS);
    if (!(o->vanishing > 0 && o->exploding > o->vanishing && o->fast > o->slow && o->slow > 0 &&
          o->dead > 0 && o->saturated > 0))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "monitor: limits: vanishing %g < exploding %g, slow %g < fast %g, dead "
                           "%g, saturated %g: all must be above 0",
                           o->vanishing, o->exploding, o->slow, o->fast, o->dead, o->saturated);
    return NB_OK;
}

/* Room for what has the size of the parameters. */
static bool open_copies(nb_monitor *m)
{
    const size_t shots = (size_t)m->o.snapshots;
    size_t bytes, steps;
    m->bytes = (size_t)m->params->params.size * nbi_width(m->params->dtype);
    if (!m->bytes)
        return true;
    if (__builtin_mul_overflow(m->bytes, shots, &bytes) ||
        __builtin_mul_overflow(sizeof *m->shot_step, shots, &steps))
        return false;
    m->before = nbi_resize(&m->heap, NULL, 0, m->bytes);
    m->shot = shots ? nbi_resize(&m->heap, NULL, 0, bytes) : NULL;
    m->shot_step = shots ? nbi_resize(&m->heap, NULL, 0, steps) : NULL;
    return m->before && (!shots || (m->shot && m->shot_step));
}

nb_monitor *nb_monitor_new(nb_params *p, const nb_monitor_options *options, nb_reason *why)
{
    const nb_monitor_options o = with_defaults(options);
    if (check_options(p, &o, why) != NB_OK)
        return NULL;
    nbi_heap heap;
    nbi_heap_init(&heap, o.allocator, 0);
    nb_monitor *m = nbi_seal(p) ? nbi_resize(&heap, NULL, 0, sizeof *m) : NULL;
    if (m) {
        *m = (nb_monitor){.heap = heap, .params = p, .o = o, .stride = 1};
        atomic_init(&m->tape, NULL);
    }
    if (m && open_copies(m))
        return m;
    nbi_because(why, NB_ERR_MEMORY,
                "monitor: no memory for %lld snapshots of %lld parameters' elements",
                (long long)o.snapshots, (long long)nb_params_size(p));
    nb_monitor_free(m);
    return NULL;
}

static void free_list(nbi_heap *h, nbi_list *list, size_t width)
{
    nbi_resize(h, list->data, list->room * width, 0);
}

static void free_block(nbi_heap *h, void *p, size_t bytes)
{
    if (p)
        nbi_resize(h, p, bytes, 0);
}

void nb_monitor_free(nb_monitor *m)
{
    if (!m)
        return;
    nbi_heap heap = m->heap;
    nbi_layer *layer = m->layer.data;
    for (size_t k = 0; k < m->layer.count; k++) {
        free_block(&heap, layer[k].name, layer[k].bytes);
        free_block(&heap, layer[k].unit, (size_t)layer[k].units * sizeof *layer[k].unit);
    }
    free_list(&heap, &m->layer, sizeof(nbi_layer));
    free_list(&heap, &m->mark, sizeof(nbi_mark));
    free_list(&heap, &m->row, sizeof(nb_monitor_row));
    free_list(&heap, &m->work, sizeof(double));
    free_block(&heap, m->before, m->bytes);
    free_block(&heap, m->shot, (size_t)m->o.snapshots * m->bytes);
    free_block(&heap, m->shot_step, (size_t)m->o.snapshots * sizeof *m->shot_step);
    nbi_resize(&heap, m, sizeof *m, 0);
}

/* ---- marks ----------------------------------------------------------------------------------- */

/* Those kept are from looks number 0, stride, 2 stride, … */
static void drop_every_other(nb_monitor *m)
{
    for (int64_t k = 1; 2 * k < m->shots; k++) {
        memcpy(m->shot + (size_t)k * m->bytes, m->shot + (size_t)(2 * k) * m->bytes, m->bytes);
        m->shot_step[k] = m->shot_step[2 * k];
    }
    m->shots = (m->shots + 1) / 2;
    m->stride *= 2;
}

static void take_snapshot(nb_monitor *m)
{
    if (m->shot && m->looks % m->stride == 0 && m->shots == m->o.snapshots)
        drop_every_other(m);
    if (m->shot && m->looks % m->stride == 0) {
        memcpy(m->shot + (size_t)m->shots * m->bytes, m->params->params.data, m->bytes);
        m->shot_step[m->shots++] = m->step;
    }
    m->looks++;
}

bool nb_monitor_begin(nb_monitor *m, nb_tape *t, int64_t step)
{
    if (!m)
        return false;
    m->looking = (step - 1) % m->o.every == 0;
    m->step = step;
    m->mark.count = 0;
    m->code = NB_OK;
    atomic_store(&m->tape, m->looking ? t : NULL);
    if (m->looking)
        take_snapshot(m);
    return m->looking;
}

static bool is_called(const nbi_layer *l, const char *name, size_t base)
{
    return l->base == base && !memcmp(l->name, name, base);
}

/* The layer of that name, after so many of the same name in this step; made if it is new. Its
 * place, or SIZE_MAX if there is no memory. */
static size_t find_layer(nb_monitor *m, const char *name)
{
    const size_t base = strlen(name);
    const nbi_layer *l = m->layer.data;
    const nbi_mark *mark = m->mark.data;
    int64_t repeat = 1;
    for (size_t k = 0; k < m->mark.count; k++)
        repeat += is_called(&l[mark[k].layer], name, base);
    for (size_t k = 0; k < m->layer.count; k++)
        if (is_called(&l[k], name, base) && l[k].repeat == repeat)
            return k;
    char number[24] = "";
    if (repeat > 1)
        snprintf(number, sizeof number, " %lld", (long long)repeat);
    nbi_layer new = {.bytes = base + strlen(number) + 1, .base = base, .repeat = repeat};
    if (!nbi_list_reserve(&m->heap, &m->layer, 1, sizeof new) ||
        !(new.name = nbi_resize(&m->heap, NULL, 0, new.bytes)))
        return SIZE_MAX;
    memcpy(new.name, name, base);
    memcpy(new.name + base, number, new.bytes - base);
    ((nbi_layer *)m->layer.data)[m->layer.count] = new;
    return m->layer.count++;
}

nb_var nb_monitor_watch(nb_monitor *m, const nb_pass *pass, const char *name, nb_var x)
{
    if (!m || !pass || !pass->training || !pass->tape || pass->tape != atomic_load(&m->tape) ||
        x.tape != pass->tape || !nb_ok(x))
        return x;
    const nb_info info = nb_inspect(x);
    const size_t layer = find_layer(m, name ? name : info.name ? info.name : info.op);
    if (layer == SIZE_MAX || !nbi_list_reserve(&m->heap, &m->mark, 1, sizeof(nbi_mark))) {
        m->code = NB_ERR_MEMORY;
        return x;
    }
    ((nbi_mark *)m->mark.data)[m->mark.count++] = (nbi_mark){layer, x};
    return nb_retain_grad(x);
}

/* ---- looking --------------------------------------------------------------------------------- */

static nb_code look_at(nb_monitor *m, const nbi_mark *mark, nb_reason *why)
{
    if (!nb_ok(mark->x))
        return nbi_because(why, NB_ERR_HANDLE,
                           "monitor: \"%.99s\" is no longer on the tape: look before it is rewound",
                           ((nbi_layer *)m->layer.data)[mark->layer].name);
    nb_code code = nbi_record_reserve(m, nb_size(mark->x), 2, why);
    if (code == NB_OK && nbi_wants(m, NB_MONITOR_ACTIVATION))
        code = nbi_record_activation(m, mark, why);
    if (code == NB_OK && nbi_wants(m, NB_MONITOR_SLOPE) && !nb_inspect(mark->x).constant)
        code = nbi_record_slope(m, mark, why);
    return code;
}

nb_code nb_monitor_look(nb_monitor *m, nb_reason *why)
{
    if (!m || !atomic_exchange(&m->tape, NULL))
        return NB_OK;
    const size_t first = m->row.count;
    nb_code code = m->code;
    if (code != NB_OK)
        nbi_because(why, code, "monitor: out of memory for what is watched");
    for (size_t k = 0; code == NB_OK && k < m->mark.count; k++)
        code = look_at(m, &((const nbi_mark *)m->mark.data)[k], why);
    if (code == NB_OK)
        nbi_compare(m, first, NB_MONITOR_SLOPE);
    else
        m->row.count = first;
    return code;
}

nb_code nb_monitor_step(nb_monitor *m, nb_optim *o, nb_reason *why)
{
    if (!m || !m->looking)
        return nb_optim_step(o, why);
    int64_t longest = 0;
    for (int32_t i = 0; i < m->params->params.count; i++)
        longest =
            m->params->params.entry[i].size > longest ? m->params->params.entry[i].size : longest;
    nb_code code = nbi_record_reserve(m, longest, 2 * (size_t)m->params->params.count, why);
    if (code != NB_OK)
        return code;
    m->looking = false;
    const size_t first = m->row.count;
    if (nbi_wants(m, NB_MONITOR_GRADIENT)) {
        nbi_record_gradients(m);
        nbi_compare(m, first, NB_MONITOR_GRADIENT);
    }
    if (m->bytes)
        memcpy(m->before, m->params->params.data, m->bytes);
    code = nb_optim_step(o, why);
    if (code == NB_OK && nbi_wants(m, NB_MONITOR_UPDATE))
        nbi_record_updates(m);
    return code;
}

/* ---- reading --------------------------------------------------------------------------------- */

const nb_monitor_row *nb_monitor_rows(const nb_monitor *m, int64_t *count)
{
    if (count)
        *count = m ? (int64_t)m->row.count : 0;
    return m ? m->row.data : NULL;
}

const nb_monitor_row *nb_monitor_latest(const nb_monitor *m, nb_monitor_kind kind, const char *name)
{
    const nb_monitor_row *row = m ? m->row.data : NULL;
    for (size_t k = m && name ? m->row.count : 0; k--;)
        if (row[k].kind == kind && !strcmp(row[k].name, name))
            return &row[k];
    return NULL;
}
