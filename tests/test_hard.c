/*
 * Right gradients of hard functions: none may be called wrong.
 *
 * Families of functions, each hard in one way, and their gradients by formulas. Two counts are kept
 * over all of them: verdicts of "wrong", of which there must be none, in coordinates and directions;
 * and coordinates at which the estimated error of the differences covers the true one, which must be
 * 99 of 100. So that silence is no way out, most coordinates must also be called right.
 *
 * The small ones are
 *
 *     f(x) = high (sum over j of f_j(x_j / wide_j) + noise),   wide_j and high powers of two
 *
 * with shapes f_j of hard_shapes.h; the point lies where the kink is for some. Others have 10^5 inputs,
 * or are recorded on a tape at points where several nodes have kinks.
 */
#include "hard_shapes.h"
#include "run.h"

#include <float.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

typedef struct tally {
    int functions, wrong;
    int coordinates, right, covered;
    char odd[6000]; /* the last report that called something wrong */
} tally;

static void count_report(tally *t, const nb_check_report *r)
{
    t->functions++;
    if (r->verdict != NB_VERDICT_WRONG && !r->count[NB_VERDICT_WRONG])
        return;
    t->wrong++;
    snprintf(t->odd, sizeof t->odd, "%s", r->text);
}

/* A coordinate with a derivative. The formula is rounded too. */
static void count_coordinate(tally *t, const nb_check_coordinate *c, double exact)
{
    t->coordinates++;
    t->right += c->verdict == NB_VERDICT_RIGHT;
    t->covered += !isfinite(c->numeric) ||
                  fabs(c->numeric - exact) <= c->estimate + 16 * DBL_EPSILON * fabs(exact);
}

static void assert_tally(const tally *t, int functions, int percent_right)
{
    ck_assert_int_ge(t->functions, functions);
    ck_assert_msg(t->wrong == 0, "%d called wrong; %s", t->wrong, t->odd);
    ck_assert_msg(100 * t->covered >= 99 * t->coordinates, "%d of %d covered", t->covered,
                  t->coordinates);
    ck_assert_msg(100 * t->right >= percent_right * t->coordinates, "%d of %d right", t->right,
                  t->coordinates);
}

/* ---- sums of shapes -------------------------------------------------------------------------- */

enum { TERMS = 3 };

typedef struct hard {
    int shape[TERMS];
    double k[TERMS], wide[TERMS], high, noise;
    bool product; /* of the shapes instead of their sum */
} hard;

static double scatter(const double *x, size_t n)
{
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        all = all * 0x9e3779b97f4a7c15u + bits;
    }
    nb_rng r = nb_rng_seed(all);
    return nb_rng_uniform(&r) - 0.5;
}

static double term(const hard *h, const double *x, size_t j, bool slope)
{
    const shape *s = &shapes[h->shape[j]];
    return (slope ? s->d : s->f)(x[j] / h->wide[j], h->k[j]);
}

static double hard_f(const double *x, size_t n, void *context)
{
    const hard *h = context;
    double v = h->product;
    for (size_t j = 0; j < n; j++)
        v = h->product ? v * term(h, x, j, false) : v + term(h, x, j, false);
    return h->high * (v + (h->noise != 0 ? h->noise * scatter(x, n) : 0));
}

static void hard_g(const double *x, size_t n, double *g, void *context)
{
    const hard *h = context;
    for (size_t j = 0; j < n; j++) {
        g[j] = h->high * term(h, x, j, true) / h->wide[j];
        for (size_t k = 0; h->product && k < n; k++)
            g[j] *= k == j ? 1 : term(h, x, k, false);
    }
}

static double power(nb_rng *r, double low, double high)
{
    return pow(10, low + (high - low) * nb_rng_uniform(r));
}

/* 2^e, |e| <= 500: 1e-150 to 1e150. */
static double scale(nb_rng *r) { return ldexp(1, (int)nb_rng_below(r, 1001) - 500); }

