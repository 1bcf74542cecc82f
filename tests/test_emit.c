/*
 * Printed C says what replays say. Every row of the table, value and slopes, and composite programs are
 * printed in double and in float, compiled by gcc and by clang with warnings as errors, once for any
 * machine and once for this one, and called lane by lane and over a batch. A compiler that is absent is
 * left out.
 */
#include "error_is.h"
#include "emitted.h"

#include "ops/elementwise.h"
#include "program/program.h"

enum { LANES = 203, MOST = 3 * NBI_ROWS, ROOM = 320 /* elements of an argument, at most */ };

static const char *const compilers[] = {"gcc", "clang"};
static const char *const flags[] = {"-O1", "-O3 -march=native"};

/* In double or float; both hold the same. */
typedef union numbers {
    double d[LANES * ROOM];
    float f[LANES * ROOM];
} numbers;

static void put(numbers *to, nb_dtype dtype, size_t i, double v)
{
    if (dtype == NB_F64)
        to->d[i] = v;
    else
        to->f[i] = (float)v;
}

static double get(const numbers *from, nb_dtype dtype, size_t i)
{
    return dtype == NB_F64 ? from->d[i] : (double)from->f[i];
}

static size_t size_of(nb_dtype dtype) { return dtype == NB_F64 ? sizeof(double) : sizeof(float); }

/* How many units in the last place lie between a and b: of the larger of the two, or of scale. */
static double ulps(nb_dtype dtype, double a, double b, double scale)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b) ? 0 : (double)INFINITY;
    if (a == b)
        return 0;
    if (isinf(a) || isinf(b))
        return (double)INFINITY;
    const int least = dtype == NB_F64 ? -1074 : -149, digits = dtype == NB_F64 ? 52 : 23;
    const int last = ilogb(fmax(fmax(fabs(a), fabs(b)), scale)) - digits;
    return ldexp(fabs(a - b), -(last > least ? last : least));
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* All rows of the table, each of inputs of its own. */
static nb_program *all_rows(bool strict)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[MOST], y[NBI_ROWS];
    for (uint32_t r = 0; r < NBI_ROWS; r++) {
        for (size_t k = 0; k < 3; k++)
            x[3 * r + k] = nb_input(t, NULL, nbi_rows[r].range[2 * k]);
        y[r] = nbi_row_call((enum nbi_row)r, x + 3 * r);
    }
    nb_program *p =
        nb_freeze(&(nb_recipe){.n_in = 1,
                               .in = &(nb_argument){.name = "x", .count = MOST, .var = x},
                               .n_out = 1,
                               .out = &(nb_argument){.name = "y", .count = NBI_ROWS, .var = y},
                               .strict = strict});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

/* Lane l's operand k of a row: hard points in the first hundred lanes, then samples of its range. */
static double sample(const double *range, size_t k, size_t l)
{
    static const double hard[] = {0,           -0.0, 1,  -1, (double)INFINITY, -(double)INFINITY,
                                  (double)NAN, 0.5,  40, -40};
    const size_t n = sizeof hard / sizeof *hard;
    if (range[2 * k] == range[2 * k + 1])
        return range[2 * k];
    if (l < n * n)
        return k == 0 ? hard[l % n] : k == 1 ? hard[l / n] : hard[(l + 3) % n];
    return range[2 * k] +
           (range[2 * k + 1] - range[2 * k]) * (0.5 + 0.5 * sin(1.7 * (double)l + (double)k));
}

static numbers x, u, d, expected[2]; /* by plain replays, and by those on vectors */

