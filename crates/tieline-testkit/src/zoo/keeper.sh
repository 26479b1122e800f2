# A keeper of the zoo in the shell: a pipeline. See mod.rs for the lines.
#
#     keeper SPECIES DIRECTORY PREFIX SEED

set -e
[ "$1" = pipeline ] || { echo "keeper: no species $1" >&2; exit 2; }
stages=$2/stages
mkdir "$stages"
exec 3>&1

# Each stage tells what it holds, signs off, lets go of the report, and becomes a program that waits.
pipe='pipe() { printf "object\t%s\tpipe\t%s\n" "$1" "$(stat -L -c "device=%d	inode=%i" /dev/fd/0)" >&3; }
hold() { printf "hold\t%s\t%d\tfd\t%d\t%s\n" "$1" $$ "$2" "$3" >&3; }
wait_for() { printf "wait\t%s\t%d\tread\n" "$1" $$ >&3; }
stay() { : >"$stages/$$"; exec 3>&-; exec "$@"; }'
stages=$stages sh -c "$pipe"'; hold first 1 w; stay sleep 1000' </dev/null |
	stages=$stages sh -c "$pipe"'; pipe first; hold first 0 r; hold second 1 w; wait_for first; stay cat' |
	stages=$stages sh -c "$pipe"'; pipe second; hold second 0 r; wait_for second; exec >/dev/null; stay cat' &

until [ "$(ls "$stages" | wc -l)" = 3 ]; do
	sleep 0.01
done
# A stage has signed off a moment before it is the program that stays.
for stage in "$stages"/*; do
	until [ "$(cat "/proc/${stage##*/}/comm")" != sh ]; do
		sleep 0.01
	done
done
echo ready
cat >/dev/null
kill $(ls "$stages")
