"""Processes side by side, loaded in turns, and what each spends on a request."""

import json
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent

TICKS = os.sysconf("SC_CLK_TCK")


class Trouble(Exception):
    """Something the person at the keyboard has to know; shown without a traceback."""


class Process:
    """A process of this run. Only such processes are ever signalled, and by their own id."""

    def __init__(self, name, command, cpus, log):
        self.name = name
        self.log = log
        self.child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=open(log, "wb"),
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )

    def wait_for(self, url):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                raise Trouble(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200 and len(answer.read()) == 1024:
                        return
            except urllib.error.HTTPError as error:
                raise Trouble(f"{self.name} answers {url} with {error.code}: {error.read(500)!r}") from error
            except OSError:
                time.sleep(0.05)
        raise Trouble(f"{self.name} does not answer {url}:\n{self.tail()}")

    def cpu_seconds(self):
        # The name in the second field may contain spaces, so the count starts behind its bracket.
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self):
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def tail(self):
        return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-20:])

    def end(self):
        # SIGINT is Pingora's fast exit; its SIGTERM sleeps through the whole grace period.
        for sign in (signal.SIGINT, signal.SIGKILL):
            if self.child.poll() is None:
                self.child.send_signal(sign)
                try:
                    self.child.wait(5)
                except subprocess.TimeoutExpired:
                    continue


def wrk(options, url, seconds, cpus, headers=()):
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / "wrk.lua")]
    for header in headers:
        command += ["-H", header]
    command.append(url)
    return json.loads(drive(command, cpus).rpartition("RESULT ")[2])


def drive(command, cpus):
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, preexec_fn=lambda: os.sched_setaffinity(0, cpus)
    )
    if done.returncode:
        raise Trouble(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def measure(process, load):
    """One round of `load`: the load generator's figures, and what the proxy's process spent on them."""
    before = process.cpu_seconds()
    round_ = load()
    spent = process.cpu_seconds() - before
    if not round_["requests"]:
        raise Trouble(f"{process.name} served nothing:\n{process.tail()}")
    round_["cpu_us_per_request"] = spent * 1e6 / round_["requests"]
    round_["resident_bytes"] = process.resident_bytes()
    return round_


def check_free(addresses):
    for address in addresses:
        host, _, port = address.rpartition(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as error:
                raise Trouble(f"{address} is taken; the load test needs it") from error


def share_out(workers):
    """The CPUs of the proxies, and those of the load and the origin; the same ones when there are too few."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) <= workers:
        return set(cpus), set(cpus)
    return set(cpus[-workers:]), set(cpus[:-workers])
