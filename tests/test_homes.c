/*
 * Replays of many lanes whose arguments stand side by side: read and written where they are (homes), in place
 * of one another too, they give to the last bit what the same lanes give a hundred at a time, in arrays of their
 * own, where everything is moved to slots and back. That again is what C computes.
 */
#include "element.h"
#include "program.h"

#include "program/code.h"

enum { IN = 3, OUT = 7, MOST = 4500, MARGIN = 32, SHORT = 100, MANY = 20 };

static const double w[2] = {0.75, -1.25};

/* One input copied, one value given twice, one the same in all lanes, two of one instruction. */
static nb_program *open_program(bool strict, const nb_allocator *a)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[IN], s[2], y[OUT];
    for (int k = 0; k < IN; k++)
        x[k] = nb_input(t, NULL, k + 1);
    for (int k = 0; k < 2; k++)
        s[k] = nb_input(t, NULL, w[k]);
    y[0] = nb_add(nb_mul(x[0], s[0]), nb_mul(x[1], s[1]));
    y[1] = nb_sin(x[0]);
    y[2] = nb_cos(x[0]);
    y[3] = nb_where(nb_lt(x[1], x[2]), y[0], nb_sqrt(nb_abs(x[2])));
    y[4] = x[1];
    y[5] = nb_mul(s[0], s[1]);
    y[6] = y[0];
    nb_argument in[IN + 1], out[OUT];
    for (int k = 0; k < IN; k++)
        in[k] = (nb_argument){.count = 1, .var = &x[k]};
    in[IN] = (nb_argument){.count = 2, .var = s, .shared = true};
    for (int k = 0; k < OUT; k++)
        out[k] = (nb_argument){.count = 1, .var = &y[k]};
    nb_program *p = nb_freeze(&(nb_recipe){IN + 1, in, OUT, out, .strict = strict, .allocator = a});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

static double y_of(const double *x, int k)
{
    const double y = w[0] * x[0] + w[1] * x[1];
    return k == 1   ? sin(x[0])
           : k == 2 ? cos(x[0])
           : k == 3 ? x[1] < x[2] ? y : sqrt(fabs(x[2]))
           : k == 4 ? x[1]
           : k == 5 ? w[0] * w[1]
                    : y;
}

static double x_at(nb_dtype d, int k, int64_t lane)
{
    const double v = 3 * sin(0.61 * (double)lane + 2 * k);
    return d == NB_F64 ? v : (double)(float)v;
}

/* Where arguments stand: the number of an array, with those of inputs before those of outputs; and a step. */
typedef struct layout {
    int in[IN], out[OUT], step[IN + OUT];
} layout;

