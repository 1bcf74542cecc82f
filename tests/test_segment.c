/*
 * What segments and loops promise besides the right gradients: little memory, handles that are stale
 * when they should be, errors that name the fault and leave the tape usable.
 */
#include "checkpointed.h"

/* ---- what segments and loops promise besides ------------------------------------------------- */

static nb_code square(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_square(in[0]);
    return NB_OK;
}

/* Memory for 50 states: 10^5 steps, as few calls as the theory says, no bit different. */
START_TEST(long_loop)
{
    const int64_t T = 100000, c = 50;
    double g[2][GRADS];
    size_t bytes[2];
    for (int k = 0; k < 2; k++) {
        world m;
        populate(&m, nb_tape_new(NULL), k == 0, T, c);
        ck_assert_int_eq(nb_backward(recur(&m)), NB_OK);
        read_grads(&m, g[k]);
        ck_assert_int_eq(m.calls, k ? nb_loop_calls(T, c) : T);
        bytes[k] = nb_tape_bytes(m.t);
        nb_tape_free(m.t);
    }
    ck_assert(!memcmp(g[0], g[1], sizeof *g));
    ck_assert_uint_gt(bytes[0], 500 * bytes[1]);
    ck_assert_int_eq(nb_loop_calls(T, c), 4 * T - 26235 + T + 1);
}
END_TEST

/* Vars older than a segment are as good after it as before, those made inside are stale. */
static nb_code leaking(void *context, const nb_var *in, nb_var *out)
{
    out[0] = *(nb_var *)context = nb_exp(in[0]);
    return NB_OK;
}

START_TEST(handles)
{
    enum { MANY = 3000 };
    static nb_var y[MANY];
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0), leaked, sum = nb_num(0);
    nb_mark mark = nb_tape_mark(t);
    nb_segment_spec spec = {.fn = leaking, .context = &leaked};
    for (int k = 0; k < MANY; k++) {
        ck_assert_int_eq(nb_segment(&spec, 1, &x, 1, &y[k]), NB_OK);
        ck_assert(!nb_ok(leaked));
    }
    for (int k = 0; k < MANY; k++)
        sum = nb_add(sum, y[k]);
    ck_assert_int_eq(nb_backward(sum), NB_OK);
    ck_assert(!nb_ok(leaked));
    ck_assert_double_eq(nb_grad(x), MANY);
    for (int k = 0; k < MANY; k++)
        ck_assert(nb_ok(y[k]) && nb_grad(y[k]) == 1);
    nb_sin(leaked);
    ck_assert_int_eq(nb_status(t), NB_ERR_HANDLE);
    nb_clear(t);
    ck_assert_int_eq(nb_rewind(mark), NB_OK);
    ck_assert(!nb_ok(y[0]) && nb_ok(x));
    nb_tape_free(t);
}
END_TEST

START_TEST(recording_paused)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3), y, z = nb_num(3), w;
    nb_set_recording(t, false);
    ck_assert_int_eq(nb_segment(&(nb_segment_spec){.fn = square}, 1, &x, 1, &y), NB_OK);
    nb_set_recording(t, true);
    ck_assert(nb_inspect(y).constant && nb_value(y) == 9);
    nb_var in[] = {x, z};
    ck_assert_int_eq(nb_segment(&(nb_segment_spec){.fn = square}, 2, in + 0, 1, &w), NB_OK);
    ck_assert(!nb_inspect(w).constant);
    nb_var number[] = {z, x};
    ck_assert_int_eq(nb_segment(&(nb_segment_spec){.fn = square}, 2, number, 1, &w), NB_OK);
    ck_assert(nb_inspect(w).constant && nb_value(w) == 9);
    nb_tape_free(t);
}
END_TEST

