"""What the pictures of a report share: their look, and how they get into a page.

Colours are Okabe and Ito's, as in the pictures of `results.plots`. Text and axes have the colour of the page's text
(`currentColor`), so that one picture is right on a light page, on a dark one and on paper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from results.export import json_value
from results.plots.colouring import colouring
from results.plots.style import MARKERS, families, styles_of
from results.table import Table
from results.text import missing, plain

TEXT = "currentColor"
LEGEND_COLUMNS = 5
"""Names side by side that a chart of half a page has room for, if they are kinds."""
LEGEND_WIDTH = 76
"""Characters that it has room for side by side, each name's mark with `LEGEND_MARK` of them."""
LEGEND_MARK = 5
HEIGHT = 300
CROSS = "M-1,-0.7L-0.7,-1L0,-0.3L0.7,-1L1,-0.7L0.3,0L1,0.7L0.7,1L0,0.3L-0.7,1L-1,0.7L-0.3,0Z"
RING = "M1,0A1,1,0,1,1,-1,0A1,1,0,1,1,1,0ZM0.6,0A0.6,0.6,0,1,0,-0.6,0A0.6,0.6,0,1,0,0.6,0Z"
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", CROSS)
"""In the order of `results.plots.style.MARKERS`."""
ACCURACY_COLOURS = ("#E69F00", "#8c8c8c", "#0072B2")
"""From the least accurate to the most: told apart by the colour-blind, and seen on white and on dark pages."""
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": TEXT, "titleColor": TEXT, "domainColor": TEXT, "tickColor": TEXT, "gridColor": TEXT,
        "gridOpacity": 0.12, "domainOpacity": 0.5, "tickOpacity": 0.5, "labelFontSize": 11, "titleFontSize": 12,
        "titleFontWeight": "normal", "titlePadding": 8, "labelOverlap": True,
    },
    "axisX": {"grid": False},
    "legend": {
        "labelColor": TEXT, "titleColor": TEXT, "orient": "top", "labelFontSize": 12, "title": None, "labelLimit": 220,
        "symbolStrokeWidth": 1.6,
    },
    "text": {"color": TEXT},
    "rule": {"color": TEXT},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture of a report."""

    name: str
    title: str
    says: str
    """How it is to be read, and what it leaves out."""
    chart: Any
    """An altair chart of one view, or of layers."""
    height: int = HEIGHT
    is_wide: bool = False
    """Whether it wants the page's whole width."""
    spec: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        chart = self.chart.properties(width="container", height=self.height)
        # unvalidated: that would hold every row of the data against the schema, seconds for a thousand trials
        spec: dict[str, Any] = chart.to_dict(validate=False)
        spec.pop("$schema")
        object.__setattr__(self, "spec", {**spec, "config": CONFIG})


@cache
def libraries() -> str:
    """The JavaScript of vega, vega-lite and vega-embed, for a `<script>` of a page: it names no source outside itself."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", r"<\/script").replace("<!--", r"<\!--")


def values(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    """Rows as data inside the picture: what is missing or not finite becomes null, text loses its control characters."""
    told = [
        {key: plain(value) if isinstance(value, str) else json_value(value) for key, value in row.items()}
        for row in rows
    ]
    return alt.Data(values=told)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Families:
    """The names by which points are coloured: the same colour and shape for a kind, or a variant, in every picture."""

    names: tuple[str, ...]
    variants: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Colour and marker of each name where names are those of variants, because all are of one kind."""

    def colour(self, shown: Collection[str]) -> alt.Color:
        """The colour of a row's `family`; the legend has those that are shown."""
        colours = [colour for colour, _ in self._styles()]
        return alt.Color("family:N", scale=self._scale([TEXT if each == "#000000" else each for each in colours]),
                         legend=self._legend(shown))  # fmt: skip

    def shape(self, shown: Collection[str]) -> alt.Shape:
        """The shape of a row's `family`, for grey print."""
        shapes = [SHAPES[MARKERS.index(marker)] for _, marker in self._styles()]
        return alt.Shape("family:N", scale=self._scale(shapes), legend=self._legend(shown))

    def _styles(self) -> list[tuple[str, str]]:
        styles = self.variants or styles_of(self.names)
        return [styles[name] for name in self.names]

    def _scale(self, values: Sequence[str]) -> alt.Scale:
        return alt.Scale(domain=list(self.names), range=list(values))

    def _legend(self, shown: Collection[str]) -> alt.Legend:
        named = [name for name in self.names if name in shown]
        if self.variants and named:
            longest = LEGEND_MARK + max(map(len, named))
            return alt.Legend(values=named, columns=max(1, LEGEND_WIDTH // longest))
        return alt.Legend(values=named, columns=LEGEND_COLUMNS if len(named) > LEGEND_COLUMNS else alt.Undefined)

    @classmethod
    def of(cls, names: Collection[str]) -> Families:
        """In their sorted order, as in `results.plots`."""
        return cls(tuple(sorted({plain(name) for name in names})))


def coloured(trials: pd.DataFrame, table: Table) -> tuple[dict[str, str], Families]:
    """The name by which each trial is coloured, by its id, and what these names look like, as in `results.plots`."""
    found = colouring(trials, table)
    if found.by_variant:
        return dict(found.names), Families(tuple(found.styles), found.styles)
    names = family_of(trials)
    return names, Families.of(names.values())


def family_of(trials: pd.DataFrame) -> dict[str, str]:
    """The family of each trial by its id; of imported ones the architecture that their file names."""
    found = families(trials) if len(trials) else pd.Series(dtype=object)
    if "arch" in trials and "ffn" not in trials:
        found = trials["arch"].map(lambda name: "unknown" if missing(name) else str(name))
    return {str(trial): plain(name) for trial, name in zip(trials["id"], found, strict=True)}


def by_family() -> tuple[Any, alt.Parameter]:
    """An opacity that a click on a family in the legend changes, and the parameter that the chart needs for it."""
    picked = alt.selection_point(fields=["family"], bind="legend", name="family_picked")
    return alt.condition(picked, alt.value(0.95), alt.value(0.08)), picked


def accuracy(field_name: str, title: str = "validation accuracy (%)", **more: Any) -> alt.Y:
    """The vertical axis of values in percent, which need not begin at 0."""
    return alt.Y(f"{field_name}:Q", title=title, scale=alt.Scale(zero=False, nice=True), **more)


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """The lines of a tooltip: titles by the field's name; underscores stand for spaces."""
    return [alt.Tooltip(f"{name}:N", title=title.replace("_", " ")) for name, title in fields.items()]