typedef enum family {
    SCALED_INPUTS,
    SCALED_ALL,
    PRODUCTS,
    NEAR_KINKS,
    CANCELLATION,
    PLATEAUS,
    CURVED,
    NOISE,
    MIXED,
    FAMILIES
} family;

static hard draw(nb_rng *r, family f, double *x)
{
    static const int first[FAMILIES] = {[NEAR_KINKS] = NEAR_FIRST,
                                        [CANCELLATION] = CANCEL_FIRST,
                                        [PLATEAUS] = FLAT_FIRST,
                                        [CURVED] = CURVED_FIRST};
    static const int end[FAMILIES] = {SMOOTH,       SMOOTH, SMOOTH, CANCEL_FIRST, FLAT_FIRST,
                                      CURVED_FIRST, SHAPES, SMOOTH, SHAPES};
    hard h = {.high = 1, .noise = f == NOISE ? 1e-10 : 0, .product = f == PRODUCTS};
    const bool scaled = f == SCALED_INPUTS || f == SCALED_ALL || f == PRODUCTS || f == MIXED;
    if (f == SCALED_ALL || (f == NOISE && nb_rng_below(r, 2)))
        h.high = ldexp(1, (int)nb_rng_below(r, 601) - 300);
    for (int j = 0; j < TERMS; j++) {
        h.shape[j] = first[f] + (int)nb_rng_below(r, (uint64_t)(end[f] - first[f]));
        const shape *s = &shapes[h.shape[j]];
        h.k[j] = power(r, s->k_low, s->k_high);
        h.wide[j] = scaled ? scale(r) : 1;
        x[j] = power(r, s->low, s->high) * h.wide[j];
    }
    return h;
}

START_TEST(families_of_small_functions)
{
    enum { EACH = 60 };
    tally t = {0};
    nb_rng r = nb_rng_seed(11);
    for (int i = 0; i < EACH * FAMILIES; i++) {
        double x[TERMS], g[TERMS];
        nb_check_coordinate c[TERMS];
        nb_check_report report;
        hard h = draw(&r, (family)(i % FAMILIES), x);
        hard_g(x, TERMS, g, &h);
        nb_check_arrays(
            &(nb_check_plain){.f = hard_f, .g = hard_g, .context = &h, .n = TERMS, .x = x},
            &(nb_check_options){.seed = (uint64_t)i, .keep = c, .keep_room = TERMS}, &report);
        count_report(&t, &report);
        for (size_t j = 0; j < report.tested && j < TERMS; j++)
            count_coordinate(&t, &c[j], g[j]);
    }
    assert_tally(&t, 9 * EACH, 75);
}
END_TEST

/* ---- at a kink ------------------------------------------------------------------------------- */

typedef struct kinks {
    double at[TERMS], low[TERMS], high[TERMS], part; /* slopes; the claim lies between */
} kinks;

static double kinks_f(const double *x, size_t n, void *context)
{
    const kinks *k = context;
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += fmax(k->low[j] * (x[j] - k->at[j]), k->high[j] * (x[j] - k->at[j])) + sin(x[j]);
    return sum;
}

static void kinks_g(const double *x, size_t n, double *g, void *context)
{
    const kinks *k = context;
    for (size_t j = 0; j < n; j++)
        g[j] = k->low[j] + k->part * (k->high[j] - k->low[j]) + cos(x[j]);
}

