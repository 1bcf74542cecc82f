/*
 * Safetensors.
 *
 *     8 bytes        N, the header's length, little-endian
 *     N bytes        {"__metadata__": {key: text, ...},
 *                     name: {"dtype": "F32", "shape": [32, 10], "data_offsets": [begin, end]}, ...}
 *     the rest       the tensors, at those offsets, without gaps or overlaps
 *
 * The checksum stands inside of what it sums. It is taken as if its digits were "00000000": a saver
 * writes zeros, sums header and tensors, and puts the digits in; a loader puts zeros in a copy. Thus
 * it covers names, shapes and texts as well as numbers.
 *
 * A loader trusts nothing. Sorted by where they begin, tensors must follow each other from 0 to the
 * file's end, each as long as its shape says: that excludes overlaps, gaps and what lies outside, all
 * at once, and bounds memory by the file's size. Only then is the first tensor read.
 */
#include "data/file.h"

#include "base/reason.h"
#include "base/shape.h"
#include "data/crc.h"
#include "data/input.h"
#include "data/json.h"
#include "data/order.h"
#include "data/text.h"

#include <string.h>

enum { LONGEST = 100000000, DIGITS = 8 };

static const char metadata[] = "__metadata__", format_key[] = "nabla.format", version[] = "1",
                  checksum_key[] = "nabla.checksum", zeros[] = "00000000";

static void print_digits(char *to, uint32_t x)
{
    for (int i = 0; i < DIGITS; i++)
        to[i] = "0123456789abcdef"[x >> (28 - 4 * i) & 15];
}

static bool is_ours(const char *key)
{
    return !strcmp(key, format_key) || !strcmp(key, checksum_key);
}

/* ---- saving ---------------------------------------------------------------------------------- */

static bool wider(const void *context, int64_t i, int64_t j)
{
    const nb_file *f = context;
    const size_t a = nb_type_size(f->entry[i].type), b = nb_type_size(f->entry[j].type);
    return a != b ? a > b : i < j;
}

/* Returns where the digits of the checksum stand. */
static size_t print_texts(const nb_file *f, nbi_text *t)
{
    nbi_text_json(t, metadata);
    nbi_text_add(t, ":{\"%s\":\"%s\",\"%s\":\"", format_key, version, checksum_key);
    const size_t digits = t->size;
    nbi_text_add(t, "%s\"", zeros);
    for (size_t i = 0; i < f->keys.count; i++) {
        if (is_ours(f->keys.name[i]))
            continue;
        nbi_text_bytes(t, ",", 1);
        nbi_text_json(t, f->keys.name[i]);
        nbi_text_bytes(t, ":", 1);
        nbi_text_json(t, f->text[i]);
    }
    nbi_text_bytes(t, "}", 1);
    return digits;
}

static void print_tensor(nbi_text *t, const nb_file_entry *e, size_t begin, size_t end)
{
    nbi_text_bytes(t, ",", 1);
    nbi_text_json(t, e->name);
    nbi_text_add(t, ":{\"dtype\":\"%s\",\"shape\":[", nb_type_name(e->type));
    for (int d = 0; d < e->shape.rank; d++)
        nbi_text_add(t, d ? ",%lld" : "%lld", (long long)e->shape.dims[d]);
    nbi_text_add(t, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                 (unsigned long long)end);
}

/* The whole header into t, its length first; pieces [1 + count], in the order of the file. */
static size_t print_header(const nb_file *f, const int64_t *order, nbi_text *t, nb_piece *pieces)
{
    size_t begin = 0;
    nbi_text_bytes(t, zeros, 8);
    nbi_text_bytes(t, "{", 1);
    const size_t digits = print_texts(f, t);
    for (size_t i = 0; i < f->names.count; i++) {
        const nb_file_entry *e = &f->entry[order[i]];
        size_t bytes = 0;
        nbi_tensor_bytes(e->type, e->shape, &bytes);
        print_tensor(t, e, begin, begin + bytes);
        pieces[1 + i] = (nb_piece){e->data, bytes};
        begin += bytes;
    }
    nbi_text_bytes(t, "}", 1);
    nbi_text_bytes(t, "        ", (8 - t->size % 8) % 8);
    if (!t->failed)
        nbi_put_little((uint8_t *)t->data, t->size - 8, 8);
    return digits;
}

