"""What a list says of the runs that it leaves out."""

from rich.console import Console

from workbench.runs.store import BrokenRun


def print_broken(console: Console, broken: list[BrokenRun]) -> None:
    """Print a line for each run that a list leaves out because it cannot be read."""
    for run in broken:
        console.print(run.sentence, style="yellow", highlight=False, markup=False, soft_wrap=True)
