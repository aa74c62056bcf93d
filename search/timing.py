"""An experiment that times something and trains nothing: what a file in `experiments/` may return in place of an Experiment.

    def select_cpu() -> Timing:
        '''Is it faster to train a tree by multiplying all its nodes, or by gathering the visited rows?'''
        return Timing(rows=rows, x="depth", y="milliseconds", line=("device", "form"))

Its docstring is its question. `python -m search.run NAME` times it; its rows go into a folder beside the store, not into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from results.errors import InputError

Row = dict[str, int | float | str]
"""One line of the table: names and figures."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Rows of figures, and which of their columns the picture shows.

    Raises:
        InputError: no column to tell lines apart, or a column named for two things.
    """

    rows: Callable[[], Iterator[Row]]
    """Times, and gives each row as soon as it is known. All rows have the same keys."""
    x: str
    """The column along which is drawn: numbers."""
    y: str
    """The column that is drawn, on a logarithmic scale: numbers above 0, their unit as the name."""
    line: tuple[str, ...]
    """The columns that name a line of the picture."""
    quartiles: tuple[str, str] | None = None
    """The columns of the lower and the upper quartile of `y`, drawn as a band."""
    settings: Mapping[str, int | float | str] = field(default_factory=dict)
    """What is the same in all rows."""
    about: str = ""
    """What is timed and what is not, in a sentence or two, printed under the question."""
    name: str = ""
    question: str = ""

    def __post_init__(self) -> None:
        if not self.line:
            raise InputError('A timing must name the columns that tell its lines apart in "line", but got none.')
        named = (self.x, self.y, *self.line, *(self.quartiles or ()))
        if len(set(named)) < len(named):
            raise InputError(f"The columns of a timing must differ from one another, but got {', '.join(named)}.")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that every row must have."""
        return (self.x, self.y, *self.line, *(self.quartiles or ()))
