/*
 * Looking at parameters and changing them one by one: descriptions, elements as doubles, the table of
 * shapes, freezing, and the bound on the length of a unit's weights.
 */
#include "model.h"

#include <math.h>
#include <string.h>

nbi_entry *nbi_entry_at(nb_params *p, const char *who, nb_param i)
{
    if (!p)
        return NULL;
    if (i >= 0 && i < p->params.count)
        return &p->params.entry[i];
    nb_params_refuse(p, NB_ERR_INDEX, "params: %s: there is no parameter %d among %d", who, (int)i,
                     (int)p->params.count);
    return NULL;
}

/* ---- descriptions ---------------------------------------------------------------------------- */

int32_t nb_params_count(const nb_params *p) { return p ? p->params.count : 0; }
int64_t nb_params_size(const nb_params *p) { return p ? p->params.size : 0; }
nb_dtype nb_params_dtype(const nb_params *p) { return p ? p->dtype : NB_F64; }
int32_t nb_params_statistic_count(const nb_params *p) { return p ? p->statistics.count : 0; }
int64_t nb_params_statistic_size(const nb_params *p) { return p ? p->statistics.size : 0; }

static nb_param_info describe(const nb_params *p, const nbi_entries *l, int32_t i)
{
    if (!p || i < 0 || i >= l->count)
        return (nb_param_info){.name = "", .group = "", .shape = {.rank = -1}};
    const nbi_entry *e = &l->entry[i];
    return (nb_param_info){.name = e->name,
                           .group = l == &p->params ? p->group[e->group] : "",
                           .group_index = e->group,
                           .shape = e->shape,
                           .size = e->size,
                           .offset = e->offset,
                           .frozen = e->frozen};
}

nb_param_info nb_params_info(const nb_params *p, nb_param i)
{
    return describe(p, p ? &p->params : NULL, i);
}

nb_param_info nb_params_statistic_info(const nb_params *p, int32_t i)
{
    return describe(p, p ? &p->statistics : NULL, i);
}

/* ---- elements -------------------------------------------------------------------------------- */

/* Does the caller's array of n have the size of parameter i? Its entry, or NULL. p is not written
 * unless that is refused, so reading sealed parameters is safe for many threads. */
static const nbi_entry *sized(const nb_params *p, const char *who, nb_param i, const void *array,
                              int64_t n)
{
    char text[NB_SHAPE_TEXT];
    const nbi_entry *e = nbi_entry_at((nb_params *)p, who, i);
    if (!e || (array && e->size == n))
        return e;
    nb_params_refuse((nb_params *)p, NB_ERR_SHAPE,
                     "params: %s: \"%.99s\" %s has %lld elements, the array %lld", who, e->name,
                     nb_shape_text(text, e->shape), (long long)e->size, (long long)(array ? n : 0));
    return NULL;
}

nb_code nb_params_read(const nb_params *p, nb_param i, double *out, int64_t n)
{
    const nbi_entry *e = sized(p, "read", i, out, n);
    for (int64_t k = 0; e && k < n; k++)
        out[k] = nbi_load(p->params.data, p->dtype, e->offset + k);
    return e ? NB_OK : nb_params_status(p);
}

nb_code nb_params_read_grad(const nb_params *p, nb_param i, double *out, int64_t n)
{
    const nbi_entry *e = sized(p, "read_grad", i, out, n);
    for (int64_t k = 0; e && k < n; k++)
        out[k] = p->grads ? nbi_load(p->grads, p->dtype, e->offset + k) : 0;
    return e ? NB_OK : nb_params_status(p);
}

nb_code nb_params_write(nb_params *p, nb_param i, const double *in, int64_t n)
{
    const nbi_entry *e = sized(p, "write", i, in, n);
    for (int64_t k = 0; e && k < n; k++)
        nbi_store(p->params.data, p->dtype, e->offset + k, in[k]);
    return e ? NB_OK : nb_params_status(p);
}

/* ---- freezing -------------------------------------------------------------------------------- */

nb_code nb_params_freeze(nb_params *p, nb_param i, bool frozen)
{
    nbi_entry *e = nbi_entry_at(p, "freeze", i);
    if (e)
        e->frozen = frozen;
    return e ? NB_OK : nb_params_status(p);
}

