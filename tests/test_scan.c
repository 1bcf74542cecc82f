#include "error_is.h"
#include "program/scan.h"
START_TEST(laws)
{
    nb_law_report r;
    const nb_code code = nb_check_op(&nbi_op_scan, &r);
    ck_assert_msg(code == NB_OK, "%s: %s", nb_code_name(code), r.text);
}
END_TEST
int main(void)
{
    TCase *c = tcase_create("scan");
    tcase_add_test(c, laws);
    return run_case("scan", c);
}
