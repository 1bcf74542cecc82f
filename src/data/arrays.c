/*
 * Readers of binary arrays, a row at a time: IDX and npy.
 *
 *     IDX:  2 zero bytes, element type (8: unsigned byte), rank, rank sizes of 4 bytes, big-endian;
 *           then the elements, the first axis varying slowest
 *
 * Both come down to the same thing: at some offset of a file, rows of so many elements of some type. A
 * source is that, and a reader has one for x and maybe one for labels or targets. Sizes are held against
 * the file's when it is opened, so that reading can only meet what is there.
 */
#include "data/dataset.h"

#include "base/reason.h"
#include "base/shape.h"
#include "data/input.h"
#include "data/npy.h"

#include <string.h>

typedef struct source {
    nbi_input in;
    nb_type type;
    bool big;
    nb_shape shape;      /* of all of it */
    uint64_t data;       /* offset */
    int64_t rows, width; /* elements of a row */
} source;

enum { PART = 512 }; /* elements converted at a time */

typedef struct array_reader {
    nb_reader r;
    source x, y;
    bool has_y;
    int64_t at; /* the next row */
} array_reader;

/* ---- reading --------------------------------------------------------------------------------- */

/* Elements [from, from + n) of a source as doubles; n at most PART. */
static nb_code read_part(source *s, int64_t from, int64_t n, double *to, nb_reason *why)
{
    uint8_t bytes[PART * 8];
    const size_t size = nb_type_size(s->type);
    nb_code code =
        nbi_input_read(&s->in, s->data + (uint64_t)from * size, (size_t)n * size, bytes, why);
    if (code)
        return code;
    const nbi_npy a = {.type = s->type, .big = s->big, .bytes = (size_t)n * size};
    nbi_npy_arrange(&a, bytes, NULL);
    nb_numbers(s->type, bytes, n, to);
    return NB_OK;
}

/* n rows to the place of row t->d.rows. */
static nb_code read_rows(source *s, int64_t row, int64_t n, nb_dtype dtype, void *to, int64_t place,
                         nb_reason *why)
{
    double part[PART];
    const int64_t first = row * s->width, all = n * s->width;
    nb_code code = NB_OK;
    for (int64_t i = 0; i < all && !code; i += PART) {
        const int64_t m = all - i < PART ? all - i : PART;
        code = read_part(s, first + i, m, part, why);
        for (int64_t k = 0; k < m && !code; k++)
            nbi_set_element(dtype, to, place * s->width + i + k, part[k]);
    }
    return code;
}

static nb_code read_labels(array_reader *r, nbi_table *t, int64_t n, nb_reason *why)
{
    double part[PART];
    nb_code code = NB_OK;
    for (int64_t i = 0; i < n && !code; i += PART) {
        const int64_t m = n - i < PART ? n - i : PART;
        code = read_part(&r->y, r->at + i, m, part, why);
        for (int64_t k = 0; k < m && !code; k++) {
            const int64_t classes = r->r.block->d.classes;
            if (part[k] < 0 || part[k] >= (classes ? (double)classes : 0x1p53))
                return nbi_because(why, NB_ERR_INDEX,
                                   "%.120s: label %.0f in row %lld is out of range: there are %lld "
                                   "classes, from 0",
                                   r->y.in.path, part[k], (long long)(r->at + i + k + 1),
                                   (long long)classes);
            t->label[t->d.rows + i + k] = (int64_t)part[k];
        }
    }
    return code;
}

static nb_code more(nb_reader *reader, nbi_table *t, int64_t most, nb_reason *why)
{
    array_reader *r = (array_reader *)reader;
    const int64_t n = most < r->x.rows - r->at ? most : r->x.rows - r->at;
    nb_code code = read_rows(&r->x, r->at, n, t->d.dtype, t->x, t->d.rows, why);
    if (!code && t->has_label)
        code = read_labels(r, t, n, why);
    else if (!code && r->has_y)
        code = read_rows(&r->y, r->at, n, t->d.dtype, t->y, t->d.rows, why);
    if (code)
        return code;
    r->at += n;
    t->d.rows += n;
    return NB_OK;
}

static void rewind_array(nb_reader *reader) { ((array_reader *)reader)->at = 0; }

