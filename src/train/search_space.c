/*
 * Spaces of hyperparameters: points of a grid, and at random.
 *
 * A range is seen through a map that makes it even: x itself, or log x. With u in [0, 1],
 *
 *     at(u) = (1 - u) low + u high        or        exp((1 - u) log low + u log high),
 *
 * and a grid of m points has u = k / (m - 1), while chance draws u uniformly. Rounding must not carry a
 * point over an end, so points are held within the range, and u = 0 and 1 are the ends themselves.
 *
 * Whole numbers of a log scale are drawn from [low - 1/2, high + 1/2) and rounded, so that k comes with
 * probability log((k + 1/2) / (k - 1/2)), up to a common factor; the ends have their full share. A grid
 * rounds what lies between the ends, and two points may then fall into one: such a grid is refused, since
 * it would pay twice for one answer.
 */
#include "train/search.h"
#include "base/reason.h"

#include <math.h>
#include <string.h>

const char *nb_scale_name(nb_scale_kind scale)
{
#define NBI_SCALE(scale, name, text) name,
    static const char *const names[] = {NB_SCALES(NBI_SCALE)};
#undef NBI_SCALE
    return (unsigned)scale < NB_SCALE_COUNT ? names[scale] : "";
}

/* ---- points ---------------------------------------------------------------------------------- */

static bool is_log(const nb_dimension *d)
{
    return d->scale == NB_SCALE_LOG || d->scale == NB_SCALE_LOG_INTEGER;
}

static bool is_integer(const nb_dimension *d)
{
    return d->scale == NB_SCALE_INTEGER || d->scale == NB_SCALE_LOG_INTEGER;
}

static double at(bool log_scale, double low, double high, double u)
{
    if (u == 0 || u == 1)
        return u == 0 ? low : high;
    const double x = log_scale ? exp((1 - u) * log(low) + u * log(high)) : (1 - u) * low + u * high;
    return fmin(fmax(x, low), high);
}

static double choice(const nb_dimension *d, int64_t k)
{
    return d->choice ? d->choice[k] : (double)k;
}

static int64_t points(const nb_dimension *d)
{
    if (d->choices)
        return d->choices;
    return d->points || d->scale != NB_SCALE_INTEGER ? d->points : (int64_t)(d->high - d->low) + 1;
}

static double grid_value(const nb_dimension *d, int64_t k)
{
    if (d->choices)
        return choice(d, k);
    const double x = at(is_log(d), d->low, d->high, (double)k / (double)(points(d) - 1));
    return is_integer(d) ? round(x) : x;
}

static double random_value(const nb_dimension *d, nb_rng *r)
{
    if (d->choices)
        return choice(d, (int64_t)nb_rng_below(r, (uint64_t)d->choices));
    if (d->scale == NB_SCALE_INTEGER)
        return d->low + (double)nb_rng_below(r, (uint64_t)(d->high - d->low) + 1);
    const double u = nb_rng_uniform(r);
    if (d->scale == NB_SCALE_LOG_INTEGER)
        return fmax(d->low, fmin(d->high, round(at(true, d->low - 0.5, d->high + 0.5, u))));
    return at(is_log(d), d->low, d->high, u);
}

int64_t nbi_grid_size(const nb_search_spec *spec)
{
    int64_t n = 1;
    for (int32_t k = 0; k < spec->dimensions; k++) {
        const int64_t m = points(&spec->dimension[k]);
        if (m > NB_SEARCH_TRIALS / n)
            return -1;
        n *= m;
    }
    return n;
}

void nbi_grid_point(const nb_search_spec *spec, int64_t number, double *value)
{
    for (int32_t k = spec->dimensions; k-- > 0;) {
        const int64_t m = points(&spec->dimension[k]);
        value[k] = grid_value(&spec->dimension[k], number % m);
        number /= m;
    }
}

void nbi_random_point(const nb_search_spec *spec, nb_rng *r, double *value)
{
    for (int32_t k = 0; k < spec->dimensions; k++)
        value[k] = random_value(&spec->dimension[k], r);
}

