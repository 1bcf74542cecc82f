/*
 * Files in memory: putting together, looking up, and copying out.
 *
 * nb_file_restore goes over the list twice. The first time it only compares; the second time nothing
 * can fail any more. So a caller's buffers are all filled or all untouched.
 */
#include "data/file.h"

#include "base/atomic.h"
#include "base/reason.h"
#include "base/shape.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors go to files as they stand in memory, which must be little-endian"
#endif

nb_file *nb_file_new(const nb_allocator *allocator)
{
    nbi_heap heap;
    nbi_heap_init(&heap, allocator, 0);
    nb_file *f = nbi_resize(&heap, NULL, 0, sizeof *f);
    if (!f)
        return NULL;
    *f = (nb_file){.heap = heap};
    nbi_arena_init(&f->store, &f->heap, 1024);
    nbi_names_init(&f->names, &f->heap);
    nbi_names_init(&f->keys, &f->heap);
    return f;
}

void nb_file_free(nb_file *f)
{
    if (!f)
        return;
    nbi_names_free(&f->names);
    nbi_names_free(&f->keys);
    nbi_arena_free(&f->store);
    nbi_resize(&f->heap, f->entry, f->room * sizeof *f->entry, 0);
    nbi_resize(&f->heap, f->text, f->text_room * sizeof *f->text, 0);
    nbi_heap heap = f->heap;
    nbi_resize(&heap, f, sizeof *f, 0);
}

nb_code nbi_file_load_by(nbi_loader *load, const char *path, const nb_allocator *allocator,
                         nb_file **f, nb_reason *why)
{
    if (!f)
        return nbi_because(why, NB_ERR_ARGUMENT, "load: nowhere to put the file");
    *f = nb_file_new(allocator);
    if (!*f)
        return nbi_because(why, NB_ERR_MEMORY, "load: no memory for a file");
    nbi_input in;
    nb_code code = nbi_input_open(&in, &(*f)->heap, path, why);
    if (!code)
        code = load(*f, &in, why);
    nbi_input_close(&in);
    if (code) {
        nb_file_free(*f);
        *f = NULL;
    }
    return code;
}

bool nbi_tensor_bytes(nb_type type, nb_shape shape, size_t *bytes)
{
    const int64_t n = shape.rank < 0 ? -1 : nb_shape_size(shape);
    return n >= 0 && nb_type_size(type) &&
           !__builtin_mul_overflow((uint64_t)n, nb_type_size(type), bytes) && *bytes <= PTRDIFF_MAX;
}

bool nbi_is_utf8(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + size;
    while (p < end) {
        const uint32_t lead = *p;
        const int more = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead == 0 || (lead >= 0x80 && lead < 0xc2) || lead >= 0xf5 || end - p <= more)
            return false;
        uint32_t code = more ? lead & (0x3fu >> more) : lead;
        for (int i = 1; i <= more; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return false;
            code = code << 6 | (p[i] & 0x3f);
        }
        static const uint32_t least[] = {1, 0x80, 0x800, 0x10000};
        if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
            return false;
        p += more + 1;
    }
    return true;
}

/* Room for one more element. */
static bool extend(nbi_heap *heap, void **array, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return true;
    const size_t more = *room ? 2 * *room : 8;
    void *p = nbi_resize(heap, *array, *room * size, more * size);
    if (!p)
        return false;
    *array = p;
    *room = more;
    return true;
}

static nb_code no_memory(nb_reason *why)
{
    return nbi_because(why, NB_ERR_MEMORY, "file: no memory for its entries");
}

nb_code nbi_file_add(nb_file *f, const char *name, size_t size, const nb_file_entry *entry,
                     nb_reason *why)
{
    const size_t count = f->names.count;
    void *array = f->entry;
    if (!extend(&f->heap, &array, count, &f->room, sizeof *f->entry))
        return no_memory(why);
    f->entry = array;
    const int64_t i = nbi_names_add(&f->names, name, size);
    if (i < 0)
        return no_memory(why);
    if ((size_t)i < count)
        return nbi_because(why, NB_ERR_ARGUMENT, "tensor \"%.80s\" is there twice",
                           f->names.name[i]);
    f->entry[i] = *entry;
    f->entry[i].name = f->names.name[i];
    return NB_OK;
}