START_TEST(at_a_kink_any_slope_between_will_do)
{
    enum { ALL = 60 };
    tally t = {0};
    int seen = 0, between = 0;
    nb_rng r = nb_rng_seed(12);
    for (int i = 0; i < ALL; i++) {
        kinks k = {.part = (i % 5) / 4.0};
        nb_check_coordinate c[TERMS];
        nb_check_report report;
        for (int j = 0; j < TERMS; j++) {
            k.at[j] = i % 3 == j ? 0 : power(&r, -3, 2);
            k.low[j] = power(&r, -1, 1) * (nb_rng_below(&r, 2) ? 1 : -1);
            k.high[j] = k.low[j] + power(&r, -2, 1);
        }
        nb_check_arrays(
            &(nb_check_plain){.f = kinks_f, .g = kinks_g, .context = &k, .n = TERMS, .x = k.at},
            &(nb_check_options){.seed = (uint64_t)i, .keep = c, .keep_room = TERMS}, &report);
        count_report(&t, &report);
        for (size_t j = 0; j < report.tested && j < TERMS; j++) {
            seen += c[j].verdict == NB_VERDICT_KINK;
            between += c[j].verdict == NB_VERDICT_KINK && c[j].between;
        }
    }
    assert_tally(&t, ALL, 0);
    ck_assert_int_ge(10 * seen, 9 * ALL * TERMS);
    ck_assert_int_eq(between, seen);
}
END_TEST

/* ---- a hundred thousand inputs --------------------------------------------------------------- */

enum { MANY = 100000 };

typedef enum many {
    WAVES,     /* neighbours coupled */
    CHAIN,     /* Rosenbrock's */
    SPREAD,    /* squares, scales from 1e-6 to 1e6 */
    LENGTH,    /* the Euclidean norm */
    SOFT_MAX,  /* log of the sum of exponentials */
    GREATEST,  /* the maximum */
    ABSOLUTES, /* with a kink near many points */
    NOISY_SUM,
    MANYS
} many;

static double unit_of(size_t i) { return pow(10, (double)(i % 13) - 6); }

static double many_f(const double *x, size_t n, void *context)
{
    const many m = *(const many *)context;
    double sum = m == GREATEST ? -HUGE_VAL : 0;
    for (size_t i = 0; i < n; i++) {
        const double v = x[i], last = i ? x[i - 1] : 0;
        switch (m) {
        case WAVES: sum += sin(v) + v * last / 2; break;
        case CHAIN: sum += i ? (v - last * last) * (v - last * last) * 100 : 0; break;
        case SPREAD: sum += v / unit_of(i) * (v / unit_of(i)); break;
        case LENGTH: sum += v * v; break;
        case SOFT_MAX: sum += exp(v); break;
        case GREATEST: sum = fmax(sum, v); break;
        case ABSOLUTES: sum += fabs(v - 0.5); break;
        default: sum += v * v * v; break;
        }
    }
    if (m == LENGTH || m == SOFT_MAX)
        sum = m == LENGTH ? sqrt(sum) : log(sum);
    return m == NOISY_SUM ? sum + 1e-10 * sum * scatter(x, n) : sum;
}

static void many_g(const double *x, size_t n, double *g, void *context)
{
    const many m = *(const many *)context;
    const double whole = m == LENGTH || m == SOFT_MAX || m == GREATEST ? many_f(x, n, context) : 0;
    for (size_t i = 0; i < n; i++) {
        const double v = x[i], last = i ? x[i - 1] : 0, next = i + 1 < n ? x[i + 1] : 0;
        switch (m) {
        case WAVES: g[i] = cos(v) + (last + next) / 2; break;
        case CHAIN:
            g[i] = i ? 200 * (v - last * last) : 0;
            g[i] -= i + 1 < n ? 400 * v * (next - v * v) : 0;
            break;
        case SPREAD: g[i] = 2 * v / unit_of(i) / unit_of(i); break;
        case LENGTH: g[i] = v / whole; break;
        case SOFT_MAX: g[i] = exp(v - whole); break;
        case GREATEST: g[i] = v == whole; break;
        case ABSOLUTES: g[i] = v > 0.5 ? 1 : -1; break;
        default: g[i] = 3 * v * v; break;
        }
    }
}

