"""Colours and patterns of a timeline in SVG: for paper and light screens, and for dark ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from collector.reports.timeline.palette import Look

_FONTS = 'system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",Helvetica,Arial,sans-serif'
_LIGHT = (
    f"text{{font-family:{_FONTS};fill:#1f2328}}",
    ".paper{fill:#ffffff}",
    ".title{font-size:17px;font-weight:600}",
    ".sub{font-size:11.5px;fill:#59636e}",
    ".legend{font-size:11px}",
    ".place{font-size:9px;fill:#7a838d;text-anchor:end}",
    ".source{font-size:11px;font-weight:600;fill:#59636e}",
    ".context{font-size:10.5px;font-weight:600}",
    ".tick{font-size:10.5px;fill:#59636e;text-anchor:middle}",
    ".foot{font-size:9px;fill:#7a838d}",
    ".state{font-weight:600;letter-spacing:.02em;pointer-events:none}",
    ".halo{stroke-width:3px;stroke-linejoin:round}",
    ".grid{fill:none;stroke:#e7eaee;shape-rendering:crispEdges}",
    ".strong{stroke:#c9d0d7}",
    ".rule{stroke:#d5dae0;shape-rendering:crispEdges}",
    ".absent,.outline{fill:none;stroke:#a3acb5}",
    ".s-unknown{fill:url(#timeline-unknown)}",
    ".u{fill:#f4f5f7}",
    ".v{stroke:#98a1ab;stroke-width:1.3}",
    ".s-gap{fill:#bcc3ca}",
    ".t-none{fill:#59636e}",
    ".h-unknown{fill:#f4f5f7;stroke:#f4f5f7}",
)
_DARK = (
    "text{fill:#e6edf3}",
    ".paper{fill:#0d1117}",
    ".sub,.tick,.source{fill:#9198a1}",
    ".place,.foot{fill:#7d8590}",
    ".grid{stroke:#21262d}",
    ".strong{stroke:#3d444d}",
    ".rule{stroke:#30363d}",
    ".absent,.outline{stroke:#5b646e}",
    ".u{fill:#161b22}",
    ".v{stroke:#666f7a}",
    ".s-gap{fill:#454c55}",
    ".t-none{fill:#9198a1}",
    ".h-unknown{fill:#161b22;stroke:#161b22}",
)
_MARKS = {
    "dots": (5, "M1.6 2.5h1.6M1.6 1.9h1.6"),
    "lines": (4, "M0 2H4"),
    "bars": (4, "M2 0V4"),
    "cross": (6, "M0 0L6 6M6 0L0 6"),
    "grid": (5, "M0 2.5H5M2.5 0V5"),
    "rings": (7, "M1.5 3.5a2 2 0 1 0 4 0a2 2 0 1 0-4 0"),
    "slant": (6, "M-1 1L1-1M0 6L6 0M5 7L7 5"),
}
"""Side of a pattern's square, and its drawing."""


def style_sheet(looks: Iterable[Look], name_size: float, state_size: float) -> str:
    """The classes of a state: s-… fills its bars, f-… and m-… are ground and marks of its pattern, t-… is text, h-… is
    around text."""
    of_states, of_states_in_the_dark = state_rules(looks)
    return "\n".join(
        [
            *_LIGHT,
            f".name{{font-size:{name_size:g}px}}",
            f".state{{font-size:{state_size:g}px}}",
            *of_states,
            # Only on screens, because prints are light, whatever the viewer prefers.
            "@media screen and (prefers-color-scheme:dark){",
            *_DARK,
            *of_states_in_the_dark,
            "}",
            "@media print{*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}",
        ]
    )


def page_style(looks: Iterable[Look]) -> str:
    """The style sheet of a page with drawings by `strip`, `swatch` and `inline`."""
    of_states, of_states_in_the_dark = state_rules(looks)
    texts = [f":where(.timeline) {rule}" for rule in _LIGHT if not rule.startswith(_OF_STATES)]
    texts += [".timeline .name{font-size:12px}", "text.state{font-size:9px}"]
    texts_in_the_dark = [f":where(.timeline) {rule}" for rule in _DARK if not rule.startswith(_OF_STATES)]
    return "\n".join(
        [
            *(rule for rule in _LIGHT if rule.startswith(_OF_STATES)),
            ".s-changing{fill:#24292f}",
            *texts,
            *of_states,
            "@media screen and (prefers-color-scheme:dark){",
            ".s-changing{fill:#f0f3f6}",
            *(rule for rule in _DARK if rule.startswith(_OF_STATES)),
            *texts_in_the_dark,
            *of_states_in_the_dark,
            "}",
        ]
    )


_OF_STATES = (".absent", ".s-", ".u{", ".v{", ".t-", ".h-")


def state_rules(looks: Iterable[Look]) -> tuple[list[str], list[str]]:
    """Rules for states, and their changes for dark screens."""
    light: list[str] = []
    dark: list[str] = []
    for look in looks:
        key, ground = look.key, "f" if look.mark else "s"
        light += [
            f".{ground}-{key}{{fill:{look.fill}}}",
            f".t-{key}{{fill:{look.ink}}}",
        ]
        if look.mark:
            light += [
                f".s-{key}{{fill:url(#timeline-{key})}}",
                f".m-{key}{{fill:none;stroke:{look.mark}}}",
                f".h-{key}{{fill:{look.fill};stroke:{look.fill}}}",
            ]
        if look.dark_fill:
            dark.append(f".{ground}-{key}{{fill:{look.dark_fill}}}")
        fill, ink = look.dark_fill or look.fill, look.dark_ink or look.ink
        dark.append(f".t-{key}{{fill:{ink}}}")
        if look.mark:
            dark.append(f".h-{key}{{fill:{fill};stroke:{fill}}}")
    return light, dark


def patterns(looks: Iterable[Look]) -> Iterator[str]:
    """The patterns that fills refer to, always including the hatching of unknown time."""
    yield (
        '<pattern id="timeline-unknown" width="4.5" height="4.5" patternUnits="userSpaceOnUse"'
        ' patternTransform="rotate(45)">'
        '<rect class="u" width="4.5" height="4.5"/><path class="v" d="M2 0V4.5"/></pattern>'
    )
    for look in looks:
        if look.mark:
            side, d = _MARKS[look.pattern]
            yield (
                f'<pattern id="timeline-{look.key}" width="{side}" height="{side}" patternUnits="userSpaceOnUse">'
                f'<rect class="f-{look.key}" width="{side}" height="{side}"/>'
                f'<path class="m-{look.key}" d="{d}"/></pattern>'
            )
