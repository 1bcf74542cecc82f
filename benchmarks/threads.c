/*
 * What a second thread is worth.
 *
 * Each case is done by a tape without help and by one with a pool of two threads, turn by turn, so that
 * both meet the same machine; the results must be the same to the bit.
 *
 *     speedup     median wall time of one thread / that of two
 *     us          median wall time with two
 *
 * Wall time is all that tells here, so where other programs have one of the processors, the figures
 * say that and no more.
 */
#include "bench.h"
#include "tape/tape.h"

#include <nabla.h>

enum { BATCH = 128, INPUTS = 784, HIDDEN = 512, CLASSES = 10, BLOCK = 16, MOST_TURNS = 64 * BLOCK };

static double wall_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A tape, and what the cases compute with it. */
typedef struct bench {
    nb_tape *t;
    float *x, *w, *y, *w1, *b1, *w2, *b2, *dw1, *db1, *dw2, *db2, *big, *out;
    int64_t label[BATCH];
} bench;

enum { BIG = 1000000 };

static float *numbers(int64_t n, unsigned seed, float scale)
{
    float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 127) / 64 * 64);
    if (!x)
        exit(EXIT_FAILURE);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = scale * ((float)(seed >> 8) / 8388608.0f - 1);
    }
    return x;
}

static void set_up(bench *b, int threads)
{
    b->t = nb_tape_new(&(nb_options){.dtype = NB_F32, .threads = threads});
    if (!b->t)
        exit(EXIT_FAILURE);
    b->x = numbers(BATCH * INPUTS, 1, 1);
    b->w = numbers(INPUTS * HIDDEN, 2, 1);
    b->y = numbers(INPUTS * HIDDEN, 3, 1);
    b->w1 = numbers(INPUTS * HIDDEN, 4, 0.05f), b->dw1 = numbers(INPUTS * HIDDEN, 5, 0);
    b->b1 = numbers(HIDDEN, 6, 0), b->db1 = numbers(HIDDEN, 7, 0);
    b->w2 = numbers(HIDDEN * CLASSES, 8, 0.05f), b->dw2 = numbers(HIDDEN * CLASSES, 9, 0);
    b->b2 = numbers(CLASSES, 10, 0), b->db2 = numbers(CLASSES, 11, 0);
    b->big = numbers(BIG, 12, 3), b->out = numbers(BIG, 13, 0);
    for (int i = 0; i < BATCH; i++)
        b->label[i] = i * 7 % CLASSES;
}

/* ---- the cases: each returns a result and its size ------------------------------------------- */

typedef struct result {
    const float *data;
    size_t bytes;
} result;

static result product(bench *b, nbi_matmul p, const float *c)
{
    nbi_tape_matmul(b->t, NB_F32, &p);
    return (result){c, (size_t)(p.m * p.n) * sizeof(float)};
}

static result forward(bench *b)
{
    return product(b,
                   (nbi_matmul){.m = BATCH,
                                .n = HIDDEN,
                                .k = INPUTS,
                                .a = b->x,
                                .b = b->w,
                                .c = b->out,
                                .lda = INPUTS,
                                .ldb = HIDDEN,
                                .ldc = HIDDEN},
                   b->out);
}

static result input_gradient(bench *b)
{
    return product(b,
                   (nbi_matmul){.m = BATCH,
                                .n = INPUTS,
                                .k = HIDDEN,
                                .a = b->y,
                                .b = b->w,
                                .c = b->out,
                                .lda = HIDDEN,
                                .ldb = HIDDEN,
                                .ldc = INPUTS,
                                .tb = true},
                   b->out);
}

static result weight_gradient(bench *b)
{
    return product(b,
                   (nbi_matmul){.m = INPUTS,
                                .n = HIDDEN,
                                .k = BATCH,
                                .a = b->x,
                                .b = b->y,
                                .c = b->out,
                                .lda = INPUTS,
                                .ldb = HIDDEN,
                                .ldc = HIDDEN,
                                .ta = true},
                   b->out);
}

