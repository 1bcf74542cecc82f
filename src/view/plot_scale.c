/*
 * Axes: ranges, ticks, and numbers as people write them.
 *
 * Ticks are multiples of 1, 2 or 5 times a power of ten: the smallest such step that needs no more of them
 * than asked for. On a logarithmic axis they are powers of ten, every k-th if there are many; where fewer
 * than two lie in the range, 1, 2 and 5 times powers of ten; and if that fails too, those of a linear axis.
 *
 * Halves of the ends are subtracted, not the ends, so that a range from -1e308 to 1e308 is as good as any
 * other. What varies by less than 1e-10 of its size is shown as the constant it is to the eye: labels that
 * tell its values apart would not fit.
 */
#include "view/plot.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- numbers --------------------------------------------------------------------------------- */

/* A locale's decimal point may have several bytes. */
static void mend_point(char *text)
{
    for (char *c = text; *c; c++)
        if (!strchr("0123456789+-e", *c)) {
            *c = '.';
            while (c[1] & 0x80)
                memmove(c + 1, c + 2, strlen(c + 1));
        }
}

/* 1e+06 becomes 1e6, and 1e-05 1e-5. */
static void mend_exponent(char *text)
{
    char *e = strchr(text, 'e');
    if (!e)
        return;
    char *digits = e + (e[1] == '-' || e[1] == '+') + 1, *to = e[1] == '-' ? e + 2 : e + 1;
    while (*digits == '0' && digits[1])
        digits++;
    memmove(to, digits, strlen(digits) + 1);
}

void nbi_plot_number(char *to, int digits, double v)
{
    const double size = fabs(v);
    if (size >= 1 && size < 1e6) /* 2334, not 2.33e3 */
        digits = (int)fmax(digits, floor(log10(size)) + 1);
    snprintf(to, NBI_NUMBER_TEXT, "%.*g", digits, v);
    if (isfinite(v)) {
        mend_point(to);
        mend_exponent(to);
    }
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static double half_span(double low, double high) { return high / 2 - low / 2; }

static bool is_constant(bool log, double low, double high)
{
    if (log)
        return log10(high) - log10(low) < 1e-10;
    const double size = fmax(fabs(low), fabs(high));
    return !(half_span(low, high) > fmax(1e-10 * (size / 2), 1e-300));
}

void nbi_scale_set(nbi_scale *s, bool log, double low, double high)
{
    *s = (nbi_scale){.log = log, .low = low, .high = high};
    if (!is_constant(log, low, high))
        return;
    const double size = fmax(fabs(low), fabs(high));
    if (log) {
        s->low = fmax(low / 10, DBL_TRUE_MIN);
        s->high = fmin(high, DBL_MAX / 10) * 10;
    } else {
        const double room = size > 1e-299 ? size / 2 : 1;
        s->low = fmax(low - room, -DBL_MAX);
        s->high = fmin(high + room, DBL_MAX);
    }
}

double nbi_scale_at(const nbi_scale *s, double v)
{
    if (isnan(v))
        return v;
    if (isinf(v) || (s->log && v <= 0))
        return (double)INFINITY;
    const double f = s->log ? (log10(v) - log10(s->low)) / (log10(s->high) - log10(s->low))
                            : half_span(s->low, v) / half_span(s->low, s->high);
    return fmin(fmax(f, -1e6), 1e6);
}

double nbi_scale_value(const nbi_scale *s, double f)
{
    return s->log ? pow(10, (1 - f) * log10(s->low) + f * log10(s->high))
                  : (1 - f) * s->low + f * s->high;
}

/* ---- ticks ----------------------------------------------------------------------------------- */

static void add_tick(nbi_scale *s, int digits, double v)
{
    if (s->n == NBI_TICKS)
        return;
    nbi_plot_number(s->label[s->n], digits, v);
    s->tick[s->n++] = fmin(fmax(v, s->low), s->high);
}

/* The least of 1, 2, 5, 10 times a power of ten that is not below raw. */
static double round_up(double raw)
{
    static const double round[] = {1, 2, 5, 10};
    const double power = pow(10, floor(log10(raw)));
    int k = 0;
    while (k < 3 && round[k] * power < raw * (1 - 1e-9))
        k++;
    return round[k] * power;
}

static void linear_ticks(nbi_scale *s, int most)
{
    const double step = round_up(half_span(s->low, s->high) / (most / 2.0));
    const double size = fmax(fabs(s->low), fabs(s->high));
    const double first = ceil(s->low / step - 1e-9), last = floor(s->high / step + 1e-9);
    const int digits = (int)fmin(fmax(floor(log10(size)) - floor(log10(step)) + 1, 6), 15);
    for (double k = first; k <= last && s->n < NBI_TICKS; k++)
        add_tick(s, digits, k * step + 0.0); /* no -0 */
}

static void decades(nbi_scale *s, int most)
{
    const int first = (int)ceil(log10(s->low) - 1e-9), last = (int)floor(log10(s->high) + 1e-9);
    const int stride = last - first > most ? (last - first + most - 1) / most : 1;
    for (int k = first; k <= last; k++)
        if (k % stride == 0)
            add_tick(s, 6, pow(10, k));
}

static void parts_of_decades(nbi_scale *s)
{
    static const double part[] = {1, 2, 5};
    for (int k = (int)floor(log10(s->low)); k <= (int)ceil(log10(s->high)); k++)
        for (int i = 0; i < 3; i++) {
            const double v = part[i] * pow(10, k);
            if (v >= s->low * (1 - 1e-9) && v <= s->high * (1 + 1e-9))
                add_tick(s, 6, v);
        }
}

void nbi_scale_ticks(nbi_scale *s, int most)
{
    most = most < 2 ? 2 : most > NBI_TICKS - 1 ? NBI_TICKS - 1 : most;
    s->n = 0;
    if (s->log) {
        decades(s, most);
        if (s->n < 2) {
            s->n = 0;
            parts_of_decades(s);
        }
        if (s->n >= 2)
            return;
        s->n = 0;
    }
    linear_ticks(s, most);
}
