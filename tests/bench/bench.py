#!/usr/bin/env python3
"""Compares the door with HAProxy and nginx on one machine, over loopback.

All proxies are up at once and take turns in short slices, round after round, so that a slow phase
of the machine hits all of them. What is compared is CPU time per request, each ratio taken within
a round; the median of the ratios counts. Absolute figures of two runs must not be compared.

The proxies run on CPU 0; origin and load generator on CPU 1, so that neither takes from the
other. A peer that is missing, or that answers wrongly, ends the run.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys

import gates
import machine
import report
import scenarios
import subjects

FACTS = """One worker each. Tidegate with routing, health checks and metrics on, access log off; the \
peers without health checks and statistics, and HAProxy without removing what Connection names."""
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def main():
    """Runs, reports, and fails if something could not be measured."""
    options = arguments()
    chosen = scenarios.by_name(options.scenarios.split(","))
    before = os.getloadavg()[0]
    try:
        peers, ours = cast(options)
        with subjects.Ground(options.work, options.load_cpu) as ground:
            rows = Run(options, ground, peers, ours).all(chosen)
        if options.gates:
            rows += gates.rows(options.work)
    except subjects.Unfit as problem:
        sys.exit(f"bench: {problem}")
    text = report.markdown(rows, facts(options, peers + ours[:1], before))
    write(options, rows, text)
    if any(row["errors"] for row in rows if row["subject"].startswith("tidegate")):
        sys.exit("bench: requests through the door failed; see the tables' last column")
    if options.strict and not report.is_every_goal_met(rows):
        sys.exit("bench: not every goal is met")


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = ",".join(scenario.name for scenario in scenarios.SCENARIOS)
    parser.add_argument("--scenarios", default=names, help=f"of {names}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--idle-rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7, help="length of one slice")
    parser.add_argument("--door-cpu", default="0")
    parser.add_argument("--load-cpu", default="1")
    parser.add_argument("--work", default=os.path.join(subjects.TARGET, "bench"))
    parser.add_argument("--gates", action="store_true", help="count instructions and calls too")
    parser.add_argument("--without-door", action="store_true", help="the peers alone, for work on this")
    parser.add_argument("--strict", action="store_true", help="fail if a goal is not met")
    parser.add_argument("--write", metavar="FILE", help="put the report between the marks in FILE")
    return parser.parse_args()


def cast(options):
    """(the peers, our door and its variants)."""
    cpu = options.door_cpu
    peers = [subjects.haproxy(cpus=cpu), subjects.nginx(cpus=cpu)]
    if os.environ.get("HAPROXY34_BIN"):
        peers.append(subjects.haproxy("haproxy-3.4", "HAPROXY34_BIN", cpu))
    if os.environ.get("EARLIER_BIN"):
        peers.append(subjects.tidegate("tidegate-earlier", cpu, variable="EARLIER_BIN"))
    if options.without_door:
        return peers, []
    both = f"{cpu},{options.load_cpu}"
    ours = [
        subjects.tidegate(cpus=cpu),
        subjects.tidegate("tidegate-log", cpu, log=True),
        subjects.tidegate("tidegate-w1", both),
        subjects.tidegate("tidegate-w2", both, workers=2),
    ]
    return peers, ours


class Run:
    """One run of the rounds."""

    def __init__(self, options, ground, peers, ours):
        self.options = options
        self.ground = ground
        #: Who takes part where a scenario names nobody.
        self.contestants = peers + ours[:1]
        self.ours = ours
        self.everybody = peers + ours
        self.rows = []

    def all(self, chosen):
        """Plain scenarios, then those in real time, then those that need fresh processes."""
        self.phase([s for s in chosen if not s.realtime and s.name != "idle"])
        self.ground.prefix = ["chrt", "-f", "10"]
        self.phase([s for s in chosen if s.realtime])
        self.ground.prefix = []
        if any(scenario.name == "idle" for scenario in chosen):
            self.idle()
        return self.rows

    def phase(self, chosen):
        """Rounds over scenarios that share their processes."""
        if not chosen:
            return
        self.restart_origin()
        names = {name for scenario in chosen for name in self.names(scenario)}
        present = [s for s in self.everybody if s.name in names]
        for subject in present:
            self.bring_up(subject)
        for scenario in chosen:
            cast = [subject for subject in present if subject.name in self.names(scenario)]
            for index in range(self.options.rounds):
                # Each round another one goes first, so that none always follows the same one.
                first = index % len(cast)
                for subject in cast[first:] + cast[:first]:
                    row = scenarios.slice_of(self.ground, scenario, subject, self.options.seconds)
                    self.note(scenario.name, index, subject, row)
        for subject in present:
            self.ground.stop(subject.name)
        subjects.clean(self.ground.work)

    def idle(self):
        """Memory, of a fresh process each time."""
        self.restart_origin()
        for index in range(self.options.idle_rounds):
            for subject in self.contestants:
                self.ground.start(subject)
                self.note("idle", index, subject, scenarios.idle(self.ground, subject))
                self.ground.stop(subject.name)

    def names(self, scenario):
        """Who takes part in a scenario."""
        return scenario.subjects or [subject.name for subject in self.contestants]

    def restart_origin(self):
        """Gives the origin the scheduling class of the phase."""
        self.ground.stop("origin")
        self.ground.start_origin()

    def bring_up(self, subject):
        """Starts a subject, warms it up and makes sure that it does its work."""
        self.ground.start(subject)
        scenarios.warm_up(self.ground, subject.name)
        left_out = subjects.honesty(self.ground.ports[subject.name])
        if left_out and subject in self.ours:
            raise subjects.Unfit(f"`{subject.name}` is no fair comparison; left out: {left_out}")

    def note(self, scenario, index, subject, row):
        """Keeps the figures of one slice."""
        self.rows.append({"scenario": scenario, "round": index, "subject": subject.name, **row})
        print(f"{scenario} {index + 1}: {subject.name}", file=sys.stderr)


def facts(options, contestants, before):
    """Where and with what the figures were taken."""
    commit = ["git", "-C", subjects.ROOT, "rev-parse", "--short", "HEAD"]
    said = subprocess.run(commit, capture_output=True, text=True, check=False).stdout.strip()
    yield f"{machine.description()}; {datetime.date.today()}, commit {said or 'unknown'}"
    yield "; ".join(f"{s.name}: {subjects.version(s)}" for s in contestants)
    yield f"Load average before the run: {before:.1f}; a quiet machine has less than 0.5."
    yield f"{options.rounds} interleaved rounds of {options.seconds} s slices. {FACTS}"


def write(options, rows, text):
    """The rows for later, the report for readers."""
    with open(os.path.join(options.work, "rows.jsonl"), "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    path = os.path.join(options.work, "report.md")
    with open(path, "w") as file:
        file.write(text)
    print(text)
    print(f"written to {path}", file=sys.stderr)
    if options.write:
        with open(options.write) as file:
            before, _, rest = file.read().partition(BEGIN)
            _, _, after = rest.partition(END)
        with open(options.write, "w") as file:
            file.write(f"{before}{BEGIN}\n{text}{END}{after}")


if __name__ == "__main__":
    main()
