"""Clients and an origin, in a process of its own so that it can have another network.

    traffic.py origin PORT          answers every request; prints a line once it does
    traffic.py load PORT STOP       asks on kept and on new connections until the file STOP is there; prints what came
"""

import http.client
import http.server
import json
import sys
import threading
import time
from pathlib import Path

# Bounds a run whose stopper never comes.
LONGEST = 180
CLIENTS = 4


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"from the origin"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Listening(http.server.ThreadingHTTPServer):
    request_queue_size = 128


def origin(port: int) -> None:
    server = Listening(("127.0.0.1", port), Origin)
    print("serving", flush=True)
    server.serve_forever()


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.answered = 0
        self.failures = []

    def add(self, failure) -> None:
        with self.lock:
            if failure is None:
                self.answered += 1
            else:
                self.failures.append(failure)


def client(port: int, stop: Path, is_keeping: bool, tally: Tally) -> None:
    """Asks without a pause. A server may close a connection between two requests, and says so with `Connection:
    close`; http.client then opens the next. Anything else that goes wrong is a failure."""
    deadline = time.monotonic() + LONGEST
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not stop.exists() and time.monotonic() < deadline:
        try:
            connection.request("GET", "/through", headers={} if is_keeping else {"connection": "close"})
            response = connection.getresponse()
            body = response.read()
            is_right = (response.status, body) == (200, b"from the origin")
            tally.add(None if is_right else f"{response.status} {body[:100]!r}")
        except OSError as error:
            tally.add(f"{type(error).__name__}: {error}")
            connection.close()
        except http.client.HTTPException as error:
            tally.add(f"{type(error).__name__}: {error}")
            connection.close()
    connection.close()


def load(port: int, stop: Path) -> None:
    tally = Tally()
    threads = [
        threading.Thread(target=client, args=(port, stop, number % 2 == 0, tally)) for number in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    while tally.answered < CLIENTS and any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
    print("running", flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps({"answered": tally.answered, "failures": tally.failures[:20]}), flush=True)


if sys.argv[1] == "origin":
    origin(int(sys.argv[2]))
else:
    load(int(sys.argv[2]), Path(sys.argv[3]))
