"""Takes GELF, Fluentd's forward protocol and events of Splunk as their specifications say, and writes what it was told, a line each."""

import gzip
import http.server
import json
import socket
import ssl
import sys
import threading
import zlib

import msgpack

kept = open(sys.argv[1], "ab", 0)


def keep(*words):
    kept.write((" ".join(words) + "\n").encode())


def gelf(message):
    if message[:2] == b"\x1f\x8b":
        message = gzip.decompress(message)
    elif message[:1] == b"\x78":
        message = zlib.decompress(message)
    said = json.loads(message)
    assert said["version"] == "1.1" and said["host"] and said["timestamp"] > 1e9, said
    keep("gelf", said["_container_name"], str(said["level"]), said["_tag"], said.get("_kind", "-") + ":", said["short_message"])


def gelf_datagrams():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
    server.bind(("127.0.0.1", 12201))
    parts = {}
    while True:
        datagram = server.recv(65536)
        if datagram[:2] != b"\x1e\x0f":
            gelf(datagram)
            continue
        number, index, count = datagram[2:10], datagram[10], datagram[11]
        chunks = parts.setdefault(number, {})
        chunks[index] = datagram[12:]
        if len(chunks) == count:
            gelf(b"".join(parts.pop(number)[index] for index in range(count)))


def serve(port, take):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    while True:
        client, _ = server.accept()
        threading.Thread(target=take, args=(client,), daemon=True).start()


def gelf_stream(client):
    rest = b""
    while data := client.recv(65536):
        *messages, rest = (rest + data).split(b"\0")
        for message in messages:
            gelf(message)


def fluentd(client):
    unpacker = msgpack.Unpacker(unicode_errors="replace")
    while data := client.recv(65536):
        unpacker.feed(data)
        for tag, entries, *option in unpacker:
            for time, record in entries:
                when = "precise" if isinstance(time, msgpack.ExtType) else "seconds"
                assert record["container_id"] and record["container_name"].startswith("/"), record
                keep("fluentd", tag, when, record["source"], record.get("kind", "-") + ":", record["log"])
            if option:
                client.sendall(msgpack.packb({"ack": option[0]["chunk"]}))


class Splunk(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        is_known = self.headers["Authorization"] == "Splunk secret" and self.path == "/services/collector/event/1.0"
        events, text = [], body.decode()
        while text:
            event, end = json.JSONDecoder().raw_decode(text)
            events.append(event)
            text = text[end:]
        if "X-Splunk-Request-Channel" in self.headers:
            keep("channel", self.headers["X-Splunk-Request-Channel"])
        for one in events if is_known else []:
            assert float(one["time"]) > 1e9 and one["host"], one
            said = one["event"]
            if isinstance(said, str):
                keep("splunk", one.get("index", "-"), "raw:", said)
            else:
                attributes = said.get("attrs", {})
                keep("splunk", one.get("index", "-"), said["tag"], said["source"], attributes.get("kind", "-") + ":", said["line"])
        answer = b'{"text":"Success","code":0}' if is_known else b'{"text":"Invalid token","code":4}'
        self.send_response(200 if is_known else 403)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def splunk(port, is_encrypted):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Splunk)
    if is_encrypted:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


for target, arguments in [(splunk, (8088, False)), (splunk, (8089, True)), (gelf_datagrams, ()), (serve, (12201, gelf_stream)), (serve, (24224, fluentd))]:
    threading.Thread(target=target, args=arguments, daemon=True).start()
open(sys.argv[2], "w").close()
threading.Event().wait()
