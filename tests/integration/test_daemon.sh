#!/bin/bash
# The factory as a service: sd_notify, socket activation, SIGHUP, who may come in, the audit
# trail, a second instance, SIGTERM.
. "$(dirname "$0")/lib.sh"

nobody=65534

# wait_for FILE REGEX: until a line matches, also one that is there already.
wait_for() {
	timeout 30 grep -qEm1 "$2" <(tail -n +1 -f "$1" 2>/dev/null) ||
		fail "no /$2/ in $1: $(tail -n 5 "$1")"
}

# log_mark: the log is looked at from here on; wait_for_log REGEX.
log_mark() { mark=$(($(wc -l <"$work/factory.log") + 1)); }
wait_for_log() {
	timeout 30 grep -qEm1 "$1" <(tail -n "+$mark" -f "$work/factory.log") ||
		fail "no /$1/ in the log: $(tail -n "+$mark" "$work/factory.log")"
}

reload() {
	log_mark
	kill -HUP "$(factory_pid)"
}

# ctl_as USER GROUPS: status, asked by somebody else's kiln-ctl.
ctl_as() {
	install -m 755 "$BUILD/kiln-ctl" "$work/kiln-ctl"
	chmod 711 "$work"
	timeout 30 setpriv --reuid "$1" --regid "$1" --groups "$2" \
		"$work/kiln-ctl" factory status --socket "$run/factory.sock" 2>&1
}

expect_refusal() { [[ $1 != *'vm factory is'* ]] || fail "somebody came in: $1"; }

# service_manager: one line for each datagram that comes, in $work/notify.log.
service_manager() {
	rm -f "$work/notify.sock"
	: >"$work/notify.log" # wait_for is not to be faster than perl
	timeout 120 perl -MSocket -e '
		$| = 1;
		socket(my $manager, PF_UNIX, SOCK_DGRAM, 0) or die $!;
		bind($manager, pack_sockaddr_un($ARGV[0])) or die $!;
		print "listening\n";
		while (defined recv($manager, my $text, 4096, 0)) {
			$text =~ s/\n/ /g;
			print "$text\n";
		}' "$work/notify.sock" >>"$work/notify.log" &
	manager=$!
	trap 'kill $manager 2>/dev/null || true' EXIT
	wait_for "$work/notify.log" '^listening'
	chmod 666 "$work/notify.sock" # as systemd's
}

test_service_manager_is_told() {
	local pid
	stop_factory
	service_manager
	NOTIFY_SOCKET=$work/notify.sock WATCHDOG_USEC=400000 \
		kiln-factory --config "$work/factory.json" &
	pid=$!
	wait_for "$work/notify.log" '^READY=1'
	wait_for "$work/notify.log" '^STATUS=serving '
	wait_for "$work/notify.log" '^WATCHDOG=1'
	expect_match 'vm factory is' "$(factory_ctl status || true)"
	: >"$work/notify.log"
	kill -HUP "$pid"
	wait_for "$work/notify.log" '^RELOADING=1 MONOTONIC_USEC=[0-9]+'
	wait_for "$work/notify.log" '^READY=1'
	kill "$pid"
	wait_for "$work/notify.log" '^STOPPING=1'
	wait "$pid" || fail "ended with status $?"
}

test_socket_comes_from_the_service_manager() {
	local pid
	stop_factory
	: >"$work/passed.log" # tail is not to be faster
	# As systemd does: the socket is descriptor 3, and its own process is told so.
	timeout 200 perl -MSocket -MPOSIX -e '
		my ($path, @command) = @ARGV;
		$^F = 9;
		socket(my $listener, PF_UNIX, SOCK_STREAM, 0) or die $!;
		bind($listener, pack_sockaddr_un($path)) or die $!;
		listen($listener, 16) or die $!;
		syswrite(STDOUT, "listening\n");
		POSIX::dup2(fileno($listener), 3) if fileno($listener) != 3;
		@ENV{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} = ($$, 1, "factory");
		exec @command;' "$run/passed.sock" kiln-factory --config "$work/factory.json" >"$work/passed.log" &
	pid=$!
	# A call that comes before the factory serves waits in the socket.
	wait_for "$work/passed.log" '^listening'
	expect_match 'vm factory is' \
		"$(ctl factory status --socket "$run/passed.sock" || true)"
	[ ! -e "$run/factory.sock" ] || fail 'it made a socket of its own'
	stop_factory
	wait "$pid" || fail "ended with status $?"
	[ -S "$run/passed.sock" ] || fail 'it removed a socket that is not its own'
	rm "$run/passed.sock"
	start_factory
}

