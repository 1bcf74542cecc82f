/*
 * Threads change nothing but the time.
 *
 * Every operation's examples, and calls of the main ones on larger tensors, are computed by one
 * thread and by two, three and five: values and gradients must be the same bits. The examples are
 * tiny, so the tapes are told to cut work however small it is. Then the ways in which threads are
 * had and lost: pools shared by tapes on several threads, owned by one, too few, or busy.
 */
#include "ops/registry.h"
#include "tape/sample.h"
#include "tape/tape.h"

#include "counting.h"

#include <errno.h>
#include <nabla/ops.h>
#include <pthread.h>
#include <stdatomic.h>

static const int counts[] = {1, 2, 3, 5};
enum { COUNTS = sizeof counts / sizeof *counts, CUT_ALL = 1 };

static nb_tape *tape_with(int threads, nb_dtype dtype, int64_t grain)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = dtype, .threads = threads});
    ck_assert_ptr_nonnull(t);
    t->crew.grain = grain;
    return t;
}

static const char *dtype_name(nb_dtype dtype) { return dtype == NB_F32 ? "float" : "double"; }

/* ---- bits ------------------------------------------------------------------------------------ */

/* All bytes that a computation is to be judged by, one after the other. */
typedef struct bits {
    char *data;
    size_t size, room;
} bits;

static void append(bits *b, const void *data, size_t n)
{
    if (b->size + n > b->room) {
        b->room = 2 * (b->size + n);
        b->data = realloc(b->data, b->room);
    }
    if (n)
        memcpy(b->data + b->size, data, n);
    b->size += n;
}

static void append_numbers(bits *b, nb_var x, const void *tensor, double scalar)
{
    if (nb_is_tensor(x) && tensor)
        append(b, tensor, (size_t)nb_size(x) * nbi_element(nb_tape_dtype(x.tape)));
    else
        append(b, &scalar, nb_is_tensor(x) ? 0 : sizeof scalar);
}

/* y's value, and after a sweep from it with a seed of many numbers the gradients of x. */
static void judge(bits *b, nb_var y, size_t n, const nb_var *x)
{
    const int64_t size = nb_size(y);
    double *seed = calloc((size_t)size + 1, sizeof *seed);
    for (int64_t i = 0; i < size; i++)
        seed[i] = (double)(i * 37 % 101) / 64 - 0.75;
    b->size = 0;
    append_numbers(b, y, nb_is_tensor(y) ? nb_data(y) : NULL, nb_is_tensor(y) ? 0 : nb_value(y));
    const double *const seeds[] = {seed};
    nb_code code = nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = seeds});
    if (code == NB_OK)
        for (size_t k = 0; k < n; k++)
            append_numbers(b, x[k], nb_is_tensor(x[k]) ? nb_grad_data(x[k]) : NULL,
                           nb_is_tensor(x[k]) ? 0 : nb_grad(x[k]));
    else
        nb_clear(y.tape); /* no derivative */
    free(seed);
}

static bool same(const bits *a, const bits *b)
{
    return a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
}

/* ---- every op -------------------------------------------------------------------------------- */

/* Example k of an op; false past the last. */
static bool example(const nb_op *op, int k, nb_tape *t, bits *b)
{
    nb_reset(t);
    nb_sampler s = {.tape = t, .rng = nb_rng_seed((uint64_t)k)};
    nb_var y = op->sample(&s, k);
    if (!y.tape)
        return false;
    ck_assert_msg(nb_status(t) == NB_OK, "%s: %s", op->name, nb_message(t));
    judge(b, y, s.n, s.in);
    return true;
}