static const char *keep_text(nb_file *f, const char *text, size_t size)
{
    char *copy = nbi_take(&f->store, size + 1, 1);
    if (copy) {
        memcpy(copy, text, size);
        copy[size] = 0;
    }
    return copy;
}

nb_code nbi_file_add_text(nb_file *f, const char *key, size_t key_size, const char *text,
                          size_t size, nb_reason *why)
{
    const size_t count = f->keys.count;
    void *array = (void *)f->text;
    const char *copy = keep_text(f, text, size);
    if (!copy || !extend(&f->heap, &array, count, &f->text_room, sizeof *f->text))
        return no_memory(why);
    f->text = array;
    const int64_t i = nbi_names_add(&f->keys, key, key_size);
    if (i < 0)
        return no_memory(why);
    if ((size_t)i < count)
        return nbi_because(why, NB_ERR_ARGUMENT, "text \"%.80s\" is there twice", f->keys.name[i]);
    f->text[i] = copy;
    return NB_OK;
}

nb_code nbi_file_give_room(nb_file *f, nb_reason *why)
{
    size_t whole = 0, bytes = 0;
    bool fits = true;
    for (size_t i = 0; i < f->names.count && fits; i++)
        fits =
            nbi_tensor_bytes(f->entry[i].type, f->entry[i].shape, &bytes) &&
            !__builtin_add_overflow(whole, (bytes + NBI_ALIGN - 1) / NBI_ALIGN * NBI_ALIGN, &whole);
    char *p = fits ? nbi_take(&f->store, whole + 1, NBI_ALIGN) : NULL;
    if (!p)
        return nbi_because(why, NB_ERR_MEMORY, "no memory for its tensors");
    for (size_t i = 0; i < f->names.count; i++) {
        nbi_tensor_bytes(f->entry[i].type, f->entry[i].shape, &bytes);
        f->entry[i].data = p;
        p += (bytes + NBI_ALIGN - 1) / NBI_ALIGN * NBI_ALIGN;
    }
    return NB_OK;
}

/* ---- putting --------------------------------------------------------------------------------- */

static nb_code check(const nb_file_entry *e, size_t *bytes, nb_reason *why)
{
    if (!e || !e->name || !*e->name || !nbi_is_utf8(e->name, strlen(e->name)))
        return nbi_because(why, NB_ERR_ARGUMENT, "put: a tensor without a name, or not in UTF-8");
    if (!nb_type_size(e->type))
        return nbi_because(why, NB_ERR_ARGUMENT, "put \"%.80s\": no such element type", e->name);
    if (!nbi_tensor_bytes(e->type, e->shape, bytes))
        return nbi_because(why, NB_ERR_SHAPE, "put \"%.80s\": not a shape, or its size overflows",
                           e->name);
    if (*bytes && !e->data)
        return nbi_because(why, NB_ERR_ARGUMENT, "put \"%.80s\": no data", e->name);
    return NB_OK;
}

static nb_code stick(nb_file *f, nb_code code, const nb_reason *why)
{
    if (code && !f->code) {
        f->code = code;
        f->why = *why;
    }
    return code;
}

static nb_code put(nb_file *f, const nb_file_entry *entry, bool copy)
{
    size_t bytes = 0;
    nb_reason why;
    if (!f)
        return NB_ERR_MEMORY;
    nb_code code = check(entry, &bytes, &why);
    if (code)
        return stick(f, code, &why);
    nb_file_entry e = *entry;
    if (copy && bytes) {
        e.data = nbi_take(&f->store, bytes, NBI_ALIGN);
        if (!e.data)
            return stick(f, no_memory(&why), &why);
        memcpy(e.data, entry->data, bytes);
    }
    return stick(f, nbi_file_add(f, e.name, strlen(e.name), &e, &why), &why);
}

nb_code nb_file_put(nb_file *f, const nb_file_entry *entry) { return put(f, entry, false); }

nb_code nb_file_put_copy(nb_file *f, const nb_file_entry *entry) { return put(f, entry, true); }