/* 784-512-10, softmax: forward, loss, backward. */
static result step(bench *b)
{
    nb_tape *t = b->t;
    nb_reset(t);
    nb_var w1 = nb_borrow(t, "w1", NB_SHAPE(INPUTS, HIDDEN), b->w1, b->dw1);
    nb_var b1 = nb_borrow(t, "b1", NB_SHAPE(HIDDEN), b->b1, b->db1);
    nb_var w2 = nb_borrow(t, "w2", NB_SHAPE(HIDDEN, CLASSES), b->w2, b->dw2);
    nb_var b2 = nb_borrow(t, "b2", NB_SHAPE(CLASSES), b->b2, b->db2);
    nb_var x = nb_borrow_constant(t, NB_SHAPE(BATCH, INPUTS), b->x);
    nb_var hidden = nb_relu(nb_affine(x, w1, b1));
    nb_var p = nb_log_softmax(nb_affine(hidden, w2, b2), 1);
    nb_var loss = nb_neg(nb_mean(nb_gather(p, 1, NB_SHAPE(BATCH, 1), b->label)));
    if (nb_backward(loss) != NB_OK)
        exit(EXIT_FAILURE);
    return (result){b->dw1, sizeof(float) * INPUTS * HIDDEN};
}

static result over_many(bench *b, nb_var (*f)(nb_var))
{
    nb_reset(b->t);
    nb_var y = f(nb_borrow_constant(b->t, NB_SHAPE(BIG), b->big));
    return (result){nb_data(y), sizeof(float) * BIG};
}

static result over_tanh(bench *b) { return over_many(b, (nb_tanh)); }
static result over_square(bench *b) { return over_many(b, (nb_square)); }

static result tanh_sum(bench *b)
{
    nb_reset(b->t);
    nb_var x = nb_borrow(b->t, "x", NB_SHAPE(BIG), b->big, b->out);
    if (nb_backward(nb_sum(nb_tanh(x))) != NB_OK)
        exit(EXIT_FAILURE);
    return (result){b->out, sizeof(float) * BIG};
}

static const struct {
    const char *name;
    result (*run)(bench *);
    const char *bar;
} cases[] = {
    {"128x512x784_nn_f32", forward, ">=1.8"},
    {"128x784x512_nt_f32", input_gradient, ">=1.8"},
    {"784x512x128_tn_f32", weight_gradient, ">=1.8"},
    {"mlp_784_512_10_b128", step, ">=1.8"},
    {"tanh_1e6_f32", over_tanh, "-"},
    {"square_1e6_f32", over_square, "-"},
    {"tanh_sum_backward_1e6_f32", tanh_sum, "-"},
};

static void time_block(int c, bench *b, double *wall)
{
    cases[c].run(b); /* back in the caches */
    for (int i = 0; i < BLOCK; i++) {
        const double start = wall_clock();
        cases[c].run(b);
        wall[i] = wall_clock() - start;
    }
}

static void run_case(int c, bench *one, bench *two, int blocks)
{
    static double wall[2][MOST_TURNS];
    result r = cases[c].run(one), s = cases[c].run(two);
    if (memcmp(r.data, s.data, r.bytes) != 0) {
        fprintf(stderr, "%s: two threads give other bits\n", cases[c].name);
        exit(EXIT_FAILURE);
    }
    for (int i = 0; i < blocks; i++)
        for (int k = 0; k < 2; k++)
            time_block(c, k ? two : one, wall[k] + i * BLOCK);
    const size_t n = (size_t)blocks * BLOCK;
    const double w1 = bench_median(wall[0], n), w2 = bench_median(wall[1], n);
    bench_line("threads", cases[c].name, "speedup", w1 / w2, "x", cases[c].bar);
    bench_line("threads", cases[c].name, "us", w2 * 1e6, "us", "-");
}

int main(int argc, char **argv)
{
    static bench one, two;
    set_up(&one, 1);
    set_up(&two, 2);
    for (int c = 0; c < (int)(sizeof cases / sizeof *cases); c++)
        run_case(c, &one, &two, bench_quick(argc, argv) ? 4 : 64);
    nb_tape_free(one.t);
    nb_tape_free(two.t);
    return 0;
}
