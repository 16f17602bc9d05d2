#!/usr/bin/env python3
"""block_root.py ID BUNDLE NAMESPACE ADDRESS TYPE SOURCE OPTION,OPTION...: a container whose root file system
is what a snapshotter of block devices gives.

Debian 12's containerd has no such snapshotter that would work without device-mapper, so this takes its place
before the shim: starts it, sends Create with this one mount, Start, Wait, Delete and Shutdown, and ends with
the container's exit status; a failed call is said, and status 1. ttRPC: ten bytes of header, then a message.
"""
import os, re, socket, struct, subprocess, sys


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """The fields of a message by number; the last one of a number holds."""
    found, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte, at = data[at], at + 1
            n, shift = n | (byte & 127) << shift, shift + 7
            if byte < 128:
                return n

    while at < len(data):
        key = number()
        n = number()
        if key & 7 == 2:
            found[key >> 3], at = data[at : at + n], at + n
        else:
            found[key >> 3] = n
    return found


class Shim:
    def __init__(self, identity, bundle, namespace, address):
        start = subprocess.run(
            ["containerd-shim-kiln-v2", "-namespace", namespace, "-address", address,
             "-publish-binary", "/usr/bin/containerd", "-id", identity, "start"],
            cwd=bundle, env=dict(os.environ, TTRPC_ADDRESS=address + ".ttrpc"), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, check=True)  # fmt: skip
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(re.search(r"unix://(\S+)", start.stdout.decode()).group(1))
        self.stream = -1

    def receive(self, n):
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                sys.exit("the shim has hung up")
            data += part
        return data

    def call(self, method, request):
        self.stream += 2
        message = field(1, "containerd.task.v2.Task") + field(2, method) + field(3, request)
        self.socket.sendall(struct.pack(">IIBB", len(message), self.stream, 1, 0) + message)
        length, _, _, _ = struct.unpack(">IIBB", self.receive(10))
        response = fields(self.receive(length))
        status = fields(response.get(1, b""))
        if status.get(1):
            raise OSError(f"{method}: {status.get(2, b'').decode()}")
        return fields(response.get(2, b""))


identity, bundle, namespace, address, kind, source, options = sys.argv[1:]
mount = field(1, kind) + field(2, source) + b"".join(field(4, o) for o in options.split(",") if o)
shim = Shim(identity, bundle, namespace, address)
this = field(1, identity)
try:
    shim.call("Create", this + field(2, bundle) + field(3, mount))
    shim.call("Start", this)
    code = shim.call("Wait", this).get(1, 0)
    shim.call("Delete", this)
except OSError as e:
    print(e, file=sys.stderr)
    code = 1
shim.call("Shutdown", this)
sys.exit(code)
