/*
 * The laws are held to their word.
 *
 * A check that passes everything is worth nothing. Here is one small sound op, with every kind of
 * rule that an op can have, and a list of flaws: each makes it wrong in one way, as ops are wrong
 * in real life, and names the law that must see it and what the report must say.
 */
#include "check/laws.h"

#include "run.h"

#include <float.h>
#include <math.h>
#include <nabla/ops.h>
#include <stdlib.h>
#include <string.h>

/* ---- an op that can be broken ---------------------------------------------------------------- */

/* z[i, j] = x[i, j]^2 y[j]: x [n m], y [m], with every rule that an op can have. */

typedef enum flaw {
    NONE,
    FORWARD_FACTOR, /* the value is wrong */
    TANGENT_SIGN,   /* forward mode */
    TANGENT_DROPPED,
    RULE_SIGN, /* every reverse rule, and no tangent rule but that */
    SIGN,      /* the rule over arrays */
    FACTOR,
    DROPPED,          /* nothing for y */
    TRANSPOSED,       /* x's adjoint with rows and columns exchanged */
    NO_BROADCAST_SUM, /* y's adjoint from the last row only */
    NOT_A_NUMBER,
    GRAPH_SIGN,      /* the rule as graph code */
    GRAPH_DETACHED,  /* right at first order only */
    NO_ADDING,       /* stores where it should add */
    REMEMBERS,       /* another answer to the second sweep */
    LEAVES_BORROWED, /* y's adjoint is not written when it is the caller's */
    COARSE,          /* floats with few digits */
    COARSE_GRADIENT,
    NO_SHAPE_RULE, /* any second operand will do */
    TAKES_STALE,   /* a bad handle is replaced silently */
    ODD_STATUS,    /* a refusal for want of memory */
    ROUGH,         /* differences say nothing anywhere */
    SAMPLE_FAILS,
    SAMPLES_ANOTHER,
    SAMPLES_ENDLESS
} flaw;

static flaw wrong;
static nb_op tilt;

static double get(const nb_array *a, int64_t i)
{
    return a->dtype == NB_F64 ? ((double *)a->data)[i] : (double)((float *)a->data)[i];
}

static void put(const nb_array *a, int64_t i, double v)
{
    if (a->dtype == NB_F64)
        ((double *)a->data)[i] = v;
    else
        ((float *)a->data)[i] = (float)v;
}

static double coarse(double v) { return ldexp(rint(ldexp(v, 12)), -12); }

/* In [0, 1), without rhyme or reason. */
static double noise(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    nb_rng r = nb_rng_seed(bits);
    return nb_rng_uniform(&r);
}

static nb_code tilt_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *x = &c->in[0], *y = &c->in[1];
    if (x->rank == 2 && y->rank == 1 && x->dims[1] == y->dims[0])
        return *out = nb_shape_make(2, x->dims), NB_OK;
    return nb_refuse(c, wrong == ODD_STATUS ? NB_ERR_MEMORY : NB_ERR_SHAPE,
                     "x is a matrix, y has an element for each of its columns", NULL);
}

static nb_code tilt_forward(const nb_call *c)
{
    const nb_array *x = &c->in[0], *y = &c->in[1];
    for (int64_t i = 0, m = y->size; i < x->size; i++) {
        double z = get(x, i) * get(x, i) * get(y, i % m);
        z *= wrong == FORWARD_FACTOR ? 1.000001 : 1;
        z += wrong == ROUGH ? noise(get(x, i)) : 0;
        put(c->out, i, wrong == COARSE && x->dtype == NB_F32 ? coarse(z) : z);
    }
    return NB_OK;
}

static nb_code tilt_reverse(const nb_rule *r)
{
    nb_var x = wrong == GRAPH_DETACHED ? nb_detach(r->in[0]) : r->in[0];
    double sign = wrong == GRAPH_SIGN || wrong == RULE_SIGN ? -1 : 1;
    if (r->want[0])
        r->d[0] = nb_chain(r->g, nb_mul(nb_mul(2 * sign, x), r->in[1]));
    if (r->want[1])
        r->d[1] = nb_chain(r->g, nb_square(x));
    return NB_OK;
}

