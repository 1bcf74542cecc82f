/*
 * Replays: every layout and number of lanes gives what one lane at a time gives, nothing is read or written
 * beside the arrays, sums do not depend on threads, and what cannot be replayed is told before anything is
 * written.
 */
#include "element.h"
#include "error_is.h"
#include "program.h"

#include "program/program.h"
#include "program/run.h"

enum { WIDE = 11, OUT = 9, MOST = 1500, APART = 37 };

/* Outputs y [OUT] and s, of x [WIDE] and the shared w [2]. */
typedef struct sample {
    nb_program *p;
    double w[2];
    double x[MOST * WIDE];
} sample;

static void outputs(const nb_var *x, const nb_var *w, nb_var *y, nb_var *s)
{
    for (int k = 0; k < OUT; k++)
        y[k] = nb_add(nb_mul(x[k], w[0]), nb_sin(nb_mul(x[(k + 1) % WIDE], x[(3 * k) % WIDE])));
    y[4] = nb_mul(w[0], w[1]); /* the same in all lanes */
    *s = nb_sub(nb_mul(y[0], y[1]), nb_mul(w[1], x[10]));
}

static double y_of(const double *x, const double *w, int k)
{
    return k == 4 ? w[0] * w[1] : x[k] * w[0] + sin(x[(k + 1) % WIDE] * x[(3 * k) % WIDE]);
}

static double s_of(const double *x, const double *w)
{
    return y_of(x, w, 0) * y_of(x, w, 1) - w[1] * x[10];
}

static void open_sample(sample *m, bool strict)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[WIDE], w[2], y[OUT], s;
    for (int k = 0; k < WIDE; k++)
        x[k] = nb_input(t, NULL, k);
    w[0] = nb_input(t, NULL, 1);
    w[1] = nb_input(t, NULL, 2);
    outputs(x, w, y, &s);
    m->p = nb_freeze(
        &(nb_recipe){.n_in = 2,
                     .in = (nb_argument[]){{.name = "x", .count = WIDE, .var = x},
                                           {.name = "w", .count = 2, .var = w, .shared = true}},
                     .n_out = 3,
                     .out = (nb_argument[]){{.name = "y", .count = OUT, .var = y},
                                            {.name = "s", .count = 1, .var = &s},
                                            {.name = "total", .count = 1, .var = &s, .sum = true}},
                     .strict = strict});
    ck_assert_msg(m->p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    m->w[0] = 0.75;
    m->w[1] = -1.25;
    for (int k = 0; k < MOST * WIDE; k++)
        m->x[k] = 2 * sin(0.61 * k);
}

/* A buffer that a test owns up to its ends: what lies beside is watched. */
enum { MARGIN = 64 };
static unsigned char memory[2][MOST * 64 * 8 + 2 * MARGIN];

static void *watched(int which)
{
    memset(memory[which], 0x5a, sizeof memory[which]);
    return memory[which] + MARGIN;
}

typedef struct layout {
    const char *name;
    int64_t lane, element; /* in units of: -1 the number of lanes */
    bool index;
} layout;

static const layout layouts[] = {
    {"dense", 0, 0, false},         {"a column per element", 1, -1, false},
    {"rows apart", 29, 0, false},   {"elements apart", 64, 3, false},
    {"gathered rows", 13, 0, true}, {"gathered columns", 1, -1, true},
};

/* The place of lane l among `n` for an index: a permutation. */
static int64_t shuffled(int64_t l, int64_t n) { return (l * APART + 5) % n; }

