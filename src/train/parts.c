/*
 * Parts of a batch: recording them, adding them up. See parts.h.
 *
 * What a round does on several threads is confined to its slot; all that is common (adding gradients up,
 * collecting y, errors) is done between rounds by the thread that called, slot by slot. The first error in
 * the order of parts is the one that is told.
 */
#include "train/parts.h"

#include "base/reason.h"
#include "nn/model.h"

#include <math.h>
#include <string.h>

/* ---- a part ---------------------------------------------------------------------------------- */

/* A view of n rows. */
static nb_dataset rows_of(const nb_dataset *d, int64_t first, int64_t n)
{
    const size_t width = nbi_width(d->dtype);
    nb_dataset part = *d;
    part.rows = n;
    part.x = (const char *)d->x + (size_t)(first * d->columns) * width;
    if (d->y)
        part.y = (const char *)d->y + (size_t)(first * d->targets) * width;
    if (d->label)
        part.label = d->label + first;
    return part;
}

/* Returns the loss. */
static nb_var sweep(const nbi_parts *w, nbi_slot *s, const nb_pass *m)
{
    const nb_var loss = nbi_learner_loss(&w->learner, m, s->y, &s->rows);
    s->loss = nb_value(loss);
    if (w->training && isfinite(s->loss))
        nb_backward(loss);
    return loss;
}

/* Records the part on the slot's tape, and sweeps. */
static void work_on(const nbi_parts *w, nbi_slot *s)
{
    const nb_learner *l = &w->learner;
    const nb_pass_spec spec = {.var = s->var,
                               .grads = !w->training ? NULL
                                        : s->grads   ? s->grads
                                                     : l->params->grads,
                               .statistics = w->training ? s->statistics : NULL,
                               .training = w->training,
                               .rng = &s->rng};
    if (spec.statistics)
        memcpy(s->statistics, l->params->statistics.data,
               (size_t)l->params->statistics.size * sizeof(double));
    const nb_pass m = nb_pass_with(l->params, s->tape, &spec);
    s->y = nbi_learner_model(l, &m, &s->rows);
    const nb_var loss = w->lossless ? s->y : sweep(w, s, &m);
    s->code = nb_status(s->tape);
    if (s->code)
        nbi_because(&s->why, s->code, "%s", nb_message(s->tape));
    else if (s->y.tape != s->tape || loss.tape != s->tape)
        s->code = nbi_because(&s->why, NB_ERR_ARGUMENT, "the %s is not on its pass' tape",
                              s->y.tape != s->tape ? "model's result" : "loss");
}

static void work_on_slots(void *context, int64_t from, int64_t to, int worker)
{
    nbi_parts *w = context;
    (void)worker;
    for (int64_t k = from; k < to; k++)
        work_on(w, &w->slot[k]);
}

/* A generator that belongs to this part of this step alone. */
static nb_rng rng_of(uint64_t seed, int64_t step, int64_t part)
{
    return nb_rng_seed(seed + 0x9e3779b97f4a7c15u * (uint64_t)step +
                       0xd1342543de82ef95u * (uint64_t)part);
}

static int64_t parts_of(const nbi_parts *w, const nb_dataset *batch)
{
    return (batch->rows - 1) / w->micro + 1;
}

/* Where part k begins: parts are as even as they can be. */
static int64_t place_of(const nbi_parts *w, const nb_dataset *batch, int64_t k)
{
    const int64_t n = parts_of(w, batch), even = batch->rows / n, more = batch->rows % n;
    return k * even + (k < more ? k : more);
}

static void set_out(nbi_parts *w, const nb_dataset *batch, int64_t step, int64_t first, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        const int64_t from = place_of(w, batch, first + k);
        w->slot[k].rows = rows_of(batch, from, place_of(w, batch, first + k + 1) - from);
        w->slot[k].rng = rng_of(w->seed, step, first + k);
    }
}

static void clean(nbi_slot *s)
{
    nb_clear(s->tape);
    nb_rewind(s->start);
}

/* ---- adding up ------------------------------------------------------------------------------- */

