"""A web server of this machine that does what it is told: answer after answer, good ones and bad ones."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """Answers the n-th request by the n-th entry of `answers`, and further ones by the last.

    Attributes:
        answers: what to do.
        requests: (path, Range, If-Range) of every request that came.
    """

    port: int = 0
    answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def url(self, name: str = "data.zip") -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    @property
    def ranges(self) -> list[str | None]:
        return [requested for _, requested, _ in self.requests]


def send(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with a status, headers (`_` stands for `-`) and a body; `Content-Length` may lie."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        sent = {"Content-Length": str(len(body))} | {name.replace("_", "-"): text for name, text in headers.items()}
        for name, text in sent.items():
            if text:
                handler.send_header(name, text)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def serve(data: bytes, cut: int | None = None, stall: float = 0.0, ranges: bool = True, tag: str = "") -> Answer:
    """Answer as a good server does, Range and If-Range included.

    Args:
        data: the file.
        cut: close the connection after as many bytes of the body.
        stall: seconds of silence after those bytes instead.
        ranges: whether Range is understood.
        tag: ETag; empty: made of the data.
    """
    etag = tag or f'"{hashlib.sha256(data).hexdigest()[:8]}"'

    def answer(handler: BaseHTTPRequestHandler) -> None:
        requested, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
        start = int(requested.removeprefix("bytes=").split("-")[0]) if requested and ranges else 0
        if condition not in (None, etag):
            start = 0
        if requested and start >= len(data):
            return send(416, Content_Range=f"bytes */{len(data)}")(handler)
        body = data[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:cut])
        handler.wfile.flush()
        if stall:
            time.sleep(stall)
        return None

    return answer


@contextmanager
def running_server() -> Iterator[Server]:
    """Run a server on a free port."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
            number = min(len(server.requests), len(server.answers)) - 1
            with suppress(BrokenPipeError, ConnectionResetError):
                server.answers[number](self)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_address[1]
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
