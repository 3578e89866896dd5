"""What is asked of a subject in one slice, and what it cost."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

import machine

#: Connections that stay open without a request. HAProxy and nginx here close idle ones beyond some 8,000.
IDLE_CONNECTIONS = 6000
#: Until freed memory is given back and sockets are quiet.
SETTLE_SECONDS = 1.5


@dataclass
class Scenario:
    """One kind of load; `columns` are the figures of its table."""

    name: str
    title: str
    arguments: tuple
    columns: tuple
    realtime: bool = False
    #: Which subjects take part; all but the variants when empty.
    subjects: tuple = ()


COST = ("rps", "cpu_us", "user_us", "sys_us", "switches", "cpu_busy")
LATENCY = ("p50_us", "p99_us", "p999_us")
FIXED_RATE = ("--rate", "15000", "--warm-ms", "100")

SCENARIOS = [
    Scenario(
        "tiny",
        "128 bytes, 64 keep-alive connections, as fast as they go",
        ("--path", "/t", "--conns", "64"),
        COST + LATENCY,
    ),
    Scenario(
        "log",
        "the same, with and without an access log in JSON",
        ("--path", "/t", "--conns", "64"),
        COST + LATENCY,
        subjects=("tidegate", "tidegate-log"),
    ),
    Scenario(
        "workers",
        "the same, one worker and two on the same CPUs",
        ("--path", "/t", "--conns", "64"),
        COST + LATENCY,
        subjects=("tidegate-w1", "tidegate-w2"),
    ),
    Scenario("16k", "16 KiB, 64 connections", ("--path", "/m", "--conns", "64"), COST),
    Scenario("1m", "1 MiB, 16 connections", ("--path", "/l", "--conns", "16"), COST),
    Scenario(
        "churn",
        "128 bytes, a new connection per request, 32 at a time",
        ("--path", "/t", "--conns", "32", "--churn"),
        COST,
    ),
    Scenario(
        "rate",
        "128 bytes, 15,000 requests a second, SCHED_FIFO for all",
        ("--path", "/t", "--conns", "64", *FIXED_RATE),
        ("rps", "cpu_us", "user_us", "sys_us", "switches", *LATENCY, "max_us"),
        realtime=True,
    ),
    Scenario(
        "idle",
        f"{IDLE_CONNECTIONS:,} idle keep-alive connections, a fresh process each time",
        (),
        ("base_kib", "kib_per_connection", "still_open"),
    ),
]


def by_name(names):
    """The scenarios of these names, in their own order."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"no scenario is called `{unknown[0]}`; there are: {', '.join(known)}")
    return [scenario for scenario in SCENARIOS if scenario.name in names]


def load(ground, name, arguments, milliseconds):
    """Sends load to a subject; what the load generator says."""
    command = ["load", "--addr", ground.addr(name), "--ms", milliseconds, *arguments]
    out, _ = ground.on_load_cpu(ground.kit, *command).communicate()
    return json.loads(out)


def warm_up(ground, name):
    """Fills pools, caches and branch predictors; what the load saw."""
    return load(ground, name, ("--path", "/t", "--conns", "64"), 700)


def slice_of(ground, scenario, subject, seconds):
    """One slice: what the load saw, and what the subject's whole process tree used meanwhile."""
    pids, cpu = ground.pids(subject.name), subject.cpus.split(",")[0]
    before = machine.cpu_time(pids), machine.cpu_busy(cpu), machine.switches(pids)
    row = load(ground, subject.name, scenario.arguments, int(seconds * 1000))
    after = machine.cpu_time(pids), machine.cpu_busy(cpu), machine.switches(pids)

    requests = max(row["requests"], 1)
    total, user, system = (b - a for a, b in zip(before[0], after[0]))
    busy, ticks = (b - a for a, b in zip(before[1], after[1]))
    row["cpu_us"] = total / 1000 / requests
    row["user_us"] = row["cpu_us"] * user / max(user + system, 1)
    row["sys_us"] = row["cpu_us"] * system / max(user + system, 1)
    row["cpu_busy"] = busy / max(ticks, 1)
    row["switches"] = (after[2] - before[2]) / requests
    row["errors"] += row.pop("bad_status") + row.pop("unsent")
    return row


def idle(ground, subject):
    """Memory of a fresh process after warm-up, and what each idle connection adds."""
    warm_up(ground, subject.name)
    time.sleep(SETTLE_SECONDS)
    pids = ground.pids(subject.name)
    base = machine.pss_kib(pids)
    command = ["idle", "--addr", ground.addr(subject.name), "--conns", IDLE_CONNECTIONS]
    holder = ground.on_load_cpu(ground.kit, *command, stdin=subprocess.PIPE)
    held = int(holder.stdout.readline().split()[1])
    time.sleep(SETTLE_SECONDS)
    grown = machine.pss_kib(pids) - base
    out, _ = holder.communicate("")
    still_open = int(out.split()[1])
    return {
        "base_kib": base,
        "kib_per_connection": grown / max(held, 1),
        "still_open": still_open,
        "errors": IDLE_CONNECTIONS - min(held, still_open),
    }
