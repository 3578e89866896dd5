"""From the rows of a run to Markdown: each promise with its figure, then a table per scenario."""

import math
import os
import statistics
import tomllib

import scenarios

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = ("haproxy", "nginx")


def markdown(rows, facts):
    """The whole report. `facts` are lines about the machine and the programs."""
    lines = [f"- {fact}" for fact in facts] + ["", *goals(rows)]
    for scenario in scenarios.SCENARIOS:
        found = [row for row in rows if row["scenario"] == scenario.name]
        if found:
            lines += ["", *table(scenario, found)]
    return "\n".join(lines) + "\n"


def goals(rows):
    """One line per promise: the goal, the figure, whether it is met."""
    yield "| | goal | stretch | measured | range | |"
    yield "|---|---:|---:|---:|---:|---|"
    for goal in load_goals():
        values, is_met, measured = judge(goal, rows)
        verdict = "not measured" if is_met is None else "met" if is_met else "**not met**"
        if is_met and values and statistics.median(values) <= goal.get("stretch", -math.inf):
            verdict = "met, stretch too"
        stretch = f"≤ {number(goal['stretch'])}" if "stretch" in goal else ""
        limits = f"{number(min(values))} – {number(max(values))}" if values else ""
        yield f"| {goal['line']} | ≤ {limit(goal)} | {stretch} | {measured} | {limits} | {verdict} |"


def load_goals():
    """goals.toml."""
    with open(os.path.join(HERE, "goals.toml"), "rb") as file:
        return tomllib.load(file)["goal"]


def limit(goal):
    """A goal in words."""
    text = number(goal["goal"])
    return f"{text} µs or {goal['share']:.0%}" if "share" in goal else text


def judge(goal, rows):
    """(one value per round, whether the goal is met, the figure in words)."""
    pairs = rounds(goal, rows)
    if not pairs:
        return [], None, "–"
    if goal["compare"] == "value":
        values = [value / goal.get("scale", 1) for value, _ in pairs]
    elif goal["compare"] == "ratio":
        values = [value / versus for value, versus in pairs]
    else:
        values = [value - versus for value, versus in pairs]
    measured = statistics.median(values)
    text, is_met = number(measured), measured <= goal["goal"]
    if "share" in goal:
        share = statistics.median(value / versus - 1 for value, versus in pairs)
        text, is_met = f"{text} µs, {share:+.0%}", is_met or share <= goal["share"]
    return values, is_met, text


def rounds(goal, rows):
    """(figure of the subject, figure that it is held against) for each round with both."""
    found = [row for row in rows if row["scenario"] == goal["scenario"]]
    by_round = {}
    for row in found:
        by_round.setdefault(row["round"], {})[row["subject"]] = row[goal["figure"]]
    pairs = []
    for seen in by_round.values():
        value, versus = seen.get(goal.get("subject", "tidegate")), goal.get("versus")
        if versus == "best":
            other = min((seen[peer] for peer in PEERS if peer in seen), default=None)
        else:
            other = seen.get(versus) if versus else math.nan
        if value is not None and other is not None:
            pairs.append((value, other))
    return pairs


def is_every_goal_met(rows):
    """Whether all promises that were measured are kept."""
    return all(judge(goal, rows)[1] is not False for goal in load_goals())


def table(scenario, rows):
    """Medians per subject, and the ratio of the CPU time to HAProxy's within each round."""
    names = list(dict.fromkeys(row["subject"] for row in rows))
    key = "kib_per_connection" if scenario.name == "idle" else "cpu_us"
    reference = "haproxy" if "haproxy" in names else names[0]
    count = len({row["round"] for row in rows})
    yield f"### {scenario.name}: {scenario.title}"
    yield ""
    yield f"Medians of {count} rounds; ratio of `{key}` to {reference} within a round, its median."
    yield ""
    yield "| | " + " | ".join(scenario.columns) + f" | range of {key} | ratio | errors |"
    yield "|---|" + "---:|" * (len(scenario.columns) + 3)
    base = {row["round"]: row[key] for row in rows if row["subject"] == reference}
    for name in names:
        mine = [row for row in rows if row["subject"] == name]
        medians = (statistics.median(row[column] for row in mine) for column in scenario.columns)
        values = [row[key] for row in mine]
        ratios = [row[key] / base[row["round"]] for row in mine if base.get(row["round"])]
        ratio = number(statistics.median(ratios)) if ratios else "–"
        errors = sum(row["errors"] for row in mine)
        cells = [name, *map(number, medians), f"{number(min(values))} – {number(max(values))}"]
        yield "| " + " | ".join([*cells, ratio, str(errors)]) + " |"


def number(value):
    """A figure with as many digits as it deserves."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"
