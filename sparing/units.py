"""Numbers with SI prefixes, so that little energy is 327 µJ and not 0.000327 J."""

_PREFIXES = (
    (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"),
    (1e-9, "n"),
)  # fmt: skip


def find_prefix(size: float) -> tuple[float, str]:
    """Return the factor and the letter of the prefix for a number of this size."""
    if size <= 0:
        return 1.0, ""
    return next((one for one in _PREFIXES if size >= one[0] * 0.9995), _PREFIXES[-1])


def show_digits(value: float) -> str:
    """Format a number with three digits, and more only before the point."""
    whole = abs(value) >= 100 or value == round(value)
    return f"{value:,.0f}" if whole else f"{value:.3g}"


def show_si(value: float, unit: str) -> str:
    """Format a number in a unit: 0.000327 and J become `327 µJ`."""
    factor, prefix = find_prefix(abs(value))
    return f"{show_digits(value / factor)} {prefix}{unit}"
