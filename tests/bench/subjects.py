"""Whom the benchmark measures: how each is started, made ready, proved honest and stopped."""

import glob
import http.client
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field

import machine

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
#: Below the kernel's own range, so that no client connection can be given one of them.
FIRST_PORT = 28080
BACKENDS = 4
READY_SECONDS = 20
STOP_SECONDS = 5


class Unfit(Exception):
    """A subject that cannot be measured. The text says what to do."""


@dataclass
class Subject:
    """One proxy. Its command and its configuration are templates, with `@word@` for a value."""

    name: str
    command: list
    template: str
    cpus: str
    words: dict = field(default_factory=dict)


def program(name, variable):
    """Where a program is: `variable` of the environment, else the PATH and the sbin folders."""
    path = os.environ.get(variable)
    if path is None:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None or not os.access(path, os.X_OK):
        raise Unfit(f"`{path or name}` is not there; run tests/bench/needs.sh or set {variable}")
    return path


def haproxy(name="haproxy", variable="HAPROXY_BIN", cpus="0"):
    """HAProxy, by default Debian's."""
    return Subject(name, [program("haproxy", variable), "-db", "-f", "@config@"], "haproxy.cfg", cpus)


def nginx(cpus="0"):
    """nginx, by default Debian's."""
    binary = program("nginx", "NGINX_BIN")
    command = [binary, "-e", "@work@/nginx-error.log", "-p", "@work@", "-c", "@config@"]
    return Subject("nginx", command, "nginx.conf", cpus)


def tidegate(name="tidegate", cpus="0", workers=1, log=False, under=(), variable="TIDEGATE_BIN"):
    """The door itself; `under` is what runs it, such as valgrind and its options."""
    binary = os.environ.get(variable, os.path.join(TARGET, "release/tidegate"))
    if not os.access(binary, os.X_OK):
        raise Unfit(f"`{binary}` is not there; run `cargo build --release` or set {variable}")
    words = {"workers": str(workers), "#with-log ": "" if log else "# "}
    command = [*under, binary, "run", "@config@"]
    return Subject(name, command, "tidegate.toml", cpus, words)


def version(subject):
    """What the program says of itself, in one line."""
    flag = "--version" if subject.template == "tidegate.toml" else "-v"
    said = subprocess.run([subject.command[0], flag], capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).strip().split("\n")[0].removesuffix(" - https://haproxy.org/")


def kit():
    """The kit of this folder, built if need be."""
    path = os.environ.get("KIT_BIN")
    if path:
        return path
    target = os.path.join(TARGET, "kit")
    manifest = os.path.join(HERE, "kit/Cargo.toml")
    build = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", manifest]
    environment = os.environ | {"CARGO_TARGET_DIR": target}
    subprocess.run(build, check=True, env=environment)
    return os.path.join(target, "release/kit")