static nb_code save(const nb_file *f, const char *path, int64_t *order, nb_piece *pieces,
                    nbi_text *t, nb_reason *why)
{
    const size_t count = f->names.count;
    for (size_t i = 0; i < count; i++)
        order[i] = (int64_t)i;
    nbi_heapsort((int64_t)count, order, wider, f);
    const size_t digits = print_header(f, order, t, pieces);
    if (t->failed)
        return nbi_because(why, NB_ERR_MEMORY, "%.120s: no memory to save it", path);
    if (t->size - 8 > LONGEST)
        return nbi_because(why, NB_ERR_LIMIT, "%.120s: names and texts exceed %d bytes", path,
                           (int)LONGEST);
    pieces[0] = (nb_piece){t->data, t->size};
    nbi_crc crc;
    nbi_crc_start(&crc);
    for (size_t i = 0; i <= count; i++)
        nbi_crc_add(&crc, pieces[i].data, pieces[i].size);
    print_digits(t->data + digits, nbi_crc_value(&crc));
    return nb_file_write(path, 1 + count, pieces, why);
}

nb_code nb_file_save(const nb_file *f, const char *path, nb_reason *why)
{
    if (!f || !path)
        return nbi_because(why, NB_ERR_ARGUMENT, "save: no file or no path");
    if (f->code)
        return nbi_because(why, f->code, "%s", f->why.text);
    nbi_heap heap = f->heap;
    nbi_text t = nbi_text_on(&heap);
    const size_t count = f->names.count;
    const size_t bytes = (1 + count) * (sizeof(nb_piece) + sizeof(int64_t));
    nb_piece *pieces = nbi_resize(&heap, NULL, 0, bytes);
    nb_code code = pieces ? save(f, path, (int64_t *)(pieces + 1 + count), pieces, &t, why)
                          : nbi_because(why, NB_ERR_MEMORY, "%.120s: no memory to save it", path);
    nbi_resize(&heap, pieces, pieces ? bytes : 0, 0);
    nbi_text_free(&t);
    return code;
}

/* ---- loading: the header --------------------------------------------------------------------- */

typedef struct range {
    int64_t begin, end;
} range;

typedef struct header {
    const char *path;
    nbi_json json;
    char *digits;  /* of the checksum, in the header; NULL: there is none */
    range *ranges; /* [room] one per entry */
    size_t room;
    nb_reason *why;
} header;

static bool take_texts(header *h, nb_file *f, nb_code *code)
{
    nbi_json *j = &h->json;
    nbi_json_text key, text;
    for (bool more = nbi_json_open(j, '{', '}'); more; more = nbi_json_more(j, '}')) {
        if (!nbi_json_string(j, 0, &key) || !nbi_json_take(j, ':') ||
            !nbi_json_string(j, key.size + 1, &text))
            return false;
        if (!strcmp(key.text, checksum_key)) {
            if (text.raw_size != DIGITS || strspn(text.text, "0123456789abcdef") != DIGITS)
                return nbi_json_fail(j, "a checksum that is not eight digits");
            h->digits = (char *)(uintptr_t)text.raw;
        }
        if (!strcmp(key.text, format_key) && strcmp(text.text, version))
            return nbi_json_fail(j, "a version of nabla's format that this library does not know");
        *code = nbi_file_add_text(f, key.text, key.size, text.text, text.size, h->why);
        if (*code)
            return false;
    }
    if (!j->error && !h->digits && nb_file_text(f, format_key))
        return nbi_json_fail(j, "nabla's format, which lacks its checksum");
    return !j->error;
}

static bool take_type(nbi_json *j, size_t offset, nb_type *type)
{
    nbi_json_text s;
    if (!nbi_json_string(j, offset, &s))
        return false;
    for (unsigned k = 0; k < NB_TYPES; k++)
        if (!strcmp(s.text, nb_type_name((nb_type)k))) {
            *type = (nb_type)k;
            return true;
        }
    return nbi_json_fail(j, "an element type that is not supported");
}

static bool take_numbers(nbi_json *j, int most, int *count, int64_t *values)
{
    *count = 0;
    for (bool more = nbi_json_open(j, '[', ']'); more; more = nbi_json_more(j, ']')) {
        if (*count == most)
            return nbi_json_fail(j, "too many numbers in a list");
        if (!nbi_json_number(j, &values[(*count)++]))
            return false;
    }
    return !j->error;
}

