"""Charts as inline SVG: only numbers and our own words go in, colours come from the style sheet's classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

MOST_POINTS = 240


def track(bars: Iterable[tuple[str, float, float]], total: float) -> Markup:
    """Return a line with bars of a class each, from a start to an end on a scale from 0 to `total`."""
    rects = Markup("").join(
        Markup('<rect class="{}" x="{:.3f}%" y="0" width="{:.3f}%" height="100%"/>').format(
            kind, 100 * start / total, 100 * (end - start) / total
        )
        for kind, start, end in bars
        if total > 0
    )
    return Markup('<svg class="track" aria-hidden="true" focusable="false">{}</svg>').format(rects)


def stack(parts: Sequence[tuple[str, float]], total: float) -> Markup:
    """Return one bar of parts that follow each other, on a scale from 0 to `total`."""
    bars, start = [], 0.0
    for kind, size in parts:
        bars.append((kind, start, start + max(0.0, size)))
        start += max(0.0, size)
    return track(bars, total)


def area(points: Sequence[tuple[float, float]], label: str) -> Markup:
    """Return the area below a line through points (x, y) from (0, 0) on that never fall; `label` says what it shows."""
    # An import of one moment has no extent to divide by.
    width, height = max(points[-1][0], 1e-9), max(points[-1][1], 1e-9)
    # More points than a screen is wide only make the page larger.
    step = max(1, -(-len(points) // MOST_POINTS))
    chosen = [*points[:-1:step], points[-1]]
    line = " ".join(f"{100 * x / width:.2f},{100 - 100 * y / height:.2f}" for x, y in chosen)
    return Markup(
        '<svg class="area" role="img" aria-label="{}" viewBox="0 0 100 100" preserveAspectRatio="none">'
        '<polygon points="0,100 {} 100,100"/><polyline points="{}" vector-effect="non-scaling-stroke"/></svg>'
    ).format(label, line, line)


def columns(values: Sequence[float], label: str) -> Markup:
    """Return a column for each value, the highest as high as the chart; `label` says what it shows."""
    highest = max([*values, 0.0]) or 1.0
    rects = Markup("").join(
        Markup('<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"/>').format(
            10 * place + 1, 40 - 40 * value / highest, 8, 40 * value / highest
        )
        for place, value in enumerate(values)
    )
    return Markup(
        '<svg class="columns" role="img" aria-label="{}" viewBox="0 0 {} 40" preserveAspectRatio="none">'
        '<line x1="0" y1="40" x2="{}" y2="40" vector-effect="non-scaling-stroke"/>{}</svg>'
    ).format(label, 10 * len(values), 10 * len(values), rects)
