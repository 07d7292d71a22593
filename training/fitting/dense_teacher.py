"""The trained dense net that a net with learners, and what it is compared with, begin from."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from tokens.foreign.directory import read_foreign
from tokens.vision_transformer import VisionTransformer, VitSpec


def load_teacher(path: Path, spec: VitSpec) -> VisionTransformer:
    """The trained dense net: of this architecture in a file, of its own in a directory.

    Raises ValueError in one sentence where it is another net, or does not fit `spec`'s pictures
    and classes.
    """
    if path.is_dir():
        return _check_fit(read_foreign(path), spec, path)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors ({error})") from error
    net = VisionTransformer(spec)
    for name, value in net.state_dict().items():
        found = weights.get(name)
        if found is None or found.shape != value.shape:
            given = "none" if found is None else str(list(found.shape))
            raise ValueError(
                f"{path}: not a teacher of this architecture: {name} is {given}, "
                f"{list(value.shape)} is needed"
            )
    if more := sorted(weights.keys() - net.state_dict().keys()):
        raise ValueError(f"{path}: not a teacher of this architecture: it has {more[0]} too")
    net.load_state_dict(weights)
    return net.eval()


def _check_fit(net: VisionTransformer, spec: VitSpec, path: Path) -> VisionTransformer:
    own = net.spec
    for what, given, needed in (
        ("pixels a side", own.size_px, spec.size_px),
        ("channels", len(own.mean), len(spec.mean)),
        ("classes", own.classes, spec.classes),
    ):
        if given != needed:
            raise ValueError(f"{path}: a net for {given} {what}, the data has {needed}")
    return net


def identify(path: Path, net: VisionTransformer) -> str:
    """The same for the same weights."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    digest = hashlib.sha256()
    for value in net.state_dict().values():
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]
