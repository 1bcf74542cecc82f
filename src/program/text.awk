# Parts of the library as strings, for C files that are printed: arrays of lines, up to NULL. Of
# table/special.c one for each section, special_<section>; of every other file, lanes_<file>. Functions
# become static and may stay unused; files of the library's own are not included.
function begin(array) { if (open) print "    NULL};"; open = array; print "static const char *const " array "[] = {" }
FNR == 1 { inside = FILENAME !~ /\.c$/ }
FNR == 1 && inside { array = FILENAME; gsub(/.*\/|\.inc$/, "", array); begin("lanes_" array) }
!/^#/ && /^\/\* ---- / && FILENAME ~ /\.c$/ { inside = 1; begin("special_" $3); next }
!inside || /^#include "/ { next }
{
    sub(/^double nbi_/, "static double nbi_")
    gsub(/__attribute__\(\(noinline\)\)/, "__attribute__((noinline, unused))")
    gsub(/__attribute__\(\(always_inline\)\)/, "__attribute__((always_inline, unused))")
    gsub(/[\\"]/, "\\\\&")
    print "    \"" $0 "\\n\","
}
END { print "    NULL};" }
