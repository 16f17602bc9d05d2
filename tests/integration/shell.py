#!/usr/bin/python3
"""A shell at a terminal: shell.py SHELL SETUP KEYS WANTED. The keys are typed once SETUP has run, and what
comes on the terminal has to have WANTED in it within ten seconds. In KEYS "\\t" is Tab."""

import os
import pty
import select
import sys
import time

DEADLINE = time.monotonic() + 10 * int(os.environ.get("TIME_FACTOR", "1"))


def read_until(fd, wanted):
    text = b""
    while wanted not in text:
        if not select.select([fd], [], [], max(0, DEADLINE - time.monotonic()))[0]:
            sys.exit("no %r came, but: %r" % (wanted, text[-2000:]))
        try:
            text += os.read(fd, 4096)
        except OSError:
            sys.exit("the shell ended: %r" % text[-2000:])


def main():
    shell, setup, keys, wanted = sys.argv[1:]
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="vt100", PS1="> ", HISTFILE="")
        quiet = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"]}[shell]
        os.execvp(shell, [shell, *quiet, "-i"])
    # What is typed comes back; the word is only whole when the shell has said it.
    os.write(fd, (setup + "; echo rea''dy\n").encode())
    read_until(fd, b"ready\r")
    os.write(fd, keys.replace("\\t", "\t").encode() + b"\n")
    read_until(fd, wanted.encode())
    os.close(fd)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
