#!/usr/bin/python3
"""A program at a terminal of 30 rows and 90 columns: terminal.py COMMAND... . Its script is on stdin, a line each:
    wait TEXT    until TEXT has come
    type TEXT    and Return
    key LETTER   with Ctrl
    size ROWS COLUMNS
Prints what has come, and then the exit status; each wait lasts a minute at the most."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

WAIT_S = 60 * int(os.environ.get("TIME_FACTOR", "1"))


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_more(fd, deadline):
    if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
        return None
    try:
        return os.read(fd, 4096)
    except OSError:
        return b""


def main():
    pid, fd = pty.fork()
    if pid == 0:
        set_size(0, 30, 90)
        os.environ["TERM"] = "vt100"
        os.execvp(sys.argv[1], sys.argv[1:])
    text, seen = b"", 0
    for line in sys.stdin:
        verb, _, rest = line.rstrip("\n").partition(" ")
        if verb == "type":
            os.write(fd, rest.encode() + b"\r")
        elif verb == "key":
            os.write(fd, bytes([ord(rest) & 0x1F]))
        elif verb == "size":
            set_size(fd, *map(int, rest.split()))
        elif verb == "wait":
            deadline = time.monotonic() + WAIT_S
            while rest.encode() not in text[seen:]:
                more = read_more(fd, deadline)
                if not more:
                    sys.exit(f"no {rest!r} came, but {text!r}")
                text += more
            seen = text.index(rest.encode(), seen) + len(rest)
    while more := read_more(fd, time.monotonic() + WAIT_S):
        text += more
    sys.stdout.write(text.decode(errors="replace").replace("\r", ""))
    print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    main()