static void check_layout(const sample *m, int64_t n, nb_dtype d, const layout *in,
                         const layout *out)
{
    static int64_t index[MOST];
    static double s[MOST];
    static float sf[MOST];
    double total = 0, w[2], want_total = 0;
    const double bound = d == NB_F64 ? 1e-14 : 1e-5;
    for (int64_t l = 0; l < n; l++)
        index[l] = shuffled(l, n);
    char *x = watched(0), *y = watched(1);
    nb_lanes a = {x, in->lane, in->element < 0 ? n : in->element, in->index ? index : NULL, 0};
    nb_lanes b = {y, out->lane, out->element < 0 ? n : out->element, out->index ? index : NULL, 0};
    const int64_t xe = a.element ? a.element : 1, xl = a.lane ? a.lane : WIDE * xe;
    const int64_t ye = b.element ? b.element : 1, yl = b.lane ? b.lane : OUT * ye;
    for (int64_t l = 0; l < n; l++)
        for (int k = 0; k < WIDE; k++)
            put(x, d, (in->index ? index[l] : l) * xl + k * xe, m->x[l * WIDE + k]);
    put(w, d, 0, m->w[0]);
    put(w, d, 1, m->w[1]);
    void *s_at = d == NB_F64 ? (void *)s : sf;
    nb_reason why = {""};
    const nb_code code =
        nb_program_run(m->p,
                       &(nb_replay){.lanes = n,
                                    .dtype = d,
                                    .in = (nb_lanes[]){a, {.data = w}},
                                    .out = (nb_lanes[]){b, {.data = s_at}, {.data = &total}}},
                       &why);
    ck_assert_msg(code == NB_OK, "%s to %s: %s", in->name, out->name, why.text);
    double worst = 0;
    int64_t written = 0;
    for (int64_t l = 0; l < n; l++) {
        const double *row = m->x + l * WIDE;
        for (int k = 0; k < OUT; k++)
            worst = fmax(worst, fabs(get(y, d, (out->index ? index[l] : l) * yl + k * ye) -
                                     y_of(row, m->w, k)));
        worst = fmax(worst, fabs(get(s_at, d, l) - s_of(row, m->w)) / 4);
        want_total += s_of(row, m->w);
    }
    ck_assert_msg(worst < bound, "%lld lanes, %s to %s: %g apart", (long long)n, in->name,
                  out->name, worst);
    ck_assert(fabs(get(&total, d, 0) - want_total) <= bound * (1 + 4 * (double)n));
    for (size_t k = 0; k < sizeof memory[1]; k++)
        written += memory[1][k] != 0x5a;
    ck_assert_int_le(written, n * OUT * (d == NB_F64 ? 8 : 4));
}

START_TEST(every_layout_and_number_of_lanes)
{
    static sample m;
    static const int64_t lanes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 127, 200, 1203};
    open_sample(&m, false);
    const size_t n = sizeof layouts / sizeof *layouts;
    for (size_t k = 0; k < sizeof lanes / sizeof *lanes; k++)
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++)
                for (int d = 0; d < 2; d++)
                    check_layout(&m, lanes[k], (nb_dtype)d, &layouts[i], &layouts[j]);
    nb_program_free(m.p);
}
END_TEST

START_TEST(strict_or_not_every_instruction_set)
{
    static sample m;
    for (int strict = 0; strict < 2; strict++) {
        open_sample(&m, strict);
        for (int isa = 0; isa < NBI_ISA_COUNT; isa++) {
            if (!nbi_isa_available((nbi_isa)isa))
                continue;
            m.p->isa = (nbi_isa)isa;
            for (int d = 0; d < 2; d++)
                for (int64_t n = 1; n < 400; n += 57)
                    check_layout(&m, n, (nb_dtype)d, &layouts[n % 6], &layouts[n % 5]);
        }
        nb_program_free(m.p);
    }
}
END_TEST

/* In strict programs x y + z rounds twice, in others once where the machine can; an fma always once. */
static nb_var product_and_sum(const nb_var *x, int which)
{
    return which ? nb_fma(x[0], x[1], x[2]) : nb_add(nb_mul(x[0], x[1]), x[2]);
}

START_TEST(strict_programs_round_as_the_tape_does)
{
    const double x[3] = {1 + 0x1p-30, 1 - 0x1p-30, -1};
    double y;
    nb_replay r = {
        .lanes = 1, .in = &(nb_lanes){.data = (void *)x}, .out = &(nb_lanes){.data = &y}};
    nb_program *p = program_freeze(product_and_sum, 0, 3, x, true);
    ck_assert(!nb_program_run(p, &r, NULL) && y == 0);
    nb_program_free(p);
    p = program_freeze(product_and_sum, 1, 3, x, true);
    ck_assert(!nb_program_run(p, &r, NULL) && y == -0x1p-60);
    nb_program_free(p);
}
END_TEST

/* ---- sums, rows, threads ----------------------------------------------------------------------- */

START_TEST(sums_do_not_depend_on_threads)
{
    enum { N = 20011 };
    static sample m;
    static double x[N * WIDE], y[N * OUT], s[N];
    open_sample(&m, false);
    for (int k = 0; k < N * WIDE; k++)
        x[k] = sin(0.11 * k) + 1e3 * cos(0.007 * k);
    double alone = 0;
    for (int threads = 1; threads <= 5; threads++) {
        nb_pool *pool = nb_pool_new(threads, NULL);
        double total = 0;
        ck_assert(!nb_program_run(
            m.p,
            &(nb_replay){.lanes = N,
                         .in = (nb_lanes[]){{.data = x}, {.data = m.w}},
                         .out = (nb_lanes[]){{.data = y}, {.data = s}, {.data = &total}},
                         .pool = threads > 1 ? pool : NULL},
            NULL));
        alone = threads == 1 ? total : alone;
        ck_assert(memcmp(&alone, &total, sizeof total) == 0);
        nb_pool_free(pool);
    }
    nb_program_free(m.p);
}
END_TEST