static void destroy(nb_reader *reader)
{
    array_reader *r = (array_reader *)reader;
    nbi_input_close(&r->x.in);
    nbi_input_close(&r->y.in);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Rows and width from the shape; the first axis counts rows. */
static nb_code set_rows(source *s, nb_reason *why)
{
    if (s->shape.rank < 1)
        return nbi_because(why, NB_ERR_SHAPE, "%.150s: a single number has no rows", s->in.path);
    s->rows = s->shape.dims[0];
    s->width = nbi_product(s->shape.rank - 1, s->shape.dims + 1);
    return NB_OK;
}

static nb_code open_idx(source *s, nbi_heap *heap, const char *path, nb_reason *why)
{
    uint8_t head[4 + 4 * NB_MAX_RANK];
    nb_code code = nbi_input_open(&s->in, heap, path, why);
    if (!code)
        code = nbi_input_read(&s->in, 0, 4, head, why);
    if (code)
        return code;
    if (head[0] || head[1] || head[2] != 8 || head[3] < 1 || head[3] > NB_MAX_RANK)
        return nbi_because(
            why, NB_ERR_FORMAT,
            "%.120s: not an IDX file of unsigned bytes: it begins with %02x %02x %02x "
            "%02x",
            path, head[0], head[1], head[2], head[3]);
    s->type = NB_T_U8;
    s->shape.rank = head[3];
    s->data = 4 + 4 * (uint64_t)head[3];
    code = nbi_input_read(&s->in, 4, (size_t)s->data - 4, head + 4, why);
    for (int d = 0; d < s->shape.rank && !code; d++)
        s->shape.dims[d] = (int64_t)nbi_big(head + 4 + 4 * d, 4);
    const int64_t size = code ? 0 : nb_shape_size(s->shape);
    char text[NBI_SHAPE_TEXT];
    if (!code && (size < 0 || (uint64_t)size != s->in.size - s->data))
        return nbi_because(
            why, NB_ERR_FORMAT, "%.120s: %s: its header says %s, but %llu bytes follow", path,
            size < 0 || (uint64_t)size > s->in.size - s->data ? "truncated" : "something follows",
            nbi_shape_text(text, s->shape.rank, s->shape.dims),
            (unsigned long long)(s->in.size - s->data));
    return code ? code : set_rows(s, why);
}

static nb_code open_npy(source *s, nbi_heap *heap, const char *path, nb_reason *why)
{
    nbi_npy a;
    nb_code code = nbi_input_open(&s->in, heap, path, why);
    if (!code)
        code = nbi_npy_open(&a, &s->in, 0, s->in.size, why);
    if (code)
        return code;
    if (nbi_npy_moves(&a))
        return nbi_because(
            why, NB_ERR_FORMAT,
            "%.120s: an array in Fortran's order cannot be read row by row: load it whole, "
            "by nb_npy_load",
            path);
    s->type = a.type;
    s->big = a.big;
    s->shape = a.shape;
    s->data = a.data;
    return set_rows(s, why);
}

typedef nb_code open_source(source *s, nbi_heap *heap, const char *path, nb_reason *why);

static bool is_whole(nb_type t) { return t >= NB_T_I64 && t <= NB_T_U8; }

/* The block, from what the two sources are. */
static nb_code make_block(array_reader *r, const nb_idx_options *o, nb_reason *why)
{
    const bool label = r->has_y && r->y.shape.rank == 1 && is_whole(r->y.type);
    nb_dataset like = {.columns = r->x.width, .dtype = o->dtype, .classes = o->classes};
    like.shape = nb_shape_make((size_t)r->x.shape.rank - 1, r->x.shape.dims + 1);
    like.targets = r->has_y && !label ? r->y.width : 0;
    if (r->has_y && r->x.rows != r->y.rows)
        return nbi_because(why, NB_ERR_SHAPE, "%.90s has %lld rows, but %.90s has %lld",
                           r->x.in.path, (long long)r->x.rows, r->y.in.path, (long long)r->y.rows);
    return nbi_table_new(&like, label, 1, &r->r.allocator, &r->r.block, why);
}

static nb_code open_both(open_source *open, const char *x, const char *y, const nb_idx_options *o,
                         nb_reader **out, nb_reason *why)
{
    nb_reader *reader;
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "read: nowhere to put the reader");
    *out = NULL;
    if (o->classes < 0 || (o->dtype != NB_F64 && o->dtype != NB_F32))
        return nbi_because(why, NB_ERR_ARGUMENT, "read: bad options");
    nb_code code = nbi_reader_new(sizeof(array_reader), o->allocator, &reader, why);
    if (code)
        return code;
    array_reader *r = (array_reader *)reader;
    reader->more = more;
    reader->rewind = rewind_array;
    reader->destroy = destroy;
    r->has_y = y != NULL;
    code = open(&r->x, &reader->heap, x, why);
    if (!code && y)
        code = open(&r->y, &reader->heap, y, why);
    if (!code)
        code = make_block(r, o, why);
    if (code)
        nb_reader_free(reader);
    else
        *out = reader;
    return code;
}

nb_code nb_idx_open(const char *images, const char *labels, const nb_idx_options *options,
                    nb_reader **out, nb_reason *why)
{
    nb_idx_options o = options ? *options : (nb_idx_options){0};
    o.classes = o.classes ? o.classes : 10;
    return open_both(open_idx, images, labels, &o, out, why);
}

nb_code nb_npy_open(const char *x, const char *y, const nb_idx_options *options, nb_reader **out,
                    nb_reason *why)
{
    const nb_idx_options o = options ? *options : (nb_idx_options){0};
    return open_both(open_npy, x, y, &o, out, why);
}
