# The functions of special.c as strings, for C files that are printed: an array of lines for each
# section, up to NULL. A function that others may call becomes static.
/^\/\* ---- / { if (name) print "    NULL};"; name = $3; print "static const char *const special_" name "[] = {"; next }
!name { next }
{
    sub(/^double nbi_/, "static double nbi_")
    gsub(/\\/, "\\\\")
    gsub(/"/, "\\\"")
    print "    \"" $0 "\\n\","
}
END { print "    NULL};" }
