#!/bin/sh
# compare.sh program [expected]: runs the program; its output must be the text in the file.
set -eu

actual=$("$1"; echo end)
[ $# -lt 2 ] || printf '%s' "${actual%end}" | diff -u "$2" -
