"""Formats numbers as text. Standard library only."""

DASH = "-"


def count(value: int | None) -> str:
    """An integer with thousands separators; `-` for None."""
    return DASH if value is None else f"{value:,}"


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
