"""shim.py start ID: what `start` answers to containerd 2.4's BootstrapParams, as JSON.
shim.py run POD MOUNTS COMMAND [MOUNTS COMMAND]...: a pod's containers, one after another, as containerd 2.4
would have them made: MOUNTS is a JSON list of mounts (type, source, options), COMMAND is for sh -c. All
stay until the last one has ended. The FIFO $SHIM_WORK/POD.in, if there is one, is the first one's stdin.
Prints what they print, and the shim's log on stderr; the exit
status is the last one's, 125 with the shim's sentence where one cannot be made.
shim.py pod POD MOUNTS PIDS COMMAND [PIDS COMMAND]...: as CRI's engines make a pod: its sandbox container, then the
others, each when the one before it has said a line. PIDS is "own", or "joins": a pid namespace that is named by
the sandbox's pid, or the number of an earlier container (0 is the first): one that is named by that one's. They have CAP_SYS_PTRACE. Ends when the last one has ended, and prints what all have printed; 125
with the shim's sentence as with run.
shim.py twice ID PATH: a container in the network namespace of PATH, which cannot be: what Create says of it, and what it
says when it is asked once more, as containerd 2.x does by version 2 of the service.
shim.py sandbox POD: a pod by the Sandbox service, without a container.
shim.py leave ID MOUNTS COMMAND: a container that runs on while its shim is told to shut down, is hung up on, and
`delete` is run. Prints the container's state after Shutdown (2: running), and the exit status by `delete`.

Where MOUNTS have the option uidmap=0:HOST:SIZE, the container has a user namespace with this mapping, that of its
sandbox if there is one, and the folder $SHIM_VOLUME, if that is set, on /v: with these mappings, or without any
where $SHIM_MAPPED is empty.

The bundles are in $SHIM_WORK; $SHIM_NAMESPACE is containerd's namespace. $SHIM_CONFIG, if it is set, is the
file that the runtime options name, $SHIM_TRACEPARENT what comes as metadata with each call. $SHIM_BETWEEN, if it is
set, is a program that `run` runs between Create and Start, as Docker makes a network then, with the path of the network
namespace of the pid that Create answers."""

import json
import os
import subprocess
import sys
import threading

from ttrpc import Task, pack, unpack

STOPPED = 3  # of containerd.v1.types.Status
WORK, NAMESPACE = os.environ["SHIM_WORK"], os.environ["SHIM_NAMESPACE"]
CONFIG = os.environ.get("SHIM_CONFIG")
TRACEPARENT = os.environ.get("SHIM_TRACEPARENT")
BETWEEN = os.environ.get("SHIM_BETWEEN")
OPTIONS = pack((1, "runtimeoptions.v1.Options"), (2, pack((2, CONFIG)))) if CONFIG else b""


def texts(fields, number):
    return [value.decode() for n, value in fields if n == number]


def add_users(spec, mounts, path):
    options = [option for mount in mounts for option in mount["options"]]
    mapping = next((option.removeprefix("uidmap=") for option in options if option.startswith("uidmap=")), None)
    if not mapping:
        return
    keys = dict(zip(("containerID", "hostID", "size"), map(int, mapping.split(":"))))
    both = {"uidMappings": [keys], "gidMappings": [keys]}
    spec["linux"]["namespaces"].append({"type": "user", **({"path": path} if path else {})})
    spec["linux"].update(both)
    if os.environ.get("SHIM_VOLUME"):
        volume = {"destination": "/v", "type": "bind", "source": os.environ["SHIM_VOLUME"], "options": ["rbind", "rw"]}
        spec["mounts"].append({**volume, **(both if os.environ.get("SHIM_MAPPED", "1") else {})})


def make_bundle(name, pod, command, mounts=(), pids=None, users=None, annotations={}, capabilities=(), network=None):
    bundle = f"{WORK}/{name}"
    os.mkdir(bundle)
    os.mkfifo(f"{bundle}/log")
    spec = {
        "ociVersion": "1.0.2",
        "process": {"args": ["sh", "-c", command], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "annotations": {"io.containerd.runc.v2.group": pod, **annotations},
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "ipc", "uts", "time")]},
    }
    spec["linux"]["namespaces"].append({"type": "network", **({"path": network} if network else {})})
    spec["linux"]["namespaces"].append({"type": "pid", **({"path": pids} if pids else {})})
    add_users(spec, mounts, users)
    spec["process"]["capabilities"] = {kind: capabilities for kind in ("bounding", "effective", "permitted")}
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(spec, file)
    return bundle


def copy_log(bundle):
    with open(f"{bundle}/log") as log:
        for line in log:
            sys.stderr.write(line)


def shim(name, bundle, action, stdin=b""):
    words = ["containerd-shim-kiln-v2", "-namespace", NAMESPACE, "-id", name, "-bundle", bundle, "-debug", action]
    return subprocess.run(words, input=stdin, stdout=subprocess.PIPE, cwd=bundle, check=True, timeout=60).stdout


def start(name, bundle):
    threading.Thread(target=copy_log, args=(bundle,), daemon=True).start()
    extensions = [(8, pack((1, OPTIONS)))] if OPTIONS else []
    params = pack((1, name), (2, NAMESPACE), (4, "2.4.2"), *extensions)
    answer = unpack(shim(name, bundle, "start", params))
    any_ = unpack(unpack(next(value for number, value in answer if number == 6))[0][1])
    can = unpack(any_[1][1])
    return {
        "version": dict(answer)[1],
        "address": texts(answer, 2)[0],
        "protocol": texts(answer, 3)[0],
        "extension": texts(any_, 1)[0],
        "types": texts(can, 1),
        "transforms": texts(can, 2),
    }


