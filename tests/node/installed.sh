# The installed Kiln and the node's own containerd, for tests in the node. Sourced after lib.sh.

unset KILN_FACTORY # where it is by default
PATH=${PATH#"$BUILD":}:/usr/local/sbin:/usr/sbin

expect_kvm() { expect kvm "$(ctl factory status --json | jq -r .accelerator)" accelerator; }

answers() { ctl factory list >/dev/null 2>&1; }
main_pid() { systemctl show -P MainPID "$1"; }
user_of() { ps -o user:32= -p "$(main_pid "$1")"; }
# journal_has UNIT REGEX
journal_has() { journalctl -q -b -u "$1" -o cat | grep -qE "$2"; }

system_ctr() { timeout 120 /usr/bin/ctr --namespace kiln-installed "$@"; }
# run_container [--detach] ID COMMAND...
run_container() {
	local how=--rm
	[ "$1" != --detach ] || { how=$1 && shift; }
	system_ctr run "$how" --runtime io.containerd.kiln.v2 "$image" "$@" </dev/null
}
