/*
 * Bundle adjustment: 49 cameras, 7776 points, 31843 observations. An observation sees a point X
 * through a camera (r, C, f, x0, k) at the place `feat` with weight w; its residuals are
 *
 *     e = w (f (1 + k1 s + k2 s^2) v + x0 - feat),    v = (Y_1, Y_2) / Y_3,  s = |v|^2,
 *     Y = R(r) (X - C),                               R by Rodrigues' formula,
 *
 * and the weight's own, 1 - w^2. Sought is the Jacobian of all residuals by cameras, points and
 * weights, sparse: the values of its rows in CSR order, 15 in each of an observation's two rows (the
 * camera's 11, the point's 3, the weight's), then one in each weight's row.
 *
 * With programs an observation is a lane; cameras and points are gathered by its indices, and the
 * Jacobian program writes its lane's 30 values in their place. For r = 0 the formula divides by zero:
 * there the rotation is X + r x X, selected by nb_where, and the formula is kept off the zero.
 */
#include "programs_ba.h"

/* ---- in C ------------------------------------------------------------------------------------ */

static void cross(const double *a, const double *b, double *c)
{
    c[0] = a[1] * b[2] - a[2] * b[1];
    c[1] = a[2] * b[0] - a[0] * b[2];
    c[2] = a[0] * b[1] - a[1] * b[0];
}

static double dot(const double *a, const double *b)
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static void rotate(const double *r, const double *x, double *y)
{
    const double square = dot(r, r);
    double c[3];
    if (square > 0) {
        const double angle = sqrt(square), cosine = cos(angle), sine = sin(angle), over = 1 / angle;
        const double w[3] = {r[0] * over, r[1] * over, r[2] * over};
        const double along = dot(w, x) * (1 - cosine);
        cross(w, x, c);
        for (int i = 0; i < 3; i++)
            y[i] = x[i] * cosine + c[i] * sine + w[i] * along;
    } else {
        cross(r, x, c);
        for (int i = 0; i < 3; i++)
            y[i] = x[i] + c[i];
    }
}

static void residual(const double *camera, const double *point, double weight, const double *feat,
                     double *e)
{
    double x[3], y[3];
    for (int i = 0; i < 3; i++)
        x[i] = point[i] - camera[CENTER + i];
    rotate(camera + ROTATION, x, y);
    const double u = y[0] / y[2], v = y[1] / y[2], s = u * u + v * v;
    const double scale = camera[FOCUS] * (1 + camera[RADIAL] * s + camera[RADIAL + 1] * s * s);
    e[0] = weight * (scale * u + camera[PLACE] - feat[0]);
    e[1] = weight * (scale * v + camera[PLACE + 1] - feat[1]);
}

static void primal(void *data)
{
    bundle *b = data;
    for (size_t i = 0; i < SEEN; i++)
        residual(b->camera + b->at_camera[i] * CAMERA, b->point + b->at_point[i] * 3, b->weight[i],
                 b->feat + 2 * i, b->e + 2 * i);
    for (size_t i = 0; i < SEEN; i++)
        b->e[2 * SEEN + i] = 1 - b->weight[i] * b->weight[i];
}

/* y = R x, with R and the three columns of dy/dr. */
static void rotate_slopes(const double *r, const double *x, double *y, double R[3][3],
                          double by_r[3][3])
{
    const double square = dot(r, r);
    const bool turned = square > 0;
    const double angle = turned ? sqrt(square) : 0, over = turned ? 1 / angle : 0;
    const double cosine = cos(angle), sine = sin(angle), rest = 1 - cosine;
    const double w[3] = {r[0] * over, r[1] * over, r[2] * over}, along = dot(w, x);
    double c[3];
    cross(w, x, c);
    for (int j = 0; j < 3; j++) {
        double unit[3] = {j == 0, j == 1, j == 2}, turn[3], dw[3], dc[3];
        cross(turned ? w : r, unit, turn);
        for (int i = 0; i < 3; i++) {
            R[i][j] = unit[i] * cosine + turn[i] * (turned ? sine : 1) + w[i] * w[j] * rest;
            dw[i] = (unit[i] - w[i] * w[j]) * over;
        }
        cross(turned ? dw : unit, x, dc);
        const double bend = turned ? sine : 1, d_along = dot(dw, x) * rest + along * sine * w[j];
        for (int i = 0; i < 3; i++)
            by_r[j][i] = w[j] * (c[i] * cosine - x[i] * sine) + dc[i] * bend +
                         dw[i] * along * rest + w[i] * d_along;
    }
    for (int i = 0; i < 3; i++)
        y[i] = dot(R[i], x);
}

