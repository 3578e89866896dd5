#!/usr/bin/env python3
"""Proves that a door that nobody scrapes keeps nothing: minutes of load, and the resident set at
the end is that of the beginning. Then one scrape, and it must have counted every request sent.
"""

import argparse
import os
import sys
import urllib.request

import machine
import scenarios
import subjects

RATE = 3000
#: Of each load, the warm-up too.
CONNECTIONS = 64
#: KiB that the resident set may grow by, once pools and buffers are filled.
GROWTH_KIB = 256
SLICE_SECONDS = 30


def main():
    """Measures and fails if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", default=os.path.join(subjects.TARGET, "bench"))
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    try:
        subject = subjects.tidegate()
        with subjects.Ground(options.work) as ground:
            ground.start(subject)
            problems = runs(ground, subject, options.minutes)
    except subjects.Unfit as problem:
        sys.exit(f"flat: {problem}")
    if problems:
        sys.exit(f"flat: {'; '.join(problems)}")


def runs(ground, subject, minutes):
    """Load in slices, a look at the memory after each, a scrape at the end."""
    pid = ground.running[subject.name].pid
    arguments = ("--path", "/t", "--conns", CONNECTIONS, "--rate", RATE)
    sent = counted(ground, subject)
    first = scenarios.warm_up(ground, subject.name)
    sizes, errors, requests = [], first["errors"] + first["bad_status"], first["requests"]
    for _ in range(max(2, round(minutes * 60 / SLICE_SECONDS))):
        row = scenarios.load(ground, subject.name, arguments, SLICE_SECONDS * 1000)
        requests += row["requests"]
        errors += row["errors"] + row["bad_status"]
        sizes.append(machine.rss_kib(pid)[0])
    growth = sizes[-1] - sizes[0]
    told = counted(ground, subject) - sent
    print(f"{requests:,} requests in a warm-up and {len(sizes)} slices of {SLICE_SECONDS} s, {errors} errors")
    print(f"RSS after each slice, in KiB: {', '.join(map(str, sizes))}; growth {growth:+}")
    print(f"counted by the door: {told:,}")
    problems = []
    if growth > GROWTH_KIB:
        problems.append(f"RSS grew by {growth} KiB, {GROWTH_KIB} allowed")
    if errors:
        problems.append(f"{errors} requests failed")
    # Each load leaves what is under way at its end: nothing of that has come back to be counted.
    under_way = CONNECTIONS * (len(sizes) + 1)
    if not requests <= told <= requests + under_way:
        problems.append(f"the door counted {told}; {requests} were answered, {under_way} may be left")
    return problems


def counted(ground, subject):
    """Requests by the door's own count; the only scrapes are before the load and after it."""
    port = ground.metrics_ports[subject.name]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().split("\n")
    values = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("tidegate_requests_total")]
    return round(sum(map(float, values)))


if __name__ == "__main__":
    main()
