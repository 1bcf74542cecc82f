/*
 * NumPy's npz: a zip archive with an npy file for each array.
 *
 *     for each member    local header (30 bytes), name, [extra], contents
 *     the directory      for each member a central header (46 bytes), name, [extra], [comment]
 *     the end            22 bytes: how many members, where the directory begins, how long it is
 *
 * Contents are stored as they are, so an array in an archive can be read in place. The directory is what
 * counts; of a local header only the lengths matter that lie between it and the contents. NumPy writes
 * sizes in 64 bits into an extra field (zip64) beside ordinary 32-bit ones in the directory.
 *
 * Hostile archives: every offset is checked against the file's size, the directory is walked within its
 * bounds, and members may not overlap: all contents together are no longer than the file. So memory is
 * bounded by that.
 */
#include "data/file.h"

#include "base/reason.h"
#include "data/crc.h"
#include "data/npy.h"

#include <string.h>

enum {
    LOCAL = 30,
    CENTRAL = 46,
    END = 22,
    COMMENT = 65535,  /* the longest that may follow the end */
    LONGEST = 1 << 26 /* of a directory */
};

static const uint32_t local_mark = 0x04034b50, central_mark = 0x02014b50, end_mark = 0x06054b50;

/* ---- saving ---------------------------------------------------------------------------------- */

/* One member's headers share a tail: version needed to time and date, then sum, sizes, name length. */
static uint8_t *put_tail(uint8_t *p, uint32_t crc, uint64_t size, size_t name)
{
    p = nbi_put_little(p, 20, 2);     /* version 2.0 can read it */
    p = nbi_put_little(p, 0x0800, 2); /* the name is UTF-8 */
    p = nbi_put_little(p, 0, 2);      /* stored */
    p = nbi_put_little(p, 0, 2);      /* midnight, */
    p = nbi_put_little(p, 0x21, 2);   /* 1980-01-01: the same arrays give the same file */
    p = nbi_put_little(p, crc, 4);
    p = nbi_put_little(p, size, 4);
    p = nbi_put_little(p, size, 4);
    return nbi_put_little(p, name, 2);
}

typedef struct member {
    uint8_t head[LOCAL], central[CENTRAL];
    char npy[NBI_NPY_HEADER];
    uint64_t offset, size;
} member;

static const char extension[] = ".npy";

static nb_code describe(member *m, const nb_file_entry *e, uint64_t offset, nb_reason *why)
{
    nbi_crc crc;
    size_t bytes = 0;
    const size_t n = nbi_npy_header(e, m->npy), name = strlen(e->name) + strlen(extension);
    if (!n)
        return nbi_because(why, NB_ERR_ARGUMENT, "save npz \"%.80s\": NumPy has no type %s",
                           e->name, nb_type_name(e->type));
    nbi_tensor_bytes(e->type, e->shape, &bytes);
    m->offset = offset;
    m->size = n + bytes;
    if (name > UINT16_MAX || offset + LOCAL + name + m->size > UINT32_MAX / 2)
        return nbi_because(why, NB_ERR_LIMIT,
                           "save npz \"%.80s\": its name or the archive is too long", e->name);
    nbi_crc_start(&crc);
    nbi_crc_add(&crc, m->npy, n);
    nbi_crc_add(&crc, e->data, bytes);
    const uint32_t sum = nbi_crc_value(&crc);
    uint8_t *p = put_tail(nbi_put_little(m->head, local_mark, 4), sum, m->size, name);
    nbi_put_little(p, 0, 2);
    p = nbi_put_little(nbi_put_little(m->central, central_mark, 4), 20, 2);
    p = put_tail(p, sum, m->size, name);
    for (int i = 0; i < 12; i++) /* extra, comment, disk, attributes: none */
        *p++ = 0;
    nbi_put_little(p, offset, 4);
    return NB_OK;
}

static nb_code save(const nb_file *f, const char *path, member *m, nb_piece *piece, nb_reason *why)
{
    const size_t count = f->names.count;
    uint64_t at = 0;
    size_t k = 0;
    for (size_t i = 0; i < count; i++) {
        const nb_file_entry *e = &f->entry[i];
        size_t bytes = 0;
        nb_code code = describe(&m[i], e, at, why);
        if (code)
            return code;
        nbi_tensor_bytes(e->type, e->shape, &bytes);
        piece[k++] = (nb_piece){m[i].head, LOCAL};
        piece[k++] = (nb_piece){e->name, strlen(e->name)};
        piece[k++] = (nb_piece){extension, strlen(extension)};
        piece[k++] = (nb_piece){m[i].npy, m[i].size - bytes};
        piece[k++] = (nb_piece){e->data, bytes};
        at += LOCAL + strlen(e->name) + strlen(extension) + m[i].size;
    }
    const uint64_t directory = at;
    for (size_t i = 0; i < count; i++) {
        piece[k++] = (nb_piece){m[i].central, CENTRAL};
        piece[k++] = (nb_piece){f->entry[i].name, strlen(f->entry[i].name)};
        piece[k++] = (nb_piece){extension, strlen(extension)};
        at += CENTRAL + strlen(f->entry[i].name) + strlen(extension);
    }
    if (count >= UINT16_MAX || at > UINT32_MAX / 2)
        return nbi_because(why, NB_ERR_LIMIT, "%.120s: too many or too long arrays for npz", path);
    uint8_t end[END] = {0}, *p = nbi_put_little(nbi_put_little(end, end_mark, 4), 0, 4);
    p = nbi_put_little(nbi_put_little(p, count, 2), count, 2);
    nbi_put_little(nbi_put_little(p, at - directory, 4), directory, 4);
    piece[k++] = (nb_piece){end, END};
    return nb_file_write(path, k, piece, why);
}

