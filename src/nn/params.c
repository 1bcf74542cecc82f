/*
 * The list of parameters: adding, sealing, and the arrays.
 *
 * While the list is open each new parameter's elements are appended to the one array, which grows by
 * doubling and may move; an index is a place in the list and never changes. Sealing makes the arrays
 * that run parallel to the values, at their final size. Only then may a tape borrow anything: what a
 * tape has borrowed must not move.
 *
 * Whatever is added is added whole or not at all: the entry counts only after the last allocation.
 */
#include "model.h"

#include <stdarg.h>
#include <string.h>

/* ---- life and errors ------------------------------------------------------------------------- */

nb_params *nb_params_new(const nb_params_options *options)
{
    const nb_params_options none = {0}, *o = options ? options : &none;
    nb_params *p = nb_resize(&o->allocator, NULL, 0, sizeof *p);
    if (p)
        *p = (nb_params){.allocator = o->allocator, .dtype = o->dtype};
    return p;
}

static void *resize(nb_params *p, void *old, size_t old_size, size_t new_size)
{
    void *q = nb_resize(&p->allocator, old, old_size, new_size);
    if (!q && new_size)
        nb_params_refuse(p, NB_ERR_MEMORY, "params: the allocator has no memory");
    return q;
}

static void drop(nb_params *p, void *block, size_t size)
{
    if (block)
        nb_resize(&p->allocator, block, size, 0);
}

static void drop_text(nb_params *p, char *text) { drop(p, text, text ? strlen(text) + 1 : 0); }

static void drop_entries(nb_params *p, nbi_entries *l, size_t width)
{
    for (int32_t i = 0; i < l->count; i++)
        drop_text(p, l->entry[i].name);
    drop(p, l->entry, (size_t)l->room * sizeof *l->entry);
    drop(p, l->data, (size_t)l->capacity * width);
}

void nb_params_free(nb_params *p)
{
    if (!p)
        return;
    const size_t bytes = (size_t)p->params.size * nbi_width(p->dtype);
    const size_t vars = (size_t)p->params.count * sizeof(nb_var);
    drop(p, p->grads, bytes);
    drop(p, p->state, bytes * p->states);
    drop(p, p->var, vars);
    drop(p, p->still, vars);
    drop_entries(p, &p->params, nbi_width(p->dtype));
    drop_entries(p, &p->statistics, sizeof(double));
    for (int32_t g = 0; g < p->groups; g++)
        drop_text(p, p->group[g]);
    drop(p, p->group, (size_t)p->group_room * sizeof *p->group);
    const nb_allocator a = p->allocator;
    nb_resize(&a, p, sizeof *p, 0);
}

nb_code nb_params_refuse(nb_params *p, nb_code code, const char *format, ...)
{
    if (!p || p->code != NB_OK)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(p->message, sizeof p->message, format, args);
    va_end(args);
    return p->code = code;
}

nb_code nb_params_status(const nb_params *p) { return p ? p->code : NB_ERR_ARGUMENT; }

const char *nb_params_message(const nb_params *p)
{
    return p ? p->message : "there are no parameters";
}

void nb_params_clear(nb_params *p)
{
    if (!p)
        return;
    p->code = NB_OK;
    p->message[0] = 0;
}

/* ---- room ------------------------------------------------------------------------------------ */

/* Room for one more item of that width. */
static bool room_for_one(nb_params *p, void **list, int32_t count, int32_t *room, size_t width)
{
    if (count < *room)
        return true;
    const int32_t more = *room ? (*room > INT32_MAX / 2 ? INT32_MAX : 2 * *room) : 8;
    void *q = more > count ? resize(p, *list, (size_t)*room * width, (size_t)more * width) : NULL;
    if (!q) {
        nb_params_refuse(p, NB_ERR_LIMIT, "params: no index is left");
        return false;
    }
    *list = q;
    *room = more;
    return true;
}

/* Room for size more elements. */
static bool room_for_data(nb_params *p, nbi_entries *l, int64_t size, size_t width)
{
    int64_t need;
    size_t bytes;
    if (__builtin_add_overflow(l->size, size, &need) ||
        __builtin_mul_overflow((size_t)need, 2 * width, &bytes) || bytes > PTRDIFF_MAX) {
        nb_params_refuse(p, NB_ERR_OVERFLOW, "params: the number of elements overflows");
        return false;
    }
    if (need <= l->capacity)
        return true;
    const int64_t more = need > 2 * l->capacity ? need : 2 * l->capacity;
    void *q = resize(p, l->data, (size_t)l->capacity * width, (size_t)more * width);
    if (!q)
        return false;
    l->data = q;
    l->capacity = more;
    return true;
}

