#!/usr/bin/env python3
"""block_root.py ID BUNDLE NAMESPACE ADDRESS TYPE SOURCE OPTION,OPTION...: a container whose root file system
is what a snapshotter of block devices gives.

Debian 12's containerd has no such snapshotter that would work without device-mapper, so this takes its place
before the shim: starts it, sends Create with this one mount, Start, Wait, Delete and Shutdown, and ends with
the container's exit status; a failed call is said, and status 1.
"""
import os
import re
import subprocess
import sys

from ttrpc import Task, pack


def start(identity, bundle, namespace, address):
    words = ["containerd-shim-kiln-v2", "-namespace", namespace, "-address", address,
             "-publish-binary", "/usr/bin/containerd", "-id", identity, "start"]  # fmt: skip
    answer = subprocess.run(words, cwd=bundle, env=dict(os.environ, TTRPC_ADDRESS=address + ".ttrpc"),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout  # fmt: skip
    return Task(re.search(r"unix://\S+", answer.decode()).group())


identity, bundle, namespace, address, kind, source, options = sys.argv[1:]
mount = pack((1, kind), (2, source), *((4, option) for option in options.split(",") if option))
task = start(identity, bundle, namespace, address)
this = (1, identity)
try:
    task.call("Create", this, (2, bundle), (3, mount))
    task.call("Start", this)
    code = task.call("Wait", this).get(1, 0)
    task.call("Delete", this)
except RuntimeError as error:
    print(error, file=sys.stderr)
    code = 1
task.call("Shutdown", this)
sys.exit(code)
