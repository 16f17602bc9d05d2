# What holds for a folder of the host as a volume, whatever it is reached by. The test that takes this in says
# how: $vol is the folder, fresh empties it, with_volume ID COMMAND... runs a container that has it as /v.
. "$(dirname "$0")/lib.sh"

# Two sandboxes append to one file, and no line is lost or torn.
expect_whole_appends() {
	local i pids=()
	fresh
	for i in 1 2; do
		with_volume "append$i" sh -c 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo X$i >>/v/log; done' &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail 'a writer failed'; done
	expect 600 "$(grep -c '^X[0-9]*$' "$vol/log")" 'whole lines'
}
