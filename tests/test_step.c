/*
 * Frozen steps against the tape that they were recorded on: the same numbers to the last bit, for every
 * operation in the list and whatever the lent arrays hold by then. A run asks for no memory; interior
 * arrays share theirs.
 */
#include "counting.h"
#include "error_is.h"
#include "ops/registry.h"
#include "run.h"
#include "step_network.h"
#include "tape/sample.h"

#include <nabla.h>
#include <stdio.h>

/* ---- every operation ------------------------------------------------------------------------- */

enum { MOST = 4096 };

/* An example whose inputs are lent: the arrays stay, what they hold changes. */
typedef struct example {
    nb_sampler s; /* first: the sampler's hook gets it */
    int round;    /* 0: as drawn; 1: moved towards the middle; 2: in reverse order */
    bool frozen;  /* whose gradients: the step's or the tape's */
    double data[NBI_SAMPLES][MOST / 8], grad[2][NBI_SAMPLES][MOST / 8];
    double scalar[NBI_SAMPLES];
    bool tensor[NBI_SAMPLES];
    nb_var in[NBI_SAMPLES];
} example;

static double get(nb_dtype d, const void *p, int64_t i)
{
    return d == NB_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static void put(nb_dtype d, void *p, int64_t i, double v)
{
    if (d == NB_F64)
        ((double *)p)[i] = v;
    else
        ((float *)p)[i] = (float)v;
}

static double moved(const example *e, double v, double low, double high)
{
    return e->round == 1 && low < high ? v + ((low + high) / 2 - v) / 16 : v;
}

static nb_var lend(nb_sampler *s, nb_var x, double low, double high)
{
    example *e = (example *)(void *)s;
    const size_t j = s->n;
    const nb_dtype d = nb_tape_dtype(s->tape);
    const int64_t n = nb_size(x);
    ck_assert(n <= MOST / 8);
    e->tensor[j] = nb_is_tensor(x);
    if (!e->tensor[j]) {
        e->scalar[j] = moved(e, nb_value(x), low, high);
        return e->in[j] = nb_input(s->tape, NULL, e->scalar[j]);
    }
    for (int64_t i = 0; i < n; i++)
        put(d, e->data[j], e->round == 2 ? n - 1 - i : i,
            moved(e, get(d, nb_data(x), i), low, high));
    return e->in[j] = nb_borrow(s->tape, NULL, nb_shape_of(x), e->data[j], e->grad[e->frozen][j]);
}

/* A number that weighs each element of the result differently; inert if there is no example k. */
static nb_var build(example *e, nb_tape *t, const nb_op *op, int k)
{
    e->s = (nb_sampler){.tape = t, .replace = lend, .rng = nb_rng_seed((uint64_t)k)};
    const nb_var y = op->sample(&e->s, k);
    if (!nb_ok(y) || !nb_is_tensor(y))
        return nb_ok(y) ? nb_mul(y, 0.75) : y;
    nb_var w = nb_reshape(nb_arange(t, 1, (double)nb_size(y) + 0.5, 1), nb_shape_of(y));
    return nb_sum(nb_mul(y, nb_div(w, 8)));
}

/* Number and gradients of the step, and of the tape recorded anew; false if a bit differs. */
static bool agree(example *e, nb_dtype d, nb_frozen *f, const nb_op *op, int k)
{
    const size_t bytes = d == NB_F64 ? 8 : 4;
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    e->frozen = false;
    const nb_var loss = build(e, t, op, k);
    const double value = nb_value(loss);
    bool same = nb_backward(loss) == NB_OK;
    for (size_t j = 0, n = 0; j < e->s.n; j++)
        if (!e->tensor[j])
            same = same && nb_frozen_set(f, n++, e->scalar[j]) == NB_OK;
    memset(e->grad[1], 0x5a, sizeof e->grad[1]);
    same = same && nb_frozen_run(f) == NB_OK;
    const double got = nb_frozen_loss(f);
    same = same && !memcmp(&value, &got, sizeof got);
    for (size_t j = 0, n = 0; j < e->s.n; j++) {
        const double g = e->tensor[j] ? 0 : nb_grad(e->in[j]);
        const double h = e->tensor[j] ? 0 : nb_frozen_grad(f, n++);
        same = same && !memcmp(&g, &h, sizeof g) &&
               (!e->tensor[j] ||
                !memcmp(e->grad[0][j], e->grad[1][j], (size_t)nb_size(e->in[j]) * bytes));
    }
    if (!same)
        fprintf(stderr, "%s, example %d, round %d, %zu bytes: %.17g, frozen %.17g %s %s\n",
                op->name, k, e->round, bytes, value, got, nb_message(t), nb_frozen_message(f));
    nb_tape_free(t);
    return same;
}

static nb_frozen *freeze(const example *e, nb_var loss)
{
    nb_var in[NBI_SAMPLES];
    size_t n = 0;
    for (size_t j = 0; j < e->s.n; j++)
        if (!e->tensor[j])
            in[n++] = e->in[j];
    return nb_freeze_step(&(nb_frozen_recipe){.loss = loss, .n_in = n, .in = in});
}

/* Those whose examples cannot be frozen: they use a generator, or running statistics, of their own. */
static bool refuses(const nb_op *op)
{
    return !strcmp(op->name, "dropout") || !strcmp(op->name, "batch_norm");
}

START_TEST(test_every_operation)
{
    static example e;
    int bad = 0, tried = 0, refused = 0;
    for (size_t i = 0; i < 2 * nbi_op_count(); i++) {
        const nb_op *op = nbi_op_at(i / 2);
        for (int k = 0;; k++) {
            const nb_dtype d = i & 1 ? NB_F32 : NB_F64;
            nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
            e.round = 0;
            e.frozen = true;
            const nb_var loss = build(&e, t, op, k);
            const bool end = !nb_ok(loss);
            nb_frozen *f = end ? NULL : freeze(&e, loss);
            const bool said = nb_status(t) != NB_OK && refuses(op);
            if (!end && !f && !said)
                bad++, fprintf(stderr, "%s, example %d: %s\n", op->name, k, nb_message(t));
            nb_tape_free(t);
            tried += f != NULL;
            refused += said;
            for (; f && e.round < 3; e.round++)
                bad += !agree(&e, d, f, op, k);
            nb_frozen_free(f);
            if (end)
                break;
        }
    }
    ck_assert_int_eq(bad, 0);
    ck_assert_int_gt(tried, 1000);
    ck_assert_int_gt(refused, 0);
}
END_TEST

/* ---- a network ------------------------------------------------------------------------------- */

/* Loss and gradients as the tape has them. */
static double eager(network *n, nb_rng *rng, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var loss = squared(t, n, rng);
    const double v = nb_value(loss);
    ck_assert_int_eq(nb_backward(loss), NB_OK);
    memcpy(g, n->g, sizeof n->g);
    nb_tape_free(t);
    return v;
}

START_TEST(test_outlives_tape_and_allocates_nothing)
{
    static network n;
    double g[PARAMETERS];
    counting c = {0};
    const nb_allocator a = counting_allocator(&c);
    nb_tape *t = nb_tape_new(NULL);
    change(&n, 1);
    memset(n.g, 0x33, sizeof n.g);
    memcpy(g, n.g, sizeof g);
    nb_var loss = squared(t, &n, NULL);
    nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = loss, .allocator = &a});
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(memcmp(g, n.g, sizeof g), 0); /* freezing leaves lent gradients alone */
    nb_tape_free(t);
    const size_t calls = c.calls;
    for (uint64_t k = 2; k < 6; k++) {
        change(&n, k);
        const double v = eager(&n, NULL, g);
        memset(n.g, 0x33, sizeof n.g);
        ck_assert_int_eq(nb_frozen_run(f), NB_OK);
        ck_assert_int_eq(memcmp(g, n.g, sizeof g), 0);
        ck_assert(v == nb_frozen_loss(f));
    }
    ck_assert_uint_eq(c.calls, calls);
    ck_assert_str_eq(nb_frozen_message(f), "");
    nb_frozen_free(f);
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