nb_code nb_params_freeze_group(nb_params *p, const char *name, bool frozen)
{
    int32_t g = 0;
    while (p && name && g < p->groups && strcmp(p->group[g], name))
        g++;
    if (!p || !name || g == p->groups)
        return nb_params_refuse(p, NB_ERR_ARGUMENT,
                                "params: freeze_group: there is no group \"%.99s\"",
                                name ? name : "(null)");
    for (int32_t i = 0; i < p->params.count; i++)
        if (p->params.entry[i].group == g)
            p->params.entry[i].frozen = frozen;
    return NB_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

static int wider(int width, const char *text)
{
    const int n = text ? (int)strlen(text) : 0;
    return n > width ? n : width;
}

nb_code nb_params_print(FILE *to, const nb_params *p)
{
    char text[NB_SHAPE_TEXT];
    int name = 9, group = 5, shape = 5;
    int64_t frozen = 0;
    if (!to || !p)
        return NB_ERR_ARGUMENT;
    for (int32_t i = 0; i < p->params.count; i++) {
        const nb_param_info e = nb_params_info(p, i);
        name = wider(name, e.name);
        group = wider(group, e.group);
        shape = wider(shape, nb_shape_text(text, e.shape));
    }
    fprintf(to, "%-*s  %-*s  %-*s  %10s\n", name, "parameter", group, "group", shape, "shape",
            "size");
    for (int32_t i = 0; i < p->params.count; i++) {
        const nb_param_info e = nb_params_info(p, i);
        frozen += e.frozen ? e.size : 0;
        fprintf(to, "%-*s  %-*s  %-*s  %10lld%s\n", name, e.name, group, e.group, shape,
                nb_shape_text(text, e.shape), (long long)e.size, e.frozen ? "  frozen" : "");
    }
    fprintf(to, "%-*s  %-*s  %-*s  %10lld", name, "sum", group, "", shape, "",
            (long long)p->params.size);
    if (frozen)
        fprintf(to, "  %lld frozen", (long long)frozen);
    return fputc('\n', to) == EOF || ferror(to) ? NB_ERR_CALLBACK : NB_OK;
}

/* ---- max-norm -------------------------------------------------------------------------------- */

/* A unit's weights are `outer` runs of `inner` elements, `step` apart. */
typedef struct unit {
    int64_t outer, inner, step;
} unit;

/* The length is most * root, most being the greatest size of an element: so nothing overflows nor
 * vanishes. A unit with an element that is not finite has no length, and keeps its weights. */
static void shorten(void *w, nb_dtype d, const unit *u, double limit)
{
    double most = 0, sum = 0;
    for (int64_t o = 0; o < u->outer; o++)
        for (int64_t i = 0; i < u->inner; i++)
            most = fmax(most, fabs(nbi_load(w, d, o * u->step + i)));
    for (int64_t o = 0; o < u->outer; o++)
        for (int64_t i = 0; i < u->inner; i++) {
            const double x = nbi_load(w, d, o * u->step + i) / most;
            sum += x * x;
        }
    const double root = sqrt(sum);
    if (!(most * root > limit) || !isfinite(root))
        return;
    for (int64_t o = 0; o < u->outer; o++)
        for (int64_t i = 0; i < u->inner; i++) {
            const int64_t k = o * u->step + i;
            nbi_store(w, d, k, nbi_load(w, d, k) / most / root * limit);
        }
}

nb_code nb_params_max_norm(nb_params *p, nb_param i, int axis, double limit)
{
    char text[NB_SHAPE_TEXT];
    const nbi_entry *e = nbi_entry_at(p, "max_norm", i);
    if (!e)
        return nb_params_status(p);
    const int rank = e->shape.rank, at = axis < 0 ? axis + rank : axis;
    if (at < 0 || at >= rank)
        return nb_params_refuse(p, NB_ERR_AXIS, "params: max_norm: \"%.99s\" %s has no axis %d",
                                e->name, nb_shape_text(text, e->shape), axis);
    if (!(limit > 0))
        return nb_params_refuse(p, NB_ERR_ARGUMENT,
                                "params: max_norm: \"%.99s\": the limit is %g, not above 0",
                                e->name, limit);
    unit u = {1, 1, 0};
    for (int k = 0; k < rank; k++)
        *(k < at ? &u.outer : &u.inner) *= k == at ? 1 : e->shape.dims[k];
    u.step = e->shape.dims[at] * u.inner;
    for (int64_t k = 0; k < e->shape.dims[at]; k++)
        shorten(nbi_element_place(p->params.data, p->dtype, e->offset + k * u.inner), p->dtype, &u,
                limit);
    return NB_OK;
}