# Anybody may give a process any name and arguments: a start neither waits for such ones nor ends
# them.
test_who_plays_a_qemu_is_left_alone() {
	stop_factory
	chmod 711 "$work"
	install -m 755 "$(command -v sleep)" "$work/qemu-system-x86_64"
	setpriv --reuid $nobody --regid $nobody --clear-groups bash -c \
		'exec -a qemu-system-x86_64 perl -e "sleep 300" "$0/libvirt/" "$0/vms/x/share"' "$run" &
	named=$!
	setpriv --reuid $nobody --regid $nobody --clear-groups "$work/qemu-system-x86_64" 300 &
	called=$!
	timeout 10 bash -c 'until grep -q "^qemu" "/proc/$0/comm"; do :; done' $called
	trap 'kill $named $called 2>/dev/null || true' EXIT
	log_mark
	start_factory
	kill -0 $named || fail 'a process that names the run folder was killed'
	kill -0 $called || fail 'a process that is called qemu was killed'
	wait_for_log "not provably a bake's of ours .*$called of uid $nobody"
	kill $named $called
	rm "$work/qemu-system-x86_64"
}

test_hangup_takes_what_may_change() {
	configure '.max_vms = 17 | .log_format = "json" | .qemu = "/nowhere"'
	reload
	wait_for_log 'configuration reloaded: log_format, max_vms changed'
	wait_for_log '"level":"warning".*a restart is needed for qemu'
	configure '.log_format = "text" | del(.qemu)'
	reload
	wait_for_log ' INFO .*configuration reloaded: log_format changed'
}

test_a_limit_that_hangup_brought_is_kept() {
	local id
	wait_full
	configure '.max_vms = 2'
	reload
	wait_for_log 'max_vms changed'
	for id in m1 m2; do ctr run -d --runtime io.containerd.kiln.v2 "$image" $id sleep 300; done
	! ctl agent -c Check >"$work/out" 2>&1 || fail 'a third machine was handed out'
	expect_match 'max_vms' "$(cat "$work/out")"
	configure '.max_vms = 100'
	reload
	wait_for_log 'max_vms changed'
	ctl agent -c Check >"$work/out" 2>&1 || fail "$(cat "$work/out")"
	for id in m1 m2; do remove_container $id; done
}

test_hangup_with_a_bad_file_changes_nothing() {
	local good
	good=$(cat "$work/factory.json")
	echo '{"max_vms": 0' >"$work/factory.json"
	! kiln-factory --check --config "$work/factory.json" 2>/dev/null || fail '--check takes it'
	reload
	wait_for_log 'stays as it was: .*factory.json is not JSON'
	jq '.allow_uids = "no-such-user"' <<<"$good" >"$work/factory.json"
	! kiln-factory --check --config "$work/factory.json" 2>/dev/null || fail '--check takes it'
	reload
	wait_for_log 'stays as it was: allow_uids names "no-such-user"'
	echo "$good" >"$work/factory.json"
	kiln-factory --check --config "$work/factory.json" >/dev/null
	reload
	wait_for_log 'configuration reloaded: nothing changed'
}

test_only_those_who_are_named_come_in() {
	expect 600 "$(stat -c %a "$run/factory.sock")" 'mode by default'
	expect_match 'no permission' "$(ctl_as $nobody $nobody || true)"

	configure '.allow_groups = "4711"'
	reload
	wait_for_log 'allow_groups changed'
	expect '660 4711' "$(stat -c '%a %g' "$run/factory.sock")" 'mode with a group'
	expect_match 'no permission' "$(ctl_as $nobody $nobody || true)"
	expect_match 'vm factory is' "$(ctl_as $nobody 4711 || true)"

	configure '.allow_groups = "4711, 4712"'
	reload
	wait_for_log 'allow_groups changed'
	log_mark
	expect_refusal "$(ctl_as $nobody $nobody || true)"
	wait_for_log "AUDIT .*audit refuse uid=$nobody gid=$nobody pid=[0-9]+ reason=\".*allow_uids"
	expect_match 'vm factory is' "$(ctl_as $nobody 4712 || true)"

	configure 'del(.allow_groups) | .allow_uids = "nobody"'
	reload
	wait_for_log 'allow_uids, allow_groups changed'
	expect_match 'vm factory is' "$(ctl_as $nobody $nobody || true)"
	expect_refusal "$(ctl_as 4713 4711 || true)"

	configure 'del(.allow_uids)'
	reload
	wait_for_log 'allow_uids changed'
	expect 600 "$(stat -c %a "$run/factory.sock")" mode
}

test_second_factory_on_the_same_store_is_refused() {
	local out code=0
	jq --arg run "$work/run2" '.run_dir = $run' "$work/factory.json" >"$work/second.json"
	out=$(timeout 60 kiln-factory --config "$work/second.json" 2>&1) || code=$?
	expect 1 "$code" status
	expect_match "another kiln-factory \(pid $(factory_pid)\) uses $store: " "$out$(tail -n1 "$work/factory.log")"
	jq --arg store "$store/2" '.store = $store' "$work/factory.json" >"$work/second.json"
	out=$(timeout 60 kiln-factory --config "$work/second.json" 2>&1) || code=$?
	expect_match "another kiln-factory \(pid $(factory_pid)\) uses $run: " "$out$(tail -n1 "$work/factory.log")"
}

# audit_lines KIND SANDBOX
audit_lines() { grep -oE "AUDIT .*audit $1 sandbox=$2 .*" "$work/factory.log"; }