static void block_by_hand(const double *camera, const double *point, double weight,
                          const double *feat, double *e, double *J)
{
    double x[3], y[3], R[3][3], by_r[3][3];
    for (int i = 0; i < 3; i++)
        x[i] = point[i] - camera[CENTER + i];
    rotate_slopes(camera + ROTATION, x, y, R, by_r);
    const double deep = 1 / y[2], v[2] = {y[0] * deep, y[1] * deep}, s = v[0] * v[0] + v[1] * v[1];
    const double f = camera[FOCUS], bend = 1 + camera[RADIAL] * s + camera[RADIAL + 1] * s * s;
    const double slope = 2 * (camera[RADIAL] + 2 * camera[RADIAL + 1] * s);
    for (int a = 0; a < 2; a++) {
        double *row = J + a * ROW, by_y[3] = {0};
        const double off = f * bend * v[a] + camera[PLACE + a] - feat[a];
        for (int k = 0; k < 2; k++) {
            const double by_v = weight * f * ((a == k) * bend + v[a] * v[k] * slope);
            by_y[k] = by_v * deep;
            by_y[2] -= by_v * v[k] * deep;
        }
        for (int j = 0; j < 3; j++) {
            const double by_x = by_y[0] * R[0][j] + by_y[1] * R[1][j] + by_y[2] * R[2][j];
            row[ROTATION + j] = dot(by_y, by_r[j]);
            row[CENTER + j] = -by_x;
            row[POINT + j] = by_x;
        }
        row[FOCUS] = weight * bend * v[a];
        row[PLACE] = a == 0 ? weight : 0;
        row[PLACE + 1] = a == 1 ? weight : 0;
        row[RADIAL] = weight * f * v[a] * s;
        row[RADIAL + 1] = weight * f * v[a] * s * s;
        row[WEIGHT] = off;
        e[a] = weight * off;
    }
}

static void hand(void *data)
{
    bundle *b = data;
    for (size_t i = 0; i < SEEN; i++)
        block_by_hand(b->camera + b->at_camera[i] * CAMERA, b->point + b->at_point[i] * 3,
                      b->weight[i], b->feat + 2 * i, b->e + 2 * i, b->by_hand + BLOCK * i);
    for (size_t i = 0; i < SEEN; i++) {
        b->e[2 * SEEN + i] = 1 - b->weight[i] * b->weight[i];
        b->by_hand[BLOCK * SEEN + i] = -2 * b->weight[i];
    }
}

/* ---- recorded -------------------------------------------------------------------------------- */

static void record_cross(const nb_var *a, const nb_var *b, nb_var *c)
{
    for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        c[i] = nb_sub(nb_mul(a[j], b[k]), nb_mul(a[k], b[j]));
    }
}

static nb_var record_dot(const nb_var *a, const nb_var *b)
{
    return nb_add(nb_add(nb_mul(a[0], b[0]), nb_mul(a[1], b[1])), nb_mul(a[2], b[2]));
}

static void record_rotate(const nb_var *r, const nb_var *x, nb_var *y)
{
    nb_var square = record_dot(r, r), turned = nb_gt(square, 0);
    nb_var angle = nb_sqrt(nb_where(turned, square, 1)), over = nb_recip(angle);
    nb_var cosine = nb_cos(angle), sine = nb_sin(angle), w[3], c[3], small[3];
    for (int i = 0; i < 3; i++)
        w[i] = nb_mul(r[i], over);
    nb_var along = nb_mul(record_dot(w, x), nb_sub(1, cosine));
    record_cross(w, x, c);
    record_cross(r, x, small);
    for (int i = 0; i < 3; i++) {
        nb_var turn = nb_add(nb_mul(x[i], cosine), nb_mul(c[i], sine));
        y[i] = nb_where(turned, nb_add(turn, nb_mul(w[i], along)), nb_add(x[i], small[i]));
    }
}

static void record(const nb_var *camera, const nb_var *point, nb_var weight, const nb_var *feat,
                   nb_var *e)
{
    nb_var x[3], y[3], v[2];
    for (int i = 0; i < 3; i++)
        x[i] = nb_sub(point[i], camera[CENTER + i]);
    record_rotate(camera + ROTATION, x, y);
    for (int a = 0; a < 2; a++)
        v[a] = nb_div(y[a], y[2]);
    nb_var s = nb_add(nb_square(v[0]), nb_square(v[1]));
    nb_var bend = nb_add(camera[RADIAL], nb_mul(camera[RADIAL + 1], s));
    nb_var scale = nb_mul(camera[FOCUS], nb_add(1, nb_mul(bend, s)));
    for (int a = 0; a < 2; a++) {
        nb_var place = nb_add(nb_mul(scale, v[a]), camera[PLACE + a]);
        e[a] = nb_mul(weight, nb_sub(place, feat[a]));
    }
}

/* The tape's own block of observation i. */
static bool eager(const bundle *b, size_t i, double *J)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[ROW], feat[2], e[2];
    programs_inputs(t, CAMERA, b->camera + b->at_camera[i] * CAMERA, in);
    programs_inputs(t, 3, b->point + b->at_point[i] * 3, in + POINT);
    programs_inputs(t, 1, b->weight + i, in + WEIGHT);
    programs_inputs(t, 2, b->feat + 2 * i, feat);
    record(in, in + POINT, in[WEIGHT], feat, e);
    const bool ok = nb_jacobian(2, e, ROW, in, NB_JACOBIAN_REVERSE, J) == NB_OK;
    nb_tape_free(t);
    return ok;
}

