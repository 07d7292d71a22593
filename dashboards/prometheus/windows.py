"""Scaled Prometheus durations: at scale 60 an hour becomes a minute, so a test can wait for it."""

import re

_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"(\d+)(ms|s|m|h|d)")


class Windows:
    """`Windows(60)("1h")` is "1m"."""

    def __init__(self, scale: float = 1.0) -> None:
        if not 0.001 <= scale <= 100_000:
            raise ValueError(f"scale: given {scale}, allowed 0.001 to 100000")
        self.scale = scale

    def __call__(self, duration: str) -> str:
        return format_ms(max(1, round(parse_ms(duration) / self.scale)) if duration != "0s" else 0)


def parse_ms(duration: str) -> int:
    """Parse a duration such as "5m" or "1h30m" into milliseconds. Raises ValueError."""
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"duration: given {duration!r}, allowed such as 30s, 5m, 1h30m")
    return sum(int(number) * _MS[unit] for number, unit in parts)


def format_ms(duration_ms: int) -> str:
    """Format milliseconds in the shortest form: 5400000 becomes "1h30m"."""
    if duration_ms == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, duration_ms = divmod(duration_ms, _MS[unit])
        text += f"{count}{unit}" if count else ""
    return text
