# What the tests of crashes share: a factory that kills itself at a fault point (base/fault.h), and
# what must be so when the next one has started.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

faulty=$BUILD/faults/kiln-factory
bystander=bystander # a container that lives through all crashes
pool_size=1

# start_armed POINT[:N]: a factory that kills itself there; its pid is left in $armed.
start_armed() {
	KILN_FAULT=$1 timeout 60 "$faulty" --daemon --config "$work/factory.json"
	armed=$(factory_pid)
}

expect_dead() {
	timeout 150 tail -s 0.05 --pid="$armed" -f /dev/null || fail "the factory did not pass $1"
	grep -q "killed at fault point ${1%:*}\$" "$work/factory.log" ||
		fail "the factory died, but not at $1"
	: >"$work/factory.log"
}

claimed_ids() { factory_ctl list --json | jq -r '.vms[]? | select(.state == "claimed") | .vm_id'; }

known_ids() { factory_ctl list --json | jq -r '.vms[]?.vm_id' | sort; }
known_pids() { factory_ctl list --json | jq -r '.vms[]?.pid' | sort; }

# expect_nothing_astray WHAT: journal entries, folders and processes are those of the machines the factory
# lists, and mounts are in their share folders only. What ends just now goes step by step, so there are
# several looks.
expect_nothing_astray() {
	local i
	for i in {1..20}; do
		(test_log=/dev/null && look_for_astray "$1") && return
		sleep 0.2
	done
	look_for_astray "$1"
}

look_for_astray() {
	local ids
	ids=$(known_ids)
	expect "$ids" "$(find "$run/vms" -mindepth 1 -maxdepth 1 -name '*.json' -printf '%f\n' |
		sed 's/\.json$//' | sort)" "journal entries after $1"
	expect "$ids" "$(find "$run/vms" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)" \
		"folders after $1"
	expect '' "$(find "$run/vms" -mindepth 1 -maxdepth 1 ! -type d ! -name '*.json')" \
		"files after $1"
	expect "$(known_pids)" "$(vmm_pids | sort)" "processes after $1"
	expect '' "$(find "$run/bake" -mindepth 1 2>/dev/null)" "bake folders after $1"
	expect "$ids" "$(awk -v v="$run/vms/" 'index($5, v) == 1 { split(substr($5, length(v) + 1), p, "/")
		print p[1] }' /proc/self/mountinfo | sort -u)" "machines with mounts after $1"
	expect "$(bystander_vm)" "$(awk -v v="$run/vms/" 'index($5, v) == 1 && $5 !~ "/share$" {
		split(substr($5, length(v) + 1), p, "/"); print p[1] }' /proc/self/mountinfo | sort -u)" \
		"machines with mounts in their share after $1"
	expect "$ids" "$(find "$run/uids" -type l ! -lname bake -printf '%l\n' | sort)" "user ids after $1"
	expect "$ids" "$(find /sys/fs/cgroup -path "*/$cgroup/*" -type d -printf '%f\n' \
		2>/dev/null | sort -u)" "control groups after $1"
}

bystander_vm() {
	factory_ctl list --json | jq -r --arg s "$bystander" \
		'.vms[]? | select(.sandbox_id | contains($s)) | .vm_id'
}

expect_bystander_lives() {
	expect lives "$(ctr task exec --exec-id "x$RANDOM" "$bystander" echo lives)" \
		"the bystander after $1"
}

# recovers POINT: the next factory puts everything right.
recovers() {
	start_factory
	wait_full || fail "the pool is not full again after $1"
	expect "$pool_size" "$(parked)" "parked after $1"
	expect_nothing_astray "$1"
	expect 1 "$(find "$store/templates" -mindepth 1 -maxdepth 1 | wc -l)" "templates after $1"
	expect_bystander_lives "$1"
}

# at POINT[:N] COMMAND...: the crash while COMMAND runs (which may fail), and what follows it.
at() {
	local point=$1 begun=$SECONDS
	shift
	stop_factory KILL
	start_armed "$point"
	"$@" >"$work/command.out" 2>&1 &
	expect_dead "$point"
	wait $! || true
	recovers "$point"
	echo "$point: $((SECONDS - begun)) s"
}
