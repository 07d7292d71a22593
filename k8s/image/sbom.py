"""`python -m k8s.image.sbom [IMAGE]`: the packages of an image, on standard output.

CycloneDX 1.6, which scanners read. Lists what is in the image, not what the lock files asked for:
Debian's packages from dpkg, Python's from their metadata.
"""

import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

from k8s.image.podman import IMAGE, find_missing, podman

_DEBIAN = "${Package}\t${Version}\t${Architecture}\n"
_PYTHON = (
    "import importlib.metadata as m\n"
    "for d in m.distributions(): print(d.name, d.version, sep='\\t')"
)


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else IMAGE
    if missing := find_missing():
        sys.exit(missing)
    try:
        print(json.dumps(make_sbom(name), indent=2))
    except RuntimeError as error:
        sys.exit(str(error))


def make_sbom(image: str) -> dict[str, Any]:
    """Return the document. Raises RuntimeError if the image is missing or cannot run."""
    components = [*_list_debian(image), *_list_python(image)]
    digest = podman("image", "inspect", "--format={{.Id}}", image)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # The same image gives the same document.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": image,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        },
        "components": sorted(components, key=lambda one: str(one["purl"])),
    }


def _list_debian(image: str) -> Iterator[dict[str, str]]:
    for line in _run(image, "dpkg-query", "--show", f"--showformat={_DEBIAN}").splitlines():
        name, version, architecture = line.split("\t")
        purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={architecture}"
        yield _component(name, version, purl)


def _list_python(image: str) -> Iterator[dict[str, str]]:
    for line in sorted(set(_run(image, "python", "-c", _PYTHON).splitlines())):
        name, version = line.split("\t")
        yield _component(name, version, f"pkg:pypi/{name.lower().replace('_', '-')}@{version}")


def _component(name: str, version: str, purl: str) -> dict[str, str]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _run(image: str, program: str, *arguments: str) -> str:
    options = ["--rm", "--pull=never", "--network=none", "--ulimit=nofile=4096:4096"]
    options += ["--ulimit=nproc=4096:4096", f"--entrypoint={program}"]
    return podman("run", *options, image, *arguments)


if __name__ == "__main__":
    main()
