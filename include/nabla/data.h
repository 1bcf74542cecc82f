/*
 * nabla/data.h: data sets: readers, generators, splits, batches, preprocessing.
 *
 * From a table in a text file, the label in its last column, to batches ready for a tape:
 *
 *     nb_schema *schema;
 *     nb_dataset *all, *train, *test;
 *     nb_prep *prep;
 *     nb_batches *batches;
 *     const nb_dataset *b;
 *
 *     nb_csv_scan("digits.csv", NULL, &schema, &why);                    kinds, categories, classes
 *     nb_csv_load("digits.csv", schema, &all, &why);
 *     nb_dataset_split(all, 0.2, true, 1, &train, &test, &why);          stratified, seed 1
 *     nb_prep_fit(train, 1, (nb_prep_step[]){{NB_PREP_STANDARDISE, 0}}, &prep, &why);
 *     nb_batches_new(train, &(nb_batch_options){.size = 32, .shuffle = true, .seed = 2, .prep = prep},
 *                    &batches, &why);
 *     for (int epoch = 0; epoch < 30; epoch++)
 *         while (!nb_batches_next(batches, &b, &why) && b)
 *             ...                                       b->x is [b->rows, b->columns], b->label [b->rows]
 *
 * All functions return NB_OK or a code, whose reason goes to *why, if that is not NULL; a result that
 * could not be made is NULL. Results are the caller's to free. Everything random takes a seed, and the
 * same seed gives the same result on every machine. Rows and columns are counted from 1 in messages and
 * options, from 0 in arrays. What is made from a data set uses the data set's allocator.
 */
#ifndef NABLA_DATA_H
#define NABLA_DATA_H

#include <nabla/file.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data sets ------------------------------------------------------------------------------- */

/* Rows of numbers with labels, or targets, or both, or neither. It is a plain struct: arrays that are
 * in memory already become a data set by filling one in. Only what the library returned is freed. */
typedef struct nb_dataset {
    int64_t rows, columns; /* numbers of x: rows * columns */
    nb_shape shape;        /* of one row of x, e.g. [28 28]; rank 0 (as when left out): [columns] */
    nb_dtype dtype;        /* of x and y */
    const void *x;         /* [rows columns] */
    int64_t classes;       /* labels are below this; 0: unknown */
    const int64_t *label;  /* [rows], or NULL */
    int64_t targets;
    const void *y;         /* [rows targets], or NULL */
    const int64_t *levels; /* [columns]: categories of a column whose numbers are codes, 0 of others;
                            * NULL: all 0 */
    const nb_allocator *allocator; /* for what is made from it; NULL: the default */
} nb_dataset;

NB_API void nb_dataset_free(nb_dataset *d); /* NULL is fine */

/* Whether the numbers are fit to train on: at least one row and column, all of x and y finite (else
 * NB_ERR_ANOMALY names row and column), labels within [0, classes), codes within their levels. */
NB_API nb_code nb_dataset_check(const nb_dataset *d, nb_reason *why);

/* A copy of n of the rows, in the order of the index. NULL as index: the first n. */
NB_API nb_code nb_dataset_take(const nb_dataset *d, int64_t n, const int64_t *index, nb_dataset **out,
                               nb_reason *why);

/* Labels to rows with a single 1: to [n classes]. A label out of [0, classes) is NB_ERR_INDEX, and
 * then nothing is written. */
NB_API nb_code nb_one_hot(int64_t n, const int64_t *label, int64_t classes, nb_dtype dtype, void *to,
                          nb_reason *why);

/* ---- generators ------------------------------------------------------------------------------ */

/* Zeros mean the defaults that stand with each generator. */
typedef struct nb_make {
    int64_t rows;
    double noise;    /* standard deviation of what is added to each coordinate */
    uint64_t seed;
    int64_t classes; /* spirals, blobs */
    int64_t columns; /* blobs */
    nb_dtype dtype;
    const nb_allocator *allocator;
} nb_make;

/* Row i has class i mod classes, so that classes are even; rows default to 1000. */
NB_API nb_code nb_make_moons(const nb_make *m, nb_dataset **out, nb_reason *why);   /* 2 half circles */
NB_API nb_code nb_make_circles(const nb_make *m, nb_dataset **out, nb_reason *why); /* radii 1, 1/2 */
NB_API nb_code nb_make_spirals(const nb_make *m, nb_dataset **out, nb_reason *why); /* classes 2;
                                                                * arms of 1.5 turns, radius up to 1 */
