/*
 * Learners: what is refused before any work, a model and its loss on a pass, slots made and freed, and judging
 * a data set without training.
 */
#include "train/parts.h"

#include "base/reason.h"
#include "nn/model.h"

#include <nabla/losses.h>
#include <string.h>

enum { JUDGED = 1024, PART = 256 }; /* rows of a batch and of a part when nothing is trained */

/* ---- what is refused ------------------------------------------------------------------------- */

static const char *type_name(nb_dtype d) { return d == NB_F64 ? "double" : "float"; }

nb_code nbi_learner_check(const nb_learner *l, const nb_dataset *d, bool lossless, nb_reason *why)
{
    if (!l->params || !l->model)
        return nbi_because(why, NB_ERR_ARGUMENT, "a learner without %s",
                           l->params ? "a model" : "parameters");
    if (nb_params_status(l->params) != NB_OK)
        return nbi_because(why, nb_params_status(l->params), "%s", nb_params_message(l->params));
    if (l->metrics < 0 || l->metrics > NB_METRICS || (l->metrics && !l->metric))
        return nbi_because(why, NB_ERR_ARGUMENT, "%d metrics, of %d at most%s", l->metrics,
                           NB_METRICS, l->metric ? "" : ", and no list of them");
    for (int k = 0; k < l->metrics; k++)
        if (!l->metric[k].of)
            return nbi_because(why, NB_ERR_ARGUMENT, "metric %d has no function", k + 1);
    if (d && d->dtype != l->params->dtype)
        return nbi_because(why, NB_ERR_ARGUMENT, "the parameters are %s, the data %s",
                           type_name(l->params->dtype), type_name(d->dtype));
    if (d && !lossless && !l->loss && !d->label && !d->y)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "the data have neither labels nor targets, and the learner no loss");
    return NB_OK;
}

/* ---- on a pass ------------------------------------------------------------------------------- */

nb_var nbi_learner_model(const nb_learner *l, const nb_pass *m, const nb_dataset *rows)
{
    nb_shape s = {.rank = 2, .dims = {rows->rows, rows->columns}};
    if (rows->shape.rank > 0 && rows->shape.rank < NB_MAX_RANK) {
        s.rank = rows->shape.rank + 1;
        memcpy(s.dims + 1, rows->shape.dims, (size_t)rows->shape.rank * sizeof *s.dims);
    }
    return l->model(l->context, m, nb_borrow_constant(m->tape, s, rows->x));
}

nb_var nbi_learner_loss(const nb_learner *l, const nb_pass *m, nb_var y, const nb_dataset *rows)
{
    if (l->loss)
        return l->loss(l->context, m, y, rows);
    if (rows->label)
        return nb_cross_entropy(y, rows->rows, rows->label, NULL);
    const nb_shape s = NB_SHAPE(rows->rows, rows->targets);
    return nb_squared_error(y, nb_borrow_constant(m->tape, s, rows->y), NULL);
}

/* ---- slots ----------------------------------------------------------------------------------- */

static size_t var_bytes(const nb_params *p) { return (size_t)p->params.count * sizeof(nb_var); }
static size_t grad_bytes(const nb_params *p)
{
    return (size_t)p->params.size * nbi_width(p->dtype);
}
static size_t statistic_bytes(const nb_params *p)
{
    return (size_t)p->statistics.size * sizeof(double);
}

/* NULL for nothing, too. */
static void *get(nbi_heap *h, size_t bytes, bool *good)
{
    void *p = bytes ? nbi_resize(h, NULL, 0, bytes) : NULL;
    if (p)
        memset(p, 0, bytes);
    *good = *good && (p || !bytes);
    return p;
}

static bool start_slot(nbi_parts *w, nbi_slot *s, bool several)
{
    const nb_params *p = w->learner.params;
    bool good = true;
    s->tape = nb_tape_new(
        &(nb_options){.allocator = w->heap.allocator, .dtype = p->dtype, .pool = w->pool});
    s->var = get(&w->heap, var_bytes(p), &good);
    if (w->training && several)
        s->grads = get(&w->heap, grad_bytes(p), &good);
    if (w->training)
        s->statistics = get(&w->heap, statistic_bytes(p), &good);
    if (!s->tape || !good)
        return false;
    s->start = nb_tape_mark(s->tape);
    return true;
}

static void free_slot(nbi_parts *w, nbi_slot *s)
{
    const nb_params *p = w->learner.params;
    nb_tape_free(s->tape);
    nbi_resize(&w->heap, s->var, s->var ? var_bytes(p) : 0, 0);
    nbi_resize(&w->heap, s->grads, s->grads ? grad_bytes(p) : 0, 0);
    nbi_resize(&w->heap, s->statistics, s->statistics ? statistic_bytes(p) : 0, 0);
}

