"""HTTP for the exporter's pages."""

import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from taskmaster.processes.exporter.pages import Pages

CLIENT_SECONDS = 5.0


def serve(listening: socket.socket, pages: Pages) -> None:
    """Answer for ever on a socket that listens already."""

    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS
        server_version = "taskmaster"
        sys_version = ""

        def do_GET(self) -> None:
            page = pages.page(urlsplit(self.path).path, self.headers.get("Accept", ""))
            self.send_response(HTTPStatus(page.status))
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page.body)

        do_HEAD = do_GET

        def log_message(self, format: str, *values: Any) -> None:
            """A scrape every few seconds is no news."""

    server = ThreadingHTTPServer(listening.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.serve_forever()
