"""Formats of numbers in the sentences and tables of a comparison."""

from collections.abc import Callable

from src.statistics import Interval
from src.wording import minus, points


def plus_minus(mean: float, half_width: float | None = None, sign: str = "", digits: int = 2) -> str:
    """0.62 ± 0.03. With `sign` "+" the mean always has a sign."""
    text = minus(f"{mean:{sign}z,.{digits}f}")
    return text if half_width is None else f"{text} ± {half_width:,.{digits}f}"


def p_value(p: float | None) -> str:
    """0.0312 -> 0.031. Values below 0.001 become < 0.001, and an unknown one a dash."""
    if p is None:
        return "–"
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def interval(found: Interval, form: Callable[[float], str] = points) -> str:
    """−1.15 to +0.20 points. A dash if there is no interval."""
    if found.low is None or found.high is None:
        return "–"
    return f"{form(found.low).removesuffix(' points')} to {form(found.high)}"
