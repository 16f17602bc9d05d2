#!/bin/bash
# The factory is a user without capabilities, and kiln-jailer has what its unit of systemd gives it:
# by hand, and as the service manager starts them.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/unit.sh"

nobody=65534

# start_as_the_units: kiln-jailer with its socket, and the factory as a user. The jailer's log is the factory's.
start_as_the_units() {
	jq 'del(.log_file)' "$work/factory.json" >"$work/unit.json"
	rm -f "$run/jailer.sock"
	as_unit kiln-jailer.service "$tests/integration/jailer.py" serve "$run/jailer.sock" "$nobody" \
		kiln-jailer --config "$work/unit.json" 2>>"$work/factory.log" &
	until_true 30 [ -S "$run/jailer.sock" ]
	as_unit kiln-factory.service kiln-factory --config "$work/unit.json" 2>>"$work/factory.log" &
	until_true 60 factory_ctl list >/dev/null
}

# privileges PID: user, capabilities that it has and may get.
privileges() { awk '/^(Uid|Cap(Prm|Eff|Bnd)|NoNewPrivs):/ { print $2 }' "/proc/$1/status" | xargs; }

# filter PID: 2 with a system call filter.
filter() { awk '/^Seccomp:/ { print $2 }' "/proc/$1/status"; }

no_jailer() { [ -z "$(jailer_pid)" ]; }

none=0000000000000000

