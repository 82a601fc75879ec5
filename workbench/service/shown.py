"""What a public page shows of runs and comparisons: all but where things lie on the server.

What is kept stays as it is: options hold the folders a run needs to be asked again, and the
traceback of an error is for whoever looks after the server.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.analysis.results import Comparison
from workbench.errors import without_folders
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunRecord, StoredRun

_OF_A_RUN = re.compile(r"(?<=[^\s/])/adapter(?=,|$)")  # whose folder says which run it is
_TRACEBACK = "Traceback (most recent call last)"


def shown_run(run: StoredRun) -> StoredRun:
    """Return a run to be shown, and for nothing else: without folders, an error by its last line.

    A message that is no traceback keeps all its lines.
    """
    record = run.record
    if record.error is not None and _TRACEBACK in record.error:
        last = (record.error.strip().splitlines() or [""])[-1]
        record = record.model_copy(update={"error": last})
    return replace(
        run,
        spec=RunSpec(**_without_folders(run.spec.model_dump())),
        record=RunRecord(**_without_folders(record.model_dump())),
    )


def shown_comparison(comparison: Comparison) -> Comparison:
    """Return a comparison to be shown or reported; what was asked and answered stays as it is."""
    base, template = comparison.base, comparison.template
    rows, details = comparison.rows, comparison.details
    return replace(
        comparison,
        base=base.model_copy(update=_without_folders(base.model_dump())),
        source=without_folders(comparison.source),
        template=template.model_copy(update=_without_folders(template.model_dump())),
        warnings=_without_folders(comparison.warnings),
        rows=tuple(replace(row, options=_without_folders(row.options)) for row in rows),
        details=tuple(
            replace(
                detail,
                environment=_without_folders(detail.environment),
                cautions=_without_folders(detail.cautions),
            )
            for detail in details
        ),
        failed=tuple(replace(one, reason=without_folders(one.reason)) for one in comparison.failed),
    )


def _without_folders(value: Any) -> Any:
    """Return plain data with every text in it cut, keys too."""
    if isinstance(value, str):
        return without_folders(_OF_A_RUN.sub("", value) if value.startswith("/") else value)
    if isinstance(value, Mapping):
        return {_without_folders(key): _without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_folders(one) for one in value)
    return value
