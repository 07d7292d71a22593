"""A training's numbers: `report.json` beside the nets, a CSV of results, figures, tables on screen.

In them `us` is the measured time a picture in µs at batch 32, and every accuracy a fraction.
"""

import csv
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cascades.combining import RULES
from cascades.complementarity import complementarity_matrix
from training.choosing.replay import Plan, accuracy, calibration_error
from training.export.twins import find_faster, list_nets
from training.reporting.figures import Point, draw_complementarity, draw_costs
from training.reporting.findings import Findings, plan_of

BENCH = "dual_cnn_training"
PACKAGES = ("onnxruntime", "numpy", "torch")
Facts = dict[str, Any]  # Any: JSON


def write_report(
    findings: Findings, runs: Path, figures: Path, results: Path, console: Console
) -> Facts:
    """Write everything and return what `report.json` holds."""
    facts = gather(findings)
    (runs / "report.json").write_text(json.dumps(facts, indent=2) + "\n")
    _draw(facts, figures)
    path = _write_csv(facts, results)
    console.print(_table(facts))
    for place in (path, runs / "report.json", figures):
        console.print(f"wrote {place}", soft_wrap=True)
    return facts


def gather(findings: Findings) -> Facts:
    """All numbers, as plain JSON values."""
    names, nets = list(findings.ready), list_nets(findings.ready)
    labels = findings.data.held_out.labels
    hits = [findings.ready[name].held_out.argmax(1) == labels for name in nets]
    choice = findings.choice
    pool = [_describe_net(findings, name) for name in names]
    large = next(net for net in pool if net["net"] == findings.large)
    fastest_large = next(
        net for net in pool if net["net"] == find_faster(findings.large, findings.ready)
    )
    cascade = _describe_cascade(findings, choice.chosen.members, findings.plan)
    rivals = [net for net in pool if net["test_accuracy"] >= cascade["test_accuracy"]]
    rival = min(rivals, key=lambda net: float(net["us"]), default=None)
    return {
        "data": findings.data.name,
        "data_identity": findings.data.identity,
        "seed": findings.ready[findings.large].description["seed"],
        "machine": _describe_machine(),
        "pool": pool,
        "complementarity": {"nets": nets, "matrix": complementarity_matrix(hits).tolist()},
        "large": findings.large,
        "cascade": cascade,
        "choice": {
            "candidates": choice.candidates,
            "out_of_fold_accuracy": choice.chosen.accuracy,
            "out_of_fold_us": choice.chosen.cost,
            "out_of_fold_oracle_gap": choice.chosen.oracle_gap,
        },
        "of_large": {key: cascade[key] / large[key] for key in ("us", "macs")},
        "of_fastest_large": cascade["us"] / fastest_large["us"],  # its float file or its twin
        "rival": rival and rival["net"],  # the cheapest net at least as accurate on test
        "of_rival": rival and {key: cascade[key] / rival[key] for key in ("us", "macs")},
        "rules": {
            rule: _describe_cascade(
                findings, choice.chosen.members, replace(findings.plan, combine=rule)
            )
            for rule in RULES
        },
        "front": [_describe_cascade(findings, c.members, plan_of(c)) for c in choice.front],
    }


def _describe_net(findings: Findings, name: str) -> Facts:
    net, test, labels = findings.ready[name], findings.test[name], findings.data.test.labels
    temperature = findings.temperatures[name]
    return {
        "net": name,
        "us": findings.costs_us([name])[0],
        "us_per_picture": {str(batch): us for batch, us in net.us_per_picture.items()},
        "macs": net.macs,
        "parameters": net.parameters,
        "parity": net.parity,
        "training_s": net.description["seconds"],
        "temperature": temperature,
        "held_out_accuracy": accuracy(net.held_out, findings.data.held_out.labels),
        "test_accuracy": accuracy(test, labels),
        "test_calibration_error": calibration_error(test, labels, temperature),
        "test_calibration_error_uncalibrated": calibration_error(test, labels, 1.0),
    }


