#!/usr/bin/env python3
"""Proves that bodies stream: large ones leave no trace in memory, and a stalled backend stops the
client instead of filling the door.

The peak of the resident set comes from the kernel (VmHWM), so nothing between two looks is missed.
What a stalled upload has put into the door is what the client sent less what lies in the queues of
the four sockets on the way: exact but for the part of the body, at most 64 KiB, that the origin
read along with the head.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import machine
import scenarios
import subjects

BODY = 512 << 20
#: KiB that the resident set may grow by while 512 MiB go through.
GROWTH_KIB = 2048
#: Bytes that the door may take off a client whose backend does not read.
TAKEN = 1 << 20
STALLED = 256 << 20


def main():
    """Measures and fails if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", default=os.path.join(subjects.TARGET, "bench"))
    parser.add_argument("--subject", default="tidegate", choices=["tidegate", "haproxy"])
    options = parser.parse_args()
    try:
        subject = getattr(subjects, options.subject)()
        with subjects.Ground(options.work) as ground:
            ground.start(subject)
            scenarios.warm_up(ground, subject.name)
            scenarios.load(ground, subject.name, ("--path", "/l", "--conns", "1", "--max", "8"), 9000)
            problems = [*streams(ground, subject, "up"), *streams(ground, subject, "down")]
            problems += stalls(ground, subject)
    except subjects.Unfit as problem:
        sys.exit(f"memory: {problem}")
    if problems:
        sys.exit(f"memory: {'; '.join(problems)}")


def streams(ground, subject, direction):
    """Sends one large body through the door."""
    pid = ground.running[subject.name].pid
    before, _ = machine.rss_kib(pid)
    machine.reset_peak(pid)
    command = [ground.kit, "bulk", "--addr", ground.addr(subject.name), f"--{direction}", BODY]
    transfer = ground.on_load_cpu(*command)
    out, _ = transfer.communicate()
    if transfer.returncode or json.loads(out)[direction] != BODY:
        return [f"a body of {BODY} bytes did not come {direction}: {out.strip()}"]
    growth = machine.rss_kib(pid)[1] - before
    print(f"{BODY >> 20} MiB {direction}: peak of RSS {growth:+,} KiB on {before:,} KiB")
    return [f"RSS grew by {growth} KiB, {GROWTH_KIB} allowed"] if growth > GROWTH_KIB else []


def stalls(ground, subject):
    """Sends a body toward a backend that does not read it."""
    pid = ground.running[subject.name].pid
    before, _ = machine.rss_kib(pid)
    command = ["stall", "--addr", ground.addr(subject.name), "--bytes", STALLED]
    client = ground.on_load_cpu(ground.kit, *command, stdin=subprocess.PIPE)
    _, sent, port = client.stdout.readline().split()
    queued = settled(lambda: machine.queued_bytes([int(port), *ground.origin_ports]))
    growth = machine.rss_kib(pid)[0] - before
    client.communicate("")
    taken = int(sent) - queued
    print(
        f"stalled backend: {int(sent):,} bytes sent, {queued:,} in socket buffers, "
        f"{taken:,} in the door; RSS {growth:+,} KiB"
    )
    return [f"the door took {taken} bytes, {TAKEN} allowed"] if taken > TAKEN else []


def settled(look):
    """A figure, once two looks in a row agree."""
    last = None
    for _ in range(50):
        now = look()
        if now == last:
            break
        last = now
        time.sleep(0.1)
    return last


if __name__ == "__main__":
    main()
