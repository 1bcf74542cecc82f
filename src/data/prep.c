/*
 * Preprocessing: applying maps, and keeping them in files.
 *
 * Rows go through all maps in double, whatever the data's type, between two rows of work memory, and are
 * rounded once at the end. A row's result depends on that row alone: whole sets, batches and streams give
 * the same bits.
 */
#include "data/prep.h"

#include "base/reason.h"
#include "base/shape.h"
#include "data/file.h"
#include "kernels/spectral.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {[NB_PREP_ONE_HOT] = "one-hot",
                                    [NB_PREP_CENTRE] = "centre",
                                    [NB_PREP_STANDARDISE] = "standardise",
                                    [NB_PREP_MIN_MAX] = "min-max",
                                    [NB_PREP_WHITEN] = "whiten"};
enum { KINDS = NB_PREP_WHITEN + 1 };

static nb_code no_memory(nb_reason *why)
{
    return nbi_because(why, NB_ERR_MEMORY, "prep: no memory");
}

/* ---- making ---------------------------------------------------------------------------------- */

nb_code nbi_prep_new(size_t room, int64_t columns, const nb_allocator *allocator, nb_prep **out,
                     nb_reason *why)
{
    nbi_heap heap;
    nbi_heap_init(&heap, allocator, 0);
    nb_prep *p = *out = nbi_resize(&heap, NULL, 0, sizeof *p);
    if (!p)
        return no_memory(why);
    *p = (nb_prep){.heap = heap, .allocator = heap.allocator, .room = room, .columns = columns};
    p->widest = columns;
    nbi_arena_init(&p->store, &p->heap, 1024);
    p->map = nbi_take(&p->store, (room + 1) * sizeof *p->map, NBI_ALIGN);
    if (p->map)
        return NB_OK;
    nb_prep_free(p);
    *out = NULL;
    return no_memory(why);
}

void nb_prep_free(nb_prep *p)
{
    if (!p)
        return;
    nbi_arena_free(&p->store);
    nbi_heap heap = p->heap;
    nbi_resize(&heap, p, sizeof *p, 0);
}

int64_t nb_prep_columns(const nb_prep *p)
{
    return !p ? 0 : p->count ? p->map[p->count - 1].out : p->columns;
}

static void *numbers(nb_prep *p, int64_t rows, int64_t columns)
{
    int64_t n;
    if (__builtin_mul_overflow(rows, columns, &n) || n > PTRDIFF_MAX / 16)
        return NULL;
    return nbi_take(&p->store, (size_t)n * sizeof(double) + 1, NBI_ALIGN);
}

nb_code nbi_prep_add(nb_prep *p, nb_prep_kind kind, int64_t in, int64_t out, const int64_t *levels,
                     nb_reason *why)
{
    nbi_map m = {.kind = kind, .in = in, .out = in};
    bool good;
    if (kind == NB_PREP_ONE_HOT) {
        good = (m.levels = numbers(p, in, 1)) != NULL;
        m.out = 0;
        for (int64_t j = 0; good && j < in; j++) {
            m.levels[j] = levels ? levels[j] : 0;
            if (m.levels[j] < 0 || m.levels[j] > INT32_MAX)
                return nbi_because(why, NB_ERR_ARGUMENT, "prep: a column of %lld levels",
                                   (long long)m.levels[j]);
            m.out += m.levels[j] ? m.levels[j] : 1;
        }
    } else {
        m.out = kind == NB_PREP_WHITEN ? out : in;
        good = (m.shift = numbers(p, in, 1)) != NULL;
        if (kind == NB_PREP_WHITEN)
            good = good && (m.matrix = numbers(p, in, out)) != NULL;
        else
            good = good && (m.scale = numbers(p, in, 1)) != NULL;
    }
    if (!good)
        return no_memory(why);
    p->widest = m.out > p->widest ? m.out : p->widest;
    p->map[p->count++] = m;
    return NB_OK;
}

/* ---- applying -------------------------------------------------------------------------------- */

/* Spreads codes out. Returns the first column whose code is none of its levels, or -1. */
static int64_t spread(const nbi_map *m, const double *x, double *y)
{
    for (int64_t j = 0; j < m->in; j++) {
        const int64_t levels = m->levels[j];
        if (!levels) {
            *y++ = x[j];
            continue;
        }
        if (!(x[j] >= 0 && x[j] < (double)levels && x[j] == floor(x[j])))
            return j;
        for (int64_t k = 0; k < levels; k++)
            *y++ = (double)(k == (int64_t)x[j]);
    }
    return -1;
}

/* x becomes y; x is spoilt. */
static int64_t apply(const nbi_map *m, double *x, double *y)
{
    if (m->kind == NB_PREP_ONE_HOT)
        return spread(m, x, y);
    if (m->kind == NB_PREP_WHITEN) {
        nbi_add_scaled(m->in, -1, m->shift, x);
        for (int64_t k = 0; k < m->out; k++)
            y[k] = nbi_inner(m->in, m->matrix + k * m->in, x);
    } else {
        for (int64_t j = 0; j < m->in; j++)
            y[j] = (x[j] - m->shift[j]) * m->scale[j];
    }
    return -1;
}

