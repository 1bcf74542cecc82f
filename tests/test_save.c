/*
 * Models in files: what is in them by which name, that everything comes back to the bit, and that a file
 * that does not fit changes nothing.
 */
#include "fit.h"
#include "folder.h"

static nb_prep *prep;
static nb_schema *schema;

static void scramble(learned *l, double by)
{
    const nb_dtype d = nb_params_dtype(l->p);
    for (int64_t i = 0; i < nb_params_size(l->p); i++) {
        const double g = sin(by * (double)(i + 1));
        if (d == NB_F64)
            ((double *)nb_params_grads(l->p))[i] = g;
        else
            ((float *)nb_params_grads(l->p))[i] = (float)g;
    }
    for (int64_t i = 0; i < nb_params_statistic_size(l->p); i++)
        nb_params_statistics(l->p)[i] = cos(by * (double)i);
    ck_assert_int_eq(nb_optim_step(l->o, NULL), NB_OK);
    ck_assert_int_eq(nb_average_tell(l->average, NULL), NB_OK);
}

static nb_saved all_of(learned *l)
{
    return (nb_saved){
        .params = l->p, .optim = l->o, .average = l->average, .prep = prep, .schema = schema};
}

static void free_made(nb_saved *s)
{
    ck_assert(s->prep != prep);
    nb_prep_free(s->prep);
    nb_schema_free(s->schema);
}

START_TEST(comes_back)
{
    learned a, b;
    nb_reason why = {""};
    make_learned(&a, (nb_dtype)_i, false, NULL);
    make_learned(&b, (nb_dtype)_i, false, NULL);
    scramble(&a, 1.1);
    scramble(&a, 2.2);
    scramble(&b, 3.3);
    nb_saved s = all_of(&a), t = all_of(&b);
    fine(nb_save(&s, path("m"), &why), &why);
    ck_assert(!same_model(&a, &b));
    fine(nb_load(&t, path("m"), &why), &why);
    ck_assert(same_model(&a, &b));
    scramble(&a, 4.4);
    scramble(&b, 4.4);
    ck_assert(same_model(&a, &b));
    ck_assert_int_eq(nb_prep_columns(t.prep), nb_prep_columns(prep));
    ck_assert_str_eq(nb_schema_class(t.schema, 1), nb_schema_class(schema, 1));
    free_made(&t);
    t = (nb_saved){.params = b.p}; /* the rest of the file is not asked for */
    fine(nb_load(&t, path("m"), &why), &why);
    ck_assert_ptr_nonnull(t.prep);
    free_made(&t);
    free_learned(&a);
    free_learned(&b);
}
END_TEST

/* The batches that follow are the same. */
START_TEST(batches_come_back)
{
    learned l;
    nb_reason why = {""};
    nb_dataset *d = blobs(NB_F64, 40, 1, NULL);
    const nb_batch_options o = {.size = 8, .shuffle = true, .seed = 4};
    nb_batches *x, *y;
    const nb_dataset *p, *q;
    make_learned(&l, NB_F64, false, NULL);
    nb_batches_new(d, &o, &x, NULL);
    nb_batches_new(d, &o, &y, NULL);
    for (int k = 0; k < 8; k++)
        nb_batches_next(x, &p, NULL);
    fine(nb_save(&(nb_saved){.params = l.p, .batches = x}, path("m"), &why), &why);
    fine(nb_load(&(nb_saved){.params = l.p, .batches = y}, path("m"), &why), &why);
    for (int k = 0; k < 9; k++) {
        nb_batches_next(x, &p, NULL);
        nb_batches_next(y, &q, NULL);
        ck_assert(!p == !q && (!p || !memcmp(p->x, q->x, 16 * sizeof(double))));
    }
    nb_batches_free(x);
    nb_batches_free(y);
    nb_dataset_free(d);
    free_learned(&l);
}
END_TEST

