/*
 * K-means by Newton's method: k = 100 centroids, n = 1000 points, d = 16. The cost
 *
 *     f(C) = sum_i min_j |C_j - P_i|^2
 *
 * with its gradient by the centroids and the diagonal of its Hessian, which has nothing else.
 *
 * With programs, points are the lanes. One program keeps the least distance and whose it is, over a
 * group of centroids, which are shared; it runs once a group. What is differentiated is the distance
 * to the nearest, gathered by index: only there does the minimum have a slope. Its gradients and
 * Hessian diagonals come lane by lane and are added up by centroid in C.
 */
#include "programs.h"

enum { CENTROIDS = 100, POINTS = 1000, D = 16, GROUP = 10, SMALL = 30 };

typedef struct means {
    size_t n;
    double *point, *c; /* [n D], [CENTROIDS D] */
    double f, hand_f, nabla_f;
    double *hand_g, *g;           /* gradient, Hessian diagonal: [2 CENTROIDS D] */
    double *across, *least, *own; /* [D n]; [2 2 n], distances and whose; [2 n D] */
    int64_t *nearest;
    nb_program *search, *newton;
} means;

/* ---- in C ------------------------------------------------------------------------------------ */

static double distance(const double *a, const double *b)
{
    double s = 0;
    for (int j = 0; j < D; j++)
        s += (a[j] - b[j]) * (a[j] - b[j]);
    return s;
}

static void primal(void *data)
{
    means *m = data;
    m->f = 0;
    for (size_t i = 0; i < m->n; i++) {
        double least = (double)INFINITY;
        for (int k = 0; k < CENTROIDS; k++) {
            const double s = distance(m->point + i * D, m->c + k * D);
            least = s < least ? s : least;
        }
        m->f += least;
    }
}

static void hand(void *data)
{
    means *m = data;
    m->hand_f = 0;
    memset(m->hand_g, 0, 2 * CENTROIDS * D * sizeof *m->hand_g);
    for (size_t i = 0; i < m->n; i++) {
        const double *p = m->point + i * D;
        double least = (double)INFINITY;
        int nearest = 0;
        for (int k = 0; k < CENTROIDS; k++) {
            const double s = distance(p, m->c + k * D);
            if (s < least)
                least = s, nearest = k;
        }
        double *g = m->hand_g + nearest * D, *h = g + CENTROIDS * D;
        m->hand_f += least;
        for (int j = 0; j < D; j++) {
            g[j] += 2 * (m->c[nearest * D + j] - p[j]);
            h[j] += 2;
        }
    }
}

/* ---- recorded -------------------------------------------------------------------------------- */

static nb_var record_distance(const nb_var *a, const nb_var *b)
{
    nb_var s = nb_square(nb_sub(a[0], b[0]));
    for (int j = 1; j < D; j++)
        s = nb_add(s, nb_square(nb_sub(a[j], b[j])));
    return s;
}

/* The tape's own gradient and, the Hessian being its diagonal, product of that with ones. */
static bool eager(const means *m, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var c[CENTROIDS * D], p[D], s[CENTROIDS], f = nb_num(0);
    const double *one[CENTROIDS * D], unit = 1;
    double *h[CENTROIDS * D];
    programs_inputs(t, CENTROIDS * D, m->c, c);
    for (size_t i = 0; i < m->n; i++) {
        programs_inputs(t, D, m->point + i * D, p);
        for (int k = 0; k < CENTROIDS; k++)
            s[k] = record_distance(p, c + k * D);
        f = nb_add(f, nb_min_of(CENTROIDS, s));
    }
    for (int k = 0; k < CENTROIDS * D; k++)
        one[k] = &unit, h[k] = g + CENTROIDS * D + k;
    bool ok = nb_hvp(f, CENTROIDS * D, c, one, h) == NB_OK && nb_backward(f) == NB_OK;
    for (int k = 0; k < CENTROIDS * D; k++)
        g[k] = nb_grad(c[k]);
    if (!ok)
        fprintf(stderr, "kmeans: %s\n", nb_message(t));
    nb_tape_free(t);
    return ok;
}

/* ---- programs -------------------------------------------------------------------------------- */

static void make_search(means *m, nb_tape *t)
{
    nb_var p[D], c[GROUP * D], first, best[2], out[2];
    programs_inputs(t, D, m->point, p);
    programs_inputs(t, GROUP * D, m->c, c);
    programs_inputs(t, 1, m->c, &first);
    programs_inputs(t, 2, m->c, best);
    out[0] = best[0];
    out[1] = best[1];
    for (int k = 0; k < GROUP; k++) {
        nb_var s = record_distance(p, c + k * D);
        out[1] = nb_where(nb_lt(s, out[0]), nb_add(first, k), out[1]);
        out[0] = nb_min(s, out[0]);
    }
    const nb_argument in[] = {each("p", D, p), shared("c", GROUP * D, c),
                              shared("first", 1, &first), each("best", 2, best)};
    m->search = programs_freeze(t, 4, in, each("best", 2, out));
}