START_TEST(every_op_gives_the_same_bits)
{
    const nb_op *op = nbi_op_at((size_t)_i);
    for (int dtype = 0; dtype < 2; dtype++) {
        nb_tape *t[COUNTS];
        bits one = {0}, many = {0};
        for (int c = 0; c < COUNTS; c++)
            t[c] = tape_with(counts[c], (nb_dtype)dtype, CUT_ALL);
        for (int k = 0; example(op, k, t[0], &one); k++)
            for (int c = 1; c < COUNTS; c++) {
                ck_assert(example(op, k, t[c], &many));
                ck_assert_msg(same(&one, &many), "%s, example %d, %s: other bits on %d threads",
                              op->name, k, dtype_name((nb_dtype)dtype), counts[c]);
            }
        for (int c = 0; c < COUNTS; c++)
            nb_tape_free(t[c]);
        free(one.data);
        free(many.data);
    }
}
END_TEST

/* ---- larger ---------------------------------------------------------------------------------- */

enum { MOST_IN = 3 };

/* A call on inputs of given shapes. */
typedef struct call {
    const char *name;
    nb_var (*f)(const nb_var *x);
    nb_shape shape[MOST_IN];
} call;

static nb_var nn(const nb_var *x) { return nb_matmul(x[0], x[1]); }
static nb_var nt(const nb_var *x) { return nb_matmul_t(x[0], false, x[1], true); }
static nb_var tn(const nb_var *x) { return nb_matmul_t(x[0], true, x[1], false); }
static nb_var tt(const nb_var *x) { return nb_matmul_t(x[0], true, x[1], true); }
static nb_var affine(const nb_var *x) { return nb_affine(x[0], x[1], x[2]); }
static nb_var outer(const nb_var *x) { return nb_outer(x[0], x[1]); }
static nb_var tanh_of(const nb_var *x) { return nb_tanh(x[0]); }
static nb_var product(const nb_var *x) { return nb_mul(x[0], x[1]); }
static nb_var twice(const nb_var *x) { return nb_mul(nb_add(x[0], x[0]), x[0]); }
static nb_var clamped(const nb_var *x) { return nb_clamp(x[0], x[1], x[2]); }
static nb_var sum_all(const nb_var *x) { return nb_sum(x[0]); }
static nb_var mean_all(const nb_var *x) { return nb_mean(nb_square(x[0])); }
static nb_var norm_all(const nb_var *x) { return nb_norm(x[0]); }
static nb_var max_all(const nb_var *x) { return nb_amax(x[0]); }
static nb_var lse_all(const nb_var *x) { return nb_logsumexp(x[0]); }
static nb_var var_all(const nb_var *x) { return nb_var_of(x[0], 1); }
static nb_var sum_0(const nb_var *x) { return nb_sum_over(x[0], NB_AXES(0), false); }
static nb_var sum_1(const nb_var *x) { return nb_sum_over(x[0], NB_AXES(1), false); }
static nb_var sum_02(const nb_var *x) { return nb_sum_over(x[0], NB_AXES(0, 2), true); }
static nb_var var_1(const nb_var *x) { return nb_var_over(x[0], NB_AXES(1), 1, false); }
static nb_var max_0(const nb_var *x) { return nb_amax_over(x[0], NB_AXES(0), false); }
static nb_var prod_1(const nb_var *x) { return nb_prod_over(x[0], NB_AXES(1), false); }
static nb_var norm_1(const nb_var *x) { return nb_norm_over(x[0], NB_AXES(1), false); }
static nb_var lse_1(const nb_var *x) { return nb_logsumexp_over(x[0], NB_AXES(1), false); }
static nb_var softmax_0(const nb_var *x) { return nb_softmax(x[0], 0); }
static nb_var softmax_1(const nb_var *x) { return nb_softmax(x[0], 1); }
static nb_var log_softmax_1(const nb_var *x) { return nb_log_softmax(x[0], 1); }
static nb_var permuted(const nb_var *x) { return nb_permute(x[0], NB_AXES(2, 0, 1)); }
static nb_var transposed(const nb_var *x) { return nb_transpose(x[0]); }
static nb_var flipped(const nb_var *x) { return nb_flip(x[0], NB_AXES(0, 1)); }
static nb_var sliced(const nb_var *x) { return nb_slice(x[0], 1, 3, NB_END, 2); }
static nb_var joined(const nb_var *x) { return nb_concat(2, x, 1); }
static nb_var stretched(const nb_var *x) { return nb_expand(x[0], NB_SHAPE(40, 300, 50)); }
static nb_var tiled(const nb_var *x) { return nb_tile(x[0], NB_SHAPE(3, 4)); }
static nb_var sums(const nb_var *x) { return nb_cumsum(x[0], 1); }

