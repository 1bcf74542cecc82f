/*
 * Mini-batches.
 *
 * An epoch's order follows from the random state that it starts with, and from nothing else: from a
 * data set, the permutation that this state shuffles 0, 1, 2, ... to; from a reader, the draws from the
 * buffer. So that state and a count of batches are the whole position. To restore it is to begin the
 * epoch again and, from a reader, to draw again what was drawn; the next epoch starts with the state that
 * this one leaves.
 *
 * The buffer of a reader holds B rows. A draw takes one at random; the next row of the file takes its
 * place, or, when the file is at its end, the last row of the buffer does.
 */
#include "data/prep.h"

#include "base/reason.h"

#include <string.h>

struct nb_batches {
    nbi_heap heap;
    nb_allocator allocator;
    const nb_dataset *d; /* NULL: from a reader */
    nb_reader *reader;
    nb_batch_options o;
    nb_batch_state state;
    nb_rng rng;                /* where this epoch's randomness has got to */
    bool begun;                /* this epoch's order stands */
    int64_t *order;            /* [d->rows] */
    nbi_table *buffer;         /* rows to shuffle among */
    const nb_dataset *ahead;   /* a block of the reader's */
    int64_t ahead_at;          /* rows of it that are taken */
    nbi_table *raw, *prepared; /* the batch */
    double *work;
};

enum { SIZE = 32, BUFFER = 8192, AHEAD = 256 };

/* ---- making ---------------------------------------------------------------------------------- */

void nb_batches_free(nb_batches *b)
{
    if (!b)
        return;
    if (b->order)
        nbi_resize(&b->heap, b->order, (size_t)b->d->rows * sizeof *b->order, 0);
    nbi_resize(&b->heap, b->work, b->work ? nbi_prep_work(b->o.prep) + 1 : 0, 0);
    nbi_table_free(b->buffer);
    nbi_table_free(b->raw);
    nbi_table_free(b->prepared);
    nbi_heap heap = b->heap;
    nbi_resize(&heap, b, sizeof *b, 0);
}

static nb_code get_room(nb_batches *b, const nb_dataset *like, bool has_label, nb_reason *why)
{
    nb_code code = nbi_table_new(like, has_label, b->o.size, &b->allocator, &b->raw, why);
    if (!code && b->o.prep) {
        b->work = nbi_resize(&b->heap, NULL, 0, nbi_prep_work(b->o.prep) + 1);
        code = b->work ? nbi_prep_table(b->o.prep, &b->raw->d, b->o.size, &b->prepared, why)
                       : nbi_because(why, NB_ERR_MEMORY, "batches: no memory");
    }
    if (!code && b->reader && b->o.shuffle)
        code = nbi_table_new(like, has_label, b->o.buffer, &b->allocator, &b->buffer, why);
    if (!code && b->d) {
        size_t bytes;
        if (!__builtin_mul_overflow((size_t)b->d->rows, sizeof *b->order, &bytes))
            b->order = nbi_resize(&b->heap, NULL, 0, bytes);
        if (!b->order)
            code = nbi_because(why, NB_ERR_MEMORY, "batches: no memory for the order of %lld rows",
                               (long long)b->d->rows);
    }
    return code;
}

static nb_code make(const nb_dataset *d, nb_reader *r, const nb_batch_options *options,
                    nb_batches **out, nb_reason *why)
{
    nb_batch_options o = options ? *options : (nb_batch_options){0};
    o.size = o.size ? o.size : SIZE;
    o.buffer = o.buffer ? o.buffer : BUFFER;
    if (o.size < 0 || o.buffer < 0)
        return nbi_because(why, NB_ERR_ARGUMENT, "batches: of %lld rows, from a buffer of %lld",
                           (long long)o.size, (long long)o.buffer);
    if (d && o.size > d->rows) /* no more room than there can be rows */
        o.size = o.drop_last ? o.size : d->rows;
    if (d && o.drop_last && o.size > d->rows)
        return nbi_because(
            why, NB_ERR_EMPTY,
            "batches: %lld rows make no whole batch of %lld, and shorter ones are dropped",
            (long long)d->rows, (long long)o.size);
    nbi_heap heap;
    nbi_heap_init(&heap, d ? d->allocator : &r->allocator, 0);
    nb_batches *b = nbi_resize(&heap, NULL, 0, sizeof *b);
    if (!b)
        return nbi_because(why, NB_ERR_MEMORY, "batches: no memory");
    *b = (nb_batches){.heap = heap, .allocator = heap.allocator, .d = d, .reader = r, .o = o};
    b->state.start = nb_rng_seed(o.seed);
    nb_code code =
        get_room(b, d ? d : &r->block->d, d ? d->label != NULL : r->block->has_label, why);
    if (code)
        nb_batches_free(b);
    else
        *out = b;
    return code;
}

nb_code nb_batches_new(const nb_dataset *d, const nb_batch_options *options, nb_batches **out,
                       nb_reason *why)
{
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "batches: nowhere to put them");
    *out = NULL;
    nb_code code = nbi_dataset_sane(d, why);
    if (!code && !d->rows)
        code = nbi_because(why, NB_ERR_EMPTY, "batches: the data set is empty");
    return code ? code : make(d, NULL, options, out, why);
}

nb_code nb_batches_stream(nb_reader *r, const nb_batch_options *options, nb_batches **out,
                          nb_reason *why)
{
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "batches: nowhere to put them");
    *out = NULL;
    return r ? make(NULL, r, options, out, why)
             : nbi_because(why, NB_ERR_ARGUMENT, "batches: no reader");
}

/* ---- rows in order --------------------------------------------------------------------------- */