def connect(result):
    task = Task(result["address"], f"containerd.task.v{result['version']}.Task")
    if TRACEPARENT:
        # As containerd 2.4's client of ttRPC: in any order, and of the last two what its caller had.
        task.metadata = {"baggage": "user=kiln", "containerd-namespace-ttrpc": NAMESPACE,
                         "tracestate": "kiln=test,other=1", "traceparent": TRACEPARENT}
    return task


def create(task, name, bundle, mounts):
    rootfs = [
        (3, pack((1, m["type"]), (2, m["source"]), *((4, option) for option in m.get("options", []))))
        for m in mounts
    ]
    output, stdin = f"{WORK}/{name}.out", f"{WORK}/{name}.in"
    stdin = [(5, stdin)] if os.path.exists(stdin) else []
    options = [(10, OPTIONS)] if OPTIONS else []
    outputs = (6, f"file://{output}"), (7, f"file://{output}")
    task.call("Create", (1, name), (2, bundle), *rootfs, *stdin, *outputs, *options)
    return output


def run_one(task, name, bundle, mounts):
    output = create(task, name, bundle, mounts)
    try:
        if BETWEEN:
            pid = task.call("State", (1, name))[3]
            subprocess.run([BETWEEN, f"/proc/{pid}/ns/net"], check=True, timeout=60)
        task.call("Start", (1, name))
        return task.call("Wait", (1, name)).get(1, 0)
    finally:
        with open(output) as file:
            sys.stdout.write(file.read())


def run(pod, pairs):
    status, task, made = 125, None, []
    try:
        for i, (mounts, command) in enumerate(pairs):
            name = f"{pod}-{i}" if i else pod
            bundle = make_bundle(name, pod, command, json.loads(mounts), capabilities=["CAP_CHOWN"])
            task = task or connect(start(name, bundle))
            made.append((name, bundle))
            status = run_one(task, name, bundle, json.loads(mounts))
    except RuntimeError as error:
        print(error)
        status = 125
        made.pop()
    for name, _ in reversed(made):
        task.call("Delete", (1, name))
    task.call("Shutdown", (1, pod), (2, 1))
    return status


def await_line(output):
    with subprocess.Popen(["timeout", "60", "tail", "-n", "+1", "-F", output],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tail:
        said = tail.stdout.readline()
        tail.terminate()
    if not said:
        sys.exit(f"nothing is in {output}")


def pod(name, mounts, pairs):
    bundle = make_bundle(name, name, "pause", json.loads(mounts), annotations={"io.kubernetes.cri.container-type": "sandbox"})
    task = connect(start(name, bundle))
    create(task, name, bundle, [])
    task.call("Start", (1, name))
    made, status = [name], 0
    try:
        for i, (mode, command) in enumerate(pairs):
            member = f"{name}-{i}"
            target = None if mode == "own" else name if mode == "joins" else f"{name}-{mode}"
            pids = f"/proc/{task.call('State', (1, target))[3]}/ns/pid" if target else None
            users = f"/proc/{task.call('State', (1, name))[3]}/ns/user"
            bundle = make_bundle(member, name, command, json.loads(mounts), pids, users, capabilities=["CAP_SYS_PTRACE"])
            output = create(task, member, bundle, json.loads(mounts))
            made.append(member)
            task.call("Start", (1, member))
            if i < len(pairs) - 1:
                await_line(output)
        status = task.call("Wait", (1, made[-1])).get(1, 0)
        for member in made[1:]:
            with open(f"{WORK}/{member}.out") as file:
                sys.stdout.write(file.read())
    except RuntimeError as error:
        print(error)
        status = 125
    for member in reversed(made):
        if task.call("State", (1, member)).get(4) != STOPPED:
            task.call("Kill", (1, member), (3, 9), (4, 1))
        task.call("Wait", (1, member))
        task.call("Delete", (1, member))
    task.call("Shutdown", (1, name), (2, 1))
    return status


def twice(name, path):
    bundle = make_bundle(name, name, "true", network=path)
    task = connect(start(name, bundle))
    for _ in range(2):
        try:
            create(task, name, bundle, [])
        except RuntimeError as error:
            print(error)
    task.call("Shutdown", (1, name), (2, 1))


def sandbox(name):
    bundle = f"{WORK}/{name}"
    os.mkdir(bundle)
    os.mkfifo(f"{bundle}/log")
    task = connect(start(name, bundle))
    for method in ("CreateSandbox", "StartSandbox", "StopSandbox", "ShutdownSandbox"):
        task.call(method, (1, name), service="containerd.runtime.sandbox.v1.Sandbox")


def leave(name, mounts, command):
    bundle = make_bundle(name, name, command)
    task = connect(start(name, bundle))
    create(task, name, bundle, json.loads(mounts))
    task.call("Start", (1, name))
    task.call("Shutdown", (1, name))
    print(task.call("State", (1, name)).get(4))
    task.socket.close()
    print(dict(unpack(shim(name, bundle, "delete"))).get(2))


if sys.argv[1] == "start":
    name = sys.argv[2]
    result = start(name, make_bundle(name, name, "true"))
    connect(result).call("Shutdown", (1, name), (2, 1))
    print(json.dumps(result))
elif sys.argv[1] == "twice":
    twice(*sys.argv[2:])
elif sys.argv[1] == "sandbox":
    sandbox(*sys.argv[2:])
elif sys.argv[1] == "leave":
    leave(*sys.argv[2:])
elif sys.argv[1] == "pod":
    words = sys.argv[4:]
    sys.exit(pod(*sys.argv[2:4], list(zip(words[::2], words[1::2]))))
else:
    words = sys.argv[3:]
    sys.exit(run(sys.argv[2], list(zip(words[::2], words[1::2]))))