/* The adjoint of x. */
static void reverse_x(const nb_call *c, const nb_array *g, const nb_array *to, bool add)
{
    const nb_array *x = &c->in[0], *y = &c->in[1];
    const int64_t n = x->dims[0], m = x->dims[1];
    int *sweeps = c->state;
    double factor = wrong == SIGN ? -2 : wrong == FACTOR ? 2.000001 : 2;
    factor += wrong == REMEMBERS ? 1e-3 * (*sweeps)++ : 0;
    for (int64_t i = 0; i < x->size; i++) {
        double d = factor * get(g, i) * get(x, i) * get(y, i % m);
        int64_t at = wrong == TRANSPOSED && n == m ? i % m * m + i / m : i;
        d = wrong == NOT_A_NUMBER ? (double)NAN : d;
        d = wrong == COARSE_GRADIENT && x->dtype == NB_F32 ? coarse(d) : d;
        put(to, at, d + (add && wrong != NO_ADDING ? get(to, at) : 0));
    }
}

static nb_code tilt_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                           const bool *add)
{
    const nb_array *x = &c->in[0], *y = &c->in[1];
    if (gin[0])
        reverse_x(c, g, gin[0], add[0]);
    if (!gin[1])
        return NB_OK;
    for (int64_t j = 0; j < y->size; j++) {
        double sum = add[1] ? get(gin[1], j) : 0, old = sum;
        for (int64_t i = j; i < x->size; i += y->size)
            sum = get(x, i) * get(x, i) * get(g, i) + (wrong == NO_BROADCAST_SUM ? old : sum);
        if (wrong != LEAVES_BORROWED || isfinite(get(gin[1], j)))
            put(gin[1], j, wrong == DROPPED ? old : sum);
    }
    return NB_OK;
}

static nb_code tilt_tangent(const nb_rule *r)
{
    nb_var x = r->in[0], y = r->in[1], total = nb_num(0);
    double sign = wrong == TANGENT_SIGN ? -1 : 1;
    if (r->want[0])
        total = nb_add(total, nb_mul(r->t[0], nb_mul(nb_mul(2 * sign, x), y)));
    if (r->want[1] && wrong != TANGENT_DROPPED)
        total = nb_add(total, nb_mul(nb_square(x), r->t[1]));
    r->d[0] = total;
    return NB_OK;
}

static nb_var tilt_sample(nb_sampler *s, int k)
{
    static const int64_t n[] = {3, 1, 4, 0}, m[] = {3, 5, 1, 2};
    if (k >= 4 && wrong != SAMPLES_ENDLESS)
        return NB_NONE;
    nb_var x = nb_sample(s, NB_SHAPE(n[k % 4], m[k % 4]), 0.5, 2);
    nb_var y = nb_sample(s, NB_SHAPE(m[k % 4]), 0.5, 2), again = x;
    if (wrong == TAKES_STALE && !nb_ok(x))
        again = nb_ones(nb_sample_tape(s), NB_SHAPE(n[k], m[k]));
    if (wrong == SAMPLE_FAILS && k == 2)
        return nb_add(nb_sample(s, NB_SHAPE(2), 0, 1), nb_sample(s, NB_SHAPE(3), 0, 1));
    if (wrong == SAMPLES_ANOTHER)
        return nb_mul(nb_square(x), y);
    return nb_apply(&tilt, 2, (nb_var[]){again, y}, &(int){0}, sizeof(int));
}

static void make_tilt(flaw f)
{
    wrong = f;
    tilt = (nb_op){.name = "tilt",
                   .doc = "the square of a matrix, each column scaled",
                   .shape = tilt_shape,
                   .forward = tilt_forward,
                   .reverse = tilt_reverse,
                   .reverse_arrays = tilt_arrays,
                   .overwrites = true,
                   .tangent = tilt_tangent,
                   .sample = tilt_sample};
    if (f == NO_SHAPE_RULE)
        tilt.shape = NULL;
    if (f == RULE_SIGN) {
        tilt.tangent = NULL;
        tilt.reverse_arrays = NULL;
    }
}

