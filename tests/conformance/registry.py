"""registry.py FOLDER PORT: a registry on 127.0.0.1 from which containerd pulls the images of FOLDER: tar files
of OCI layouts (tests/oci-image). An image has its name, whatever registry that begins with. It is read-only, and
serves until it is killed; the line `ready` says that it does."""

import hashlib
import json
import pathlib
import sys
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

blobs, manifests = {}, {}  # by digest; by (name, tag)


def load(path):
    with tarfile.open(path) as tar:
        files = {name.removeprefix("./"): tar.extractfile(name).read() for name in tar.getnames() if tar.getmember(name).isfile()}
    for name, data in files.items():
        if name.startswith("blobs/"):
            blobs["sha256:" + name.rsplit("/", 1)[1]] = data
    for manifest in json.loads(files["index.json"])["manifests"]:
        name, tag = manifest["annotations"]["io.containerd.image.name"].rsplit(":", 1)
        manifests[name.split("/", 1)[1], tag] = manifest["digest"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, data=b"", kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", len(data))
        self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(data).hexdigest())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        words = self.path.split("?")[0].removeprefix("/v2/").rsplit("/", 2)
        if words == [""]:
            self.answer(200)
        elif len(words) != 3:
            self.answer(404)
        elif words[1] == "blobs" and words[2] in blobs:
            self.answer(200, blobs[words[2]], "application/octet-stream")
        elif words[1] == "manifests" and (digest := manifests.get((words[0], words[2]), words[2])) in blobs:
            self.answer(200, blobs[digest], "application/vnd.oci.image.manifest.v1+json")
        else:
            self.answer(404)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


for path in pathlib.Path(sys.argv[1]).glob("*.tar"):
    load(path)
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
print("ready", flush=True)
server.serve_forever()
