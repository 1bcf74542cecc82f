/*
 * Hand tracking: the residuals of 1000 points against the vertices of a hand that is posed by 26
 * parameters theta: the axis and angle of the whole hand's rotation, its translation, and for each of
 * five fingers a bend and a spread of the first joint and bends of the next two.
 *
 * The hand has 22 bones: a forearm, a palm, and four a finger. Bone b stands, relative to its parent,
 * at a fixed place, then turned by R_b = R_z(spread) R_x(bend):
 *
 *     A_b = A_parent(b) P_b R_b,   T_b = A_b B_b with B_b the inverse of A_b at rest,
 *     e_i = point_i - R(theta) sum_b w_ib T_b v_i - translation.
 *
 * Sought is the dense Jacobian, [3 points, 26]. The program has a point as its lane and the pose
 * shared: what is done with bones alone is done once.
 */
#include "programs_ht.h"

/* ---- in C ------------------------------------------------------------------------------------ */

/* An affine map: R row by row, then what is added. */
static void apply(const double *a, const double *x, double *y)
{
    for (int i = 0; i < 3; i++)
        y[i] = a[3 * i] * x[0] + a[3 * i + 1] * x[1] + a[3 * i + 2] * x[2] + a[9 + i];
}

/* c = a after b; or with add 0, instead of 1, the derivative that b's, given as b, makes c's. */
static void compose(const double *a, const double *b, double add, double *c)
{
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++)
            c[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
        c[9 + i] = a[3 * i] * b[9] + a[3 * i + 1] * b[10] + a[3 * i + 2] * b[11] + add * a[9 + i];
    }
}

/* R_z(z) R_x(x), and by which if that is 0 or 1 its derivative by x or z instead. */
static void joint(double x, double z, int by, double *r)
{
    const double cx = by ? cos(x) : -sin(x), sx = by ? sin(x) : cos(x), fixed = by != 0;
    const double cz = by == 1 ? -sin(z) : cos(z), sz = by == 1 ? cos(z) : sin(z);
    memcpy(r,
           (double[12]){cz * fixed, -sz * cx, sz * sx, sz * fixed, cz * cx, -cz * sx, 0,
                        by == 1 ? 0 : sx, by == 1 ? 0 : cx},
           12 * sizeof *r);
}

/* The bone's angles among theta, or -1. */
static int bend_of(int bone)
{
    static const int of[] = {0, 2, 3, -1};
    const int at = bone < 2 ? -1 : of[(bone - 2) % 4];
    return at < 0 ? -1 : 6 + (bone - 2) / 4 * 4 + at;
}

static int spread_of(int bone) { return bone >= 2 && (bone - 2) % 4 == 0 ? bend_of(bone) + 1 : -1; }

static double angle(const double *theta, int at) { return at < 0 ? 0 : theta[at]; }

/* Bones to their parents, relative[12 BONES], and to the hand, absolute. */
static void pose(const hand_model *m, const double *theta, double *relative, double *absolute)
{
    double turn[12];
    for (int b = 0; b < BONES; b++) {
        const int bend = bend_of(b), up = m->parent[b];
        joint(angle(theta, bend), angle(theta, spread_of(b)), -1, turn);
        compose(m->place + 12 * b, turn, 1, relative + 12 * b);
        if (up < 0)
            memcpy(absolute, relative, 12 * sizeof *absolute);
        else
            compose(absolute + 12 * up, relative + 12 * b, 1, absolute + 12 * b);
    }
}

/* The rotation by r; by >= 0: its derivative by r[by]. r is not 0. */
static void rotation(const double *r, int by, double *R)
{
    const double angle = sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
    const double w[3] = {r[0] / angle, r[1] / angle, r[2] / angle}, c = cos(angle), s = sin(angle);
    const double along = by < 0 ? 0 : w[by];
    double d[3];
    for (int i = 0; i < 3; i++)
        d[i] = by < 0 ? w[i] : ((i == by) - w[i] * along) / angle;
    const double turn[9] = {0, -d[2], d[1], d[2], 0, -d[0], -d[1], d[0], 0};
    const double fixed[9] = {0, -w[2], w[1], w[2], 0, -w[0], -w[1], w[0], 0};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            const int k = 3 * i + j;
            if (by < 0)
                R[k] = (i == j) * c + s * turn[k] + (1 - c) * w[i] * w[j];
            else
                R[k] = along * (c * fixed[k] - s * (i == j) + s * w[i] * w[j]) + s * turn[k] +
                       (1 - c) * (d[i] * w[j] + w[i] * d[j]);
        }
}

