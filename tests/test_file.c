/*
 * Files of named tensors: what is written is safetensors byte for byte, assembled here by hand; what is
 * read back is what was put; whatever is broken is refused with its reason, and a failure at any point
 * of saving leaves the old file.
 */
#include "base/atomic.h"
#include "data/crc.h"

#include "counting.h"
#include "folder.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

static nb_reason why;
static float weights[6] = {1, 2, 3, 4, 5, 6};
static double point = -0.5;
static int64_t step = 1200;
static uint8_t bytes[3] = {7, 8, 9};

static nb_file *example(const nb_allocator *a)
{
    nb_file *f = nb_file_new(a);
    nb_file_put(f, &(nb_file_entry){"bytes", NB_T_U8, NB_SHAPE(3), bytes});
    nb_file_put_copy(f, &(nb_file_entry){"layer.\"w\"", NB_T_F32, NB_SHAPE(2, 3), weights});
    nb_file_put(f, &(nb_file_entry){"step", NB_T_I64, NB_POINT, &step});
    nb_file_put(f, &(nb_file_entry){"none", NB_T_F64, NB_SHAPE(0, 4), NULL});
    nb_file_put_text(f, "note", "first");
    nb_file_put_text(f, "note", "line\nbreak \\ \"quoted\" \xc3\xa9");
    return f;
}

/* A file with this header, padded, and this data. */
static void assemble(const char *name, const char *header, const void *data, size_t size)
{
    static unsigned char all[4096];
    const size_t n = strlen(header);
    memset(all, 0, 8);
    all[0] = (unsigned char)(n & 255);
    all[1] = (unsigned char)(n >> 8);
    memcpy(all + 8, header, n);
    if (size)
        memcpy(all + 8 + n, data, size);
    write_bytes(name, all, 8 + n + size);
}

START_TEST(crc_of_check_string)
{
    nbi_crc c;
    nbi_crc_start(&c);
    nbi_crc_add(&c, "123456789", 9); /* the check value of the CRC-32 catalogue */
    ck_assert_uint_eq(nbi_crc_value(&c), 0xcbf43926u);
    nbi_crc_start(&c);
    nbi_crc_add(&c, "1", 1);
    nbi_crc_add(&c, "23456789", 8);
    ck_assert_uint_eq(nbi_crc_value(&c), 0xcbf43926u);
}
END_TEST

START_TEST(bytes_of_a_small_file)
{
    static unsigned char got[512];
    nb_file *f = nb_file_new(NULL);
    nb_file_put(f, &(nb_file_entry){"b", NB_T_U8, NB_SHAPE(3), bytes});
    nb_file_put(f, &(nb_file_entry){"a", NB_T_F64, NB_POINT, &point});
    nb_file_put_text(f, "k", "v");
    fine(nb_file_save(f, path("s"), &why), &why);
    nb_file_free(f);
    const size_t n = read_bytes("s", got, sizeof got);
    char header[400] = "{\"__metadata__\":{\"nabla.format\":\"1\",\"nabla.checksum\":\"????????\","
                       "\"k\":\"v\"},\"a\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
                       "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[8,11]}}";
    while (strlen(header) % 8)
        strcat(header, " ");
    const size_t size = strlen(header);
    ck_assert_uint_eq(n, 8 + size + 11);
    ck_assert_uint_eq(got[0] + 256u * got[1], size);
    for (int i = 2; i < 8; i++)
        ck_assert_int_eq(got[i], 0);
    char *digits = strchr(header, '?'), sum[9];
    unsigned char *there = got + 8 + (digits - header);
    memcpy(sum, there, 8);
    sum[8] = 0;
    memset(there, '0', 8);
    memset(digits, '0', 8);
    ck_assert_mem_eq(got + 8, header, size);
    ck_assert_mem_eq(got + 8 + size, "\0\0\0\0\0\0\xe0\xbf\x07\x08\x09", 11);
    uint32_t rest = 0xffffffffu; /* the sum, bit by bit */
    for (size_t i = 0; i < n; i++) {
        rest ^= got[i];
        for (int b = 0; b < 8; b++)
            rest = rest >> 1 ^ (rest & 1 ? 0xedb88320u : 0);
    }
    char expected[9];
    snprintf(expected, sizeof expected, "%08x", (unsigned)~rest);
    ck_assert_str_eq(sum, expected);
}
END_TEST