/* ---- whether it makes sense ------------------------------------------------------------------ */

static nb_code check_choices(const nb_dimension *d, nb_reason *why)
{
    if (d->choices < 0 || d->choices > NB_SEARCH_TRIALS)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: %s: %lld choices, not 1 to %d", d->name,
                           (long long)d->choices, (int)NB_SEARCH_TRIALS);
    for (int64_t k = 0; k < d->choices; k++) {
        if (!isfinite(choice(d, k)))
            return nbi_because(why, NB_ERR_ARGUMENT, "search: %s: choice %lld is %g", d->name,
                               (long long)k, choice(d, k));
        if (d->choice_name && !d->choice_name[k])
            return nbi_because(why, NB_ERR_ARGUMENT, "search: %s: choice %lld has no name", d->name,
                               (long long)k);
    }
    return NB_OK;
}

static nb_code check_range(const nb_dimension *d, nb_reason *why)
{
    const double most = 0x1p53; /* up to where doubles tell all whole numbers apart */
    if (!isfinite(d->low) || !isfinite(d->high) || !(d->low < d->high))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "search: %s: low %g is not below high %g, or not finite", d->name,
                           d->low, d->high);
    if (is_log(d) && !(d->low > 0))
        return nbi_because(why, NB_ERR_DOMAIN, "search: %s: %s from %g, which has no logarithm",
                           d->name, nb_scale_name(d->scale), d->low);
    if (is_integer(d) && (d->low != floor(d->low) || d->high != floor(d->high) || d->low < -most ||
                          d->high > most || d->high - d->low > most))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "search: %s: %s from %g to %g: the ends are not whole, or beyond 2^53",
                           d->name, nb_scale_name(d->scale), d->low, d->high);
    return NB_OK;
}

static nb_code check_points(const nb_dimension *d, nb_reason *why)
{
    if (d->choices)
        return NB_OK;
    if (points(d) < 2 || points(d) > NB_SEARCH_TRIALS)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: %s: a grid of %lld points, not 2 to %d",
                           d->name, (long long)points(d), (int)NB_SEARCH_TRIALS);
    for (int64_t k = 1; k < points(d); k++)
        if (!(grid_value(d, k) > grid_value(d, k - 1)))
            return nbi_because(
                why, NB_ERR_ARGUMENT,
                "search: %s: %lld points from %g to %g on a %s scale: %g is there twice", d->name,
                (long long)points(d), d->low, d->high, nb_scale_name(d->scale), grid_value(d, k));
    return NB_OK;
}

static nb_code check_name(const nb_search_spec *spec, int32_t i, nb_reason *why)
{
    const char *name = spec->dimension[i].name;
    if (!name || !*name)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: dimension %d has no name", (int)i);
    for (int32_t k = 0; k < i; k++)
        if (!strcmp(name, spec->dimension[k].name))
            return nbi_because(why, NB_ERR_ARGUMENT,
                               "search: dimensions %d and %d are both called \"%s\"", (int)k,
                               (int)i, name);
    return NB_OK;
}

nb_code nbi_space_check(const nb_search_spec *spec, nb_reason *why)
{
    if (!spec->dimension || spec->dimensions < 1 || spec->dimensions > NB_SEARCH_DIMENSIONS)
        return nbi_because(why, NB_ERR_ARGUMENT, "search: a space of %d dimensions, not 1 to %d",
                           spec->dimension ? (int)spec->dimensions : 0, (int)NB_SEARCH_DIMENSIONS);
    for (int32_t i = 0; i < spec->dimensions; i++) {
        const nb_dimension *d = &spec->dimension[i];
        nb_code code = check_name(spec, i, why);
        if (!code && (unsigned)d->scale >= NB_SCALE_COUNT)
            code = nbi_because(why, NB_ERR_ARGUMENT, "search: %s: there is no scale %d", d->name,
                               (int)d->scale);
        if (!code)
            code = d->choices ? check_choices(d, why) : check_range(d, why);
        if (!code && spec->kind == NB_SEARCH_GRID)
            code = check_points(d, why);
        if (code)
            return code;
    }
    return NB_OK;
}