START_TEST(test_dropout_draws_anew)
{
    static network n;
    double g[PARAMETERS], last = 0;
    nb_rng rng = nb_rng_seed(3), other;
    nb_tape *t = nb_tape_new(NULL);
    change(&n, 1);
    nb_var loss = squared(t, &n, &rng);
    other = rng;
    nb_rng *const list[] = {&rng};
    nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = loss, .n_rng = 1, .rng = list});
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(memcmp(&rng, &other, sizeof rng), 0);
    for (int k = 0; k < 4; k++) {
        const double v = eager(&n, &other, g);
        ck_assert_int_eq(nb_frozen_run(f), NB_OK);
        ck_assert(v == nb_frozen_loss(f) && v != last);
        ck_assert_int_eq(memcmp(g, n.g, sizeof g), 0);
        last = v;
    }
    ck_assert_ptr_null(nb_freeze_step(&(nb_frozen_recipe){.loss = loss}));
    is(t, NB_ERR_ARGUMENT, "generator is not named");
    nb_frozen_free(f);
    nb_tape_free(t);
}
END_TEST

/* Layer upon layer: what is interior to one is not needed at another, so it can share memory. */
START_TEST(test_plan_shares_memory)
{
    enum { LAYERS = 24, WIDTH = 32 };
    static double w[WIDTH], g[2][WIDTH];
    nb_tape *t = nb_tape_new(NULL);
    fill(w, WIDTH, 5);
    for (int k = 0; k < 2; k++) {
        nb_var x = nb_borrow(t, NULL, NB_SHAPE(WIDTH), w, g[k]), y = x;
        for (int i = 0; i < LAYERS; i++)
            y = nb_add(nb_sin(y), nb_mul(x, nb_norm(y)));
        if (k == 0) {
            ck_assert_int_eq(nb_backward(nb_sum(y)), NB_OK);
            nb_reset(t);
            continue;
        }
        nb_frozen *f = nb_freeze_step(&(nb_frozen_recipe){.loss = nb_sum(y)});
        ck_assert_int_eq(nb_frozen_run(f), NB_OK);
        const nb_frozen_info i = nb_frozen_inspect(f);
        ck_assert_uint_lt(i.plan, i.unshared * 3 / 4);
        ck_assert_uint_lt(i.plan, i.bytes);
        ck_assert_uint_gt(i.forward, 3 * LAYERS);
        ck_assert_uint_gt(i.reverse, 3 * LAYERS);
        ck_assert_int_eq(memcmp(g[0], g[1], sizeof g[0]), 0);
        nb_frozen_free(f);
    }
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("step");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, test_every_operation);
    tcase_add_test(c, test_outlives_tape_and_allocates_nothing);
    tcase_add_test(c, test_dropout_draws_anew);
    tcase_add_test(c, test_plan_shares_memory);
    return run_case("step", c);
}
