# A private factory and a private containerd, for the integration tests and the demo.
#
# All state is below $work and $store, which are removed at the end together with every process
# that was started, also after a failure or Ctrl-C. Nothing of the host's is used: two scripts
# may run side by side.

set -u -o pipefail

# How many times as long as elsewhere things may take on this host.
: "${TIME_FACTOR:=1}"
timeout() {
	local limit=("$1")
	[[ $1 != --* ]] || { limit=("$1" "$2") && shift; }
	shift
	limit[-1]=$((limit[-1] * TIME_FACTOR))
	command timeout "${limit[@]}" "$@"
}

: "${BUILD:?BUILD names the build folder}"
BUILD=$(realpath "$BUILD")
tests=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
work=$(mktemp -d /tmp/kiln-test.XXXXXX)
# Guest RAM belongs on tmpfs.
store=$(mktemp -d /dev/shm/kiln-test.XXXXXX)
chmod 711 "$work" "$store" # the user of bakes passes through
run=$work/run
image=docker.io/kiln/busybox:test
containerd_pid=
cri_pid=
export PATH=$BUILD:$PATH
: "${CONTAINERD_DIR:=/usr/bin}" # where containerd and ctr are
export KILN_FACTORY=unix://$run/factory.sock

# ---------------------------------------------------------------- factory

# The factory is nobody, who has to read what templates are made of wherever that was built.
template_images=$BUILD/image
if ! setpriv --reuid=nobody --regid=nogroup --clear-groups test -r "$template_images/vmlinux"; then
	cp -r "$BUILD/image" "$work/image"
	template_images=$work/image
fi

# keeps_change_times PATH: of files there the factory knows digests across restarts (factory/store/known_digests.c).
keeps_change_times() { [[ $(stat -f -c %T "$1") =~ ^(ext2/ext3|xfs|btrfs|tmpfs|f2fs)$ ]]; }

# Of the machines. Containers of runc are in one that is named after containerd's namespace.
cgroup=$(basename "$work")-machines

# write_config POOL_SIZE [JQ]: template definition and factory configuration. Without JQ, a change
# of the definition, the pool has no spares: a test counts processes.
write_config() {
	jq --arg dir "$template_images" --argjson pool "$1" --argjson factor "$TIME_FACTOR" \
		'.kernel = $dir + "/" + .kernel | .initrd = $dir + "/" + .initrd
		 | .image = $dir + "/" + .image | .machine = $dir + "/" + .machine
		 | .boot_timeout_s *= $factor | .pool_size = $pool | '"${2:-del(.pool)}" "$BUILD/image/default.json" >"$work/template.json"
	jq -n --arg run "$run" --arg store "$store" --arg template "$work/template.json" \
		--arg log "$work/factory.log" --arg cgroup "$cgroup" --arg work "$work" \
		'{run_dir: $run, store: $store, scratch_dir: ($work + "/scratch"), image_cache: ($work + "/images"),
		  templates: $template, log_file: $log, cgroup: $cgroup, user: "nobody",
		  log_level: "debug", init_on_start: false}' >"$work/factory.json"
}

# start_empty_factory NAME SHARE [JQ]: one that keeps nothing parked by itself, with a template that is
# shared as SHARE says; it is reached at unix://$store/NAME-run/factory.sock. After write_config.
start_empty_factory() {
	jq --arg share "$2" '.pool_size = 0 | .share = $share | '"${3:-.}" "$work/template.json" >"$work/$1-template.json"
	jq --arg name "$1" --arg run "$store/$1-run" --arg store "$store/$1" \
		'.run_dir = $run | .store = $store | .templates |= sub("template.json$"; $name + "-template.json")
		 | .image_cache += "-" + $name | .log_file = $run + "/factory.log" | .max_vms = 512' "$work/factory.json" >"$work/$1.json"
	timeout 60 kiln-factory --daemon --config "$work/$1.json"
}

factory_pid() { cat "$run/factory.lock" 2>/dev/null; }

# A lock file outlives a killed factory, and its pid may be somebody else's by now.
is_factory() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = kiln-factory ]; }

# jailer_pid: of the factory's kiln-jailer, however that was started.
jailer_pid() { pgrep -xf "kiln-jailer .*$work/(factory|unit).json|.*/kiln-jailer .*$work/(factory|unit).json"; }

# The daemon answers on its socket when this returns.
start_factory() {
	[ -z "${BAKED:-}" ] || [ -e "$store/templates" ] || take_baked
	timeout 60 kiln-factory --daemon --config "$work/factory.json"
}