/* Row `to` of a table becomes the next one of the file; *any is false at its end. */
static nb_code read_ahead(nb_batches *b, nbi_table *t, int64_t to, bool *any, nb_reason *why)
{
    if (!b->ahead || b->ahead_at == b->ahead->rows) {
        nb_code code = nb_reader_next(b->reader, AHEAD, &b->ahead, why);
        if (code)
            return code;
        b->ahead_at = 0;
    }
    *any = b->ahead_at < b->ahead->rows;
    if (*any)
        nbi_table_copy(t, to, b->ahead, b->ahead_at++);
    return NB_OK;
}

static nb_code begin_epoch(nb_batches *b, nb_reason *why)
{
    nb_code code = NB_OK;
    b->rng = b->state.start;
    for (int64_t i = 0; b->d && i < b->d->rows; i++)
        b->order[i] = i;
    if (b->d && b->o.shuffle)
        nb_shuffle(&b->rng, b->d->rows, b->order);
    if (b->reader) {
        nb_reader_rewind(b->reader);
        b->ahead = NULL;
    }
    if (b->buffer) {
        b->buffer->d.rows = 0;
        for (bool any = true; any && !code && b->buffer->d.rows < b->o.buffer;) {
            code = read_ahead(b, b->buffer, b->buffer->d.rows, &any, why);
            b->buffer->d.rows += any && !code;
        }
    }
    return code;
}

/* Draws a row from the buffer to row `to` of the batch. */
static nb_code draw(nb_batches *b, int64_t to, bool *any, nb_reason *why)
{
    nbi_table *t = b->buffer;
    *any = t->d.rows > 0;
    if (!*any)
        return NB_OK;
    const int64_t i = (int64_t)nb_rng_below(&b->rng, (uint64_t)t->d.rows);
    bool more = false;
    nbi_table_copy(b->raw, to, &t->d, i);
    nb_code code = read_ahead(b, t, i, &more, why);
    if (!code && !more && i != --t->d.rows)
        nbi_table_copy(t, i, &t->d, t->d.rows);
    return code;
}

/* The raw batch; with no rows at the end of the epoch. */
static nb_code fill(nb_batches *b, nb_reason *why)
{
    nbi_table *t = b->raw;
    nb_code code = NB_OK;
    t->d.rows = 0;
    for (bool any = true; any && !code && t->d.rows < b->o.size;) {
        const int64_t row = t->d.rows;
        if (b->d) {
            const int64_t at = b->state.batch * b->o.size + row;
            any = at < b->d->rows;
            if (any)
                nbi_table_copy(t, row, b->d, b->order[at]);
        } else if (b->buffer) {
            code = draw(b, row, &any, why);
        } else {
            code = read_ahead(b, t, row, &any, why);
        }
        t->d.rows += any && !code;
    }
    if (b->o.drop_last && t->d.rows < b->o.size)
        t->d.rows = 0;
    return code;
}

/* Begins the epoch and goes to where the state says. From a reader, that is to draw again. */
static nb_code resume(nb_batches *b, nb_reason *why)
{
    nb_code code = begin_epoch(b, why);
    for (int64_t i = 0; b->reader && i < b->state.batch && !code; i++) {
        code = fill(b, why);
        if (!code && !b->raw->d.rows)
            code = nbi_because(why, NB_ERR_ARGUMENT,
                               "batches: batch %lld, but an epoch has only %lld batches",
                               (long long)b->state.batch, (long long)i);
    }
    b->begun = !code;
    return code;
}

/* ---- the batches ----------------------------------------------------------------------------- */

static nb_code end_epoch(nb_batches *b, nb_reason *why)
{
    b->begun = false;
    if (!b->state.batch) /* or the caller would ask for ever */
        return nbi_because(why, NB_ERR_EMPTY,
                           "batches: there are no rows, or not enough for one batch");
    b->state = (nb_batch_state){b->rng, b->state.epoch + 1, 0};
    return NB_OK;
}

nb_code nb_batches_next(nb_batches *b, const nb_dataset **batch, nb_reason *why)
{
    if (batch)
        *batch = NULL;
    if (!b || !batch)
        return nbi_because(why, NB_ERR_ARGUMENT, "batches: none, or nowhere to put the next");
    nb_code code = b->begun ? NB_OK : resume(b, why);
    if (!code)
        code = fill(b, why);
    if (code) {
        b->begun = false;
        return code;
    }
    if (!b->raw->d.rows)
        return end_epoch(b, why);
    if (b->prepared) {
        b->prepared->d.rows = 0;
        code = nbi_prep_rows(b->o.prep, &b->raw->d, b->prepared, b->work, why);
    }
    if (code) {
        b->begun = false;
        return code;
    }
    b->state.batch++;
    *batch = b->prepared ? &b->prepared->d : &b->raw->d;
    return NB_OK;
}

nb_batch_state nb_batches_state(const nb_batches *b) { return b ? b->state : (nb_batch_state){0}; }

nb_code nb_batches_restore(nb_batches *b, const nb_batch_state *state, nb_reason *why)
{
    /* the generator never leaves a state of zeros, nor can it get into one */
    if (!b || !state || state->epoch < 0 || state->batch < 0 ||
        !(state->start.s[0] | state->start.s[1] | state->start.s[2] | state->start.s[3]))
        return nbi_because(why, NB_ERR_ARGUMENT, "batches: restore: no batches, or not a state");
    if (b->d && state->batch > (b->d->rows + b->o.size - 1) / b->o.size)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "batches: restore: batch %lld, but an epoch has %lld rows",
                           (long long)state->batch, (long long)b->d->rows);
    const nb_batch_state before = b->state;
    b->state = *state;
    nb_code code = resume(b, why);
    if (code)
        b->state = before;
    return code;
}
