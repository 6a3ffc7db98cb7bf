"""Stands in for worker and gateway: `product.py worker|gateway|migrate`. They say what they were given, and wait."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import FrameType


class Gateway(BaseHTTPRequestHandler):
    """Is ready, and tells its environment."""

    def do_GET(self) -> None:
        shown = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("DATABASE", "MIGR", "JWT", "TEMP", "TASKFORCE_ENC"))
        }
        body = json.dumps(shown).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)


def leave(_number: int, _frame: FrameType | None) -> None:
    sys.stdout.write("drained\n")
    sys.stdout.flush()
    os._exit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, leave)
    if sys.argv[1] == "migrate":
        for name, value in os.environ.items():
            sys.stdout.write(f"{name}={value}\n")
        sys.exit(0 if os.environ["MIGRATION_DATABASE_URL"] else 1)
    if sys.argv[1] == "gateway":
        HTTPServer(("127.0.0.1", int(os.environ["TASKFORCE_PORT"])), Gateway).serve_forever()
    sys.stdout.write("waiting\n")
    sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
