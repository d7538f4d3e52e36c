#!/usr/bin/env python3
"""Calls gRPC's own implementation (grpcio, the C core) through the gateway, as client and as server.

    tests/peers/grpc_calls.py NORTHGATE

NORTHGATE is the binary. `make test` runs this, and brings grpcio. Messages are plain bytes: what is tested is the
protocol, and that needs no schema. Ends with status 1 at the first thing that is not as it must be.
"""

import concurrent.futures
import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import grpc

# For whatever must happen; far longer than it takes.
PATIENCE = 20

CONFIG = """
[gateway]
access_log = "off"

[listeners.public]
bind = "127.0.0.1:0"

[upstreams.peer]
endpoints = ["127.0.0.1:{peer}"]
protocol = "grpc"

[upstreams.gone]
endpoints = ["127.0.0.1:{gone}"]
protocol = "grpc"

[routes.peer]
match = {{ grpc = {{ service = "peers.Peer" }} }}
upstream = "peer"

[routes.gone]
match = {{ grpc = {{ service = "peers.Gone" }} }}
upstream = "gone"
"""


class Peer(grpc.GenericRpcHandler):
    """A server of every kind of call."""

    def __init__(self):
        # What the caller has taken of `Count`, so that the next message goes only to one who got the last.
        self.taken = threading.Semaphore(0)
        self.waiting = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def service(self, call):
        methods = {
            "/peers.Peer/Echo": grpc.unary_unary_rpc_method_handler(self.echo),
            "/peers.Peer/Count": grpc.unary_stream_rpc_method_handler(self.count),
            "/peers.Peer/Join": grpc.stream_unary_rpc_method_handler(self.join),
            "/peers.Peer/Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "/peers.Peer/Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "/peers.Peer/Wait": grpc.unary_unary_rpc_method_handler(self.wait),
        }
        return methods.get(call.method)

    def echo(self, message, context):
        said = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-early", said["x-note"]),))
        context.set_trailing_metadata((("x-late", "1"), ("x-late-bin", said["x-note-bin"])))
        return message

    def count(self, message, context):
        context.add_callback(self.ended.release)
        for number in range(int(message)):
            yield b"%d" % number
            while not self.taken.acquire(timeout=0.05):
                if not context.is_active():
                    return

    def join(self, messages, _context):
        return b",".join(messages)

    def chat(self, messages, _context):
        for message in messages:
            yield b"re: " + message

    def refuse(self, _message, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 50% é")

    def wait(self, message, context):
        over = threading.Event()
        context.add_callback(over.set)
        self.waiting.release()
        if over.wait(2 * PATIENCE):
            self.ended.release()
        return message


@contextlib.contextmanager
def gateway(binary, **ports):
    """The address of a gateway that serves."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG.format(**ports))
        config.flush()
        child = subprocess.Popen([binary, "run", "-c", config.name], stderr=subprocess.PIPE, text=True)
        watch = threading.Timer(PATIENCE, child.kill)
        watch.start()
        try:
            said = []
            for line in child.stderr:
                said.append(line)
                serving = re.search(r"listener public: serving (\S+)", line)
                if serving:
                    break
            else:
                sys.exit("the gateway does not serve:\n" + "".join(said))
            watch.cancel()
            # What it says from here on is read so that it can go on saying it.
            threading.Thread(target=child.stderr.read, daemon=True).start()
            yield serving[1]
        finally:
            watch.cancel()
            child.kill()
            child.wait()


def equal(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r}, not {expected!r}")


def status_of(what, call, *arguments, **options):
    """The status with which a call fails."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error
    sys.exit(f"{what} did not fail")


def unary(channel, peer):
    echo = channel.unary_unary("/peers.Peer/Echo")
    metadata = (("x-note", "a, b"), ("x-note-bin", b"\x00\xff"))
    for message in (b"", b"hello", os.urandom(3_000_000)):
        answer, call = echo.with_call(message, metadata=metadata, timeout=PATIENCE)
        equal("the message", answer == message, True)
        early, late = dict(call.initial_metadata()), dict(call.trailing_metadata())
        equal("early metadata", early["x-early"], "a, b")
        equal("a request id", "x-request-id" in early, True)
        equal("late metadata", (late["x-late"], late["x-late-bin"]), ("1", b"\x00\xff"))


def many_at_once(channel, peer):
    echo = channel.unary_unary("/peers.Peer/Echo")
    metadata = (("x-note", "a"), ("x-note-bin", b"a"))
    calls = [echo.future(b"%d" % number, metadata=metadata, timeout=PATIENCE) for number in range(100)]
    equal("a hundred answers", [call.result() for call in calls], [b"%d" % number for number in range(100)])


def stream_of_the_server(channel, peer):
    messages = channel.unary_stream("/peers.Peer/Count")(b"5", timeout=PATIENCE)
    seen = []
    for message in messages:
        seen.append(message)
        peer.taken.release()
    equal("the messages", seen, [b"0", b"1", b"2", b"3", b"4"])
    equal("their status", messages.code(), grpc.StatusCode.OK)
    equal("the server is done", peer.ended.acquire(timeout=PATIENCE), True)


def stream_of_the_client(channel, peer):
    join = channel.stream_unary("/peers.Peer/Join")
    equal("the sum", join(iter([b"a", b"b", b"c"]), timeout=PATIENCE), b"a,b,c")
    equal("the sum of nothing", join(iter([]), timeout=PATIENCE), b"")


def streams_both_ways(channel, peer):
    answered = threading.Semaphore(1)

    def questions():
        # Each only when the last was answered: neither direction waits for the other to end.
        for number in range(4):
            answered.acquire(timeout=PATIENCE)
            yield b"%d" % number

    seen = []
    for answer in channel.stream_stream("/peers.Peer/Chat")(questions(), timeout=PATIENCE):
        seen.append(answer)
        answered.release()
    equal("the answers", seen, [b"re: 0", b"re: 1", b"re: 2", b"re: 3"])


def status_without_a_message(channel, peer):
    # A response that is nothing but its trailers.
    error = status_of("Refuse", channel.unary_unary("/peers.Peer/Refuse"), b"", timeout=PATIENCE)
    equal("the status", error.code(), grpc.StatusCode.FAILED_PRECONDITION)
    equal("its words", error.details(), "not now: 50% é")
    error = status_of("Nothing", channel.unary_unary("/peers.Peer/Nothing"), b"", timeout=PATIENCE)
    equal("an unknown method", error.code(), grpc.StatusCode.UNIMPLEMENTED)


def deadline(channel, peer):
    began = time.monotonic()
    error = status_of("Wait", channel.unary_unary("/peers.Peer/Wait"), b"", timeout=0.3)
    equal("the status", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    equal("in time", time.monotonic() - began < PATIENCE / 2, True)
    equal("the server was asked", peer.waiting.acquire(timeout=PATIENCE), True)
    equal("the server knows", peer.ended.acquire(timeout=PATIENCE), True)


def cancellation(channel, peer):
    # No deadline of the call: only that the caller leaves can end it.
    messages = channel.unary_stream("/peers.Peer/Count")(b"1000000")
    equal("a message", next(messages), b"0")
    messages.cancel()
    equal("the status", messages.code(), grpc.StatusCode.CANCELLED)
    equal("the server knows of the stream", peer.ended.acquire(timeout=PATIENCE), True)
    call = channel.unary_unary("/peers.Peer/Wait").future(b"")
    equal("the server was asked", peer.waiting.acquire(timeout=PATIENCE), True)
    call.cancel()
    equal("the server knows of the call", peer.ended.acquire(timeout=PATIENCE), True)


def failures_of_the_gateway(channel, peer):
    error = status_of("Gone", channel.unary_unary("/peers.Gone/Get"), b"", timeout=PATIENCE)
    equal("nobody listens", error.code(), grpc.StatusCode.UNAVAILABLE)
    error = status_of("Nobody", channel.unary_unary("/peers.Nobody/Get"), b"", timeout=PATIENCE)
    equal("no route", error.code(), grpc.StatusCode.UNIMPLEMENTED)


CHECKS = (
    unary,
    many_at_once,
    stream_of_the_server,
    stream_of_the_client,
    streams_both_ways,
    status_without_a_message,
    deadline,
    cancellation,
    failures_of_the_gateway,
)


def main(binary):
    peer = Peer()
    threads = concurrent.futures.ThreadPoolExecutor(max_workers=8)
    server = grpc.server(threads, handlers=(peer,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    # Bound and never listened on: whoever connects is refused, and nobody else can have it.
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        with gateway(binary, peer=port, gone=gone.getsockname()[1]) as address:
            with grpc.insecure_channel(address) as channel:
                for check in CHECKS:
                    check(channel, peer)
    server.stop(0)
    print(f"grpcio {grpc.__version__}: {len(CHECKS)} of {len(CHECKS)} checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:])
