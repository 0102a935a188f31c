"""The HTTP server for the exporter's pages."""

import logging
import socket
import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from taskmaster.processes.exporter.pages import Pages
from taskmaster.processes.system.shortage import is_shortage

log = logging.getLogger("taskmaster.exporter")

CLIENT_SECONDS = 5.0
SHORTAGE_SECONDS = 0.2


def serve(listening: socket.socket, pages: Pages) -> None:
    """Serve for ever on a socket that is listening already."""

    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS
        server_version = "taskmaster"
        sys_version = ""

        def do_GET(self) -> None:
            page = pages.page(self.path.partition("?")[0], self.headers.get("Accept", ""))
            self.send_response(HTTPStatus(page.status))
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page.body)

        do_HEAD = do_GET

        def log_message(self, format: str, *values: Any) -> None:
            """Log nothing: a scrape every few seconds is not worth a line."""

    class Server(ThreadingHTTPServer):
        def get_request(self) -> Any:
            """Accept a connection. If descriptors are short, wait a moment instead of spinning."""
            try:
                return super().get_request()
            except OSError as error:
                if is_shortage(error):
                    time.sleep(SHORTAGE_SECONDS)
                raise  # the server goes on

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Log the error unless the client has just disconnected."""
            if not isinstance(sys.exception(), OSError):
                log.error("page failed", exc_info=True)  # noqa: LOG014 — called in an except block

    server = Server(listening.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.serve_forever()
