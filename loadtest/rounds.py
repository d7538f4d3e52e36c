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

    def __init__(self, name, command, cpus, log, prepare=lambda: None):
        """`prepare` is done in the process before its program."""
        self.name = name
        self.log = log
        self.child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=open(log, "wb"),
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            preexec_fn=lambda: (os.sched_setaffinity(0, cpus), prepare()),
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

    def precise_cpu_seconds(self):
        """Of the threads that there are, in nanoseconds rather than ticks."""
        tasks = Path(f"/proc/{self.child.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

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


def wrk_command(options, url, seconds, headers=(), script="wrk.lua"):
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / script)]
    for header in headers:
        command += ["-H", header]
    return [*command, url]


def wrk(options, url, seconds, cpus, headers=()):
    return json.loads(drive(wrk_command(options, url, seconds, headers), cpus).rpartition("RESULT ")[2])


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


# How long each load has its turn.
TURN = 0.2


def in_turns(process, commands, seconds, cpus):
    """Several loads by wrk, each for `seconds` in all and in turns so short that the machine's own pace, which changes from
    second to second, is the same for all of them: the figures of each, and what the process spent on them. Of what is under way
    when a turn ends, the next one pays for the answer; so does each for one. Let another one be the first each time: that
    makes a difference of its own."""
    loads = {}
    spent = dict.fromkeys(commands, 0.0)

    def turn(name, act):
        before = process.precise_cpu_seconds()
        act(loads.get(name))
        spent[name] += process.precise_cpu_seconds() - before

    def one_turn(load):
        load.send_signal(signal.SIGCONT)
        time.sleep(TURN)
        load.send_signal(signal.SIGSTOP)

    def last_turn(load):
        load.send_signal(signal.SIGCONT)
        for _ in range(60):
            # Any thread may get the signal, and only the first one heeds it.
            load.send_signal(signal.SIGINT)
            try:
                return load.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        raise Trouble(f"{shlex.join(load.args)} does not end")

    def start(name, command):
        loads[name] = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cpus)
        )
        one_turn(loads[name])

    try:
        for name, command in commands.items():
            turn(name, lambda _: start(name, command))  # noqa: B023
        for _ in range(round(seconds / TURN)):
            for name in commands:
                turn(name, one_turn)
        for name in commands:
            turn(name, last_turn)
        figures = {}
        for name, load in loads.items():
            output = load.stdout.read()
            if load.returncode or "RESULT " not in output:
                raise Trouble(f"{shlex.join(commands[name])} ended with {load.returncode}:\n{output}")
            figures[name] = json.loads(output.rpartition("RESULT ")[2])
            if not figures[name]["requests"]:
                raise Trouble(f"{process.name} served nothing:\n{process.tail()}")
            figures[name]["cpu_us_per_request"] = spent[name] * 1e6 / figures[name]["requests"]
        return figures
    finally:
        for load in loads.values():
            if load.poll() is None:
                load.kill()
                load.wait(5)


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
