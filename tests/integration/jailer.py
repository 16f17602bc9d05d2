#!/usr/bin/env python3
"""What a factory that somebody has taken over may say to kiln-jailer, and is refused.

    jailer.py serve PATH UID COMMAND...   COMMAND with a listening socket at PATH, as a service manager does
    jailer.py attack CONFIG TEMPLATE      a kiln-jailer of its own, asked for what it must not do
"""

import array
import errno
import json
import os
import socket
import struct
import subprocess
import sys

VERBS = ("begin take copy launch grow rehearse kill reap find remove measure socket console forget bake "
         "images_take images_list image_look image_make").split()
FORM = "16s7I4xQ33s65s6x"  # struct form of factory/jail/jailer_message.c
REPLY = "3iIQ"
MACHINE = "00112233445566778899aabbccddeeff"


def serve(path, uid, *command):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    os.chown(path, int(uid), 0)
    os.chmod(path, 0o600)
    listening.listen()
    os.dup2(listening.fileno(), 3)
    os.set_inheritable(3, True)  # where it was 3 already
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "jailer", "LISTEN_PID": str(os.getpid())}
    os.execvp(command[0], command)


class Jailer:
    def __init__(self, config):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.version = subprocess.check_output(["kiln-jailer", "--version"], text=True).split()[1]
        self.process = subprocess.Popen(["kiln-jailer", "--config", config, "--socket", str(theirs.fileno())],
                                        pass_fds=[theirs.fileno()])
        self.socket = ours
        ours.settimeout(60)

    def send(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)
        answer, control, _, _ = self.socket.recvmsg(1 << 17, socket.CMSG_SPACE(4 * 8))
        for _, _, numbers in control:
            for fd in array.array("i", numbers):
                os.close(fd)
        size = struct.calcsize(REPLY)
        return struct.unpack(REPLY, answer[:size])[0], answer[size:-1].decode()

    def ask(self, verb, fds=(), texts=(), uid=0, flags=0, vcpus=0, number=0, mode=0, size=0,
            machine="", template=""):
        form = struct.pack(FORM, self.version.encode(), VERBS.index(verb), uid, flags, vcpus, 0, number, mode, size,
                           machine.encode(), template.encode())
        return self.send(form + b"".join(t.encode() + b"\0" for t in texts), fds)

    def job(self, verb, **what):
        ours, theirs = socket.socketpair()
        answer = self.ask(verb, [theirs.fileno()], **what)
        theirs.close()
        if answer[0] != 0:
            return {"number": answer[0], "message": answer[1]}
        with ours, ours.makefile() as text:
            return json.load(text)