const double *nbi_prep_row(const nb_prep *p, size_t maps, const nb_dataset *d, int64_t i,
                           double *work, nb_reason *why)
{
    double *x = work, *y = work + p->widest;
    for (int64_t j = 0; j < d->columns; j++)
        x[j] = nbi_element_at(d->dtype, d->x, i * d->columns + j);
    for (size_t k = 0; k < maps; k++) {
        const int64_t j = apply(&p->map[k], x, y);
        if (j >= 0) {
            nbi_because(why, NB_ERR_INDEX,
                        "prep: code %g in row %lld, column %lld, which has %lld levels", x[j],
                        (long long)(i + 1), (long long)(j + 1), (long long)p->map[k].levels[j]);
            return NULL;
        }
        double *swapped = x;
        x = y;
        y = swapped;
    }
    return x;
}

nb_code nbi_prep_rows(const nb_prep *p, const nb_dataset *d, nbi_table *t, double *work,
                      nb_reason *why)
{
    const int64_t columns = t->d.columns;
    for (int64_t i = 0; i < d->rows; i++) {
        const int64_t row = t->d.rows;
        const double *x = nbi_prep_row(p, p->count, d, i, work, why);
        if (!x)
            return NB_ERR_INDEX;
        for (int64_t j = 0; j < columns; j++)
            nbi_set_element(t->d.dtype, t->x, row * columns + j, x[j]);
        for (int64_t j = 0; j < d->targets; j++)
            nbi_set_element(t->d.dtype, t->y, row * d->targets + j,
                            nbi_element_at(d->dtype, d->y, i * d->targets + j));
        if (t->has_label)
            t->label[row] = d->label[i];
        t->d.rows++;
    }
    return NB_OK;
}

nb_code nbi_prep_table(const nb_prep *p, const nb_dataset *d, int64_t rows, nbi_table **out,
                       nb_reason *why)
{
    nb_dataset like = *d;
    if (d->columns != p->columns)
        return nbi_because(why, NB_ERR_SHAPE,
                           "prep: the data have %lld columns, those that it was fitted to had %lld",
                           (long long)d->columns, (long long)p->columns);
    for (size_t k = 0; k < p->count; k++) {
        like.levels = NULL;
        if (p->map[k].kind == NB_PREP_ONE_HOT || p->map[k].kind == NB_PREP_WHITEN)
            like.shape = NB_POINT;
    }
    like.columns = nb_prep_columns(p);
    return nbi_table_new(&like, d->label != NULL, rows, d->allocator, out, why);
}

nb_code nb_prep_apply(const nb_prep *p, const nb_dataset *d, nb_dataset **out, nb_reason *why)
{
    nbi_table *t = NULL;
    if (!p || !out)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "prep: nothing to apply, or nowhere to put the data");
    *out = NULL;
    nb_code code = nbi_dataset_sane(d, why);
    if (!code)
        code = nbi_prep_table(p, d, d->rows, &t, why);
    if (code)
        return code;
    double *work = nbi_resize(&t->heap, NULL, 0, nbi_prep_work(p) + 1);
    code = work ? nbi_prep_rows(p, d, t, work, why) : no_memory(why);
    nbi_resize(&t->heap, work, work ? nbi_prep_work(p) + 1 : 0, 0);
    if (code)
        nbi_table_free(t);
    else
        *out = &t->d;
    return code;
}

/* ---- in files -------------------------------------------------------------------------------- */

/* The arrays of a map, by name. */
typedef struct part {
    const char *name;
    nb_type type;
    nb_shape shape;
    void *data;
} part;

enum { PARTS = 4, NAME = 240 };

static void list_parts(const nbi_map *m, part to[PARTS])
{
    to[0] = (part){"levels", NB_T_I64, NB_SHAPE(m->in), m->levels};
    to[1] = (part){"shift", NB_T_F64, NB_SHAPE(m->in), m->shift};
    to[2] = (part){"scale", NB_T_F64, NB_SHAPE(m->in), m->scale};
    to[3] = (part){"matrix", NB_T_F64, NB_SHAPE(m->out, m->in), m->matrix};
}

/* "<prefix>prep", or "<prefix>prep.<k>.<name>". */
static nb_code make_name(const char *prefix, int64_t k, const char *name, char to[NAME],
                         nb_reason *why)
{
    const char *before = prefix ? prefix : "";
    const int n = name ? snprintf(to, NAME, "%sprep.%lld.%s", before, (long long)k, name)
                       : snprintf(to, NAME, "%sprep", before);
    return n < NAME ? NB_OK : nbi_because(why, NB_ERR_ARGUMENT, "prep: the prefix is too long");
}

