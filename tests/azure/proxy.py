"""Stands between a client and the blob service, writes down each page that is put, and refuses some.

    proxy.py SERVICE_URL LOG [EVERY]    refuses each EVERYth put with 503; prints its own address

A line `OFFSET LENGTH` in LOG stands for a put that has begun to arrive.
"""
import http.client
import http.server
import itertools
import sys
import threading
import urllib.parse

service = urllib.parse.urlsplit(sys.argv[1])
log = open(sys.argv[2], "a", buffering=1)
every = int(sys.argv[3]) if len(sys.argv) > 3 else 0
numbers = itertools.count(1)
lock = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def pass_on(self):
        put = self.command == "PUT" and "comp=page" in self.path
        if put:
            start, end = self.headers["x-ms-range"].removeprefix("bytes=").split("-")
            with lock:
                log.write(f"{start} {int(end) + 1 - int(start)}\n")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if put and every and next(numbers) % every == 0:
            self.answer(503, [("x-ms-error-code", "ServerBusy")], b"")
            return
        connection = http.client.HTTPConnection(service.netloc, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        self.answer(response.status, response.getheaders(), response.read())
        connection.close()

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "keep-alive"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)) if self.command != "HEAD" else dict(headers).get("content-length", "0"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError):
            pass  # Clients are killed here.

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
