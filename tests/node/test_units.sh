#!/bin/bash
# In the node: what `make install` installed, as systemd runs it, with the node's own containerd.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/installed.sh"

# What the programs are linked with comes from the packages that are needed to run Kiln by name, and not by
# the grace of another one that needs it too.
test_libraries_are_of_the_named_packages() {
	local program library package packages
	packages=$(</opt/kiln/packages)
	while read -r program library; do
		package=$(dpkg -S "*/$library" 2>/dev/null | sed -n '1s/:.*//p')
		[ -n "$package" ] || fail "$program needs $library, which no package here has"
		[[ " libc6 $packages " == *" $package "* ]] || fail "$program needs $library of $package, which is not in DEBIAN_RUN"
	done </opt/kiln/needed
}

test_the_units_start_and_use_kvm() {
	expect yes "$(id kiln-factory >/dev/null && echo yes)" 'the user of systemd-sysusers'
	timeout 90 systemctl enable --now kiln-factory.socket kiln-jailer.socket kiln-factory 2>&1
	CTL_TIMEOUT=600 ctl factory init
	expect_kvm
	expect "kiln-factory root" "$(user_of kiln-factory) $(user_of kiln-jailer)" 'users'
}

test_nothing_was_warned_of() {
	expect '' "$(journalctl -q -b -u 'kiln-*' -p warning -o cat)" "systemd's warnings"
	expect '' "$(journalctl -q -b -u 'kiln-*' -o cat | grep -E '^[^ ]+ [^ ]+ (warning|error)')" 'warnings'
}

test_a_container_of_the_nodes_own_containerd() {
	"$tests/busybox-image" "$work/busybox.tar"
	system_ctr images import "$work/busybox.tar" >/dev/null
	expect hello "$(run_container c1 echo hello)"
	expect 1 "$(ctl factory status --json | jq '[.counters[] | select(.name == "claims_pooled").value] | add')" 'from the pool'
}

# The machines are in groups of control groups v2, with limits; not in the units' own.
test_machines_have_their_limits() {
	local pid group
	pid=$(ctl factory list --json | jq '.vms[0].pid')
	group=/sys/fs/cgroup$(cut -d: -f3 "/proc/$pid/cgroup")
	expect_match '/kiln/[0-9a-f]+$' "$group"
	expect_match '^[0-9]+$' "$(cat "$group/memory.max")" memory.max
	expect_match '^[0-9]+$' "$(cat "$group/pids.max")" pids.max
	expect_match '^[0-9]+ [0-9]+$' "$(cat "$group/cpu.max")" cpu.max
}

# Installed, not enabled.
test_the_page_of_sandboxes() {
	expect disabled "$(systemctl is-enabled kiln-metrics || true)" 'before'
	run_container --detach seen sleep 1000
	timeout 60 systemctl start kiln-metrics
	until_true 30 eval 'curl -sf --max-time 10 http://127.0.0.1:9482/metrics >"$work/page"'
	grep -q '^kiln_sandbox_guest_up{sandbox="seen".*} 1$' "$work/page" || fail "$(cat "$work/page")"
	grep -q '^kiln_vmm_open_files{sandbox="seen"' "$work/page" || fail 'it may not look into other processes'
	timeout 60 systemctl stop kiln-metrics
	expect '' "$(journalctl -q -b -u kiln-metrics -p warning -o cat)" 'warnings'
	system_ctr tasks delete --force seen >/dev/null
	system_ctr containers delete seen
}

test_a_reload_is_taken() {
	timeout 60 systemctl reload kiln-factory
	until_true 20 journal_has kiln-factory 'read again|reload'
}

test_a_claim_waits_in_the_socket_while_the_factory_restarts() {
	local old
	old=$(main_pid kiln-factory)
	run_container --detach long sleep 10000
	timeout 120 systemctl restart kiln-factory
	[ "$(main_pid kiln-factory)" != "$old" ] || fail 'it is the same process'
	expect hello "$(run_container c2 echo hello)"
	expect still "$(system_ctr tasks exec --exec-id e1 long echo still)" 'a sandbox of before'
}

test_the_socket_starts_it() {
	timeout 120 systemctl stop kiln-factory.service
	expect inactive "$(systemctl is-active kiln-factory.service || true)"
	expect hello "$(run_container c3 echo hello)"
	expect active "$(systemctl is-active kiln-factory.service)"
}

test_systemd_starts_what_was_killed() {
	local old jailer
	old=$(main_pid kiln-factory) jailer=$(main_pid kiln-jailer)
	kill -9 "$old" "$jailer"
	until_true 60 answers
	[ "$(main_pid kiln-factory)" != "$old" ] || fail 'it is the same process'
	CTL_TIMEOUT=600 ctl factory init
	expect hello "$(run_container c4 echo hello)"
	expect still "$(system_ctr tasks exec --exec-id e2 long echo still)" 'a sandbox of before'
	system_ctr tasks delete --force long >/dev/null
	system_ctr containers delete long
}

# Emulation is told of by a factory that starts; to one that runs, KVM that goes and comes back is an input that changed.
test_kvm_that_cannot_be_used_is_told_of() {
	chmod 600 /dev/kvm
	write_config 0
	start_factory
	expect_match '/dev/kvm is open to its owner alone' "$(status_json | jq -r .kvm_obstacle)"
	grep -q 'machines are emulated.*/dev/kvm is open to its owner alone' "$work/factory.log" || fail 'no warning'
	expect 1 "$(metrics kiln_kvm_unusable)"
	until_true 20 is_stale 'accelerator changed \(kvm -> tcg\)'
	chmod 660 /dev/kvm
	expect kvm "$(status_json | jq -r .accelerator)" 'the next bake'
	expect 0 "$(metrics kiln_kvm_unusable)"
	until_true 20 is_stale '^$'
	stop_factory
}
is_stale() { [[ $(ctl factory status --json | jq -r '.templates[0].stale') =~ $1 ]]; }

# A parked machine's private memory, for the note.
test_parked_memory() {
	ctl factory status --json | jq -r '.memory | "\(.machines) machines, \(.private_bytes / .machines / 1048576 | round) MiB private each"'
}

run_tests "$@"