/* The object of one tensor, whose name fills the scratch up to offset. */
static bool take_tensor(nbi_json *j, size_t offset, nb_file_entry *e, range *r)
{
    int64_t offsets[2];
    int have_type = 0, have_shape = 0, have_offsets = 0, count = 0;
    nbi_json_text key;
    for (bool more = nbi_json_open(j, '{', '}'); more; more = nbi_json_more(j, '}')) {
        if (!nbi_json_string(j, offset, &key) || !nbi_json_take(j, ':'))
            return false;
        if (!strcmp(key.text, "dtype")) {
            have_type++;
            take_type(j, offset, &e->type);
        } else if (!strcmp(key.text, "shape")) {
            have_shape++;
            take_numbers(j, NB_MAX_RANK, &e->shape.rank, e->shape.dims);
        } else if (!strcmp(key.text, "data_offsets")) {
            have_offsets++;
            take_numbers(j, 2, &count, offsets);
        } else {
            return nbi_json_fail(j, "an unknown property of a tensor");
        }
    }
    if (j->error)
        return false;
    if (have_type != 1 || have_shape != 1 || have_offsets != 1 || count != 2)
        return nbi_json_fail(j, "a tensor needs dtype, shape and two data_offsets, each once");
    *r = (range){offsets[0], offsets[1]};
    return true;
}

static nb_code keep_range(header *h, nb_file *f, size_t i, range r)
{
    if (i == h->room) {
        const size_t room = h->room ? 2 * h->room : 16;
        range *p = nbi_resize(&f->heap, h->ranges, h->room * sizeof r, room * sizeof r);
        if (!p)
            return nbi_because(h->why, NB_ERR_MEMORY, "no memory for its entries");
        h->ranges = p;
        h->room = room;
    }
    h->ranges[i] = r;
    return NB_OK;
}

static nb_code take_members(header *h, nb_file *f)
{
    nbi_json *j = &h->json;
    nb_code code = NB_OK;
    bool texts = false;
    for (bool more = nbi_json_open(j, '{', '}'); more; more = nbi_json_more(j, '}')) {
        nbi_json_text name;
        nb_file_entry e = {.shape = NB_POINT};
        range r = {0, 0};
        if (!nbi_json_string(j, 0, &name) || !nbi_json_take(j, ':'))
            break;
        if (!strcmp(name.text, metadata)) {
            if (texts)
                nbi_json_fail(j, "two objects \"__metadata__\"");
            texts = true;
            if (j->error || !take_texts(h, f, &code))
                break;
            continue;
        }
        if (!take_tensor(j, name.size + 1, &e, &r))
            break;
        code = nbi_file_add(f, name.text, name.size, &e, h->why);
        if (!code)
            code = keep_range(h, f, f->names.count - 1, r);
        if (code)
            break;
    }
    if (!code && !j->error) {
        nbi_json_next(j, 0);
        if (j->at != j->end)
            nbi_json_fail(j, "something follows the header's object");
    }
    return code;
}

static nb_code parse(header *h, nb_file *f)
{
    nb_reason inner, *why = h->why;
    h->why = &inner;
    nb_code code = take_members(h, f);
    h->why = why;
    if (h->json.error)
        return nbi_because(why, NB_ERR_FORMAT, "%.120s: byte %lld of the header: %s", h->path,
                           (long long)(h->json.at - h->json.start), h->json.error);
    if (code)
        return nbi_because(why, code == NB_ERR_MEMORY ? code : NB_ERR_FORMAT, "%.100s: %s", h->path,
                           inner.text);
    return NB_OK;
}

/* ---- loading: the tensors -------------------------------------------------------------------- */

static bool begins_before(const void *context, int64_t i, int64_t j)
{
    const range *r = context;
    if (r[i].begin != r[j].begin)
        return r[i].begin < r[j].begin;
    return r[i].end != r[j].end ? r[i].end < r[j].end : i < j;
}

/* Orders the entries by place, and sees that they tile the file. */
static nb_code check_ranges(const header *h, const nb_file *f, uint64_t whole, int64_t *order)
{
    int64_t at = 0;
    for (size_t i = 0; i < f->names.count; i++)
        order[i] = (int64_t)i;
    nbi_heapsort((int64_t)f->names.count, order, begins_before, h->ranges);
    for (size_t i = 0; i < f->names.count; i++) {
        const nb_file_entry *e = &f->entry[order[i]];
        const range r = h->ranges[order[i]];
        char shape[NBI_SHAPE_TEXT];
        size_t bytes;
        if (!nbi_tensor_bytes(e->type, e->shape, &bytes) || r.end - r.begin != (int64_t)bytes)
            return nbi_because(
                h->why, NB_ERR_FORMAT, "%.80s: tensor \"%.50s\": %s %.50s does not take %lld bytes",
                h->path, e->name, nb_type_name(e->type),
                nbi_shape_text(shape, e->shape.rank, e->shape.dims), (long long)(r.end - r.begin));
        if (r.begin != at)
            return nbi_because(h->why, NB_ERR_FORMAT,
                               "%.80s: tensor \"%.50s\" begins at %lld, but %lld was next: %s",
                               h->path, e->name, (long long)r.begin, (long long)at,
                               r.begin < at ? "tensors overlap" : "there is a gap");
        at = r.end;
    }
    if ((uint64_t)at != whole)
        return nbi_because(h->why, NB_ERR_FORMAT,
                           "%.80s: the tensors take %lld bytes, the file has %llu of them: %s",
                           h->path, (long long)at, (unsigned long long)whole,
                           (uint64_t)at > whole ? "truncated" : "something follows");
    return NB_OK;
}