def attack(path, template):
    config = json.load(open(path))
    first, vms = config["uid_first"], os.path.join(config["run_dir"], "vms")
    jailer = Jailer(path)
    wrong = 0

    def expect(number, what, answer):
        nonlocal wrong
        if answer[0] != -number:
            print(f"{what}: {answer}, not {errno.errorcode.get(number, number)}")
            wrong += 1

    mine = subprocess.Popen(["sleep", "1000"])
    pidfd = os.pidfd_open(mine.pid)
    expect(errno.EPROTO, "a deed before the beginning", jailer.ask("kill", [pidfd]))
    expect(0, "the beginning", jailer.ask("begin"))
    expect(errno.EPROTO, "another beginning", jailer.ask("begin"))
    expect(errno.EBADMSG, "half a request", jailer.send(b"x"))
    expect(errno.EBADMSG, "a text too many", jailer.ask("begin", texts=["x"]))
    expect(errno.EBADMSG, "a machine that is a path", jailer.ask("rehearse", machine="../" * 10 + "ab"))
    expect(errno.EBADMSG, "a template that is a path",
           jailer.ask("copy", uid=first, template=("../" * 22)[:64]))

    for uid, what in (0, "root"), (1000, "a user of the host"), (first + 1, "the middle of a range"), \
                     (first + 4096 * 65536, "beyond the ranges"), (first, "a range that is nobody's"):
        expect(errno.EPERM, f"a machine that is {what}",
               jailer.ask("launch", machine=MACHINE, template=template, uid=uid))
        if uid != first:
            expect(errno.EPERM, f"the ids of {what}", jailer.ask("take", machine=MACHINE, uid=uid))
    uids = os.path.join(config["run_dir"], "uids")
    bakes = [int(n) for n in os.listdir(uids)]
    expect(errno.EPERM, "a machine that is the bakes' user",
           jailer.ask("launch", machine=MACHINE, template=template, uid=bakes[0]))
    expect(errno.EEXIST, "the ids of the bakes", jailer.ask("take", machine=MACHINE, uid=bakes[0]))
    expect(0, "ids that are nobody's", jailer.ask("take", machine=MACHINE, uid=first))
    expect(errno.EEXIST, "the ids of another machine", jailer.ask("take", machine="b" * 32, uid=first))
    expect(errno.EPERM, "a machine with the ids of another one",
           jailer.ask("launch", machine="b" * 32, template=template, uid=first))
    # As a factory leaves it that makes them itself: the folder is root's, or it could replace root's.
    if os.stat(uids).st_uid != 0 or os.stat(uids).st_mode & 0o077:
        print("others than root write down whose user ids are")
        wrong += 1
    foreign = os.path.join(uids, str(first + 65536))
    os.symlink("b" * 32, foreign)
    os.lchown(foreign, 65534, 65534)
    expect(errno.EPERM, "a machine with ids that root has not noted",
           jailer.ask("launch", machine="b" * 32, template=template, uid=first + 65536))
    expect(errno.ENOENT, "a template that is not there",
           jailer.ask("launch", machine=MACHINE, template="0" * 64, uid=first))
    expect(errno.EPERM, "copies that the template has not",
           jailer.ask("launch", [pidfd] * 20, machine=MACHINE, template=template, uid=first))
    expect(errno.EPERM, "a copy of a file that is shared",
           jailer.ask("copy", uid=first, template=template, number=0))

    expect(errno.EPERM, "the end of somebody else's process", jailer.ask("kill", [pidfd]))
    expect(errno.EPERM, "the end of what is no process", jailer.ask("kill", [0]))
    expect(errno.EPERM, "the memory of somebody else's process", jailer.ask("measure", number=mine.pid))
    expect(errno.EINVAL, "a socket for everybody's changes", jailer.ask("socket", mode=0o777))
    for uid in 65536, first, first + 65536:
        other = subprocess.Popen(["sleep", "1000"], user=uid, group=uid, extra_groups=[])
        expect(0, "a machine that is not there", jailer.ask("remove", machine="b" * 32, uid=uid))
        if other.poll() is not None:
            print(f"a process of the user {uid}, which is not the machine's, was killed")
            wrong += 1
        other.kill()
    expect(errno.EPERM, "somebody else's control group",
           jailer.ask("remove", machine="f" * 32, texts=["../" + "f" * 32]))
    expect(errno.EPERM, "somebody else's control group",
           jailer.ask("remove", machine="f" * 32, texts=["kiln/" + "e" * 32]))
    expect(errno.ENOENT, "processors for a machine that is not there",
           jailer.ask("grow", machine="f" * 32, vcpus=1, texts=["kiln/" + "f" * 32]))
    expect(errno.EPERM, "processors for somebody else's control group",
           jailer.ask("grow", machine="f" * 32, vcpus=1, texts=["kiln/" + "e" * 32]))
    os.mkdir(os.path.join(vms, "c" * 32))
    with open(os.path.join(vms, "c" * 32, "max_vcpus"), "w") as note:
        note.write("2\n")
    for vcpus in 0, 3:
        expect(errno.EPERM, "more processors than the template has",
               jailer.ask("grow", machine="c" * 32, vcpus=vcpus, texts=["kiln/" + "c" * 32]))
    victim = os.path.join(config["run_dir"], "victim")
    os.makedirs(os.path.join(victim, "share"))
    os.symlink(victim, os.path.join(vms, "e" * 32))
    expect(errno.EPERM, "a machine that is a link", jailer.ask("remove", machine="e" * 32))
    expect(errno.EPERM, "a share behind a link", jailer.ask("rehearse", machine="e" * 32))
    os.mkdir(os.path.join(vms, "d" * 32))
    os.chown(os.path.join(vms, "d" * 32), 65534, 65534)
    expect(errno.EPERM, "a machine's folder that is the factory's", jailer.ask("remove", machine="d" * 32))

    # The limit of the cache of images is the configuration's, as it is now.
    layer, huge = os.path.join(config["run_dir"], "layer"), 1 << 40
    os.mkdir(layer)
    with open(os.path.join(layer, "file"), "wb") as file:
        file.write(os.urandom((config["image_cache_mib"] + 1) << 20))
    expect(0, "the cache of images", jailer.ask("images_take", size=huge))
    key = jailer.job("image_look", texts=[layer])["key"]
    image = {"texts": ["", layer], "template": key, "size": huge}
    answer = jailer.job("image_make", **image)
    expect(errno.EFBIG, "an image larger than the cache", (answer.get("number", 0), answer))
    json.dump(config | {"image_cache_mib": 2 * config["image_cache_mib"] + 2}, open(path, "w"))
    answer = jailer.job("image_make", **image)
    expect(0, "an image in a cache that was made larger", (answer.get("number", 0), answer))

    if mine.poll() is not None or not os.path.isdir(os.path.join(victim, "share")):
        print("a refused deed was done")
        wrong += 1
    mine.kill()
    jailer.socket.close()
    if jailer.process.wait(60) != 0:
        print("kiln-jailer did not end well")
        wrong += 1
    return 1 if wrong else 0


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
sys.exit(attack(*sys.argv[2:]))