void nbi_parts_free(nbi_parts *w)
{
    for (int k = 0; w->slot && k < w->slots; k++)
        free_slot(w, &w->slot[k]);
    if (w->slot)
        nbi_resize(&w->heap, w->slot, (size_t)w->slots * sizeof *w->slot, 0);
    if (w->statistics)
        nbi_resize(&w->heap, w->statistics, statistic_bytes(w->learner.params), 0);
    nbi_resize(&w->heap, w->y.data, w->y.bytes, 0);
    nbi_resize(&w->heap, w->all.data, w->all.bytes, 0);
    nb_pool_free(w->pool);
    *w = (nbi_parts){0};
}

static bool make(nbi_parts *w, int64_t parts, int threads)
{
    bool good = nbi_seal(w->learner.params);
    if (threads != 1) {
        w->pool = nb_pool_new(threads, &w->heap.allocator);
        good = good && w->pool;
    }
    const int64_t most = nbi_crew_size(&(nbi_crew){.pool = w->pool});
    w->slots = (int)(parts < most ? parts : most);
    w->slot = good ? get(&w->heap, (size_t)w->slots * sizeof *w->slot, &good) : NULL;
    if (w->training)
        w->statistics = get(&w->heap, statistic_bytes(w->learner.params), &good);
    for (int k = 0; k < w->slots && good; k++)
        good = start_slot(w, &w->slot[k], parts > 1);
    return good;
}

nb_code nbi_parts_start(nbi_parts *w, const nb_learner *l, const nb_dataset *like,
                        const nbi_parts_options *o, nb_reason *why)
{
    const bool whole = !o->micro || (o->most && o->micro >= o->most);
    *w = (nbi_parts){.learner = *l,
                     .training = o->training,
                     .lossless = o->lossless,
                     .micro = whole ? INT64_MAX / 2 : o->micro,
                     .seed = o->seed};
    nbi_heap_init(&w->heap, o->allocator, 0);
    nb_code code = nbi_learner_check(l, like, o->lossless, why);
    if (!code && !make(w,
                       whole     ? 1
                       : o->most ? (o->most - 1) / o->micro + 1
                                 : INT64_MAX,
                       o->threads ? o->threads : 1))
        code = nbi_because(why, NB_ERR_MEMORY, "no memory for the work on a batch");
    if (code)
        nbi_parts_free(w);
    return code;
}

/* ---- judging --------------------------------------------------------------------------------- */

nb_code nbi_judges_start(nbi_parts *w, nb_batches **batches, const nb_learner *l,
                         const nb_dataset *d, bool lossless, int threads,
                         const nb_allocator *allocator, nb_reason *why)
{
    const int64_t most = d->rows < JUDGED ? d->rows : JUDGED;
    nb_code code =
        nb_batches_new(d, &(nb_batch_options){.size = JUDGED, .prep = l->prep}, batches, why);
    if (code)
        return code;
    code = nbi_parts_start(w, l, d,
                           &(nbi_parts_options){.micro = PART,
                                                .most = most,
                                                .threads = threads,
                                                .lossless = lossless,
                                                .allocator = allocator},
                           why);
    if (code) {
        nb_batches_free(*batches);
        *batches = NULL;
    }
    return code;
}

static nb_code judge(const char *who, const nb_learner *l, const nb_dataset *d, double *loss,
                     double *metric, int64_t width, void *y, nb_reason *why)
{
    nbi_parts w;
    nb_batches *batches;
    nb_reason reason = {""};
    if (!l || !d || (!loss && !metric && !y))
        return nbi_because(why, NB_ERR_ARGUMENT, "%s: no learner, no data, or nothing wanted", who);
    nb_code code = nb_dataset_check(d, &reason);
    if (!code)
        code = nbi_judges_start(&w, &batches, l, d, !loss && !metric, 1, d->allocator, &reason);
    if (code)
        return nbi_because(why, code, "%s: %s", who, reason.text);
    code = nbi_parts_judge(&w, batches, d, loss, metric, width, y, &reason);
    nbi_parts_free(&w);
    nb_batches_free(batches);
    return code ? nbi_because(why, code, "%s: %s", who, reason.text) : NB_OK;
}

nb_code nb_evaluate(const nb_learner *l, const nb_dataset *d, double *loss,
                    double metric[NB_METRICS], nb_reason *why)
{
    return judge("evaluate", l, d, loss, metric, 0, NULL, why);
}

nb_code nb_outputs(const nb_learner *l, const nb_dataset *d, int64_t width, void *y, nb_reason *why)
{
    return judge("outputs", l, d, NULL, NULL, width, y, why);
}
