#!/bin/sh
# Checks one model of this directory, and that each of its negative controls fails. See README.md.
set -eu
model=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
check() { # defines; prints the errors that were found
    # shellcheck disable=SC2086
    spin $1 -a "$here/$model.pml" >/dev/null
    cc -O2 -DSAFETY -DCOLLAPSE -DMEMLIM=3000 -w -o pan pan.c
    ./pan -m200000 >log 2>&1
    grep -E "errors:|states, stored|pan:[0-9]" log | tr '\n' ';'
    echo
}
echo "as built: $(check "$*")"
grep -q "errors: 0" log || exit 1
if grep -q "max search depth too small\|out of memory" log; then echo "not exhaustive"; exit 1; fi
for control in $(sed -n 's/^ \*   -D\([A-Z_]*\).*/\1/p' "$here/$model.pml"); do
    echo "with $control: $(check "$* -D$control")"
    if grep -q "errors: 0" log; then echo "the control $control found nothing"; exit 1; fi
done
