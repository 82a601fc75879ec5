"""A process that fits every method that stores something and saves it: `saving.py BASE FOLDER`."""

import sys
from pathlib import Path

from toys import TOY_LABELS, TOY_TEMPLATE, open_tiny, toy_samples
from workbench.encoding import PromptEncoder
from workbench.fitting.base import FitContext, SupportsSave
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.engine import Engine
from workbench.tasks.base import DroppedRows, Task, TaskSource

QUICK = {"steps": 4, "batch_size": 2, "eval_every": 4}


def main(base_folder: Path, folder: Path) -> None:
    """Save what each method learned in a folder of its name."""
    base = open_tiny(base_folder)
    task = Task(
        name="toy",
        kind="classification",
        labels=TOY_LABELS,
        field_names=("text",),
        train=toy_samples("train", 4),
        dev=toy_samples("dev", 2),
        test=toy_samples("test", 2),
        source=TaskSource("embedded", "tests", "none"),
        dropped=DroppedRows({}),
    )
    encoder = PromptEncoder(base.tokenizer, TOY_TEMPLATE, task)
    for name in METHODS:
        if not issubclass(method_class(name), SupportsSave):
            continue
        declared = method_class(name).__dataclass_fields__
        targets = {"targets": "all_linear"} if "targets" in declared else {}
        method = make_method(name, QUICK | targets)
        context = FitContext(Engine(base), encoder, 0, folder / name)
        method.save(context, method.fit(context), folder / name / "adapter")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