/* Sums of floats keep their digits: 10^6 times 0.1f. */
static nb_var itself(const nb_var *x, int which) { return which ? nb_mul(x[0], x[0]) : x[0]; }

static nb_program *summed(recorded_fn *f, bool shared)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, NULL, 1), y = f(&x, 0);
    nb_program *p = nb_freeze(
        &(nb_recipe){.n_in = 1,
                     .in = &(nb_argument){.name = "x", .count = 1, .var = &x, .shared = shared},
                     .n_out = 1,
                     .out = &(nb_argument){.name = "y", .count = 1, .var = &y, .sum = true}});
    ck_assert(p != NULL);
    nb_tape_free(t);
    return p;
}

START_TEST(sums_of_floats_keep_their_digits)
{
    enum { N = 1000000 };
    float *x = malloc(N * sizeof *x), y = 0;
    for (int k = 0; k < N; k++)
        x[k] = 0.1F;
    nb_program *p = summed(itself, false);
    nb_replay r = {
        .lanes = N, .dtype = NB_F32, .in = &(nb_lanes){.data = x}, .out = &(nb_lanes){.data = &y}};
    ck_assert(!nb_program_run(p, &r, NULL));
    ck_assert(y == (float)(N * (double)0.1F));
    r.lanes = 0;
    ck_assert(!nb_program_run(p, &r, NULL) && y == 0);
    nb_program_free(p);
    p = summed(itself, true); /* what does not vary counts for every lane */
    r.lanes = 1000;
    ck_assert(!nb_program_run(p, &r, NULL));
    ck_assert(y == (float)(1000 * (double)0.1F));
    nb_program_free(p);
    free(x);
}
END_TEST

START_TEST(rows_are_replays_one_after_the_other)
{
    enum { ROWS = 3, N = 70 };
    static sample m;
    static double y[ROWS * N * OUT], s[ROWS * N], one_y[N * OUT], one_s[N];
    double w[ROWS][2] = {{1, 2}, {3, -4}, {0.5, 0.25}}, total[ROWS], all, sum = 0;
    open_sample(&m, false);
    nb_replay r = {.lanes = N, .rows = ROWS};
    r.in = (nb_lanes[]){{.data = m.x}, {.data = w, .row = 2}};
    r.out = (nb_lanes[]){
        {.data = y, .row = (int64_t)N * OUT}, {.data = s, .row = N}, {.data = total, .row = 1}};
    ck_assert(!nb_program_run(m.p, &r, NULL));
    r.out =
        (nb_lanes[]){{.data = y, .row = (int64_t)N * OUT}, {.data = s, .row = N}, {.data = &all}};
    ck_assert(!nb_program_run(m.p, &r, NULL));
    for (int k = 0; k < ROWS; k++) {
        double one = 0;
        ck_assert(!nb_program_run(
            m.p,
            &(nb_replay){.lanes = N,
                         .in = (nb_lanes[]){{.data = m.x}, {.data = w[k]}},
                         .out = (nb_lanes[]){{.data = one_y}, {.data = one_s}, {.data = &one}}},
            NULL));
        ck_assert(one == total[k] && !memcmp(one_s, s + k * N, sizeof one_s));
        ck_assert(!memcmp(one_y, y + k * N * OUT, sizeof one_y));
        sum += one;
    }
    ck_assert_double_eq_tol(sum, all, 1e-9);
    nb_program_free(m.p);
}
END_TEST

/* ---- guards, NaN, replacing -------------------------------------------------------------------- */

static nb_var branch(const nb_var *x, int which)
{
    (void)which;
    if (nb_guard(nb_gt(x[0], 0)))
        return nb_guard(nb_gt(x[0], 10)) ? nb_square(x[0]) : nb_sqrt(x[0]);
    return nb_neg(x[0]);
}

