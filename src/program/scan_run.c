/*
 * A program as the step of a loop over time.
 *
 * Lanes are independent, so a chunk of them goes through all steps while its state is at hand; a chunk is
 * some blocks wide, so that a step reads and writes memory in runs. What a step needs is set up before: an
 * argument has a place, and a distance by which the place moves from step to step. So a step costs the
 * execution of the code and a few additions.
 *
 * Sums are of three kinds:
 *
 *     over time and lanes    the code's own accumulators go on from step to step
 *     over time              a lane's part of a step is added to a pile of doubles
 *     over lanes             likewise, to one for each step
 *
 * Chunks are cut by nothing but the number of lanes. Threads take chunks; each has sums of its own, which
 * are added up in their order when all is done. Memory is taken before threads begin.
 */
#include "program/scan.h"

#include "program/run.h"

enum { CHUNK_BLOCKS = 8, CHUNKS_MOST = 64, WORTH_NS = 20000, SUM = NBI_UNIFORM / sizeof(double) };

/* How an argument moves through time. */
typedef struct track {
    nbi_place place; /* at the first step */
    int64_t move;    /* bytes, from one step to the next */
    bool swings;     /* back and forth */
} track;

/* One that does move, as a chunk of lanes goes along. */
typedef struct mover {
    nbi_place *place;
    int64_t move;
    bool swings;
} mover;

/* How an output that is not stored where it belongs gets there. */
typedef struct detour {
    void *whole;  /* computed here, then moved */
    char *part;   /* what a step gives: [lanes, count] */
    double *pile; /* sums over time: [lanes, count] */
    double *line; /* sums over lanes: [chunks, steps, count] */
} detour;

typedef struct loop {
    const nb_call *c;
    const nbi_scan *s;
    nb_tape *t;
    const nbi_code *code;
    nbi_execute_fn *execute;
    size_t n, size;    /* arguments; bytes of an element */
    bool renew;        /* uniform values change from step to step */
    bool parts, fixed; /* there are parts; sums of what does not vary */
    track *track;
    detour *detour;
    uint8_t *flag;
    uint8_t *left;
    int64_t chunk, chunks;
    double *sums;  /* [chunks, accumulators, SUM] */
    double *level; /* [chunks, output elements]: sums of what does not vary */
    int64_t *off;  /* [chunks]: the step in which a lane left; -1: none */
    char *space;   /* of the workers */
    size_t stride;
} loop;

static size_t padded(size_t bytes) { return (bytes + NBI_ALIGN - 1) & ~(size_t)(NBI_ALIGN - 1); }

static bool summed(const loop *w, size_t k)
{
    return w->s->role[k] == (NBI_SCAN_FIXED | NBI_SCAN_UNIFORM);
}

/* ---- tracks ---------------------------------------------------------------------------------- */

/* The states' array: that of all times, or a pair. The initial one is copied in. */
static bool plan_state(loop *w, size_t in, size_t out, const void *initial, const nbi_scan_out *to)
{
    const nbi_scan *s = w->s;
    const int64_t bytes = nbi_scan_width(s, in) * (int64_t)w->size;
    const int64_t way = s->backward && !to->last ? -bytes : bytes;
    char *all = to->data;
    if (to->last &&
        !(all = w->detour[out - s->p->n_in].whole = nbi_scratch(w->t, 2 * (size_t)bytes)))
        return false;
    char *first = way < 0 ? all + s->steps * bytes : all;
    if (bytes)
        memcpy(first, initial, (size_t)bytes);
    w->track[in].place.data = first;
    w->track[out].place.data = s->steps ? first + way : first;
    w->track[in].move = way;
    w->track[out].move = to->last ? -way : way;
    w->track[in].swings = w->track[out].swings = to->last;
    return true;
}

static void plan_each(loop *w, size_t k, const void *data)
{
    const int64_t bytes = nbi_scan_width(w->s, k) * (int64_t)w->size;
    const bool back = w->s->backward && w->s->steps;
    w->track[k].place.data = (char *)data + (back ? (w->s->steps - 1) * bytes : 0);
    w->track[k].move = w->s->backward ? -bytes : bytes;
}

