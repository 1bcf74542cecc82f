/*
 * Normalising: the passes over an array, piece by piece. See norm.h.
 *
 * Elements of x stand at ((a channels) + c) inner + i. Where inner is 1 a piece runs along the
 * channels, so that gains move along with the elements; elsewhere it runs along the inner axis and
 * has one channel. A tile is what is summed at once: a line, a channel, or, for columns with inner
 * 1, up to NBI_PIECE neighbouring channels. A tile's pieces add to one set of NBI_PIECE totals;
 * where they belong to one cell the totals are added up in pairs at the end. Every BLOCK pieces the
 * totals are put by, so that the error grows with the length divided by BLOCK.
 */
#include "kernels/norm.h"

#include "kernels/reduce.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 128 };

static const double LEAST = 0x1p-900, MOST = 0x1p1000;

static const nbi_norm_kernel *kernel_of(const nbi_norm_pass *p)
{
#if defined(__x86_64__)
    if (p->isa == NBI_ISA_AVX512)
        return &nbi_norm_avx512[p->dtype];
    if (p->isa == NBI_ISA_AVX2)
        return &nbi_norm_avx2[p->dtype];
#endif
    return &nbi_norm_plain[p->dtype];
}

int64_t nbi_norm_cells(const nbi_norm *s) { return s->columns ? s->channels : s->outer; }

int64_t nbi_norm_size(const nbi_norm *s)
{
    return s->inner * (s->columns ? s->outer : s->channels);
}

static size_t element(const nbi_norm_pass *p)
{
    return p->dtype == NB_F64 ? sizeof(double) : sizeof(float);
}

