#!/usr/bin/python3
"""registry.py CERTIFICATE KEY IMAGE.tar...: a registry of these images, as tests/oci-image makes them, by TLS on
127.0.0.1:443, until it is ended. An image is had by its path and tag, whatever the host's name: docker.io/library/a:b
at /v2/library/a/manifests/b."""

import http.server
import json
import ssl
import sys
import tarfile

answers = {"/v2/": ("application/json", b"{}")}


def add(image):
    with tarfile.open(image) as tar:
        files = {member.name.removeprefix("./"): tar.extractfile(member).read() for member in tar if member.isfile()}
    for manifest in json.loads(files["index.json"])["manifests"]:
        path, tag = manifest["annotations"]["io.containerd.image.name"].partition("/")[2].rsplit(":", 1)
        found = manifest["mediaType"], files["blobs/" + manifest["digest"].replace(":", "/")]
        answers.update({f"/v2/{path}/manifests/{name}": found for name in (tag, manifest["digest"])})
        for name, content in files.items():
            if name.startswith("blobs/sha256/"):
                answers[f"/v2/{path}/blobs/sha256:{name[13:]}"] = "application/octet-stream", content


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        kind, content = answers.get(self.path.partition("?")[0], (None, b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def do_GET(self):
        self.wfile.write(self.do_HEAD())


for archive in sys.argv[3:]:
    add(archive)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
