#!/usr/bin/env python3
"""Compares two builds in alternating rounds: `bench/compare.py OLD NEW [--rounds 5] [-- SCENARIO ARGUMENTS]`.

OLD and NEW are folders with a `wahook` and a `wahook-bench` of one build each, such as `target/release`. Each round
runs both, and takes turns at who is first, since other work on the machine comes and goes. Printed are each round, and
for each figure both medians, their spread (lowest to highest) and the ratio of NEW to OLD: the median of the ratios of
the rounds, with its own spread. A ratio whose spread covers 1.00 shows no difference.

The default scenario is `throughput`. Any that prints one report can be named: `-- latency --rate 300`.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIGURES = [
    "deliveries/s",
    "CPU per delivery",
    "ack to POST p50",
    "ack to POST p99",
    "plan to POST p50",
    "plan to POST p99",
    "memory at the end",
]
# A run with any of these is no run to compare.
ZERO = ["lost", "at a wrong endpoint"]
RUN_SECONDS_MAX = 1800


def main():
    options = parse()
    builds = {"old": options.old, "new": options.new}
    for folder in builds.values():
        for name in ("wahook", "wahook-bench"):
            if not (folder / name).is_file():
                sys.exit(f"{folder / name} is missing: `make bench` builds it")
    rounds = {name: [] for name in builds}
    for number in range(options.rounds):
        order = ["old", "new"] if number % 2 == 0 else ["new", "old"]
        for name in order:
            rounds[name].append(measure(builds[name], options.scenario))
        print(f"round {number + 1}: " + told(rounds["old"][-1], rounds["new"][-1]), flush=True)
    print(f"\n{' '.join(options.scenario)}, {options.rounds} rounds\n  old {options.old}\n  new {options.new}\n")
    print(table(rounds))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=lambda text: Path(text).resolve())
    parser.add_argument("new", type=lambda text: Path(text).resolve())
    parser.add_argument("--rounds", type=int, default=5)
    own, scenario = sys.argv[1:], ["throughput"]
    if "--" in own:
        at = own.index("--")
        own, scenario = own[:at], own[at + 1 :] or scenario
    options = parser.parse_args(own)
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    options.scenario = scenario
    return options


def measure(folder, scenario):
    """The figures of one run, by name."""
    environment = dict(os.environ)
    environment.setdefault("NATS_SERVER_BIN", str(ROOT / ".tools/bin/nats-server"))
    run = subprocess.run(
        [folder / "wahook-bench", *scenario],
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
    )
    if run.returncode != 0:
        sys.exit(f"{folder}/wahook-bench {' '.join(scenario)} failed:\n{run.stdout}{run.stderr}")
    figures = read(run.stdout)
    for name in ZERO:
        if figures.get(name, 0) != 0:
            sys.exit(f"{folder}: {name} is {figures[name]:.0f}, not 0:\n{run.stdout}")
    missing = [name for name in FIGURES if name not in figures]
    if missing:
        sys.exit(f"{folder}: no figure {missing} in the report:\n{run.stdout}")
    return figures


def read(text):
    """Lines of a report: a name, a number, perhaps a unit."""
    figures = {}
    for line in text.splitlines():
        found = re.match(r"  (\S.*?) {2,}([\d.]+)(?: |$)", line)
        if found:
            name = " ".join(found[1].split())
            figures.setdefault(name, float(found[2]))
    return figures


def told(old, new):
    parts = [f"{name} {old[name]:.2f} / {new[name]:.2f}" for name in FIGURES[:4]]
    return ", ".join(parts) + " (old / new)"


def table(rounds):
    head = f"{'':20} {'old':>28} {'new':>28} {'new / old':>24}"
    lines = [head]
    for name in FIGURES:
        old = [figures[name] for figures in rounds["old"]]
        new = [figures[name] for figures in rounds["new"]]
        # A figure of 0 has no ratio.
        ratios = [after / before for before, after in zip(old, new) if before]
        ratio = spread(ratios) if ratios else "-"
        lines.append(f"{name:20} {spread(old):>28} {spread(new):>28} {ratio:>24}")
    return "\n".join(lines)


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
