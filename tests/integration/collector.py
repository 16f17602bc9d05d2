"""collector.py FILE MOOD: a collector of traces. Listens on a free port of 127.0.0.1, which it says on stdout, and
appends each request to FILE, a line of JSON each, whether it was that or protocol buffers. It answers the status that the file MOOD says, or where that says
"hang" never."""

import http.server
import json
import sys
import threading

import otlp

READERS = {"application/json": json.loads, "application/x-protobuf": otlp.request}


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        reader = READERS.get(self.headers["Content-Type"])
        if self.path != "/v1/traces" or not reader:
            sys.exit(f"a request for {self.path} of {self.headers['Content-Type']}")
        with open(sys.argv[1], "a") as file:
            file.write(json.dumps(reader(body)) + "\n")
        with open(sys.argv[2]) as file:
            mood = file.read().strip()
        if mood == "hang":
            threading.Event().wait()
        self.send_response(int(mood))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_address[1], flush=True)
server.serve_forever()
