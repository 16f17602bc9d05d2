#!/bin/bash
# In the node: tests/node/measure.sh SET FOLDER. A factory that keeps nothing parked by itself is all that the scenarios
# of boots, clones, claims and memory need.
. bench/daemons.sh

mkdir -p "$2"
write_config 0 .
start_empty_factory empty always || exit 1
kiln-bench run --factory "$empty" --set "$1" --out "$2/result.json" boot clone claim density >"$2/report.txt" || {
	tail -n 20 "$store/empty-run/factory.log"
	ctl factory console default --socket "$store/empty-run/factory.sock" | tail -n 20
	exit 1
}
cat "$2/report.txt"