static const void *at(const nbi_norm_pass *p, const void *array, int64_t i)
{
    return (const char *)array + (size_t)i * element(p);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* A tile of w channels from `channel` on, of lines or parts of lines [line, end), walked piece by
 * piece: at most NBI_PIECE elements at `at`, which are one channel's, or neighbouring channels'. */
typedef struct walk {
    const nbi_norm *s;
    int64_t line, end, step; /* lines to go through, and the distance to the next */
    int64_t channel, w;
    int64_t c, i; /* the next piece, within the tile */
    int64_t at;   /* of the piece: its first element, its channel, its line */
    int64_t piece_channel, piece_line;
    int n;
} walk;

static bool next(walk *k)
{
    const nbi_norm *s = k->s;
    if (k->c == k->w || s->inner == 0)
        k->c = 0, k->line += k->step;
    if (k->line >= k->end || k->w == 0 || s->inner == 0)
        return false;
    k->piece_line = k->line;
    k->piece_channel = k->channel + k->c;
    k->at = (k->line * s->channels + k->channel + k->c) * s->inner + k->i;
    const int64_t left = s->inner == 1 ? k->w - k->c : s->inner - k->i;
    k->n = (int)(left < NBI_PIECE ? left : NBI_PIECE);
    if (s->inner == 1)
        k->c += k->n;
    else if ((k->i += k->n) == s->inner)
        k->i = 0, k->c++;
    return true;
}

/* A line's elements, or those of w channels in every line of a group. */
static walk line_walk(const nbi_norm *s, int64_t line)
{
    return (walk){.s = s, .line = line, .end = line + 1, .step = 1, .w = s->channels};
}

static walk channel_walk(const nbi_norm *s, int64_t channel, int64_t w)
{
    const int64_t group = s->columns ? 0 : channel / s->channels;
    return (walk){.s = s,
                  .line = group,
                  .end = s->outer,
                  .step = s->columns ? 1 : s->groups,
                  .channel = channel - group * s->channels,
                  .w = w};
}

static walk cell_walk(const nbi_norm *s, int64_t cell, int64_t w)
{
    return s->columns ? channel_walk(s, cell, w) : line_walk(s, cell);
}

/* Whether all elements of a cell's tile belong to that one cell. */
static bool single(const nbi_norm *s) { return !s->columns || s->inner != 1; }

/* Cells to take at a time. */
static int64_t tile(const nbi_norm *s, int64_t left)
{
    return single(s) ? 1 : left < NBI_PIECE ? left : NBI_PIECE;
}

static void level(double *to, int n, double value)
{
    for (int i = 0; i < n; i++)
        to[i] = value;
}

/* Fills what the piece's elements meet of their cells. */
static void meet_cells(const walk *k, nbi_norm_place *c)
{
    const nbi_norm *s = k->s;
    const int64_t cell = s->columns ? k->piece_channel : k->piece_line;
    const size_t bytes = (size_t)k->n * sizeof(double);
    if (!single(s)) {
        memcpy(c->scale, s->scale + cell, bytes);
        memcpy(c->mean, s->mean + cell, bytes);
        memcpy(c->rate, s->rate + cell, bytes);
        return;
    }
    level(c->scale, k->n, s->scale[cell]);
    level(c->mean, k->n, s->mean[cell]);
    level(c->rate, k->n, s->rate[cell]);
}

/* to[i] = the element of a gain or bias that meets the piece's i-th, or `missing`. */
static void meet_channels(const nbi_norm_pass *p, const walk *k, const void *from, double missing,
                          double *to)
{
    const nbi_norm *s = k->s;
    const int64_t group = s->columns ? 0 : k->piece_line % s->groups;
    const int64_t first = group * s->channels + k->piece_channel;
    if (!from) {
        level(to, k->n, missing);
    } else if (s->inner == 1) {
        nbi_get(p->dtype, from, first, k->n, to);
    } else {
        double one;
        nbi_get(p->dtype, from, first, 1, &one);
        level(to, k->n, one);
    }
}

/* ---- sums ------------------------------------------------------------------------------------ */

typedef struct totals {
    double a[NBI_PIECE], b[NBI_PIECE]; /* of the pieces since the last full block */
    double all_a[NBI_PIECE], all_b[NBI_PIECE];
    int pieces;
} totals;

static void put_by(totals *t)
{
    for (int i = 0; i < NBI_PIECE; i++) {
        t->all_a[i] += t->a[i];
        t->all_b[i] += t->b[i];
        t->a[i] = t->b[i] = 0;
    }
    t->pieces = 0;
}

static void count(totals *t)
{
    if (++t->pieces == BLOCK)
        put_by(t);
}

static double in_pairs(double *v)
{
    for (int half = NBI_PIECE / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
}

/* The w results: one per place, or one in all. */
static void finish(totals *t, bool one, int64_t w, double *a, double *b)
{
    put_by(t);
    if (one) {
        a[0] = in_pairs(t->all_a);
        b[0] = in_pairs(t->all_b);
        return;
    }
    memcpy(a, t->all_a, (size_t)w * sizeof *a);
    memcpy(b, t->all_b, (size_t)w * sizeof *b);
}

/* a = sum of d, b = sum of d^2, d = x scale - mean, for w cells. */
static void sums(const nbi_norm_pass *p, int64_t cell, int64_t w, double *a, double *b)
{
    const nbi_norm_kernel *f = kernel_of(p);
    totals t = {.pieces = 0};
    nbi_norm_place c;
    for (walk k = cell_walk(p->s, cell, w); next(&k); count(&t)) {
        meet_cells(&k, &c);
        f->moments(k.n, at(p, p->x, k.at), &c, t.a, t.b);
    }
    finish(&t, single(p->s), w, a, b);
}

/* ---- the statistics -------------------------------------------------------------------------- */

/* The power of two that scales a number near 1. */
static double scale_for(double m)
{
    int e = 0;
    if (!(m > 0) || isinf(m))
        return 1;
    frexp(m, &e);
    return ldexp(1, e > 1000 ? -1000 : e < -1000 ? 1000 : -e);
}

static void greatest(const nbi_norm_pass *p, int64_t cell, int64_t w, double *top)
{
    double v[NBI_PIECE];
    for (walk k = cell_walk(p->s, cell, w); next(&k);) {
        nbi_get(p->dtype, p->x, k.at, k.n, v);
        for (int i = 0; i < k.n; i++) {
            double *to = &top[w > 1 ? i : 0];
            *to = fabs(v[i]) > *to || isnan(v[i]) ? fabs(v[i]) : *to;
        }
    }
}

/* The mean, and v + eps scale^2 in *total, at the scales that s has. */
static void measure(const nbi_norm_pass *p, int64_t cell, int64_t w, double *total)
{
    const nbi_norm *s = p->s;
    const double n = (double)nbi_norm_size(s);
    double off[NBI_PIECE];
    level(s->mean + cell, (int)w, 0);
    if (s->centred) {
        sums(p, cell, w, s->mean + cell, total);
        for (int64_t j = 0; j < w; j++)
            s->mean[cell + j] /= n;
    }
    sums(p, cell, w, off, total);
    for (int64_t j = 0; j < w; j++) {
        const double q = s->scale[cell + j], square = s->centred ? off[j] * off[j] / n : 0;
        const double v = (total[j] - square) / n;
        total[j] = (v < 0 ? 0 : v) + s->eps * q * q;
        if (s->variance)
            s->variance[cell + j] = v < 0 ? 0 : v;
    }
}

void nbi_norm_moments(const nbi_norm_pass *p, int64_t from, int64_t to)
{
    const nbi_norm *s = p->s;
    double total[NBI_PIECE], top[NBI_PIECE];
    for (int64_t cell = from, w; cell < to; cell += w) {
        bool fine = true;
        w = tile(s, to - cell);
        level(s->scale + cell, (int)w, 1);
        measure(p, cell, w, total);
        for (int64_t j = 0; j < w; j++)
            fine = fine && total[j] >= LEAST && total[j] <= MOST;
        if (!fine) {
            level(top, (int)w, sqrt(s->eps));
            greatest(p, cell, w, top);
            for (int64_t j = 0; j < w; j++)
                if (!(total[j] >= LEAST && total[j] <= MOST))
                    s->scale[cell + j] = scale_for(top[j]);
            measure(p, cell, w, total);
        }
        for (int64_t j = 0; j < w; j++)
            s->rate[cell + j] = total[j] == 0 ? 0 : 1 / sqrt(total[j]);
    }
}

/* ---- values and adjoints --------------------------------------------------------------------- */

void nbi_norm_forward(const nbi_norm_pass *p, int64_t from, int64_t to)
{
    const nbi_norm_kernel *f = kernel_of(p);
    nbi_norm_place c;
    for (int64_t cell = from, w; cell < to; cell += w) {
        w = tile(p->s, to - cell);
        for (walk k = cell_walk(p->s, cell, w); next(&k);) {
            meet_cells(&k, &c);
            meet_channels(p, &k, p->gain, 1, c.gain);
            meet_channels(p, &k, p->bias, 0, c.bias);
            f->apply(k.n, at(p, p->x, k.at), &c, (void *)at(p, p->y, k.at));
        }
    }
}

/* The means of h and of h xhat over w cells, one per place of a piece. */
static void shares(const nbi_norm_pass *p, int64_t cell, int64_t w, double *a, double *b)
{
    const nbi_norm *s = p->s;
    const nbi_norm_kernel *f = kernel_of(p);
    const double n = (double)nbi_norm_size(s);
    totals t = {.pieces = 0};
    nbi_norm_place c;
    for (walk k = cell_walk(s, cell, w); next(&k); count(&t)) {
        meet_cells(&k, &c);
        meet_channels(p, &k, p->gain, 1, c.gain);
        f->dots(k.n, at(p, p->x, k.at), at(p, p->g, k.at), &c, t.a, t.b);
    }
    finish(&t, single(s), w, a, b);
    for (int64_t j = 0; j < w; j++) {
        a[j] = s->centred ? a[j] / n : 0;
        b[j] /= n;
    }
    if (single(s)) {
        level(a + 1, NBI_PIECE - 1, a[0]);
        level(b + 1, NBI_PIECE - 1, b[0]);
    }
}

void nbi_norm_reverse(const nbi_norm_pass *p, int64_t from, int64_t to)
{
    const nbi_norm_kernel *f = kernel_of(p);
    nbi_norm_place c;
    double a[NBI_PIECE] = {0}, b[NBI_PIECE] = {0};
    for (int64_t cell = from, w; cell < to; cell += w) {
        w = tile(p->s, to - cell);
        if (!p->s->given)
            shares(p, cell, w, a, b);
        for (walk k = cell_walk(p->s, cell, w); next(&k);) {
            meet_cells(&k, &c);
            meet_channels(p, &k, p->gain, 1, c.gain);
            f->back(k.n, at(p, p->x, k.at), at(p, p->g, k.at), &c, a, b, (void *)at(p, p->y, k.at),
                    p->add);
        }
    }
}

static void give(const nbi_norm_pass *p, void *to, int64_t channel, int64_t w, double *sum,
                 bool add)
{
    double before[NBI_PIECE];
    if (!to)
        return;
    if (add) {
        nbi_get(p->dtype, to, channel, w, before);
        for (int64_t j = 0; j < w; j++)
            sum[j] += before[j];
    }
    nbi_put(p->dtype, to, channel, w, sum);
}

/* Channels that stand side by side in x: those of one group. */
static int64_t channel_tile(const nbi_norm *s, int64_t channel, int64_t to)
{
    const int64_t left = s->channels - channel % s->channels;
    const int64_t w = left < to - channel ? left : to - channel;
    return s->inner != 1 ? 1 : w < NBI_PIECE ? w : NBI_PIECE;
}

void nbi_norm_reverse_channels(const nbi_norm_pass *p, int64_t from, int64_t to)
{
    const nbi_norm *s = p->s;
    const nbi_norm_kernel *f = kernel_of(p);
    double a[NBI_PIECE], b[NBI_PIECE];
    nbi_norm_place c;
    for (int64_t channel = from, w; channel < to; channel += w) {
        totals t = {.pieces = 0};
        w = channel_tile(s, channel, to);
        level(c.gain, NBI_PIECE, 1);
        for (walk k = channel_walk(s, channel, w); next(&k); count(&t)) {
            meet_cells(&k, &c);
            f->dots(k.n, at(p, p->x, k.at), at(p, p->g, k.at), &c, t.a, t.b);
        }
        finish(&t, s->inner != 1, w, a, b);
        give(p, p->d_gain, channel, w, b, p->add_gain);
        give(p, p->d_bias, channel, w, a, p->add_bias);
    }
}
