#!/bin/bash
# A busy day in short: claims and releases from several callers at once, while clones and
# claimers are killed at random. The factory ends as it began.
#
#   CYCLES  claims to make (500), or as many as fit into DAY_SECONDS (120)
#   SEED    of the kills (1)
. "$(dirname "$0")/lib.sh"

CYCLES=${CYCLES:-500} DAY_SECONDS=${DAY_SECONDS:-120} SEED=${SEED:-1}
callers=4
pool_size=4
rss_tolerance_kib=2048 # the allocator's own; what is lost per cycle would be seen 500 times

# claim NUMBER [OPTIONS]: in the background; sets claimer, the process, whose stderr is in $work/said.NUMBER.
claim() {
	: >"$work/said.$1"
	kiln-ctl agent "${@:2}" -c Check >/dev/null 2>"$work/said.$1" &
	claimer=$!
}

# caller NUMBER CYCLES: claims, asks, releases; every twelfth claimer is killed, while it waits for a machine or once
# it has one.
caller() {
	local claimer i
	RANDOM=$((SEED * 100 + $1))
	for ((i = 0; i < $2 && SECONDS < DAY_SECONDS; i++)); do
		if ((RANDOM % 12 == 0)); then
			claim "$1" --repeat 1000000
			if ((RANDOM % 2 == 0)); then
				sleep "0.0$((RANDOM % 10))"
			else
				timeout 30 grep -q -m1 '^kiln-ctl: machine' <(tail -n +1 -f "$work/said.$1")
			fi
			kill -9 "$claimer" && echo killed >>"$work/caller.$1"
			wait "$claimer"
			continue
		fi
		claim "$1"
		timeout 60 tail -s 0.02 --pid="$claimer" -f /dev/null || kill -9 "$claimer"
		if wait "$claimer"; then
			echo served >>"$work/caller.$1"
		else
			echo failed >>"$work/caller.$1"
			cat "$work/said.$1" >>"$work/caller.$1.err"
		fi
	done 2>/dev/null
}

# killer: ends a machine of any state, again and again, until $work/dusk is there.
killer() {
	local pids
	RANDOM=$SEED
	until [ -e "$work/dusk" ]; do
		mapfile -t pids < <(factory_ctl list --json 2>/dev/null | jq -r '.vms[]?.pid | select(. > 0)') # 0: not started
		((${#pids[@]} > 0)) && kill -9 "${pids[RANDOM % ${#pids[@]}]}" 2>/dev/null &&
			echo killed >>"$work/killer"
		sleep $((3 + RANDOM % 4)) # each kill of a clone under way costs a backoff
	done
}

count() { cat "$work"/"$2"* 2>/dev/null | grep -c "^$1\$"; }

# settle: nothing is claimed any more (the leases of the killed have ended), the pool is full.
settle() {
	timeout 60 bash -c 'until [ "$("$@" | jq "[.vms[]? | select(.state == \"claimed\")] | length")" = 0 ]
		do sleep 0.2; done' _ kiln-ctl factory list --socket "$run/factory.sock" --json &&
		wait_full
}

descriptors() { find "/proc/$(factory_pid)/fd" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l; }
rss_kib() { awk '/^VmRSS:/ { print $2 }' "/proc/$(factory_pid)/status"; }
# Names of machines differ, their number and what each has does not.
files() { find "$run" -path "$run/libvirt" -prune -o -print | sed -E 's/[0-9a-f]{32}/ID/; s,/uids/[0-9]+,/uids/UID,' | sort | uniq -c; }

# run_callers CYCLES: all callers, to their end.
run_callers() {
	local i pids=()
	for ((i = 1; i <= callers; i++)); do
		caller "$i" $(($1 / callers)) &
		pids+=($!)
	done
	wait "${pids[@]}"
}

day() {
	run_callers 40 # a first round makes what lives as long as the factory
	settle || return
	rm -f "$work"/caller.*
	begun_descriptors=$(descriptors) begun_rss=$(rss_kib) begun_files=$(files)
	killer &
	run_callers "$CYCLES"
	: >"$work/dusk"
	wait
	settle || return
	ended_descriptors=$(descriptors) ended_rss=$(rss_kib) ended_files=$(files)
	served=$(count served caller) failed=$(count failed caller)
	echo "# $((served + failed + $(count killed caller))) cycles: $served served," \
		"$failed met a machine that was killed, $(count killed caller) claimers and" \
		"$(count killed killer) machines killed; RSS $begun_rss -> $ended_rss KiB"
}

test_the_factory_lives_and_is_full() {
	is_factory "$(factory_pid)" || fail 'the factory is dead'
	expect "$pool_size" "$(parked)" parked
	[ -n "${ended_rss:-}" ] || fail 'the machines of the killed were not reaped'
}

# A machine may be killed under its claimer; nothing else may make a claim fail.
test_claims_are_served() {
	((served >= 40)) || fail "only $served claims were served"
	((failed <= $(count killed killer))) ||
		fail "$failed claims failed, $(count killed killer) machines were killed:" \
			"$(grep -h -v '^kiln-ctl: machine' "$work"/caller.*.err | sort | uniq -c)"
}

test_leases_of_killed_claimers_end() {
	grep -q 'its claimer (pid [0-9]*) died' "$work/factory.log" || fail 'no claimer was killed that had a machine'
}

test_descriptors_end_where_they_began() {
	expect "$begun_descriptors" "$ended_descriptors" descriptors
}

test_files_end_where_they_began() { expect "$begun_files" "$ended_files" files; }

test_memory_ends_where_it_began() {
	((ended_rss - begun_rss <= rss_tolerance_kib)) || fail "RSS: $begun_rss -> $ended_rss KiB"
}

test_no_machine_is_left_over() {
	expect "$(factory_ctl list --json | jq -r '.vms[].pid' | sort)" "$(vmm_pids | sort)" processes
}

write_config "$pool_size"
configure '.lease_grace_s = 1 | .log_level = "info"'
start_factory
wait_full || exit 1
SECONDS=0
day
run_tests "$@"