/* What is compared: outputs of `count` per lane, of row e / per for element e. */
static void agree(nb_dtype dtype, size_t count, size_t per, const numbers *by, const char *what)
{
    for (size_t l = 0; l < LANES; l++)
        for (size_t e = 0; e < count; e++) {
            const double have = get(&d, dtype, l * count + e), want = get(by, dtype, l * count + e);
            const double off = ulps(dtype, have, want, 0);
            const size_t at = l * MOST + 3 * (e / per);
            if (off > 2)
                ck_abort_msg("%s: %s %zu at %g %g %g: %.17g, not %.17g: %g ulp", what,
                             nbi_rows[e / per].name, e % per, get(&x, dtype, at),
                             get(&x, dtype, at + 1), get(&x, dtype, at + 2), have, want, off);
        }
}

/* The program p of inputs x and perhaps u, printed and compiled in all ways. A function of one lane, and
 * one over a batch for any machine, calls libm, as plain replays do; a batch for this machine has the
 * functions of replays on vectors, except in float; their slopes are compared where products and sums
 * may not fuse, since some cancel. */
static void rows_agree(const nb_program *p, nb_dtype dtype, size_t count, size_t per)
{
    const bool seeds = nb_program_inspect(p).n_in == 2;
    emitted_print(p, &(nb_emit){.name = "rows", .dtype = dtype, .batch = true});
    for (size_t c = 0; c < 2; c++)
        for (size_t f = 0; f < 2 && emitted_have(compilers[c]); f++) {
            void *library = emitted_load("rows", compilers[c], flags[f]);
            char *xs = (char *)&x, *us = (char *)&u, *ds = (char *)&d;
            const size_t size = size_of(dtype);
            memset(&d, 0x55, sizeof d);
            for (size_t l = 0; l < LANES; l++) {
                char *to = ds + l * count * size, *seed = us + l * NBI_ROWS * size;
                emitted_call(library, "rows", -1,
                             (void *[EMITTED_MOST]){xs + l * MOST * size, seeds ? seed : to, to});
            }
            agree(dtype, count, per, &expected[0], compilers[c]);
            memset(&d, 0x55, sizeof d);
            emitted_call(library, "rows_batch", LANES,
                         (void *[EMITTED_MOST]){xs, seeds ? us : ds, ds});
            if (!f || dtype == NB_F32)
                agree(dtype, count, per, &expected[0], "a batch");
            else if (p->strict || !seeds)
                agree(dtype, count, per, &expected[1], "a batch on this machine");
            dlclose(library);
        }
}

/* Values, or with `slopes` the slopes, of all rows. */
static void check_rows(nb_dtype dtype, bool strict, bool slopes)
{
    for (size_t l = 0; l < LANES; l++)
        for (uint32_t r = 0; r < NBI_ROWS; r++) {
            put(&u, dtype, l * NBI_ROWS + r, 1);
            for (size_t k = 0; k < 3; k++)
                put(&x, dtype, l * MOST + 3 * r + k, sample(nbi_rows[r].range, k, l));
        }
    nb_program *rows = all_rows(strict), *p = slopes ? nb_program_vjp(rows, NULL, NULL) : rows;
    ck_assert(p != NULL);
    for (int vectors = 0; vectors < 2; vectors++) {
        p->isa = vectors ? nbi_isa_best() : NBI_ISA_PLAIN;
        const nb_replay r = {.lanes = LANES,
                             .dtype = dtype,
                             .in = (nb_lanes[]){{.data = &x}, {.data = &u}},
                             .out = &(nb_lanes){.data = &expected[vectors]}};
        ck_assert(nb_program_run(p, &r, NULL) == NB_OK);
    }
    rows_agree(p, dtype, slopes ? MOST : NBI_ROWS, slopes ? 3 : 1);
    nb_program_free(rows);
    if (slopes)
        nb_program_free(p);
}

START_TEST(rows_in_double) { check_rows(NB_F64, _i & 1, _i & 2); }
END_TEST
START_TEST(rows_in_float) { check_rows(NB_F32, false, _i); }
END_TEST

/* ---- composite programs ---------------------------------------------------------------------- */

/* Inputs x [11] and w [2], shared, "double" [1]: a guard, selections, sines and cosines of the same, results
 * that do not vary, one after the other of several groups. */