/* A gradient lent outside is written once; nothing is left unwritten. */
START_TEST(borrowed)
{
    static const double w[3] = {1, 2, 3};
    double dw[3] = {7, 7, 7};
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_borrow(t, "w", NB_SHAPE(3), w, dw), y, z;
    nb_segment(&(nb_segment_spec){.fn = square}, 1, &x, 1, &y);
    nb_segment(&(nb_segment_spec){.fn = square}, 1, &x, 1, &z);
    ck_assert_int_eq(nb_backward(nb_sum(nb_add(y, z))), NB_OK);
    for (int k = 0; k < 3; k++)
        ck_assert_double_eq(dw[k], 4 * w[k]);
    nb_tape_free(t);
}
END_TEST

typedef struct scale {
    double by, ballast[40];
} scale;

static nb_code scaled(void *context, const nb_var *in, nb_var *out)
{
    out[0] = nb_mul(nb_sin(in[0]), ((scale *)context)->by);
    return NB_OK;
}

START_TEST(copied_context)
{
    scale *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    s->by = 3;
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0), y;
    nb_segment_spec spec = {.fn = scaled, .context = s, .context_bytes = sizeof *s};
    ck_assert_int_eq(nb_segment(&spec, 1, &x, 1, &y), NB_OK);
    memset(s, 0, sizeof *s);
    free(s);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    ck_assert_double_eq(nb_grad(x), 3);
    nb_tape_free(t);
}
END_TEST

