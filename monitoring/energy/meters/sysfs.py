"""Reading the kernel's small files, with sentences for what goes wrong."""

from pathlib import Path

from monitoring.energy.meters.meter import MeterDenied, MeterFailed


def read_text(path: Path, grant: str = "") -> str:
    """The file's text without its end of line. Raises MeterFailed, or MeterDenied, which says by
    `grant` how to be allowed to read it.
    """
    try:
        return path.read_text().strip()
    except PermissionError:
        raise MeterDenied(f"{path} may not be read by this user{grant and '; '}{grant}") from None
    except OSError as error:
        raise MeterFailed(f"{path}: {error.strerror}") from None


def read_number(path: Path, grant: str = "") -> int:
    """A whole number. Raises MeterFailed."""
    text = read_text(path, grant)
    try:
        return int(text)
    except ValueError:
        raise MeterFailed(f"{path} holds {text[:40]!r}, a number was expected") from None