enum { X = 11, W = 2, OUT = 19 };

static nb_program *composite(bool strict, bool guard)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a[X], w[W], s, y[OUT], total[3];
    for (int k = 0; k < X; k++)
        a[k] = nb_input(t, NULL, 0.1 * k + 0.3);
    for (int k = 0; k < W; k++)
        w[k] = nb_input(t, NULL, 1 + k);
    s = nb_input(t, NULL, 0.5);
    if (guard)
        ck_assert(nb_guard(nb_gt(nb_mul(a[0], s), -1)) && nb_guard(nb_ne(w[0], 0)));
    nb_var norm = nb_sqrt(nb_add(nb_square(a[0]), nb_square(a[1])));
    nb_var wave = nb_add(nb_mul(nb_sin(norm), w[0]), nb_mul(nb_cos(norm), nb_cos(w[1])));
    for (int k = 0; k < OUT; k++)
        y[k] = nb_div(nb_add(nb_mul(a[k % X], wave), nb_tanh(a[(k + 3) % X])), nb_add(2, norm));
    y[3] = nb_exp(w[0]);
    y[4] = nb_where(nb_gt(s, a[2]), nb_where(nb_lt(w[0], 3), w[0], s), nb_lt(a[4], a[5]));
    y[5] = nb_constant(t, -0.1);
    y[18] = nb_max(a[10], nb_mul(nb_erf(a[9]), w[1]));
    total[0] = nb_mul(wave, s);
    total[1] = nb_log(w[1]);
    total[2] = nb_mul(nb_sub(a[7], w[0]), nb_sigmoid(a[8]));
    nb_program *p = nb_freeze(
        &(nb_recipe){.n_in = 3,
                     .in = (nb_argument[]){{.name = "x", .count = X, .var = a},
                                           {.name = "w", .count = W, .var = w, .shared = true},
                                           {.name = "double", .count = 1, .var = &s}},
                     .n_out = 2,
                     .out = (nb_argument[]){{.name = "y", .count = OUT, .var = y},
                                            {.name = "x", .count = 3, .var = total, .sum = true}},
                     .strict = strict});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

typedef struct run {
    nb_dtype dtype;
    size_t n_in, n_out;
    numbers in[3], out[6], expected[2][6]; /* by plain replays, and by those on vectors */
    nb_lanes from[3];
} run;

static void fill(run *r, const nb_program *p)
{
    for (size_t k = 0; k < r->n_in; k++) {
        const nb_argument_info a = nb_program_in(p, k);
        for (size_t i = 0; i < (a.shared ? 1 : LANES) * a.count; i++)
            put(&r->in[k], r->dtype, i,
                a.shared ? 1.5 + (double)i : sin(0.37 * (double)(i + 5 * k)) + 0.2);
        r->from[k] = (nb_lanes){.data = &r->in[k]};
    }
    for (size_t k = 0; k < r->n_out; k++) {
        ck_assert_uint_le(nb_program_out(p, k).count, ROOM);
    }
}

/* Sums are as long as there are lanes: their units are those of the largest they may reach. */
static void compare(const run *r, const nb_program *p, bool vectors, const char *what)
{
    const double allowed =
        vectors && !p->strict ? 8 : 2; /* replays on vectors fuse, compilers may */
    for (size_t k = 0; k < r->n_out; k++) {
        const nb_argument_info a = nb_program_out(p, k);
        for (size_t i = 0; i < (a.sum ? 1 : LANES) * a.count; i++) {
            const double have = get(&r->out[k], r->dtype, i),
                         want = get(&r->expected[vectors][k], r->dtype, i);
            const double off = ulps(r->dtype, have, want, a.sum ? LANES : 1);
            if (off > allowed)
                ck_abort_msg("%s: %s %zu: %.17g, not %.17g: %g ulp", what, a.name, i, have, want,
                             off);
        }
    }
}

