/*
 * Replaying a program.
 *
 * The lanes of a row are cut into chunks, a number of blocks each that depends on nothing but how many
 * lanes there are; threads take (row, chunk) pairs in turn. A chunk has accumulators of its own for the
 * sums, eight numbers wide, and when all is done each result is formed from its chunks in their order:
 * so no sum depends on who computed what.
 *
 * A thread computes the uniform values anew when it comes to another row; for the rest its workspace is as
 * the code left it. All memory is taken before the threads begin.
 */
#include "program/run.h"

#include "program/places.h"
#include <math.h>

enum { CHUNK_BLOCKS = 16, CHUNKS_MOST = 64, WORTH_NS = 20000, SUM = NBI_UNIFORM / sizeof(double) };

typedef struct replay {
    const nb_program *p;
    const nb_replay *r;
    const nbi_code *code;
    nbi_execute_fn *execute;
    nbi_place *in, *out;         /* of row 0 */
    uint8_t *home;               /* per argument (code.h) */
    int64_t rows, chunks, chunk; /* chunks of a row; lanes of a chunk */
    int64_t lead;                /* lanes of a block before the first chunk's others */
    double *sums;                /* [rows, chunks, accumulators, SUM] */
    double *fixed; /* [rows, output elements]: sums of what does not vary; NULL if there are none */
    char *space;   /* of the workers */
    size_t stride; /* from one worker's to the next */
    bool *left;    /* per worker */
    nbi_arena *scratch; /* where memory is from; NULL: the program's allocator */
} replay;

/* What a worker has: its places as the row sees them, and its workspace. */
typedef struct station {
    int64_t row; /* whose uniforms are computed; -1 at first */
    nbi_place *in, *out;
    char *work;
} station;

static size_t padded(size_t bytes) { return (bytes + NBI_ALIGN - 1) & ~(size_t)(NBI_ALIGN - 1); }

static size_t arguments(const replay *w) { return w->p->n_in + w->p->n_out; }

static station *station_of(const replay *w, int worker)
{
    return (station *)(void *)(w->space + (size_t)worker * w->stride);
}

void nbi_fill_constants(const nbi_code *c, char *work)
{
    const nbi_constant *k = c->constants.at;
    for (size_t i = 0; i < c->constants.count; i++)
        for (uint32_t j = 0; j < k[i].count; j++)
            if (c->dtype == NB_F64)
                ((double *)(void *)(work + k[i].to))[j] = k[i].value;
            else
                ((float *)(void *)(work + k[i].to))[j] = (float)k[i].value;
}

static void open_station(const replay *w, int worker)
{
    station *s = station_of(w, worker);
    const size_t places = padded(arguments(w) * sizeof(nbi_place));
    s->row = -1;
    s->in = (nbi_place *)(void *)((char *)s + padded(sizeof *s));
    s->out = s->in + w->p->n_in;
    s->work = (char *)s->in + places;
    nbi_fill_constants(w->code, s->work);
}

nbi_frame nbi_frame_for(const nb_program *p, const nbi_code *c, char *work)
{
    return (nbi_frame){.code = c,
                       .kernels = nbi_row_kernels_choose(p->isa),
                       .vmath = nbi_vmath_choose(p->isa, c->dtype == NB_F64),
                       .strict = p->strict,
                       .work = work};
}

void nbi_compute_uniforms(nbi_frame *f, nbi_execute_fn *execute)
{
    const nbi_code *c = f->code;
    const size_t size = c->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    const nbi_export *e = c->exports.at;
    f->once = true;
    execute(f, c->once.at, NBI_UNIFORM);
    f->once = false;
    for (size_t k = 0; k < c->exports.count; k++)
        memcpy(f->work + e[k].to, f->work + e[k].from, size);
}

/* Computes the uniforms of a row. */
static void enter_row(const replay *w, station *s, nbi_frame *f, int64_t row)
{
    const nbi_code *c = w->code;
    const size_t size = c->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    for (size_t k = 0; k < arguments(w); k++) {
        s->in[k] = w->in[k]; /* inputs, then outputs */
        if (s->in[k].data)
            s->in[k].data += row * s->in[k].row * (int64_t)size;
    }
    s->row = row;
    nbi_compute_uniforms(f, w->execute);
    for (size_t k = 0; w->fixed && k < w->p->out_elements; k++)
        if (c->sum[k] != NBI_NOWHERE && c->sum[k] & NBI_EXPORTED)
            w->fixed[(size_t)row * w->p->out_elements + k] =
                nbi_element_at(c->dtype, s->work + (c->sum[k] & ~NBI_EXPORTED), 0);
}