test_by_hand_they_give_up_what_the_units_withhold() {
	local jailer
	jailer=$(privileges "$(jailer_pid)")
	expect "$nobody $none $none $none 1" "$(privileges "$(factory_pid)")" 'the factory'
	expect '2 2' "$(filter "$(factory_pid)") $(filter "$(jailer_pid)")" 'system call filters'
	stop_factory
	until_true 10 no_jailer
	start_as_the_units
	expect "$nobody $none $none $none 1" "$(privileges "$(factory_pid)")" 'the factory by its unit'
	expect "$jailer" "$(privileges "$(jailer_pid)")" 'kiln-jailer by its unit'
	expect '2 2' "$(filter "$(factory_pid)") $(filter "$(jailer_pid)")" 'their filters by the units'
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

# What root believes, the factory cannot write.
test_what_is_roots_stays_roots() {
	local vm
	wait_full
	expect 'root' "$(find "$store" -path "$store/libvirt" -prune -o ! -name lock -printf '%u\n' | sort -u)" 'the store'
	expect 'root' "$(find "$work/images" -printf '%u\n' | sort -u)" 'the cache of images'
	expect 'root root' "$(stat -c %U "$run" "$run/factory.sock.json" | xargs)" 'run folder and note'
	vm=$(factory_ctl list --json | jq -r '[.vms[] | select(.state == "parked")][0].vm_id')
	expect 'root 1770' "$(stat -c '%U %a' "$run/vms")" 'the folder of machines'
	expect 'root 700' "$(stat -c '%U %a' "$run/uids")" 'the folder of their user ids'
	expect 'root 710' "$(stat -c '%U %a' "$run/vms/$vm")" 'the folder of a machine'
	expect 'root nobody' "$(stat -c %U "$run/vms/$vm/share" "$run/vms/$vm/qmp.sock" | xargs)" 'share and monitor'
}

test_kiln_ctl_gives_back_what_no_factory_gave() {
	wait_full
	stop_factory KILL
	expect_match 'agent_version' "$(ctl agent -c Version 2>"$work/err")"
	expect_match 'cloned' "$(cat "$work/err")"
	expect 1 "$(vmm_pids | wc -l)" 'machines, the parked one'
	start_as_the_units
	wait_full
}

# The machine that a claimer has made for itself, as root, is the factory's to look after.
test_a_machine_of_no_factory_is_adopted() {
	local vm
	stop_factory KILL
	ctr run -d --runtime io.containerd.kiln.v2 "$image" lonely sleep 1000
	start_as_the_units
	vm=$(factory_ctl list --json | jq -r '.vms[] | select(.state == "claimed") | .vm_id')
	expect nobody "$(stat -c %U "$run/vms/$vm.json")" 'its journal entry'
	remove_container lonely
	wait_no_sandboxes
	[ ! -e "$run/vms/$vm" ] || fail 'it is left behind'
}

test_it_makes_images() {
	wait_full
	prepare_image "$image" || fail 'no image was made'
	expect hello "$(kiln_run c3 echo hello)"
}

test_it_sees_what_machines_take() {
	wait_full
	[ "$(metrics kiln_machines_pss_bytes)" != 0 ] || fail 'machines take no memory'
}

# The page of sandboxes, with what its unit leaves it: what it reads is other users'.
test_the_page_of_sandboxes() {
	local server page
	wait_full
	ctr run -d --runtime io.containerd.kiln.v2 "$image" seen sleep 1000
	as_unit kiln-metrics.service kiln-ctl metrics serve --address "$work/metrics.sock" &
	server=$!
	until_true 30 [ -S "$work/metrics.sock" ]
	page=$(curl -sS --max-time 20 --unix-socket "$work/metrics.sock" http://host/metrics | grep 'sandbox="seen"')
	expect_match 'kiln_sandbox_guest_up\{[^}]*\} 1' "$page"
	expect_match 'kiln_shim_open_files\{[^}]*\} [1-9]' "$page"
	expect_match 'kiln_vmm_memory_bytes\{[^}]*kind="anonymous"\} [1-9]' "$page"
	expect_match 'kiln_vmm_open_files\{[^}]*\} [1-9]' "$page"
	kill "$(pgrep -P "$server")"
	wait "$server" || fail "it ended with $?"
	remove_container seen
	wait_no_sandboxes
}

# Without kiln-jailer nothing can be put away: the factory ends, machines do not.
test_the_end_of_the_jailer() {
	local factory before after
	wait_full
	factory=$(factory_pid)
	before=$(vmm_pids)
	kill -9 "$(jailer_pid)"
	wait_gone "$factory"
	grep -q 'kiln-jailer has ended' "$work/factory.log" || fail 'the log does not say so'
	start_as_the_units
	wait_full
	after=$(vmm_pids)
	expect "$before" "$after" 'machines'
	sed -i '/kiln-jailer has ended/d' "$work/factory.log"
}

test_it_rebuilds_and_ends_everything() {
	factory_ctl rebuild default >/dev/null 2>&1
	expect hello "$(kiln_run c4 echo hello)"
	wait_no_sandboxes
	expect '' "$(grep -E ' (WARNING|ERROR) ' "$work/factory.log" || true)" 'warnings'
}

test_what_a_factory_must_not_ask_is_refused() {
	jq --arg run "$work/other-run" '.run_dir = $run | .store += "/other" | .image_cache += "-other" | .image_cache_mib = 4
		| .uid_first = 1879048192 | del(.log_file)' "$work/factory.json" >"$work/other.json"
	mkdir -p "$store/other/templates"
	cp -r "$store"/templates/* "$store/other/templates/"
	"$tests/integration/jailer.py" attack "$work/other.json" "$(basename "$store"/templates/*)" 2>"$work/other.log" ||
		fail "see above; $(cat "$work/other.log")"
	grep -q 'refused to launch' "$work/other.log" || fail 'the log does not tell of what was refused'
	rm -rf "$store/other"
}

# A later one was a user, and took its machines' user ids itself.
test_user_ids_that_an_older_factory_took_are_taken_over() {
	local vm
	wait_full
	vm=$(factory_ctl list --json | jq -r '[.vms[] | select(.state == "parked")][0].vm_id')
	stop_factory KILL
	until_true 10 no_jailer
	chown "0:$(id -g nobody)" "$run/uids" && chmod 1770 "$run/uids"
	find "$run/uids" ! -lname bake -type l -exec chown -h nobody {} +
	ln -s "$(printf 'e%.0s' {1..32})" "$run/uids/100000" && chown -h nobody "$run/uids/100000"
	start_factory
	wait_full
	expect "$vm" "$(factory_ctl list --json | jq -r '.vms[].vm_id')" 'machines'
	expect root "$(find "$run/uids" -lname "$vm" -printf '%u')" 'whose its user ids are to say'
	expect nobody "$(stat -c %U "$run/uids/100000")" 'a link that nothing speaks for'
	rm "$run/uids/100000"
	expect_match 'agent_version' "$(ctl agent -c Version 2>/dev/null)"
	wait_full
	expect '' "$(find "$run/uids" -lname "$vm")" 'user ids of a machine that is gone'
}

# Whose user ids are stands where root has noted it, not in the configuration.
test_uid_first_may_change_while_machines_live() {
	local parked claimed
	wait_full
	ctr run -d --runtime io.containerd.kiln.v2 "$image" stays sleep 1000
	wait_full
	claimed=$(factory_ctl list --json | jq -r '.vms[] | select(.state == "claimed") | .vm_id')
	parked=$(factory_ctl list --json | jq -r '.vms[] | select(.state == "parked") | .vm_id')
	stop_factory KILL
	until_true 10 no_jailer
	configure '.uid_first = 2147483648 + 4096'
	start_factory
	wait_full
	expect "$parked" "$(factory_ctl list --json | jq -r '.vms[] | select(.state == "parked") | .vm_id')" 'the parked machine'
	[ "$(metrics kiln_machines_pss_bytes)" != 0 ] || fail 'machines take no memory'
	factory_ctl drain default >/dev/null
	until_true 30 [ ! -e "$run/vms/$parked.json" ]
	remove_container stays
	until_true 30 [ ! -e "$run/vms/$claimed.json" ]
	expect '' "$(vmm_pids)" 'machines left'
	expect '' "$(find "$run/uids" -mindepth 1 ! -lname bake)" 'user ids left'
	configure 'del(.uid_first)'
	stop_factory
	start_factory
	factory_ctl resume default >/dev/null
	wait_full
}

# An older factory was root, and so was all that it had.
test_what_an_older_factory_left_is_taken_over() {
	local before
	wait_full
	stop_factory KILL
	until_true 10 no_jailer
	chown -R 0:0 "$run/pools" && chmod 700 "$run/vms" "$run/uids" && chown -hR 0:0 "$run/uids"
	chown 0:0 "$run"/vms "$run"/vms/*.json "$run"/vms/*/*.sock "$run"/vms/*/qemu.log* "$store/templates"
	chmod 700 "$run"/vms/*/ "$store/templates" && chmod 600 "$store"/templates/*/{template.json,state}
	before=$(vmm_pids)
	start_factory
	wait_full
	expect "$before" "$(vmm_pids)" 'machines'
	expect_match 'agent_version' "$(ctl agent -c Version 2>/dev/null)"
	expect 'vm factory destroyed' "$(factory_ctl destroy)"
	expect '' "$(vmm_pids)" 'machines left'
	expect 0 "$(find "$run/vms" -mindepth 1 | wc -l)" 'machine files left'
}

# Where the host has no user for it, it stays root: what was another user's is root's again.
test_without_a_user_it_has_no_capabilities_either() {
	stop_factory KILL
	until_true 10 no_jailer
	configure '.user = "root"'
	start_factory
	expect "0 $none $none $none 1" "$(privileges "$(factory_pid)")" 'the factory'
	wait_full
	expect_match 'agent_version' "$(ctl agent -c Version 2>/dev/null)"
	expect 'vm factory destroyed' "$(factory_ctl destroy)"
	expect 0 "$(find "$run/vms" -mindepth 1 | wc -l)" 'machine files left'
}

write_config 1
start_factory
start_containerd
run_tests "$@"
