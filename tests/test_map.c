#include "error_is.h"
#include "program/map.h"
START_TEST(laws)
{
    nb_law_report r;
    const nb_code code = nb_check_op(&nbi_op_map, &r);
    ck_assert_msg(code == NB_OK, "%s: %s", nb_code_name(code), r.text);
}
END_TEST
int main(void)
{
    TCase *c = tcase_create("map");
    tcase_add_test(c, laws);
    return run_case("map", c);
}