/* Where the homes of a block are: in the arrays, or, if it is not full, in slots that stand in for them. */
static void find_homes(nbi_frame *f, const replay *w, const station *s)
{
    const nbi_code *c = f->code;
    const int64_t size = c->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    const bool full = f->count == c->lanes;
    f->home[0] = f->work;
    for (size_t k = 0; k < arguments(w); k++)
        f->home[c->home[k]] = !c->home[k] ? f->work
                              : full      ? s->in[k].data + f->lane * size
                                          : f->work + c->stead + (c->home[k] - 1) * NBI_LONG;
}

/* Units [from, to), each a chunk of a row. */
static void run_units(void *context, int64_t from, int64_t to, int worker)
{
    const replay *w = context;
    const nbi_code *c = w->code;
    station *s = station_of(w, worker);
    nbi_frame f = nbi_frame_for(w->p, c, s->work);
    f.lanes = w->r->lanes;
    f.in = s->in;
    f.out = s->out;
    for (int64_t u = from; u < to; u++) {
        const int64_t row = u / w->chunks, n = u % w->chunks, lanes = w->r->lanes;
        const int64_t last = (n + 1) * w->chunk + w->lead, end = last < lanes ? last : lanes;
        if (s->row != row)
            enter_row(w, s, &f, row);
        f.sums = (char *)(w->sums + (size_t)u * c->accumulators * SUM);
        f.left = w->r->left ? w->r->left + row * w->r->lanes : NULL;
        for (f.lane = n ? last - w->chunk : 0; f.lane < end; f.lane += f.count) {
            f.count = end - f.lane < c->lanes ? end - f.lane : c->lanes;
            f.count = f.lane == 0 && w->lead ? w->lead : f.count;
            if (c->block == NBI_LONG)
                find_homes(&f, w, s);
            w->execute(&f, c->each.at, c->block);
        }
    }
    w->left[worker] = w->left[worker] || f.some_left;
}

/* ---- sums ------------------------------------------------------------------------------------ */