/* Lane by lane: what is summed is added up here. */
static void call_lanes(run *r, const nb_program *p, void *library)
{
    const size_t size = size_of(r->dtype);
    long double total[6][3] = {{0}}; /* as long as a program here sums */
    numbers *one = calloc(6, sizeof *one);
    ck_assert(one != NULL);
    for (size_t l = 0; l < LANES; l++) {
        void *a[EMITTED_MOST] = {NULL};
        for (size_t k = 0; k < r->n_in; k++) {
            const nb_argument_info info = nb_program_in(p, k);
            a[k] = (char *)&r->in[k] + (info.shared ? 0 : l * info.count * size);
        }
        for (size_t k = 0; k < r->n_out; k++) {
            const nb_argument_info info = nb_program_out(p, k);
            a[r->n_in + k] =
                info.sum ? (char *)&one[k] : (char *)&r->out[k] + l * info.count * size;
        }
        emitted_call(library, "mixed", -1, a);
        for (size_t k = 0; k < r->n_out; k++)
            for (size_t i = 0; nb_program_out(p, k).sum && i < nb_program_out(p, k).count; i++)
                total[k][i] += (long double)get(&one[k], r->dtype, i);
    }
    for (size_t k = 0; k < r->n_out; k++)
        for (size_t i = 0; nb_program_out(p, k).sum && i < nb_program_out(p, k).count; i++)
            put(&r->out[k], r->dtype, i, (double)total[k][i]);
    free(one);
}

/* p, printed and compiled in all ways, against its replay. */
static void mixed_agrees(nb_program *p, nb_dtype dtype)
{
    nb_reason why = {""};
    ck_assert(p != NULL);
    const nb_program_info info = nb_program_inspect(p);
    run *r = calloc(1, sizeof *r);
    ck_assert(r != NULL);
    r->dtype = dtype, r->n_in = info.n_in, r->n_out = info.n_out;
    fill(r, p);
    for (int vectors = 0; vectors < 2; vectors++) {
        nb_lanes to[6];
        for (size_t k = 0; k < r->n_out; k++)
            to[k] = (nb_lanes){.data = &r->expected[vectors][k]};
        p->isa = vectors ? nbi_isa_best() : NBI_ISA_PLAIN;
        const nb_replay w = {.lanes = LANES, .dtype = dtype, .in = r->from, .out = to};
        ck_assert_msg(nb_program_run(p, &w, &why) == NB_OK, "%s", why.text);
    }
    emitted_print(p, &(nb_emit){.name = "mixed", .dtype = dtype, .batch = true});
    for (size_t c = 0; c < 2; c++)
        for (size_t f = 0; f < 2 && emitted_have(compilers[c]); f++) {
            void *library = emitted_load("mixed", compilers[c], flags[f]),
                 *a[EMITTED_MOST] = {NULL};
            memset(r->out, 0x55, sizeof r->out);
            call_lanes(r, p, library);
            compare(r, p, false, compilers[c]);
            memset(r->out, 0x55, sizeof r->out);
            for (size_t k = 0; k < r->n_in + r->n_out; k++)
                a[k] = k < r->n_in ? &r->in[k] : &r->out[k - r->n_in];
            emitted_call(library, "mixed_batch", LANES, a);
            compare(r, p, f && dtype == NB_F64, f ? "a batch on this machine" : "a batch");
            dlclose(library);
        }
    free(r);
}

/* Two units of 1, or of the number itself if it is larger. */
static void check_mixed(nb_dtype dtype, bool strict)
{
    nb_program *p = composite(strict, false), *j = nb_program_jacobian(p, NULL, NULL);
    mixed_agrees(p, dtype);
    mixed_agrees(j, dtype);
    nb_program_free(j);
    nb_program_free(p);
}

