#!/bin/bash
# kiln-ctl exec: the debug console of a guest, where its template has one.
. "$(dirname "$0")/lib.sh"

# use_template FILTER: another definition, its pool filled.
use_template() {
	redefine "$1"
	stop_factory
	start_factory
	wait_full
}

with_console='.debug_console = true | .image |= sub("rootfs.erofs"; "debug.erofs")'

keep() { ctr run -d --runtime io.containerd.kiln.v2 "$image" "$1" sleep 1000; }

# on_terminal COMMAND...: see terminal.py, its script on stdin.
on_terminal() { timeout 200 "$tests/integration/terminal.py" "$@"; }

# fails STATUS COMMAND...: its output, and that it ends so.
fails() {
	local status=0
	"${@:2}" 2>&1 || status=$?
	expect "$1" "$status" "status of ${*:2}"
}

recorded() { grep -qE "audit exec sandbox=$1 by_uid=0 by_pid=[0-9]+ command=\"$2\"" "$work/containerd.log"; }

test_refused_where_the_template_does_not_have_it() {
	keep ex-no
	expect_match 'sandbox ex-no: the template of this guest allows no debug console' "$(fails 255 ctl exec ex-no id </dev/null)"
	until_true 10 recorded ex-no id
	remove_container ex-no
}

# Of the guest itself, by streams.
test_a_program_and_its_streams() {
	use_template "$with_console"
	keep ex-a
	expect 'kiln-agent / 0' "$(ctl exec ex-a sh -c 'echo $(cat /proc/1/comm) $(readlink /proc/self/root) $(id -u)' </dev/null)"
	expect 7 "$(fails 7 ctl exec ex-a -- sh -c 'echo $(($(echo 3) + 4)); exit 7' </dev/null)"
	expect out "$(ctl exec ex-a sh -c 'echo out; echo err >&2' </dev/null 2>"$work/err")"
	expect err "$(cat "$work/err")" stderr
	head -c 3000000 /dev/urandom >"$work/random"
	ctl exec ex-a cat <"$work/random" | cmp - "$work/random"
	expect 3 "$(echo 'echo $((1 + 2))' | ctl exec ex-a)" 'a shell, where no program is named'
	expect_match 'exec: "nosuch"' "$(fails 255 ctl exec ex-a nosuch </dev/null)"
	expect 143 "$(fails 143 ctl exec ex-a sh -c 'kill -TERM $$' </dev/null && echo 143)" 'by a signal'
	expect_match 'which sandbox' "$(fails 2 ctl exec)"
	until_true 10 recorded ex-a 'cat'
	# containerd knows nothing of it, and its own exec goes on.
	expect '0' "$(grep -c 'TaskExecStarted\|console-' "$work/containerd.log" || true)"
	expect hello "$(ctr tasks exec --exec-id e1 ex-a echo hello)"
	expect 7 "$(ctl metrics ex-a | sed -n 's/^kiln_sandbox_execs_total{sandbox="ex-a".*} //p')" 'the metric'
	expect '1024 1048576' "$(ctl exec ex-a sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)' </dev/null)" 'open files'
	remove_container ex-a
}

test_a_terminal() {
	local out
	keep ex-tty
	out=$(on_terminal kiln-ctl exec ex-tty <<-'END'
		type stty size; tty; echo $TERM; echo re''ady
		wait ready
		size 40 100
		type while [ "$(stty size)" != "40 100" ]; do sleep 0.1; done; echo res''ized
		wait resized
		type sh -c 'echo be""gun; exec sleep 1000'
		wait begun
		key c
		type echo in''terrupted
		wait interrupted
		type exit 5
	END
	)
	expect_match $'\n30 90\n/dev/pts/[0-9]+\nvt100\nready\n' "$out"
	expect_match $'status 5$' "$out"
	remove_container ex-tty
}

# The guest has a process of these words.
in_guest() { ctl exec "$1" sh -c "ps | grep -v grep | grep -q '$2'" </dev/null; }

test_it_ends_with_kiln_ctl() {
	local pid
	keep ex-gone
	kiln-ctl exec ex-gone sleep 4321 </dev/null &
	pid=$!
	until_true 30 in_guest ex-gone 'sleep 4321'
	kill -KILL "$pid"
	until_true 30 eval '! in_guest ex-gone "sleep 4321"'
	# And with its machine.
	kiln-ctl exec ex-gone sleep 4321 </dev/null 2>/dev/null &
	pid=$!
	until_true 30 in_guest ex-gone 'sleep 4321'
	remove_container ex-gone
	wait "$pid" && fail 'it went on'
	until_true 20 no_shims
}

write_config 1
start_factory
wait_full
start_containerd
run_tests "$@"