double nbi_sum_lanes(const double *t)
{
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

static double total(const replay *w, int64_t row, size_t element)
{
    const uint32_t at = w->code->sum[element];
    double t[SUM] = {0};
    if (at & NBI_EXPORTED)
        return (double)w->r->lanes * w->fixed[(size_t)row * w->p->out_elements + element];
    for (int64_t k = 0; k < w->chunks; k++) {
        const double *s =
            w->sums + ((size_t)(row * w->chunks + k) * w->code->accumulators + at) * SUM;
        for (size_t j = 0; j < SUM; j++)
            t[j] += s[j];
    }
    return nbi_sum_lanes(t);
}

static void write_sum(const replay *w, const nbi_place *p, size_t e, int64_t row, double v)
{
    nbi_set_element(w->r->dtype, p->data, row * p->row + (int64_t)e * p->element, v);
}

static void write_sums(const replay *w, const uint8_t *summed)
{
    for (size_t k = 0; k < w->p->n_out; k++) {
        const nbi_argument *a = &w->p->out[k];
        const nbi_place *p = &w->out[k];
        for (size_t e = 0; summed[k] && p->data && e < a->count; e++) {
            double all = 0;
            for (int64_t row = 0; row < w->rows; row++) {
                const double v = w->r->lanes ? total(w, row, a->first + e) : 0;
                all += v;
                if (p->row)
                    write_sum(w, p, e, row, v);
            }
            if (!p->row)
                write_sum(w, p, e, 0, all);
        }
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Lanes up to the first that stands at the start of a cache line, if there are homes; as many for all, if the
 * arrays lie alike. */
static int64_t lead(const replay *w)
{
    const uintptr_t size = w->code->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    for (size_t k = 0; w->code->block == NBI_LONG && k < arguments(w); k++)
        if (w->home[k])
            return (int64_t)((0 - (uintptr_t)w->in[k].data) % NBI_ALIGN / size);
    return 0;
}

/* So many lanes to a chunk, by nothing but the number of lanes and of those in a block. */
static void cut(replay *w)
{
    const int64_t block = w->code->lanes, n = w->r->lanes;
    const int64_t blocks = n / block + (n % block != 0);
    int64_t each = blocks / CHUNKS_MOST + (blocks % CHUNKS_MOST != 0);
    each = each < CHUNK_BLOCKS ? CHUNK_BLOCKS : each;
    w->chunk = each * block;
    w->lead = lead(w);
    w->chunks = blocks / each + (blocks % each != 0);
}

/* Chunks worth a thread's while, at a guess of what a lane costs. */
static int64_t grain(const replay *w)
{
    const double lane = 0.1 * (double)(w->code->each.count + w->code->terms.count);
    const double chunk = lane * (double)(w->chunk < w->r->lanes ? w->chunk : w->r->lanes);
    return chunk >= WORTH_NS ? 1 : 1 + (int64_t)(WORTH_NS / (chunk + 1));
}

/* Whether an output that is the same in all lanes is summed over them. */
static bool any_fixed(const replay *w)
{
    bool any = false;
    for (size_t k = 0; k < w->p->out_elements; k++)
        any = any || (w->code->sum[k] != NBI_NOWHERE && w->code->sum[k] & NBI_EXPORTED);
    return any;
}

static bool size_of(const replay *w, int workers, size_t *sums, size_t *fixed, size_t *space)
{
    size_t units;
    const size_t most = SIZE_MAX / 8, elements = any_fixed(w) ? w->p->out_elements : 0;
    const size_t one = w->code->accumulators * SUM * sizeof(double);
    return !__builtin_mul_overflow((size_t)w->rows, (size_t)w->chunks, &units) &&
           !__builtin_mul_overflow(units, one, sums) && (size_t)w->rows < most &&
           !__builtin_mul_overflow((size_t)w->rows * sizeof(double), elements, fixed) &&
           !__builtin_mul_overflow((size_t)workers, w->stride, space) && *sums < most &&
           *fixed < most && *space < most;
}

static void *take(const replay *w, size_t bytes)
{
    nbi_heap h;
    nbi_heap_init(&h, &w->p->heap.allocator, 0);
    return w->scratch ? nbi_take(w->scratch, bytes, NBI_ALIGN) : nbi_resize(&h, NULL, 0, bytes);
}

static void give(const replay *w, void *p, size_t bytes)
{
    nbi_heap h;
    nbi_heap_init(&h, &w->p->heap.allocator, 0);
    if (!w->scratch)
        nbi_resize(&h, p, bytes, 0);
}

/* All units, in memory taken for them. */
static nb_code run_all(replay *w, const nbi_crew *crew, const uint8_t *summed, nb_reason *why)
{
    const int workers = nbi_crew_size(crew);
    size_t sums, fixed, space;
    w->stride = padded(sizeof(station)) + padded(arguments(w) * sizeof(nbi_place)) +
                padded(w->code->workspace) + NBI_UNIFORM;
    if (!size_of(w, workers, &sums, &fixed, &space))
        return nbi_because(why, NB_ERR_OVERFLOW, "replay: sums for every row do not fit memory");
    const size_t bytes = padded(sums) + padded(fixed) + space + padded((size_t)workers);
    char *block = take(w, bytes + NBI_ALIGN);
    if (!block)
        return nbi_because(why, NB_ERR_MEMORY, "replay: out of memory for %zu bytes", bytes);
    char *at = (char *)(((uintptr_t)block + NBI_ALIGN - 1) & ~(uintptr_t)(NBI_ALIGN - 1));
    w->space = at;
    w->sums = (double *)(void *)(at + space);
    w->fixed = fixed ? (double *)(void *)(at + space + padded(sums)) : NULL;
    w->left = (bool *)(at + space + padded(sums) + padded(fixed));
    memset(at + space, 0, bytes - space);
    for (int k = 0; k < workers; k++)
        open_station(w, k);
    if (w->r->left)
        memset(w->r->left, 0, (size_t)(w->rows * w->r->lanes));
    nbi_crew_share(crew, w->rows * w->chunks, grain(w), run_units, w);
    write_sums(w, summed);
    bool left = false;
    for (int k = 0; k < workers; k++)
        left = left || w->left[k];
    give(w, block, bytes + NBI_ALIGN);
    return left ? nbi_because(why, NB_ERR_GUARD, "replay: some lanes left the branches recorded")
                : NB_OK;
}

/* Numbers the arrays that arguments live in. False if some argument cannot live where it is, or something is
 * summed, as the order of a sum would hang on where its terms are. */
static bool number_homes(const replay *w, const uint8_t *shared, const uint8_t *summed)
{
    const nb_program *p = w->p;
    uint8_t homes = 0;
    memset(w->home, 0, arguments(w));
    for (size_t k = 0; k < arguments(w); k++) {
        const nbi_place *a = &w->in[k]; /* inputs, then outputs */
        const bool in = k < p->n_in;
        if (in && shared[k])
            continue;
        for (size_t j = 0; j < k && j < p->n_in; j++)
            if (w->home[j] && w->in[j].data == a->data && w->in[j].row == a->row)
                w->home[k] = w->home[j];
        if (!w->home[k])
            w->home[k] = ++homes;
        if ((in ? &p->in[k] : &p->out[k - p->n_in])->count != 1 || a->lane != 1 || a->index ||
            (!in && summed[k - p->n_in]) || homes > NBI_HOMES)
            return false;
    }
    return homes > 0;
}

/* Looks at the arguments, and makes the code for them; w->in has room for places and homes. */
static nb_code prepare(replay *w, const uint8_t *shared, const uint8_t *summed, nb_reason *why)
{
    const nb_replay *r = w->r;
    w->out = w->in + w->p->n_in;
    w->home = (uint8_t *)(w->in + arguments(w));
    const nb_code code = nbi_places(w->p, r, shared, summed, w->in, w->out, why);
    if (code != NB_OK)
        return code;
    const bool homes = number_homes(w, shared, summed);
    w->code = nbi_code_for(w->p, &(nbi_pattern){.dtype = r->dtype,
                                                .lanes = r->lanes,
                                                .early = r->in_place,
                                                .shared = shared,
                                                .summed = summed,
                                                .home = homes ? w->home : NULL});
    return w->code
               ? NB_OK
               : nbi_because(why, NB_ERR_MEMORY, "replay: out of memory for the program's code");
}

static nb_code run_or_ready(replay *w, bool run, const uint8_t *shared, const uint8_t *summed,
                            const nbi_crew *crew, nb_reason *why)
{
    nbi_place few[20];
    const size_t bytes = arguments(w) * (sizeof(nbi_place) + 1);
    w->in = bytes > sizeof few ? take(w, bytes) : few;
    if (!w->in)
        return nbi_because(why, NB_ERR_MEMORY, "replay: out of memory");
    nb_code code = prepare(w, shared, summed, why);
    if (code == NB_OK && run) {
        cut(w);
        code = run_all(w, crew, summed, why);
    }
    if (w->in != few)
        give(w, w->in, bytes);
    return code;
}

nb_code nbi_program_run(const nb_program *p, const nb_replay *r, const uint8_t *shared,
                        const uint8_t *summed, const nbi_crew *crew, nbi_arena *scratch,
                        nb_reason *why)
{
    replay w = {.p = p, .r = r, .scratch = scratch, .rows = r->rows ? r->rows : 1};
    w.execute = nbi_execute_choose(p->isa);
    return run_or_ready(&w, true, shared, summed, crew, why);
}

nb_code nbi_program_ready(const nb_program *p, const nb_replay *r, const uint8_t *shared,
                          const uint8_t *summed, nb_reason *why)
{
    replay w = {.p = p, .r = r};
    return run_or_ready(&w, false, shared, summed, NULL, why);
}

nb_code nb_program_run(const nb_program *p, const nb_replay *r, nb_reason *why)
{
    uint8_t few[64], *flags = few;
    nbi_heap h;
    if (!p || !r)
        return nbi_because(why, NB_ERR_ARGUMENT, "replay: the program or what to replay is NULL");
    const size_t n = p->n_in + p->n_out;
    nbi_heap_init(&h, &p->heap.allocator, 0);
    if (n > sizeof few && !(flags = nbi_resize(&h, NULL, 0, n)))
        return nbi_because(why, NB_ERR_MEMORY, "replay: out of memory");
    nbi_flags_declared(p, flags);
    const nbi_crew crew = {.pool = r->pool};
    const nb_code code = nbi_program_run(p, r, flags, flags + p->n_in, &crew, NULL, why);
    if (flags != few)
        nbi_resize(&h, flags, n, 0);
    return code;
}

nbi_execute_fn *nbi_execute_choose(nbi_isa isa)
{
#if defined(__x86_64__)
    if (isa == NBI_ISA_AVX512)
        return nbi_execute_avx512;
    if (isa == NBI_ISA_AVX2)
        return nbi_execute_avx2;
#elif defined(__aarch64__)
    if (isa == NBI_ISA_NEON)
        return nbi_execute_neon;
#endif
    (void)isa;
    return nbi_execute_plain;
}
