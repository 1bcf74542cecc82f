/*
 * The hand of the case `ht`, recorded: see programs_ht.c. The bones' places are numbers, so that all
 * that is fixed about them folds when the program is frozen.
 */
#include "programs_ht.h"

/* c = a after b, affine maps of 12: R row by row, then what is added. */
static void compose(const nb_var *a, const nb_var *b, nb_var *c)
{
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++) {
            const nb_var *column = j < 3 ? b + j : b + 9;
            const int next = j < 3 ? 3 : 1, to = j < 3 ? 3 * i + j : 9 + i;
            nb_var s = nb_mul(a[3 * i], column[0]);
            s = nb_add(s, nb_mul(a[3 * i + 1], column[next]));
            s = nb_add(s, nb_mul(a[3 * i + 2], column[2 * next]));
            c[to] = j < 3 ? s : nb_add(s, a[9 + i]);
        }
}

/* p after R_z(z) R_x(x). */
static void turned(nb_tape *t, const double *p, const nb_var *x, const nb_var *z, nb_var *to)
{
    const nb_var zero = nb_constant(t, 0), one = nb_constant(t, 1);
    nb_var cx = x ? nb_cos(*x) : one, sx = x ? nb_sin(*x) : zero, place[12];
    nb_var cz = z ? nb_cos(*z) : one, sz = z ? nb_sin(*z) : zero;
    nb_var turn[12] = {cz,
                       nb_neg(nb_mul(sz, cx)),
                       nb_mul(sz, sx),
                       sz,
                       nb_mul(cz, cx),
                       nb_neg(nb_mul(cz, sx)),
                       zero,
                       sx,
                       cx,
                       zero,
                       zero,
                       zero};
    for (int k = 0; k < 12; k++)
        place[k] = nb_constant(t, p[k]);
    compose(place, turn, to);
}

/* T of all bones, [12 BONES]. */
static void record_bones(nb_tape *t, const hand_model *m, const nb_var *theta, nb_var *bones)
{
    nb_var relative[12], absolute[BONES][12], rest[12];
    for (int b = 0; b < BONES; b++) {
        const int joint = b < 2 ? 3 : (b - 2) % 4;
        const nb_var *first = theta + 6 + (b < 2 ? 0 : (b - 2) / 4 * 4);
        const nb_var *bend = joint == 0 ? first : joint < 3 ? first + joint + 1 : NULL;
        turned(t, m->place + 12 * b, bend, joint == 0 ? first + 1 : NULL, relative);
        if (m->parent[b] < 0)
            memcpy(absolute[b], relative, sizeof relative);
        else
            compose(absolute[m->parent[b]], relative, absolute[b]);
        for (int k = 0; k < 12; k++)
            rest[k] = nb_constant(t, m->rest[12 * b + k]);
        compose(absolute[b], rest, bones + 12 * b);
    }
}

static void record_rotation(const nb_var *r, nb_var R[3][3])
{
    nb_var square = nb_add(nb_add(nb_square(r[0]), nb_square(r[1])), nb_square(r[2]));
    nb_var angle = nb_sqrt(square), c = nb_cos(angle), s = nb_sin(angle), rest = nb_sub(1, c), w[3];
    for (int i = 0; i < 3; i++)
        w[i] = nb_div(r[i], angle);
    for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        nb_var both = nb_mul(rest, nb_mul(w[i], w[j])), third = nb_mul(s, w[k]);
        R[i][i] = nb_add(c, nb_mul(rest, nb_square(w[i])));
        R[i][j] = nb_sub(both, third);
        R[j][i] = nb_add(both, third);
    }
}

/* The residuals of a point at one vertex. */
static void record(nb_tape *t, const hand_model *m, const nb_var *theta, const nb_var *vertex,
                   const nb_var *weight, const nb_var *point, nb_var *e)
{
    nb_var bones[12 * BONES], R[3][3], blend[12], y[3];
    record_bones(t, m, theta, bones);
    record_rotation(theta, R);
    for (int k = 0; k < 12; k++) {
        blend[k] = nb_mul(weight[0], bones[k]);
        for (int b = 1; b < BONES; b++)
            blend[k] = nb_add(blend[k], nb_mul(weight[b], bones[12 * b + k]));
    }
    for (int i = 0; i < 3; i++) {
        y[i] = blend[9 + i];
        for (int j = 0; j < 3; j++)
            y[i] = nb_add(y[i], nb_mul(blend[3 * i + j], vertex[j]));
    }
    for (int i = 0; i < 3; i++) {
        nb_var place = theta[3 + i];
        for (int j = 0; j < 3; j++)
            place = nb_add(place, nb_mul(R[i][j], y[j]));
        e[i] = nb_sub(point[i], place);
    }
}

typedef struct recording {
    nb_var theta[POSE], vertex[3], weight[BONES], point[3], e[3];
} recording;

static void record_point(nb_tape *t, const hand_model *m, int p, recording *r)
{
    programs_inputs(t, POSE, m->theta, r->theta);
    programs_inputs(t, 3, m->vertex + 3 * p, r->vertex);
    programs_inputs(t, BONES, m->weight + BONES * p, r->weight);
    programs_inputs(t, 3, m->point + 3 * p, r->point);
    record(t, m, r->theta, r->vertex, r->weight, r->point, r->e);
}

void hand_make(hand_model *m)
{
    nb_tape *t = nb_tape_new(NULL);
    recording r;
    record_point(t, m, 0, &r);
    const nb_argument in[] = {shared("theta", POSE, r.theta), each("vertex", 3, r.vertex),
                              each("weight", BONES, r.weight), each("point", 3, r.point)};
    const bool by[] = {true, false, false, false};
    m->jacobian = programs_freeze_derived(t, 4, in, each("e", 3, r.e), nb_program_jacobian, by);
    nb_tape_free(t);
}

void hand_nabla(void *model)
{
    hand_model *m = model;
    const nb_lanes in[] = {dense(m->theta), dense(m->vertex), dense(m->weight), dense(m->point)};
    const nb_lanes out[] = {dense(m->e), dense(m->nabla)};
    programs_run(m->jacobian, POINTS, in, out);
}

bool hand_eager(const hand_model *m, int p, double *J)
{
    nb_tape *t = nb_tape_new(NULL);
    recording r;
    record_point(t, m, p, &r);
    const bool ok = nb_jacobian(3, r.e, POSE, r.theta, NB_JACOBIAN_REVERSE, J) == NB_OK;
    nb_tape_free(t);
    return ok;
}
