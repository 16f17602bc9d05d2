# What `make demo` and `make bench` share: a private containerd and three private factories.
#
#   $KILN_FACTORY   refills its pool, as a node's factory does (tests/private.sh: run, work, store)
#   $empty          keeps nothing parked by itself: kiln-bench --factory
#   $unshared       the same, its machines share no memory; bakes only where a set has them
#
# They keep a spare, as templates/default.json says.

. tests/private.sh

# On tmpfs, as /run is.
run=$store/run
export KILN_FACTORY=unix://$run/factory.sock
empty=unix://$store/empty-run/factory.sock
unshared=unix://$store/unshared-run/factory.sock

# start_empty_factory NAME SHARE
start_empty_factory() {
	jq --arg share "$2" '.pool_size = 0 | .share = $share' "$work/template.json" >"$work/$1-template.json"
	jq --arg name "$1" --arg run "$store/$1-run" --arg store "$store/$1" \
		'.run_dir = $run | .store = $store | .templates |= sub("template.json$"; $name + "-template.json")
		 | .log_file = $run + "/factory.log" | .max_vms = 512' "$work/factory.json" >"$work/$1.json"
	timeout 60 kiln-factory --daemon --config "$work/$1.json"
}

# start_empty_factories: after write_config.
start_empty_factories() { start_empty_factory empty always && start_empty_factory unshared never; }

# bench SET [OPTION...]: kiln-bench on all of it.
bench() {
	TMPDIR=$store kiln-bench run --factory "$empty" --unshared "$unshared" --pool "$KILN_FACTORY" \
		--containerd "$work/containerd.sock" --namespace "$(basename "$work")" --image "$image" --set "$@"
}