/* ---- programs -------------------------------------------------------------------------------- */

void ba_make(bundle *b)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[ROW], feat[2], e[2];
    programs_inputs(t, CAMERA, b->camera, in);
    programs_inputs(t, 3, b->point, in + POINT);
    programs_inputs(t, 1, b->weight, in + WEIGHT);
    programs_inputs(t, 2, b->feat, feat);
    record(in, in + POINT, in[WEIGHT], feat, e);
    const nb_argument of[] = {each("camera", CAMERA, in), each("point", 3, in + POINT),
                              each("weight", 1, in + WEIGHT), each("feat", 2, feat)};
    const bool by[] = {true, true, true, false};
    b->residual = programs_freeze_derived(t, 4, of, each("e", 2, e), nb_program_jacobian, by);
    nb_var own = nb_sub(1, nb_square(in[WEIGHT]));
    b->weights =
        programs_freeze_derived(t, 1, of + 2, each("e", 1, &own), nb_program_jacobian, NULL);
    nb_tape_free(t);
}

static void nabla(void *data)
{
    bundle *b = data;
    const nb_lanes in[] = {rows_of(b->camera, b->at_camera), rows_of(b->point, b->at_point),
                           dense(b->weight), dense(b->feat)};
    const nb_lanes out[] = {dense(b->e), dense(b->nabla)};
    const nb_lanes own[] = {dense(b->e + 2 * SEEN), dense(b->nabla + BLOCK * SEEN)};
    programs_run(b->residual, SEEN, in, out);
    programs_run(b->weights, SEEN, in + 2, own);
}

/* ---- the case -------------------------------------------------------------------------------- */

/* Cameras some way in front of the points, the second one not turned; observations go through both in
 * turn. */
void ba_open(bundle *b)
{
    *b = (bundle){.camera = programs_random(CAMERAS * CAMERA, -0.2, 0.2, 1),
                  .point = programs_random(POINTS * 3, -1, 1, 2),
                  .weight = programs_random(SEEN, 0.5, 1.5, 3),
                  .feat = programs_random(2 * SEEN, -100, 100, 4),
                  .e = bench_numbers(3 * SEEN),
                  .by_hand = bench_numbers(2 * (BLOCK + 1) * SEEN)};
    b->nabla = b->by_hand + (BLOCK + 1) * SEEN;
    b->at_camera = calloc(2 * SEEN, sizeof *b->at_camera);
    if (!b->at_camera)
        exit(1);
    b->at_point = b->at_camera + SEEN;
    for (size_t k = 0; k < CAMERAS; k++) {
        b->camera[k * CAMERA + CENTER + 2] -= 5;
        b->camera[k * CAMERA + FOCUS] += 500;
    }
    memset(b->camera + CAMERA, 0, 3 * sizeof *b->camera);
    for (size_t i = 0; i < SEEN; i++) {
        b->at_camera[i] = (int64_t)(i % CAMERAS);
        b->at_point[i] = (int64_t)(i % POINTS);
    }
}

static bool right(bundle *b)
{
    double J[BLOCK], *e = bench_numbers(3 * SEEN);
    primal(b);
    memcpy(e, b->e, 3 * SEEN * sizeof *e);
    hand(b);
    bool ok = bench_agree("ba, by hand", 3 * SEEN, b->e, e, 1e-12);
    nabla(b);
    ok = bench_agree("ba", 3 * SEEN, b->e, e, 1e-12) && ok;
    ok = bench_agree("ba, weights", SEEN, b->nabla + BLOCK * SEEN, b->by_hand + BLOCK * SEEN,
                     1e-12) &&
         ok;
    for (size_t i = 0; ok && i < SEEN; i++)
        ok =
            bench_agree("ba, Jacobian", BLOCK, b->nabla + BLOCK * i, b->by_hand + BLOCK * i, 1e-10);
    for (size_t i = 0; ok && i < SEEN; i += i < 100 ? 1 : 997)
        ok = eager(b, i, J) && bench_agree("ba, tape", BLOCK, b->nabla + BLOCK * i, J, 1e-10);
    free(e);
    return ok;
}

void ba_close(bundle *b)
{
    nb_program_free(b->residual);
    nb_program_free(b->weights);
    double *const numbers[] = {b->camera, b->point, b->weight, b->feat, b->e, b->by_hand};
    for (int k = 0; k < 6; k++)
        free(numbers[k]);
    free(b->at_camera);
}

bool bench_ba(bool quick)
{
    bundle b;
    ba_open(&b);
    ba_make(&b);
    const bool ok = right(&b);
    if (ok)
        programs_time(&(contest){"ba", "<=2.0", &b, primal, hand, nabla}, quick);
    ba_close(&b);
    return ok;
}
