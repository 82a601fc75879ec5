"""Tables and charts as plain data, which every door can show, draw or store."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.estimates import Estimate

Cell = str | int | float | None


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")


class Table(_Data):
    """Columns and rows; None is no figure.

    Attributes:
        title: Heading.
        columns: Names of the columns.
        rows: One cell per column.
        note: What to know when reading it.
        slots: The virtual token each row is about, where rows can be clicked; else empty.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""
    slots: list[int] = []


class Heatmap(_Data):
    """Values on a grid.

    Attributes:
        title: Heading.
        x: Label of the columns; `y` is that of the rows.
        columns: Names of the columns.
        rows: Names of the rows.
        values: Per row one value per column; None is no figure.
        low: The value drawn palest; None takes the smallest.
        high: The value drawn darkest; None takes the largest.
        note: What to know when reading it.
    """

    kind: Literal["heatmap"] = "heatmap"
    title: str
    x: str
    y: str
    columns: list[str]
    rows: list[str]
    values: list[list[float | None]]
    low: float | None = None
    high: float | None = None
    note: str = ""


class Line(_Data):
    """One line of a chart, with an interval where there is one; `low` and `high` may be empty."""

    name: str
    x: list[float]
    y: list[float]
    low: list[float] = []
    high: list[float] = []


def line_of(name: str, x: Sequence[float], estimates: Sequence[Estimate]) -> Line:
    """Return a line through estimates, with a band if every one of them has an interval."""
    intervals = [(e.low, e.high) for e in estimates if e.low is not None and e.high is not None]
    banded = intervals if len(intervals) == len(estimates) else []
    return Line(
        name=name,
        x=list(x),
        y=[e.value or 0.0 for e in estimates],
        low=[low for low, _ in banded],
        high=[high for _, high in banded],
    )


class Lines(_Data):
    """Lines over a common axis.

    Attributes:
        title: Heading.
        x: Label of the x axis; `y` is that of the y axis.
        lines: What is drawn.
        is_percent: Whether y is a fraction to show in percent.
        note: What to know when reading it.
    """

    kind: Literal["lines"] = "lines"
    title: str
    x: str
    y: str
    lines: list[Line]
    is_percent: bool = False
    note: str = ""


class Bar(_Data):
    """A named figure with its interval; `is_notable` bars are drawn in the accent colour."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    is_notable: bool = False


class Bars(_Data):
    """Named figures with intervals along one axis.

    Attributes:
        title: Heading.
        x: Label of the axis.
        bars: The bars from top to bottom.
        reference: A value to compare with, drawn as a dashed line.
        is_percent: Whether the figures are fractions to show in percent.
        note: What to know when reading it.
    """

    kind: Literal["bars"] = "bars"
    title: str
    x: str
    bars: list[Bar]
    reference: float | None = None
    is_percent: bool = False
    note: str = ""


class Point(_Data):
    """A point of a map: where it is and what it is.

    Attributes:
        x: Place on the x axis; `y` is the one on the y axis.
        text: Shown at the point.
        about: Shown when the pointer rests on it.
        slot: The virtual token it stands for, or None.
    """

    x: float
    y: float
    text: str = ""
    about: str = ""
    slot: int | None = None


class Layer(_Data):
    """Points that belong together, with a path through them if they were passed in order."""

    name: str
    role: Literal["vocabulary", "prompt", "other", "path", "control"]
    points: list[Point]


class Map(_Data):
    """A projection to the plane.

    Attributes:
        title: Heading.
        method: How it was projected.
        layers: The layers from bottom to top.
        note: How faithful it is.
    """

    kind: Literal["map"] = "map"
    title: str
    method: str
    layers: list[Layer]
    note: str = ""


Chart = Annotated[Heatmap | Lines | Bars | Map, Field(discriminator="kind")]
