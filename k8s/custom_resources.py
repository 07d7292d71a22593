"""Custom resources against the schemas of their projects, by the npm packages @kubernetes-models.

Packages are installed once, outside the repository: where $SPARING_NODE says, or in the user's
cache. KServe's kinds have no such package; only the checks of this project hold them.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from k8s.rendering import Object

VERSIONS = {"keda": "2.0.0", "prometheus-operator": "6.0.0", "gateway-api": "2.0.0"}
KINDS = {"ScaledObject", "ServiceMonitor", "PrometheusRule", "HTTPRoute", "GRPCRoute"}
SCRIPT = Path(__file__).with_suffix(".mjs")
INSTALL_LIMIT_S = 600


def find_npm() -> str | None:
    """Return the path of npm, or None if it or node is missing."""
    return shutil.which("npm") if shutil.which("node") else None


def find_installed() -> Path | None:
    """Return the folder with the packages, or None if they are not installed yet."""
    folder = _folder()
    return folder if (folder / "node_modules" / ".package-lock.json").exists() else None


def _folder() -> Path:
    cache = Path(os.environ.get("SPARING_NODE", Path.home() / ".cache" / "sparing"))
    return cache / ("kubernetes-models-" + "-".join(VERSIONS.values()))


def install(npm: str) -> Path:
    """Return the folder with the packages, which the first call installs."""
    folder = _folder()
    if find_installed() is None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        names = [f"@kubernetes-models/{name}@{version}" for name, version in VERSIONS.items()]
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "-E", *names]
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_LIMIT_S
        )
    return folder


def judge(resources: Sequence[Object], installed: Path) -> list[str]:
    """Return a sentence for each resource of `KINDS`, empty where its schema takes it."""
    script = installed / SCRIPT.name
    shutil.copyfile(SCRIPT, script)
    done = subprocess.run(
        ["node", str(script)], input=json.dumps(resources), capture_output=True, text=True,
        check=False, cwd=installed,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"node: {done.stderr.strip()[-2000:]}")
    verdicts: list[str] = json.loads(done.stdout)
    return verdicts