nb_code nb_npz_save(const nb_file *f, const char *path, nb_reason *why)
{
    if (!f || !path)
        return nbi_because(why, NB_ERR_ARGUMENT, "save npz: no file or no path");
    if (f->code)
        return nbi_because(why, f->code, "%s", f->why.text);
    nbi_heap heap = f->heap;
    const size_t count = f->names.count, pieces = 8 * count + 1;
    const size_t bytes = count * sizeof(member) + pieces * sizeof(nb_piece);
    nb_piece *piece = nbi_resize(&heap, NULL, 0, bytes);
    nb_code code = piece ? save(f, path, (member *)(piece + pieces), piece, why)
                         : nbi_because(why, NB_ERR_MEMORY, "%.120s: no memory to save it", path);
    nbi_resize(&heap, piece, piece ? bytes : 0, 0);
    return code;
}

/* ---- loading --------------------------------------------------------------------------------- */

typedef struct archive {
    nbi_input *in;
    uint8_t *directory;
    size_t size, count;
    uint64_t left; /* bytes of the file that no member has taken yet */
    nb_reason *why;
} archive;

static nb_code bad(const archive *a, const char *what)
{
    return nbi_because(a->why, NB_ERR_FORMAT, "%.150s: npz: %s", a->in->path, what);
}

/* Finds the end, from behind, and reads the directory that it tells of. */
static nb_code read_directory(archive *a)
{
    nbi_input *in = a->in;
    const size_t tail = in->size < END + COMMENT ? (size_t)in->size : END + COMMENT;
    if (tail < END)
        return bad(a, "not a zip archive, or truncated");
    uint8_t *p = nbi_resize(in->heap, NULL, 0, tail);
    if (!p)
        return nbi_because(a->why, NB_ERR_MEMORY, "%.150s: npz: no memory", in->path);
    nb_code code = nbi_input_read(in, in->size - tail, tail, p, a->why);
    size_t at = tail - END + 1;
    uint64_t begin = 0, size = 0;
    while (!code && at-- > 0)
        if (nbi_little(p + at, 4) == end_mark && nbi_little(p + at + 20, 2) == tail - at - END)
            break;
    if (!code && at == (size_t)-1)
        code = bad(a, "not a zip archive, or truncated");
    if (!code) {
        a->count = nbi_little(p + at + 10, 2);
        size = nbi_little(p + at + 12, 4);
        begin = nbi_little(p + at + 16, 4);
        const uint64_t end = in->size - tail + at;
        if (begin > end || size > end - begin || size > LONGEST || a->count == UINT16_MAX)
            code = bad(a, "its directory lies outside of it, or it is larger than 4 GiB");
    }
    nbi_resize(in->heap, p, tail, 0);
    a->directory = code ? NULL : nbi_resize(in->heap, NULL, 0, (size_t)size + 1);
    if (!code && !a->directory)
        return nbi_because(a->why, NB_ERR_MEMORY, "%.150s: npz: no memory", in->path);
    a->size = (size_t)size;
    a->left = begin;
    return code ? code : nbi_input_read(in, begin, a->size, a->directory, a->why);
}