static const layout layouts[] = {
    {{0, 1, 2}, {3, 4, 5, 6, 7, 8, 9}, {0}},
    {{0, 1, 2}, {3, 4, 5, 6, 7, 8, 9}, {2, 0, 0, 0, 2, 0, 0, 0, 0, 3}},
    {{0, 1, 2}, {1, 4, 0, 2, 7, 8, 9}, {0}}, /* in place of what is needed no more, and before */
    {{0, 1, 2}, {2, 0, 5, 1, 7, 8, 9}, {0}},
    {{0, 1, 2}, {3, 4, 5, 6, 0, 1, 2}, {0}}, /* an input in place of another */
    {{0, 1, 2}, {3, 2, 0, 6, 1, 8, 9}, {0}},
    {{0, 0, 2}, {3, 4, 5, 0, 7, 8, 2}, {0}}, /* two inputs are one array */
    {{0, 0, 0}, {0, 4, 5, 6, 7, 8, 9}, {0}},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

static double arrays[IN + OUT][3 * MOST + 2 * MARGIN];

/* Array k, from element `shift` after the margin. */
static char *array(nb_dtype d, int k, int shift)
{
    return (char *)(arrays[k] + MARGIN) + (size_t)shift * (d == NB_F64 ? 8 : 4);
}

static int step_of(const layout *l, int k) { return l->step[k] ? l->step[k] : 1; }

static void fill(const layout *l, nb_dtype d, int shift, int64_t lanes)
{
    memset(arrays, 0x5a, sizeof arrays);
    for (int k = 0; k < IN; k++)
        for (int64_t i = 0; i < lanes; i++)
            put(array(d, l->in[k], shift), d, i * step_of(l, k), x_at(d, l->in[k], i));
}

/* What lanes [at, at + n) give in arrays of their own. */
static void in_slots(const nb_program *p, const layout *l, nb_dtype d, int64_t at, int n,
                     double (*y)[SHORT])
{
    static double x[IN][SHORT], raw[OUT][SHORT];
    double shared[2];
    nb_lanes in[IN + 1], out[OUT];
    for (int k = 0; k < 2; k++)
        put(shared, d, k, w[k]);
    for (int k = 0; k < IN; k++) {
        in[k] = (nb_lanes){.data = x[k]};
        for (int i = 0; i < n; i++)
            put(x[k], d, i, x_at(d, l->in[k], at + i));
    }
    in[IN] = (nb_lanes){.data = shared};
    for (int k = 0; k < OUT; k++)
        out[k] = (nb_lanes){.data = raw[k]};
    const nb_replay r = {.lanes = n, .in = in, .out = out, .dtype = d};
    ck_assert(nb_program_run(p, &r, NULL) == NB_OK);
    for (int k = 0; k < OUT; k++)
        for (int i = 0; i < n; i++)
            y[k][i] = get(raw[k], d, i);
}

static nb_code in_homes(const nb_program *p, const layout *l, nb_dtype d, int shift, int64_t lanes,
                        nb_pool *pool)
{
    double shared[2];
    nb_lanes in[IN + 1], out[OUT];
    nb_reason why = {""};
    for (int k = 0; k < 2; k++)
        put(shared, d, k, w[k]);
    for (int k = 0; k < IN; k++)
        in[k] = (nb_lanes){.data = array(d, l->in[k], shift), .lane = step_of(l, k)};
    in[IN] = (nb_lanes){.data = shared};
    for (int k = 0; k < OUT; k++)
        out[k] = (nb_lanes){.data = array(d, l->out[k], shift), .lane = step_of(l, IN + k)};
    const nb_code code = nb_program_run(
        p,
        &(nb_replay){
            .lanes = lanes, .in = in, .out = out, .dtype = d, .in_place = true, .pool = pool},
        &why);
    ck_assert_msg(code == NB_OK || code == NB_ERR_MEMORY, "%s", why.text);
    return code;
}

/* How many numbers differ, or are not what C computes. */
static int wrong(const nb_program *p, const layout *l, nb_dtype d, int shift, int64_t lanes)
{
    static double y[OUT][SHORT];
    int bad = 0;
    for (int64_t at = 0; at < lanes; at += SHORT) {
        const int n = lanes - at < SHORT ? (int)(lanes - at) : SHORT;
        in_slots(p, l, d, at, n, y);
        for (int k = 0; k < OUT; k++)
            for (int i = 0; i < n; i++) {
                const double x[IN] = {x_at(d, l->in[0], at + i), x_at(d, l->in[1], at + i),
                                      x_at(d, l->in[2], at + i)};
                const double v = get(array(d, l->out[k], shift), d, (at + i) * step_of(l, IN + k));
                bad += v != y[k][i];
                bad += !(fabs(v - y_of(x, k)) < (d == NB_F64 ? 1e-14 : 2e-6));
            }
    }
    return bad;
}

/* Whether what lies before array k, or after its lanes, has been written to. */
static bool spilled(nb_dtype d, int k, int shift, int64_t lanes, int step)
{
    const unsigned char *from = (const unsigned char *)arrays[k],
                        *to = (const unsigned char *)arrays[k + 1];
    const unsigned char *first = (unsigned char *)array(d, k, shift);
    const unsigned char *last = first + (size_t)(lanes * step) * (d == NB_F64 ? 8 : 4);
    bool bad = false;
    for (const unsigned char *at = from; at < to; at++)
        bad = bad || ((at < first || at >= last) && *at != 0x5a);
    return bad;
}

/* Of the arguments that stand in array k; 0 if none does. */
static int greatest_step(const layout *l, int k)
{
    int most = 0;
    for (int j = 0; j < IN + OUT; j++)
        if ((j < IN ? l->in[j] : l->out[j - IN]) == k)
            most = step_of(l, j) > most ? step_of(l, j) : most;
    return most;
}

static void check_layout(const nb_program *p, const layout *l, nb_dtype d, int shift, int64_t lanes,
                         nb_pool *pool)
{
    fill(l, d, shift, lanes);
    ck_assert(in_homes(p, l, d, shift, lanes, pool) == NB_OK);
    ck_assert_msg(wrong(p, l, d, shift, lanes) == 0, "layout %d, dtype %d, shift %d, %d lanes",
                  (int)(l - layouts), (int)d, shift, (int)lanes);
    bool bad = false;
    for (int k = 0; k < IN + OUT; k++)
        bad = bad || spilled(d, k, shift, lanes, greatest_step(l, k));
    ck_assert(!bad);
}

START_TEST(homes_give_what_slots_give)
{
    static const char *const isas[] = {"plain", "avx2", "avx512", "neon"};
    static const int64_t lanes[] = {4096, 4097, 4350, 4500};
    nb_pool *pool = nb_pool_new(3, NULL);
    setenv("NABLA_ISA", isas[_i], 1);
    for (int strict = 0; strict < 2; strict++) {
        nb_program *p = open_program(strict, NULL);
        for (int k = 0; k < LAYOUTS; k++)
            for (int n = 0; n < 4; n++)
                for (int d = 0; d < 2; d++)
                    check_layout(p, &layouts[k], d ? NB_F32 : NB_F64, (n + k) % 5, lanes[n],
                                 n % 2 ? pool : NULL);
        nb_program_free(p);
    }
    unsetenv("NABLA_ISA");
    nb_pool_free(pool);
}
END_TEST

/* So that the test above is about homes: they are asked for, and in place of each other have one number. */
START_TEST(there_are_homes)
{
    nb_program *p = open_program(false, NULL);
    const layout *l = &layouts[2];
    fill(l, NB_F64, 0, MOST);
    ck_assert(in_homes(p, l, NB_F64, 0, MOST, NULL) == NB_OK);
    const nbi_code *c = p->codes;
    ck_assert(c && c->block == NBI_LONG);
    const uint8_t *out = c->home + IN + 1;
    ck_assert(c->home[0] && c->home[1] && c->home[2] && !c->home[IN]);
    ck_assert(out[0] == c->home[1] && out[2] == c->home[0] && out[3] == c->home[2]);
    nb_program_free(p);
}
END_TEST

START_TEST(nothing_is_changed_if_memory_runs_out)
{
    bool done = false;
    for (size_t k = 1; !done; k++) {
        counting c = {0};
        const nb_allocator a = counting_allocator(&c);
        nb_program *p = open_program(false, &a);
        const layout *l = &layouts[2];
        fill(l, NB_F32, 1, MOST);
        c.refuse = c.calls + k;
        const nb_code code = in_homes(p, l, NB_F32, 1, MOST, NULL);
        done = !c.refusals;
        ck_assert(code == (done ? NB_OK : NB_ERR_MEMORY));
        int changed = 0;
        for (int j = 0; j < IN; j++)
            for (int i = 0; i < MOST; i++)
                changed += get(array(NB_F32, j, 1), NB_F32, i) != x_at(NB_F32, j, i);
        ck_assert(done || changed == 0);
        nb_program_free(p);
        ck_assert_uint_eq(c.blocks, 0);
    }
}
END_TEST

/* All arrays replaced, when others still need what was in them: by so many that there are more slots than long
 * blocks have room for, and by more than there are homes. */
START_TEST(more_than_there_is_room_for)
{
    enum { LANES = 2100 };
    static double x[MANY][LANES];
    const int many = _i ? MANY : 12;
    nb_tape *t = nb_tape_new(NULL);
    nb_var v[MANY], y[MANY];
    nb_argument in[MANY], out[MANY];
    nb_lanes at[MANY];
    for (int k = 0; k < many; k++) {
        v[k] = nb_input(t, NULL, 1);
        in[k] = (nb_argument){.count = 1, .var = &v[k]};
        out[k] = (nb_argument){.count = 1, .var = &y[k]};
        at[k] = (nb_lanes){.data = x[k]};
        for (int i = 0; i < LANES; i++)
            x[k][i] = k + 0.5 * i;
    }
    for (int k = 0; k < many; k++)
        y[k] = nb_add(v[(k + 1) % many], nb_mul(v[k], v[(k + many - 1) % many]));
    nb_program *p =
        nb_freeze(&(nb_recipe){.n_in = (size_t)many, .in = in, .n_out = (size_t)many, .out = out});
    ck_assert(p != NULL);
    ck_assert(nb_program_run(p, &(nb_replay){.lanes = LANES, .in = at, .out = at, .in_place = true},
                             NULL) == NB_OK);
    int bad = 0;
    for (int k = 0; k < many; k++)
        for (int i = 0; i < LANES; i++) {
            const double h = 0.5 * i, back = (k + many - 1) % many + h;
            bad += x[k][i] != (k + 1) % many + h + (k + h) * back;
        }
    ck_assert_int_eq(bad, 0);
    nb_program_free(p);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("homes");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, homes_give_what_slots_give, 0, 4);
    tcase_add_test(c, there_are_homes);
    tcase_add_test(c, nothing_is_changed_if_memory_runs_out);
    tcase_add_loop_test(c, more_than_there_is_room_for, 0, 2);
    return run_case("homes", c);
}
