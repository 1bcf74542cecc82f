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

bool nbi_tape_matmul(nb_tape *t, nb_dtype d, nbi_matmul *p)
{
    const bool tiny = p->m < 128 && p->n < 128 && p->k < 128 && p->k * (p->m + p->n) < 256;
    job j = {.whole = p, .run = t->matmul[d == NB_F64 ? 0 : 1], .element = nbi_element(d)};
    nbi_spot spot = t->scratch.at;
    j.bytes = tiny ? 0 : nbi_matmul_scratch(t->isa, d == NB_F64, p->m, p->n, p->k);
    if (!tiny && t->crew.pool && divide(t, &j)) {
        const size_t all = (size_t)nbi_workers(t) * j.bytes;
        j.scratch = all ? nbi_scratch(t, all) : NULL;
        if (j.scratch || !all) { /* else: there may be enough for one */
            nbi_share(t, j.blocks, j.grain, run_blocks, &j);
            nbi_give_back(&t->scratch, spot);
            return true;
        }
    }
    p->scratch = j.bytes ? nbi_scratch(t, j.bytes) : NULL;
    if (j.bytes && !p->scratch) {
        nbi_no_memory(t, "matmul");
        return false;
    }
    j.run(p);
    nbi_give_back(&t->scratch, spot);
    return true;
}
