"""renew.py SOCKET VM: binds the lease of a machine to this process, which then waits for the end
of its standard input. There is no command for it, since only who takes a machine over needs it."""

import socket
import struct
import sys


def field(number, data):
    """A length-delimited protobuf field; all of them are short here."""
    return bytes([number << 3 | 2, len(data)]) + data


def main():
    path, vm_id = sys.argv[1:]
    factory = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    factory.settimeout(30)
    factory.connect(path)
    payload = field(1, vm_id.encode())
    request = field(1, b"kiln.factory.v1.Factory") + field(2, b"Renew") + field(3, payload)
    factory.sendall(struct.pack(">IIBB", len(request), 1, 1, 0) + request)
    length, stream, kind, _flags = struct.unpack(">IIBB", factory.recv(10, socket.MSG_WAITALL))
    response = factory.recv(length, socket.MSG_WAITALL) if length else b""
    # An empty Response, or one whose Status (field 1) has no code, is success.
    if (stream, kind) != (1, 2) or response[:1] == b"\x0a" and response[1] > 0:
        sys.exit("renew: %r" % response)
    print("renewed", flush=True)
    sys.stdin.read()


main()
