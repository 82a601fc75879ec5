"""What there is, as a table in the terminal."""

import dataclasses
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def listing(*columns: str) -> Table:
    """Return an empty table with these columns."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_listing(table: Table) -> None:
    """Print a table as it is: no cell is markup."""
    Console().print(table, highlight=False, markup=False)


def print_options(found: type["DataclassInstance"]) -> None:
    """Print the options of a method or reading: default, what is allowed, and what it does."""
    table = listing("option", "default", "allowed", "what")
    for field in dataclasses.fields(found):
        bounds = field.metadata
        allowed = ", ".join(bounds["choices"] or ())
        if not allowed and (bounds["minimum"], bounds["maximum"]) != (None, None):
            low, high = bounds["minimum"], bounds["maximum"]
            allowed = f"{'' if low is None else low} … {'' if high is None else high}".strip()
        table.add_row(field.name, str(field.default), allowed, bounds["help"])
    print_listing(table)