static char *copy_text(nb_params *p, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *q = resize(p, NULL, 0, size);
    return q ? memcpy(q, text, size) : NULL;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static int32_t find(const nbi_entries *l, const char *name)
{
    for (int32_t i = 0; name && i < l->count; i++)
        if (!strcmp(l->entry[i].name, name))
            return i;
    return NB_NO_PARAM;
}

static bool may_add(nb_params *p, const nbi_entries *l, const char *name, nb_shape shape)
{
    char is[NB_SHAPE_TEXT], was[NB_SHAPE_TEXT];
    if (!p || p->code != NB_OK)
        return false;
    if (!name || !*name)
        return nb_params_refuse(p, NB_ERR_ARGUMENT, "params: a parameter needs a name"), false;
    if (shape.rank < 0 || shape.rank > NB_MAX_RANK || nb_shape_size(shape) < 1) {
        shape.rank = shape.rank > NB_MAX_RANK ? NB_MAX_RANK : shape.rank;
        nb_params_refuse(p, NB_ERR_SHAPE,
                         "params: \"%.99s\" has the shape %s; each size must be 1 "
                         "or more, their product fit, the axes be at most %d",
                         name, nb_shape_text(is, shape), NB_MAX_RANK);
        return false;
    }
    if (p->sealed) {
        nb_params_refuse(p, NB_ERR_ARGUMENT,
                         "params: \"%.99s\" %s comes too late: the parameters are in use", name,
                         nb_shape_text(is, shape));
        return false;
    }
    const int32_t i = find(l, name);
    if (i >= 0)
        nb_params_refuse(p, NB_ERR_ARGUMENT,
                         "params: the name \"%.99s\" is taken\n    it is there with the shape %s, "
                         "and was to be added with the shape %s",
                         name, nb_shape_text(was, l->entry[i].shape), nb_shape_text(is, shape));
    return i < 0;
}

/* Room for an entry and its elements, with the name copied; the entry, which does not count yet. */
static nbi_entry *prepare(nb_params *p, nbi_entries *l, const char *name, nb_shape shape,
                          size_t width)
{
    const int64_t size = nb_shape_size(shape);
    if (!room_for_data(p, l, size, width) ||
        !room_for_one(p, (void **)&l->entry, l->count, &l->room, sizeof *l->entry))
        return NULL;
    nbi_entry *e = &l->entry[l->count];
    *e = (nbi_entry){.name = copy_text(p, name), .shape = shape, .size = size, .offset = l->size};
    return e->name ? e : NULL;
}

static int32_t count_in(nbi_entries *l, const nbi_entry *e)
{
    l->size += e->size;
    return l->count++;
}

/* The default fans are those of one part. */
static bool set_parts(nb_params *p, nbi_entry *e, const nb_param_options *o)
{
    char text[NB_SHAPE_TEXT];
    nb_shape part = e->shape;
    e->parts = o->parts ? o->parts : 1;
    const int last = part.rank - 1;
    if (e->parts < 1 || (e->parts > 1 && (last < 0 || part.dims[last] % e->parts))) {
        nb_params_refuse(p, NB_ERR_ARGUMENT, "params: \"%.99s\" %s has no %lld equal parts",
                         e->name, nb_shape_text(text, e->shape), (long long)e->parts);
        return false;
    }
    if (last >= 0)
        part.dims[last] /= e->parts;
    e->fans = o->fans.in > 0 && o->fans.out > 0 ? o->fans : nb_fans_of(part);
    e->frozen = o->frozen;
    return true;
}

static bool may_draw(nb_params *p, const char *name, nb_init init, const nb_rng *r)
{
    if ((unsigned)init.rule >= NB_INIT_COUNT)
        nb_params_refuse(p, NB_ERR_ARGUMENT, "params: \"%.99s\": %d is no rule for initial values",
                         name, (int)init.rule);
    else if (nbi_draws(init.rule) && !r)
        nb_params_refuse(p, NB_ERR_ARGUMENT,
                         "params: \"%.99s\": %s needs a random number generator", name,
                         nb_init_name(init.rule));
    return p->code == NB_OK;
}

static bool draw(nb_params *p, const nbi_entry *e, nb_init init, nb_rng *r)
{
    void *out = nbi_element_place(p->params.data, p->dtype, e->offset);
    const nb_code code = nbi_draw(p, e, init, r, out);
    if (code != NB_OK)
        nb_params_refuse(p, code, "params: \"%.99s\": %s", e->name, nb_code_text(code));
    return code == NB_OK;
}

nb_param nb_params_add(nb_params *p, const char *name, nb_shape shape,
                       const nb_param_options *options, nb_rng *r)
{
    const nb_param_options none = {.parts = 0}, *o = options ? options : &none;
    if (!p || !may_add(p, &p->params, name, shape) || !may_draw(p, name, o->init, r) ||
        (!p->groups && nb_params_group(p, "") < 0))
        return NB_NO_PARAM;
    nbi_entry *e = prepare(p, &p->params, name, shape, nbi_width(p->dtype));
    if (!e)
        return NB_NO_PARAM;
    e->group = p->group_now;
    if (set_parts(p, e, o) && draw(p, e, o->init, r))
        return count_in(&p->params, e);
    drop_text(p, e->name);
    return NB_NO_PARAM;
}

nb_code nb_params_draw(nb_params *p, nb_param i, nb_init init, nb_rng *r)
{
    const nbi_entry *e = nbi_entry_at(p, "draw", i);
    if (e && may_draw(p, e->name, init, r))
        draw(p, e, init, r);
    return nb_params_status(p);
}

int32_t nb_params_add_statistic(nb_params *p, const char *name, int64_t n, double value)
{
    const nb_shape shape = {1, {n}};
    if (!p || !may_add(p, &p->statistics, name, shape))
        return NB_NO_PARAM;
    nbi_entry *e = prepare(p, &p->statistics, name, shape, sizeof(double));
    if (!e)
        return NB_NO_PARAM;
    for (int64_t i = 0; i < n; i++)
        ((double *)p->statistics.data)[e->offset + i] = value;
    return count_in(&p->statistics, e);
}

int32_t nb_params_group(nb_params *p, const char *name)
{
    if (!p || p->code != NB_OK)
        return NB_NO_PARAM;
    if (!name)
        return nb_params_refuse(p, NB_ERR_ARGUMENT, "params: a group needs a name"), NB_NO_PARAM;
    for (int32_t g = 0; g < p->groups; g++)
        if (!strcmp(p->group[g], name))
            return p->group_now = g;
    if (!p->groups && *name && nb_params_group(p, "") < 0)
        return NB_NO_PARAM;
    if (!room_for_one(p, (void **)&p->group, p->groups, &p->group_room, sizeof *p->group) ||
        !(p->group[p->groups] = copy_text(p, name)))
        return NB_NO_PARAM;
    return p->group_now = p->groups++;
}

nb_param nb_params_find(const nb_params *p, const char *name)
{
    return p ? find(&p->params, name) : NB_NO_PARAM;
}

/* ---- sealing --------------------------------------------------------------------------------- */

static void *zeros(nb_params *p, size_t count, size_t width)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, width, &bytes)) {
        nb_params_refuse(p, NB_ERR_OVERFLOW, "params: the size of an array overflows");
        return NULL;
    }
    void *q = bytes ? resize(p, NULL, 0, bytes) : NULL;
    return q ? memset(q, 0, bytes) : NULL;
}