# A bake is most of what a test waits for. Where $BAKED names a folder, what one script has baked is copied by the next
# that starts with the same definition. A template is named after all that it is made of: the factory looks whether it
# is the one that it would bake, and bakes where it is not. Scripts whose matter is the bake set BAKED to nothing.
baked='' # where the template is to be kept that this script bakes first
take_baked() {
	baked=$BAKED/$(jq -cS 'del(.pool, .pool_size)' "$work/template.json" | sha256sum | cut -c1-16)
	if [ -e "$baked" ]; then
		cp -a --sparse=always "$baked" "$store/templates" || rm -rf "$store/templates"
		baked=''
	fi
}

keep_baked() {
	cp -a --sparse=always "$store/templates" "$baked.$$" && mv -T "$baked.$$" "$baked" 2>/dev/null ||
		rm -rf "$baked.$$" # another one was faster, or there is no room
	baked=''
}

# wait_gone PID: until the process has ended.
wait_gone() { timeout 30 tail -s 0.05 --pid="$1" -f /dev/null; }

stop_factory() {
	local pid
	pid=$(factory_pid) || return 0
	is_factory "$pid" || return 0
	kill -"${1:-TERM}" "$pid" && wait_gone "$pid"
}

ctl() { timeout "${CTL_TIMEOUT:-240}" kiln-ctl "$@"; }
factory_ctl() { ctl factory "$1" --socket "$run/factory.sock" "${@:2}"; }
status_json() { factory_ctl status --json; }

# parked: how many machines wait in the pool.
parked() { status_json | jq '.templates[0].pool.parked'; }

# wait_full: until the pool is full (Init answers when it is). Where it fails it says why.
wait_full() {
	factory_ctl init >"$work/init.out" 2>&1 || { tail -n 3 "$work/init.out"; return 1; }
	[ -z "$baked" ] || keep_baked
}

# wait_no_sandboxes: until no machine is claimed any more. A machine's end is the factory's work,
# and containerd does not wait for it.
wait_no_sandboxes() {
	local i
	for i in {1..200}; do
		[ "$(factory_ctl list --json | jq '[.vms[]? | select(.state == "claimed")] | length')" = 0 ] && return
		sleep 0.05
	done
	echo 'there are sandboxes left'
	return 1
}

# no_shims: a shim ends by itself, some time after its last container's deletion was answered.
no_shims() { ! pgrep -f "containerd-shim-kiln-v2 .*$(basename "$work")" >/dev/null; }

# vmm_pids: the QEMU processes of this test.
vmm_pids() { pgrep -f "qemu-system-x86_64 .*$run/" || true; }

# ---------------------------------------------------------------- containerd

start_containerd() {
	cat >"$work/containerd.toml" <<-TOML
		version = 2
		root = "$work/containerd/root"
		state = "$work/containerd/state"
		disabled_plugins = ["io.containerd.grpc.v1.cri"]
		[grpc]
		  address = "$work/containerd.sock"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$work/containerd/opt"
	TOML
	: >"$work/containerd.log" # tail is not to be faster than containerd
	"$CONTAINERD_DIR/containerd" --config "$work/containerd.toml" >>"$work/containerd.log" 2>&1 &
	containerd_pid=$!
	timeout 60 grep -q -m1 'successfully booted' \
		<(tail -n +1 -f --pid="$containerd_pid" "$work/containerd.log") || {
		tail "$work/containerd.log"
		return 1
	}
	"$tests/busybox-image" "$work/busybox.tar"
	ctr images import "$work/busybox.tar" >/dev/null
}

# The namespace is the test's own: shim sockets and runc's folder are named after it.
ctr() { timeout "${CTR_TIMEOUT:-120}" "$CONTAINERD_DIR/ctr" --address "$work/containerd.sock" \
	--namespace "$(basename "$work")" "$@"; }

# kiln_run ID [CTR OPTIONS --] COMMAND...: a container by our shim.
kiln_run() {
	local id=$1 options=()
	shift
	case " $* " in *" -- "*)
		while [ "$1" != -- ]; do options+=("$1"); shift; done
		shift ;;
	esac
	ctr run --rm --runtime io.containerd.kiln.v2 "${options[@]}" "$image" "$id" "$@"
}

# prepare_image REF: the image of its layers is in the cache when this returns.
prepare_image() {
	ctl image prepare "$1" --containerd "$work/containerd.sock" --namespace "$(basename "$work")" >/dev/null 2>&1
}

# make_files_image: what kiln-bench's scenario `files` works on; its options are then in $files. The image
# of its layers is in the cache.
files=()
make_files_image() {
	local made=$work/files name=docker.io/kiln/files:test
	mkdir "$made"
	"$tests/../bench/files-image" "$BUILD/kiln-files-work" "$made" &&
		"$tests/oci-image" "$name" "$made/image.tar" "$made/root" &&
		ctr images import "$made/image.tar" >/dev/null && prepare_image "$name" || return 1
	rm -rf "$made"/{root,image.tar}
	files=(--files-image "$name")
	[ ! -e "$made/limit" ] || files+=(--limit "$made/limit")
}