/* Gradients of what lies inside and of outputs: kept on request; what no path leads to has none. */
START_TEST(reading)
{
    world m;
    populate(&m, nb_tape_new(NULL), false, 5, 2);
    nb_var y[3], lone = nb_input(m.t, "lone", 1);
    part(&m, "mixed", mixed, 2, (nb_var[]){m.x, m.u}, 3, y);
    nb_retain_grad(y[0]);
    ck_assert_int_eq(nb_backward(nb_add(nb_sum(nb_mul(2, y[0])), nb_mul(3, y[1]))), NB_OK);
    double g[3];
    ck_assert_int_eq(nb_read_grad(y[0], g, 3), NB_OK);
    ck_assert(g[0] == 2 && g[1] == 2 && g[2] == 2 && nb_grad(y[1]) == 3);
    ck_assert(nb_has_grad(m.s) && nb_has_grad(y[0]) && !nb_has_grad(lone) && !nb_has_grad(m.w));
    nb_info out = nb_inspect(y[0]), base = nb_inspect(nb_input_of(y[0], 0));
    ck_assert_str_eq(out.op, "output");
    ck_assert_str_eq(base.op, "segment");
    ck_assert_uint_eq(base.n_in, 4); /* x, u, s, b: found, not declared */
    ck_assert_str_eq(nb_message(m.t), "");
    nb_tape_free(m.t);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

/* What a function does. */
enum {
    UNSET,
    INERT,
    FOREIGN,
    STALE,
    FAILING,
    REWINDING,
    SWEEPING,
    BORROWING,
    SHAPED,
    DIFFERENT,
    ELSEWHERE,
    LATE_SHAPE,
    LATE_FAILURE,
    YOUNGER,
    KINDS
};

/* And in which of its calls. */
typedef struct mischief {
    int kind;
    nb_tape *t, *other;
    nb_var stale, younger, older;
    nb_mark mark;
    int64_t calls, from; /* in calls from that number on */
} mischief;

static const struct {
    nb_code code;
    const char *word;
    bool late; /* found by the sweep alone */
} verdict[KINDS] = {
    [UNSET] = {NB_ERR_CALLBACK, "output 1 of call 0 is not set", false},
    [INERT] = {NB_ERR_AXIS, "sum", false},
    [FOREIGN] = {NB_ERR_CALLBACK, "another tape", false},
    [STALE] = {NB_ERR_CALLBACK, "stale", false},
    [FAILING] = {NB_ERR_DOMAIN, "the function failed", false},
    [REWINDING] = {NB_ERR_CALLBACK, "rewind: called by", false},
    [SWEEPING] = {NB_ERR_CALLBACK, "backward: called by", false},
    [BORROWING] = {NB_ERR_ARGUMENT, "a gradient is borrowed inside", false},
    [SHAPED] = {NB_ERR_SHAPE, "output 1 has shape [2], not [3]", false},
    [DIFFERENT] = {NB_ERR_CALLBACK, "not pure: output 1 of call", true},
    [ELSEWHERE] = {NB_ERR_CALLBACK, "is another node when it is recomputed", true},
    [LATE_SHAPE] = {NB_ERR_SHAPE, "output 1 has shape [2], not [3]", true},
    [LATE_FAILURE] = {NB_ERR_DOMAIN, "the function failed", true},
    [YOUNGER] = {NB_ERR_CALLBACK, "is younger than the node", true},
};

static nb_code misbehave(mischief *m, const nb_var *in, nb_var *out)
{
    static double grad[3];
    out[0] = nb_sin(in[0]);
    out[1] = nb_cos(in[1]);
    if (m->calls++ < m->from)
        return NB_OK;
    switch (m->kind) {
    case UNSET: out[1] = NB_NONE; break;
    case INERT: out[1] = nb_sum_over(in[1], NB_AXES(5), false); break;
    case FOREIGN: out[1] = nb_zeros(m->other, NB_SHAPE(3)); break;
    case STALE: out[1] = m->stale; break;
    case FAILING:
    case LATE_FAILURE: return NB_ERR_DOMAIN;
    case REWINDING: return nb_rewind(m->mark);
    case SWEEPING: return nb_backward(out[0]);
    case BORROWING: out[1] = nb_mul(out[1], nb_borrow(m->t, "w", NB_SHAPE(3), grad, grad)); break;
    case SHAPED:
    case LATE_SHAPE: out[1] = nb_slice(out[1], 0, 0, 2, 1); break;
    case DIFFERENT: out[1] = nb_add(out[1], 1e-9); break;
    case ELSEWHERE: out[1] = m->older; break;
    case YOUNGER: out[1] = m->younger; break;
    default: break;
    }
    return NB_OK;
}

static nb_code bad_segment(void *context, const nb_var *in, nb_var *out)
{
    return misbehave(context, in, out);
}

static nb_code bad_step(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    (void)step;
    return misbehave(context, in, out);
}

/* Whatever a function does, the error is named and the tape stays as usable as it was. */
START_TEST(refusals)
{
    enum { STEPS = 6 };
    const bool loop = _i % 2;
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    mischief m = {.kind = _i / 2, .t = t, .other = other, .mark = nb_tape_mark(t)};
    const bool late = verdict[m.kind].late;
    if (m.kind == SHAPED && !loop)
        goto done; /* a segment may return any shape */
    m.stale = nb_input(t, NULL, 1);
    nb_rewind(m.mark);
    nb_var in[] = {nb_input(t, "a", .5), nb_tensor(t, "b", NB_SHAPE(3), (double[]){1, 2, 3})};
    nb_var before = nb_exp(in[0]), out[2];
    m.older = in[1];
    const size_t count = nb_count(t);
    m.from = !late ? 0 : loop ? STEPS : 1;
    nb_segment_spec segment = {.name = "bad", .fn = bad_segment, .context = &m};
    nb_loop_spec spec = {.name = "bad", .fn = bad_step, .context = &m, .steps = STEPS, .memory = 2};
    nb_code code = loop ? nb_loop(&spec, 2, in, 0, NULL, out) : nb_segment(&segment, 2, in, 2, out);
    if (late) {
        ck_assert_int_eq(code, NB_OK);
        nb_var f = nb_add(out[0], nb_sum(out[1]));
        m.younger = nb_mul(in[1], 2);
        const size_t all = nb_count(t);
        code = nb_backward(f);
        ck_assert_uint_eq(nb_count(t), all);
    } else {
        ck_assert(!nb_ok(out[0]) && !nb_ok(out[1]));
        ck_assert_uint_eq(nb_count(t), count);
    }
    ck_assert_msg(code == verdict[m.kind].code, "%d: %s", code, nb_message(t));
    const char *word = verdict[m.kind].word;
    ck_assert_msg(strstr(nb_message(t), word) != NULL, "%s", nb_message(t));
    if (m.kind != INERT && m.kind != REWINDING && m.kind != SWEEPING)
        ck_assert_ptr_nonnull(strstr(nb_message(t), loop ? "loop \"bad\"" : "segment \"bad\""));
    nb_clear(t);
    ck_assert_int_eq(nb_backward(before), NB_OK);
    ck_assert_double_eq(nb_grad(in[0]), exp(.5));
    ck_assert_int_eq(nb_rewind(m.mark), NB_OK);
done:
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

static nb_code still(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    (void)context, (void)step;
    out[0] = in[0];
    return NB_OK;
}

/* Arguments out of range. */
START_TEST(arguments)
{
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), y = nb_input(other, "y", 2), out, two = nb_num(2);
    const nb_loop_spec good = {.name = "still", .fn = still, .steps = 4, .memory = 1};
    nb_loop_spec s = good;
    s.memory = 0;
    ck_assert_int_eq(nb_loop(&s, 1, &x, 0, NULL, &out), NB_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "a schedule with no memory"));
    ck_assert(!nb_ok(out));
    for (int k = 0; k < 2; k++) {
        nb_clear(t);
        s = good;
        s.steps = k ? ((int64_t)1 << 40) + 1 : -1;
        ck_assert_int_eq(nb_loop(&s, 1, &x, 0, NULL, &out), NB_ERR_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(nb_message(t), "steps"));
    }
    nb_clear(t);
    s = good;
    s.memory = INT64_MAX;
    ck_assert_int_eq(nb_loop(&s, 1, &x, 0, NULL, &out), NB_OK);
    ck_assert_uint_eq(nb_inspect(out).place, nb_inspect(x).place); /* left alone: itself */
    s.steps = 0;
    ck_assert_int_eq(nb_loop(&s, 1, &x, 1, &two, &out), NB_OK);
    ck_assert_double_eq(nb_value(out), 2);
    ck_assert_int_eq(nb_loop(&s, 1, &two, 1, &x, &out), NB_OK);
    ck_assert_double_eq(nb_value(out), 2);
    ck_assert_int_eq(nb_loop(&good, 1, &x, 1, &y, &out), NB_ERR_HANDLE);
    ck_assert_int_eq(nb_loop(&good, 1, &two, 0, NULL, &out), NB_ERR_HANDLE);
    ck_assert_int_eq(nb_loop(NULL, 1, &x, 0, NULL, &out), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_loop(&good, 0, &x, 0, NULL, &out), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_loop(&good, 1, &x, 1, NULL, &out), NB_ERR_ARGUMENT);
    const nb_segment_spec segment = {.fn = square};
    ck_assert_int_eq(nb_segment(&segment, 1, &two, 1, &out), NB_ERR_HANDLE);
    ck_assert_int_eq(nb_segment(&segment, 2, (nb_var[]){x, y}, 1, &out), NB_ERR_HANDLE);
    ck_assert_int_eq(nb_segment(&segment, 1, &x, 0, &out), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_segment(&(nb_segment_spec){0}, 1, &x, 1, &out), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_loop_calls(10, 0), -1);
    ck_assert_int_eq(nb_loop_calls(-1, 1), -1);
    ck_assert_int_eq(nb_loop_calls(0, 1), 0);
    ck_assert_int_eq(nb_loop_calls(10, 100), 9 + 10 + 1);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

/* What a call cannot do without: the outputs are inert, and nothing is called. */
static nb_code uncalled(void *context, const nb_var *in, nb_var *out)
{
    (void)context, (void)in, (void)out;
    abort();
}

static nb_code uncalled_step(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    (void)step;
    return uncalled(context, in, out);
}

START_TEST(arguments_missing)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), y;
    const nb_segment_spec segments[] = {{.name = "no function"},
                                        {.fn = uncalled, .context_bytes = 8},
                                        {.fn = uncalled, .n_rng = 1},
                                        {.fn = uncalled, .n_rng = 1, .rng = (nb_rng *[]){NULL}}};
    for (size_t k = 0; k <= COUNT(segments); k++) {
        y = x;
        const nb_segment_spec *s = k < COUNT(segments) ? &segments[k] : NULL;
        ck_assert_int_eq(nb_segment(s, 1, &x, 1, &y), NB_ERR_ARGUMENT);
        ck_assert(!nb_ok(y));
        if (!s)
            continue;
        const nb_loop_spec loop = {.name = s->name,
                                   .fn = s->fn ? uncalled_step : NULL,
                                   .context_bytes = s->context_bytes,
                                   .n_rng = s->n_rng,
                                   .rng = s->rng,
                                   .steps = 3,
                                   .memory = 1};
        y = x;
        ck_assert_int_eq(nb_loop(&loop, 1, &x, 0, NULL, &y), NB_ERR_ARGUMENT);
        ck_assert(!nb_ok(y));
    }
    ck_assert_int_eq(nb_segment(&(nb_segment_spec){.fn = uncalled}, 1, &x, 1, NULL),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* The local derivative that is not finite is inside, and is named. */
static nb_code root(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_mul(nb_sqrt(in[0]), 2);
    return NB_OK;
}

START_TEST(anomalies)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0), y;
    nb_set_anomaly(t, true);
    ck_assert_int_eq(nb_segment(&(nb_segment_spec){.fn = root}, 1, &x, 1, &y), NB_OK);
    ck_assert_int_eq(nb_backward(y), NB_ERR_ANOMALY);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "sqrt: the local derivative is not finite"));
    nb_tape_free(t);
}
END_TEST

