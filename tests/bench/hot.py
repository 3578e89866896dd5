#!/usr/bin/env python3
"""Where the instructions of one tiny request go: reads what `make gates` leaves behind.

callgrind's own annotation charges everything to the thread's start once the counters were set to
zero in mid-run, so the file is read here: what each function, or each source line, costs itself.
With two files the differences are shown, largest first.
"""

import argparse
import collections
import os
import re

import gates
import subjects

NAMED = re.compile(r"(c?(?:fn|fl|fi|fe))=\((\d+)\)(?: (.*))?")
COST = re.compile(r"([+-]?\d+|\*) (\d+)$")


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    left_behind = os.path.join(subjects.TARGET, "bench", "callgrind.1")
    parser.add_argument("files", nargs="*", default=[left_behind])
    parser.add_argument("--lines", action="store_true", help="by source line, not by function")
    parser.add_argument("--top", type=int, default=50)
    options = parser.parse_args()
    costs = [read(path, options.lines) for path in options.files]
    shown = costs[-1] if len(costs) == 1 else difference(*costs[:2])
    for what, cost in sorted(shown.items(), key=lambda row: -abs(row[1]))[: options.top]:
        print(f"{cost / gates.MANY:+9.1f} {what[-140:]}")


def difference(before, after):
    """What became dearer or cheaper."""
    return {what: after[what] - before[what] for what in before.keys() | after.keys()}


def read(path, by_line):
    """Instructions by function, or by line of source (format: valgrind's manual, "Callgrind Format
    Specification")."""
    costs = collections.Counter()
    names = collections.defaultdict(dict)
    function, source, line, is_call = "", "", 0, False
    with open(path) as file:
        for text in map(str.strip, file):
            if named := NAMED.match(text):
                kind, number, name = named.groups()
                table = names["fn" if kind.endswith("fn") else "file"]
                name = table.setdefault(number, name or "?")
                if kind == "fn":
                    function = name
                elif kind in ("fl", "fi", "fe"):
                    source = name
            elif text.startswith("calls="):
                is_call = True
            elif cost := COST.match(text):
                place, count = cost.groups()
                line = line if place == "*" else int(place) + (line if place[0] in "+-" else 0)
                if is_call:
                    # What the callee costs, which is counted there.
                    is_call = False
                    continue
                costs[f"{source}:{line} {function}" if by_line else function] += int(count)
    return costs


if __name__ == "__main__":
    main()
