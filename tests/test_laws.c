/*
 * Every operation is held to the laws.
 *
 * All tests loop over the registry, which lists all rows of the table and all records: whatever is
 * in it is checked, by the public check that also serves custom ops, on every instruction set that
 * the machine has; and the instruction sets against each other. A smooth row of the table is
 * derived once more than the laws ask, by each of its operands in each order, so that the rules
 * which differentiate rules are right too.
 */
#include "check/laws.h"
#include "ops/elementwise.h"
#include "ops/registry.h"
#include "table/rows.h"

#include "run.h"

#include <float.h>
#include <math.h>
#include <nabla/diff.h>
#include <nabla/ops.h>
#include <stdlib.h>
#include <string.h>

/* ---- every op -------------------------------------------------------------------------------- */

static const char *const isas[] = {"plain", "avx2", "avx512",
                                   "neon"}; /* what is missing is ignored */
enum { ISAS = sizeof isas / sizeof *isas };

static void obeys(const nb_op *op)
{
    nb_law_report r;
    nb_code code = nb_check_op(op, &r);
    ck_assert_msg(code == NB_OK, "%s: %s: %s", op->name, nb_code_name(code), r.text);
    ck_assert_uint_eq(r.broken, NB_LAW_COUNT);
    ck_assert_str_eq(r.text, "");
    const nb_law_count *n = r.law;
    for (int law = 0; law < NB_LAW_COUNT; law++)
        ck_assert_uint_eq(n[law].tried, n[law].passed);
    ck_assert_msg(2 * n[NB_LAW_DIFFERENCES].tried >= n[NB_LAW_EXAMPLES].tried,
                  "%s: most examples have nothing to derive", op->name);
    ck_assert_msg(4 * n[NB_LAW_DIFFERENCES].untested <= n[NB_LAW_DIFFERENCES].tried &&
                      4 * n[NB_LAW_SECOND_ORDER].untested <= n[NB_LAW_SECOND_ORDER].tried,
                  "%s: many examples could not be tested", op->name);
    ck_assert_uint_ge(n[NB_LAW_TRANSPOSE].tried, 2 * n[NB_LAW_DIFFERENCES].tried);
    ck_assert_uint_gt(n[NB_LAW_SECOND_ORDER].tried, 0);
    ck_assert_uint_gt(n[NB_LAW_ACCUMULATION].tried, 0);
    ck_assert_uint_gt(n[NB_LAW_PRECISION].tried, 0);
    ck_assert_uint_gt(n[NB_LAW_REFUSAL].tried, 0);
}

START_TEST(every_op_obeys) { obeys(nbi_op_at((size_t)_i)); }
END_TEST

START_TEST(every_op_obeys_on_every_instruction_set)
{
    for (int i = 0; i < ISAS; i++) {
        setenv("NABLA_ISA", isas[i], 1);
        obeys(nbi_op_at((size_t)_i));
    }
}
END_TEST

START_TEST(every_instruction_set_agrees_with_the_plain_one)
{
    const double unit[] = {DBL_EPSILON, (double)FLT_EPSILON};
    const nb_op *op = nbi_op_at((size_t)_i);
    for (int i = 1; i < ISAS; i++)
        for (int d = 0; d < 2; d++) {
            nb_options options = {.dtype = d ? NB_F32 : NB_F64};
            nb_law_report r;
            setenv("NABLA_ISA", "plain", 1);
            nb_tape *plain = nb_tape_new(&options);
            setenv("NABLA_ISA", isas[i], 1);
            nb_tape *other = nb_tape_new(&options);
            nb_code code = nbi_check_precision(op, plain, other, unit[d], &r);
            ck_assert_msg(code == NB_OK, "%s: plain against %s: %s", op->name, isas[i], r.text);
            ck_assert_uint_gt(r.law[NB_LAW_PRECISION].passed, 0);
            nb_tape_free(plain);
            nb_tape_free(other);
        }
}
END_TEST

START_TEST(names_are_unique)
{
    for (size_t i = 0; i < nbi_op_count(); i++) {
        const nb_op *op = nbi_op_at(i);
        ck_assert(op->sample != NULL);
        ck_assert_msg(op->name && op->doc && op->name[0] && op->doc[0], "op %zu is undocumented",
                      i);
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(op->name, nbi_op_at(j)->name);
    }
    ck_assert_ptr_null(nbi_op_at(nbi_op_count()));
}
END_TEST

/* ---- the third derivative of every smooth row ------------------------------------------------ */