START_TEST(a_sound_op_passes_with_whatever_rules_it_has)
{
    for (int without = 0; without < 8; without++) {
        make_tilt(NONE);
        if (without & 1)
            tilt.tangent = NULL;
        if (without & 2)
            tilt.reverse_arrays = NULL;
        if (without & 4)
            tilt.reverse = NULL;
        nb_law_report r;
        nb_code code = nb_check_op(&tilt, &r);
        bool derivable = tilt.tangent || tilt.reverse_arrays || tilt.reverse;
        ck_assert_msg(code == NB_OK, "without %d: %s", without, r.text);
        ck_assert_uint_eq(r.law[NB_LAW_EXAMPLES].passed, 4);
        ck_assert_uint_eq(r.law[NB_LAW_DIFFERENCES].passed, derivable ? 3 : 0);
        ck_assert_uint_eq(r.law[NB_LAW_TRANSPOSE].passed,
                          tilt.reverse_arrays || tilt.reverse ? 6 : 0);
        ck_assert_uint_eq(r.law[NB_LAW_SECOND_ORDER].passed, tilt.reverse ? 9 : 0);
    }
}
END_TEST

static const struct {
    flaw flaw;
    nb_law law;
    const char *text; /* part of the report's */
} flaws[] = {
    {FORWARD_FACTOR, NB_LAW_DIFFERENCES, "derived by operand 0, element 0"},
    {TANGENT_SIGN, NB_LAW_DIFFERENCES, "derived by operand 0, element 0"},
    {TANGENT_DROPPED, NB_LAW_DIFFERENCES, "derived by operand 1, element 0"},
    {RULE_SIGN, NB_LAW_DIFFERENCES, "derived by operand 0, element 0"},
    {SIGN, NB_LAW_TRANSPOSE, "operand 0, element 0"},
    {FACTOR, NB_LAW_TRANSPOSE, "operand 0, element 0"},
    {DROPPED, NB_LAW_TRANSPOSE, "operand 1, element 0"},
    {TRANSPOSED, NB_LAW_TRANSPOSE, "operand 0, element 1"},
    {NO_BROADCAST_SUM, NB_LAW_TRANSPOSE, "operand 1, element 0"},
    {NOT_A_NUMBER, NB_LAW_TRANSPOSE, "operand 0, element 0: nan"},
    {GRAPH_SIGN, NB_LAW_SECOND_ORDER, "operand 0, element 0: the gradient as a graph"},
    {GRAPH_DETACHED, NB_LAW_SECOND_ORDER, "by the gradient of the gradient"},
    {NO_ADDING, NB_LAW_ACCUMULATION, "operand 0, element 0: half the accumulated gradient"},
    {REMEMBERS, NB_LAW_ACCUMULATION, "operand 0, element 0: the second sweep"},
    {LEAVES_BORROWED, NB_LAW_ACCUMULATION, "operand 1, element 0: the borrowed gradient is nan"},
    {COARSE, NB_LAW_PRECISION, "of the result: the value"},
    {COARSE_GRADIENT, NB_LAW_PRECISION, "operand 0, element 0: the gradient"},
    {NO_SHAPE_RULE, NB_LAW_REFUSAL, "whatever shape"},
    {TAKES_STALE, NB_LAW_REFUSAL, "operand 0: a stale var is accepted"},
    {ODD_STATUS, NB_LAW_REFUSAL, "is refused with another status than that"},
    {ROUGH, NB_LAW_DIFFERENCES, "could be tested"},
    {SAMPLE_FAILS, NB_LAW_EXAMPLES, "example 2: add"},
    {SAMPLES_ANOTHER, NB_LAW_EXAMPLES, "does not record the op"},
    {SAMPLES_ENDLESS, NB_LAW_EXAMPLES, "no end"},
};

