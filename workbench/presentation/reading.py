"""A reading: what one look at a prompt found, as plain data that every door can show or store."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from workbench.presentation.blocks import Chart, Table

LEVEL = 0.05
"""Up to which p-value a verdict says that a figure is beyond chance."""
NO_BETTER = "no better than chance"


class Standing(BaseModel):
    """A figure and its place among the same figures of a control.

    Attributes:
        what: Names the figure.
        value: The figure.
        control: Names the control.
        low: 5th percentile of the control; `median` is its 50th, `high` its 95th.
        percentile: Share of controls below the figure, from 0 to 100; ties count half.
        p_value: Chance of a control at least as extreme, on the side that counts as better.
        num_controls: How many there are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    value: float
    control: str
    low: float
    median: float
    high: float
    percentile: float
    p_value: float
    num_controls: int

    @property
    def is_better(self) -> bool:
        """Whether the figure is beyond chance at the 5 % level."""
        return self.p_value <= LEVEL

    @property
    def band(self) -> tuple[float, float, float]:
        """Where the control's band begins and ends and where the figure lies, in % of a strip."""
        low, high = min(self.low, self.value), max(self.high, self.value)
        margin = 0.06 * (high - low) or 1.0
        width = high - low + 2 * margin
        begin, end, at = (
            100 * (figure - low + margin) / width for figure in (self.low, self.high, self.value)
        )
        return begin, end, at

    @property
    def words(self) -> str:
        """Say so in plain words, figures included."""
        judged = "better than chance" if self.is_better else NO_BETTER
        return (
            f"{self.what} {self.value:.3g}: {judged} (5 to 95 % of {self.control}: "
            f"{self.low:.3g} to {self.high:.3g}; p = {self.p_value:.3g})"
        )


class Reading(BaseModel):
    """What one look at a prompt found.

    Attributes:
        name: What the catalog calls the reading.
        title: Heading.
        verdict: What it comes to, in plain words; says so where it is no better than chance.
        standings: Figures beside chance.
        tables: Tables to read and to export.
        charts: Charts to draw.
        notes: What the reading does and does not mean.
        data: Further figures for programs.
        of: What was read, and what it was held against, in a line.
        setting: Base, data and wording it was made on, in a line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    name: str
    title: str
    verdict: str
    standings: list[Standing] = []
    tables: list[Table] = []
    charts: list[Chart] = []
    notes: list[str] = []
    data: dict[str, Any] = {}
    of: str = ""
    setting: str = ""