START_TEST(lanes_that_leave_a_branch_are_reported)
{
    enum { N = 100 };
    const double at = 4;
    double x[N], y[N];
    uint8_t left[N];
    nb_reason why = {""};
    nb_program *p = program_freeze(branch, 0, 1, &at, false);
    ck_assert_uint_eq(nb_program_inspect(p).guards, 2);
    for (int k = 0; k < N; k++)
        x[k] = 1 + k % 9;
    nb_replay r = {
        .lanes = N, .in = &(nb_lanes){.data = x}, .out = &(nb_lanes){.data = y}, .left = left};
    ck_assert(nb_program_run(p, &r, NULL) == NB_OK);
    for (int k = 0; k < N; k++)
        ck_assert(y[k] == sqrt(x[k]) && !left[k]);
    x[3] = -1;
    x[97] = 12;
    ck_assert(nb_program_run(p, &r, &why) == NB_ERR_GUARD && strstr(why.text, "left"));
    for (int k = 0; k < N; k++)
        ck_assert(left[k] == (k == 3 || k == 97) && (left[k] || y[k] == sqrt(x[k])));
    r.left = NULL;
    ck_assert(nb_program_run(p, &r, NULL) == NB_ERR_GUARD);
    nb_program *g = nb_program_gradient(p, NULL, NULL); /* keeps its guards */
    ck_assert_uint_eq(nb_program_inspect(g).guards, 2);
    nb_program_free(g);
    nb_program_free(p);
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){1, 2});
    ck_assert(!nb_guard(v) && !nb_guard(nb_num(0)) && nb_guard(nb_num(2)));
    is(t, NB_ERR_SHAPE, "guard");
    nb_tape_free(t);
}
END_TEST

START_TEST(nan_stays_in_its_lane)
{
    static sample m;
    static double y[200 * OUT], s[200];
    double total = 0;
    open_sample(&m, false);
    for (int k = 0; k < WIDE; k++)
        m.x[77 * WIDE + k] = (double)NAN;
    ck_assert(!nb_program_run(
        m.p,
        &(nb_replay){.lanes = 200,
                     .in = (nb_lanes[]){{.data = m.x}, {.data = m.w}},
                     .out = (nb_lanes[]){{.data = y}, {.data = s}, {.data = &total}}},
        NULL));
    for (int l = 0; l < 200; l++)
        ck_assert((l == 77) == (isnan(s[l]) != 0) && (l == 77) == (isnan(y[l * OUT]) != 0));
    ck_assert(isnan(total));
    nb_program_free(m.p);
}
END_TEST

/* p -= rate m, m = 0.9 m + g: m and p are replaced, although p needs the old m. */
START_TEST(outputs_may_replace_inputs_when_asked)
{
    enum { N = 333 };
    double p[N], m[N], g[N], p0[N], m0[N];
    nb_tape *t = nb_tape_new(NULL);
    nb_var vp = nb_input(t, "p", 0), vm = nb_input(t, "m", 0), vg = nb_input(t, "g", 0);
    nb_var to_m = nb_add(nb_mul(0.9, vm), vg), to_p = nb_sub(vp, nb_add(nb_mul(0.1, vm), vg));
    nb_program *step =
        nb_freeze(&(nb_recipe){.n_in = 3,
                               .in = (nb_argument[]){{.name = "p", .count = 1, .var = &vp},
                                                     {.name = "m", .count = 1, .var = &vm},
                                                     {.name = "g", .count = 1, .var = &vg}},
                               .n_out = 2,
                               .out = (nb_argument[]){{.name = "m", .count = 1, .var = &to_m},
                                                      {.name = "p", .count = 1, .var = &to_p}}});
    for (int k = 0; k < N; k++) {
        p[k] = p0[k] = sin(k);
        m[k] = m0[k] = cos(k);
        g[k] = 0.5 * k;
    }
    nb_replay r = {.lanes = N,
                   .in = (nb_lanes[]){{.data = p}, {.data = m}, {.data = g}},
                   .out = (nb_lanes[]){{.data = m}, {.data = p}}};
    nb_reason why;
    ck_assert(nb_program_run(step, &r, &why) == NB_ERR_ARGUMENT && strstr(why.text, "overlaps"));
    r.in_place = true;
    ck_assert(nb_program_run(step, &r, &why) == NB_OK);
    double worst = 0;
    for (int k = 0; k < N; k++)
        worst = fmax(worst, fmax(fabs(m[k] - (0.9 * m0[k] + g[k])),
                                 fabs(p[k] - (p0[k] - (0.1 * m0[k] + g[k])))));
    ck_assert(worst < 1e-12);
    r.out = (nb_lanes[]){{.data = m + 1}, {.data = p}};
    ck_assert(nb_program_run(step, &r, &why) == NB_ERR_ARGUMENT);
    nb_program_free(step);
    nb_tape_free(t);
}
END_TEST