#define ADD(type)                                                                                \
    do {                                                                                         \
        type *const t = to;                                                                      \
        const type *const f = from;                                                              \
        for (int64_t i = 0; i < n; i++)                                                          \
            t[i] = (type)(first ? weight * (double)f[i] : (double)t[i] + weight * (double)f[i]); \
    } while (0)

static void add(nb_dtype d, int64_t n, double weight, bool first, const void *from, void *to)
{
    if (d == NB_F64)
        ADD(double);
    else
        ADD(float);
}

static nb_code grow(nbi_parts *w, nbi_block *b, int64_t rows, int64_t width, nb_reason *why)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)rows * nbi_width(w->learner.params->dtype), (size_t)width,
                               &bytes))
        return nbi_because(why, NB_ERR_OVERFLOW, "what the model makes of %lld rows is too large",
                           (long long)rows);
    void *p = bytes > b->bytes ? nbi_resize(&w->heap, b->data, b->bytes, bytes) : b->data;
    if (!p)
        return nbi_because(why, NB_ERR_MEMORY, "no memory for what the model makes of %lld rows",
                           (long long)rows);
    b->bytes = bytes > b->bytes ? bytes : b->bytes;
    b->data = p;
    return NB_OK;
}

/* y of a part, to its rows in that of the batch; its width is that of the first part. */
static nb_code collect_y(nbi_parts *w, const nbi_slot *s, int64_t rows, int64_t at, nb_reason *why)
{
    const nb_dtype d = w->learner.params->dtype;
    const int64_t size = nb_is_tensor(s->y) ? nb_size(s->y) : 0;
    const int64_t width = size % s->rows.rows ? 0 : size / s->rows.rows;
    w->width = at && w->width != width ? 0 : width;
    const nb_code code = w->width ? grow(w, &w->y, rows, width, why) : NB_OK;
    if (!code && w->width)
        memcpy(nbi_element_place(w->y.data, d, at * width), nb_data(s->y),
               (size_t)size * nbi_width(d));
    return code;
}

