#!/bin/sh
# Checks the Spin models: each must hold, and each planted mistake must be found. Needs spin and a C compiler.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# States of the last search, or nothing if it found an error.
search() {
    model=$1; shift
    (
        cd "$work"
        rm -f pan* ./*.trail
        spin -a "$@" "$OLDPWD/$model" >/dev/null
        # shellcheck disable=SC2086
        cc -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=2048 -o pan pan.c
        ./pan -m1000000 -w24 >report 2>&1
        grep -q 'errors: 0' report && ! grep -q 'max search depth too small\|out of memory\|MEMLIM bound' report &&
            sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' report
    )
}

holds() {
    if states=$(search "$@"); then echo "holds: $* ($states states)"; else echo "FAILS: $*"; exit 1; fi
}

found() {
    if search "$@" >/dev/null; then echo "NOT FOUND: $*"; exit 1; else echo "found: $*"; fi
}

holds eventcount.pml -DROUNDS=3 -DSLEEPERS=1
holds eventcount.pml
holds eventcount.pml -DNOTIFIERS=2 -DROUNDS=1
holds eventcount.pml -DDEATH -DSLEEPERS=1
found eventcount.pml -DNO_BARRIER
found eventcount.pml -DTRUST_FENCE
found eventcount.pml -DROUNDS=3 -DNO_EPOCH
found eventcount.pml -DTURN_FIRST
found eventcount.pml -DNO_SECOND_LOOK
found eventcount.pml -DDEATH -DSLEEPERS=1 -DNO_DEATH_WAKE