enum { TOKENS = 1000, WORDS = 300 };
static nb_var looked_up(const nb_var *x)
{
    int64_t index[TOKENS];
    for (int64_t i = 0; i < TOKENS; i++)
        index[i] = i * i % WORDS;
    return nb_embedding(x[0], NB_SHAPE(TOKENS), index);
}

static nb_var layers(const nb_var *x)
{
    nb_var hidden = nb_relu(nb_matmul(x[0], x[1]));
    nb_var p = nb_log_softmax(nb_matmul(hidden, x[2]), 1);
    return nb_neg(nb_mean(p));
}

/* clang-format off */
#define S(...) {sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), {__VA_ARGS__}}
static const call calls[] = {
    {"nn", nn, {S(65, 301), S(301, 130)}},
    {"nn of many rows", nn, {S(1100, 30), S(30, 270)}},
    {"nn of many columns", nn, {S(9, 300), S(300, 1000)}},
    {"nt", nt, {S(65, 301), S(130, 301)}},
    {"nt of few rows", nt, {S(3, 301), S(500, 301)}},
    {"nt of few columns", nt, {S(500, 301), S(2, 301)}},
    {"tn", tn, {S(128, 200), S(128, 60)}},
    {"tt", tt, {S(128, 200), S(60, 128)}},
    {"matrix and vector", nn, {S(900, 800), S(800)}},
    {"vector and matrix", nn, {S(800), S(800, 900)}},
    {"batches", nn, {S(10, 20, 30), S(10, 30, 40)}},
    {"many batches", nt, {S(3, 200, 9, 30), S(200, 40, 30)}},
    {"broadcast batches", nn, {S(6, 1, 20, 30), S(5, 30, 40)}},
    {"batch by matrix", nt, {S(7, 20, 30), S(40, 30)}},
    {"affine", affine, {S(128, 100), S(100, 130), S(130)}},
    {"outer", outer, {S(700), S(900)}},
    {"tanh", tanh_of, {S(123457)}},
    {"product", product, {S(300, 401), S(300, 401)}},
    {"product with a row", product, {S(300, 401), S(401)}},
    {"product with a column", product, {S(300, 401), S(300, 1)}},
    {"product of row and column", product, {S(1, 401), S(300, 1)}},
    {"product in three axes", product, {S(30, 1, 77), S(40, 1)}},
    {"twice", twice, {S(50000)}},
    {"clamp", clamped, {S(300, 401), S(401), S(300, 1)}},
    {"sum", sum_all, {S(200003)}},
    {"mean", mean_all, {S(300, 401)}},
    {"norm", norm_all, {S(300, 401)}},
    {"amax", max_all, {S(300, 401)}},
    {"logsumexp", lse_all, {S(200003)}},
    {"var", var_all, {S(200003)}},
    {"sum over 0", sum_0, {S(300, 401)}},
    {"sum over 1", sum_1, {S(300, 401)}},
    {"sum over 0 and 2", sum_02, {S(30, 40, 70)}},
    {"sum over 0, few", sum_0, {S(30000, 3)}},
    {"sum over 1, few", sum_1, {S(3, 30000)}},
    {"var over 1", var_1, {S(300, 401)}},
    {"amax over 0", max_0, {S(300, 401)}},
    {"prod over 1", prod_1, {S(3000, 21)}},
    {"norm over 1", norm_1, {S(300, 401)}},
    {"logsumexp over 1", lse_1, {S(300, 401)}},
    {"softmax over 0", softmax_0, {S(300, 401)}},
    {"softmax over 1", softmax_1, {S(300, 401)}},
    {"log_softmax over 1", log_softmax_1, {S(3000, 10)}},
    {"log_softmax of long rows", log_softmax_1, {S(2, 50000)}},
    {"permute", permuted, {S(40, 50, 60)}},
    {"transpose", transposed, {S(300, 401)}},
    {"flip", flipped, {S(300, 401)}},
    {"slice", sliced, {S(300, 401)}},
    {"concat", joined, {S(300, 200), S(300, 150)}},
    {"expand", stretched, {S(300, 1)}},
    {"tile", tiled, {S(150, 140)}},
    {"cumsum", sums, {S(300, 401)}},
    {"embedding", looked_up, {S(WORDS, 70)}},
    {"layers", layers, {S(128, 784), S(784, 128), S(128, 10)}},
};
/* clang-format on */
enum { CALLS = sizeof calls / sizeof *calls };

