"""A process that fits every method that stores something and saves it: `saving.py BASE FOLDER`."""

import sys
from pathlib import Path

from toys import TOY_TEMPLATE, make_toy_task, open_tiny
from workbench.encoding import PromptEncoder
from workbench.fitting.base import FitContext, SupportsSave
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.engine import Engine

QUICK = {"steps": 4, "batch_size": 2, "eval_every": 4}


def main(base_folder: Path, folder: Path) -> None:
    """Save what each method learned in a folder of its name."""
    base = open_tiny(base_folder)
    task = make_toy_task(4, 2, 2)
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