class Ground:
    """Where a run takes place: the work folder, the ports, the origin, what is running."""

    def __init__(self, work, load_cpu="1"):
        self.work = os.path.abspath(work)
        os.makedirs(self.work, exist_ok=True)
        self.load_cpu = load_cpu
        self.kit = kit()
        self.next_port = FIRST_PORT
        self.origin_ports = [self.free_port() for _ in range(BACKENDS)]
        self.ports = {}
        self.metrics_ports = {}
        self.running = {}
        #: In front of every command: nothing, or a scheduling class.
        self.prefix = []

    def __enter__(self):
        self.start_origin()
        return self

    def __exit__(self, *_):
        for name in reversed(list(self.running)):
            self.stop(name)

    def start_origin(self):
        """Starts the origin on the CPU of the load."""
        ports = ",".join(map(str, self.origin_ports))
        self.spawn("origin", [self.kit, "origin", "--ports", ports], self.load_cpu)
        self.await_port("origin", self.origin_ports[-1])

    def free_port(self):
        """A port that nobody listens on. Each is given away once."""
        while machine.listens(self.next_port):
            self.next_port += 1
        self.next_port += 1
        return self.next_port - 1

    def addr(self, name):
        """Where a subject listens."""
        return f"127.0.0.1:{self.ports[name]}"

    def start(self, subject, seconds=READY_SECONDS):
        """Starts a subject and returns once all backends answer through it."""
        self.ports[subject.name] = self.free_port()
        words = self.words(subject)
        config = os.path.join(self.work, f"{subject.name}-{subject.template}")
        with open(os.path.join(HERE, "peers", subject.template)) as file:
            text = file.read()
        with open(config, "w") as file:
            file.write(fill(text, words))
        words["@config@"] = config
        self.spawn(subject.name, [fill(word, words) for word in subject.command], subject.cpus)
        self.await_port(subject.name, self.ports[subject.name], seconds)
        self.await_backends(subject.name, seconds)

    def words(self, subject):
        """What stands for what in the templates of a subject."""
        self.metrics_ports[subject.name] = self.free_port()
        words = {"port": self.ports[subject.name], "metrics_port": self.metrics_ports[subject.name]}
        words |= {"work": self.work, "name": subject.name}
        words |= {f"backend{i + 1}": f"127.0.0.1:{p}" for i, p in enumerate(self.origin_ports)}
        words = {f"@{key}@": str(value) for key, value in words.items()}
        own = {k if k.startswith("#") else f"@{k}@": v for k, v in subject.words.items()}
        return words | own

    def spawn(self, name, command, cpus):
        """Starts a process on these CPUs; what it says goes into a file of its name."""
        with open(self.output(name), "w") as output:
            self.running[name] = subprocess.Popen(
                [*self.prefix, "taskset", "-c", cpus, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.work,
            )

    def output(self, name):
        """The file with what a process says."""
        return os.path.join(self.work, f"{name}.out")

    def await_port(self, name, port, seconds=READY_SECONDS):
        """Waits until a process listens. It is not connected to: nothing is left to be noticed."""
        self.wait_until(name, lambda: machine.listens(port), seconds, f"listens on port {port}")

    def await_backends(self, name, seconds):
        """Waits until a subject has brought answers from every backend."""
        seen = set()

        def all_seen():
            seen.update(self.answering(name, seconds))
            return len(seen) == BACKENDS

        self.wait_until(name, all_seen, seconds, f"uses {BACKENDS} backends")

    def answering(self, name, seconds):
        """The backends that answer the next few requests, by the port that they name."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=seconds)
        try:
            for _ in range(BACKENDS):
                connection.request("GET", "/h")
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    yield answer.getheader("X-Port")
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()

    def wait_until(self, name, is_true, seconds, what):
        """Waits for something to become true of a process that must not end meanwhile."""
        end = time.monotonic() + seconds
        while not is_true():
            if self.running[name].poll() is not None or time.monotonic() > end:
                with open(self.output(name)) as file:
                    said = file.read()[-2000:]
                raise Unfit(f"`{name}` was to be seen that it {what}, in {seconds} s; it said:\n{said}")
            time.sleep(0.2)

    def stop(self, name):
        """Ends a process and all that it started: asks first, and insists after a while."""
        process = self.running.pop(name)
        pids = machine.tree(process.pid)
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids:
                send(pid, sign)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            if not any(os.path.exists(f"/proc/{pid}") for pid in pids[1:]):
                return

    def pids(self, name):
        """The processes of a subject."""
        return machine.tree(self.running[name].pid)

    def on_load_cpu(self, *command, **options):
        """Starts something on the CPU of the load; its output is read by the caller."""
        pinned = [*self.prefix, "taskset", "-c", self.load_cpu, *map(str, command)]
        return subprocess.Popen(pinned, stdout=subprocess.PIPE, text=True, **options)


def fill(text, words):
    """`text` with every word replaced by its value."""
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def send(pid, sign):
    """Signals a process, if it is still there."""
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        pass


def honesty(port):
    """What a proper intermediary does and this one does not; empty if it does it all.

    The origin echoes the head that it was sent. Comparing with a proxy that leaves out what
    RFC 9110 §7.6 asks for would flatter the proxy.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    fields = {
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "timeout=5",
        "X-Forwarded-For": "10.0.0.1",
    }
    connection.request("GET", "/h", headers=fields)
    answer = connection.getresponse()
    seen = answer.read().decode("latin-1").lower().split("\r\n")
    connection.close()
    lines = {line.split(":", 1)[0]: line.split(":", 1)[1].strip() for line in seen if ":" in line}
    claims = {
        "names the client in X-Forwarded-For": lines.get("x-forwarded-for", "").endswith("127.0.0.1"),
        "sets X-Forwarded-Proto": lines.get("x-forwarded-proto") == "http",
        "adds Via to the request": "via" in lines,
        "adds Via to the answer": answer.getheader("Via") is not None,
        "strips what Connection names": "x-hop" not in lines,
        "strips Keep-Alive": "keep-alive" not in lines,
    }
    return [claim for claim, holds in claims.items() if not holds]


def clean(work):
    """Removes access logs, which would fill the disk over many runs."""
    for path in glob.glob(os.path.join(work, "*-access.jsonl")):
        os.remove(path)
