#!/bin/bash
# Machines of the size a claim asks for: as they are parked, grown, booted, refused.
. "$(dirname "$0")/lib.sh"

host_cpus=$(nproc)
host_mib=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)

# counter NAME: over all reasons.
counter() { status_json | jq --arg name "$1" '[.counters[] | select(.name == $name).value] | add // 0'; }

metric() { timeout 10 curl -s --unix-socket "$run/http.sock" http://kiln/metrics | grep -F "$1" || true; }

# guest_size ID OPTIONS...: "CPUS MIB" as a container sees them.
guest_size() {
	kiln_run "$@" -- sh -c 'echo $(grep -c ^processor /proc/cpuinfo) $(awk "/^MemTotal/ { print int(\$2 / 1024) }" /proc/meminfo)'
}

# claimed OPTIONS...: how kiln-ctl says a machine was had.
claimed() { ctl agent "$@" -c Check 2>&1 >/dev/null; }

# refused REGEX OPTIONS...
refused() {
	local out code=0
	out=$(ctl agent "${@:2}" -c Check 2>&1) || code=$?
	expect 1 "$code" 'exit code'
	expect_match "$1" "$out"
}

test_nothing_is_added_where_nothing_can_grow() {
	local argv
	argv=$(factory_ctl inspect small --json | jq -r '.argv | join(" ")')
	[[ $argv != *virtio-mem* && $argv == *'-smp 1,'* ]] || fail "$argv"
	argv=$(factory_ctl inspect default --json | jq -r '.argv | join(" ")')
	[[ $argv == *'virtio-mem-pci,id=growth'* && $argv == *'-smp 2,'* ]] || fail "$argv"
	expect_match 'grows to +2 vCPUs, 640 MiB' "$(factory_ctl inspect default)"
}

test_exact_is_as_it_was_parked() {
	expect_match '\(1 vCPUs, 256 MiB\), pooled in' "$(claimed --vcpus 1 --memory 256)"
	expect_match '\(1 vCPUs, 192 MiB\), pooled in' "$(claimed --memory 192)"
	expect 0 "$(counter claims_grown)" 'claims that grew'
}

test_parked_machine_keeps_its_spare_to_itself() {
	read -r cpus mib <<<"$(guest_size exact)"
	expect 1 "$cpus" vCPUs
	((mib > 150 && mib < 256)) || fail "$mib MiB"
	echo "$mib" >"$work/plain"
}

test_grows_within_the_claim() {
	local plain cpus mib
	wait_full
	plain=$(cat "$work/plain")
	read -r cpus mib <<<"$(guest_size grown "${with_sizes[@]}" --annotation io.kiln.vcpus=2 --annotation io.kiln.memory_mib=402)"
	expect 2 "$cpus" vCPUs
	# To the MiB, and no multiple of the guest's blocks.
	((mib - plain >= 145 && mib - plain <= 146)) || fail "$plain MiB became $mib, not 146 more"
	expect 1 "$(counter claims_grown)" 'claims that grew'
	expect 0 "$(counter claims_booted)" 'claims that booted'
	expect_match '\(1 vCPUs, 640 MiB\)' "$(claimed --memory 640)"
	expect_match '\(2 vCPUs, 256 MiB\)' "$(claimed --vcpus 2 --template default)"
}

# quota VM: microseconds of processor time in each tenth of a second.
quota() {
	cat "/sys/fs/cgroup/cpu/$cgroup/$1/cpu.cfs_quota_us" 2>/dev/null ||
		cut -d' ' -f1 "/sys/fs/cgroup/$cgroup/$1/cpu.max"
}
machine() { factory_ctl list --json | jq -r --arg s "$1" 'first(.vms[] | select(.template == "default" and .state == $s)).vm_id'; }

# What it has in store is not its own before it is claimed.
test_processor_time_follows_the_vcpus() {
	wait_full
	expect 200000 "$(quota "$(machine parked)")" 'a parked one, with 1 vCPU and one in store'
	ctr run -d --runtime io.containerd.kiln.v2 "${with_sizes[@]}" --annotation io.kiln.vcpus=2 "$image" quota sleep 600
	expect 300000 "$(quota "$(machine claimed)")" 'one that has grown to 2'
	remove_container quota
	wait_no_sandboxes
}

test_sandbox_size_of_cri() {
	local cpus mib cri=io.kubernetes.cri.sandbox
	read -r cpus mib <<<"$(guest_size pod --annotation $cri-cpu-period=100000 --annotation $cri-cpu-quota=150000 --annotation $cri-memory=$((320 << 20)))"
	expect 2 "$cpus" vCPUs
	((mib - $(cat "$work/plain") >= 63)) || fail "$mib MiB"
	# -1 and 0: no limit.
	read -r cpus mib <<<"$(guest_size pod --annotation $cri-cpu-period=100000 --annotation $cri-cpu-quota=-1 --annotation $cri-memory=0)"
	expect 1 "$cpus" vCPUs
}

# Docker's -m and --cpus come as ctr's, in the container's own configuration.
test_limits_of_a_container_that_is_no_pods() {
	local cpus mib plain out
	plain=$(guest_size plain --annotation io.kiln.template=default)
	read -r cpus mib <<<"$(guest_size limited --memory-limit $((402 << 20)) --cpus 1.5)"
	expect 2 "$cpus" vCPUs
	((mib - ${plain#* } >= 145 && mib - ${plain#* } <= 146)) || fail "$plain became $mib MiB"
	# More than the template has, and less than the limit.
	expect 250 "$(kiln_run fits --memory-limit $((402 << 20)) -- sh -c 'dd if=/dev/zero bs=250M count=1 2>/dev/null | wc -c | awk "{ print \$1 / 1048576 }"')"
	expect "$plain" "$(guest_size little --annotation io.kiln.template=default --memory-limit $((64 << 20)) --cpus 0.5)" 'less than the template'
	out=$(kiln_run much --memory-limit $((512 << 30)) -- true 2>&1) && fail 'it ran'
	expect_match '524288 MiB are wanted, and a claim gets [0-9]+ at most' "$out"
}

test_sizes_of_the_config_file() {
	local cpus mib
	echo '{"vcpus": 2, "memory_mib": 300}' >"$work/shim.json"
	read -r cpus mib <<<"$(guest_size file --runtime-config-path "$work/shim.json")"
	expect 2 "$cpus" vCPUs
	((mib - $(cat "$work/plain") >= 43)) || fail "$mib MiB"
}

# The kernel's own are by the memory that the template had when it was baked.
test_limits_are_not_those_of_the_bake() {
	ctr run -d --runtime io.containerd.kiln.v2 "${with_sizes[@]}" --annotation io.kiln.memory_mib=402 "$image" limits sleep 600
	expect 'unlimited unlimited unlimited unlimited 4194304 4194304 9223372036854775807 1048576' \
		"$(ctr tasks exec --exec-id e1 --user 1000 limits sh -c '
			sed -n "s/^Max \(processes\|pending signals\)  *\([^ ]*\)  *\([^ ]*\) .*/\2 \3/p" /proc/self/limits
			cat /proc/sys/kernel/threads-max /proc/sys/kernel/pid_max /proc/sys/fs/file-max \
				/proc/sys/fs/inotify/max_user_watches' | xargs)"
	# A 16th of the pages, an 8th, and of the bytes a 128th; a last block, here 18 MiB, may come after the agent has looked.
	expect 'tcp_mem 1 udp_mem 1 tcp_wmem 1 tcp_rmem 1' "$(ctr tasks exec --exec-id e2 limits sh -c '
		cd /proc/sys/net/ipv4 && awk -v pages="$(awk "/^MemTotal/ { print \$2 / 4 }" /proc/meminfo)" \
			"FILENAME ~ /_mem/ { mine = \$2; want = pages / (FILENAME ~ /tcp/ ? 16 : 8) }
			 FILENAME !~ /_mem/ { mine = \$3; want = pages * 4096 / 128 }
			 { print FILENAME, (mine > want * 0.8 && mine <= want) }" tcp_mem udp_mem tcp_wmem tcp_rmem' | xargs)"
	remove_container limits
	wait_no_sandboxes
}

test_annotations_of_sizes_have_to_be_enabled() {
	local out
	out=$(kiln_run refused --annotation io.kiln.vcpus=2 -- true 2>&1) && fail 'it ran'
	expect_match 'annotation io.kiln.vcpus is not allowed here: .*enable_annotations' "$out"
	# Nor the host whole, where the factory names no limit.
	out=$(kiln_run whole "${with_sizes[@]}" --annotation io.kiln.memory_mib=16000000 -- true 2>&1) &&
		fail 'it ran'
	expect_match '16000000 MiB are wanted, and a claim gets [0-9]+ at most' "$out"
}

test_annotations_choose() {
	expect_match '192 MiB\), (pooled|cloned)' "$(claimed --annotations tiny)"
	expect_match '192 MiB\), (pooled|cloned)' "$(claimed --annotations zone=a,tiny --vcpus 1)"
	# Of a kind that is not there nothing can be booted either.
	refused 'no template fits: gpu wanted; .*small \(1 vCPUs, 192 MiB, tiny,zone=a, ready\).*none can be booted' \
		--annotations gpu
}

test_boots_as_a_last_resort() {
	local out cpus mib
	out=$(claimed --memory 700)
	expect_match '\(1 vCPUs, 700 MiB\), booted in .*: no template fits' "$out"
	expect 1 "$(counter claims_booted)" 'claims that booted'
	read -r cpus mib <<<"$(guest_size booted "${with_sizes[@]}" --annotation io.kiln.vcpus=2 --annotation io.kiln.memory_mib=800)"
	expect 2 "$cpus" vCPUs
	((mib > 700 && mib <= 800)) || fail "$mib MiB"
	expect_match 'WARNING .*no template fits: booting a machine of 2 vCPUs and 800 MiB' "$(cat "$work/factory.log")"
	expect_match 'audit claim .*origin=booted reason="no template fits"' "$(cat "$work/factory.log")"
}

test_booted_sandbox_outlives_the_factory() {
	ctr run -d --runtime io.containerd.kiln.v2 "${with_sizes[@]}" --annotation io.kiln.memory_mib=720 \
		"$image" keep sleep 600 || fail 'no sandbox'
	expect booted "$(factory_ctl list --json | jq -r '.vms[] | select(.sandbox_id == "keep").origin')"
	stop_factory KILL
	start_factory
	expect here "$(ctr task exec --exec-id e1 keep echo here)"
	expect claimed "$(factory_ctl list --json | jq -r '.vms[] | select(.sandbox_id == "keep").state')"
	ctr task rm -f keep >/dev/null
	ctr containers rm keep
	wait_no_sandboxes
	wait_full
}

test_half_booted_machine_goes_with_the_factory() {
	local vm
	claimed --memory 910 >"$work/half" &
	for _ in $(seq 300); do
		vm=$(pgrep -f "qemu-system-x86_64 .*size=931840k.*$run/") && break
		read -r -t 0.1 <> <(:) || true
	done
	[ -n "$vm" ] || fail 'nothing is being booted'
	stop_factory KILL
	start_factory
	wait_full
	wait_gone "$vm" || fail 'the half-booted machine is still there'
	wait
	expect_match 'cannot claim' "$(cat "$work/half")"
	until_true 20 eval '[ "$(find "$run/vms" -name "*.json" | wc -l)" = 3 ]' # machines in the journal
}

test_reasons_add_up() {
	local all sum
	claimed --memory 256 >/dev/null
	claimed --memory 300 >/dev/null
	claimed --memory 900 >/dev/null
	refused 'MiB are wanted, .*the host has no more' --memory $((host_mib + 1))
	all=$(status_json | jq '.claims | .hits + .clones + .boots + .failed')
	expect 4 "$all" 'claims of status'
	sum=$(metric 'kiln_claims_total{' | awk '{ n += $NF } END { print n }')
	expect 4 "$sum" 'claims of /metrics'
	expect_match 'reason="no template fits",result="booted"\} 1' "$(metric kiln_claims_total)"
	expect_match 'kiln_claims_grown_total\{.*\} 1' "$(metric kiln_claims_grown_total)"
	expect_match 'kiln_claim_seconds_count\{.*result="booted"\} 1' "$(metric kiln_claim_seconds_count)"
	expect_match 'BOOTS' "$(factory_ctl status)"
}

test_refused_for_ever_or_for_now() {
	refused "a claim gets $host_cpus at most \(the host has no more\)" --vcpus $((host_cpus + 1)) --memory 700
	configure '.max_memory_mib = 600 | .max_vcpus = 2'
	reload
	refused '601 MiB are wanted, and a claim gets 600 at most \(max_memory_mib\)' --memory 601
	refused '3 vCPUs are wanted, and a claim gets 2 at most \(max_vcpus\)' --vcpus 3
	configure 'del(.max_memory_mib, .max_vcpus) | .boots_at_once = 0'
	reload
	refused 'no template fits: 700 MiB wanted; .*none is booted \(boots_at_once is 0\)' --memory 700
	expect_match '\(1 vCPUs, 300 MiB\)' "$(claimed --memory 300)"
}
reload() {
	local begin=$(($(wc -l <"$work/factory.log") + 1))
	kill -HUP "$(factory_pid)"
	timeout 30 grep -qm1 'configuration reloaded' <(tail -n "+$begin" -f "$work/factory.log") ||
		fail 'not reloaded'
}

test_nothing_is_left() {
	stop_factory
	expect '' "$(vmm_pids)" 'machines left'
	expect '' "$(ls "$run/vms")" 'journal'
}

write_config 2
mkdir "$work/templates"
jq '.spare_vcpus = 1 | .max_memory_mib = 640' "$work/template.json" >"$work/templates/default.json"
jq '.name = "small" | .memory_mib = 192 | .pool_size = 1 | .annotations = "tiny,zone=a"' \
	"$work/template.json" >"$work/templates/small.json"
configure --arg t "$work/templates" '.templates = $t'
start_containerd
allow_sizes
start_factory
wait_full
run_tests
