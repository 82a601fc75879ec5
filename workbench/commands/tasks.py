"""`workbench tasks`: the tasks of the catalog."""

from rich.console import Console


def tasks() -> None:
    """List the tasks of the catalog."""
    from workbench.commands.shared.listings import listing, print_listing
    from workbench.tasks.catalog import list_tasks

    table = listing("name", "kind", "labels", "fields", "from", "licence", "what")
    for task in list_tasks():
        source = task.source
        table.add_row(
            task.name,
            task.kind,
            str(len(task.labels)) if task.labels else "–",
            ", ".join(task.fields) or "text",
            source.hub_id or source.kind,
            task.licence,
            " ".join(task.description.split()),
        )
    print_listing(table)
    Console().print("Your own data: workbench evaluate --train FILE --label-column NAME")