/* Opens the member whose central header is p, and adds it to f, without its data. */
static nb_code open_member(archive *a, nb_file *f, const uint8_t *p, nbi_npy *npy)
{
    const char *name = (const char *)p + CENTRAL;
    size_t length = nbi_little(p + 28, 2);
    const uint64_t size = nbi_little(p + 24, 4), offset = nbi_little(p + 42, 4);
    uint8_t local[LOCAL];
    if (nbi_little(p + 8, 2) & 1)
        return bad(a, "a member is encrypted");
    if (nbi_little(p + 10, 2) || nbi_little(p + 20, 4) != size)
        return bad(a, "a member is compressed, which is not supported: use numpy.savez");
    if (size == UINT32_MAX || offset == UINT32_MAX)
        return bad(a, "a member is larger than 4 GiB");
    nb_code code = nbi_input_read(a->in, offset, LOCAL, local, a->why);
    if (code)
        return code;
    const uint64_t head = LOCAL + nbi_little(local + 26, 2) + nbi_little(local + 28, 2);
    if (nbi_little(local, 4) != local_mark || head + size > a->left)
        return bad(a, "members overlap, or are not where the directory says");
    a->left -= head + size;
    code = nbi_npy_open(npy, a->in, offset + head, size, a->why);
    if (code)
        return code;
    if (length > 4 && !memcmp(name + length - 4, extension, 4))
        length -= 4;
    if (!nbi_is_utf8(name, length))
        return bad(a, "a member's name is not UTF-8");
    nb_reason inner;
    code = nbi_file_add(f, name, length, &(nb_file_entry){.type = npy->type, .shape = npy->shape},
                        &inner);
    return code ? nbi_because(a->why, code == NB_ERR_MEMORY ? code : NB_ERR_FORMAT,
                              "%.100s: npz: %s", a->in->path, inner.text)
                : NB_OK;
}

/* Reads a member's contents and holds them to its sum. room: as
 * nbi_npy_arrange wants it. */
static nb_code read_member(archive *a, const nb_file_entry *e, const nbi_npy *npy, const uint8_t *p,
                           void *room)
{
    nbi_crc crc;
    uint8_t part[256];
    const uint64_t size = nbi_little(p + 24, 4);
    nb_code code = nbi_input_read(a->in, npy->data, npy->bytes, e->data, a->why);
    nbi_crc_start(&crc);
    uint64_t at = npy->data - (size - npy->bytes); /* where its npy header begins */
    while (at < npy->data && !code) {
        const size_t n = npy->data - at < sizeof part ? (size_t)(npy->data - at) : sizeof part;
        code = nbi_input_read(a->in, at, n, part, a->why);
        nbi_crc_add(&crc, part, code ? 0 : n);
        at += n;
    }
    if (code)
        return code;
    nbi_crc_add(&crc, e->data, npy->bytes);
    if (nbi_crc_value(&crc) != nbi_little(p + 16, 4))
        return nbi_because(a->why, NB_ERR_FORMAT,
                           "%.100s: npz: array \"%.80s\" is damaged: its "
                           "CRC-32 is not the one noted",
                           a->in->path, e->name);
    nbi_npy_arrange(npy, e->data, room);
    return NB_OK;
}

/* The next central header, or NULL if it does not lie within the directory. */
static const uint8_t *next_header(const archive *a, size_t *at)
{
    const uint8_t *p = a->directory + *at;
    if (a->size - *at < CENTRAL || nbi_little(p, 4) != central_mark)
        return NULL;
    const size_t size =
        CENTRAL + nbi_little(p + 28, 2) + nbi_little(p + 30, 2) + nbi_little(p + 32, 2);
    if (size > a->size - *at)
        return NULL;
    *at += size;
    return p;
}

static nb_code read_all(archive *a, nb_file *f, nbi_npy *npy, const uint8_t **header)
{
    size_t at = 0, most = 0;
    nb_code code = NB_OK;
    for (size_t i = 0; i < a->count && !code; i++) {
        header[i] = next_header(a, &at);
        code =
            header[i] ? open_member(a, f, header[i], &npy[i]) : bad(a, "its directory is broken");
        if (!code && nbi_npy_moves(&npy[i]) && npy[i].bytes > most)
            most = npy[i].bytes;
    }
    if (!code)
        code = nbi_file_give_room(f, a->why);
    void *room = code || !most ? NULL : nbi_resize(&f->heap, NULL, 0, most);
    if (!code && most && !room)
        code = nbi_because(a->why, NB_ERR_MEMORY, "%.150s: npz: no memory", a->in->path);
    for (size_t i = 0; i < a->count && !code; i++)
        code = read_member(a, &f->entry[i], &npy[i], header[i], room);
    nbi_resize(&f->heap, room, room ? most : 0, 0);
    return code;
}

static nb_code load(nb_file *f, nbi_input *in, nb_reason *why)
{
    archive a = {.in = in, .why = why};
    nb_code code = read_directory(&a);
    const size_t each = sizeof(nbi_npy) + sizeof(uint8_t *), bytes = (a.count + 1) * each;
    nbi_npy *npy = code ? NULL : nbi_resize(&f->heap, NULL, 0, bytes);
    if (!code)
        code = npy ? read_all(&a, f, npy, (const uint8_t **)(npy + a.count + 1))
                   : nbi_because(why, NB_ERR_MEMORY, "%.150s: npz: no memory", in->path);
    nbi_resize(&f->heap, npy, npy ? bytes : 0, 0);
    nbi_resize(&f->heap, a.directory, a.directory ? a.size + 1 : 0, 0);
    return code;
}

nb_code nb_npz_load(const char *path, const nb_allocator *allocator, nb_file **f, nb_reason *why)
{
    return nbi_file_load_by(load, path, allocator, f, why);
}