START_TEST(there_and_back)
{
    nb_file *f = example(NULL), *g;
    fine(nb_file_save(f, path("s"), &why), &why);
    fine(nb_file_load(path("s"), NULL, &g, &why), &why);
    ck_assert_uint_eq(nb_file_count(g), 4);
    const nb_file_entry *w = nb_file_find(g, "layer.\"w\"");
    ck_assert_ptr_nonnull(w);
    ck_assert_int_eq(w->type, NB_T_F32);
    ck_assert(nb_shape_equal(w->shape, NB_SHAPE(2, 3)));
    ck_assert_mem_eq(w->data, weights, sizeof weights);
    ck_assert_uint_eq((uintptr_t)w->data % 64, 0);
    ck_assert(nb_shape_equal(nb_file_find(g, "none")->shape, NB_SHAPE(0, 4)));
    ck_assert_int_eq(nb_file_find(g, "step")->shape.rank, 0);
    ck_assert_str_eq(nb_file_text(g, "note"), "line\nbreak \\ \"quoted\" \xc3\xa9");
    ck_assert_ptr_null(nb_file_text(g, "nothing"));
    ck_assert_ptr_null(nb_file_find(g, "w"));
    fine(nb_file_save(g, path("t"), &why), &why); /* again, from what was loaded */
    static char a[1000], b[1000];
    const size_t n = read_bytes("s", a, sizeof a);
    ck_assert_uint_eq(read_bytes("t", b, sizeof b), n);
    nb_file *h;
    fine(nb_file_load(path("t"), NULL, &h, &why), &why);
    ck_assert_mem_eq(nb_file_find(h, "bytes")->data, bytes, sizeof bytes);
    nb_file_free(f);
    nb_file_free(g);
    nb_file_free(h);
}
END_TEST

START_TEST(restoring_is_all_or_nothing)
{
    nb_file *f = example(NULL);
    float w[6] = {0};
    int64_t s = 0;
    double d = 0;
    nb_file_entry e[3] = {{"step", NB_T_I64, NB_POINT, &s},
                          {"layer.\"w\"", NB_T_F32, NB_SHAPE(2, 3), w},
                          {"gone", NB_T_F64, NB_POINT, &d}};
    said(nb_file_restore(f, 3, e, false, &why), NB_ERR_FORMAT, &why, "no tensor \"gone\"");
    e[1].shape = NB_SHAPE(3, 2);
    said(nb_file_restore(f, 2, e, false, &why), NB_ERR_SHAPE, &why,
         "\"layer.\"w\"\": the file has shape [2 3], expected [3 2]");
    e[1].type = NB_T_I32;
    said(nb_file_restore(f, 2, e, false, &why), NB_ERR_FORMAT, &why, "has F32, expected I32");
    ck_assert(s == 0 && w[0] == 0); /* the first was fine, and was not copied */
    e[1] = (nb_file_entry){"layer.\"w\"", NB_T_F32, NB_SHAPE(2, 3), w};
    said(nb_file_restore(f, 2, e, true, &why), NB_ERR_FORMAT, &why, "\"bytes\", which was not");
    ck_assert(s == 0 && w[0] == 0);
    fine(nb_file_restore(f, 2, e, false, &why), &why);
    ck_assert(s == 1200 && w[5] == 6);
    nb_file_free(f);
}
END_TEST