# make_crun_folder: what kiln-bench's scenario `crun` copies into a guest; its option is then in $crun.
crun=()
make_crun_folder() {
	"$tests/../bench/crun-folder" "$BUILD/kiln-crun-work" "$BUILD/rehearsal-program" "$work/crun" &&
		crun=(--crun "$work/crun")
}

# cri_config FACTORY: of a containerd that makes pods, by runc and by kiln from this factory; where that is empty, the
# shim has no options and the factory of its environment.
cri_config() {
	jq -n --arg factory "$1" '{$factory}' >"$work/cri-kiln.json"
	cat <<-TOML
		version = 2
		root = "$work/cri/root"
		state = "$work/cri/state"
		[grpc]
		  address = "$work/cri.sock"
		[plugins."io.containerd.internal.v1.opt"]
		  path = "$work/cri/opt"
		[plugins."io.containerd.grpc.v1.cri"]
		  sandbox_image = "$pods_image"
		  restrict_oom_score_adj = true
		  netns_mounts_under_state_dir = true
		  stream_server_port = "0"
		[plugins."io.containerd.grpc.v1.cri".cni]
		  bin_dir = "/usr/lib/cni"
		  conf_dir = "$work/cri-cni"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		  runtime_type = "io.containerd.runc.v2"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kiln]
		  runtime_type = "io.containerd.kiln.v2"
		  pod_annotations = ["io.kiln.*"]
		  ${KILN_SANDBOXER:+sandboxer = '$KILN_SANDBOXER'}
	TOML
	[ -z "$1" ] || cat <<-TOML
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kiln.options]
		  ConfigPath = "$work/cri-kiln.json"
	TOML
}

# start_cri FACTORY: what kiln-bench's scenarios of pods work on; its options are then in $cri. The bridge
# that CNI joins pods to is in a network namespace of this containerd's own, not in the host's; a script that is in
# one already empties cri_in.
cri=()
cri_in=(unshare --net sh -c 'ip link set lo up && exec "$@"' sh)
pods_image=docker.io/kiln/pods:test
start_cri() {
	local cri_ctr=(timeout 60 "$CONTAINERD_DIR/ctr" --address "$work/cri.sock" --namespace k8s.io) root=$work/pods-root
	mkdir "$root" "$work/cri-cni"
	"$tests/busybox-root" "$root" && cp "$BUILD/kiln-net-work" "$root/bin/" &&
		COMMAND='["sleep","2147483647"]' "$tests/oci-image" "$pods_image" "$work/pods.tar" "$root" || return 1
	jq -n --arg data "$work/cri-cni-data" '{cniVersion: "0.4.0", name: "pods", plugins: [
		{type: "bridge", bridge: "pods0", isGateway: true, ipam: {type: "host-local", dataDir: $data,
			ranges: [[{subnet: "10.88.0.0/16"}]], routes: [{dst: "0.0.0.0/0"}]}}]}' >"$work/cri-cni/10-pods.conflist"
	cri_config "$1" >"$work/cri.toml"
	: >"$work/cri.log"
	"${cri_in[@]}" "$CONTAINERD_DIR/containerd" --config "$work/cri.toml" >>"$work/cri.log" 2>&1 &
	cri_pid=$!
	timeout 60 grep -q -m1 'successfully booted' <(tail -n +1 -f --pid="$cri_pid" "$work/cri.log") &&
		"${cri_ctr[@]}" images import "$work/pods.tar" >/dev/null || { tail "$work/cri.log"; return 1; }
	# CRI hears of an image by an event, and labels it.
	timeout 30 bash -c 'until "$@" | grep -q managed; do sleep 0.05; done' bash "${cri_ctr[@]}" images list
	cri=(--cri "$work/cri.sock" --pods-image "$pods_image")
}

# Ends what this test started, by pid, and removes what it made.
cleanup() {
	trap - EXIT
	trap : INT TERM # one that comes now does not end this half-way
	local pid mount lock
	for lock in "$work"/*/factory.lock "$store"/*/factory.lock; do
		pid=$(cat "$lock" 2>/dev/null) && is_factory "$pid" && kill "$pid" && wait_gone "$pid"
	done
	for pid in $containerd_pid $cri_pid; do
		kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	for pid in $(pgrep -f "containerd-shim.*$(basename "$work")") \
		$(pgrep -f "(qemu-system-x86_64|virtiofsd) .*($work|$store)/"); do
		kill -9 "$pid" 2>/dev/null && wait_gone "$pid" # its control group is busy until then
	done
	awk -v w="$work/" -v s="$store/" 'index($5, w) == 1 || index($5, s) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
		while read -r mount; do umount -l "$mount"; done
	find /sys/fs/cgroup -depth -type d -path "*/$(basename "$work")*" -exec rmdir {} + 2>/dev/null
	rm -rf --one-file-system "$work" "$store"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
