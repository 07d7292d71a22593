"""Picture files give the rows that the server gives, and faults are sentences."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.manifest import PictureSpec
from importing import picture_files
from importing.onnx_files.faults import ImportFault
from importing.picture_files import read_picture, read_size
from importing.samples import find_sizes, read_samples
from serving.pictures.pictures import open_picture, read_row

NOISE = np.random.default_rng(0).integers(0, 256, (8, 12, 4), dtype=np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def _palette() -> Image.Image:
    return Image.fromarray(NOISE[..., :3]).quantize(16)


FILES: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "RGB": (Image.fromarray(NOISE[..., :3]), {}),
    "RGBA": (Image.fromarray(NOISE), {}),
    "grey with alpha": (Image.fromarray(NOISE[..., 2:].copy(), "LA"), {}),
    "16 bits": (Image.fromarray(NOISE[..., 0].astype(np.uint16) * 200), {}),
    "palette": (_palette(), {}),
    "transparent palette": (_palette(), {"transparency": 3}),
    "turned": (Image.fromarray(NOISE[..., :3]), {"exif": TURNED}),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_gives_the_servers_row(kind: str, channels: Any, tmp_path: Path) -> None:
    image, options = FILES[kind]
    file = BytesIO()
    image.save(file, "PNG", **options)
    (tmp_path / "a.png").write_bytes(file.getvalue())
    spec = PictureSpec(height=6, width=10, channels=channels)
    served: npt.NDArray[np.uint8] = read_row(open_picture(file.getvalue(), spec), spec)
    found = read_picture(tmp_path / "a.png", (10, 6), "L" if channels == 1 else "RGB")
    np.testing.assert_allclose(found.astype(int), served, atol=1)


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    Image.fromarray(NOISE[..., :3]).save(tmp_path / "a.jpg", exif=TURNED)
    assert read_size(tmp_path / "a.jpg") == (12, 8)


def test_sizes_are_those_of_all_classes(tmp_path: Path) -> None:
    for name, width in (("a", 8), ("b", 9)):
        (tmp_path / name).mkdir()
        for place in range(60):
            Image.new("L", (width, 5), place).save(tmp_path / name / f"{place:02}.png")
    Image.new("L", (7, 5)).save(tmp_path / "b" / "59.png")
    found = find_sizes(read_samples(str(tmp_path)), most=10)
    assert found == {(5, 8), (5, 9), (5, 7)}


def test_a_huge_picture_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(picture_files, "MAX_PIXELS", 40 * 39)
    words = r"a\.png: is too large: 40×40 pixels, allowed are 1,560"
    with pytest.raises(ImportFault, match=words):
        read_size(tmp_path / "a.png")
    with pytest.raises(ImportFault, match=words):
        read_picture(tmp_path / "a.png", (8, 8), "L")


@pytest.mark.parametrize("limit", [100, 1000])  # Pillow raises above twice its limit, else warns
def test_a_picture_above_pillows_limit_is_a_sentence(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    if limit == 1000:
        assert read_size(tmp_path / "a.png") == (40, 40)
        return
    with pytest.raises(ImportFault, match="is too large"):
        read_size(tmp_path / "a.png")


def test_a_file_of_another_format_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    with pytest.raises(ImportFault, match="is no picture"):
        read_size(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of the damage
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_damaged_file_is_a_sentence(kind: str, tmp_path: Path) -> None:
    file = BytesIO()
    Image.fromarray(NOISE[..., :3]).save(file, kind)
    path = tmp_path / "a.png"
    for length in range(0, len(file.getvalue()) // 2, 5):
        path.write_bytes(file.getvalue()[:length])
        with pytest.raises(ImportFault, match="is no picture"):
            read_picture(path, (8, 8), "RGB")