START_TEST(bad_puts_stay)
{
    nb_file *f = nb_file_new(NULL);
    ck_assert_int_eq(nb_file_put(f, &(nb_file_entry){"", NB_T_U8, NB_SHAPE(3), bytes}),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_file_put(f, &(nb_file_entry){"x", NB_T_U8, NB_SHAPE(-3), bytes}),
                     NB_ERR_SHAPE);
    ck_assert_int_eq(nb_file_put(f, &(nb_file_entry){"x", NB_TYPES, NB_SHAPE(3), bytes}),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_file_put(f, &(nb_file_entry){"x", NB_T_U8, NB_SHAPE(3), NULL}),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_file_put(f, &(nb_file_entry){"\xff", NB_T_U8, NB_SHAPE(3), bytes}),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_file_put_text(f, "k", "\xc3"), NB_ERR_ARGUMENT);
    said(nb_file_save(f, path("s"), &why), NB_ERR_ARGUMENT, &why, "without a name");
    nb_file_free(f);
    f = example(NULL);
    nb_file_put(f, &(nb_file_entry){"step", NB_T_I64, NB_POINT, &step});
    said(nb_file_save(f, path("s"), &why), NB_ERR_ARGUMENT, &why, "\"step\" is there twice");
    nb_file_free(f);
    ck_assert_int_eq(nb_file_put(NULL, NULL), NB_ERR_MEMORY);
    ck_assert_int_eq(files_in_folder(), 0);
}
END_TEST

/* Every byte of a file turned in turn: each must be noticed. */
START_TEST(every_damage_is_noticed)
{
    static unsigned char all[1000];
    nb_file *f = example(NULL), *g;
    fine(nb_file_save(f, path("s"), &why), &why);
    nb_file_free(f);
    const size_t n = read_bytes("s", all, sizeof all);
    int missed = 0;
    for (size_t i = 0; i < n; i++) {
        all[i] ^= 1;
        write_bytes("s", all, n);
        missed += !nb_file_load(path("s"), NULL, &g, &why);
        nb_file_free(g);
        all[i] ^= 1;
    }
    ck_assert_int_eq(missed, 0);
    for (size_t i = 0; i < n; i++) {
        write_bytes("s", all, i);
        missed += !nb_file_load(path("s"), NULL, &g, &why);
        nb_file_free(g);
    }
    ck_assert_int_eq(missed, 0);
    all[n] = 0;
    write_bytes("s", all, n + 1);
    said(nb_file_load(path("s"), NULL, &g, &why), NB_ERR_FORMAT, &why, "something follows");
    ck_assert_ptr_null(g);
    all[n - 1] ^= 4;
    write_bytes("s", all, n);
    said(nb_file_load(path("s"), NULL, &g, &why), NB_ERR_FORMAT, &why, "damaged or changed");
}
END_TEST

static const struct {
    const char *header, *part;
    size_t size;
} broken[] = {
    {"", "an object should start", 0},
    {"[", "an object should start", 0},
    {"{", "a string should start", 0},
    {"{\"a\"", "':' should follow", 0},
    {"{\"a\":{\"a\":{\"a\":{", "unknown property", 0},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},}", "a string should start",
     4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} x", "something follows", 4},
    {"{\"a\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,4]}}", "not supported", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "a whole number", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]}}", "a whole number", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", "an array should end",
     4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", "each once", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", "too many numbers", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]}}", "each once",
     4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", "too many",
     4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}",
     "too large", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}",
     "does not take", 0},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "F32 [2] does not take 4",
     4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,4]}}", "does not take -4", 4},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "there is a gap", 8},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "truncated", 3},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}",
     "overlap", 6},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     "\"a\" is there twice", 8},
    {"{\"\\ud800\":{}}", "surrogate", 0},
    {"{\"\\u0000\":{}}", "NUL", 0},
    {"{\"\\x\":{}}", "unknown escape", 0},
    {"{\"a\xff\":{}}", "not UTF-8", 0},
    {"{\"a\n\":{}}", "control character", 0},
    {"{\"__metadata__\":{\"k\":1}}", "a string should start", 0},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", "two objects", 0},
    {"{\"__metadata__\":{\"k\":\"v\",\"k\":\"v\"}}", "\"k\" is there twice", 0},
    {"{\"__metadata__\":{\"nabla.format\":\"2\"}}", "does not know", 0},
    {"{\"__metadata__\":{\"nabla.format\":\"1\"}}", "lacks its checksum", 0},
    {"{\"__metadata__\":{\"nabla.checksum\":\"123\"}}", "eight digits", 0},
    {"{\"__metadata__\":{\"nabla.checksum\":\"0000000\\u0030\"}}", "eight digits", 0},
};

