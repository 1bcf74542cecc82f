/*
 * Functions with a structure finer than the steps of differences: waves, staircases, tables, rounding
 * inside. What a step overlooks is noise to it, and noise can look like a slope of its own. A right
 * gradient of such a function must not be called wrong, however it is drawn; and what is no more than
 * rounding must not hide a wrong one.
 *
 * Derivatives expected are formulas beside the functions.
 */
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <string.h>

/* ---- one input ------------------------------------------------------------------------------- */

typedef struct fine {
    const char *name;
    double (*f)(double), (*d)(double);
    double x;
    double wrong; /* added to the slope, is found out; 0: no claim can be told from another */
} fine;

static double zero(double x) { return 0 * x; }
static double one(double x) { return 1 + 0 * x; }

static double whole(double x) { return rint(x); }
static double floors(double x) { return floor(x * 1e6) / 1e6; }
static double saw(double x) { return fmod(x, 1e-6); }

static double fast(double x) { return sin(1e12 * x); }
static double fast_d(double x) { return 1e12 * cos(1e12 * x); }

static double ripple(double x) { return x + 1e-12 * sin(1e12 * x); }
static double ripple_d(double x) { return 1 + cos(1e12 * x); }

static double lifted(double x) { return 1e15 + sin(x); }

enum { PIECES = 1000000 };

/* The sine by pieces of a table, linear between its entries. */
static double entry(double i) { return sin(i / PIECES); }
static double table_d(double x)
{
    const double i = floor(x * PIECES);
    return (entry(i + 1) - entry(i)) * PIECES;
}
static double table(double x)
{
    const double i = floor(x * PIECES);
    return entry(i) + (entry(i + 1) - entry(i)) * (x * PIECES - i);
}

static const fine fines[] = {
    {"rounded to integers, far out", whole, zero, 1e6 + 0.25, 0},
    {"floors", floors, zero, 0.5000003, -7},
    {"a saw", saw, one, 0.3, 0},
    {"a wave of 28000 units", fast, fast_d, 1, 0},
    {"a wave of 50 units", sin, cos, 1e15, 0},
    {"ripples", ripple, ripple_d, 1, 3},
    {"eight units of rounding high", lifted, cos, 1, 0},
    {"a table", table, table_d, 0.30000043, 0.01},
    {"a table", table, table_d, 1.0000005, 1e-4},
};

typedef struct call {
    const fine *of;
    double wrong;
} call;

static double fine_f(const double *x, size_t n, void *context)
{
    (void)n;
    return ((const call *)context)->of->f(*x);
}

static void fine_g(const double *x, size_t n, double *g, void *context)
{
    const call *c = context;
    (void)n;
    *g = c->of->d(*x) + c->wrong;
}

START_TEST(a_structure_finer_than_the_steps)
{
    for (size_t k = 0; k < sizeof fines / sizeof *fines; k++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            nb_check_report r;
            call c = {&fines[k], 0};
            const nb_check_plain p = {
                .f = fine_f, .g = fine_g, .context = &c, .n = 1, .x = &fines[k].x};
            nb_check_arrays(&p, &(nb_check_options){.seed = seed}, &r);
            ck_assert_msg(r.verdict != NB_VERDICT_WRONG, "%s: %s", c.of->name, r.text);
            if (fines[k].f == saw)
                ck_assert_msg(r.verdict == NB_VERDICT_STEP, "%s", r.text);
            if (fines[k].f == lifted) /* 0 +- 50 is no proof of 0.5 */
                ck_assert_msg(r.direction[0].verdict == NB_VERDICT_NOISY ||
                                  r.direction[0].estimate < fabs(r.direction[0].analytic),
                              "%s", r.text);
            c.wrong = fines[k].wrong;
            if (c.wrong == 0)
                continue;
            nb_check_arrays(&p, &(nb_check_options){.seed = seed}, &r);
            ck_assert_msg(r.verdict == NB_VERDICT_WRONG, "%s: %s", c.of->name, r.text);
        }
}
END_TEST

/* The second input does nothing but make noise. */
static double loud_f(const double *x, size_t n, void *context)
{
    uint64_t bits;
    (void)n;
    (void)context;
    memcpy(&bits, &x[1], sizeof bits);
    nb_rng r = nb_rng_seed(bits);
    return x[0] + 1e3 * nb_rng_uniform(&r);
}

