# What `make demo` and `make bench` share: a private containerd and two private factories.
#
#   $KILN_FACTORY   refills its pool, as a node's factory does (tests/private.sh: run, work, store)
#   $empty          keeps nothing parked by itself: kiln-bench --factory
#
# Both keep a spare, as templates/default.json says.

. tests/private.sh

# On tmpfs, as /run is.
run=$store/run
export KILN_FACTORY=unix://$run/factory.sock
empty_run=$store/empty-run
empty=unix://$empty_run/factory.sock

# start_empty_factory: after write_config.
start_empty_factory() {
	jq '.pool_size = 0' "$work/template.json" >"$work/empty-template.json"
	jq --arg run "$empty_run" --arg store "$store/empty" \
		'.run_dir = $run | .store = $store | .templates |= sub("template.json$"; "empty-template.json")
		 | .log_file = $run + "/factory.log" | .max_vms = 512' "$work/factory.json" >"$work/empty.json"
	timeout 60 kiln-factory --daemon --config "$work/empty.json"
}

# bench SET [OPTION...]: kiln-bench on all of it.
bench() {
	TMPDIR=$store kiln-bench run --factory "$empty" --pool "$KILN_FACTORY" --containerd "$work/containerd.sock" \
		--namespace "$(basename "$work")" --image "$image" --set "$@"
}