START_TEST(broken_headers_are_named)
{
    static const char data[16] = {0};
    nb_file *f;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        assemble("s", broken[i].header, data, broken[i].size);
        said(nb_file_load(path("s"), NULL, &f, &why), NB_ERR_FORMAT, &why, broken[i].part);
        ck_assert_ptr_null(f);
    }
    write_bytes("s", "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
    said(nb_file_load(path("s"), NULL, &f, &why), NB_ERR_FORMAT, &why, "not safetensors");
    write_bytes("s", "\x02", 1);
    said(nb_file_load(path("s"), NULL, &f, &why), NB_ERR_FORMAT, &why, "truncated");
    said(nb_file_load(path("none"), NULL, &f, &why), NB_ERR_FILE, &why, "cannot open");
    said(nb_file_load(folder, NULL, &f, &why), NB_ERR_FILE, &why, "not a regular file");
    said(nb_file_load("/dev/zero", NULL, &f, &why), NB_ERR_FILE, &why, "not a regular file");
}
END_TEST

/* Written by others: no checksum, unaligned, escapes, spaces, tensors out of order. */
START_TEST(others_files_are_read)
{
    const char *header = "{ \"\\ud83d\\ude00\\/\" : {\"shape\":[ 1 , 2 ],\"data_offsets\":[1,5],"
                         "\"dtype\":\"I16\"}, \"b\":{\"dtype\":\"BOOL\",\"shape\":[],"
                         "\"data_offsets\":[0,1]}}   ";
    nb_file *f;
    assemble("s", header, "\1\2\0\xff\xff", 5);
    fine(nb_file_load(path("s"), NULL, &f, &why), &why);
    const nb_file_entry *e = nb_file_find(f, "\xf0\x9f\x98\x80/");
    ck_assert_ptr_nonnull(e);
    double v[2];
    nb_numbers(e->type, e->data, 2, v);
    ck_assert(v[0] == 2 && v[1] == -1);
    ck_assert_str_eq(nb_file_at(f, 0)->name, e->name);
    nb_file_free(f);
    assemble("s", "{}", NULL, 0);
    fine(nb_file_load(path("s"), NULL, &f, &why), &why);
    ck_assert_uint_eq(nb_file_count(f), 0);
    nb_file_free(f);
}
END_TEST

START_TEST(halves_become_doubles)
{
    const uint16_t half[] = {0x0000, 0x8001, 0x3c00, 0xc000, 0x7bff, 0x7c00, 0x7e00, 0x3555};
    const double expected[] = {0, -0x1p-24, 1, -2, 65504, (double)INFINITY, 0, 0.333251953125};
    double v[8];
    nb_numbers(NB_T_F16, half, 8, v);
    for (int i = 0; i < 8; i++)
        ck_assert(i == 6 ? isnan(v[i]) : v[i] == expected[i]);
    const uint16_t brain[] = {0x3f80, 0xc040};
    nb_numbers(NB_T_BF16, brain, 2, v);
    ck_assert(v[0] == 1 && v[1] == -3);
}
END_TEST

/* ---- saving that fails ----------------------------------------------------------------------- */

static int countdown;

static ssize_t little(int fd, const void *data, size_t size)
{
    if (!countdown) {
        errno = ENOSPC;
        return -1;
    }
    countdown--;
    return write(fd, data, size < 5 ? size : 5);
}

static int fails(int fd)
{
    (void)fd;
    errno = EIO;
    return -1;
}

static int fails_and_closes(int fd)
{
    close(fd);
    return fails(fd);
}

static int rename_fails(const char *from, const char *to)
{
    (void)from, (void)to;
    errno = EACCES;
    return -1;
}

static void old_stays(const nbi_disk *disk, const char *part)
{
    char got[16] = "";
    const nb_piece pieces[] = {{"new ", 4}, {"contents", 8}};
    said(nbi_write_atomic(disk, path("s"), 2, pieces, &why), NB_ERR_FILE, &why, part);
    ck_assert_uint_eq(read_bytes("s", got, 15), 3);
    ck_assert_str_eq(got, "old");
    ck_assert_int_eq(files_in_folder(), 1);
}

