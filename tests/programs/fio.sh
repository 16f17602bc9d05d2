#!/bin/sh
# fio.sh FOLDER ENGINE...: random writes of 4 KiB, read back and checked: through the cache (psync), by a
# mapping (mmap), around the cache (libaio). (tests/conformance/programs)
folder=$1
shift
for engine; do
	direct=0
	[ $engine != libaio ] || direct=1
	fio --name=$engine --directory="$folder" --ioengine=$engine --direct=$direct --rw=randwrite --bs=4k --size=32m \
		--fsync=64 --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=7 --output=/root/said ||
		{ cat /root/said; exit 1; }
	echo "verified $engine"
done
