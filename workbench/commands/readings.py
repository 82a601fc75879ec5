"""`workbench readings`: the readings of `inspect`, or the options of one."""

from typing import Annotated

import typer


def readings(
    name: Annotated[str | None, typer.Argument(help="Show the options of one reading.")] = None,
) -> None:
    """List the readings of `inspect`, or the options of one."""
    from workbench.commands.shared.listings import listing, print_listing, print_options
    from workbench.readings.catalog import READERS, reader_class

    if name is not None:
        print_options(reader_class(name))
        return
    table = listing("reading", "of", "takes", "what")
    for known in READERS:
        found = reader_class(known)
        table.add_row(known, found.kind, found.cost, found.summary)
    print_listing(table)