def _describe_cascade(findings: Findings, members: Sequence[str], plan: Plan) -> Facts:
    held_out = findings.replay_held_out(members, plan)
    test = findings.replay_test(members, plan)
    return {
        "members": list(members),
        "score": plan.score,
        "combine": plan.combine,
        "thresholds": list(plan.thresholds),
        "temperatures": list(plan.temperatures),
        "held_out_accuracy": held_out.accuracy,
        "test_accuracy": test.accuracy,
        "test_oracle": test.oracle,
        "test_reached": list(test.reached),
        "us": test.mean(findings.costs_us(members)),
        "macs": test.mean(findings.macs(members)),
    }


def _draw(facts: Facts, folder: Path) -> None:
    def point(item: Mapping[str, Any], name: str = "") -> Point:
        return Point(name, item["us"], item["test_accuracy"])

    prefix, cascade = facts["data"], facts["cascade"]
    named = facts["complementarity"]
    draw_complementarity(named["nets"], named["matrix"], folder / f"{prefix}-complementarity.png")
    draw_costs(
        [point(net, net["net"]) for net in facts["pool"]],
        [point(item) for item in facts["front"]],
        point(cascade),
        cascade["test_oracle"],
        folder / f"{prefix}-costs.png",
    )


def _write_csv(facts: Facts, folder: Path) -> Path:
    """One value a line, below `#` lines with the command and the machine."""
    machine = facts["machine"]
    versions = "-".join(f"{package}{machine[package]}" for package in PACKAGES)
    cpu = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)|@.*", " ", machine["cpu"].lower()))
    name = f"{BENCH}-{facts['data']}-{cpu.strip('-')}-{machine['cores']}cores-{versions}.csv"
    command = f"sparing train dual-cnn --data {facts['data']} --seed {facts['seed']}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        for key, value in {"bench": BENCH, "command": command, **machine}.items():
            file.write(f"# {key}: {value}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", "run", "metric", "value"])
        writer.writerows((case, 0, metric, f"{value:.6g}") for case, metric, value in _rows(facts))
    return folder / name


def _rows(facts: Facts) -> Iterator[tuple[str, str, float]]:
    cases = {net["net"]: net for net in facts["pool"]}
    cases["cascade " + " > ".join(facts["cascade"]["members"])] = facts["cascade"]
    cases |= {f"cascade, {rule}": cascade for rule, cascade in facts["rules"].items()}
    cases["cascade as a fraction of the large"] = facts["of_large"]
    cases["cascade as a fraction of the faster file of the large"] = {
        "us": facts["of_fastest_large"]
    }
    cases["cascade as a fraction of the rival"] = facts["of_rival"] or {}
    for case, values in cases.items():
        yield from ((case, key, v) for key, v in values.items() if isinstance(v, int | float))
        for batch, us in values.get("us_per_picture", {}).items():
            yield case, f"us_batch_{batch}", us


def _describe_machine() -> Facts:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{package: package_version(package) for package in PACKAGES},
    }


def _table(facts: Facts) -> Table:
    table = Table(title=f"{facts['data']}: the pool, the cascade, the rules it could combine by")
    for heading in ("", "held-out %", "test %", "MMACs", "µs"):
        table.add_column(heading, justify="right" if heading else "left")
    cascade = facts["cascade"]
    rows = {net["net"]: net for net in facts["pool"]}
    rows[f"{' > '.join(cascade['members'])} ({cascade['combine']})"] = cascade
    others = {rule: row for rule, row in facts["rules"].items() if rule != cascade["combine"]}
    rows |= {f"  the same, by {rule}": row for rule, row in others.items()}
    for name, row in rows.items():
        accuracies = (f"{row[f'{split}_accuracy']:.2%}" for split in ("held_out", "test"))
        table.add_row(name, *accuracies, f"{row['macs'] / 1e6:.2f}", f"{row['us']:.1f}")
    of_large, of_fastest = facts["of_large"], facts["of_fastest_large"]
    gap = cascade["test_oracle"] - cascade["test_accuracy"]
    table.caption = (
        f"{of_large['us']:.1%} of the time and {of_large['macs']:.1%} of the MACs of "
        f"{facts['large']}, {of_fastest:.1%} of the time of its faster file; a "
        f"perfect choice among its stages would gain {gap * 100:.2f} points"
    )
    return table