static void perform(const call *c, nb_tape *t, bits *b)
{
    nb_var x[MOST_IN];
    size_t n = 0;
    nb_rng r = nb_rng_seed(7);
    nb_reset(t);
    for (; n < MOST_IN && c->shape[n].rank; n++)
        x[n] = nb_leaf(NULL, nb_uniform(t, c->shape[n], -1, 1, &r));
    nb_var y = c->f(x);
    ck_assert_msg(nb_status(t) == NB_OK, "%s: %s", c->name, nb_message(t));
    judge(b, y, n, x);
}

/* By all counts of threads from first_count on: the loops that share work are those of any set of
 * instructions, so one count does for the slow one. */
static void check_call(const call *c, const char *isa, nb_dtype dtype, int first_count)
{
    static const int64_t grains[] = {0, 1, 7, 1000};
    bits one = {0}, many = {0};
    nb_tape *t = tape_with(1, dtype, 0);
    ck_assert_int_eq(nb_set_isa(t, isa), NB_OK);
    perform(c, t, &one);
    nb_tape_free(t);
    for (int i = first_count; i < COUNTS; i++) {
        t = tape_with(counts[i], dtype, 0);
        nb_set_isa(t, isa);
        for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
            t->crew.grain = grains[g];
            perform(c, t, &many);
            ck_assert_msg(same(&one, &many), "%s, %s, %s: other bits on %d threads, grain %lld",
                          c->name, isa ? isa : "best", dtype_name(dtype), counts[i],
                          (long long)grains[g]);
        }
        nb_tape_free(t);
    }
    free(one.data);
    free(many.data);
}

START_TEST(larger_calls_give_the_same_bits)
{
    for (int dtype = 0; dtype < 2; dtype++) {
        check_call(&calls[_i], NULL, (nb_dtype)dtype, 1);
        check_call(&calls[_i], "plain", (nb_dtype)dtype, COUNTS - 1);
    }
}
END_TEST

/* What the brackets above claim to test is in fact shared. */
START_TEST(large_work_is_shared_and_small_is_not)
{
    bits b = {0};
    nb_tape *t = tape_with(2, NB_F32, 0);
    for (int i = 0; i < 100; i++) {
        nb_reset(t);
        nb_rng r = nb_rng_seed(1);
        nb_var x = nb_leaf(NULL, nb_uniform(t, NB_SHAPE(32, 30), -1, 1, &r));
        nb_var w = nb_leaf(NULL, nb_uniform(t, NB_SHAPE(30, 10), -1, 1, &r));
        nb_backward(nb_mean(nb_log_softmax(nb_tanh(nb_matmul(x, w)), 1)));
    }
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_int_eq(nbi_pool_started(t->crew.pool), 0);
    perform(&(call){"large", nn, {S(128, 784), S(784, 512)}}, t, &b);
    ck_assert_int_eq(nbi_pool_started(t->crew.pool), 1);
    free(b.data);
    nb_tape_free(t);
}
END_TEST

/* ---- several tapes --------------------------------------------------------------------------- */