/* The names and types that Python will see. */
START_TEST(names)
{
    static const struct {
        const char *name;
        nb_type type;
        nb_shape shape;
    } expected[] = {{"hidden.w", NB_T_F32, {2, {2, 8}}},
                    {"norm.gain", NB_T_F32, {1, {8}}},
                    {"statistics/norm.mean", NB_T_F64, {1, {8}}},
                    {"optim/mean/hidden.w", NB_T_F32, {2, {2, 8}}},
                    {"optim/root/out.b", NB_T_F32, {1, {3}}},
                    {"optim/steps", NB_T_I64, {0, {0}}},
                    {"average/out.w", NB_T_F64, {2, {8, 3}}},
                    {"average/count", NB_T_I64, {0, {0}}}};
    learned l;
    nb_file *f;
    nb_reason why = {""};
    make_learned(&l, NB_F32, false, NULL);
    scramble(&l, 1);
    nb_saved s = all_of(&l);
    fine(nb_save(&s, path("m"), &why), &why);
    fine(nb_file_load(path("m"), NULL, &f, &why), &why);
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        const nb_file_entry *e = nb_file_find(f, expected[k].name);
        ck_assert_msg(e != NULL, "%s", expected[k].name);
        ck_assert(e->type == expected[k].type && nb_shape_equal(e->shape, expected[k].shape));
    }
    ck_assert_int_eq(*(const int64_t *)nb_file_find(f, "optim/steps")->data, 1);
    ck_assert(
        !memcmp(nb_file_find(f, "hidden.w")->data, nb_params_values(l.p), 16 * sizeof(float)));
    ck_assert_str_eq(nb_file_text(f, "model.version"), "1");
    ck_assert_str_eq(nb_file_text(f, "optim.rule"), "adam");
    nb_file_free(f);
    free_learned(&l);
}
END_TEST

/* ---- what does not fit ----------------------------------------------------------------------- */

/* A file as saved, but for one thing that `change` does to it. */
static void change_file(void (*change)(nb_file *to, const nb_file_entry *e, const char *name),
                        const char *name)
{
    nb_file *f, *g = nb_file_new(NULL);
    nb_reason why = {""};
    fine(nb_file_load(path("m"), NULL, &f, &why), &why);
    for (size_t i = 0; i < nb_file_count(f); i++) {
        const nb_file_entry *e = nb_file_at(f, i);
        if (strcmp(e->name, name))
            nb_file_put(g, e);
        else
            change(g, e, name);
    }
    const char *value, *key;
    for (size_t i = 0; (key = nb_file_text_at(f, i, &value)); i++)
        if (strncmp(key, "nabla.", 6))
            nb_file_put_text(g, key, value);
    fine(nb_file_save(g, path("n"), &why), &why);
    nb_file_free(f);
    nb_file_free(g);
}

static void leave_out(nb_file *to, const nb_file_entry *e, const char *name)
{
    (void)to, (void)e, (void)name;
}
static void reshape(nb_file *to, const nb_file_entry *e, const char *name)
{
    (void)name;
    nb_file_put(to,
                &(nb_file_entry){e->name, e->type, NB_SHAPE(nb_shape_size(e->shape), 1), e->data});
}
static void retype(nb_file *to, const nb_file_entry *e, const char *name)
{
    static const double zeros[100];
    (void)name;
    nb_file_put(to, &(nb_file_entry){e->name, NB_T_F64, e->shape, (void *)zeros});
}
static void rename_it(nb_file *to, const nb_file_entry *e, const char *name)
{
    (void)name;
    nb_file_put(to, &(nb_file_entry){"hidden2.w", e->type, e->shape, e->data});
}
static void negate(nb_file *to, const nb_file_entry *e, const char *name)
{
    static int64_t number = -1;
    (void)name;
    nb_file_put(to, &(nb_file_entry){e->name, e->type, e->shape, &number});
}

START_TEST(misfits)
{
    static const struct {
        void (*change)(nb_file *, const nb_file_entry *, const char *);
        const char *name, *part;
        nb_code code;
    } cases[] = {
        {leave_out, "out.b", "no tensor \"out.b\"", NB_ERR_FORMAT},
        {leave_out, "optim/root/out.w", "no tensor \"optim/root/out.w\"", NB_ERR_FORMAT},
        {leave_out, "average/count", "no tensor \"average/count\"", NB_ERR_FORMAT},
        {leave_out, "statistics/norm.variance", "statistics/norm.variance", NB_ERR_FORMAT},
        {reshape, "hidden.w", "\"hidden.w\": the file has shape [16 1], expected [2 8]",
         NB_ERR_SHAPE},
        {retype, "norm.bias", "\"norm.bias\": the file has F64, expected F32", NB_ERR_FORMAT},
        {rename_it, "hidden.w", "the file has a parameter \"hidden2.w\"", NB_ERR_FORMAT},
        {negate, "optim/steps", "-1 steps", NB_ERR_FORMAT},
        {leave_out, "prep/prep.0.scale", "prep", NB_ERR_FORMAT},
    };
    learned a, b, c;
    nb_reason why = {""};
    make_learned(&a, NB_F32, false, NULL);
    make_learned(&b, NB_F32, false, NULL);
    make_learned(&c, NB_F32, false, NULL);
    scramble(&a, 1.1);
    scramble(&b, 3.3);
    scramble(&c, 3.3);
    nb_saved s = all_of(&a);
    fine(nb_save(&s, path("m"), &why), &why);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        nb_saved t = all_of(&b);
        change_file(cases[k].change, cases[k].name);
        said(nb_load(&t, path("n"), &why), cases[k].code, &why, cases[k].part);
        ck_assert(same_model(&b, &c));
        ck_assert(t.prep == prep && t.schema == schema);
    }
    free_learned(&a);
    free_learned(&b);
    free_learned(&c);
}
END_TEST