static nb_code take(nbi_parts *w, const nbi_slot *s, const nb_dataset *batch, int64_t at,
                    nbi_outcome *out, nb_reason *why)
{
    const nb_params *p = w->learner.params;
    const double weight = (double)s->rows.rows / (double)batch->rows;
    out->loss += weight * s->loss;
    if (w->training) {
        add(NB_F64, p->statistics.size, weight, at == 0, s->statistics, w->statistics);
        if (s->grads)
            add(p->dtype, p->params.size, weight, at == 0, s->grads, p->grads);
    }
    return collect_y(w, s, batch->rows, at, why);
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* One part again, looking for what is not finite. */
static nb_code find(nbi_parts *w, nbi_slot *s, nb_reason *why)
{
    nb_set_anomaly(s->tape, true);
    work_on(w, s);
    nb_set_anomaly(s->tape, false);
    if (s->code == NB_ERR_ANOMALY)
        nbi_because(why, s->code, "%s", s->why.text);
    clean(s);
    return s->code == NB_ERR_ANOMALY ? s->code : NB_OK;
}

nb_code nbi_parts_find(nbi_parts *w, const nb_dataset *batch, int64_t step, nb_reason *why)
{
    nb_code code = NB_OK;
    for (int64_t k = 0; k < parts_of(w, batch) && !code; k++) {
        set_out(w, batch, step, k, 1);
        code = find(w, &w->slot[0], why);
    }
    return code;
}

static nb_code refuse(nbi_parts *w, nbi_slot *s, nb_reason *why)
{
    if (s->code)
        return nbi_because(why, s->code, "%s", s->why.text);
    const double loss = s->loss;
    clean(s);
    if (!find(w, s, why))
        nbi_because(why, NB_ERR_ANOMALY, "the loss is %g", loss);
    return NB_ERR_ANOMALY;
}

/* Parts first, …, first + n - 1, one in each slot. */
static nb_code run_round(nbi_parts *w, const nb_dataset *batch, int64_t step, int64_t first,
                         int64_t n, nbi_outcome *out, nb_reason *why)
{
    set_out(w, batch, step, first, n);
    if (n == 1) /* then the threads may help within operations */
        work_on_slots(w, 0, 1, 0);
    else
        nbi_crew_share(&(nbi_crew){.pool = w->pool, .grain = 1}, n, 1, work_on_slots, w);
    nb_code code = NB_OK;
    for (int64_t k = 0; k < n && !code; k++) {
        nbi_slot *s = &w->slot[k];
        if (s->code || (w->training && !isfinite(s->loss)))
            code = refuse(w, s, why);
        else
            code = take(w, s, batch, place_of(w, batch, first + k), out, why);
    }
    return code;
}

nb_code nbi_parts_run(nbi_parts *w, const nb_dataset *batch, int64_t step, nb_monitor *monitor,
                      nbi_outcome *out, nb_reason *why)
{
    const int64_t parts = parts_of(w, batch);
    nb_code code = NB_OK;
    *out = (nbi_outcome){0};
    nb_monitor_begin(monitor, w->slot[0].tape, step);
    for (int64_t first = 0; first < parts && !code; first += w->slots) {
        const int64_t n = parts - first < w->slots ? parts - first : w->slots;
        code = run_round(w, batch, step, first, n, out, why);
        if (!code && !first)
            code = nb_monitor_look(monitor, why);
        for (int64_t k = 0; k < n; k++)
            clean(&w->slot[k]);
    }
    return code || !w->training
               ? code
               : nbi_learner_measure(&w->learner, batch, w->width, w->y.data, out->metric, why);
}

void nbi_parts_commit(nbi_parts *w)
{
    nb_params *p = w->learner.params;
    if (w->statistics)
        memcpy(p->statistics.data, w->statistics, (size_t)p->statistics.size * sizeof(double));
}

/* ---- without training ------------------------------------------------------------------------ */

typedef struct judged {
    int64_t rows, width;
    double loss;
    void *y; /* NULL: none is wanted */
} judged;

static nb_code keep_y(const nbi_parts *w, const nb_dataset *batch, const nb_dataset *all, judged *j,
                      nb_reason *why)
{
    if (j->width != w->width)
        return nbi_because(why, NB_ERR_SHAPE,
                           "the model makes %lld numbers of a row, where %lld are wanted",
                           (long long)w->width, (long long)j->width);
    if (j->rows + batch->rows > all->rows)
        return nbi_because(why, NB_ERR_SHAPE, "there are more rows than the data set has");
    memcpy(nbi_element_place(j->y, batch->dtype, j->rows * j->width), w->y.data,
           (size_t)(batch->rows * j->width) * nbi_width(batch->dtype));
    return NB_OK;
}

/* own: y is to be kept in w, and has the width that the model's has. */
static nb_code judge_all(nbi_parts *w, nb_batches *batches, const nb_dataset *d, bool own,
                         judged *j, nb_reason *why)
{
    const nb_dataset *batch;
    nb_code code;
    nbi_outcome out;
    while (!(code = nb_batches_next(batches, &batch, why)) && batch) {
        code = nbi_parts_run(w, batch, 0, NULL, &out, why);
        if (!code && own && !j->rows && w->width) {
            code = grow(w, &w->all, d->rows, w->width, why);
            j->y = w->all.data;
            j->width = w->width;
        }
        if (!code && j->y)
            code = keep_y(w, batch, d, j, why);
        if (code)
            return code;
        j->loss += out.loss * (double)batch->rows;
        j->rows += batch->rows;
    }
    return code;
}

nb_code nbi_parts_judge(nbi_parts *w, nb_batches *batches, const nb_dataset *d, double *loss,
                        double *metric, int64_t width, void *y, nb_reason *why)
{
    judged j = {.width = width, .y = y};
    const nb_batch_state start = nb_batches_state(batches);
    nb_code code = judge_all(w, batches, d, metric && !y, &j, why);
    if (code) {
        nb_batches_restore(batches, &start, NULL);
        return code;
    }
    if (loss)
        *loss = j.loss / (double)j.rows;
    return metric ? nbi_learner_measure(&w->learner, d, j.y ? j.width : 0, j.y, metric, why)
                  : NB_OK;
}