typedef struct user {
    pthread_t thread;
    nb_pool *pool;
    const call *call;
    const bits *expected;
    int wrong;
} user;

static void *use(void *argument)
{
    user *u = argument;
    bits b = {0};
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32, .pool = u->pool});
    for (int i = 0; i < 30; i++) {
        perform(u->call, t, &b);
        u->wrong += !same(&b, u->expected);
    }
    nb_tape_free(t);
    free(b.data);
    return NULL;
}

START_TEST(tapes_on_several_threads_share_a_pool)
{
    enum { USERS = 4 };
    nb_pool *pool = nb_pool_new(3, NULL);
    user u[USERS];
    bits expected[USERS] = {{0}};
    for (int i = 0; i < USERS; i++) {
        nb_tape *t = tape_with(1, NB_F32, 0);
        perform(&calls[CALLS - 1 - i % 2], t, &expected[i]);
        nb_tape_free(t);
        u[i] = (user){.pool = pool, .call = &calls[CALLS - 1 - i % 2], .expected = &expected[i]};
    }
    for (int i = 0; i < USERS; i++)
        ck_assert_int_eq(pthread_create(&u[i].thread, NULL, use, &u[i]), 0);
    for (int i = 0; i < USERS; i++) {
        pthread_join(u[i].thread, NULL);
        ck_assert_int_eq(u[i].wrong, 0);
        free(expected[i].data);
    }
    ck_assert_int_eq(nb_pool_threads(pool), 3);
    nb_pool_free(pool);
}
END_TEST

/* ---- missing threads, missing memory --------------------------------------------------------- */

static int give_none(void *thread, void *(*body)(void *), void *argument)
{
    (void)thread, (void)body, (void)argument;
    return EAGAIN;
}

START_TEST(a_tape_without_its_threads_says_so_and_works_on)
{
    const call *c = &calls[CALLS - 1];
    bits one = {0}, b = {0};
    nb_tape *t = tape_with(1, NB_F32, 0);
    perform(c, t, &one);
    nb_tape_free(t);
    t = tape_with(4, NB_F32, 0);
    nbi_pool_start_by(t->crew.pool, give_none);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_var x = nb_ones(t, NB_SHAPE(256, 256)), y = nb_matmul(x, x);
    ck_assert_int_eq(nb_status(t), NB_ERR_THREAD);
    ck_assert_ptr_nonnull(
        strstr(nb_message(t), "pool: 4 threads were asked for, 1 could be started"));
    ck_assert(nb_ok(y));
    ck_assert_double_eq(nb_value(nb_mean(y)), 256);
    nb_add(y, nb_ones(t, NB_SHAPE(3))); /* an error of an operation comes first */
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    nb_clear(t);
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_str_eq(nb_message(t), "");
    perform(c, t, &b);
    ck_assert(same(&one, &b));
    nb_tape_free(t);
    free(one.data);
    free(b.data);
}
END_TEST

START_TEST(a_shared_pool_keeps_its_failure_to_itself)
{
    nb_pool *pool = nb_pool_new(2, NULL);
    nbi_pool_start_by(pool, give_none);
    nb_tape *t = nb_tape_new(&(nb_options){.pool = pool, .threads = 7});
    nb_var x = nb_ones(t, NB_SHAPE(256, 256));
    ck_assert(nb_ok(nb_matmul(x, x)));
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_int_eq(nb_pool_status(pool), NB_ERR_THREAD);
    ck_assert_int_eq(nbi_workers(t), 1);
    nb_tape_free(t);
    nb_pool_free(pool);
}
END_TEST

/* Every request refused in turn: what cannot be done on all threads is done on one, or is an error;
 * the result, if there is one, has the same bits. */
