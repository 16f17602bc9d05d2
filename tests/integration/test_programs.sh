#!/bin/bash
# Real programs on a container's root file system (tests/programs): what each one prints under runc is
# what it has to print under kiln.
. "$(dirname "$0")/lib.sh"

programs_image=docker.io/kiln/programs:test

# by RUNTIME PROGRAM COMMAND...: its output, to $work/PROGRAM.RUNTIME; its seconds, to .seconds.
by() {
	local begun=$SECONDS
	ctr run --rm --runtime "io.containerd.$1.v2" --allow-new-privs "$programs_image" "$2-$1" \
		timeout 100 "${@:3}" >"$work/$2.$1" 2>&1 || fail "$2 by $1: $(tail -n 20 "$work/$2.$1")"
	echo "$2 by $1: $((SECONDS - begun)) s" >>"$work/seconds"
}

# same PROGRAM LAST COMMAND...: the same by both, with LAST as its last line.
same() {
	by runc "$1" "${@:3}"
	expect "$2" "$(tail -n 1 "$work/$1.runc")" 'last line by runc'
	by kiln "$1" "${@:3}"
	diff -u "$work/$1.runc" "$work/$1.kiln" || fail "$1 prints something else"
}

test_git() { same git b68d89caba925cb629a2a8be447e88a23710f960 bash /programs/git.sh; }
test_tar_of_3000_files() { same tar again.tar bash /programs/tar.sh; }
test_dpkg_and_apt() { same dpkg removed bash /programs/dpkg.sh; }
test_ssh_agent() { same ssh-agent 'ssh-ed25519 key' bash /programs/ssh-agent.sh; }
test_python_venv() { same venv /root/venv bash /programs/venv.sh; }
test_python_servers() { same servers "b'text'" python3 /programs/servers.py; }
test_sqlite_in_wal_mode() { same sqlite "('ok',)" python3 /programs/sqlite.py; }

write_config 2
start_factory
start_containerd
"$tests/programs-root" "$work/programs"
"$tests/oci-image" "$programs_image" "$work/programs.tar" "$work/programs"
ctr images import "$work/programs.tar" >/dev/null
rm -rf "$work/programs" "$work/programs.tar"
wait_full
run_tests "$@"
