#!/bin/sh
# Checks the Spin models: each must hold, searched to the end, and each planted mistake must be found. Needs spin and a
# C compiler; a minute on one processor, 20 seconds with --quick, which leaves out the largest searches. With another
# argument: only the models whose name contains it.
set -eu
quick=
if [ "${1:-}" = --quick ]; then quick=1; shift; fi
wanted=${1:-}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
held=0 planted=0 states=0

# Searches a model with these defines. Leaves spin's report in `report`.
search() {
    model=$1; shift
    rm -f pan* ./*.trail
    spin -a "$@" "$here/$model" >/dev/null
    cc -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=2048 -o pan pan.c
    ./pan -m1000000 -w24 >report 2>&1
}

is_whole() {
    ! grep -q 'max search depth too small\|out of memory\|MEMLIM bound\|search not completed' report
}

fails() {
    echo "FAILS: $*: $why"
    cat report
    exit 1
}

holds() {
    case $1 in *"$wanted"*) ;; *) return 0 ;; esac
    search "$@"
    why='an error'; grep -q 'errors: 0' report || fails "$@"
    why='not searched to the end'; is_whole || fails "$@"
    count=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' report)
    echo "holds: $* ($count states)"
    held=$((held + 1)) states=$((states + $(printf '%.0f' "$count")))
}

large() {
    [ -n "$quick" ] || holds "$@"
}

found() {
    case $1 in *"$wanted"*) ;; *) return 0 ;; esac
    search "$@"
    # A search that gave up found nothing either.
    why='the planted mistake is not found'; grep -q 'errors: [1-9]' report || fails "$@"
    echo "found: $*"
    planted=$((planted + 1))
}

holds eventcount.pml -DROUNDS=3 -DSLEEPERS=1
large eventcount.pml
large eventcount.pml -DNOTIFIERS=2 -DROUNDS=1
holds eventcount.pml -DDEATH -DSLEEPERS=1
found eventcount.pml -DNO_BARRIER
found eventcount.pml -DTRUST_FENCE
found eventcount.pml -DROUNDS=3 -DSLEEPERS=1 -DNO_EPOCH
found eventcount.pml -DTURN_FIRST
found eventcount.pml -DNO_SECOND_LOOK
found eventcount.pml -DDEATH -DSLEEPERS=1 -DNO_DEATH_WAKE

holds keeper-election.pml -DN=3 -DDEATHS=1
holds keeper-election.pml -DN=3 -DDEATHS=2
found keeper-election.pml -DN=3 -DDEATHS=1 -DNO_MEMBER_BYTE
found keeper-election.pml -DN=3 -DDEATHS=1 -DNO_NAME_CHECK
found keeper-election.pml -DN=3 -DDEATHS=1 -DNO_LOCK

[ "$held" -gt 0 ] || { echo "no model has $wanted in its name"; exit 1; }
echo "spin: $held models hold ($states states), $planted planted mistakes found"
