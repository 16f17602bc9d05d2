"""What of a parked machine's QEMU is memory for nothing: vmm_memory.py PID MONITOR

One line: the longest run of pages with nothing but zeros in its own memory, in KiB (QEMU's stacks
have none), and what each block of translated code takes beyond the code itself, in bytes: 0 where
KVM runs the machine, which has nothing translated."""

import json
import re
import socket
import struct
import sys

PAGE = 4096


def own_memory(pid):
    guest_end = 0  # of the guest's memory, whose holes are pieces without a name
    for line in open(f"/proc/{pid}/maps"):
        fields = line.split()
        first, end = (int(end, 16) for end in fields[0].split("-"))
        if fields[1] != "rw-p":
            continue
        if line.rstrip().endswith("/memory") or (len(fields) == 5 and first == guest_end):
            guest_end = end
        elif len(fields) == 5 or fields[5] == "[heap]":
            yield first, end


def longest_zero_run(pid):
    memory = open(f"/proc/{pid}/mem", "rb", buffering=0)
    pagemap = open(f"/proc/{pid}/pagemap", "rb", buffering=0)
    longest = 0
    for first, end in own_memory(pid):
        pagemap.seek(first // PAGE * 8)
        run = 0
        for i, (entry,) in enumerate(struct.iter_unpack("Q", pagemap.read((end - first) // PAGE * 8))):
            run += 1
            if not entry >> 63:  # not in memory
                run = 0
                continue
            memory.seek(first + i * PAGE)
            if memory.read(PAGE).strip(b"\0"):
                run = 0
            longest = max(longest, run)
    return longest * PAGE // 1024


def bytes_beside_code(monitor):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(monitor)
        lines = connection.makefile("rw")
        lines.readline()
        for command in (
            {"execute": "qmp_capabilities"},
            {"execute": "human-monitor-command", "arguments": {"command-line": "info jit"}},
        ):
            lines.write(json.dumps(command) + "\n")
            lines.flush()
            text = json.loads(lines.readline())["return"]
    if "only available with accel=tcg" in text:
        return 0
    size, count, average = (
        int(re.search(word + r"\s+(\d+)", text)[1]) for word in ("gen code size", "TB count", "TB avg host size")
    )
    return size // count - average


print(longest_zero_run(sys.argv[1]), bytes_beside_code(sys.argv[2]))