static nb_code read_tensors(header *h, nb_file *f, nbi_input *in, const int64_t *order)
{
    nbi_crc crc;
    uint8_t length[8];
    const size_t size = (size_t)(h->json.end - h->json.start);
    char found[DIGITS + 1] = "", sum[DIGITS + 1] = "";
    nb_code code = nbi_file_give_room(f, h->why);
    nbi_put_little(length, size, 8);
    if (h->digits) {
        memcpy(found, h->digits, DIGITS);
        memcpy(h->digits, zeros, DIGITS);
    }
    nbi_crc_start(&crc);
    nbi_crc_add(&crc, length, 8);
    nbi_crc_add(&crc, h->json.start, size);
    for (size_t i = 0; i < f->names.count && !code; i++) {
        const range r = h->ranges[order[i]];
        void *data = f->entry[order[i]].data;
        const size_t bytes = (size_t)(r.end - r.begin);
        code = nbi_input_read(in, 8 + size + (uint64_t)r.begin, bytes, data, h->why);
        if (!code && h->digits)
            nbi_crc_add(&crc, data, bytes);
    }
    if (code || !h->digits)
        return code;
    print_digits(sum, nbi_crc_value(&crc));
    if (memcmp(sum, found, DIGITS))
        return nbi_because(
            h->why, NB_ERR_FORMAT,
            "%.120s: its checksum is %s, but it sums to %s: it was damaged or changed", h->path,
            found, sum);
    return NB_OK;
}

/* room: 2 size bytes for header and scratch. */
static nb_code load(nb_file *f, nbi_input *in, size_t size, char *room, nb_reason *why)
{
    header h = {.path = in->path, .why = why};
    h.json = (nbi_json){room, room, room + size, room + size, NULL};
    nb_code code = nbi_input_read(in, 8, size, room, why);
    if (!code)
        code = parse(&h, f);
    const size_t count = f->names.count, bytes = (count + 1) * sizeof(int64_t);
    int64_t *order = code ? NULL : nbi_resize(&f->heap, NULL, 0, bytes);
    if (!code && !order)
        code = nbi_because(why, NB_ERR_MEMORY, "%.120s: no memory to load it", in->path);
    if (!code)
        code = check_ranges(&h, f, in->size - 8 - size, order);
    if (!code)
        code = read_tensors(&h, f, in, order);
    nbi_resize(&f->heap, order, order ? bytes : 0, 0);
    nbi_resize(&f->heap, h.ranges, h.room * sizeof *h.ranges, 0);
    return code;
}

static nb_code load_from(nb_file *f, nbi_input *in, nb_reason *why)
{
    uint8_t length[8];
    nb_code code = nbi_input_read(in, 0, 8, length, why);
    if (code)
        return code;
    const uint64_t size = nbi_little(length, 8);
    if (size > in->size - 8 || size > LONGEST)
        return nbi_because(
            why, NB_ERR_FORMAT,
            "%.100s: not safetensors, or truncated: a header of %llu bytes is said to "
            "follow, the file has %llu",
            in->path, (unsigned long long)size, (unsigned long long)in->size);
    char *room = nbi_resize(&f->heap, NULL, 0, 2 * (size_t)size + 1);
    if (!room)
        return nbi_because(why, NB_ERR_MEMORY, "%.120s: no memory to load it", in->path);
    code = load(f, in, (size_t)size, room, why);
    nbi_resize(&f->heap, room, 2 * (size_t)size + 1, 0);
    return code;
}

nb_code nb_file_load(const char *path, const nb_allocator *allocator, nb_file **f, nb_reason *why)
{
    return nbi_file_load_by(load_from, path, allocator, f, why);
}
