"""What stands below a figure and above a table: of what it is, and what makes it again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.presentation.display import one_line


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What a figure or table is of; what is empty is left out.

    Attributes:
        task: Name of the data.
        num_items: Items that every figure is of (n); None where they differ or are none.
        seeds: Of the runs.
        base: Name of the base.
        precision: Of its weights, with what products are taken in.
        made_by: Versions of the workbench with their commits.
        command: The line that makes it again.
    """

    task: str = ""
    num_items: int | None = None
    seeds: tuple[int, ...] = ()
    base: str = ""
    precision: str = ""
    made_by: tuple[str, ...] = ()
    command: str = ""

    @property
    def facts(self) -> str:
        """All but the command as one sentence: "n = 198 test items of sst2; seeds 0, 1; …."."""
        parts = [
            self._items(),
            seeds_text(self.seeds),
            " in ".join(one_line(part) for part in (self.base, self.precision) if part),
            "workbench " + " and ".join(map(one_line, self.made_by)) if self.made_by else "",
        ]
        text = "; ".join(part for part in parts if part)
        return f"{text}." if text else ""

    @property
    def text(self) -> str:
        """Everything as plain text, the command on a line of its own."""
        command = f"Made by: {one_line(self.command)}" if self.command else ""
        return "\n".join(part for part in (self.facts, command) if part)

    def _items(self) -> str:
        of = f" of {one_line(self.task)}" if self.task else ""
        if self.num_items is None:
            return f"task {one_line(self.task)}" if self.task else ""
        return f"n = {self.num_items:,} test items{of}"


NO_CAPTION = Caption()


def seeds_text(seeds: Sequence[int]) -> str:
    """Return "seed 0" or "seeds 0, 1"; nothing without any."""
    known = sorted(set(seeds))
    return f"seed{'' if len(known) == 1 else 's'} {', '.join(map(str, known))}" if known else ""


def each_once(texts: Iterable[str]) -> tuple[str, ...]:
    """Return texts in their order, each once and none empty."""
    return tuple(dict.fromkeys(text for text in texts if text))