nb_code nb_file_put_text(nb_file *f, const char *key, const char *value)
{
    nb_reason why;
    if (!f)
        return NB_ERR_MEMORY;
    if (!key || !value || !nbi_is_utf8(key, strlen(key)) || !nbi_is_utf8(value, strlen(value)))
        return stick(
            f, nbi_because(&why, NB_ERR_ARGUMENT, "put a text: no key or value, or not UTF-8"),
            &why);
    const int64_t i = nbi_names_find(&f->keys, key, strlen(key));
    if (i < 0)
        return stick(f, nbi_file_add_text(f, key, strlen(key), value, strlen(value), &why), &why);
    const char *text = keep_text(f, value, strlen(value));
    if (!text)
        return stick(f, no_memory(&why), &why);
    f->text[i] = text;
    return NB_OK;
}

/* ---- looking --------------------------------------------------------------------------------- */

size_t nb_file_count(const nb_file *f) { return f ? f->names.count : 0; }

const nb_file_entry *nb_file_at(const nb_file *f, size_t i)
{
    return i < nb_file_count(f) ? &f->entry[i] : NULL;
}

const nb_file_entry *nb_file_find(const nb_file *f, const char *name)
{
    const int64_t i = f && name ? nbi_names_find(&f->names, name, strlen(name)) : -1;
    return i < 0 ? NULL : &f->entry[i];
}

const char *nb_file_text(const nb_file *f, const char *key)
{
    const int64_t i = f && key ? nbi_names_find(&f->keys, key, strlen(key)) : -1;
    return i < 0 ? NULL : f->text[i];
}

const char *nb_file_text_at(const nb_file *f, size_t i, const char **value)
{
    if (!f || i >= f->keys.count)
        return NULL;
    if (value)
        *value = f->text[i];
    return f->keys.name[i];
}

static nb_code compare(const nb_file *f, const nb_file_entry *e, nb_reason *why)
{
    char found[NBI_SHAPE_TEXT], wanted[NBI_SHAPE_TEXT];
    const nb_file_entry *have = nb_file_find(f, e->name);
    if (!have)
        return nbi_because(why, NB_ERR_FORMAT, "restore: the file has no tensor \"%.80s\"",
                           e->name ? e->name : "");
    if (have->type != e->type)
        return nbi_because(why, NB_ERR_FORMAT, "restore \"%.80s\": the file has %s, expected %s",
                           e->name, nb_type_name(have->type), nb_type_name(e->type));
    if (!nb_shape_equal(have->shape, e->shape))
        return nbi_because(why, NB_ERR_SHAPE,
                           "restore \"%.80s\": the file has shape %.60s, expected %.60s", e->name,
                           nbi_shape_text(found, have->shape.rank, have->shape.dims),
                           nbi_shape_text(wanted, e->shape.rank, e->shape.dims));
    if (!e->data && nb_shape_size(e->shape))
        return nbi_because(why, NB_ERR_ARGUMENT, "restore \"%.80s\": nowhere to put it", e->name);
    return NB_OK;
}

/* The first tensor of the file that is not asked for. */
static nb_code find_extra(const nb_file *f, size_t n, const nb_file_entry *entry, nb_reason *why)
{
    for (size_t i = 0; i < f->names.count; i++) {
        size_t k = 0;
        while (k < n && strcmp(entry[k].name, f->names.name[i]))
            k++;
        if (k == n)
            return nbi_because(why, NB_ERR_FORMAT,
                               "restore: the file has a tensor \"%.80s\", which was not expected",
                               f->names.name[i]);
    }
    return NB_OK;
}

nb_code nb_file_restore(const nb_file *f, size_t n, const nb_file_entry *entry, bool exact,
                        nb_reason *why)
{
    if (!f || (n && !entry))
        return nbi_because(why, NB_ERR_ARGUMENT, "restore: no file or no list");
    nb_code code = NB_OK;
    for (size_t k = 0; k < n && !code; k++)
        code = compare(f, &entry[k], why);
    if (!code && exact)
        code = find_extra(f, n, entry, why);
    for (size_t k = 0; k < n && !code; k++) {
        const nb_file_entry *have = nb_file_find(f, entry[k].name);
        size_t bytes;
        if (nbi_tensor_bytes(have->type, have->shape, &bytes) && bytes)
            memcpy(entry[k].data, have->data, bytes);
    }
    return code;
}

nb_code nb_file_write(const char *path, size_t n, const nb_piece *pieces, nb_reason *why)
{
    return nbi_write_atomic(&nbi_real_disk, path, n, pieces, why);
}
