/*
 * Bundle adjustment: where were the cameras, and where are the points?
 *
 * Camera i sees point j at R(i) (P(j) - C(i)), divided by its depth, bent by radial distortion 1 + k1 q + k2 q^2
 * (q the squared distance from the axis) and scaled by the focal length. The squares of what is seen less
 * what was measured are to be least, over 9 numbers per camera and 3 per point.
 *
 * The residual of one observation, two numbers of twelve, is recorded once and frozen; its Jacobian is a
 * program with twelve inputs. A replay gathers every observation's camera and point by index and writes its
 * two rows of twelve straight into the values of a sparse matrix. Levenberg and Marquardt's method then
 * solves (J'J + shift D) s = -J'r by conjugate gradients, D being the diagonal of J'J.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <string.h>

enum { CAMERAS = 6, POINTS = 120, CAMERA = 9, POINT = 3, SEEN = CAMERAS * POINTS };
enum { EACH = CAMERA + POINT, UNKNOWN = CAMERAS * CAMERA + POINTS * POINT };

/* Unknowns: cameras, then points. Observation o is of camera[o] and point[o]. */
typedef struct scene {
    double x[UNKNOWN], measured[SEEN][2];
    int64_t camera[SEEN], point[SEEN];
    nb_program *residual, *jacobian;
} scene;

/* v turned about axis w by its length (Rodrigues). Near 0 the quotients have limits, which where takes. */
static void turn(const nb_var *w, const nb_var *v, nb_var *out)
{
    nb_var q = nb_dot_of(3, w, w), tiny = nb_lt(q, 1e-12), safe = nb_where(tiny, 1, q);
    nb_var angle = nb_sqrt(safe);
    nb_var a = nb_where(tiny, nb_sub(1, nb_div(q, 6)), nb_div(nb_sin(angle), angle));
    nb_var b = nb_where(tiny, nb_sub(0.5, nb_div(q, 24)), nb_div(nb_sub(1, nb_cos(angle)), safe));
    nb_var c = nb_where(tiny, nb_sub(1, nb_div(q, 2)), nb_cos(angle));
    nb_var along = nb_mul(b, nb_dot_of(3, w, v));
    for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        nb_var cross = nb_sub(nb_mul(w[j], v[k]), nb_mul(w[k], v[j]));
        out[i] = nb_add(nb_add(nb_mul(c, v[i]), nb_mul(a, cross)), nb_mul(along, w[i]));
    }
}

/* camera: axis 3, place 3, focal length, k1, k2 */
static void project(const nb_var *camera, const nb_var *point, const nb_var *measured, nb_var *r)
{
    nb_var v[3], p[3];
    for (int k = 0; k < 3; k++)
        v[k] = nb_sub(point[k], camera[3 + k]);
    turn(camera, v, p);
    nb_var x = nb_div(p[0], p[2]), y = nb_div(p[1], p[2]);
    nb_var q = nb_add(nb_square(x), nb_square(y));
    nb_var bent = nb_fma(q, nb_fma(q, camera[8], camera[7]), 1);
    nb_var scale = nb_mul(camera[6], bent);
    r[0] = nb_sub(nb_mul(scale, x), measured[0]);
    r[1] = nb_sub(nb_mul(scale, y), measured[1]);
}

static bool make_programs(scene *s)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[EACH + 2], r[2];
    for (int k = 0; k < EACH + 2; k++)
        in[k] = nb_input(t, NULL, 1 + 0.1 * k);
    project(in, in + CAMERA, in + EACH, r);
    s->residual = nb_freeze(
        &(nb_recipe){.n_in = 3,
                     .in = (nb_argument[]){{.name = "camera", .count = CAMERA, .var = in},
                                           {.name = "point", .count = POINT, .var = in + CAMERA},
                                           {.name = "measured", .count = 2, .var = in + EACH}},
                     .n_out = 1,
                     .out = &(nb_argument){.name = "r", .count = 2, .var = r}});
    if (!s->residual)
        fprintf(stderr, "%s\n", nb_message(t));
    s->jacobian = nb_program_jacobian(s->residual, (bool[]){true, true, false}, NULL);
    nb_tape_free(t);
    return s->jacobian != NULL;
}

/* Residuals at x, and rows of J if j is not NULL. */
static double evaluate(const scene *s, const double *x, double *r, double *j)
{
    const nb_lanes in[3] = {{.data = (void *)x, .index = s->camera},
                            {.data = (void *)(x + CAMERAS * CAMERA), .index = s->point},
                            {.data = (void *)s->measured}};
    const nb_lanes out[2] = {{.data = r}, {.data = j}};
    double sum = 0;
    if (nb_program_run(j ? s->jacobian : s->residual,
                       &(nb_replay){.lanes = SEEN, .in = in, .out = out}, NULL) != NB_OK)
        return (double)NAN;
    for (int k = 0; k < 2 * SEEN; k++)
        sum += r[k] * r[k];
    return sum;
}

/* ---- the sparse matrix ------------------------------------------------------------------------- */

/* The unknown that column k of observation o's rows belongs to. */
static int column(const scene *s, int o, int k)
{
    return k < CAMERA ? (int)s->camera[o] * CAMERA + k
                      : CAMERAS * CAMERA + (int)s->point[o] * POINT + k - CAMERA;
}

