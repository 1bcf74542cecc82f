/*
 * The tape's kernels, their outputs shared among its crew.
 *
 * A kernel's outputs are cut into parts, each computed whole by one thread; a sum is never cut. So the
 * result is bitwise the same for any number of threads, provided that what a part computes for an
 * output does not depend on where the cuts lie (base/pool.h).
 *
 * The matrix product keeps that promise for any cut over its rows or columns that leaves no part
 * thinner than NBI_MATMUL_THIN, so the cuts lie at whole blocks, which also fill its tiles. Along
 * which of the two is a matter of speed. Where the kernel turns B around or packs it, it does so for
 * the columns it is given, and with the rows cut each part would do it all again; where B is read in
 * place, a cut over rows costs nothing.
 */
#include "tape/tape.h"

enum {
    ROWS = 8,     /* whole tiles of every kernel */
    COLUMNS = 48, /* whole panels of every kernel */
    MANY_ROWS = 1024,
    GRAIN = 1 << 20 /* multiplications worth handing out: 10 to 20 us of the fastest kernel */
};

int nbi_workers(const nb_tape *t) { return nbi_crew_size(&t->crew); }

void nbi_share(nb_tape *t, int64_t n, int64_t grain, nbi_piece *work, void *context)
{
    nbi_crew_share(&t->crew, n, grain, work, context);
}

/* A product of which each thread is to compute some blocks of rows or of columns. */
typedef struct job {
    const nbi_matmul *whole;
    nbi_matmul_fn run;
    bool columns;
    int64_t blocks, grain;
    size_t element, bytes; /* of a number; of a thread's scratch */
    char *scratch;
} job;

static const void *offset(const void *p, int64_t elements, size_t element)
{
    return (const char *)p + elements * (int64_t)element;
}

static void run_blocks(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    nbi_matmul p = *j->whole;
    const int64_t size = j->columns ? COLUMNS : ROWS, first = from * size;
    const int64_t end = to < j->blocks ? to * size : j->columns ? p.n : p.m;
    int64_t c = first;
    if (j->columns) {
        p.n = end - first;
        p.b = offset(p.b, p.tb ? first * p.ldb : first, j->element);
        p.bias = p.bias ? offset(p.bias, first, j->element) : NULL;
    } else {
        p.m = end - first;
        p.a = offset(p.a, p.ta ? first : first * p.lda, j->element);
        c = first * p.ldc;
    }
    p.c = (char *)p.c + c * (int64_t)j->element;
    p.scratch = j->bytes ? j->scratch + (size_t)worker * j->bytes : NULL;
    j->run(&p);
}

static int64_t saturated(int64_t a, int64_t b)
{
    int64_t p;
    return __builtin_mul_overflow(a, b, &p) ? INT64_MAX : p;
}

/* Chooses where to cut; false if the product is not worth it. */
static bool divide(const nb_tape *t, job *j)
{
    const nbi_matmul *p = j->whole;
    const int64_t rows = p->m / ROWS, columns = p->n / COLUMNS, enough = 2 * nbi_workers(t);
    const bool prefer_columns = p->tb || p->m >= MANY_ROWS;
    if (prefer_columns ? columns >= enough : rows >= enough)
        j->columns = prefer_columns;
    else
        j->columns = columns > rows;
    j->blocks = j->columns ? columns : rows;
    const int64_t block = saturated(j->columns ? COLUMNS * p->m : ROWS * p->n, p->k);
    j->grain = block && block < GRAIN ? (GRAIN + block - 1) / block : 1;
    return block && nbi_crew_shares(&t->crew, j->blocks, j->grain);
}

/* False if the product is too small, or there is no scratch for all: there may be enough for one. */
static bool shared_matmul(nb_tape *t, nb_dtype d, const nbi_matmul *p)
{
    job j = {.whole = p, .run = t->matmul[d == NB_F64 ? 0 : 1], .element = nbi_element(d)};
    if (!divide(t, &j))
        return false;
    nbi_spot spot = t->scratch.at;
    j.bytes = nbi_matmul_scratch(t->isa, d == NB_F64, p->m, p->n, p->k);
    const size_t all = (size_t)nbi_workers(t) * j.bytes;
    j.scratch = all ? nbi_scratch(t, all) : NULL;
    if (all && !j.scratch)
        return false;
    nbi_share(t, j.blocks, j.grain, run_blocks, &j);
    nbi_give_back(&t->scratch, spot);
    return true;
}

