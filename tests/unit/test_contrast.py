"""Colours of the report and the live page: every text and mark stands out from what it lies on (WCAG 2.2, AA)."""

import re

import pytest

from selfboost.live.app import FILES
from selfboost.report.figures import COLOURED, STYLE

TEXT, MARK = 4.5, 3.0
"""Least contrast of a text, and of a part of a drawing (success criteria 1.4.3 and 1.4.11)."""
GROUNDS = ("paper", "card")
TEXTS = ("ink", "muted", "a", "better", "worse")
ON = {"good": ("ink", "muted", "better", "worse"), "bad": ("ink", "muted", "better", "worse"), "warn": ("ink", "muted")}
"""Coloured ground → what is written on it."""


def palettes() -> dict[str, dict[str, str]]:
    """Scheme → name of a colour → its value, of both style sheets."""
    found: dict[str, dict[str, str]] = {"light": {}, "dark": {}}
    for sheet in (STYLE, FILES["/page.css"]):
        text = sheet.read_text(encoding="utf-8")
        for dark in re.findall(r"@media \(prefers-color-scheme: dark\) (\{(?:[^{}]*\{[^{}]*\})*\s*\})", text):
            text = text.replace(dark, "")
            found["dark"] |= colours(dark)
        found["light"] |= colours(text)
    return found


def colours(text: str) -> dict[str, str]:
    """Variables, and classes that are only a colour."""
    pattern = r"--(\w+): (#[0-9a-f]+)[;\s]|\.(\w) \{ color: (#[0-9a-f]+); \}"
    return {a or b: x or y for a, x, b, y in re.findall(pattern, text)}


def luminance(colour: str) -> float:
    """Relative luminance, from 0 to 1."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_the_standard_s() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_and_mark_stands_out(scheme: str) -> None:
    known = palettes()[scheme]
    assert {*GROUNDS, *TEXTS, *ON, *COLOURED, "e", "f"} <= known.keys()
    wanted = {(text, ground): TEXT for ground in GROUNDS for text in TEXTS}
    wanted |= {(text, ground): TEXT for ground, texts in ON.items() for text in texts}
    wanted |= {(mark, ground): MARK for ground in GROUNDS for mark in (*COLOURED, "e", "f") if mark not in TEXTS}
    found = {pair: contrast(known[pair[0]], known[pair[1]]) for pair in wanted}
    assert {pair: round(ratio, 2) for pair, ratio in found.items() if ratio < wanted[pair]} == {}
