"""Formats numbers as text. Standard library only."""

DASH = "-"
_UNITS = ("kB", "MB", "GB", "TB", "PB")


def count(value: int | None) -> str:
    """An integer with thousands separators; `-` for None."""
    return DASH if value is None else f"{value:,}"


def size(value: float | None) -> str:
    """Bytes as `3.4 MB`, with three significant digits, as the pages of `/ui` have them; `-` for None."""
    if value is None:
        return DASH
    if value < 1000:
        return f"{value:.0f} bytes"
    digits, exponent = f"{value:.2e}".split("e")
    unit = min(int(exponent) // 3, len(_UNITS))
    return f"{float(digits) * 10.0 ** (int(exponent) - 3 * unit):g} {_UNITS[unit - 1]}"


def figure(value: float | None) -> str:
    """A number with four significant digits; `-` for None."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference with its sign; `-` for None."""
    return DASH if value is None else f"{value:+.4f}"


def percent(value: float | None) -> str:
    """A percentage with its sign; `-` for None."""
    return DASH if value is None else f"{value:+.2f} %"
