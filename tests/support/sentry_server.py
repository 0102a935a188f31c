"""A substitute for Sentry: an HTTP server that keeps the envelopes it receives, or hangs."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANGS_SECONDS = 30.0


class SentryServer:
    """The envelopes received by the server, and its DSN."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://key@127.0.0.1:{port}/1"
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.requests = 0

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return the received items of a type, such as `event`, in order."""
        return [item for found, item in list(self.received) if found == kind]

    def events(self) -> list[dict[str, Any]]:
        return self.items("event")

    def take(self, envelope: bytes) -> None:
        """Keep the items of an envelope.

        It is a line of headers, and for each item a line of headers and one of content.
        """
        lines = envelope.split(b"\n")[1:]
        for headers, content in zip(lines[::2], lines[1::2], strict=False):
            if headers:
                self.received.append((json.loads(headers)["type"], json.loads(content)))


@contextmanager
def sentry_server(*, hangs: bool = False) -> Iterator[SentryServer]:
    """Serve until the end of the block. If it hangs, it accepts requests and never replies."""
    let_go = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.requests += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if hangs:
                let_go.wait(HANGS_SECONDS)
                return
            kept.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *values: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept = SentryServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            let_go.set()
            server.shutdown()
            thread.join()
