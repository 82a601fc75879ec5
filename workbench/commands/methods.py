"""`workbench methods`: the methods, or the options of one."""

from typing import Annotated

import typer

from workbench.errors import ConfigError, unknown_name


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the options of one method.")] = None,
) -> None:
    """List the methods, or the options of one."""
    from workbench.commands.shared.listings import listing, print_listing, print_options
    from workbench.methods.catalog import METHODS, method_class

    if name is None:
        table = listing("method", "changes", "what")
        for known in METHODS:
            found = method_class(known)
            table.add_row(known, found.family, found.summary)
        print_listing(table)
        return
    if name not in METHODS:
        raise ConfigError(unknown_name("method", name, METHODS))
    print_options(method_class(name))
