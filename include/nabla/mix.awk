# Reads a header of operations and writes what it includes last: for each prototype a macro of the
# same name that turns numbers among its var operands into vars and, under NB_LOCATE, notes the place
# of the call. Of a function that is given a list of vars it makes, under NB_LOCATE, one that notes
# the place with the list's tape: a macro could not tell a list, which may hold commas, from what
# follows it. Called with header=ops.h guard=NABLA_MIX_H, say.
BEGIN {
    print "/* Made from " header ": lets plain numbers stand where vars do. */"
    print "#ifndef " guard
    print "#define " guard
    split("add sub mul div", list, " ")
    for (i in list) inlined["nb_" list[i]] = 1
}
/^NB_API nb_(var|code) nb_/ { text = ""; taking = 1 }
taking {
    line = $0
    sub(/\/\*.*/, "", line)
    text = text " " line
    if (index(line, ";")) { taking = 0; emit(text) }
}
END { print "#endif" }

# The leading vars are named and wrapped; what follows them passes through untouched, so that it may
# hold commas (a compound literal, say).
function emit(text,    name, list, n, i, params, call) {
    sub(/^ *NB_API nb_(var|code) /, "", text)
    name = text; sub(/\(.*/, "", name)
    sub(/^[^(]*\(/, "", text); sub(/\).*/, "", text)
    n = split(text, list, ",")
    for (i = 1; i <= n && list[i] ~ /^ *nb_var [a-z_0-9]+ *$/; i++) {
        params = params (i > 1 ? ", " : "") "x" i
        call = call (i > 1 ? ", NBI_VAR(x" : "NBI_FIRST(x") i ")"
    }
    if (i == 1) { emit_list(name, n, list); return }
    if (i <= n) { params = params ", ..."; call = call ", __VA_ARGS__" }
    printf "#define %s(%s) %s(%s)\n", name, params,
           (name in inlined) ? "nbi_inline_" substr(name, 4) : "(" name ")", call
}

function emit_list(name, n, list,    i, word, params, call, count, first) {
    for (i = 1; i <= n; i++) {
        word = list[i]
        gsub(/^ +| +$/, "", word)
        params = params ", " word
        if (word ~ /^size_t / && !first) { count = word; sub(/^size_t /, "", count) }
        sub(/.*[ *]/, "", word)
        call = call (i > 1 ? ", " : "") word
        if (list[i] ~ /const nb_var \*/ && !first) first = word
    }
    if (!first) return
    gsub(/ +/, " ", params)
    printf "#ifdef NB_LOCATE\n"
    printf "static inline nb_var nbi_located_%s(const char *file, int line%s)\n", substr(name, 4), params
    printf "{\n    nbi_located_list(%s, %s, file, line);\n    return (%s)(%s);\n}\n", count, first, name, call
    printf "#define %s(...) nbi_located_%s(__FILE__, __LINE__, __VA_ARGS__)\n#endif\n", name, substr(name, 4)
}