static bool plan_output(loop *w, size_t k, const nbi_scan_out *to)
{
    const nbi_scan *s = w->s;
    const size_t place = k - s->p->n_in, count = s->p->out[place].count;
    const size_t lanes = (size_t)s->lanes * count, width = (size_t)nbi_scan_width(s, k);
    detour *d = &w->detour[place];
    if (summed(w, k))
        return true;
    if (s->role[k] == NBI_SCAN_EACH) {
        void *data = to->data;
        if (to->add || to->dtype != w->t->dtype)
            data = d->whole = nbi_scratch(w->t, (size_t)s->steps * width * w->size);
        plan_each(w, k, data);
        return data || !width || !s->steps;
    }
    const bool line = s->role[k] & NBI_SCAN_UNIFORM;
    const size_t sums = line ? (size_t)(w->chunks * s->steps) * count : lanes;
    double *sum = nbi_scratch(w->t, sums * sizeof *sum);
    d->part = nbi_scratch(w->t, lanes * w->size);
    if (!sum || !d->part)
        return false;
    memset(sum, 0, sums * sizeof *sum);
    *(line ? &d->line : &d->pile) = sum;
    w->track[k].place.data = d->part;
    return w->parts = true;
}

/* Where every argument begins, and how it moves. */
static bool plan(loop *w, const void *const *in, const nbi_scan_out *out)
{
    const nb_program *p = w->s->p;
    size_t next = p->n_in;
    for (size_t k = 0; k < w->n; k++) {
        const bool uniform = w->s->role[k] & NBI_SCAN_UNIFORM;
        const int64_t count = (int64_t)nbi_scan_argument(w->s, k)->count;
        const bool lanes = k < p->n_in ? !uniform : !summed(w, k);
        w->track[k] = (track){.place = {.lane = lanes ? count : 0, .element = 1}};
        if (k >= p->n_in)
            w->detour[k - p->n_in] = (detour){.whole = NULL};
    }
    for (size_t k = 0; k < w->n; k++) {
        const int role = nbi_scan_role(w->s, k);
        if (k >= p->n_in) {
            if (role != NBI_SCAN_STATE && !plan_output(w, k, &out[k - p->n_in]))
                return false;
        } else if (role == NBI_SCAN_STATE) {
            while (nbi_scan_role(w->s, next) != NBI_SCAN_STATE)
                next++;
            if (!plan_state(w, k, next, in[k], &out[next - p->n_in]))
                return false;
            next++;
        } else if (role == NBI_SCAN_EACH) {
            plan_each(w, k, in[k]);
            w->renew = w->renew || w->s->role[k] & NBI_SCAN_UNIFORM;
        } else {
            w->track[k].place.data = (char *)in[k]; /* read only, as it is an input */
        }
    }
    return true;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* What a step gave in f's lanes goes to the sums that the code does not take. */
static void gather(const loop *w, const nbi_frame *f, int64_t chunk, int64_t t)
{
    for (size_t k = 0; k < w->s->p->n_out; k++) {
        const detour *d = &w->detour[k];
        const int64_t count = (int64_t)w->s->p->out[k].count;
        const int64_t from = f->lane * count, to = (f->lane + f->count) * count;
        if (d->pile)
            for (int64_t i = from; i < to; i++)
                d->pile[i] += nbi_element_at(w->t->dtype, d->part, i);
        double *line = d->line ? d->line + (chunk * w->s->steps + t) * count : NULL;
        for (int64_t i = from; line && i < to; i += count)
            for (int64_t e = 0; e < count; e++)
                line[e] += nbi_element_at(w->t->dtype, d->part, i + e);
    }
}

/* The same of what does not vary from lane to lane. */
static void gather_level(const loop *w, const nbi_frame *f, int64_t chunk)
{
    const uint32_t *sum = w->code->sum;
    double *level = w->level + (size_t)chunk * w->s->p->out_elements;
    for (size_t e = 0; e < w->s->p->out_elements; e++)
        if (sum[e] != NBI_NOWHERE && sum[e] & NBI_EXPORTED)
            level[e] += (double)f->count *
                        nbi_element_at(w->t->dtype, f->work + (sum[e] & ~NBI_EXPORTED), 0);
}

/* All places at the first step; how many of them move. */
static size_t set_out(const loop *w, nbi_place *place, mover *m)
{
    size_t moving = 0;
    for (size_t k = 0; k < w->n; k++) {
        const track *a = &w->track[k];
        place[k] = a->place;
        if (a->move)
            m[moving++] = (mover){&place[k], a->move, a->swings};
    }
    return moving;
}

/* One step of the lanes [f->lane, end). */
static void step(const loop *w, nbi_frame *f, int64_t end, int64_t chunk, int64_t t)
{
    for (; f->lane < end; f->lane += w->code->lanes) {
        f->count = end - f->lane < w->code->lanes ? end - f->lane : w->code->lanes;
        w->execute(f, w->code->each.at, w->code->block);
        if (w->parts)
            gather(w, f, chunk, t);
        if (w->fixed)
            gather_level(w, f, chunk);
    }
}

/* All steps of a chunk, or those up to one in which a lane leaves. */
static void run_chunk(const loop *w, nbi_frame *f, nbi_place *place, mover *m, int64_t chunk)
{
    const int64_t steps = w->s->steps, first = chunk * w->chunk;
    const int64_t end = first + w->chunk < f->lanes ? first + w->chunk : f->lanes;
    const size_t moving = set_out(w, place, m);
    f->sums = (char *)(w->sums + (size_t)chunk * w->code->accumulators * SUM);
    f->some_left = false;
    for (int64_t i = 0; i < steps && !f->some_left; i++) {
        const int64_t t = w->s->backward ? steps - 1 - i : i;
        if (i == 0 || w->renew)
            nbi_compute_uniforms(f, w->execute);
        f->lane = first;
        step(w, f, end, chunk, t);
        if (f->some_left)
            w->off[chunk] = t;
        for (size_t j = 0; j < moving && i + 1 < steps; j++) {
            m[j].place->data += m[j].move;
            m[j].move = m[j].swings ? -m[j].move : m[j].move;
        }
    }
}

static void run_chunks(void *context, int64_t from, int64_t to, int worker)
{
    const loop *w = context;
    char *own = w->space + (size_t)worker * w->stride;
    nbi_place *place = (nbi_place *)(void *)own;
    mover *m = (mover *)(void *)(own + padded(w->n * sizeof *place));
    nbi_frame f = nbi_frame_for(w->s->p, w->code, (char *)m + padded(w->n * sizeof *m));
    f.in = place;
    f.out = place + w->s->p->n_in;
    f.lanes = w->s->lanes;
    f.left = w->left;
    for (int64_t chunk = from; chunk < to; chunk++)
        run_chunk(w, &f, place, m, chunk);
}

/* ---- what is summed, and moved --------------------------------------------------------------- */

static double total(const loop *w, size_t element)
{
    const uint32_t at = w->code->sum[element];
    double t[SUM] = {0}, level = 0;
    for (int64_t u = 0; u < w->chunks; u++) {
        const double *s = w->sums + ((size_t)u * w->code->accumulators + at) * SUM;
        if (at & NBI_EXPORTED)
            level += w->level[(size_t)u * w->s->p->out_elements + element];
        for (size_t j = 0; j < SUM && !(at & NBI_EXPORTED); j++)
            t[j] += s[j];
    }
    return at & NBI_EXPORTED ? level : nbi_sum_lanes(t);
}

static double over_chunks(const loop *w, const double *line, int64_t i, int64_t size)
{
    double sum = 0;
    for (int64_t u = 0; u < w->chunks; u++)
        sum += line[u * size + i];
    return sum;
}

static void finish(const loop *w, size_t k, const nbi_scan_out *to)
{
    const nbi_scan *s = w->s;
    const size_t argument = s->p->n_in + k;
    const detour *d = &w->detour[k];
    const bool each = nbi_scan_role(s, argument) == NBI_SCAN_EACH;
    const int64_t size = nbi_scan_width(s, argument) * (each ? s->steps : 1);
    const char *last = d->whole;
    if (to->last && s->steps % 2)
        last += size * (int64_t)w->size;
    const nb_array from = {(void *)last, &size, size, 1, w->t->dtype};
    const nb_array place = {to->data, &size, size, 1, to->dtype};
    if (!to->data)
        return;
    if (last && to->dtype == w->t->dtype)
        nbi_reduce_into(&w->t->crew, &from, &place, to->add);
    else if (last || d->pile || d->line || summed(w, argument))
        for (int64_t i = 0; i < size; i++) {
            const double sum = last      ? nbi_element_at(w->t->dtype, last, i)
                               : d->pile ? d->pile[i]
                               : d->line ? over_chunks(w, d->line, i, size)
                                         : total(w, s->p->out[k].first + (size_t)i);
            nbi_set_element(to->dtype, to->data, i,
                            to->add ? nbi_element_at(to->dtype, to->data, i) + sum : sum);
        }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool choose_code(loop *w)
{
    const nbi_scan *s = w->s;
    const size_t n = s->p->n_in;
    for (size_t k = 0; k < w->n; k++)
        w->flag[k] = k < n ? (s->role[k] & NBI_SCAN_UNIFORM) != 0 : summed(w, k);
    w->code = nbi_code_for(s->p, &(nbi_pattern){.dtype = w->t->dtype,
                                                .lanes = s->lanes,
                                                .shared = w->flag,
                                                .summed = w->flag + n});
    if (!w->code)
        return false;
    const int64_t block = w->code->lanes, blocks = s->lanes / block + (s->lanes % block != 0);
    const int64_t each = blocks / CHUNKS_MOST + (blocks % CHUNKS_MOST != 0);
    w->chunk = (each > CHUNK_BLOCKS ? each : CHUNK_BLOCKS) * block;
    w->chunks = s->lanes / w->chunk + (s->lanes % w->chunk != 0);
    for (size_t e = 0; e < s->p->out_elements; e++)
        w->fixed = w->fixed || (w->code->sum[e] != NBI_NOWHERE && w->code->sum[e] & NBI_EXPORTED);
    return true;
}

static bool open_loop(loop *w)
{
    nb_tape *t = w->t;
    const nb_program *p = w->s->p;
    w->track = nbi_scratch(t, w->n * sizeof *w->track);
    w->detour = nbi_scratch(t, p->n_out * sizeof *w->detour);
    w->flag = nbi_scratch(t, w->n);
    if (!w->track || !w->detour || !w->flag || !choose_code(w))
        return false;
    const size_t chunks = (size_t)w->chunks, workers = (size_t)nbi_workers(t);
    const size_t sums = chunks * w->code->accumulators * SUM * sizeof *w->sums;
    const size_t level = chunks * p->out_elements * sizeof *w->level;
    const size_t head = padded(w->n * sizeof(nbi_place)) + padded(w->n * sizeof(mover));
    w->stride = head + padded(w->code->workspace) + NBI_UNIFORM;
    w->sums = nbi_scratch(t, sums);
    w->level = nbi_scratch(t, level);
    w->off = nbi_scratch(t, chunks * sizeof *w->off);
    w->space = nbi_scratch(t, workers * w->stride);
    if (p->n_guards)
        w->left = nbi_scratch(t, (size_t)w->s->lanes);
    if (!w->sums || !w->level || !w->off || !w->space || (p->n_guards && !w->left))
        return false;
    memset(w->sums, 0, sums);
    memset(w->level, 0, level);
    memset(w->off, 0xff, chunks * sizeof *w->off);
    if (w->left)
        memset(w->left, 0, (size_t)w->s->lanes);
    for (size_t k = 0; k < workers; k++)
        nbi_fill_constants(w->code, w->space + k * w->stride + head);
    return true;
}

static nb_code refuse_left(const loop *w)
{
    int64_t u = 0, lane = 0;
    while (u < w->chunks && w->off[u] < 0)
        u++;
    if (u == w->chunks)
        return NB_OK;
    while (!w->left[lane])
        lane++;
    return nb_refuse(w->c, NB_ERR_GUARD, "a lane takes another branch than the one recorded",
                     "step %lld, lane %lld of %lld", (long long)w->off[u], (long long)lane,
                     (long long)w->s->lanes);
}

nb_code nbi_scan_run(const nb_call *c, const nbi_scan *s, const void *const *in,
                     const nbi_scan_out *out)
{
    nb_tape *t = c->tape;
    loop w = {.c = c, .s = s, .t = t, .n = s->p->n_in + s->p->n_out, .size = nbi_element(t->dtype)};
    w.execute = nbi_execute_choose(s->p->isa);
    if (!open_loop(&w) || !plan(&w, in, out))
        return nbi_no_memory(t, c->op->name);
    const double chunk = 0.1 * (double)(w.code->each.count + w.code->terms.count) *
                         (double)(w.chunk < s->lanes ? w.chunk : s->lanes) * (double)s->steps;
    nbi_crew_share(&t->crew, w.chunks, chunk < WORTH_NS ? 1 + (int64_t)(WORTH_NS / (chunk + 1)) : 1,
                   run_chunks, &w);
    const nb_code code = refuse_left(&w);
    for (size_t k = 0; k < s->p->n_out && code == NB_OK; k++)
        finish(&w, k, &out[k]);
    return code;
}