START_TEST(functions_of_a_hundred_thousand_inputs)
{
    tally t = {0};
    double *x = malloc(MANY * sizeof *x), *g = malloc(MANY * sizeof *g);
    ck_assert(x && g);
    for (many m = WAVES; m < MANYS; m++) {
        nb_check_coordinate c[40];
        nb_check_report r;
        for (size_t i = 0; i < MANY; i++)
            x[i] = sin(1.7 * (double)i) * (m == SPREAD ? unit_of(i) : 1);
        many_g(x, MANY, g, &m);
        nb_check_arrays(
            &(nb_check_plain){.f = many_f, .g = many_g, .context = &m, .n = MANY, .x = x},
            &(nb_check_options){.keep = c, .keep_room = 40}, &r);
        count_report(&t, &r);
        ck_assert_uint_gt(r.tested, 0);
        for (size_t k = 0; k < r.tested && k < 40; k++)
            count_coordinate(&t, &c[k], g[c[k].index]);
    }
    free(x);
    free(g);
    assert_tally(&t, MANYS, 75);
}
END_TEST

/* ---- recorded, with kinks -------------------------------------------------------------------- */

enum { SIDE = 4, AREA = SIDE * SIDE, GRAPHS = 8 };

static nb_var graph(void *context, nb_tape *t, const nb_var *in)
{
    nb_var x = in[0], y = in[1];
    (void)t;
    switch (*(const int *)context) {
    case 0: return nb_sum(nb_relu(nb_matmul(x, y)));
    case 1: return nb_add(nb_amax(x), nb_amin(nb_mul(x, y)));
    case 2: return nb_sum(nb_abs(nb_sub(x, y)));
    case 3: return nb_sum(nb_max(nb_sin(x), nb_min(y, nb_square(x))));
    case 4: return nb_logsumexp(nb_mul(1e3, nb_matmul(x, nb_tanh(y))));
    case 5: return nb_mean(nb_mul(nb_clamp(x, -0.5, 0.5), nb_leaky_relu(y, 0.1)));
    case 6: return nb_sum(nb_where(nb_gt(x, y), nb_square(x), nb_exp(y)));
    default: return nb_norm(nb_sub(nb_exp(nb_mul(10, x)), nb_sqrt(nb_add(nb_square(y), 1e-12))));
    }
}

START_TEST(recorded_functions_with_kinks)
{
    tally t = {0};
    for (int i = 0; i < GRAPHS * 3 * 4; i++) {
        double x[AREA], y[AREA];
        int which = i % GRAPHS;
        const int mode = i / GRAPHS % 3, point = i / GRAPHS / 3;
        nb_check_report r;
        nb_rng g = nb_rng_seed((uint64_t)i);
        for (int k = 0; k < AREA; k++) {
            x[k] = nb_rng_uniform(&g) * 2 - 1;
            y[k] = nb_rng_uniform(&g) * 2 - 1;
            if (point == 1) /* on kinks, with ties */
                x[k] = y[k] = rint(2 * x[k]) / 2;
            if (point == 2) /* beside them */
                y[k] = x[k] + 1e-5 * y[k];
            if (point == 3)
                x[k] *= 1e-6;
        }
        const nb_check_input in[] = {{"x", NB_SHAPE(SIDE, SIDE), x, false},
                                     {"y", NB_SHAPE(SIDE, SIDE), y, false}};
        nb_check_function(graph, &which, 2, in,
                          &(nb_check_options){.seed = (uint64_t)i,
                                              .dtype = mode ? NB_F32 : NB_F64,
                                              .no_double = mode == 2},
                          &r);
        count_report(&t, &r);
    }
    assert_tally(&t, GRAPHS * 3 * 4, 0);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("hard");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, families_of_small_functions);
    tcase_add_test(c, at_a_kink_any_slope_between_will_do);
    tcase_add_test(c, functions_of_a_hundred_thousand_inputs);
    tcase_add_test(c, recorded_functions_with_kinks);
    return run_case("hard", c);
}
