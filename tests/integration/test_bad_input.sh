#!/bin/bash
# Wrong input gets a sentence, and loses nothing.
. "$(dirname "$0")/lib.sh"

# with_config FILTER: configuration changed by a jq filter, for one start that must fail.
start_fails() {
	jq "$1" "$work/factory.json" >"$work/bad.json"
	! timeout 60 kiln-factory --config "$work/bad.json" >"$work/out" 2>&1 || fail 'it started'
	cat "$work/out"
}

test_unknown_key_is_named() { expect_match 'pool_sise' "$(start_fails '.pool_sise = 3')"; }

test_wrong_type_is_named() { expect_match 'max_vms' "$(start_fails '.max_vms = "many"')"; }

test_out_of_range_is_named() { expect_match 'clones_at_once' "$(start_fails '.clones_at_once = 0')"; }

test_missing_configuration() {
	expect_match 'nowhere.json' "$(! kiln-factory --config /nowhere.json 2>&1)"
}

test_missing_qemu_names_the_package() {
	expect_match 'qemu-system-x86' "$(start_fails '.qemu = "/nowhere/qemu"')"
}

test_missing_image_names_the_command() {
	jq '.image = "/nowhere/rootfs.erofs"' "$work/template.json" >"$work/template-bad.json"
	expect_match '/nowhere/rootfs.erofs.*make image' \
		"$(start_fails '.templates = "'"$work"'/template-bad.json"')"
}

test_kvm_where_there_is_none() {
	grep -qE '^flags.* (vmx|svm)( |$)' /proc/cpuinfo && return 0
	jq '.boot_timeout_s = 10' "$work/template.json" >"$work/template-kvm.json"
	jq --arg t "$work/template-kvm.json" '.accelerator = "kvm" | .templates = $t' \
		"$work/factory.json" >"$work/kvm.json"
	timeout 60 kiln-factory --daemon --config "$work/kvm.json" || return 0
	! factory_ctl init >"$work/out" 2>&1 || fail 'a template was baked'
	stop_factory
}

# A crash would leave its clones behind for ever: nobody would take them for machines.
test_programs_that_no_clone_may_run() {
	local program
	mkdir -p "$work/usr/bin"
	ln -s /usr/lib /usr/share "$work/usr" # QEMU looks for its own beside itself
	for program in vmm qemu-of-nobody qemu-of-anybody; do
		cp /usr/bin/qemu-system-x86_64 "$work/usr/bin/$program"
	done
	chown nobody "$work/usr/bin/qemu-of-nobody"
	chmod 777 "$work/usr/bin/qemu-of-anybody"
	for program in "$work"/usr/bin/*; do
		jq --arg program "$program" '.qemu = $program' "$work/factory.json" >"$work/program.json"
		timeout 60 kiln-factory --daemon --config "$work/program.json"
		! factory_ctl init >"$work/out" 2>&1 || fail "a template of $program was baked"
		expect_match "$program is no VMM" "$(<"$work/out")"
		stop_factory
		expect_no_machines "of $program"
	done
	rm -r "${work:?}/usr"
}

test_second_factory_is_refused() {
	start_factory
	expect_match 'another kiln-factory' "$(start_fails .)"
	factory_ctl list >/dev/null || fail 'the first one does not answer any more'
}

# kiln-jailer takes its factory's sockets away, unless it is killed itself: then the factory ends, too.
test_socket_of_a_dead_factory_is_taken_over() {
	local killed
	killed=$(factory_pid)
	kill -KILL "$(jailer_pid)"
	wait_gone "$killed"
	[ -S "$run/factory.sock" ] || fail 'no socket left to take over'
	start_factory
	factory_ctl list >/dev/null
}

test_no_factory_is_said() {
	expect 0 "$(find "$store/templates" -mindepth 1 | wc -l)" 'templates that were baked so far'
	stop_factory
	local code=0
	factory_ctl init >"$work/out" 2>&1 || code=$?
	[ "$code" != 0 ] || fail 'init without a factory'
	expect_match "$run/factory.sock" "$(cat "$work/out")"
	! kiln_run e0 true >"$work/out" 2>&1 || fail 'a container without a factory or a template'
	expect_match 'start it with kiln-factory' "$(cat "$work/out")"
	expect_match 'no template is in' "$(cat "$work/out")"
	start_factory
	wait_full
}

test_no_factory_but_its_store() {
	stop_factory
	expect hello "$(kiln_run e0 echo hello)"
	ctl agent -c Check >"$work/out" 2>"$work/err" || fail "no claim: $(cat "$work/err")"
	expect_match 'WARNING.*cloning from the store' "$(cat "$work/err")"
	expect_match 'AUDIT .*audit clone sandbox=[^ ]+ vm=[0-9a-f]{32} uid=0 pid=[0-9]+ template=[0-9a-f]{64} reason="the factory could not' \
		"$(cat "$work/err")"
	expect '' "$(vmm_pids)" 'machines left'
	start_factory
	wait_full
}

# corrupt_is_refused COMMAND...: the template after COMMAND is refused by name and baked anew.
corrupt_is_refused() {
	local dir
	wait_full
	stop_factory
	dir=$(dirname "$(ls "$store"/templates/*/template.json)") && [ -d "$dir" ] || fail 'no template to corrupt'
	"$@" "$dir"
	: >"$work/factory.log"
	start_factory
	wait_full
	grep -E "$(basename "$dir")" "$work/factory.log" | grep -ciE 'refused|cannot be trusted|corrupt|truncated|wrong|edited|digest|bytes' >/dev/null ||
		fail "not named in the log: $(cat "$work/factory.log")"
	ctl agent -c Check >/dev/null 2>&1
}

truncate_state() { truncate -s 1000 "$1/state"; }
shrink_memory() { truncate -s 1M "$1/memory"; }
edit_manifest() { sed -i 's/"vcpus": *1/"vcpus": 2/' "$1/template.json"; }

test_truncated_state_is_refused() { corrupt_is_refused truncate_state; }
test_memory_of_the_wrong_size_is_refused() { corrupt_is_refused shrink_memory; }
test_edited_manifest_is_refused() { corrupt_is_refused edit_manifest; }

test_command_that_does_not_exist() {
	! kiln_run e1 /no/such/command >"$work/out" 2>&1 || fail 'it ran'
	expect_match 'no such file or directory|not found' "$(cat "$work/out" | tr A-Z a-z)"
	wait_no_sandboxes
}

test_config_that_is_not_json() {
	local dir=$work/bundle
	mkdir -p "$dir/rootfs"
	echo 'not json' >"$dir/config.json"
	! (cd "$dir" && TTRPC_ADDRESS=$work/none timeout 20 containerd-shim-kiln-v2 -namespace x \
		-address "$work/containerd.sock" -publish-binary /bin/true -id b1 start \
		</dev/null >"$work/out" 2>&1) || fail 'it started'
	expect_match 'config.json' "$(cat "$work/out")"
}

test_missing_rootfs() {
	! ctr run --rm --runtime io.containerd.kiln.v2 --rootfs "$work/no-rootfs" e2 true \
		>"$work/out" 2>&1 || fail 'it ran'
	expect_match 'no-rootfs' "$(cat "$work/out")"
	wait_no_sandboxes
}

test_unknown_words_of_kiln_ctl() {
	local code=0
	ctl factory melt >"$work/out" 2>&1 || code=$?
	expect 2 "$code" 'exit code'
	expect_match melt "$(cat "$work/out")"
	code=0
	ctl agent -c NoSuchCall >"$work/out" 2>&1 || code=$?
	expect 2 "$code" 'exit code'
}

write_config 1
start_containerd
run_tests "$@"
