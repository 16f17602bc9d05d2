# What `make demo` and `make bench` share: a private containerd and four private factories.
#
#   $KILN_FACTORY   refills its pool, as a node's factory does (tests/private.sh: run, work, store)
#   $empty          keeps nothing parked by itself: kiln-bench --factory
#   $slots          the same, its machines have no DAX windows
#   $unshared       the same, its machines share no memory; bakes only where a set has them
#
# They keep a spare, as templates/default.json says.

. tests/private.sh

# On tmpfs, as /run is.
run=$store/run
export KILN_FACTORY=unix://$run/factory.sock
empty=unix://$store/empty-run/factory.sock
slots=unix://$store/slots-run/factory.sock
unshared=unix://$store/unshared-run/factory.sock

# start_empty_factories: after write_config.
start_empty_factories() {
	start_empty_factory empty always && start_empty_factory slots always '.dax_windows = 0' &&
		start_empty_factory unshared never
}

# bench SET [OPTION...]: kiln-bench on all of it.
bench() {
	TMPDIR=$store kiln-bench run --factory "$empty" --slots "$slots" --unshared "$unshared" --pool "$KILN_FACTORY" \
		--containerd "$work/containerd.sock" --namespace "$(basename "$work")" --image "$image" "${files[@]}" "${cri[@]}" "${crun[@]}" --set "$@"
}
