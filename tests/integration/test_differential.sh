#!/bin/bash
# What a program sees and how it ends, by runc and by kiln: one list of bundles, each run by both on the
# same containerd. What a program prints (both outputs) and its status must be the same, or stand in
# `differs` with the reason. Of a container that cannot start the status counts, and that it is said why.
. "$(dirname "$0")/lib.sh"

least=80 # rows; fewer: the list was not run as it should

# What is not the same, and why.
declare -A differs=(
	['processors that are not there']="numbers of the host's processors mean nothing in the guest"
	['no PATH']='programs are looked for in /bin and the like, as execvp(3) does'
	['script without an interpreter']='Start says so, not the program'
	['script of a missing interpreter']='Start says so, not the program'
	[tmpfs]='runc 1.1 forgets the mode where the folder was not there'
	['comma-joined options']='the same'
	['the file systems']='what is masked is so by a file of the guest'
	['no such device']='the guest has no such device: the container is refused'
	['an unknown capability']='it is refused, not left out'
	['sysctl of no namespace']="the kernel is the pod's own"
	['control group']='the guest has version 2, and a namespace always'
	['the whole of version 2']='this host has version 1'
	['domain name']='runc 1.1 does not set it'
	['real time']='version 2 of control groups has no such limit: it is refused'
	['swappiness']='the same'
	['time namespace']='runc 1.1 knows none'
)

rows=0 wrong=0 # of the list so far

