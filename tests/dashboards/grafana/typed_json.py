"""Grafana's own TypeScript types, and a compiler that holds JSON to them. Needs npm.

Packages are installed once, outside the repository: where $SPARING_NODE says, or in the user's
cache. The types name strings by enums, which JSON cannot; `Loose` takes the strings themselves.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

SCHEMA, TYPESCRIPT = "13.2.3", "5.9.3"
DASHBOARD = "./node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen"
PANELS = "@grafana/schema/dist/esm/raw/composable"
CONFIG = {
    "compilerOptions": {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": True,
        "types": [],
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
    },
    "files": ["check.ts"],
}
LOOSE = """
type Loose<T> = unknown extends T ? T : T extends string ? `${T}` : T extends (infer U)[] ?
  Loose<U>[] : T extends object ? { [K in keyof T]: Loose<T[K]> } : T;
type Part<T> = T extends (infer U)[] ? Part<U>[] :
  T extends object ? { [K in keyof T]?: Part<T[K]> } : T;
"""


def find_npm() -> str | None:
    return shutil.which("npm")


def install(npm: str) -> Path:
    """The folder with Grafana's types and the compiler, installed with the first call."""
    cache = Path(os.environ.get("SPARING_NODE", Path.home() / ".cache" / "sparing"))
    folder = cache / f"grafana-schema-{SCHEMA}-typescript-{TYPESCRIPT}"
    if not (folder / "node_modules" / ".package-lock.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        names = [f"@grafana/schema@{SCHEMA}", f"typescript@{TYPESCRIPT}"]
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "-E", *names]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder


def check(installed: Path, folder: Path, imports: str, values: dict[str, object]) -> list[str]:
    """What the compiler says of constants, given by type, in a folder of its own."""
    link = folder / "node_modules"
    if not link.exists():
        link.symlink_to(installed / "node_modules")
    constants = [
        f"export const value{number}: {kind} = {json.dumps(value, indent=1)};"
        for number, (kind, value) in enumerate(values.items())
    ]
    (folder / "check.ts").write_text("\n".join([imports, LOOSE, *constants]))
    (folder / "tsconfig.json").write_text(json.dumps(CONFIG))
    command = [str(link / ".bin" / "tsc"), "-p", ".", "--pretty", "false"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    return done.stdout.splitlines()