START_TEST(memory_runs_out)
{
    const call c = {"nt", nt, {S(300, 301), S(700, 301)}};
    bits one = {0}, b = {0};
    nb_tape *t = tape_with(1, NB_F32, 0);
    perform(&c, t, &one);
    nb_tape_free(t);
    int done = 0;
    for (size_t refuse = 1; !done; refuse++) {
        counting k = {.refuse = refuse};
        t = nb_tape_new(
            &(nb_options){.dtype = NB_F32, .threads = 3, .allocator = counting_allocator(&k)});
        done = k.refusals == 0;
        if (t && !k.refusals) {
            nb_rng r = nb_rng_seed(7);
            nb_var x[2];
            for (int i = 0; i < 2; i++)
                x[i] = nb_leaf(NULL, nb_uniform(t, c.shape[i], -1, 1, &r));
            nb_var y = nt(x);
            done = k.refusals == 0;
            if (nb_status(t) == NB_OK) {
                judge(&b, y, 2, x);
                ck_assert(same(&one, &b) || k.refusals);
            } else {
                ck_assert_int_eq(nb_status(t), NB_ERR_MEMORY);
            }
        }
        nb_tape_free(t);
        ck_assert_uint_eq(k.blocks, 0);
    }
    free(one.data);
    free(b.data);
}
END_TEST

/* ---- the instruction set --------------------------------------------------------------------- */

START_TEST(an_instruction_set_is_chosen_by_name)
{
    unsetenv("NABLA_ISA");
    nb_tape *t = nb_tape_new(NULL);
    char best[16];
    snprintf(best, sizeof best, "%s", nb_isa_name(t));
    ck_assert_str_eq(best, nbi_isa_name(nbi_isa_best()));
    ck_assert_int_eq(nb_set_isa(t, "plain"), NB_OK);
    ck_assert_str_eq(nb_isa_name(t), "plain");
    ck_assert_ptr_eq(t->rows, &nbi_row_kernels_plain);
    ck_assert(t->matmul[0] == nbi_matmul_choose(NBI_ISA_PLAIN, true));
    ck_assert_int_eq(nb_set_isa(t, NULL), NB_OK);
    ck_assert_str_eq(nb_isa_name(t), best);
    for (int i = 0; i < NBI_ISA_COUNT; i++) {
        const char *name = nbi_isa_name((nbi_isa)i);
        const bool there = nbi_isa_available((nbi_isa)i);
        ck_assert_int_eq(nb_set_isa(t, name), there ? NB_OK : NB_ERR_ARGUMENT);
        ck_assert(!strcmp(nb_isa_name(t), name) == there);
        nb_clear(t);
    }
    nb_set_isa(t, "plain");
    ck_assert_int_eq(nb_set_isa(t, "sse"), NB_ERR_ARGUMENT);
    ck_assert_str_eq(nb_isa_name(t), "plain");
    ck_assert_ptr_nonnull(
        strstr(nb_message(t), "set_isa: there is no \"sse\" here; there are: plain"));
    ck_assert_ptr_nonnull(strstr(nb_message(t), best));
    nb_tape_free(t);
    setenv("NABLA_ISA", "plain", 1);
    t = nb_tape_new(NULL);
    ck_assert_str_eq(nb_isa_name(t), "plain");
    ck_assert_int_eq(nb_set_isa(t, best), NB_OK);
    ck_assert_str_eq(nb_isa_name(t), best);
    nb_tape_free(t);
    ck_assert_int_eq(nb_set_isa(NULL, "plain"), NB_ERR_ARGUMENT);
    ck_assert_str_eq(nb_isa_name(NULL), "");
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("threads");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, every_op_gives_the_same_bits, 0, (int)nbi_op_count());
    tcase_add_loop_test(c, larger_calls_give_the_same_bits, 0, CALLS);
    tcase_add_test(c, large_work_is_shared_and_small_is_not);
    tcase_add_test(c, tapes_on_several_threads_share_a_pool);
    tcase_add_test(c, a_tape_without_its_threads_says_so_and_works_on);
    tcase_add_test(c, a_shared_pool_keeps_its_failure_to_itself);
    tcase_add_test(c, memory_runs_out);
    tcase_add_test(c, an_instruction_set_is_chosen_by_name);
    return run_case("threads", c);
}