START_TEST(refusals)
{
    learned l;
    nb_reason why = {""};
    make_learned(&l, NB_F64, false, NULL);
    nb_params *p = nb_params_new(NULL);
    said(nb_save(NULL, path("m"), &why), NB_ERR_ARGUMENT, &why, "no parameters");
    said(nb_load(&(nb_saved){0}, path("m"), &why), NB_ERR_ARGUMENT, &why, "no parameters");
    said(nb_load(&(nb_saved){.params = l.p}, path("none"), &why), NB_ERR_FILE, &why, "none");
    said(nb_save(&(nb_saved){.params = p, .optim = l.o}, path("m"), &why), NB_ERR_ARGUMENT, &why,
         "optimizer is that of other");
    nb_reason other = {""};
    said(nb_load(&(nb_saved){.params = p, .average = l.average}, path("m"), &other),
         NB_ERR_ARGUMENT, &other, "average is that of other");
    nb_params_add(p, "optim/steps", NB_SHAPE(2), NULL, NULL);
    said(nb_save(&(nb_saved){.params = p}, path("m"), &why), NB_ERR_ARGUMENT, &why,
         "keeps for others");
    nb_params_state(l.p, 1);
    said(nb_save(&(nb_saved){.params = l.p, .optim = l.o}, path("m"), &why), NB_ERR_ARGUMENT, &why,
         "taken for something else");
    ck_assert_int_eq(files_in_folder(), 1); /* the csv */
    nb_params_free(p);
    free_learned(&l);
}
END_TEST

START_TEST(refused_memory)
{
    size_t failures = 0;
    bool done = false;
    for (size_t k = 1; !done; k++) {
        learned a, b;
        nb_reason why = {""};
        counting c = {0};
        const nb_allocator allocator = counting_allocator(&c);
        make_learned(&a, NB_F64, false, &allocator);
        make_learned(&b, NB_F64, false, &allocator);
        scramble(&a, 1);
        nb_saved s = all_of(&a), t = all_of(&b);
        const size_t blocks = c.blocks, calls = c.calls;
        c.refuse = calls + k;
        nb_code code = nb_save(&s, path("m"), &why);
        if (!code)
            code = nb_load(&t, path("m"), &why);
        ck_assert(!code || code == NB_ERR_MEMORY);
        ck_assert(!code || why.text[0]);
        done = !c.refusals;
        failures += code != NB_OK;
        if (!code)
            free_made(&t);
        ck_assert(code || same_model(&a, &b));
        ck_assert_uint_eq(c.blocks, blocks);
        free_learned(&a);
        free_learned(&b);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert_uint_gt(failures, 10);
}
END_TEST

static void set_up(void)
{
    nb_reason why = {""};
    nb_dataset *d;
    const nb_prep_step steps[] = {{NB_PREP_STANDARDISE, 0}};
    make_folder();
    write_text("data.csv", "x,y,kind\n1,2,oak\n3,5,elm\n4,4,oak\n");
    fine(nb_csv_scan(path("data.csv"), NULL, &schema, &why), &why);
    fine(nb_csv_load(path("data.csv"), schema, &d, &why), &why);
    fine(nb_prep_fit(d, 1, steps, &prep, &why), &why);
    nb_dataset_free(d);
}

static void tear_down(void)
{
    nb_prep_free(prep);
    nb_schema_free(schema);
    remove_folder();
}

int main(void)
{
    TCase *c = tcase_create("save");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_loop_test(c, comes_back, 0, 2);
    tcase_add_test(c, batches_come_back);
    tcase_add_test(c, names);
    tcase_add_test(c, misfits);
    tcase_add_test(c, refusals);
    tcase_add_test(c, refused_memory);
    return run_case("save", c);
}
