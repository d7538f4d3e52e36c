"""A machine of its own to install packages on: a Debian of the host's release under its own systemd.

It is a tree made by debootstrap whose systemd is process 1 of namespaces of its own: processes, mounts, network with
nothing but loopback, host name and control groups. It shares the kernel with the host and nothing else, and ends with
the test. Only root can make one.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

PACKAGES = "systemd,systemd-sysv,dbus,curl,ca-certificates,logrotate,procps"
# For everything that must happen; far longer than it takes.
DEADLINE = 60

# Run in the new namespaces, before systemd: what a container's process 1 finds.
ENTER = r"""
set -eu
root=$1
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ip link set lo up
hostname northgate-test
cd "$root"
mkdir -p mnt/host
pivot_root . mnt/host
umount -l /mnt/host
# systemd mounts credentials in a namespace beside its own and relies on their coming over.
mount --make-rshared /
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=northgate-test \
    /lib/systemd/systemd --system --show-status=false --log-target=journal
"""


def base(tools: Path) -> Path:
    """The tree before anything is installed; made once."""
    suite = os_release()["VERSION_CODENAME"]
    tree = tools / f"machine-{suite}"
    if not tree.is_dir():
        print(f"making a Debian {suite}, once", flush=True)
        part = tools / "machine.part"
        shutil.rmtree(part, ignore_errors=True)
        log = tools / "machine.log"
        with log.open("w") as output:
            made = subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, part, mirror(suite)],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )
        if made.returncode != 0:
            raise SystemExit(f"debootstrap failed:\n{log.read_text()[-4000:]}")
        part.rename(tree)
    return tree


def os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def mirror(suite: str) -> str:
    """Where this machine has its own packages from."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout
    for line in targets.splitlines():
        uri, release, component = line.rsplit(" ", 2)
        if (release, component) == (suite, "main"):
            return uri
    raise SystemExit(f"apt knows no source of {suite}; try apt-get update")


class Machine:
    """One that is running; use it in a `with`."""

    def __init__(self, tree: Path, folder: Path):
        self.root = folder / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", tree, self.root], check=True)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (self.root / "etc/resolv.conf").write_text("")
        self.group = control_groups() / f"northgate-test-{os.getpid()}"

    def __enter__(self) -> "Machine":
        self.group.mkdir()
        # Into the group first: it is the root of the control groups that are seen inside.
        start = 'echo 0 >"$1/cgroup.procs"; shift; exec "$@"'
        # Whatever ends this program ends the machine.
        self.outer = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "sh", "-c", start, "sh", self.group, "unshare", "--mount",
             "--propagation=private", "--pid", "--fork", "--kill-child", "--uts", "--ipc", "--net", "--cgroup", "sh",
             "-c", ENTER, "sh", self.root],
            stdin=subprocess.DEVNULL, start_new_session=True,
        )
        children = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children")
        self.init = int(wait_for(lambda: children.read_text().split(), "process 1")[0])
        comm = Path(f"/proc/{self.init}/comm")
        wait_for(lambda: comm.read_text() == "systemd\n", "systemd")
        wait_for(lambda: self.try_run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"), "boot")
        return self

    def __exit__(self, *_) -> None:
        self.outer.kill()
        self.outer.wait()
        for path in sorted(self.group.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
            wait_for(lambda: remove_group(path), f"the end of {path}")
        wait_for(lambda: remove_group(self.group), f"the end of {self.group}")

    def try_run(self, *command: str, timeout: float = DEADLINE) -> subprocess.CompletedProcess:
        """Runs a command inside and waits for it."""
        enter = ["nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w", "--"]
        return subprocess.run(
            [*enter, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", *command],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout,
        )

    def run(self, *command: str, timeout: float = DEADLINE) -> str:
        """As before; a command that fails is an error. What it printed."""
        done = self.try_run(*command, timeout=timeout)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def on_its_network(self, *command: str) -> list[str]:
        """A command of the host, to be started with the machine's network."""
        return ["nsenter", "-t", str(self.init), "-n", "--", *command]

    def path(self, inside: str) -> Path:
        """A file inside, as the host sees it; what is mounted there is not."""
        return self.root / inside.lstrip("/")

    def exists(self, inside: str) -> bool:
        return self.try_run("test", "-e", inside).returncode == 0


def control_groups() -> Path:
    """Where the kernel's one tree of control groups is, beside older ones or not."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(target)
    raise SystemExit("there is no cgroup2 on this machine, and no systemd without it")


def remove_group(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def wait_for(condition, what: str):
    """The first true value; what never comes is an error."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            if value := condition():
                return value
        except (OSError, AssertionError):
            pass
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
