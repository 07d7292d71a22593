"""`python -m k8s.check [--mutations]`: renders every overlay and the chart, and checks them.

Each line is one check with its verdict; exit code 1 if one fails. A check whose program is missing
says so and does not count as passed. With --mutations it also puts faults into the rendered
objects, counts how many the checks find, and writes docs/reports/kubernetes.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import yaml

from k8s.charting import compare
from k8s.checks.everything import find_faults
from k8s.checks.monitoring import find_queries
from k8s.checks.objects import Rendered
from k8s.custom_resources import KINDS, find_npm, install, judge
from k8s.mutation_report import write_report
from k8s.rendering import CHARTED, OVERLAYS, render_chart, render_overlay, write
from k8s.tools import KUBERNETES, ROOT, find_tool

# What checkov finds and this project decides otherwise, each with its reason.
ACCEPTED = {
    "CKV_K8S_11": "no CPU limit: throttling delays answers, and requests guarantee a share",
    "CKV_K8S_43": "an image by digest: only the one who pushes an image knows its digest",
    "CKV_K8S_15": "imagePullPolicy Always: a pinned image need not be pulled again",
    "CKV_K8S_35": "secrets as files: the server's are; Valkey's password is only a variable",
}


class Missing(Exception):
    """A program that a check needs is not here; the message is a sentence."""


def check_objects() -> Iterator[str]:
    for name in OVERLAYS:
        yield from (f"{name}: {fault}" for fault in find_faults(render_overlay(name)))


def check_chart() -> Iterator[str]:
    for name in CHARTED:
        yield from (f"{name}: {fault}" for fault in compare(name))
        yield from (f"chart {name}: {fault}" for fault in find_faults(render_chart(name)))


def check_strictly() -> Iterator[str]:
    for name in OVERLAYS:
        done = _run("kubernetes-validate", ["--strict", "--kubernetes-version", KUBERNETES], name)
        if done.returncode != 0:
            yield from (
                f"{name}: {line}" for line in done.stdout.splitlines() if "INFO" not in line
            )


def check_custom_resources() -> Iterator[str]:
    npm = find_npm()
    if npm is None:
        raise Missing("npm is missing, which brings the schemas of custom resources")
    try:
        folder = install(npm)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Missing("npm cannot install the schemas of custom resources") from error
    found = [one for name in OVERLAYS for one in render_overlay(name) if one["kind"] in KINDS]
    for thing, verdict in zip(found, judge(found, folder), strict=True):
        if verdict:
            yield f"{thing['kind']}: {verdict}"


def check_security() -> Iterator[str]:
    skip = ["--skip-check", ",".join(ACCEPTED)]
    options = ["--framework", "kubernetes", "--compact", "--quiet", "--skip-download", *skip]
    for name in OVERLAYS:
        done = _run("checkov", options, name, "-f")
        if done.returncode != 0:
            yield f"{name}: {done.stdout.strip()[-3000:]}"


def check_dockerfile() -> Iterator[str]:
    hadolint = find_tool("hadolint")
    if hadolint is None:
        raise Missing("hadolint is missing: make k8s-tools")
    done = subprocess.run(
        [str(hadolint), "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    yield from done.stdout.splitlines()


def check_queries() -> Iterator[str]:
    """Let promtool read the rules, and the queries of the scalers as rules."""
    promtool = shutil.which("promtool")
    if promtool is None:
        raise Missing("promtool is missing: apt-get install prometheus")
    for name in OVERLAYS:
        rendered = Rendered(render_overlay(name))
        groups = [
            group for rule in rendered.of("PrometheusRule") for group in rule["spec"]["groups"]
        ]
        asked = [
            {"record": f"scaler:{number}", "expr": query}
            for number, (_, query) in enumerate(find_queries(rendered))
        ]
        groups += [{"name": "scalers", "rules": asked}] if asked else []
        if not groups:
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            yaml.safe_dump({"groups": groups}, file)
            file.flush()
            done = subprocess.run(
                [promtool, "check", "rules", file.name], capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            yield f"{name}: {done.stderr.strip()}"


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "overlays: objects with each other and with the settings": check_objects,
    "chart: the same objects as the overlays": check_chart,
    "kubernetes-validate --strict": check_strictly,
    "custom resources with their own schemas": check_custom_resources,
    "promtool: rules and the scalers' queries": check_queries,
    "checkov": check_security,
    "hadolint": check_dockerfile,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--mutations", action="store_true", help="measure the checks themselves")
    options = parser.parse_args()
    try:
        failed = sum(not run_check(title, check) for title, check in CHECKS.items())
        if options.mutations:
            print(write_report())
    except RuntimeError as error:
        sys.exit(str(error))
    sys.exit(1 if failed else 0)


def run_check(title: str, check: Callable[[], Iterator[str]]) -> bool:
    """Run a check and print its verdict; False if it found a fault."""
    try:
        faults = list(check())
    except Missing as missing:
        print(f"not run: {title}: {missing}", flush=True)
        return True
    print(f"{'WRONG' if faults else 'right'}: {title}", flush=True)
    for fault in faults:
        print(f"    {fault}", flush=True)
    return not faults


def _run(
    program: str, options: list[str], overlay: str, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program on the file of a rendered overlay."""
    path = find_tool(program)
    if path is None:
        raise Missing(f"{program} is missing: make k8s-tools")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(write(render_overlay(overlay)))
        file.flush()
        names = [before, file.name] if before else [file.name]
        return subprocess.run(
            [str(path), *options, *names], capture_output=True, text=True, check=False,
            env={**os.environ, "BC_SKIP_MAPPING": "TRUE"},
        )  # fmt: skip


if __name__ == "__main__":
    main()
