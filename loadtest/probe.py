"""What load tests have in common that look at one client among others: how it fares, and the gateway it talks to."""

import json
import multiprocessing
import os
import socket
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def measured():
    """The gateway, the normal client and its origin go before whatever else this machine does, where that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass


def elsewhere():
    """What stands for other machines, the attackers and their origin, gets the time that nothing measured wants."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def normal(address, seconds, rate, pipe):
    """One client on one connection, `rate` requests a second: the milliseconds of each."""
    measured()
    times, errors = [], 0
    client = None
    begin = time.monotonic()
    for number in range(int(seconds * rate)):
        wait = begin + number / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        started = time.perf_counter()
        try:
            if client is None:
                client = socket.create_connection(address, timeout=10)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(b"GET /small HTTP/1.1\r\nhost: a\r\n\r\n")
            read = b""
            while b"\r\n\r\n" not in read or len(read.partition(b"\r\n\r\n")[2]) < 1024:
                part = client.recv(65536)
                if not part:
                    raise OSError("closed")
                read += part
            if not read.startswith(b"HTTP/1.1 200"):
                raise OSError(read[:60])
            times.append((time.perf_counter() - started) * 1000)
        except OSError:
            errors += 1
            client = None
    pipe.send((times, errors))


def in_process(work, *arguments):
    """Runs it in a process of its own, so that it waits for nobody else's turn; gives the end of the result."""
    receive, send = multiprocessing.Pipe(False)
    process = multiprocessing.Process(target=work, args=(*arguments, send), daemon=True)
    process.start()
    return process, receive


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def resident(process):
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the gateway is gone")


def wait_for(address):
    for _ in range(600):
        try:
            socket.create_connection(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nobody answers at {address}")


def binaries(options, *targets):
    """Where they are, after a release build of them where nobody has said where."""
    if options.binaries:
        return Path(options.binaries).resolve()
    subprocess.run(["cargo", "build", "--locked", "--release", *targets], cwd=REPOSITORY, check=True)
    about = ["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"]
    metadata = subprocess.run(about, cwd=REPOSITORY, check=True, capture_output=True).stdout
    return Path(json.loads(metadata)["target_directory"]) / "release"