bool nbi_tape_matmul(nb_tape *t, nb_dtype d, nbi_matmul *p)
{
    const bool tiny = p->m < 128 && p->n < 128 && p->k < 128 && p->k * (p->m + p->n) < 256;
    if (!tiny && t->crew.pool && shared_matmul(t, d, p))
        return true;
    nbi_spot spot = t->scratch.at;
    size_t bytes = tiny ? 0 : nbi_matmul_scratch(t->isa, d == NB_F64, p->m, p->n, p->k);
    p->scratch = bytes ? nbi_scratch(t, bytes) : NULL;
    if (bytes && !p->scratch) {
        nbi_no_memory(t, "matmul");
        return false;
    }
    t->matmul[d == NB_F64 ? 0 : 1](p);
    nbi_give_back(&t->scratch, spot);
    return true;
}

/* ---- batches --------------------------------------------------------------------------------- */

typedef struct batch_job {
    const nbi_matmul *first;
    const nbi_batch *batch;
    nbi_matmul_fn run;
    size_t element, bytes;
    char *scratch;
} batch_job;

static void move_operands(nbi_matmul *p, const nbi_batch *b, int axis, int64_t by)
{
    p->a = (const char *)p->a + by * b->step[0][axis];
    p->b = (const char *)p->b + by * b->step[1][axis];
    p->c = (char *)p->c + by * b->step[2][axis];
}

/* Moves p to entry i; at receives its place along each axis. */
static void seek_entry(nbi_matmul *p, const nbi_batch *b, size_t element, int64_t i, int64_t *at)
{
    for (int d = b->rank - 1; d >= 0; d--) {
        at[d] = i % b->dims[d];
        i /= b->dims[d];
        move_operands(p, b, d, at[d] * (int64_t)element);
    }
}

static void next_entry(nbi_matmul *p, const nbi_batch *b, size_t element, int64_t *at)
{
    for (int d = b->rank - 1; d >= 0; d--) {
        const bool wraps = ++at[d] == b->dims[d];
        move_operands(p, b, d, (int64_t)element * (wraps ? 1 - b->dims[d] : 1));
        if (!wraps)
            return;
        at[d] = 0;
    }
}

static void run_entries(void *context, int64_t from, int64_t to, int worker)
{
    const batch_job *j = context;
    nbi_matmul p = *j->first;
    int64_t at[NB_MAX_RANK];
    seek_entry(&p, j->batch, j->element, from, at);
    p.scratch = j->bytes ? j->scratch + (size_t)worker * j->bytes : NULL;
    for (int64_t i = from; i < to; i++, next_entry(&p, j->batch, j->element, at))
        j->run(&p);
}

/* Whether entries rather than parts of each are to be shared: they write to places of their own, and
 * are many, or too small to share. */
static bool share_entries(const nb_tape *t, const nbi_matmul *p, const nbi_batch *b, int64_t n,
                          int64_t *grain)
{
    const int64_t size = saturated(saturated(p->m, p->n), p->k);
    *grain = size && size < GRAIN ? (GRAIN + size - 1) / size : 1;
    for (int d = 0; d < b->rank; d++)
        if (b->step[2][d] == 0 && b->dims[d] > 1)
            return false;
    return size && (n >= nbi_workers(t) || size < 2 * GRAIN) &&
           nbi_crew_shares(&t->crew, n, *grain);
}

static bool shared_batch(nb_tape *t, nb_dtype d, const nbi_matmul *p, const nbi_batch *b, int64_t n)
{
    int64_t grain;
    batch_job j = {.first = p, .batch = b, .element = nbi_element(d)};
    if (!share_entries(t, p, b, n, &grain))
        return false;
    nbi_spot spot = t->scratch.at;
    j.run = t->matmul[d == NB_F64 ? 0 : 1];
    j.bytes = nbi_matmul_scratch(t->isa, d == NB_F64, p->m, p->n, p->k);
    const size_t all = (size_t)nbi_workers(t) * j.bytes;
    j.scratch = all ? nbi_scratch(t, all) : NULL;
    if (all && !j.scratch)
        return false;
    nbi_share(t, n, grain, run_entries, &j);
    nbi_give_back(&t->scratch, spot);
    return true;
}

bool nbi_tape_matmul_batch(nb_tape *t, nb_dtype d, const nbi_matmul *first, const nbi_batch *batch)
{
    int64_t n = 1, at[NB_MAX_RANK] = {0};
    nbi_matmul p = *first;
    for (int i = 0; i < batch->rank; i++)
        n = saturated(n, batch->dims[i]);
    if (p.m == 0 || p.n == 0) /* however many */
        return true;
    if (t->crew.pool && shared_batch(t, d, first, batch, n))
        return true;
    for (; n > 0; n--, next_entry(&p, batch, nbi_element(d), at))
        if (!nbi_tape_matmul(t, d, &p))
            return false;
    return true;
}