static void j_times(const scene *s, const double *j, const double *x, double *y)
{
    for (int row = 0; row < 2 * SEEN; row++) {
        y[row] = 0;
        for (int k = 0; k < EACH; k++)
            y[row] += j[row * EACH + k] * x[column(s, row / 2, k)];
    }
}

static void jt_times(const scene *s, const double *j, const double *y, double *x)
{
    memset(x, 0, UNKNOWN * sizeof *x);
    for (int row = 0; row < 2 * SEEN; row++)
        for (int k = 0; k < EACH; k++)
            x[column(s, row / 2, k)] += j[row * EACH + k] * y[row];
}

static double dot(const double *a, const double *b)
{
    double s = 0;
    for (int k = 0; k < UNKNOWN; k++)
        s += a[k] * b[k];
    return s;
}

/* (J'J + shift D) step = -J'r by conjugate gradients, D and the preconditioner the diagonal of J'J. */
static void solve(const scene *s, const double *j, const double *r, double shift, double *step)
{
    static double g[UNKNOWN], z[UNKNOWN], p[UNKNOWN], a[UNKNOWN], d[UNKNOWN], jp[2 * SEEN];
    memset(d, 0, sizeof d);
    for (int row = 0; row < 2 * SEEN; row++)
        for (int k = 0; k < EACH; k++)
            d[column(s, row / 2, k)] += j[row * EACH + k] * j[row * EACH + k];
    jt_times(s, j, r, g);
    memset(step, 0, UNKNOWN * sizeof *step);
    for (int k = 0; k < UNKNOWN; k++)
        p[k] = z[k] = (g[k] = -g[k]) / (d[k] * (1 + shift));
    double size = dot(g, z), first = size;
    for (int turn = 0; turn < 200 && size > 1e-16 * first; turn++) {
        j_times(s, j, p, jp);
        jt_times(s, j, jp, a);
        for (int k = 0; k < UNKNOWN; k++)
            a[k] += shift * d[k] * p[k];
        const double length = size / dot(p, a);
        for (int k = 0; k < UNKNOWN; k++) {
            step[k] += length * p[k];
            g[k] -= length * a[k];
            z[k] = g[k] / (d[k] * (1 + shift));
        }
        const double before = size;
        size = dot(g, z);
        for (int k = 0; k < UNKNOWN; k++)
            p[k] = z[k] + size / before * p[k];
    }
}

/* ---- a scene, and its reconstruction ----------------------------------------------------------- */

/* A cloud of points between cameras on a ring, measured exactly; then all unknowns are disturbed. */
static void make_scene(scene *s)
{
    static double r[2 * SEEN];
    nb_rng rng = nb_rng_seed(5);
    double *points = s->x + CAMERAS * CAMERA;
    for (int o = 0; o < SEEN; o++) {
        s->camera[o] = o % CAMERAS;
        s->point[o] = o / CAMERAS;
    }
    for (int i = 0; i < CAMERAS; i++) {
        const double angle = 0.25 * (i - 2.5);
        const double camera[CAMERA] = {0.02 * i,        angle, 0.01 * i, 8 * sin(angle), 0.3 * i,
                                       -8 * cos(angle), 500,   0.05,     -0.01};
        memcpy(s->x + i * CAMERA, camera, sizeof camera);
    }
    for (int k = 0; k < POINTS * POINT; k++)
        points[k] = 3 * (nb_rng_uniform(&rng) - 0.5);
    evaluate(s, s->x, r, NULL);
    memcpy(s->measured, r, sizeof r);
    for (int k = 0; k < UNKNOWN; k++)
        s->x[k] += 0.02 * nb_rng_normal(&rng) * (k < CAMERAS * CAMERA && k % CAMERA == 6 ? 100 : 1);
}

int main(void)
{
    static scene s;
    static double r[2 * SEEN], j[2 * SEEN * EACH], step[UNKNOWN], x[UNKNOWN];
    double shift = 1e-3, now, next;
    if (!make_programs(&s))
        return 1;
    make_scene(&s);
    printf("%d observations of %d points by %d cameras, %d unknowns\n", SEEN, POINTS, CAMERAS,
           UNKNOWN);
    now = evaluate(&s, s.x, r, j);
    for (int turn = 0; turn < 30 && now > 1e-12; turn++) {
        printf("%3d   error %.1g pixels\n", turn, sqrt(now / SEEN));
        do {
            solve(&s, j, r, shift, step);
            for (int k = 0; k < UNKNOWN; k++)
                x[k] = s.x[k] + step[k];
            next = evaluate(&s, x, r, NULL);
            shift *= next < now ? 0.1 : 10;
            evaluate(&s, s.x, r, NULL);
        } while (!(next < now) && shift < 1e8);
        memcpy(s.x, x, sizeof x);
        now = evaluate(&s, s.x, r, j);
    }
    const bool found = now / SEEN < 1e-12;
    printf("%s\n", found ? "The measurements are met." : "The measurements are not met.");
    nb_program_free(s.residual);
    nb_program_free(s.jacobian);
    return found ? 0 : 1;
}
