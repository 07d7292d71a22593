"""`python -m k8s.image.make [--target cpu] [--base IMAGE]`: builds the image from the Dockerfile.

Without --base the Dockerfile's own base is used if podman has it, else a Debian made by debootstrap
from this machine's package source, so that nothing need be pulled from a registry of images.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from k8s.image.podman import FOLDER, IMAGE, build, find_missing, has_image, podman

DEBIAN = "localhost/sparing-base:bookworm"
TARGETS = {"cpu": IMAGE, "cpu-torch": f"{IMAGE}-torch", "gpu": f"{IMAGE}-gpu"}
PACKAGES = "python3,python3-venv,ca-certificates"
SOURCES = Path("/etc/apt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--target", choices=TARGETS, default="cpu")
    parser.add_argument("--base", default="", help="the image that the Dockerfile begins with")
    options = parser.parse_args()
    if missing := find_missing():
        sys.exit(missing)
    try:
        base = options.base or find_base()
        began = time.monotonic()
        build(options.target, TARGETS[options.target], base)
    except RuntimeError as error:
        sys.exit(str(error))
    print(f"built {TARGETS[options.target]} on {base} in {time.monotonic() - began:.0f} s")


def find_base() -> str:
    """Return the Dockerfile's base if podman has it, else a Debian that is made now if need be.

    Raises RuntimeError if debootstrap is missing or fails.
    """
    dockerfile = (Path(__file__).parents[2] / "Dockerfile").read_text()
    own = re.search(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert own is not None
    if has_image(own[1]):
        return own[1]
    if not has_image(DEBIAN):
        make_debian()
    return DEBIAN


def make_debian() -> None:
    """Make a minimal Debian with Python and import it as an image."""
    if shutil.which("debootstrap") is None:
        raise RuntimeError("no debootstrap here: apt-get install debootstrap, or give --base")
    folder = FOLDER / "base"
    shutil.rmtree(folder, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(folder)]
    done = subprocess.run([*command, read_mirror()], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError("debootstrap failed:\n" + done.stdout[-2000:] + done.stderr[-2000:])
    for name in ("proc", "sys"):  # debootstrap may leave them mounted
        subprocess.run(["umount", str(folder / name)], capture_output=True, check=False)
    for path in (
        *folder.glob("var/cache/apt/archives/*.deb"),
        *folder.glob("var/lib/apt/lists/*_*"),
    ):
        path.unlink()
    archive = FOLDER / "base.tar"
    tar = ["tar", "-C", str(folder), "--one-file-system", "-cf", str(archive), "."]
    subprocess.run(tar, check=True)
    podman("import", str(archive), DEBIAN)
    archive.unlink()
    shutil.rmtree(folder)


def read_mirror(folder: Path = SOURCES) -> str:
    """Return the first package source that apt is set up with. Raises RuntimeError if none is."""
    for path in [*sorted(folder.glob("sources.list.d/*.sources")), folder / "sources.list"]:
        text = path.read_text() if path.exists() else ""
        found = re.search(r"^(?:URIs:\s*|deb\s+(?:\[[^\]]*\]\s+)?)(\S+)", text, re.MULTILINE)
        if found is not None:
            return found[1]
    raise RuntimeError("apt has no package source: give --base")


if __name__ == "__main__":
    main()
