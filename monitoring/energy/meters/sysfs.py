"""Reads the kernel's small files; failures become sentences."""

from pathlib import Path

from monitoring.energy.meters.meter import MeterDenied, MeterFailed


def read_text(path: Path, grant: str = "") -> str:
    """Return the file's text without its end of line.

    Raises MeterFailed, or MeterDenied with `grant`, which explains how to permit reading.
    """
    try:
        return path.read_text().strip()
    except PermissionError:
        raise MeterDenied(f"this user may not read {path}{grant and '; '}{grant}") from None
    except OSError as error:
        raise MeterFailed(f"{path}: {error.strerror}") from None


def read_number(path: Path, grant: str = "") -> int:
    """Read an integer. Raises MeterFailed."""
    text = read_text(path, grant)
    try:
        return int(text)
    except ValueError:
        raise MeterFailed(f"{path} holds {text[:40]!r}, not a number") from None
