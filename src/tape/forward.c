/*
 * The forward sweep: a direction pushed through all that is recorded.
 *
 * The tangent of a node is the derivative of its value along the direction: of an input it is given,
 * of any other node it is the sum over the operands k of z(k, i) times the tangent of k. One walk up
 * the tape. An operand whose tangent is exactly 0 contributes exactly 0.
 *
 * Records are pushed through in forward_record.c.
 */
#include "tape/tape.h"

#define NBI_REAL double
#define NBI_SUFFIX
#include "table/arithmetic.h"

static double chain(double t, double slope) { return t != 0 ? t * slope : 0; }

/* The tangent of scalar row node i; 0 for one that is no row. Expanded from the table: no row is
 * missing. */
static inline double tangent_of_row(const nb_tape *t, uint32_t i)
{
    const nbi_cell *c = t->hot.cells;
    const double *d = t->tangent, r = c[i].value;
    const uint32_t a = t->hot.args[i].a, b = t->hot.args[i].b;
    switch (t->hot.ops[i]) {
#define UNARY(name, ...) \
    case NBI_OP_##name:  \
        return chain(d[a], nbi_slope_##name(c[a].value, r));
#define BINARY(name, ...)                                                   \
    case NBI_OP_##name:                                                     \
    case NBI_OP_##name##_vc:                                                \
    case NBI_OP_##name##_cv:                                                \
        return chain(d[a], nbi_slope_x_##name(c[a].value, c[b].value, r)) + \
               chain(d[b], nbi_slope_y_##name(c[a].value, c[b].value, r));
#define TERNARY(name, ...)                                                    \
    case NBI_OP_##name: {                                                     \
        const uint32_t *k = t->list + a;                                      \
        const double x = c[k[0]].value, y = c[k[1]].value, z = c[k[2]].value; \
        return chain(d[k[0]], nbi_slope_x_##name(x, y, z, r)) +               \
               chain(d[k[1]], nbi_slope_y_##name(x, y, z, r)) +               \
               chain(d[k[2]], nbi_slope_z_##name(x, y, z, r));                \
    }
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    default: return 0;
    }
}

/* ---- the sweep ------------------------------------------------------------------------------- */

static bool seed_tangents(nb_tape *t, size_t n, const nb_var *x, const double *const *dx)
{
    for (size_t k = 0; k < n; k++) {
        const double *d = dx ? dx[k] : NULL;
        if (!nbi_is_tensor(t, x[k].index)) {
            t->tangent[x[k].index] = d ? *d : 1;
            continue;
        }
        nbi_record *r = nbi_record_at(t, x[k].index);
        r->tangent = nbi_take(&t->tangents, (size_t)r->size * nbi_element(t->dtype), NBI_ALIGN);
        if (!r->tangent) {
            nbi_no_memory(t, "a tangent");
            return false;
        }
        for (int64_t j = 0; j < r->size; j++)
            if (t->dtype == NB_F64)
                ((double *)r->tangent)[j] = d ? d[j] : 1;
            else
                ((float *)r->tangent)[j] = d ? (float)d[j] : 1;
    }
    return true;
}

/* Forgets the tangents of the last sweep and makes room for new ones, all zero. */
static bool clear_tangents(nb_tape *t)
{
    const uint32_t n = t->hot.length;
    nbi_give_back_all(&t->tangents);
    for (uint32_t i = 0; i < n; i++)
        if (t->hot.ops[i] == NBI_RECORD)
            nbi_record_at(t, i)->tangent = NULL;
    t->tangents_to = 0;
    t->tangent = nbi_take(&t->tangents, n * sizeof *t->tangent, NBI_ALIGN);
    if (!t->tangent) {
        nbi_no_memory(t, "the tangents");
        return false;
    }
    memset(t->tangent, 0, n * sizeof *t->tangent);
    t->tangent_room = n;
    return true;
}

bool nbi_tangents_room(nb_tape *t, uint32_t from, uint32_t to)
{
    if (to > t->tangent_room) {
        const size_t room = 2 * (size_t)to < UINT32_MAX ? 2 * to : to;
        double *p = nbi_take(&t->tangents, room * sizeof *p, NBI_ALIGN);
        if (!p) {
            nbi_no_memory(t, "the tangents");
            return false;
        }
        memcpy(p, t->tangent, t->tangent_room * sizeof *p);
        t->tangent = p;
        t->tangent_room = (uint32_t)room;
    }
    memset(t->tangent + from, 0, (to - from) * sizeof *t->tangent);
    return true;
}

bool nbi_push_tangents(nb_tape *t, uint32_t from, uint32_t to, const uint8_t *given)
{
    for (uint32_t i = from; i < to; i++) {
        if (given && given[i])
            continue;
        const uint8_t op = t->hot.ops[i];
        if (op > NBI_SPARE_15)
            t->tangent[i] = tangent_of_row(t, i);
        else if (op >= NBI_SUM)
            t->tangent[i] = nbi_tangent_many(t, i);
        else if (op == NBI_RECORD && !nbi_forward_record(t, i))
            return false;
    }
    return true;
}

nb_code nb_forward(size_t n, const nb_var *x, const double *const *dx)
{
    nb_var inert;
    if (!n || !x)
        return NB_ERR_ARGUMENT;
    nb_tape *t = nbi_home("forward", n, x, &inert);
    if (!t)
        return inert.tape ? inert.tape->code : NB_ERR_HANDLE;
    for (size_t k = 0; k < n; k++)
        if (!x[k].tape)
            return nbi_fail(t, NB_ERR_HANDLE, "forward: input %zu is a number, not a node", k);
    if (nbi_busy(t, "forward"))
        return NB_ERR_CALLBACK;
    const uint32_t length = t->hot.length;
    uint8_t *given = NULL;
    if (!clear_tangents(t) || !(given = nbi_take(&t->tangents, length, 1)))
        return given ? NB_OK : nbi_no_memory(t, "the tangents");
    memset(given, 0, length);
    for (size_t k = 0; k < n; k++)
        given[x[k].index] = 1;
    t->tangents_to = length;
    return seed_tangents(t, n, x, dx) && nbi_push_tangents(t, 0, length, given) ? NB_OK : t->code;
}