static void loud_g(const double *x, size_t n, double *g, void *context)
{
    (void)x;
    (void)n;
    (void)context;
    g[0] = 1;
    g[1] = 7;
}

START_TEST(what_is_in_doubt_is_said_beside_what_is_right)
{
    nb_check_report r;
    const double x[] = {1, 1};
    nb_check_arrays(&(nb_check_plain){.f = loud_f, .g = loud_g, .n = 2, .x = x}, NULL, &r);
    ck_assert_msg(nb_check_ok(&r) && r.count[NB_VERDICT_NOISY] == 1, "%s", r.text);
    ck_assert_msg(strstr(r.text, "not at 1 of 2"), "%s", r.text);
}
END_TEST

/* ---- many inputs, of which a sample is tested ------------------------------------------------ */

enum { MANY = 600 };

typedef struct many {
    double twice;    /* the gradient of this element is doubled, if there is one: else -1 */
    const double *x; /* with: values jump about as soon as two inputs have moved */
} many;

/* Inputs rounded to floats on the way. */
static double many_f(const double *x, size_t n, void *context)
{
    const many *m = context;
    double sum = 0;
    uint64_t all = 0;
    int moved = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = m->x ? x[i] : (double)(float)x[i];
        uint64_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        all = all * 0x9e3779b97f4a7c15u + bits;
        sum += v * v * (double)(1 + i % 3);
        moved += m->x && x[i] != m->x[i];
    }
    if (!m->x)
        return sum;
    nb_rng r = nb_rng_seed(all);
    return moved > 1 ? sum + 1e6 * nb_rng_uniform(&r) : sum;
}

static void many_g(const double *x, size_t n, double *g, void *context)
{
    const many *m = context;
    for (size_t i = 0; i < n; i++)
        g[i] = 2 * x[i] * (double)(1 + i % 3) * ((double)i == m->twice ? 2 : 1);
}

static double point[MANY];

static void draw(uint64_t seed)
{
    nb_rng r = nb_rng_seed(seed);
    for (size_t i = 0; i < MANY; i++)
        point[i] = (nb_rng_uniform(&r) - 0.5) * (i == 321 ? 1 : 10);
    point[321] += point[321] > 0 ? 5 : -5;
}

START_TEST(rounding_inside_hides_no_wrong_gradient)
{
    for (uint64_t seed = 0; seed < 6; seed++) {
        nb_check_report r;
        many m = {.twice = -1};
        const nb_check_plain p = {.f = many_f, .g = many_g, .context = &m, .n = MANY, .x = point};
        draw(seed);
        nb_check_arrays(&p, &(nb_check_options){.seed = seed}, &r);
        ck_assert_msg(nb_check_ok(&r), "%s", r.text);
        m.twice = 321;
        nb_check_arrays(&p, &(nb_check_options){.seed = seed}, &r);
        ck_assert_msg(r.verdict == NB_VERDICT_WRONG, "%s", r.text);
    }
}
END_TEST

START_TEST(a_sample_alone_is_not_right)
{
    nb_check_report r;
    many m = {.twice = -1, .x = point};
    const nb_check_plain p = {.f = many_f, .g = many_g, .context = &m, .n = MANY, .x = point};
    draw(1);
    nb_check_arrays(&p, NULL, &r);
    ck_assert_msg(r.verdict == NB_VERDICT_NOISY && r.count[NB_VERDICT_RIGHT] == r.tested, "%s",
                  r.text);
    ck_assert(strstr(r.text, "the sample is not all"));
    nb_check_arrays(&p, &(nb_check_options){.all_up_to = MANY}, &r);
    ck_assert_msg(nb_check_ok(&r), "%s", r.text);
    nb_check_arrays(&p, &(nb_check_options){.directions = -1}, &r); /* as asked for */
    ck_assert_msg(nb_check_ok(&r), "%s", r.text);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("grain");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, a_structure_finer_than_the_steps);
    tcase_add_test(c, what_is_in_doubt_is_said_beside_what_is_right);
    tcase_add_test(c, rounding_inside_hides_no_wrong_gradient);
    tcase_add_test(c, a_sample_alone_is_not_right);
    return run_case("grain", c);
}