test_claims_and_releases_are_audited() {
	local who="uid=0 pid=[0-9]+"
	wait_full
	log_mark
	kiln_run audited true
	wait_for_log "AUDIT .*audit release sandbox=audited "
	expect_match "sandbox=audited vm=[0-9a-f]{32} $who origin=pooled reason=\"\" took_us=[0-9]+$" \
		"$(audit_lines claim audited)"
	expect_match "sandbox=audited vm=[0-9a-f]{32} $who by_uid=0 by_pid=[0-9]+ reason=\"released\" held_ms=[0-9]+$" \
		"$(audit_lines release audited)"
	expect 1 "$(audit_lines claim audited | wc -l)" claims
	expect 1 "$(audit_lines release audited | wc -l)" releases
}

# Whoever steers the factory is named, also where nothing comes of it.
test_orders_are_audited() {
	local by="by_uid=0 by_pid=[0-9]+"
	log_mark
	factory_ctl pause default
	factory_ctl resume default
	factory_ctl warm default --count 2
	factory_ctl drain default
	! factory_ctl rebuild nothing 2>/dev/null || fail 'it rebuilt nothing'
	factory_ctl resume default
	wait_for_log "AUDIT .*audit pause template=\"default\" count=0 $by$"
	wait_for_log "AUDIT .*audit warm template=\"default\" count=2 $by$"
	wait_for_log "AUDIT .*audit drain template=\"default\" count=0 $by$"
	wait_for_log "AUDIT .*audit rebuild template=\"nothing\" count=0 $by$"
	reload
	wait_for_log 'AUDIT .*audit reload reason="nothing changed"'
}

test_a_dead_machine_is_audited_once() {
	local pid shim
	log_mark
	ctr run -d --runtime io.containerd.kiln.v2 "$image" dies sleep 300
	pid=$(factory_ctl list --json | jq '.vms[] | select(.sandbox_id == "dies").pid')
	shim=$(audit_lines claim dies | sed 's/.* pid=\([0-9]*\) .*/\1/')
	kill -STOP "$shim" # its own release would be in a race with the factory's look
	kill -9 "$pid"
	wait_for_log 'audit release sandbox=dies '
	kill -CONT "$shim"
	remove_container dies
	expect_match "sandbox=dies vm=[0-9a-f]{32} uid=0 pid=[0-9]+ by_uid=-1 by_pid=-1 reason=\".+\" held_ms=[0-9]+$" \
		"$(audit_lines release dies)"
	expect 1 "$(audit_lines release dies | wc -l)" releases
}

test_sigterm_answers_who_waits_and_ends() {
	local pid claim code=0
	pid=$(factory_pid)
	factory_ctl destroy >/dev/null
	expect_no_machines 'before it'
	log_mark
	factory_ctl init >/dev/null 2>&1 &
	wait_for_log 'bake: booting'
	ctl agent -c Check >"$work/claim.out" 2>&1 & # a bake's boot is longer than its connecting
	claim=$!
	wait_for_log 'bake: answering'
	kill "$pid"
	wait "$claim" || code=$?
	[ "$code" != 0 ] || fail 'the claim was served by a factory that ends'
	expect_match 'UNAVAILABLE|stopping' "$(cat "$work/claim.out")"
	wait_gone "$pid"
	expect_no_machines 'after it'
	start_factory
}

# Who holds a connection, and says nothing or waits, is in nobody's way.
test_sigterm_with_somebody_connected_is_no_failure() {
	local pid idle waiting
	stop_factory
	kiln-factory --config "$work/factory.json" &
	pid=$!
	until_true 60 factory_ctl list >/dev/null 2>&1
	: >"$work/idle.log"
	timeout 120 perl -MSocket -e '
		$| = 1;
		socket(my $idle, PF_UNIX, SOCK_STREAM, 0) or die $!;
		connect($idle, pack_sockaddr_un($ARGV[0])) or die $!;
		print "connected\n";
		sysread($idle, my $nothing, 1);' "$run/factory.sock" >>"$work/idle.log" &
	idle=$!
	wait_for "$work/idle.log" '^connected'
	factory_ctl destroy >/dev/null # which is accepted after it
	log_mark
	factory_ctl init >/dev/null 2>&1 &
	waiting=$!
	wait_for_log 'bake: booting'
	kill "$pid"
	wait "$pid" || fail "ended with status $?"
	! wait "$waiting" || fail 'a template was ready that was not baked'
	wait "$idle"
	start_factory
}

test_second_sigterm_ends_at_once() {
	local pid
	pid=$(factory_pid)
	log_mark
	factory_ctl init >/dev/null 2>&1 &
	wait_for_log 'bake: answering'
	kill "$pid"
	wait_for_log 'stopping; claimed sandboxes go on'
	kill "$pid" 2>/dev/null || true # it may be through already
	wait_gone "$pid"
	start_factory
	wait_full
	expect 2 "$(parked)" 'parked after it'
}

write_config 2
start_factory
start_containerd
wait_full
run_tests "$@"