/* Out of memory, everywhere: everything with the k-th request refused. */
static double everything(nb_tape *t)
{
    double total = 0;
    for (size_t k = 0; k < COUNT(models); k++) {
        world m;
        nb_mark mark = nb_tape_mark(t);
        populate(&m, t, true, 6, 2); /* calls go by `careless`, below */
        m.plain = false;
        m.careless = true;
        nb_var f = models[k](&m), d[2];
        nb_backward(f);
        total += nb_grad(m.s);
        nb_forward(1, &m.s, NULL);
        total += nb_tangent(f);
        nb_diff(1, &f, NULL, 2, (nb_var[]){m.s, m.u}, d);
        total += nb_value(d[0]) + nb_value(d[1]);
        double j[2] = {0};
        nb_jacobian(1, &f, 2, (nb_var[]){m.s, m.u}, NB_JACOBIAN_REVERSE, j);
        total += j[0] + j[1];
        nb_rewind(mark);
    }
    return total;
}

START_TEST(without_memory)
{
    counting c = {0};
    const nb_options small = {.allocator = counting_allocator(&c), .nodes = 1, .bytes = 1};
    nb_tape *t = nb_tape_new(&small);
    const size_t made = c.calls;
    const double right = everything(t);
    ck_assert_int_eq(nb_status(t), NB_OK);
    const size_t all = c.calls;
    nb_tape_free(t);
    ck_assert_uint_eq(c.blocks, 0);
    ck_assert_uint_gt(all, made + 20);
    for (size_t k = made + 1; k <= all; k++) {
        c = (counting){.refuse = k, .for_ever = _i};
        t = nb_tape_new(&small);
        everything(t);
        const nb_code code = nb_status(t);
        ck_assert_msg(code == NB_OK || code == NB_ERR_MEMORY, "request %zu: %s", k, nb_message(t));
        c.refuse = 0;
        nb_clear(t);
        const double again = everything(t);
        ck_assert_msg(again == right, "request %zu: %.17g, not %.17g: %s", k, again, right,
                      nb_message(t));
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("segment");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, long_loop);
    tcase_add_test(c, handles);
    tcase_add_test(c, recording_paused);
    tcase_add_test(c, borrowed);
    tcase_add_test(c, copied_context);
    tcase_add_test(c, reading);
    tcase_add_test(c, arguments);
    tcase_add_test(c, arguments_missing);
    tcase_add_test(c, anomalies);
    tcase_add_loop_test(c, refusals, 0, 2 * KINDS);
    tcase_add_loop_test(c, without_memory, 0, 2);
    return run_case("segment", c);
}
