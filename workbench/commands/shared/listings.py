"""What there is, as a table in the terminal."""

from rich.console import Console
from rich.table import Table

from workbench.options import declared_options


def listing(*columns: str) -> Table:
    """Return an empty table with these columns."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_listing(table: Table) -> None:
    """Print a table as it is: no cell is markup."""
    Console().print(table, highlight=False, markup=False)


def print_options(found: type) -> None:
    """Print the options of a method or reading: default, what is allowed, and what it does."""
    table = listing("option", "default", "allowed", "what")
    for option in declared_options(found).values():
        allowed = ", ".join(option.choices or ()) or option.bounds
        table.add_row(option.name, str(option.default), allowed, option.help)
    print_listing(table)
