#!/usr/bin/python3
"""cri.py run NAME [KEY=VALUE]...: a pod by CRI, by the handler kiln and with these annotations, and a container in it
that runs $CRI_COMMAND by sh -c. Prints the ids of both.
cri.py states POD CONTAINER: 0 or 1 (ready, not ready) of the pod, and of the container 1 (running) or 2 (exited) with its
exit code.
cri.py remove POD: stops and removes it.
cri.py pull IMAGE: as the kubelet does before it makes a container.

$CRI_SOCKET is containerd's, $CRI_IMAGE the container's image, $CRI_CGROUP the control group that pods are below, $CRI_LOGS,
where it is set, the folder for app.log, the container's output, and $CRI_HEADERS what else each call has for headers, a line
each. The calls are gRPC's, which curl makes."""

import os
import struct
import subprocess
import sys
import tempfile

from ttrpc import pack, unpack

OWN_PIDS = pack((2, 1))  # NamespaceOption: as the kubelet asks for, unless a pod shares its processes


def call(method, *fields, service="RuntimeService"):
    body = pack(*fields)
    more = [word for line in os.environ.get("CRI_HEADERS", "").splitlines() for word in ("-H", line)]
    with tempfile.NamedTemporaryFile() as headers:
        command = ["curl", "-sS", "--max-time", "120", "--http2-prior-knowledge", "--unix-socket", os.environ["CRI_SOCKET"],
                   "-H", "content-type: application/grpc", "-H", "te: trailers", *more, "--data-binary", "@-",
                   "-D", headers.name, f"http://localhost/runtime.v1.{service}/{method}"]
        answer = subprocess.run(command, input=struct.pack(">BI", 0, len(body)) + body, stdout=subprocess.PIPE, check=True).stdout
        said = {key: value.strip() for key, _, value in (line.decode().partition(":") for line in headers)}
    if said.get("grpc-status") != "0":
        sys.exit(f"{method}: {said.get('grpc-message', said)}")
    return dict(unpack(answer[5:]))


def run(name, *annotations):
    logs = os.environ.get("CRI_LOGS", "")
    entries = [pack((1, key), (2, value)) for key, value in (entry.split("=", 1) for entry in annotations)]
    config = pack((1, pack((1, name), (2, f"uid-{name}"), (3, "test"))), (2, name), (3, logs), *((7, entry) for entry in entries),
                  (8, pack((1, os.environ["CRI_CGROUP"]), (2, pack((1, OWN_PIDS))))))
    pod = call("RunPodSandbox", (1, config), (2, "kiln"))[1]
    container = pack((1, pack((1, "app"))), (2, pack((1, os.environ["CRI_IMAGE"]))),
                     *((3, word) for word in ("sh", "-c", os.environ["CRI_COMMAND"])), (11, "app.log" if logs else ""),
                     (15, pack((2, pack((3, OWN_PIDS))))))
    made = call("CreateContainer", (1, pod), (2, container), (3, config))[1]
    call("StartContainer", (1, made))
    print(pod.decode(), made.decode())


def states(pod, container):
    of_pod = dict(unpack(call("PodSandboxStatus", (1, pod))[1]))
    of_container = dict(unpack(call("ContainerStatus", (1, container))[1]))
    print(of_pod.get(3, 0), of_container.get(3, 0), of_container.get(7, 0))


def remove(pod):
    call("StopPodSandbox", (1, pod))
    call("RemovePodSandbox", (1, pod))


def pull(image):
    print(call("PullImage", (1, pack((1, image))), service="ImageService")[1].decode())


{"run": run, "states": states, "remove": remove, "pull": pull}[sys.argv[1]](*sys.argv[2:])