NB_API nb_code nb_make_xor(const nb_make *m, nb_dataset **out, nb_reason *why); /* uniform in [-1, 1]^2,
                                                                * class 1 where the signs differ */
/* Normal clouds about centres that are uniform in [-10, 10]; classes 3, columns 2, noise 1. */
NB_API nb_code nb_make_blobs(const nb_make *m, nb_dataset **out, nb_reason *why);
/* x uniform in [-pi, pi], y = sin(x) + noise: no labels, 1 target. */
NB_API nb_code nb_make_sine(const nb_make *m, nb_dataset **out, nb_reason *why);
/* Digits drawn with a pen, shape [8 8], 10 classes, grey values from 0 to 16. Each is turned, slanted,
 * stretched, shifted and its strokes bent at random; noise (of grey values) defaults to 1. */
NB_API nb_code nb_make_digits(const nb_make *m, nb_dataset **out, nb_reason *why);

/* ---- splits ---------------------------------------------------------------------------------- */

/* Puts the n numbers of the index into random order. */
NB_API void nb_shuffle(nb_rng *r, int64_t n, int64_t *index);

/* Two data sets of shuffled rows: `part` has ceil(share * rows) of them, `rest` the others. Stratified:
 * each class is divided in the same proportion, to within a row. Both are checked to have at least
 * one row; share is in (0, 1). */
NB_API nb_code nb_dataset_split(const nb_dataset *d, double share, bool stratified, uint64_t seed,
                                nb_dataset **rest, nb_dataset **part, nb_reason *why);

/* To each row the fold, 0 to k - 1, that it belongs to: sizes differ by at most one, and stratified, so
 * do those of each class in them. fold: [rows]. */
NB_API nb_code nb_dataset_folds(const nb_dataset *d, int64_t k, bool stratified, uint64_t seed,
                                int64_t *fold, nb_reason *why);
/* The rows within fold i, and the others, each in their order. */
NB_API nb_code nb_dataset_fold(const nb_dataset *d, const int64_t *fold, int64_t i, nb_dataset **rest,
                               nb_dataset **part, nb_reason *why);

/* ---- tables in text files -------------------------------------------------------------------- */

typedef enum nb_kind {
    NB_KIND_GUESS, /* a number if the first value of the column is one, else a category */
    NB_KIND_NUMBER,
    NB_KIND_CATEGORY,
    NB_KIND_SKIP /* the column is left out */
} nb_kind;

typedef enum nb_header {
    NB_HEADER_GUESS, /* the first line is one if none of its fields is a number, and some below are */
    NB_HEADER_YES,
    NB_HEADER_NO
} nb_header;

/* What to do where a value is missing: the field is empty, NA, N/A, NaN, null or ?. */
typedef enum nb_missing {
    NB_MISSING_ERROR, /* say where */
    NB_MISSING_DROP,  /* leave out the row */
    NB_MISSING_MEAN,  /* of the column; of categories the most frequent, the first in order of ties */
    NB_MISSING_VALUE  /* `fill`; categories as NB_MISSING_MEAN */
} nb_missing;

typedef enum nb_target {
    NB_TARGET_CLASS,  /* the label column holds classes */
    NB_TARGET_NUMBER, /* or the number to predict: y */
    NB_TARGET_NONE    /* there is none: all columns are features */
} nb_target;

typedef struct nb_csv_options {
    char separator; /* 0: ',' */
    nb_header header;
    nb_missing missing; /* of features; a missing label is an error, or its row is dropped */
    double fill;
    nb_target target;
    int64_t label;       /* column of the label, from 1; 0: the last; negative: from the end */
    int64_t classes;     /* labels that are numbers must be below; 0: the largest and one more */
    const nb_kind *kind; /* one for each column of the file; NULL: guess all */
    int64_t kinds;       /* how many */
    nb_dtype dtype;
    const nb_allocator *allocator;
} nb_csv_options;

/* What the columns of a file mean: learned from one file, applied to others, saved with a model. */
typedef struct nb_schema nb_schema;

