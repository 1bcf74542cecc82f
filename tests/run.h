/*
 * How a test program ends: `return run_case("name", c);` for one case, `return run_suite(s);` for a
 * suite of several. The answer is main's: 0 only if every test passed.
 */
#ifndef NABLA_TESTS_RUN_H
#define NABLA_TESTS_RUN_H

#include <check.h>

static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

static inline int run_case(const char *name, TCase *c)
{
    Suite *s = suite_create(name);
    suite_add_tcase(s, c);
    return run_suite(s);
}

#endif
