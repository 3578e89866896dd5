#!/usr/bin/env python3
"""Counts what one tiny request costs where noise cannot reach, and fails above a stored ceiling.

User instructions are counted by callgrind and system calls by strace, over two runs of the same
program with few and with many requests. The difference, divided by the difference in requests,
is free of start-up, health checks and shutdown. See ceilings.toml for the ceilings.
"""

import argparse
import json
import os
import re
import signal
import sys
import tomllib

import subjects

FEW, MANY = 2_000, 12_000
CONNECTIONS = 64
#: Reading the debug information of a large program takes valgrind seconds, on a busy machine many.
READY_SECONDS = 120
#: A door under valgrind still answers some thousand requests a second.
LOAD_MS = 120_000


def main():
    """Counts, compares, and says which ceiling is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", default=os.path.join(subjects.TARGET, "bench"))
    parser.add_argument("--subject", default="tidegate", choices=sorted(MAKERS))
    parser.add_argument("--tool", choices=sorted(TOOLS), help="only this one; both otherwise")
    options = parser.parse_args()
    with open(os.path.join(subjects.HERE, "ceilings.toml"), "rb") as file:
        ceilings = tomllib.load(file)
    broken = []
    for tool in [options.tool] if options.tool else TOOLS:
        try:
            cost = per_request(options.work, options.subject, tool)
        except subjects.Unfit as problem:
            sys.exit(f"gates: {problem}")
        ceiling = ceilings[tool]
        is_kept = cost <= ceiling
        print(f"{options.subject}: {cost:,.2f} {tool} per request, ceiling {ceiling:,}", flush=True)
        broken += [] if is_kept else [f"{tool} {cost:,.2f} > {ceiling:,}"]
    if broken and options.subject == "tidegate":
        sys.exit(f"gates: {'; '.join(broken)}: make the request path cheaper, or argue in the commit")


def rows(work):
    """Both counts of the door, as a row of the benchmark."""
    counts = {tool: per_request(work, "tidegate", tool) for tool in TOOLS}
    return [{"scenario": "gates", "round": 0, "subject": "tidegate", "errors": 0, **counts}]


def per_request(work, name, tool):
    """What one request more costs."""
    few, many = (total(work, name, tool, requests) for requests in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def total(work, name, tool, requests):
    """What the whole life of a subject costs that answers this many requests."""
    under, read = TOOLS[tool]
    path = os.path.join(os.path.abspath(work), f"{tool}.{requests}")
    subject = MAKERS[name](under(path))
    with subjects.Ground(work) as ground:
        ground.start(subject, READY_SECONDS)
        arguments = ["--path", "/t", "--conns", CONNECTIONS, "--ms", LOAD_MS, "--max", requests]
        command = [ground.kit, "load", "--addr", ground.addr(name), *arguments]
        out, _ = ground.on_load_cpu(*command).communicate()
        answers = json.loads(out)
        if answers["requests"] != requests or answers["errors"] + answers["bad_status"]:
            raise subjects.Unfit(f"`{name}` did not answer {requests} requests: {out.strip()}")
        end(ground, name)
    with open(path) as file:
        return read(file.read())


def end(ground, name):
    """Asks the program itself to end, and waits for the tool to write down what it counted."""
    process = ground.running[name]
    for pid in filter(is_counted, ground.pids(name)):
        subjects.send(pid, signal.SIGTERM)
    process.wait(READY_SECONDS)
    ground.running.pop(name)


def is_counted(pid):
    """Whether a process is not strace: strace ends when the program does, and not before."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip() != "strace"
    except OSError:
        return False


def under_callgrind(path):
    """The command in front of a program whose instructions are counted."""
    valgrind = subjects.program("valgrind", "VALGRIND_BIN")
    return [valgrind, "--tool=callgrind", f"--callgrind-out-file={path}"]


def instructions(text):
    """The sum that callgrind writes at the end of its file."""
    found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if not found:
        raise subjects.Unfit("callgrind wrote no totals; see the door's output in the work folder")
    return int(found[1])


def under_strace(path):
    """The command in front of a program whose system calls are counted."""
    strace = subjects.program("strace", "STRACE_BIN")
    return [strace, "--follow-forks", "--summary-only", f"--output={path}"]


def syscalls(text):
    """The sum in the last line of strace's table."""
    found = re.search(r"^100\.00\s+\S+\s+\S+\s+(\d+).*total$", text, re.MULTILINE)
    if not found:
        raise subjects.Unfit("strace wrote no total; may this user trace processes?")
    return int(found[1])


TOOLS = {"instructions": (under_callgrind, instructions), "syscalls": (under_strace, syscalls)}
MAKERS = {
    "tidegate": lambda under: subjects.tidegate(under=under),
    "haproxy": lambda under: beneath(under, subjects.haproxy()),
}


def beneath(under, subject):
    """The same subject, run by a tool."""
    subject.command = [*under, *subject.command]
    return subject


if __name__ == "__main__":
    main()
