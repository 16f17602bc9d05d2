#!/bin/bash
# kill -9 of the factory in each phase of a bake: the next start leaves nothing of it, and bakes.
. "$(dirname "$0")/crash.sh"

# Nothing of a bake survives it, but for a template that is whole; and the next one succeeds.
test_bake() {
	local point whole inode
	for point in hashing booting answering rehearsing trimming freezing storing stored; do
		start_armed "bake.$point"
		(factory_ctl init || true) >/dev/null 2>&1 &
		expect_dead "bake.$point"
		wait
		start_factory
		whole=0
		[ "$point" != stored ] || whole=1
		expect "$whole" "$(find "$store/templates" -mindepth 1 -maxdepth 1 | wc -l)" \
			"templates after bake.$point"
		expect "$whole" "$(find "$store" -name memory | wc -l)" "memory files after bake.$point"
		expect_nothing_astray "bake.$point"
		inode=$(stat -c %i "$store"/templates/*/template.json 2>/dev/null || true)
		wait_full || fail "the pool is not full after bake.$point"
		expect "$pool_size" "$(parked)" "parked after bake.$point"
		expect_nothing_astray "the bake after bake.$point"
		[ "$whole" = 0 ] || expect "$inode" \
			"$(stat -c %i "$store"/templates/*/template.json)" 'the whole template'
		factory_ctl destroy >/dev/null
		stop_factory
	done
}

# libvirt asks a QEMU of its own what it can do, in the first bake of a run folder.
test_libvirt_asks_qemu() {
	local pid=
	# It lives for a fraction of a second: a busy host may look past it.
	for _ in 1 2 3; do
		stop_factory
		rm -rf "$run/libvirt" "$store"/templates/*
		start_factory
		(factory_ctl init || true) >/dev/null 2>&1 &
		pid=$(timeout 30 bash -c 'until pgrep -f "$0"; do sleep 0.01; done' \
			"[q]emu-system-x86_64 .*-machine none.*$run/") &&
			kill -STOP $pid && break # it does not end by itself
		pid=
	done
	[ -n "$pid" ] || fail 'libvirt asks no QEMU'
	stop_factory KILL
	start_factory
	expect '' "$(vmm_pids)" 'processes'
	wait_full || fail 'no bake after it'
}

write_config "$pool_size"
run_tests "$@"