/* Goes over the file once, in memory that does not grow with it, and learns names, kinds, categories (in
 * order of bytes), classes and means.
 *
 * The format is RFC 4180's: fields may be quoted, and then hold separators, line breaks and doubled
 * quotes; lines end in \n or \r\n; blank lines are skipped; a byte order mark too. Numbers are decimal,
 * as strtod reads them in the C locale, spaces around them allowed.
 *
 * Errors name the line (of a record that takes several, the first) and the column: rows of different
 * length, something behind a closing quote, a quote that is never closed, text among numbers, infinite
 * numbers, missing values. Labels that are numbers must be whole and not negative; other labels are
 * categories. options may be NULL. */
NB_API nb_code nb_csv_scan(const char *path, const nb_csv_options *options, nb_schema **out,
                           nb_reason *why);
NB_API void nb_schema_free(nb_schema *s);

/* Reads a file whole. Its columns must be those of the schema: as many and, if both have a header,
 * of the same names. A file without the label column is fine too, if the rest agrees: label and y are
 * then NULL. Besides nb_csv_scan's errors: a category or label that the schema does not know
 * (NB_ERR_INDEX), a file without rows (NB_ERR_EMPTY). */
NB_API nb_code nb_csv_load(const char *path, const nb_schema *s, nb_dataset **out, nb_reason *why);

NB_API int64_t nb_schema_columns(const nb_schema *s); /* features: columns of the data sets */
NB_API int64_t nb_schema_classes(const nb_schema *s); /* 0 without */
NB_API int64_t nb_schema_rows(const nb_schema *s);    /* of the file that was scanned */
/* Of feature k: its name ("" without header), how many levels (0: numbers), and the name of a level;
 * NULL if there is none. */
NB_API const char *nb_schema_name(const nb_schema *s, int64_t k);
NB_API int64_t nb_schema_levels(const nb_schema *s, int64_t k);
NB_API const char *nb_schema_level(const nb_schema *s, int64_t k, int64_t level);
/* The text of a class, or NULL if classes are numbers. */
NB_API const char *nb_schema_class(const nb_schema *s, int64_t label);

/* Into a file's texts, under "<prefix>schema", and back. */
NB_API nb_code nb_schema_put(const nb_schema *s, const char *prefix, nb_file *f, nb_reason *why);
NB_API nb_code nb_schema_get(const nb_file *f, const char *prefix, const nb_allocator *allocator,
                             nb_schema **out, nb_reason *why);

/* ---- reading rows as they are wanted --------------------------------------------------------- */

/* A file that is read block by block, so that it need not fit in memory. */
typedef struct nb_reader nb_reader;

NB_API nb_code nb_csv_open(const char *path, const nb_schema *s, nb_reader **out, nb_reason *why);

/* IDX, the format of MNIST: unsigned bytes, big-endian sizes. `labels` may be NULL; else it must hold as
 * many labels as there are images, below `classes` (0: 10). Pixels become numbers from 0 to 255. */
typedef struct nb_idx_options {
    int64_t classes;
    nb_dtype dtype;
    const nb_allocator *allocator;
} nb_idx_options;
NB_API nb_code nb_idx_open(const char *images, const char *labels, const nb_idx_options *options,
                           nb_reader **out, nb_reason *why);

/* npy arrays: x [rows ...] of any type, in C's order. y may be NULL; [rows] of an integer type it holds
 * labels (below `classes`; 0: not checked from above, and unknown), of others targets [rows ...]. */
NB_API nb_code nb_npy_open(const char *x, const char *y, const nb_idx_options *options,
                           nb_reader **out, nb_reason *why);

NB_API void nb_reader_free(nb_reader *r);
/* Up to `most` rows, into *block, valid until the next call; with 0 rows at the end. */
NB_API nb_code nb_reader_next(nb_reader *r, int64_t most, const nb_dataset **block, nb_reason *why);
/* Starts again from the first row. */
NB_API void nb_reader_rewind(nb_reader *r);
/* All rows, from the first on. A file without rows is NB_ERR_EMPTY. */
NB_API nb_code nb_reader_load(nb_reader *r, nb_dataset **out, nb_reason *why);

/* ---- preprocessing --------------------------------------------------------------------------- */