/* R for vectors of directions. */
static void turn(const double *R, const double *x, double *y)
{
    for (int i = 0; i < 3; i++)
        y[i] = R[3 * i] * x[0] + R[3 * i + 1] * x[1] + R[3 * i + 2] * x[2];
}

static void skin(const double *bones, const double *weight, const double *v, double *y)
{
    double moved[3];
    memset(y, 0, 3 * sizeof *y);
    for (int b = 0; b < BONES; b++) {
        apply(bones + 12 * b, v, moved);
        for (int i = 0; i < 3; i++)
            y[i] += weight[b] * moved[i];
    }
}

static void primal(void *data)
{
    hand_model *m = data;
    double relative[12 * BONES], absolute[12 * BONES], bones[12 * BONES], R[9], y[3], z[3];
    pose(m, m->theta, relative, absolute);
    for (int b = 0; b < BONES; b++)
        compose(absolute + 12 * b, m->rest + 12 * b, 1, bones + 12 * b);
    rotation(m->theta, -1, R);
    for (int p = 0; p < POINTS; p++) {
        skin(bones, m->weight + p * BONES, m->vertex + 3 * p, y);
        turn(R, y, z);
        for (int i = 0; i < 3; i++)
            m->e[3 * p + i] = m->point[3 * p + i] - z[i] - m->theta[3 + i];
    }
}

/* ---- by hand --------------------------------------------------------------------------------- */

/* For each angle, the derivatives of T of its bone and of those that follow it in the finger. */
static void slopes(const hand_model *m, const double *relative, const double *absolute,
                   double *by_angle)
{
    double turned[12], d[12], next[12];
    for (int b = 2; b < BONES; b++)
        for (int by = 0; by < 2; by++) {
            const int at = by ? spread_of(b) : bend_of(b);
            if (at < 0)
                continue;
            joint(angle(m->theta, bend_of(b)), angle(m->theta, spread_of(b)), by, turned);
            compose(m->place + 12 * b, turned, 0, next);
            compose(absolute + 12 * m->parent[b], next, 0, d);
            for (int k = b, last = b + 3 - (b - 2) % 4; k <= last; k++) {
                compose(d, m->rest + 12 * k, 1, by_angle + ((at - 6) * 4 + (k - 2) % 4) * 12);
                if (k < last) {
                    compose(d, relative + 12 * (k + 1), 1, next);
                    memcpy(d, next, sizeof d);
                }
            }
        }
}

/* The three rows of point p. */
static void rows(const hand_model *m, const double *bones, const double *by_angle,
                 const double (*R)[9], int p, double *J)
{
    const double *weight = m->weight + p * BONES, *v = m->vertex + 3 * p;
    double y[3], z[3], moved[3];
    skin(bones, weight, v, y);
    memset(J, 0, 3 * POSE * sizeof *J);
    for (int j = 0; j < 3; j++) {
        turn(R[1 + j], y, z);
        for (int i = 0; i < 3; i++)
            J[i * POSE + j] = -z[i];
        J[j * POSE + 3 + j] = -1;
    }
    for (int at = 6; at < POSE; at++) {
        const int finger = (at - 6) / 4, first = (int[]){0, 0, 1, 2}[(at - 6) % 4];
        double d[3] = {0};
        for (int k = first; k < 4; k++) {
            apply(by_angle + ((at - 6) * 4 + k) * 12, v, moved);
            for (int i = 0; i < 3; i++)
                d[i] += weight[2 + 4 * finger + k] * moved[i];
        }
        turn(R[0], d, z);
        for (int i = 0; i < 3; i++)
            J[i * POSE + at] = -z[i];
    }
    turn(R[0], y, z);
    for (int i = 0; i < 3; i++)
        m->e[3 * p + i] = m->point[3 * p + i] - z[i] - m->theta[3 + i];
}