START_TEST(failures_leave_the_old_file)
{
    nbi_disk disk = nbi_real_disk;
    write_text("s", "old");
    disk.write = little;
    for (int k = 0; k < 3; k++) {
        countdown = k;
        old_stays(&disk, "No space left");
    }
    countdown = 3; /* 4, 5 and 3 bytes: enough */
    fine(nbi_write_atomic(&disk, path("t"), 2, (nb_piece[]){{"new ", 4}, {"contents", 8}}, &why),
         &why);
    char got[16] = "";
    read_bytes("t", got, 15);
    ck_assert_str_eq(got, "new contents");
    unlink(path("t"));
    disk = nbi_real_disk;
    disk.sync = fails;
    old_stays(&disk, "Input/output error");
    disk = nbi_real_disk;
    disk.close = fails_and_closes;
    old_stays(&disk, "Input/output error");
    disk = nbi_real_disk;
    disk.rename = rename_fails;
    old_stays(&disk, "Permission denied");
}
END_TEST

START_TEST(full_disk_leaves_the_old_file)
{
    static double large[20000];
    nb_file *f = example(NULL), *g;
    fine(nb_file_save(f, path("s"), &why), &why);
    nb_file_put(f, &(nb_file_entry){"large", NB_T_F64, NB_SHAPE(20000), large});
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){50000, 50000});
    said(nb_file_save(f, path("s"), &why), NB_ERR_FILE, &why, "is as it was");
    nb_file_free(f);
    fine(nb_file_load(path("s"), NULL, &g, &why), &why);
    ck_assert_uint_eq(nb_file_count(g), 4);
    nb_file_free(g);
    ck_assert_int_eq(files_in_folder(), 1);
}
END_TEST

START_TEST(places_that_are_not_files)
{
    struct stat s;
    const nb_piece piece = {"x", 1};
    said(nb_file_write("/dev/null", 1, &piece, &why), NB_ERR_FILE, &why, "not a regular file");
    said(nb_file_write(path("no/folder"), 1, &piece, &why), NB_ERR_FILE, &why, "No such file");
    said(nb_file_write("", 1, &piece, &why), NB_ERR_ARGUMENT, &why, "no path");
    write_text("s", "old");
    chmod(path("s"), 0640);
    ck_assert_int_eq(symlink("s", path("link")), 0);
    fine(nb_file_write(path("link"), 1, &piece, &why), &why);
    ck_assert(!lstat(path("link"), &s) && S_ISLNK(s.st_mode));
    ck_assert(!stat(path("s"), &s) && (s.st_mode & 0777) == 0640 && s.st_size == 1);
}
END_TEST

START_TEST(out_of_memory)
{
    bool done = false;
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = k, .for_ever = k % 2};
        const nb_allocator a = counting_allocator(&c);
        nb_file *f = example(&a), *g = NULL;
        nb_code code = f ? nb_file_save(f, path("s"), &why) : NB_ERR_MEMORY;
        nb_file_free(f);
        if (!code)
            code = nb_file_load(path("s"), &a, &g, &why);
        nb_file_free(g);
        /* a large request may be followed by a smaller one */
        ck_assert(code == (c.refusals && (c.for_ever || code) ? NB_ERR_MEMORY : NB_OK));
        ck_assert_uint_eq(c.blocks, 0);
        done = !c.refusals;
    }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("file");
    tcase_add_checked_fixture(c, make_folder, remove_folder);
    tcase_set_timeout(c, 100);
    tcase_add_test(c, crc_of_check_string);
    tcase_add_test(c, bytes_of_a_small_file);
    tcase_add_test(c, there_and_back);
    tcase_add_test(c, restoring_is_all_or_nothing);
    tcase_add_test(c, bad_puts_stay);
    tcase_add_test(c, every_damage_is_noticed);
    tcase_add_test(c, broken_headers_are_named);
    tcase_add_test(c, others_files_are_read);
    tcase_add_test(c, halves_become_doubles);
    tcase_add_test(c, failures_leave_the_old_file);
    tcase_add_test(c, full_disk_leaves_the_old_file);
    tcase_add_test(c, places_that_are_not_files);
    tcase_add_test(c, out_of_memory);
    return run_case("file", c);
}