/* An output per lane cannot replace a shared input, which other lanes still need, nor a sum lanes. */
START_TEST(shared_inputs_and_lanes_do_not_replace_one_another)
{
    double a[40];
    nb_reason why = {""};
    for (int shared = 0; shared < 2; shared++) {
        nb_tape *t = nb_tape_new(NULL);
        nb_var x = nb_input(t, "x", 1), y = nb_mul(x, 2);
        const nb_argument in = {.name = "x", .count = 1, .var = &x, .shared = shared};
        const nb_argument out = {.name = "y", .count = 1, .var = &y, .sum = !shared};
        nb_program *p = nb_freeze(&(nb_recipe){.n_in = 1, .in = &in, .n_out = 1, .out = &out});
        for (int k = 0; k < 40; k++)
            a[k] = k + 3;
        const nb_lanes at = {.data = a};
        const nb_replay r = {.lanes = 40, .in = &at, .out = &at, .in_place = true};
        ck_assert(nb_program_run(p, &r, &why) == NB_ERR_ARGUMENT && strstr(why.text, "overlaps"));
        ck_assert(a[0] == 3 && a[39] == 42);
        nb_program_free(p);
        nb_tape_free(t);
    }
}
END_TEST

/* Nothing to compute, and steps that would overflow if there were a second lane to step to. */
START_TEST(extremes_of_size)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), y = nb_mul(x, 2);
    const nb_argument in = {.name = "x", .count = 1, .var = &x};
    nb_reason why = {""};
    double a = 3, b = 7;
    nb_program *none = nb_freeze(
        &(nb_recipe){.n_in = 1, .in = &in, .n_out = 1, .out = &(nb_argument){.name = "nothing"}});
    nb_program *j = nb_program_jacobian(none, NULL, &why), *v = nb_program_vjp(none, NULL, &why);
    ck_assert_msg(none && j && v, "%s %s", nb_message(t), why.text);
    nb_replay r = {.lanes = 1, .in = &(nb_lanes){.data = &a}, .out = &(nb_lanes){.data = NULL}};
    ck_assert(nb_program_run(none, &r, &why) == NB_OK);
    ck_assert(nb_program_inspect(none).instructions == 0);
    r.in = (nb_lanes[]){{.data = &a}, {.data = NULL}};
    r.out = &(nb_lanes){.data = &b};
    ck_assert(nb_program_run(v, &r, &why) == NB_OK && b == 0);
    r.out = (nb_lanes[]){{.data = NULL}, {.data = NULL}};
    ck_assert(nb_program_run(j, &r, &why) == NB_OK);
    nb_program *p = nb_freeze(
        &(nb_recipe){.n_in = 1,
                     .in = &in,
                     .n_out = 1,
                     .out = &(nb_argument){.name = "y", .count = 1, .var = &y, .sum = true}});
    const int64_t far[] = {INT64_MAX, INT64_MIN};
    for (int k = 0; k < 2; k++) {
        b = 0;
        r.in = &(nb_lanes){.data = &a, .lane = far[k]};
        r.out = &(nb_lanes){.data = &b};
        ck_assert(nb_program_run(p, &r, &why) == NB_OK);
        ck_assert(b == 6);
    }
    /* sums for so many rows take all of the address space, to a few bytes */
    r.in = &(nb_lanes){.data = &a};
    r.out = &(nb_lanes){.data = &b};
    r.rows = ((int64_t)1 << 58) - 1;
    ck_assert(nb_program_run(p, &r, &why) == NB_ERR_OVERFLOW);
    nb_program_free(none);
    nb_program_free(j);
    nb_program_free(v);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- what is refused --------------------------------------------------------------------------- */