nb_code nb_prep_put(const nb_prep *p, const char *prefix, nb_file *f, nb_reason *why)
{
    char name[NAME], text[1024];
    if (!p || !f)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: no preprocessing or no file");
    int at = snprintf(text, sizeof text, "1 %lld", (long long)p->columns);
    nb_code code = NB_OK;
    for (size_t k = 0; k < p->count && !code; k++) {
        part parts[PARTS];
        list_parts(&p->map[k], parts);
        at += snprintf(text + at, sizeof text - (size_t)at, " %s %lld", names[p->map[k].kind],
                       (long long)p->map[k].out);
        if (at > (int)sizeof text - 64)
            return nbi_because(why, NB_ERR_LIMIT, "prep: too many steps for a file");
        for (int i = 0; i < PARTS && !code; i++) {
            if (!parts[i].data)
                continue;
            code = make_name(prefix, (int64_t)k, parts[i].name, name, why);
            if (!code && nb_file_put_copy(f, &(nb_file_entry){name, parts[i].type, parts[i].shape,
                                                              parts[i].data}))
                code = nbi_because(why, f->code, "prep: %s", f->why.text);
        }
    }
    if (!code)
        code = make_name(prefix, 0, NULL, name, why);
    if (!code && nb_file_put_text(f, name, text))
        code = nbi_because(why, f->code, "prep: %s", f->why.text);
    return code;
}

/* The array of a step, of a shape known before; for what the file does not hold no memory is taken. */
static nb_code find_part(const nb_file *f, const char *prefix, int64_t k, const char *name,
                         nb_type type, nb_shape shape, const nb_file_entry **e, nb_reason *why)
{
    char full[NAME], text[NBI_SHAPE_TEXT];
    nb_code code = make_name(prefix, k, name, full, why);
    if (code)
        return code;
    *e = nb_file_find(f, full);
    if (*e && (*e)->type == type && nb_shape_equal((*e)->shape, shape))
        return NB_OK;
    return nbi_because(why, NB_ERR_FORMAT, "prep: the file has no tensor \"%.100s\", %s %.60s",
                       full, nb_type_name(type), nbi_shape_text(text, shape.rank, shape.dims));
}

static nb_code get_arrays(nb_prep *to, const nb_file *f, const char *prefix, nb_prep_kind kind,
                          int64_t in, int64_t out, nb_reason *why)
{
    const int64_t k = (int64_t)to->count;
    const bool spreads = kind == NB_PREP_ONE_HOT, mixes = kind == NB_PREP_WHITEN;
    const nb_file_entry *found[PARTS] = {NULL};
    part parts[PARTS];
    list_parts(&(nbi_map){.in = in, .out = out}, parts);
    const bool wanted[PARTS] = {spreads, !spreads, !spreads && !mixes, mixes};
    nb_code code = NB_OK;
    for (int i = 0; i < PARTS && !code; i++)
        if (wanted[i])
            code = find_part(f, prefix, k, parts[i].name, parts[i].type, parts[i].shape, &found[i],
                             why);
    if (!code)
        code = nbi_prep_add(to, kind, in, out, spreads ? found[0]->data : NULL, why);
    if (code)
        return code;
    list_parts(&to->map[k], parts);
    if (to->map[k].out != out)
        return nbi_because(why, NB_ERR_FORMAT,
                           "prep: the levels in the file do not give %lld columns", (long long)out);
    for (int i = 0; i < PARTS; i++)
        if (wanted[i])
            memcpy(parts[i].data, found[i]->data, (size_t)nb_shape_size(found[i]->shape) * 8);
    return NB_OK;
}

/* One step from the text at *p, with its arrays from the file. */
static nb_code get_step(nb_prep *to, const nb_file *f, const char *prefix, const char **p,
                        nb_reason *why)
{
    char word[16];
    long long out;
    int used = 0, kind = 0;
    if (sscanf(*p, " %15s %lld%n", word, &out, &used) != 2 || out < 0)
        return nbi_because(why, NB_ERR_FORMAT, "prep: its text in the file is broken");
    *p += used;
    while (kind < KINDS && strcmp(word, names[kind]))
        kind++;
    if (kind == KINDS)
        return nbi_because(why, NB_ERR_FORMAT, "prep: an unknown step \"%s\"", word);
    return get_arrays(to, f, prefix, (nb_prep_kind)kind, nb_prep_columns(to), out, why);
}

nb_code nb_prep_get(const nb_file *f, const char *prefix, const nb_allocator *allocator,
                    nb_prep **out, nb_reason *why)
{
    char name[NAME];
    if (!f || !out)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: no file, or nowhere to put it");
    *out = NULL;
    nb_code code = make_name(prefix, 0, NULL, name, why);
    const char *p = code ? NULL : nb_file_text(f, name);
    if (code || !p)
        return code ? code
                    : nbi_because(why, NB_ERR_FORMAT, "prep: the file has no \"%.120s\"", name);
    long long columns;
    int used = 0;
    if (sscanf(p, "1 %lld%n", &columns, &used) != 1 || columns < 1 || columns > INT32_MAX)
        return nbi_because(why, NB_ERR_FORMAT, "prep: its text in the file is broken");
    nb_prep *made;
    code = nbi_prep_new(strlen(p) / 4, columns, allocator, &made, why);
    if (code)
        return code;
    for (p += used; *p && !code;)
        code = get_step(made, f, prefix, &p, why);
    if (code)
        nb_prep_free(made);
    else
        *out = made;
    return code;
}