START_TEST(mixed_in_double) { check_mixed(NB_F64, false); }
END_TEST
START_TEST(mixed_in_double_strictly) { check_mixed(NB_F64, true); }
END_TEST
START_TEST(mixed_in_float) { check_mixed(NB_F32, false); }
END_TEST

/* A loss of two points of the plane, one of them shared: value, gradient, Hessian. */
START_TEST(derived)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a[2] = {nb_input(t, NULL, 0.3), nb_input(t, NULL, 0.4)};
    nb_var w[2] = {nb_input(t, NULL, 1.1), nb_input(t, NULL, 2)};
    nb_var f = nb_mul(nb_tanh(nb_mul(a[0], w[0])), nb_exp(nb_neg(nb_square(nb_sub(a[1], w[1])))));
    nb_program *p = nb_freeze(
        &(nb_recipe){.n_in = 2,
                     .in = (nb_argument[]){{.name = "a", .count = 2, .var = a},
                                           {.name = "w", .count = 2, .var = w, .shared = true}},
                     .n_out = 1,
                     .out = &(nb_argument){.name = "f", .count = 1, .var = &f}});
    nb_program *g = nb_program_gradient(p, NULL, NULL),
               *h = nb_program_hessian(p, NULL, false, NULL);
    mixed_agrees(g, NB_F64);
    mixed_agrees(h, NB_F64);
    mixed_agrees(h, NB_F32);
    nb_program_free(h);
    nb_program_free(g);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- lanes, rows and guards ------------------------------------------------------------------ */

enum { SOME = 37 };

/* f = log x0 + w, with a guard for x0 > 0 and one for w != 0; "d" is a word of the recorder's. */
static nb_program *guarded(void)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_input(t, NULL, 1), w = nb_input(t, NULL, 1);
    ck_assert(nb_guard(nb_gt(v, 0)) && nb_guard(w));
    nb_var f = nb_add(nb_log(v), w);
    nb_program *p = nb_freeze(
        &(nb_recipe){.n_in = 2,
                     .in = (nb_argument[]){{.name = "x", .count = 1, .var = &v},
                                           {.name = "w", .count = 1, .var = &w, .shared = true}},
                     .n_out = 2,
                     .out = (nb_argument[]){{.name = "f", .count = 1, .var = &f},
                                            {.name = "w2", .count = 1, .var = &w, .sum = true}}});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

START_TEST(guards_and_rows)
{
    nb_program *p = guarded();
    double in[SOME], w = 3, f[SOME], sum;
    int64_t at[SOME];
    emitted_print(p, &(nb_emit){.name = "g", .batch = true, .index = true});
    for (size_t c = 0; c < 2; c++)
        for (size_t k = 0; k < 2 && emitted_have(compilers[c]); k++) {
            void *library = emitted_load("g", compilers[c], flags[k]);
            for (int i = 0; i < SOME; i++) {
                in[i] = i + 1;
                at[i] = (7 * i + 3) % SOME;
            }
            void *batch[EMITTED_MOST] = {in, at, &w, f, &sum},
                 *lane[EMITTED_MOST] = {in, &w, f, &sum};
            ck_assert_int_eq(emitted_call(library, "g_batch", SOME, batch), 0);
            for (int i = 0; i < SOME; i++)
                ck_assert_double_eq_tol(f[i], log((double)at[i] + 1) + 3, 1e-14);
            ck_assert_double_eq_tol(sum, 3 * SOME, 1e-12);
            batch[1] = NULL;
            for (int bad = 0; bad < SOME; bad++) { /* whichever lane leaves is found */
                in[bad] = -1;
                ck_assert_int_eq(emitted_call(library, "g_batch", SOME, batch), 1);
                in[bad] = bad + 1;
            }
            ck_assert_int_eq(emitted_call(library, "g_batch", SOME, batch), 0);
            ck_assert_double_eq_tol(f[SOME - 1], log(SOME) + 3, 1e-14);
            ck_assert_int_eq(emitted_call(library, "g", -1, lane), 0);
            in[0] = -1;
            ck_assert_int_eq(emitted_call(library, "g", -1, lane), 1);
            in[0] = 1, w = 0;
            ck_assert_int_eq(emitted_call(library, "g", -1, lane), 1);
            ck_assert_int_eq(emitted_call(library, "g_batch", SOME, batch), 1);
            ck_assert_int_eq(emitted_call(library, "g_batch", 0, batch), 0);
            ck_assert_double_eq_tol(sum, 0, 1e-300);
            w = 3;
            dlclose(library);
        }
    nb_program_free(p);
}
END_TEST

