"""Protocol buffers and ttRPC, as much of them as tests need that stand in for containerd before a shim."""

import socket
import struct
import sys


FIXED = {1: 8, 5: 4}  # wire types of numbers whose length is fixed


# A message is a list of (number, value).
def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def pack(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def unpack(data):
    def number():
        nonlocal at
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 0x80:
                return value

    at, fields = 0, []
    while at < len(data):
        key = number()
        if key & 7 in FIXED:
            size = FIXED[key & 7]
            at, value = at + size, int.from_bytes(data[at : at + size], "little")
        else:
            value = number()
        if key & 7 == 2:
            at, value = at + value, data[at : at + value]
        fields.append((key >> 3, value))
    return fields


class Task:
    """ttRPC, one call after another."""

    def __init__(self, address, service="containerd.task.v2.Task"):
        self.service = service
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(address.removeprefix("unix://"))
        self.stream = 1
        self.metadata = {}  # of each call

    def read(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            if not more:
                sys.exit("the shim has closed the connection")
            data += more
        return data

    def call(self, method, *fields, service=None):
        request = pack((1, service or self.service), (2, method), (3, pack(*fields)),
                       *((5, pack((1, key), (2, value))) for key, value in self.metadata.items()))
        self.socket.sendall(struct.pack(">IIBB", len(request), self.stream, 1, 0) + request)
        self.stream += 2
        length = struct.unpack(">IIBB", self.read(10))[0]
        answer = dict(unpack(self.read(length)))
        if 1 in answer:
            status = dict(unpack(answer[1]))
            if status.get(1):
                raise RuntimeError(f"{method}: {status.get(2, b'').decode()}")
        return dict(unpack(answer.get(2, b"")))