START_TEST(what_cannot_be_replayed_writes_nothing)
{
    static sample m;
    static double y[100 * OUT], s[100 * OUT];
    double total = 7;
    int64_t index[10] = {0, 1, 2, 3, -4, 5, 6, 7, 8, 9};
    open_sample(&m, false);
    double around[20] = {0}, *w = around + 9;
    const nb_lanes in[2] = {{.data = m.x}, {.data = w}};
    const nb_lanes out[3] = {{.data = y}, {.data = s}, {.data = &total}};
    struct {
        nb_replay r;
        nb_lanes x, y;
        nb_code code;
        const char *part;
    } cases[] = {
        {{.lanes = -1}, in[0], out[0], NB_ERR_ARGUMENT, "negative"},
        {{.lanes = 10, .rows = -2}, in[0], out[0], NB_ERR_ARGUMENT, "negative"},
        {{.lanes = 10}, {.data = NULL}, out[0], NB_ERR_ARGUMENT, "input \"x\" has no data"},
        {{.lanes = 10}, in[0], {.data = NULL}, NB_ERR_ARGUMENT, "output \"y\" has no data"},
        {{.lanes = INT64_MAX / 8}, in[0], out[0], NB_ERR_OVERFLOW, "address space"},
        {{.lanes = 10}, {.data = m.x, .lane = INT64_MAX / 4}, out[0], NB_ERR_OVERFLOW, "\"x\""},
        {{.lanes = 10}, {.data = m.x, .index = index}, out[0], NB_ERR_INDEX, "has -4 in it"},
        {{.lanes = 10}, in[0], {.data = s}, NB_ERR_ARGUMENT, "overlaps output"},
        {{.lanes = 10}, in[0], {.data = m.x + 5}, NB_ERR_ARGUMENT, "overlaps input \"x\""},
        {{.lanes = 1}, in[0], {.data = w - 3}, NB_ERR_ARGUMENT, "overlaps input \"w\""},
        {{.lanes = 10, .rows = 2}, in[0], out[0], NB_ERR_ARGUMENT, "from row to row"},
        {{.lanes = 10, .dtype = (nb_dtype)7}, in[0], out[0], NB_ERR_ARGUMENT, "element type 7"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        nb_reason why = {""};
        nb_lanes a[2] = {cases[k].x, in[1]}, b[3] = {cases[k].y, out[1], out[2]};
        cases[k].r.in = a;
        cases[k].r.out = b;
        const nb_code code = nb_program_run(m.p, &cases[k].r, &why);
        ck_assert_msg(code == cases[k].code && strstr(why.text, cases[k].part), "case %zu: %s, %s",
                      k, nb_code_name(code), why.text);
    }
    ck_assert(total == 7 && y[0] == 0 && s[0] == 0);
    ck_assert(nb_program_run(NULL, &cases[0].r, NULL) == NB_ERR_ARGUMENT);
    ck_assert(nb_program_run(m.p, NULL, NULL) == NB_ERR_ARGUMENT);
    ck_assert(nb_program_run(m.p, &(nb_replay){.lanes = 1}, NULL) == NB_ERR_ARGUMENT);
    nb_program_free(m.p);
}
END_TEST

/* Columns of one table are not in each other's way. */
START_TEST(outputs_may_interleave)
{
    static sample m;
    static double table[50][WIDE + OUT + 1];
    double total;
    open_sample(&m, false);
    for (int l = 0; l < 50; l++)
        memcpy(table[l], m.x + l * WIDE, WIDE * sizeof **table);
    const int64_t wide = WIDE + OUT + 1;
    nb_reason why = {""};
    ck_assert_msg(
        !nb_program_run(
            m.p,
            &(nb_replay){.lanes = 50,
                         .in = (nb_lanes[]){{.data = table, .lane = wide}, {.data = m.w}},
                         .out = (nb_lanes[]){{.data = &table[0][WIDE], .lane = wide},
                                             {.data = &table[0][WIDE + OUT], .lane = wide},
                                             {.data = &total}}},
            &why),
        "%s", why.text);
    for (int l = 0; l < 50; l++)
        ck_assert(fabs(table[l][WIDE + OUT] - s_of(m.x + l * WIDE, m.w)) < 1e-13);
    nb_program_free(m.p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("replays");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, every_layout_and_number_of_lanes);
    tcase_add_test(c, strict_or_not_every_instruction_set);
    tcase_add_test(c, strict_programs_round_as_the_tape_does);
    tcase_add_test(c, sums_do_not_depend_on_threads);
    tcase_add_test(c, sums_of_floats_keep_their_digits);
    tcase_add_test(c, rows_are_replays_one_after_the_other);
    tcase_add_test(c, lanes_that_leave_a_branch_are_reported);
    tcase_add_test(c, nan_stays_in_its_lane);
    tcase_add_test(c, outputs_may_replace_inputs_when_asked);
    tcase_add_test(c, shared_inputs_and_lanes_do_not_replace_one_another);
    tcase_add_test(c, extremes_of_size);
    tcase_add_test(c, what_cannot_be_replayed_writes_nothing);
    tcase_add_test(c, outputs_may_interleave);
    return run_case("replay", c);
}
