/*
 * Case `sparse`: a Jacobian of the shape that bundle adjustment has. Each residual of two numbers
 * sees a camera of 11 numbers, a point of 3 and a weight, 15 of some 10^4 or 10^5 inputs. The
 * number of sweeps must not depend on the size. Timed beside the gradient of the sum of squares:
 * the plan, made once, and the values, found for every new recording.
 */
#include "derivatives.h"

#include <nabla/sparse.h>

enum { CAMERA = 11, POINT = 3, SEEN = 5, MOST_REPEATS = 16 }; /* SEEN: by so many cameras */

typedef struct bundle {
    size_t cameras, points, n, m;
    nb_var *in, *out;
} bundle;

/* Rotation by small angles, translation, projection, distortion by the radius, focal lengths. */
static void residual(const nb_var *c, const nb_var *x, nb_var weight, nb_var *out)
{
    nb_var p[3];
    for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        const nb_var turned = nb_sub(nb_mul(c[j], x[k]), nb_mul(c[k], x[j]));
        p[i] = nb_add(nb_add(x[i], turned), c[3 + i]);
    }
    const nb_var u = nb_div(p[0], p[2]), v = nb_div(p[1], p[2]);
    const nb_var r = nb_add(nb_square(u), nb_square(v));
    const nb_var d = nb_add(1, nb_mul(r, nb_add(c[6], nb_mul(r, c[7]))));
    out[0] = nb_mul(weight, nb_add(nb_mul(nb_mul(d, u), c[8]), c[9]));
    out[1] = nb_mul(weight, nb_add(nb_mul(nb_mul(d, v), c[8]), c[10]));
}

static void record(nb_tape *t, const bundle *b)
{
    nb_var *x = b->in + CAMERA * b->cameras, *w = x + POINT * b->points, *out = b->out;
    nb_reset(t);
    for (size_t i = 0; i < b->n; i++)
        b->in[i] = nb_input(t, NULL, 0.5 + 0.1 * sin((double)i));
    for (size_t p = 0; p < b->points; p++, x += POINT)
        for (size_t s = 0; s < SEEN; s++, out += 2)
            residual(b->in + CAMERA * ((7 * p + s) % b->cameras), x, *w++, out);
}

/* Row by row by the backward sweep, for a few rows. */
static bool rows_right(const bundle *b, const nb_sparse *s)
{
    const nb_csr J = nb_sparse_matrix(s);
    bool right = true;
    for (size_t r = 0; r < b->m && right; r += b->m / 7 + 1) {
        nb_backward(b->out[r]);
        double sum = 0, all = 0;
        for (size_t k = J.row_start[r]; k < J.row_start[r + 1]; k++) {
            const double want = nb_grad(b->in[J.column[k]]);
            right = right && fabs(J.value[k] - want) <= 1e-13 * (1 + fabs(want));
            sum += fabs(want);
        }
        for (size_t i = 0; i < b->n; i++)
            all += fabs(nb_grad(b->in[i]));
        right = right && fabs(sum - all) <= 1e-13 * all;
    }
    if (!right)
        fprintf(stderr, "derivatives: sparse: a row is not the backward sweep's\n");
    return right;
}

static nb_var sum_of_squares(const bundle *b) { return nb_dot_of(b->m, b->out, b->out); }

static bool time_bundle(const char *name, size_t cameras, size_t points, int repeats,
                        size_t *sweeps)
{
    bundle b = {.cameras = cameras, .points = points, .m = 2 * SEEN * points};
    double times[4][MOST_REPEATS];
    bool right = true;
    b.n = CAMERA * cameras + (POINT + SEEN) * points;
    b.in = calloc(b.n, sizeof *b.in);
    b.out = calloc(b.m, sizeof *b.out);
    nb_tape *t = nb_tape_new(NULL);
    for (int r = 0; r < repeats && right; r++) {
        const double start = bench_now();
        record(t, &b);
        const double recorded = bench_now();
        nb_backward(sum_of_squares(&b));
        const double swept = bench_now();
        nb_sparse *s = nb_sparse_jacobian(b.m, b.out, b.n, b.in, NB_JACOBIAN_AUTO);
        const double planned = bench_now();
        right = nb_sparse_values(s, b.m, b.out, b.n, b.in) == NB_OK;
        const double done = bench_now();
        *sweeps = nb_sparse_sweeps(s);
        right = right && (r || rows_right(&b, s));
        nb_sparse_free(s);
        times[0][r] = recorded - start, times[1][r] = swept - recorded;
        times[2][r] = planned - swept, times[3][r] = done - planned;
    }
    static const char *const figures[] = {"record", "gradient", "plan", "values"};
    for (int k = 0; k < 4 && right; k++) {
        char text[64];
        snprintf(text, sizeof text, "%s_%s", name, figures[k]);
        bench_line("derivatives", "sparse", text, 1e3 * bench_median(times[k], (size_t)repeats),
                   "ms", "-");
    }
    nb_tape_free(t);
    free(b.in);
    free(b.out);
    return right;
}

bool bench_sparse(bool quick)
{
    size_t sweeps[2] = {0};
    const bool right = time_bundle("small", 30, 1200, quick ? 3 : 9, &sweeps[0]) &&
                       time_bundle("large", 300, 12000, quick ? 3 : 9, &sweeps[1]);
    bench_line("derivatives", "sparse", "small_sweeps", (double)sweeps[0], "", "<=16");
    bench_line("derivatives", "sparse", "large_sweeps", (double)sweeps[1], "", "<=16");
    return right;
}