/* ---- numbers and names ----------------------------------------------------------------------- */

START_TEST(numbers_read_back)
{
    static const double values[] = {0.1,
                                    -0.0,
                                    5e-324,
                                    1.7976931348623157e308,
                                    -1,
                                    3,
                                    1e22,
                                    (double)INFINITY,
                                    -(double)INFINITY,
                                    (double)NAN,
                                    0x1.fffffffffffffp-3};
    enum { N = sizeof values / sizeof *values };
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_input(t, NULL, 1), y[N];
    for (int i = 0; i < N; i++)
        y[i] = nb_constant(t, values[i]);
    nb_program *p = nb_freeze(&(nb_recipe){.n_in = 1,
                                           .in = &(nb_argument){.count = 1, .var = &v},
                                           .n_out = 1,
                                           .out = &(nb_argument){.count = N, .var = y}});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    for (int single = 0; single < 2; single++) {
        emitted_print(
            p, &(nb_emit){.name = "numbers", .dtype = single ? NB_F32 : NB_F64, .batch = true});
        for (size_t c = 0; c < 2 && emitted_have(compilers[c]); c++) {
            void *library = emitted_load("numbers", compilers[c], "-O1 -pedantic");
            double one[LANES * N];
            float few[LANES * N];
            void *a[EMITTED_MOST] = {one, single ? (void *)few : (void *)one};
            emitted_call(library, "numbers", -1, a);
            emitted_call(library, "numbers_batch", LANES, a);
            for (int i = 0; i < LANES * N; i++) {
                const double have = single ? (double)few[i] : one[i];
                const double want = single ? (double)(float)values[i % N] : values[i % N];
                if (isnan(want) ? !isnan(have) : memcmp(&have, &want, sizeof have) != 0)
                    ck_abort_msg("%.17g is %.17g", want, have);
            }
            dlclose(library);
        }
    }
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* Names that mean something, occur twice, have no letters, or are the function's own. */
START_TEST(names)
{
    static const char *const given[] = {"exp",      "int", "v1",    "a b",  "a b", "3x",
                                        "\xc3\xa9", NULL,  "row_x", "lane", "y",   "y_at"};
    enum { N = sizeof given / sizeof *given };
    nb_tape *t = nb_tape_new(NULL);
    nb_var v[N], y = nb_constant(t, 0);
    nb_argument in[N], out;
    for (int i = 0; i < N; i++) {
        v[i] = nb_input(t, NULL, 1);
        in[i] = (nb_argument){.name = given[i], .count = 1, .var = &v[i]};
        y = nb_add(y, nb_exp(nb_mul(v[i], i + 1)));
    }
    out = (nb_argument){.name = "y", .count = 1, .var = &y};
    nb_program *p = nb_freeze(&(nb_recipe){.n_in = N, .in = in, .n_out = 1, .out = &out});
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    ck_assert(f && nb_program_emit(p, &(nb_emit){.name = "f"}, NULL, f, NULL) == NB_OK);
    fclose(f);
    ck_assert_msg(strstr(text, "void f(const double *exp_, const double *int_, const double *v1_, "
                               "const double *a_b, const double *a_b_, const double *_3x, "
                               "const double *__, const double *x7, const double *x8_3, "
                               "const double *lane_, const double *y, const double *y_at_, "
                               "double *y_);") != NULL,
                  "%s", text);
    free(text);
    emitted_print(p, &(nb_emit){.name = "names", .batch = true, .index = true});
    for (size_t c = 0; c < 2 && emitted_have(compilers[c]); c++)
        dlclose(emitted_load("names", compilers[c], "-O1 -pedantic -Wshadow"));
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

static void refuses_name(const nb_program *p, const char *name)
{
    nb_reason why = {""};
    ck_assert_int_eq(nb_program_emit(p, &(nb_emit){.name = name}, NULL, NULL, &why),
                     NB_ERR_ARGUMENT);
    ck_assert_msg(strstr(why.text, "cannot name a C function") != NULL, "%s", why.text);
}

START_TEST(refusals)
{
    nb_reason why = {""};
    nb_program *p = guarded();
    static const char *const bad[] = {
        "",         "2d",
        "a b",      "while",
        "sin",      "sqrtf",
        "\xc3\xa9", "x-y",
        "v1",       "a123456789012345678901234567890123456789012345678901234567890"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        refuses_name(p, bad[k]);
    ck_assert_int_eq(nb_program_emit(NULL, NULL, NULL, NULL, &why), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_program_emit(p, &(nb_emit){.dtype = (nb_dtype)7}, NULL, NULL, &why),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_program_emit(p, NULL, NULL, NULL, NULL), NB_OK);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        ck_assert_int_eq(nb_program_emit(p, NULL, full, NULL, &why), NB_ERR_FILE);
        ck_assert_int_eq(nb_program_emit(p, NULL, NULL, full, NULL), NB_ERR_FILE);
        fclose(full);
    }
    nb_program_free(p);
}
END_TEST

START_TEST(out_of_memory)
{
    counting c = {0};
    const nb_allocator a = counting_allocator(&c);
    nb_tape *t = nb_tape_new(NULL);
    nb_var v[2] = {nb_input(t, NULL, 1), nb_input(t, NULL, 2)};
    nb_var y = nb_add(nb_cbrt(nb_polygamma(v[0], 2)), nb_sin(v[1]));
    nb_program *p = nb_freeze(&(nb_recipe){.n_in = 1,
                                           .in = &(nb_argument){.count = 2, .var = v},
                                           .n_out = 1,
                                           .out = &(nb_argument){.count = 1, .var = &y},
                                           .allocator = &a});
    ck_assert(p != NULL);
    const size_t before = c.blocks;
    FILE *null = fopen("/dev/null", "w");
    ck_assert(null != NULL);
    for (c.refuse = 1;; c.refuse++) {
        nb_reason why = {""};
        c.calls = c.refusals = 0;
        const nb_code code = nb_program_emit(p, &(nb_emit){.batch = true}, null, null, &why);
        ck_assert_uint_eq(c.blocks, before);
        if (!c.refusals)
            break;
        ck_assert_int_eq(code, NB_ERR_MEMORY);
        ck_assert_msg(strstr(why.text, "out of memory") != NULL, "%s", why.text);
    }
    ck_assert_uint_gt(c.refuse, 8);
    fclose(null);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("emit");
    tcase_add_checked_fixture(c, emitted_open, emitted_close);
    tcase_add_loop_test(c, rows_in_double, 0, 4);
    tcase_add_loop_test(c, rows_in_float, 0, 2);
    tcase_add_test(c, mixed_in_double);
    tcase_add_test(c, mixed_in_double_strictly);
    tcase_add_test(c, mixed_in_float);
    tcase_add_test(c, derived);
    tcase_add_test(c, guards_and_rows);
    tcase_add_test(c, numbers_read_back);
    tcase_add_test(c, names);
    tcase_add_test(c, refusals);
    tcase_add_test(c, out_of_memory);
    tcase_set_timeout(c, 600);
    return run_case("emit", c);
}