static nb_program *diagonal(const nb_program *p, const bool *want, nb_reason *why)
{
    return nb_program_hessian(p, want, true, why);
}

static void make(means *m)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var p[D], c[D];
    make_search(m, t);
    programs_inputs(t, D, m->point, p);
    programs_inputs(t, D, m->c, c);
    nb_var s = record_distance(c, p);
    const nb_argument in[] = {each("p", D, p), each("c", D, c)};
    m->newton =
        programs_freeze_derived(t, 2, in, summed("f", 1, &s), diagonal, (bool[]){false, true});
    nb_tape_free(t);
}

static void find_nearest(means *m)
{
    const int64_t n = (int64_t)m->n;
    double *best[2] = {m->least, m->least + 2 * n};
    for (size_t i = 0; i < m->n; i++) {
        best[0][i] = (double)INFINITY;
        for (size_t j = 0; j < D; j++)
            m->across[j * m->n + i] = m->point[i * D + j];
    }
    for (int k = 0; k < CENTROIDS; k += GROUP) {
        const double first = k;
        double *const from = best[k / GROUP % 2], *const to = best[(k / GROUP + 1) % 2];
        const nb_lanes in[] = {across(m->across, n), dense(m->c + k * D), dense(&first),
                               across(from, n)};
        const nb_lanes out = across(to, n);
        programs_run(m->search, n, in, &out);
    }
    for (size_t i = 0; i < m->n; i++)
        m->nearest[i] = (int64_t)best[CENTROIDS / GROUP % 2][m->n + i];
}

static void nabla(void *data)
{
    means *m = data;
    find_nearest(m);
    double *g = m->own, *h = g + m->n * D;
    const nb_lanes in[] = {dense(m->point), rows_of(m->c, m->nearest)};
    const nb_lanes out[] = {dense(&m->nabla_f), dense(g), dense(h)};
    programs_run(m->newton, (int64_t)m->n, in, out);
    memset(m->g, 0, 2 * CENTROIDS * D * sizeof *m->g);
    for (size_t i = 0; i < m->n; i++) {
        double *to_g = m->g + m->nearest[i] * D, *to_h = to_g + CENTROIDS * D;
        for (size_t j = 0; j < D; j++) {
            to_g[j] += g[i * D + j];
            to_h[j] += h[i * D + j];
        }
    }
}

/* ---- the case -------------------------------------------------------------------------------- */

static bool right(means *m)
{
    const size_t half = CENTROIDS * D;
    primal(m);
    hand(m);
    nabla(m);
    bool ok = bench_agree("kmeans, by hand", 1, &m->hand_f, &m->f, 1e-12) &&
              bench_agree("kmeans", 1, &m->nabla_f, &m->f, 1e-12) &&
              bench_agree("kmeans, gradient", half, m->g, m->hand_g, 1e-11) &&
              bench_agree("kmeans, Hessian", half, m->g + half, m->hand_g + half, 1e-11);
    m->n = SMALL;
    nabla(m);
    ok = ok && eager(m, m->hand_g) && bench_agree("kmeans, tape", half, m->g, m->hand_g, 1e-11) &&
         bench_agree("kmeans, tape's Hessian", half, m->g + half, m->hand_g + half, 1e-11);
    m->n = POINTS;
    return ok;
}

bool bench_kmeans(bool quick)
{
    means m = {.n = POINTS,
               .point = programs_random(POINTS * D, 0, 1, 9),
               .c = programs_random(CENTROIDS * D, 0, 1, 10),
               .hand_g = bench_numbers(4 * CENTROIDS * D),
               .across = bench_numbers(POINTS * D),
               .least = bench_numbers(4 * POINTS),
               .own = bench_numbers(2 * POINTS * D),
               .nearest = calloc(POINTS, sizeof *m.nearest)};
    if (!m.nearest)
        exit(1);
    m.g = m.hand_g + 2 * CENTROIDS * D;
    make(&m);
    const bool ok = right(&m);
    if (ok)
        programs_time(&(contest){"kmeans", "<=1.0", &m, primal, hand, nabla}, quick);
    nb_program_free(m.search);
    nb_program_free(m.newton);
    double *const numbers[] = {m.point, m.c, m.hand_g, m.across, m.least, m.own};
    for (int k = 0; k < 6; k++)
        free(numbers[k]);
    free(m.nearest);
    return ok;
}
