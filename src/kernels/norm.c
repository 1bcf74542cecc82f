/*
 * Normalising: the passes over an array, piece by piece. See norm.h.
 *
 * Elements of x stand at ((a channels) + c) inner + i. A tile is what is summed at once: a line, a
 * channel, or, where channels are cells and inner is 1, up to NBI_PIECE neighbouring channels. The
 * first two have one total for all their pieces, the last has a total per channel. Every BLOCK pieces
 * the totals are put by, so that the error grows with the length divided by BLOCK.
 */
#include "kernels/norm.h"

#include "kernels/reduce.h"

#include <math.h>

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

static void *place(const nbi_norm_pass *p, void *array, int64_t i)
{
    return (char *)array + (size_t)i * element(p);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* Whether neighbouring elements belong to different cells. */
static bool in_rows(const nbi_norm *s) { return s->columns && s->inner == 1; }

/* A tile of w channels from `channel` on, of the lines from `line` to `end`, walked piece by piece.
 * Of runs each has a piece of its own; elsewhere the tile's part of a line is one piece. */
typedef struct walk {
    const nbi_norm_pass *p;
    int64_t line, end, step; /* lines to go through, and the distance to the next */
    int64_t channel, w;
    int64_t c;  /* of the next piece, within the tile */
    int64_t at; /* of the piece: where its elements start */
    int64_t cell, group_channel;
    nbi_norm_piece piece;
} walk;

static walk walk_from(const nbi_norm_pass *p, int64_t line, int64_t end, int64_t step)
{
    const nbi_norm *s = p->s;
    walk k = {.p = p, .line = line, .end = end, .step = step, .w = s->channels};
    k.piece.kind = in_rows(s) ? NBI_NORM_ROW : s->inner == 1 ? NBI_NORM_LINE : NBI_NORM_RUN;
    return k;
}

/* The cells from `cell` on: one line, or w channels of all lines. */
static walk cell_walk(const nbi_norm_pass *p, int64_t cell, int64_t w)
{
    if (!p->s->columns)
        return walk_from(p, cell, cell + 1, 1);
    walk k = walk_from(p, 0, p->s->outer, 1);
    k.channel = cell, k.w = w;
    return k;
}

/* w channels of all lines of the group that `channel` is in. */
static walk channel_walk(const nbi_norm_pass *p, int64_t channel, int64_t w)
{
    const nbi_norm *s = p->s;
    const int64_t group = channel / s->channels;
    walk k = walk_from(p, group, s->outer, s->groups);
    k.channel = channel - group * s->channels, k.w = w;
    return k;
}

static bool next(walk *k)
{
    const nbi_norm *s = k->p->s;
    if (k->c == k->w)
        k->c = 0, k->line += k->step;
    if (k->line >= k->end || k->w == 0 || s->inner == 0)
        return false;
    const int64_t channel = k->channel + k->c, group = s->columns ? 0 : k->line % s->groups;
    k->at = (k->line * s->channels + channel) * s->inner;
    k->cell = s->columns ? channel : k->line;
    k->group_channel = group * s->channels + channel;
    k->piece.n = s->inner == 1 ? k->w : s->inner;
    k->c += s->inner == 1 ? k->w : 1;
    k->piece.scale = s->scale + k->cell;
    k->piece.mean = s->mean + k->cell;
    k->piece.rate = s->rate + k->cell;
    return true;
}

/* The same, and what the elements meet of the channels. */
static bool next_with_gain(walk *k)
{
    const nbi_norm_pass *p = k->p;
    if (!next(k))
        return false;
    k->piece.gain = p->gain ? at(p, p->gain, k->group_channel) : NULL;
    k->piece.bias = p->bias ? at(p, p->bias, k->group_channel) : NULL;
    return true;
}

/* Cells to take at a time. */
static int64_t tile(const nbi_norm *s, int64_t left)
{
    return !in_rows(s) ? 1 : left < NBI_PIECE ? left : NBI_PIECE;
}

/* ---- sums ------------------------------------------------------------------------------------ */

typedef struct totals {
    int64_t w;
    int pieces;
    double a[NBI_PIECE], b[NBI_PIECE]; /* of the pieces since the last full block */
    double all_a[NBI_PIECE], all_b[NBI_PIECE];
} totals;

static void open_totals(totals *t, int64_t w)
{
    t->w = w;
    t->pieces = 0;
    for (int64_t i = 0; i < w; i++)
        t->a[i] = t->b[i] = t->all_a[i] = t->all_b[i] = 0;
}

static void put_by(totals *t)
{
    for (int64_t i = 0; i < t->w; i++) {
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

static void finish(totals *t, double *a, double *b)
{
    put_by(t);
    for (int64_t i = 0; i < t->w; i++)
        a[i] = t->all_a[i], b[i] = t->all_b[i];
}

/* a = sum of d, b = sum of d^2, d = x scale - mean, for w cells. */
static void sums(const nbi_norm_pass *p, int64_t cell, int64_t w, double *a, double *b)
{
    const nbi_norm *s = p->s;
    const nbi_norm_kernel *f = kernel_of(p);
    totals t;
    if (!s->columns) { /* a line is one run, whatever its channels */
        const nbi_norm_piece line = {
            .n = nbi_norm_size(s), .scale = s->scale + cell, .mean = s->mean + cell};
        *a = *b = 0;
        f->moments(&line, at(p, p->x, cell * line.n), a, b);
        return;
    }
    open_totals(&t, w);
    for (walk k = cell_walk(p, cell, w); next(&k); count(&t))
        f->moments(&k.piece, at(p, p->x, k.at), t.a, t.b);
    finish(&t, a, b);
}

/* ---- the statistics -------------------------------------------------------------------------- */

static void greatest(const nbi_norm_pass *p, int64_t cell, int64_t w, double *top)
{
    for (walk k = cell_walk(p, cell, w); next(&k);)
        for (int64_t i = 0; i < k.piece.n; i++) {
            double v, *to = &top[w > 1 ? i : 0];
            nbi_get(p->dtype, p->x, k.at + i, 1, &v);
            *to = fabs(v) > *to || isnan(v) ? fabs(v) : *to;
        }
}

/* The mean, and v + eps scale^2 in *total, at the scales that s has. */
static void measure(const nbi_norm_pass *p, int64_t cell, int64_t w, double *total)
{
    const nbi_norm *s = p->s;
    const double n = (double)nbi_norm_size(s);
    double off[NBI_PIECE];
    for (int64_t j = 0; j < w; j++)
        s->mean[cell + j] = 0;
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
        for (int64_t j = 0; j < w; j++)
            s->scale[cell + j] = 1, top[j] = sqrt(s->eps);
        measure(p, cell, w, total);
        for (int64_t j = 0; j < w; j++)
            fine = fine && total[j] >= LEAST && total[j] <= MOST;
        if (!fine) {
            greatest(p, cell, w, top);
            for (int64_t j = 0; j < w; j++)
                if (!(total[j] >= LEAST && total[j] <= MOST))
                    s->scale[cell + j] = nbi_scale_for(top[j]);
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
    for (int64_t cell = from, w; cell < to; cell += w) {
        w = tile(p->s, to - cell);
        for (walk k = cell_walk(p, cell, w); next_with_gain(&k);)
            f->apply(&k.piece, at(p, p->x, k.at), place(p, p->y, k.at));
    }
}

/* The means of h and of h xhat over w cells. */
static void shares(const nbi_norm_pass *p, int64_t cell, int64_t w, double *a, double *b)
{
    const nbi_norm *s = p->s;
    const nbi_norm_kernel *f = kernel_of(p);
    const double n = (double)nbi_norm_size(s);
    totals t;
    open_totals(&t, w);
    for (walk k = cell_walk(p, cell, w); next_with_gain(&k); count(&t))
        f->dots(&k.piece, at(p, p->x, k.at), at(p, p->g, k.at), t.a, t.b);
    finish(&t, a, b);
    for (int64_t j = 0; j < w; j++) {
        a[j] = s->centred ? a[j] / n : 0;
        b[j] /= n;
    }
}

void nbi_norm_reverse(const nbi_norm_pass *p, int64_t from, int64_t to)
{
    const nbi_norm_kernel *f = kernel_of(p);
    double a[NBI_PIECE] = {0}, b[NBI_PIECE] = {0};
    for (int64_t cell = from, w; cell < to; cell += w) {
        w = tile(p->s, to - cell);
        if (!p->s->given)
            shares(p, cell, w, a, b);
        for (walk k = cell_walk(p, cell, w); next_with_gain(&k);)
            f->back(&k.piece, at(p, p->x, k.at), at(p, p->g, k.at), a, b, place(p, p->y, k.at),
                    p->add);
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
    const nbi_norm_kernel *f = kernel_of(p);
    double a[NBI_PIECE], b[NBI_PIECE];
    for (int64_t channel = from, w; channel < to; channel += w) {
        totals t;
        w = channel_tile(p->s, channel, to);
        open_totals(&t, w);
        for (walk k = channel_walk(p, channel, w); next(&k); count(&t))
            (k.piece.kind == NBI_NORM_LINE ? f->spread : f->dots)(&k.piece, at(p, p->x, k.at),
                                                                  at(p, p->g, k.at), t.a, t.b);
        finish(&t, a, b);
        give(p, p->d_gain, channel, w, b, p->add_gain);
        give(p, p->d_bias, channel, w, a, p->add_bias);
    }
}
