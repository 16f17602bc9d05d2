# What scripts share that want a containerd of version 2: it is built from its public Go module, once.
#
#   CONTAINERD   its version (v2.4.2)
CONTAINERD=${CONTAINERD:-v2.4.2}
built=$(realpath "${BUILD:?BUILD names the build folder}")/critest
engine_2=$built/containerd-$CONTAINERD # its programs

# module FOLDER: an empty Go module to build programs of others in, at their versions.
module() {
	mkdir -p "$1" && cd "$1" && { [ -e go.mod ] || go mod init kiln.invalid/conformance; }
}

build_containerd() {
	local program
	[ -x "$engine_2/ctr" ] || (module "$engine_2" && go get "github.com/containerd/containerd/v2@$CONTAINERD" &&
		for program in containerd containerd-shim-runc-v2 ctr; do
			go build -tags no_btrfs,no_zfs,no_devmapper -o "$engine_2/$program" \
				"github.com/containerd/containerd/v2/cmd/$program" || exit 1
		done)
}