START_TEST(a_flaw_breaks_its_law)
{
    nb_law_report r;
    make_tilt(flaws[_i].flaw);
    ck_assert_msg(nb_check_op(&tilt, &r) == NB_ERR_LAW, "flaw %d passes", (int)flaws[_i].flaw);
    ck_assert_msg(r.broken == flaws[_i].law && strstr(r.text, flaws[_i].text) &&
                      !strncmp(r.text, "tilt: law of ", 13),
                  "flaw %d: %s", (int)flaws[_i].flaw, r.text);
    ck_assert_uint_gt(r.law[r.broken].tried, r.law[r.broken].passed);
    ck_assert_int_eq(nb_check_op(&tilt, NULL), NB_ERR_LAW);
}
END_TEST

START_TEST(every_flaw_is_tried)
{
    ck_assert_uint_eq(sizeof flaws / sizeof *flaws, SAMPLES_ENDLESS);
    for (size_t i = 0; i < sizeof flaws / sizeof *flaws; i++)
        ck_assert_uint_eq(flaws[i].flaw, i + 1);
}
END_TEST

static nb_var no_sample(nb_sampler *s, int k) { return (void)s, (void)k, NB_NONE; }

START_TEST(nothing_tested_is_no_pass)
{
    nb_law_report r;
    make_tilt(NONE);
    tilt.sample = no_sample;
    ck_assert_int_eq(nb_check_op(&tilt, &r), NB_ERR_ARGUMENT);
    tilt.sample = NULL;
    ck_assert_int_eq(nb_check_op(&tilt, &r), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_check_op(NULL, &r), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_check_op(NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_str_eq(r.text, "");
}
END_TEST

START_TEST(laws_have_names)
{
    for (int law = 0; law < NB_LAW_COUNT; law++) {
        ck_assert_str_ne(nb_law_name((nb_law)law), "");
        ck_assert_str_ne(nb_law_text((nb_law)law), "");
    }
    ck_assert_str_eq(nb_law_name(NB_LAW_COUNT), "unknown");
    ck_assert_str_eq(nb_law_name((nb_law)-1), "unknown");
}
END_TEST

/* ---- differences ----------------------------------------------------------------------------- */

START_TEST(differences_know_their_error)
{
    nb_rng rng = nb_rng_seed(1);
    for (int i = 0; i < 200; i++) {
        double x = 3 * nb_rng_uniform(&rng), h = ldexp(1, -2 - i % 12), d[NBI_STAGES];
        for (int s = 0; s < NBI_STAGES; s++)
            d[s] = (sin(x + ldexp(h, -s)) - sin(x - ldexp(h, -s))) / ldexp(h, 1 - s);
        nbi_estimate e = nbi_extrapolate(d);
        ck_assert_double_le(fabs(e.value - cos(x)),
                            10 * e.error + 4 * DBL_EPSILON / ldexp(h, 1 - NBI_STAGES));
        ck_assert_double_le(e.error, 1e-8);
    }
    double rough[NBI_STAGES] = {1, 3, -2, 5, 0};
    ck_assert_double_ge(nbi_extrapolate(rough).error, 1);
    rough[4] = (double)NAN;
    ck_assert(nbi_extrapolate(rough).error >= 0.5);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("flaws");
    TCase *broken = tcase_create("broken ops");
    tcase_set_timeout(broken, 60);
    tcase_add_test(broken, a_sound_op_passes_with_whatever_rules_it_has);
    tcase_add_loop_test(broken, a_flaw_breaks_its_law, 0, sizeof flaws / sizeof *flaws);
    tcase_add_test(broken, every_flaw_is_tried);
    tcase_add_test(broken, nothing_tested_is_no_pass);
    tcase_add_test(broken, laws_have_names);
    tcase_add_test(broken, differences_know_their_error);
    suite_add_tcase(s, broken);
    return run_suite(s);
}