typedef enum nb_prep_kind {
    NB_PREP_ONE_HOT,     /* columns of categories become one column for each level, 0 or 1 */
    NB_PREP_CENTRE,      /* x - mean */
    NB_PREP_STANDARDISE, /* (x - mean) / deviation, of the population; a constant column becomes 0 */
    NB_PREP_MIN_MAX,     /* to [0, 1]; a constant column becomes 0 */
    NB_PREP_WHITEN       /* principal components, each of mean 0 and variance 1 */
} nb_prep_kind;

typedef struct nb_prep_step {
    nb_prep_kind kind;
    int64_t components; /* of NB_PREP_WHITEN: those of largest variance; 0: as many as columns. One
                         * without variance (1e-12 of the largest) becomes 0 */
} nb_prep_step;

typedef struct nb_prep nb_prep;
typedef struct nb_batches nb_batches;

/* Fits the steps, in this order, each to what those before it make of the data. Needs at least one row;
 * numbers must be finite (else NB_ERR_ANOMALY names row and column). */
NB_API nb_code nb_prep_fit(const nb_dataset *train, size_t n, const nb_prep_step *steps, nb_prep **out,
                           nb_reason *why);
/* Likewise from a reader, in memory that does not grow with the file: one pass over it for each step,
 * two for NB_PREP_WHITEN. */
NB_API nb_code nb_prep_fit_reader(nb_reader *train, size_t n, const nb_prep_step *steps, nb_prep **out,
                                  nb_reason *why);
NB_API void nb_prep_free(nb_prep *p);
NB_API int64_t nb_prep_columns(const nb_prep *p); /* that come out */

/* What the steps make of d, whose columns must be those of the data fitted to. Codes out of their levels
 * are an error. Labels and targets are copied; the shape becomes [columns], unless no step but centring,
 * standardising and min-max was made. */
NB_API nb_code nb_prep_apply(const nb_prep *p, const nb_dataset *d, nb_dataset **out, nb_reason *why);

/* Into a file, as tensors and texts whose names begin with the prefix, and back. Loading is exact:
 * the same bits go in and out. */
NB_API nb_code nb_prep_put(const nb_prep *p, const char *prefix, nb_file *f, nb_reason *why);
NB_API nb_code nb_prep_get(const nb_file *f, const char *prefix, const nb_allocator *allocator,
                           nb_prep **out, nb_reason *why);

/* ---- batches --------------------------------------------------------------------------------- */

typedef struct nb_batch_options {
    int64_t size;        /* rows of a batch; 0: 32 */
    bool shuffle;        /* a new order for each epoch */
    bool drop_last;      /* a batch that would be shorter than the others is left out */
    uint64_t seed;
    int64_t buffer;      /* of readers: rows to shuffle among; 0: 8192 */
    const nb_prep *prep; /* applied to each batch; NULL: none. It must outlive the batches */
} nb_batch_options;

/* Where in which epoch, and the random state that this epoch started from. Plain data: saved and
 * restored, the batches that follow are the same to the bit. */
typedef struct nb_batch_state {
    nb_rng start;
    int64_t epoch, batch; /* batches of this epoch already given out */
} nb_batch_state;

/* From a data set, which must outlive the batches. options may be NULL. */
NB_API nb_code nb_batches_new(const nb_dataset *d, const nb_batch_options *options, nb_batches **out,
                              nb_reason *why);
/* From a reader, likewise; nothing else may read from it. Shuffling keeps a buffer of rows: each row given
 * out is drawn from it at random, and the next one from the file takes its place. A row moves forward
 * by at most the buffer's length, so a file sorted by class should be shuffled once beforehand, or the
 * buffer be long. */
NB_API nb_code nb_batches_stream(nb_reader *r, const nb_batch_options *options, nb_batches **out,
                                 nb_reason *why);
NB_API void nb_batches_free(nb_batches *b);

/* The next batch, valid until the next call; NULL at the end of an epoch, and the call after that begins
 * the next one. */
NB_API nb_code nb_batches_next(nb_batches *b, const nb_dataset **batch, nb_reason *why);
NB_API nb_batch_state nb_batches_state(const nb_batches *b);
/* Takes up where a state was taken, of batches made alike. From a reader this reads the epoch again up to
 * there. */
NB_API nb_code nb_batches_restore(nb_batches *b, const nb_batch_state *state, nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
