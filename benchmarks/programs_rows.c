/*
 * What an operation costs in a replay, for every row of the table, and what freezing costs.
 *
 * An operation of several operands is applied to its own result 64 times over, with inputs that stand
 * lane after lane, so that hardly anything but the operation is executed. One of a single operand, or
 * one whose results leave its domain, is applied to 32 arguments instead and the results are added:
 * the additions, at the price just measured, are taken off.
 */
#include "programs.h"

enum { INPUTS = 8, CHAIN = 64, APART = 32, LANES = 2048, TURNS = 31 };

typedef enum weight { LIGHT, HEAVY } weight;

typedef struct row {
    const char *name;
    weight weight;
    int operands;
    double low[3], high[3];
    nb_var (*one)(nb_var);
    nb_var (*two)(nb_var, nb_var);
    nb_var (*three)(nb_var, nb_var, nb_var);
} row;

#define UNARY(name, weight, kind, xlo, xhi, ...) \
    {#name, weight, 1, {xlo}, {xhi}, nb_##name, NULL, NULL},
#define BINARY(name, weight, kind, xlo, xhi, ylo, yhi, ...) \
    {#name, weight, 2, {xlo, ylo}, {xhi, yhi}, NULL, nb_##name, NULL},
#define TERNARY(name, weight, kind, xlo, xhi, ylo, yhi, zlo, zhi, ...) \
    {#name, weight, 3, {xlo, ylo, zlo}, {xhi, yhi, zhi}, NULL, NULL, nb_##name},
#define TEST(name, ...) {#name, LIGHT, 2, {-3, -3}, {3, 3}, NULL, nb_##name, NULL},
static const row table[] = {
#include "table/table.def"
};
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

static nb_var apply(const row *r, nb_var x, nb_var y, nb_var z)
{
    return r->operands == 1 ? r->one(x) : r->operands == 2 ? r->two(x, y) : r->three(x, y, z);
}

/* Whether operand k must be a whole number, which is a constant of the operation. */
static bool whole(const row *r, int k) { return !(r->low[k] < r->high[k]); }

static bool chained(const row *r) { return r->weight == LIGHT && r->operands > 1; }

/* in: APART inputs for each operand. */
static nb_var record(const row *r, nb_tape *t, const nb_var *in)
{
    const bool chain = chained(r);
    nb_var s = in[0];
    for (int k = 0; k < (chain ? CHAIN : APART); k++) {
        nb_var x[3];
        for (int j = 0; j < 3; j++)
            x[j] = whole(r, j) ? nb_constant(t, r->low[j]) : in[j * APART + k % APART];
        if (chain)
            s = apply(r, s, in[APART + k % INPUTS], in[2 * APART + (k + 3) % INPUTS]);
        else
            s = k ? nb_add(s, apply(r, x[0], x[1], x[2])) : apply(r, x[0], x[1], x[2]);
    }
    return s;
}

/* The program reads only what it uses of its inputs. */
static nb_program *make(const row *r)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[3 * APART];
    for (int k = 0; k < 3 * APART; k++)
        in[k] = nb_input(t, NULL, r->low[k / APART]);
    nb_var y = record(r, t, in);
    const nb_argument of = each("x", 3 * APART, in);
    nb_program *p = programs_freeze(t, 1, &of, each("y", 1, &y));
    nb_tape_free(t);
    return p;
}

/* Seconds of a replay for one lane. */
static double cost(const nb_program *p, const double *x, double *y, int turns)
{
    double spent[TURNS];
    const nb_lanes in = across(x, LANES), out = dense(y);
    programs_run(p, LANES, &in, &out);
    for (int k = 0; k < turns; k++) {
        const double from = bench_now();
        for (int again = 0; again < 4; again++)
            programs_run(p, LANES, &in, &out);
        spent[k] = (bench_now() - from) / (4. * LANES);
    }
    return bench_median(spent, (size_t)turns);
}

/* The tape's values at some lanes, beside the replay's; a NaN must be one in both. */
static bool right(const row *r, const double *x, const double *y)
{
    nb_tape *t = nb_tape_new(NULL);
    bool ok = true;
    for (int l = 0; ok && l < LANES; l += LANES / 16) {
        nb_var in[3 * APART];
        nb_reset(t);
        for (int k = 0; k < 3 * APART; k++)
            in[k] = nb_input(t, NULL, x[k * LANES + l]);
        const double want = nb_value(record(r, t, in));
        ok = want != want ? y[l] != y[l] : bench_agree(r->name, 1, y + l, &want, 1e-10);
    }
    nb_tape_free(t);
    return ok;
}

static const char *bar_of(const char *name)
{
    static const char *const light[] = {"add", "mul", "fma"}, *const heavy[] = {"exp", "log", "sin",
                                                                                "tanh"};
    for (size_t k = 0; k < sizeof light / sizeof *light; k++)
        if (!strcmp(name, light[k]))
            return "<=0.2";
    for (size_t k = 0; k < sizeof heavy / sizeof *heavy; k++)
        if (!strcmp(name, heavy[k]))
            return "<=1.0";
    return "-";
}

static double nanoseconds(const row *r, double *x, double *y, double addition, bool quick, bool *ok)
{
    nb_program *p = make(r);
    nb_rng rng = nb_rng_seed(20);
    for (int k = 0; k < 3 * APART * LANES; k++) {
        const int j = k / (APART * LANES);
        x[k] = r->low[j] + (r->high[j] - r->low[j]) * nb_rng_uniform(&rng);
    }
    const double each = 1e9 * cost(p, x, y, quick ? 5 : TURNS);
    *ok = right(r, x, y) && *ok;
    nb_program_free(p);
    return chained(r) ? each / CHAIN : fmax(each / APART - addition, 0);
}

bool bench_rows(bool quick)
{
    double *x = bench_numbers(3 * APART * LANES), *y = bench_numbers(LANES), addition = 0;
    bool ok = true;
    for (size_t pass = 0; pass < 2; pass++)
        for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
            const bool add = !strcmp(table[k].name, "add");
            char name[64];
            if (!pass && !add)
                continue;
            const double ns = nanoseconds(&table[k], x, y, addition, quick, &ok);
            addition = add ? ns : addition;
            snprintf(name, sizeof name, "replay_%s", table[k].name);
            if (pass)
                bench_line("programs", name, "ns_per_op_lane", ns, "ns", bar_of(table[k].name));
        }
    free(x);
    free(y);
    return ok;
}

/* ---- freezing -------------------------------------------------------------------------------- */

/* 10^5 operations of which none can be left out: the result of each goes into the next. */
bool bench_freeze(bool quick)
{
    enum { VARIABLES = 100, ROUNDS = 16667, OPS = 6 * ROUNDS };
    double spent[TURNS];
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[VARIABLES], s = nb_num(0.5);
    for (int k = 0; k < VARIABLES; k++)
        x[k] = nb_input(t, NULL, 0.1 + 0.008 * k);
    for (int k = 0; k < ROUNDS; k++) {
        s = nb_add(nb_mul(s, x[k % VARIABLES]), nb_sin(x[k * 7 % VARIABLES]));
        s = nb_div(s, nb_add(1, nb_mul(s, s)));
    }
    const nb_argument of = each("x", VARIABLES, x);
    const int turns = quick ? 5 : TURNS;
    for (int k = 0; k < turns; k++) {
        const double from = bench_now();
        nb_program *p = programs_freeze(t, 1, &of, each("s", 1, &s));
        spent[k] = bench_now() - from;
        nb_program_free(p);
    }
    nb_tape_free(t);
    bench_line("programs", "freeze", "ns_per_op", 1e9 * bench_median(spent, (size_t)turns) / OPS,
               "ns", "<=100");
    return true;
}
