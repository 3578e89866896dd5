#!/usr/bin/env python3
"""Counts what one tiny request costs where noise cannot reach, and fails above a stored ceiling.

callgrind counts user instructions, strace counts system calls. Both run the release binary as it
is. The connections ask in lockstep: left to themselves they come in groups whose size depends on
how busy the machine is, and a door that finds fewer of them at each look works more per request.
See ceilings.toml for the ceilings.
"""

import argparse
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import subjects

FEW, MANY = 1_920, 11_520
CONNECTIONS = 64
#: Of a count that is above its ceiling.
REPETITIONS = 4
#: Reading the debug information of a large program takes valgrind seconds, on a busy machine many.
READY_SECONDS = 120
#: A door under valgrind still answers some thousand requests a second.
LOAD_MS = 120_000


def main():
    """Counts, compares, and says which ceiling is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", default=os.path.join(subjects.TARGET, "bench"))
    parser.add_argument("--subject", default="tidegate", choices=["tidegate", "haproxy"])
    options = parser.parse_args()
    with open(os.path.join(subjects.HERE, "ceilings.toml"), "rb") as file:
        ceilings = tomllib.load(file)
    broken = []
    try:
        for what, count in COUNTS.items():
            ceiling = ceilings[what]
            cost = least(count, options.work, options.subject, ceiling)
            print(f"{options.subject}: {cost:,.2f} {what} per request, ceiling {ceiling:,}")
            broken += [f"{what} {cost:,.2f} > {ceiling:,}"] if cost > ceiling else []
    except subjects.Unfit as problem:
        sys.exit(f"gates: {problem}")
    if broken:
        sys.exit(f"gates: {'; '.join(broken)}; make the request path cheaper, or argue in the commit")


def least(count, work, name, ceiling):
    """What it costs at most. Noise only adds (answers that trickle in are more looks at the poll
    set), so a count above its ceiling is repeated, and the least one is believed."""
    cost = count(work, name)
    for _ in range(REPETITIONS):
        if cost <= ceiling:
            break
        cost = min(cost, count(work, name))
    return cost


def rows(work):
    """Both counts of the door, as a row of the benchmark."""
    counts = {what: count(work, "tidegate") for what, count in COUNTS.items()}
    return [{"scenario": "gates", "round": 0, "subject": "tidegate", "errors": 0, **counts}]


def instructions(work, name):
    """User instructions per request, of warm connections: the counters start at zero there.

    What the door does by the clock (checks, looks at its backends, statistics) is no cost of a
    request, and on a slow machine more of it comes to each: an idle time as long is taken off.
    """
    path = os.path.join(os.path.abspath(work), "callgrind")
    for old in glob.glob(f"{path}*"):
        os.remove(old)
    valgrind = subjects.program("valgrind", "VALGRIND_BIN")
    under = [valgrind, "--tool=callgrind", f"--callgrind-out-file={path}"]
    with subjects.Ground(work) as ground:
        ground.start(subject(name, under), READY_SECONDS)
        ask(ground, name, FEW)
        control(ground, name, "--zero")
        seconds = ask(ground, name, MANY)
        control(ground, name, "--dump")
        control(ground, name, "--zero")
        time.sleep(seconds)
        control(ground, name, "--dump")
    return (total(f"{path}.1") - total(f"{path}.2")) / MANY


def total(path):
    """All that callgrind counted."""
    with open(path) as file:
        found = re.search(r"^(?:totals|summary): (\d+)", file.read(), re.MULTILINE)
    if not found:
        raise subjects.Unfit(f"callgrind wrote no totals to `{path}`")
    return int(found[1])


def control(ground, name, order):
    """Tells callgrind something, and returns once it is done."""
    command = ["callgrind_control", order, str(ground.running[name].pid)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
    if said.returncode:
        raise subjects.Unfit(f"`{' '.join(command)}` failed: {said.stdout}{said.stderr}")


def syscalls(work, name):
    """System calls per request: a life with many requests against one as long with few, so that
    start, health checks, statistics and stop cancel out.
    """
    many, seconds = lifetime(work, name, MANY)
    few, _ = lifetime(work, name, FEW, seconds)
    return (many - few) / (MANY - FEW)


def lifetime(work, name, requests, seconds=0.0):
    """System calls of a whole life in which this many requests were answered in at least that time,
    and how long that took."""
    path = os.path.join(os.path.abspath(work), f"strace.{requests}")
    strace = subjects.program("strace", "STRACE_BIN")
    under = [strace, "--follow-forks", "--summary-only", f"--output={path}"]
    with subjects.Ground(work) as ground:
        ground.start(subject(name, under), READY_SECONDS)
        took = ask(ground, name, requests)
        time.sleep(max(0.0, seconds - took))
        process = ground.running[name]
        for pid in filter(is_traced, ground.pids(name)):
            subjects.send(pid, signal.SIGTERM)
        process.wait(READY_SECONDS)
    with open(path) as file:
        found = re.search(r"^100\.00\s+\S+\s+\S+\s+(\d+).*total$", file.read(), re.MULTILINE)
    if not found:
        raise subjects.Unfit(f"strace wrote no total to `{path}`; may this user trace processes?")
    return int(found[1]), took


def is_traced(pid):
    """Whether a process is not strace itself, which ends when the program does, and not before."""
    return subjects.machine.read(f"/proc/{pid}/comm").strip() != "strace"


def subject(name, under):
    """A subject, run by a tool."""
    if name == "tidegate":
        return subjects.tidegate(under=under)
    peer = subjects.haproxy()
    peer.command = [*under, *peer.command]
    return peer


def ask(ground, name, requests):
    """Sends that many requests; every one must be answered. How many seconds it took."""
    begun = time.monotonic()
    arguments = ["--path", "/t", "--conns", CONNECTIONS, "--ms", LOAD_MS, "--lockstep"]
    command = [ground.kit, "load", "--addr", ground.addr(name), *arguments, "--max", requests]
    out, _ = ground.on_load_cpu(*command).communicate()
    answers = json.loads(out)
    if answers["requests"] != requests or answers["errors"] + answers["bad_status"]:
        raise subjects.Unfit(f"`{name}` did not answer {requests} requests: {out.strip()}")
    return time.monotonic() - begun


COUNTS = {"instructions": instructions, "syscalls": syscalls}


if __name__ == "__main__":
    main()
