/*
 * The plan of a convolution: how planes are laid out and which shift belongs to which tap. What the
 * plan is for is said in conv.h.
 *
 * Along one axis, forward: tap k of result o reads place o s + k d of the image with its `lead` = pad
 * zeros, that is, phase k d mod s at o + k d / s: a shift by k d / s, whatever o is.
 *
 * Back: place i = r + s t of the result, in the pass of phase r, gets y[o] by tap k where
 * o s + k d - pad = i. So s divides r + pad - k d, and with e = (r + pad - k d) / s it is o = t + e:
 * a shift by e, or by e + lead where `lead` zeros precede y so that no shift is negative. Each tap is
 * of one phase only, so all passes together have as many terms as there are taps; or fewer where an
 * axis is shorter than its stride: then some phases have no place, and their taps no part.
 *
 * Reads along an axis span count + halo places, halo being the greatest shift. Where there is one
 * phase and one band, places beyond the row's `width` are the next row's first ones, which are zeros
 * as long as there are no more of them than `lead`.
 *
 * With one result along an axis the stride is never taken, and counts as 1.
 */
#include "kernels/conv.h"

#include <string.h>

static int64_t most_of(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t stride_of(const nbi_conv_axis *x) { return x->out > 1 ? x->stride : 1; }

/* Whether tap k has a part in pass r of a back plan; then *e is its shift, less the lead. */
static bool back_tap(const nbi_conv_axis *x, int64_t r, int64_t k, int64_t *e)
{
    const int64_t s = stride_of(x), at = r + x->pad - k * x->dilation;
    *e = at / s;
    return at % s == 0;
}

/* The layout along one axis but for bands; returns the width of a plane that has all of it. */
static int64_t plan_axis(nbi_slide *p, int i, bool back)
{
    const nbi_conv_axis *x = &p->conv->axis[i];
    const int64_t s = stride_of(x), count = back ? (x->in + s - 1) / s : x->out;
    int64_t e, low = 0, high = 0;
    p->step[i] = back ? s : 1;
    p->split[i] = back ? 1 : s;
    p->size[i] = back ? x->out : x->in;
    p->to[i] = back ? x->in : x->out;
    for (int64_t r = 0; back && r < least_of(s, x->in); r++)
        for (int64_t k = 0; k < x->taps; k++)
            if (back_tap(x, r, k, &e)) {
                low = least_of(low, e);
                high = most_of(high, e);
            }
    p->lead[i] = back ? -low : x->pad;
    p->halo[i] = back ? high - low : (x->taps - 1) * x->dilation / s;
    if (p->split[i] > 1)
        return count + p->halo[i];
    return most_of(p->lead[i] + p->size[i], most_of(count, count + p->halo[i] - p->lead[i]));
}

static void even_bands(nbi_slide *s, int i, int64_t total)
{
    s->bands[i] = (total + s->band[i] - 1) / s->band[i];
    s->band[i] = (total + s->bands[i] - 1) / s->bands[i];
    s->bands[i] = (total + s->band[i] - 1) / s->band[i];
}

/* Whether the image can be read where it lies: neither zeros nor phases, and each band at least as
 * long as a vector, so that its last one may overlap the one before it. */
static bool readable(const nbi_slide *s, int64_t full_width)
{
    for (int i = 0; i < 2; i++)
        if (s->lead[i] || s->split[i] > 1 || s->step[i] > 1 || s->to[i] + s->halo[i] > s->size[i])
            return false;
    const int64_t rows = s->to[0] - (s->bands[0] - 1) * s->band[0];
    const int64_t columns = s->to[1] - (s->bands[1] - 1) * s->band[1];
    return full_width == s->size[1] && (rows - 1) * full_width + columns >= NBI_CONV_LANES;
}

/* Cuts the result into bands of rows, or pieces of one row, such that a row of tiles and the planes
 * that it comes from stay in cache. */
static bool plan_bands(nbi_slide *s, size_t element, int64_t full_width)
{
    enum { CACHED = 384 << 10 };
    const int64_t size = (int64_t)element, fit = NBI_CONV_BAND / size;
    int64_t total[2], row, bytes;
    for (int i = 0; i < 2; i++)
        total[i] = (s->to[i] + s->step[i] - 1) / s->step[i];
    s->band[1] = least_of(total[1], fit);
    even_bands(s, 1, total[1]);
    s->width = s->bands[1] > 1 ? s->band[1] + s->halo[1] : full_width;
    if (__builtin_mul_overflow(s->width, s->c * s->split[0] * s->split[1], &row) ||
        __builtin_mul_overflow(row, size, &row) ||
        __builtin_mul_overflow(row, total[0] + s->halo[0] + 2, &bytes))
        return false;
    s->band[0] = s->bands[1] > 1 ? 1 : least_of(total[0], most_of(1, fit / s->width));
    even_bands(s, 0, total[0]);
    s->direct = readable(s, full_width);
    if (s->direct)
        s->width = full_width;
    else {
        const int64_t cached = most_of(most_of(1, s->halo[0]), CACHED / row - s->halo[0]);
        s->band[0] = least_of(s->band[0], cached);
        even_bands(s, 0, total[0]);
    }
    s->plane = s->direct ? s->size[0] * s->size[1] : (s->band[0] + s->halo[0]) * s->width;
    s->most = (s->band[0] - 1) * s->width + s->band[1];
    return true;
}

bool nbi_slide_plan(nbi_slide *s, const nbi_conv *conv, bool back, size_t element)
{
    *s = (nbi_slide){.images = conv->images, .groups = conv->groups, .conv = conv};
    s->c = back ? conv->m : conv->c;
    s->m = back ? conv->c : conv->m;
    s->k = s->c * conv->axis[0].taps * conv->axis[1].taps;
    plan_axis(s, 0, back);
    const int64_t full_width = plan_axis(s, 1, back);
    s->passes = least_of(s->step[0], s->to[0]) * least_of(s->step[1], s->to[1]);
    return plan_bands(s, element, full_width);
}

/* The phase and the shift of tap k along axis i; false if it has no part in pass r. */
static bool shift_of(const nbi_slide *s, int i, bool back, int64_t r, int64_t k, int64_t *phase,
                     int64_t *shift)
{
    const nbi_conv_axis *x = &s->conv->axis[i];
    *phase = back ? 0 : k * x->dilation % s->split[i];
    *shift = k * x->dilation / s->split[i];
    if (!back)
        return true;
    const bool has = back_tap(x, r, k, shift);
    *shift += s->lead[i];
    return has;
}

/* The terms of one pass, from the n-th on; returns how many there are then. */
static int64_t list_terms(nbi_slide *s, bool back, const int64_t r[2], int64_t n)
{
    const int64_t down = s->conv->axis[0].taps, across = s->conv->axis[1].taps;
    const int64_t per_channel = down * across * (back ? s->m : 1);
    int64_t phase[2], shift[2];
    for (int64_t c = 0; c < s->c; c++)
        for (int64_t i = 0; i < down; i++) {
            if (!shift_of(s, 0, back, r[0], i, &phase[0], &shift[0]))
                continue;
            for (int64_t j = 0; j < across; j++)
                if (shift_of(s, 1, back, r[1], j, &phase[1], &shift[1])) {
                    const int64_t plane = (c * s->split[0] + phase[0]) * s->split[1] + phase[1];
                    s->offset[n] = plane * s->plane + shift[0] * s->width + shift[1];
                    s->place[n++] = c * per_channel + i * across + j;
                }
        }
    return n;
}

void nbi_slide_lists(nbi_slide *s, bool back)
{
    int64_t n = 0, r[2];
    nbi_pass *p = s->pass;
    for (r[0] = 0; r[0] < least_of(s->step[0], s->to[0]); r[0]++)
        for (r[1] = 0; r[1] < least_of(s->step[1], s->to[1]); r[1]++, p++) {
            for (int i = 0; i < 2; i++) {
                p->first[i] = r[i];
                p->count[i] = (s->to[i] - r[i] + s->step[i] - 1) / s->step[i];
            }
            p->start = n;
            n = list_terms(s, back, r, n);
            p->k = n - p->start;
        }
}

void nbi_slide_pack(const nbi_slide *s, size_t element, const void *w, void *packed)
{
    const int64_t taps = s->conv->axis[0].taps * s->conv->axis[1].taps;
    for (int64_t g = 0; g < s->groups; g++) {
        char *to = (char *)packed + (size_t)(g * s->m * s->k) * element;
        for (int64_t i = 0; i < s->passes; i++)
            for (int64_t m = 0; m < s->m; m++)
                for (int64_t p = 0; p < s->pass[i].k; p++, to += element) {
                    const int64_t at = s->place[s->pass[i].start + p] + m * taps;
                    const char *from = (const char *)w + (size_t)(g * s->m * s->k + at) * element;
                    if (element == sizeof(float))
                        memcpy(to, from, sizeof(float));
                    else
                        memcpy(to, from, sizeof(double));
                }
    }
}

/* ---- scratch --------------------------------------------------------------------------------- */

size_t nbi_slide_scratch(const nbi_slide *s, size_t element)
{
    const int64_t sums = NBI_CONV_ROWS * nbi_conv_round(s->most + NBI_CONV_LANES);
    return (size_t)(sums + nbi_slide_planes(s)) * element;
}

size_t nbi_weight_scratch(const nbi_slide *s, size_t element)
{
    const int64_t row = nbi_conv_round(s->most), n = nbi_weight_images(s, element);
    const int64_t rows = s->m < NBI_CONV_CHUNK ? s->m : NBI_CONV_CHUNK;
    const int64_t elements = n * (rows * row + nbi_slide_planes(s)) + row;
    return (size_t)elements * element + (size_t)(rows * s->k) * sizeof(double);
}

/* ---- choice ---------------------------------------------------------------------------------- */

const nbi_conv_kernel *nbi_conv_choose(nbi_isa isa, bool is_double)
{
#if defined(__x86_64__)
    if (isa == NBI_ISA_AVX512)
        return &nbi_conv_avx512[is_double];
    if (isa == NBI_ISA_AVX2)
        return &nbi_conv_avx2[is_double];
#elif defined(__aarch64__)
    if (isa == NBI_ISA_NEON)
        return &nbi_conv_neon[is_double];
#endif
    (void)isa;
    return &nbi_conv_plain[is_double];
}