# bundle ROOT JQ COMMAND...: the spec of a container.
bundle() {
	jq --arg root "$1" ".root = {path: \$root, readonly: false} | .process.terminal = false
		| .linux.namespaces |= map(select(.type != \"network\")) + [{type: \"network\"}]
		| .process.args = \$ARGS.positional | .process.env = [\"PATH=/bin\"] | $2" "$work/spec.json" --args -- "${@:3}"
}

# seen RUNTIME ANNOTATIONS JQ COMMAND...: what there is to compare, from the input that `input` names.
seen() {
	local id=r$rows-$1 status=0 out=$work/$1.out err=$work/$1.err
	bundle "$work/root-of-$1" "$3 | .annotations += $2" "${@:4}" >"$work/$1.json" || fail "row ${*:3}"
	ctr run --rm --runtime "io.containerd.$1.v2" --config "$work/$1.json" "$id" \
		<"$input" >"$out" 2>"$err" || status=$?
	if grep -q '^ctr: ' "$err"; then
		ctr containers delete "$id" >/dev/null 2>&1 || true # it was not made
		echo 'cannot start' # each has its own words for it
	else
		cat "$out"
		sed 's/^/stderr: /' "$err"
		echo "status $status"
	fi
}

# row NAME JQ COMMAND...: one container by each. runc's shim loses the output of a short program now and
# then on a loaded host: only it is asked again.
row() {
	local by_runc by_kiln again name=$1
	shift
	rows=$((rows + 1))
	by_kiln=$(seen kiln "$in_pod" "$@")
	for again in {1..3}; do
		by_runc=$(seen runc '{}' "$@")
		[ "$by_runc" != "$by_kiln" ] || break
		[ -z "${differs[$name]:-}" ] || break
	done
	if [ "$by_runc" = "$by_kiln" ]; then
		[ -z "${differs[$name]:-}" ] || { wrong=$((wrong + 1)); tell "$name is the same, but should differ: ${differs[$name]}"; }
	elif [ -z "${differs[$name]:-}" ]; then
		wrong=$((wrong + 1))
		tell "$name:" $'\n'"runc: $by_runc"$'\n'"kiln: $by_kiln $(grep '^ctr: ' "$work/kiln.err")"
	fi
}

# sh_row NAME JQ SCRIPT: a row that is a shell script.
sh_row() { row "$1" "$2" /bin/sh -c "$3"; }

# done_rows: no row of the test was wrong.
done_rows() { expect 0 $wrong 'rows that differ'; }
input=/dev/null
in_pod='{"io.kubernetes.cri.sandbox-id": "pod", "io.kubernetes.cri.container-type": "container"}'

test_how_a_program_ends() {
	local code
	for code in 0 1 42 125 126 127 128 137 255; do
		sh_row "exit $code" . "exit $code"
	done
	sh_row 'exit by a child' . 'sh -c "exit 3"; echo $?'
	sh_row 'child killed' . 'sh -c "kill -9 \$\$"; echo $?'
	sh_row 'init does not get a signal of its own' . 'kill -TERM $$; echo lives'
	sh_row 'init does not get SIGKILL of its own' . 'kill -9 $$; echo lives'
	sh_row 'orphans are left' . '(sleep 1000 &) ; echo done'
	row 'no such program' . /nonexistent
	row 'no such program in PATH' . nonexistent
	row 'not executable' . /etc/passwd
	row 'a folder' . /bin
	row 'relative' '.process.cwd = "/bin"' ./echo here
	row 'found by PATH' '.process.env = ["PATH=/nowhere:/bin"]' echo found
	row 'no PATH' '.process.env = []' echo found
	row 'empty argument' . printf '[%s]' ''
	row 'arguments as they are' . printf '[%s]' 'a  b' '*' "it's" $'new\nline' 'ü'
	row 'script without an interpreter' . /script
	row 'script of a missing interpreter' . /missing-interpreter
	done_rows
}

test_input_and_output() {
	head -c 300000 /dev/zero | tr '\0' 'x' >"$work/input"
	input=$work/input
	row 'all of the input' . wc -c
	row 'some of the input' . head -c 3
	row 'none of the input' . true
	row 'input comes back' . md5sum
	input=/dev/null
	sh_row 'both outputs' . 'echo out; echo err >&2'
	sh_row 'no newline' . 'printf out; printf err >&2'
	sh_row 'outputs are pipes' . '[ -p /proc/self/fd/1 ] && echo pipe; [ -t 1 ] || echo no terminal'
	sh_row 'no other descriptor' . 'ls /proc/self/fd | wc -l'
	sh_row 'output closed' . 'exec 1>&-; echo x 2>/dev/null; echo $? >&2'
	row 'two megabytes' . sh -c 'head -c 2000000 /dev/zero | tr "\0" y'
	done_rows
}

test_environment_user_and_folder() {
	row 'environment' '.process.env = ["PATH=/bin", "A=1", "B=a b", "C=", "A=2"]' env
	row 'a variable without a value' '.process.env += ["NOVALUE"]' env
	row 'home of root' . sh -c 'echo $HOME'
	row 'home of nobody' '.process.user = {uid: 65534, gid: 65534}' sh -c 'echo $HOME'
	row 'home of an unknown user' '.process.user = {uid: 4242, gid: 7}' sh -c 'echo $HOME; id -u; id -g'
	row 'groups' '.process.user = {uid: 1, gid: 2, additionalGids: [3, 4, 500]}' id
	row 'no groups' '.process.user = {uid: 1000, gid: 1000}' sh -c 'id; grep ^Groups /proc/self/status'
	row 'large user' '.process.user = {uid: 65000, gid: 65001}' id
	row 'umask' '.process.user.umask = 23' sh -c 'umask; touch /tmp/u; stat -c %a /tmp/u'
	row 'no umask' . sh -c umask
	row 'folder' '.process.cwd = "/tmp"' pwd
	row 'missing folder' '.process.cwd = "/made/by/it"' sh -c 'pwd; stat -c "%a %u" /made/by'
	row 'folder is a file' '.process.cwd = "/etc/passwd"' pwd
	row 'folder that a user may not enter' '.process.cwd = "/root-only" | .process.user = {uid: 1000, gid: 1000}
		| .process.capabilities = {}' pwd
	row 'host name' '.hostname = "differential" | .linux.namespaces |= . ' sh -c 'hostname; cat /proc/sys/kernel/hostname'
	row 'domain name' '.domainname = "example.org"' cat /proc/sys/kernel/domainname
	done_rows
}

test_limits() {
	row 'rlimits' '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 100, hard: 200}, {type: "RLIMIT_CORE", soft: 0, hard: 0}]' \
		sh -c 'ulimit -Sn; ulimit -Hn; ulimit -Sc'
	row 'unknown rlimit' '.process.rlimits = [{type: "RLIMIT_NOTHING", soft: 1, hard: 1}]' true
	row 'soft over hard' '.process.rlimits = [{type: "RLIMIT_NOFILE", soft: 200, hard: 100}]' true
	row 'badness' '.process.oomScoreAdj = 500' cat /proc/self/oom_score_adj
	row 'real time' '.linux.resources.cpu = {realtimePeriod: 1000000}' true
	row 'swappiness' '.linux.resources.memory = {swappiness: 30}' true
	row 'no RDMA device' '.linux.resources.rdma = {mlx5_1: {hcaHandles: 3}}' true
	row 'out of memory' '.linux.resources.memory = {limit: 33554432, swap: 33554432}' \
		sh -c 'tail -c 150m /dev/zero; echo $?' # the child ends, not the shell, which asks for nothing meanwhile
	row 'out of memory, init' '.linux.resources.memory = {limit: 33554432, swap: 33554432}' \
		tail -c 150m /dev/zero
	row 'pids' '.linux.resources.pids = {limit: 3}' \
		sh -c 'sleep 2 & sleep 2 & sleep 2 & sleep 2 & echo not here'
	row 'processors that are not there' '.linux.resources.cpu = {cpus: "0-500"}' true
	row 'shares' '.linux.resources.cpu = {shares: 512, quota: 20000, period: 100000}' true
	row 'the whole of version 2' '.linux.resources.unified = {"pids.max": "3"}' \
		sh -c 'sleep 2 & sleep 2 & sleep 2 & sleep 2 & echo not here'
	row 'burst' '.linux.resources.cpu = {quota: 20000, period: 100000, burst: 10000}' true
	row 'weight of files' '.linux.resources.blockIO = {weight: 500}' true
	row 'huge pages of a strange size' '.linux.resources.hugepageLimits = [{pageSize: "3KB", limit: 4096}]' true
	done_rows
}

test_mounts() {
	row 'tmpfs' '.mounts += [{destination: "/made", type: "tmpfs", source: "tmpfs", options: ["size=64k", "mode=711", "nosuid"]}]' \
		sh -c 'stat -c %a /made; grep " /made " /proc/mounts | tr , "\n" | grep -E "size|nosuid"; head -c 100k /dev/zero >/made/f; echo $?'
	row 'comma-joined options' '.mounts += [{destination: "/made", type: "tmpfs", source: "tmpfs", options: ["size=96k,mode=711"]}]' \
		sh -c 'stat -c %a /made; df -k /made | tail -n 1 | tr -s " " | cut -d " " -f 2'
	row 'mode of an image folder' '.mounts += [{destination: "/root-only", type: "tmpfs", source: "tmpfs"}]' stat -c %a /root-only
	row 'copied up' '.mounts += [{destination: "/etc", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup"]}]' ls /etc
	row 'a folder of the host' ".mounts += [{destination: \"/host\", type: \"bind\", source: \"$work/volume\", options: [\"rbind\"]}]" \
		sh -c 'cat /host/file; echo more >/host/written && cat /host/written; rm /host/written'
	row 'read-only' ".mounts += [{destination: \"/host\", type: \"bind\", source: \"$work/volume\", options: [\"bind\", \"ro\"]}]" \
		sh -c 'cat /host/file; echo x 2>/dev/null >/host/x; echo $?'
	row 'a file' ".mounts += [{destination: \"/deep/in/it\", type: \"bind\", source: \"$work/volume/file\", options: [\"bind\"]}]" \
		cat /deep/in/it
	row 'through a link' ".mounts += [{destination: \"/link/in\", type: \"bind\", source: \"$work/volume\", options: [\"bind\"]}]" \
		sh -c 'ls /tmp/in'
	row 'no such source' '.mounts += [{destination: "/host", type: "bind", source: "/no/such", options: ["bind"]}]' true
	row 'no such type' '.mounts += [{destination: "/host", type: "nosuchfs", source: "none"}]' true
	row 'no such option' '.mounts += [{destination: "/made", type: "tmpfs", source: "tmpfs", options: ["nosuchoption"]}]' true
	row 'large owners' ".process.user = {uid: 1000650000, gid: 0, additionalGids: [1000650000]}
		| .mounts += [{destination: \"/host\", type: \"bind\", source: \"$work/large\", options: [\"rbind\"]}]" \
		sh -c 'id; cd /host; cat own; mkdir new; touch new/file; chgrp 1000650000 new/file; stat -c "%u:%g %a" . own new new/file
			chown 0 new; echo $?; rm -r new'
	row 'noexec' ".mounts += [{destination: \"/host\", type: \"bind\", source: \"$work/volume\", options: [\"bind\", \"noexec\"]}]" \
		/host/program
	row 'a relative destination' '.mounts += [{destination: "made", type: "tmpfs", source: "tmpfs"}]' sh -c 'stat -c %a /made'
	row 'over another' '.mounts += [{destination: "/made", type: "tmpfs", source: "one"}, {destination: "/made", type: "tmpfs", source: "two"}]' \
		sh -c 'grep " /made " /proc/mounts | cut -d " " -f 1'
	row 'read-only root' '.root.readonly = true' sh -c 'echo x 2>/dev/null >/x; echo $?; echo x >/dev/shm/x; echo $?'
	row 'masked' . sh -c 'cat /proc/kcore 2>/dev/null | wc -c; ls /proc/scsi /sys/firmware 2>/dev/null | wc -l; ls /proc/acpi 2>/dev/null | wc -l'
	row 'read-only paths' . sh -c 'for f in /proc/sys/kernel/domainname /proc/sysrq-trigger; do (echo x >$f) 2>/dev/null; echo $?; done'
	row 'the devices' . sh -c 'ls /dev; stat -c "%a %t %T %n" /dev/null /dev/tty /dev/urandom; readlink /dev/fd /dev/stdin /dev/ptmx'
	row 'the file systems' . sh -c 'cut -d " " -f 2,3 /proc/mounts | grep -v "^/ \|kcore\|sysrq" | sort -u'
	row 'another device' '.linux.devices += [{path: "/dev/deep/zero", type: "c", major: 1, minor: 5, fileMode: 438, uid: 5, gid: 6}]
		| .linux.resources.devices += [{allow: true, type: "c", major: 1, minor: 5, access: "rw"}]' \
		sh -c 'stat -c "%a %u %g" /dev/deep/zero; head -c 4 /dev/deep/zero | wc -c'
	row 'no such device' '.linux.devices += [{path: "/dev/none", type: "b", major: 4000, minor: 7}]' head -c 1 /dev/none
	done_rows
}

test_rights() {
	row 'capabilities' . grep ^Cap /proc/self/status
	row 'no capabilities' '.process.capabilities = {}' grep ^Cap /proc/self/status
	row 'one capability' '.process.capabilities = {bounding: ["CAP_NET_RAW"], effective: ["CAP_NET_RAW"], permitted: ["CAP_NET_RAW"]}' \
		grep ^Cap /proc/self/status
	row 'ambient' '.process.capabilities |= (.ambient = ["CAP_NET_BIND_SERVICE"] | .inheritable = ["CAP_NET_BIND_SERVICE"])
		| .process.user = {uid: 1000, gid: 1000}' grep ^Cap /proc/self/status
	row 'ambient, not inheritable' '.process.capabilities |= (.ambient = ["CAP_NET_BIND_SERVICE"] | .inheritable = [])
		| .process.user = {uid: 1000, gid: 1000}' grep ^Cap /proc/self/status
	row 'an unknown capability' '.process.capabilities.effective += ["CAP_NOTHING"]' grep ^Cap /proc/self/status
	row 'capabilities of a user' '.process.user = {uid: 1000, gid: 1000}' grep ^Cap /proc/self/status
	row 'no new privileges' '.process.noNewPrivileges = true' grep ^NoNewPrivs /proc/self/status
	row 'new privileges' '.process.noNewPrivileges = false' grep ^NoNewPrivs /proc/self/status
	row 'seccomp' '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64"],
		syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 95}]}' \
		sh -c 'grep ^Seccomp: /proc/self/status; mkdir /tmp/denied; echo $?'
	row 'seccomp that kills' '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW",
		syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_KILL_PROCESS"}]}' sh -c 'mkdir /tmp/denied; echo $?'
	row 'no such action' '.linux.seccomp = {defaultAction: "SCMP_ACT_NOTHING"}' true
	done_rows
}

test_namespaces() {
	row 'sysctl' '.linux.sysctl = {"kernel.shm_rmid_forced": "1"}' cat /proc/sys/kernel/shm_rmid_forced
	row 'no such sysctl' '.linux.sysctl = {"kernel.nothing": "1"}' true
	row 'sysctl of no namespace' '.linux.sysctl = {"vm.swappiness": "10"}' true
	row 'processes' . sh -c 'echo $$; set -- /proc/[0-9]*; echo $#'
	row 'control group' . cat /proc/self/cgroup
	row 'no such namespace' '.linux.namespaces |= map(if .type == "ipc" then .path = "/no/such" else . end)' true
	row 'a namespace twice' '.linux.namespaces += [{type: "pid"}]' true
	row 'an unknown namespace' '.linux.namespaces += [{type: "nothing"}]' true
	row 'time namespace' '.linux.namespaces += [{type: "time"}]' sh -c '[ $(readlink /proc/self/ns/time) = $(readlink /proc/self/ns/time_for_children) ]; echo $?'
	done_rows
}

# Also for who runs one test of the file.
test_the_list_is_whole() {
	local listed
	listed=$(grep -cE '^\s+(sh_)?row ' "$0")
	[ "$listed" -ge $least ] || fail "only $listed rows"
}

write_config 1
configure '.log_level = "info"'
start_factory
start_containerd
for runtime in runc kiln; do
	root=$work/root-of-$runtime
	"$tests/busybox-root" "$root"
	mkdir -m 700 "$root/root-only"
	ln -s /tmp "$root/link"
	printf 'echo by a shell\n' >"$root/script"
	printf '#!/no/such\n' >"$root/missing-interpreter"
	chmod 755 "$root/script" "$root/missing-interpreter"
done
mkdir "$work/volume"
mkdir -m 2770 "$work/large"
echo 'of one with a large number' >"$work/large/own"
chmod 600 "$work/large/own"
chown 1000650000:1000650000 "$work/large/own"
chown :1000650000 "$work/large"
chmod 2770 "$work/large"
echo 'of the host' >"$work/volume/file"
cp "$(command -v busybox)" "$work/volume/program"
ctr oci spec >"$work/spec.json"
wait_full
bundle "$work/root-of-kiln" '.annotations += {"io.kubernetes.cri.sandbox-id": "pod", "io.kubernetes.cri.container-type": "sandbox"}' \
	sleep 10000 >"$work/pod.json"
ctr run -d --runtime io.containerd.kiln.v2 --config "$work/pod.json" pod
run_tests "$@"
