"""Rows of a dataset of the Hugging Face Hub, or of a local copy of one.

The only module that imports `datasets`. Code of a dataset never runs: scripts are refused by the
library and there is no option here that could allow them.
"""

import datasets
from datasets.exceptions import DatasetsError

from workbench.errors import TaskError
from workbench.tasks.rows import Row


def load_hub_rows(
    hub_id: str, config: str | None = None, *, split: str, revision: str | None = None
) -> list[Row]:
    """Return the rows of one split, with the names of class labels in place of their numbers.

    Args:
        hub_id: `owner/name` on the Hub, or a local folder with Parquet, JSONL or CSV files.
        config: Configuration (subset) of the dataset; None for its default.
        split: Name of the split there.
        revision: Commit, tag or branch; None for the newest.

    Raises:
        TaskError: the dataset, the configuration or the split cannot be had; says what else to do.
    """
    try:
        loaded = datasets.load_dataset(hub_id, config, split=split, revision=revision)
        rows: list[Row] = loaded.to_list()
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise TaskError(_problem(hub_id, config, split=split, error=error)) from error
    for column, feature in loaded.features.items():
        if isinstance(feature, datasets.ClassLabel):
            for row in rows:
                row[column] = _label_name(feature, row[column])
    return rows


def _label_name(feature: datasets.ClassLabel, number: object) -> str | None:
    """Return the name of a class number; -1 stands for a hidden label, which is no label."""
    if not isinstance(number, int) or number < 0:
        return None
    name: str = feature.int2str(number)
    return name


def _problem(hub_id: str, config: str | None, *, split: str, error: Exception) -> str:
    name = hub_id if config is None else f"{hub_id} ({config})"
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if isinstance(error, OSError):  # not reachable and not found look alike from here
        advice = (
            "It takes a network that reaches huggingface.co (and HF_HUB_OFFLINE unset), or an "
            "earlier download in the cache."
        )
    else:
        advice = "Correct the id, config or split, or update the revision."
    return (
        f"dataset {name}, split '{split}': cannot be loaded: {reason}. {advice} "
        "Or do without: use --train FILE and --test FILE, or the task support_intents."
    )