enum { LIGHT, HEAVY, SMOOTH = 0, KINKED, FLAT };

static const struct row {
    int kind, arity;
    double range[6];
} rows[NBI_ROWS] = {
#define UNARY(name, w, kind, a, b, ...)        [NBI_ROW_##name] = {kind, 1, {a, b}},
#define BINARY(name, w, kind, a, b, c, d, ...) [NBI_ROW_##name] = {kind, 2, {a, b, c, d}},
#define TERNARY(name, w, kind, a, b, c, d, e, f, ...) \
    [NBI_ROW_##name] = {kind, 3, {a, b, c, d, e, f}},
#define TEST(name, ...) [NBI_ROW_##name] = {FLAT, 2, {0}},
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
};

static bool varies(int row, int k) { return rows[row].range[2 * k] < rows[row].range[2 * k + 1]; }

/* The derivative by the operands k[0 … order), as graph upon graph. */
static double derivative(nb_tape *t, int row, const double *at, int order, const int *k)
{
    nb_var x[3];
    nb_reset(t);
    for (int i = 0; i < rows[row].arity; i++)
        x[i] = varies(row, i) ? nb_input(t, NULL, at[i]) : nb_constant(t, at[i]);
    nb_var y = nbi_row_call((enum nbi_row)row, x);
    for (int i = 0; i < order; i++)
        y = nb_derivative(y, x[k[i]]);
    ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t));
    return nb_value(y);
}

/* One third derivative at one point. False if the differences can say nothing. */
static bool third(nb_tape *t, int row, const double *at, const int k[3])
{
    double exact = derivative(t, row, at, 3, k), second = derivative(t, row, at, 2, k);
    double scale = fmax(1e-3, fmax(fabs(exact), fabs(second)));
    for (int e = -6; e >= -14; e -= 4) {
        double d[NBI_STAGES];
        for (int i = 0; i < NBI_STAGES; i++) {
            double h = ldexp(1, e - i), up[3], down[3];
            memcpy(up, at, sizeof up);
            memcpy(down, at, sizeof down);
            up[k[2]] += h;
            down[k[2]] -= h;
            d[i] = (derivative(t, row, up, 2, k) - derivative(t, row, down, 2, k)) / (2 * h);
        }
        nbi_estimate n = nbi_extrapolate(d);
        double error =
            10 * n.error + 64 * DBL_EPSILON * fmax(1e-3, fabs(second)) / ldexp(1, e - NBI_STAGES);
        if (!(error <= 1e-5 * scale))
            continue;
        ck_assert_msg(fabs(exact - n.value) <= error + 1e-8 * fabs(exact),
                      "%s at %g %g %g, by operands %d %d %d: %.17g, by differences %.17g +- %.1e",
                      nbi_rows[row].name, at[0], at[1], at[2], k[0], k[1], k[2], exact, n.value,
                      error);
        return true;
    }
    return false;
}

START_TEST(third_derivatives)
{
    const struct row *r = &rows[_i];
    nb_tape *t = nb_tape_new(NULL);
    nb_rng rng = nb_rng_seed((uint64_t)_i);
    int combinations = r->arity * r->arity * r->arity;
    for (int c = 0; c < combinations && r->kind == SMOOTH; c++) {
        const int k[3] = {c % r->arity, c / r->arity % r->arity, c / r->arity / r->arity};
        if (!varies(_i, k[0]) || !varies(_i, k[1]) || !varies(_i, k[2]))
            continue;
        int tested = 0;
        for (int point = 0; point < 8; point++) {
            double at[3] = {0};
            for (int i = 0; i < r->arity; i++)
                at[i] = r->range[2 * i] +
                        nb_rng_uniform(&rng) * (r->range[2 * i + 1] - r->range[2 * i]);
            tested += third(t, _i, at, k);
        }
        ck_assert_msg(tested >= 4, "%s by operands %d %d %d: %d points tested", nbi_rows[_i].name,
                      k[0], k[1], k[2], tested);
    }
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("laws");
    const int ops = (int)nbi_op_count();
    TCase *all = tcase_create("every op");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, names_are_unique);
    tcase_add_loop_test(all, every_op_obeys, 0, ops);
    tcase_add_loop_test(all, every_op_obeys_on_every_instruction_set, 0, ops);
    tcase_add_loop_test(all, every_instruction_set_agrees_with_the_plain_one, 0, ops);
    tcase_add_loop_test(all, third_derivatives, 0, NBI_ROWS);
    suite_add_tcase(s, all);
    return run_suite(s);
}