static void hand(void *data)
{
    hand_model *m = data;
    double relative[12 * BONES], absolute[12 * BONES], bones[12 * BONES], R[4][9];
    double by_angle[(POSE - 6) * 4 * 12] = {0};
    pose(m, m->theta, relative, absolute);
    for (int b = 0; b < BONES; b++)
        compose(absolute + 12 * b, m->rest + 12 * b, 1, bones + 12 * b);
    for (int by = -1; by < 3; by++)
        rotation(m->theta, by, R[1 + by]);
    slopes(m, relative, absolute, by_angle);
    for (int p = 0; p < POINTS; p++)
        rows(m, bones, by_angle, (const double(*)[9])R, p, m->by_hand + p * 3 * POSE);
}

/* ---- the case -------------------------------------------------------------------------------- */

/* The inverse of a rotation and translation. */
static void invert(const double *a, double *b)
{
    for (int i = 0; i < 3; i++) {
        b[9 + i] = 0;
        for (int j = 0; j < 3; j++) {
            b[3 * i + j] = a[3 * j + i];
            b[9 + i] -= a[3 * j + i] * a[9 + j];
        }
    }
}

static void open_model(hand_model *m)
{
    double *theta = programs_random(POSE, -0.5, 0.5, 15);
    double *places = programs_random(6 * BONES, -0.3, 0.3, 16), relative[12 * BONES];
    double absolute[12 * BONES];
    *m = (hand_model){.vertex = programs_random(3 * POINTS, -2, 2, 17),
                      .point = programs_random(3 * POINTS, -2, 2, 18),
                      .weight = programs_random(BONES * POINTS, 0, 1, 19),
                      .e = bench_numbers(3 * POINTS),
                      .by_hand = bench_numbers(6 * POINTS * POSE)};
    m->nabla = m->by_hand + 3 * POINTS * POSE;
    memcpy(m->theta, theta, sizeof m->theta);
    for (int b = 0; b < BONES; b++) {
        m->parent[b] = b < 2 ? b - 1 : (b - 2) % 4 ? b - 1 : 1;
        rotation(places + 6 * b, -1, m->place + 12 * b);
        memcpy(m->place + 12 * b + 9, places + 6 * b + 3, 3 * sizeof *places);
    }
    pose(m, (double[POSE]){0}, relative, absolute);
    for (int b = 0; b < BONES; b++)
        invert(absolute + 12 * b, m->rest + 12 * b);
    for (int p = 0; p < POINTS; p++) {
        double *w = m->weight + p * BONES, sum = 0;
        for (int b = 0; b < BONES; b++)
            sum += w[b];
        for (int b = 0; b < BONES; b++)
            w[b] /= sum;
    }
    free(theta);
    free(places);
}

static bool right(hand_model *m)
{
    double *e = bench_numbers(3 * POINTS), J[3 * POSE];
    primal(m);
    memcpy(e, m->e, 3 * POINTS * sizeof *e);
    hand(m);
    bool ok = bench_agree("ht, by hand", 3 * POINTS, m->e, e, 1e-12);
    hand_nabla(m);
    ok = bench_agree("ht", 3 * POINTS, m->e, e, 1e-12) && ok;
    for (int p = 0; ok && p < POINTS; p++) {
        const double *row = m->nabla + p * 3 * POSE;
        ok = bench_agree("ht, Jacobian", 3 * POSE, row, m->by_hand + p * 3 * POSE, 1e-10) &&
             (p % 50 || (hand_eager(m, p, J) && bench_agree("ht, tape", 3 * POSE, row, J, 1e-10)));
    }
    free(e);
    return ok;
}

bool bench_ht(bool quick)
{
    hand_model m;
    open_model(&m);
    hand_make(&m);
    const bool ok = right(&m);
    if (ok)
        programs_time(&(contest){"ht", "<=4.5", &m, primal, hand, hand_nabla}, quick);
    nb_program_free(m.jacobian);
    double *const numbers[] = {m.vertex, m.point, m.weight, m.e, m.by_hand};
    for (int k = 0; k < 5; k++)
        free(numbers[k]);
    return ok;
}