bool nbi_seal(nb_params *p)
{
    if (p->sealed || !p->params.count)
        return p->sealed = true;
    const size_t width = nbi_width(p->dtype), count = (size_t)p->params.count;
    nb_var *var = zeros(p, count, sizeof *var), *still = zeros(p, count, sizeof *still);
    void *grads = zeros(p, (size_t)p->params.size, width);
    p->sealed = var && still && grads;
    if (!p->sealed) {
        drop(p, var, count * sizeof *var);
        drop(p, still, count * sizeof *still);
        drop(p, grads, (size_t)p->params.size * width);
        return false;
    }
    p->var = var, p->still = still, p->grads = grads;
    return true;
}

void *nb_params_values(nb_params *p) { return p ? p->params.data : NULL; }

double *nb_params_statistics(nb_params *p) { return p ? p->statistics.data : NULL; }

void *nb_params_grads(nb_params *p) { return p && nbi_seal(p) ? p->grads : NULL; }

void *nb_params_state(nb_params *p, size_t arrays)
{
    if (!p || !nbi_seal(p) || arrays == p->states)
        return p ? p->state : NULL;
    const size_t bytes = (size_t)p->params.size * nbi_width(p->dtype);
    void *q = zeros(p, arrays, bytes);
    if (!q && arrays && bytes)
        return NULL;
    drop(p, p->state, bytes * p->states);
    p->state = q;
    p->states = arrays;
    return q;
}
