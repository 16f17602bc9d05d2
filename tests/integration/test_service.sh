#!/bin/bash
# The factory with no more privileges than its unit of systemd gives it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/unit.sh"

start_as_the_unit() { as_unit kiln-factory.service timeout 60 kiln-factory --daemon --config "$work/factory.json"; }

# capabilities PID: the sets that a process has and may have.
capabilities() { awk '/^Cap(Prm|Eff|Bnd):/ { print $2 }' "/proc/$1/status" | xargs; }

test_it_gives_up_by_itself_what_the_unit_withholds() {
	local by_itself
	by_itself=$(capabilities "$(factory_pid)")
	[ "$by_itself" != "$(capabilities self)" ] || fail 'it has kept all capabilities'
	stop_factory
	start_as_the_unit
	expect "$by_itself" "$(capabilities "$(factory_pid)")" 'capabilities by the unit'
	expect 1 "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$(factory_pid)/status")" no_new_privs
	expect 2 "$(awk '/^Seccomp:/ { print $2 }' "/proc/$(factory_pid)/status")" 'a system call filter'
}

# The lists of all units, and that the filter made of them holds.
test_a_units_lists_are_what_they_say() {
	local unit
	for unit in "$units"/*.service; do
		unit=$(basename "$unit")
		as_unit "$unit" true
		[ "$(wc -l <"$work/$unit.calls")" -gt 200 ] || fail "$unit: $(wc -l <"$work/$unit.calls") system calls"
		expect '' "$(grep -xE 'add_key|init_module|kexec_load|reboot|swapon|clock_settime|iopl' "$work/$unit.calls")" "of $unit"
		expect_match 'Operation not permitted' "$(as_unit "$unit" busybox swapoff /dev/null 2>&1 || true)" "$unit"
	done
}

test_it_bakes_and_serves() {
	expect 'vm factory initialized' "$(factory_ctl init 2>/dev/null)"
	expect_match 'agent_version' "$(ctl agent -c Version 2>/dev/null)"
	expect hello "$(kiln_run c1 echo hello)"
	# The root file system is a machine's own: owners and modes are what the container makes them.
	expect_match '^-rwsr-xr-x +1 5 +6 ' \
		"$(kiln_run c2 sh -c 'touch /x && chown 5:6 /x && chmod 4755 /x && ls -ln /x')"
}

test_kiln_ctl_gives_back_what_no_factory_gave() {
	wait_full
	stop_factory KILL
	expect_match 'agent_version' "$(ctl agent -c Version 2>"$work/err")"
	expect_match 'cloned' "$(cat "$work/err")"
	expect 1 "$(vmm_pids | wc -l)" 'machines, the parked one'
	start_as_the_unit
	wait_full
}

test_it_makes_images() {
	prepare_image "$image" || fail 'no image was made'
	expect hello "$(kiln_run c3 echo hello)"
}

test_it_sees_what_machines_take() {
	wait_full
	[ "$(metrics kiln_machines_pss_bytes)" != 0 ] || fail 'machines take no memory'
}

test_it_rebuilds_and_ends_everything() {
	factory_ctl rebuild default >/dev/null 2>&1
	expect hello "$(kiln_run c4 echo hello)"
	wait_no_sandboxes
	expect 'vm factory destroyed' "$(factory_ctl destroy)"
	expect '' "$(vmm_pids)" 'machines left'
	expect '' "$(grep -E ' (WARNING|ERROR) ' "$work/factory.log" || true)" 'warnings'
}

write_config 1
start_factory
start_containerd
run_tests "$@"
