"""A base in memory, as Python holds it."""

import os
from html import escape

from transformers.utils import logging as transformers_logging

from workbench.errors import ConfigError
from workbench.memory import keep_freed_memory
from workbench.models.loading import BaseInfo
from workbench.readings.inspector import Inspector
from workbench.runs.experiment import Experiment
from workbench.runs.session import memory_text
from workbench.serving.desk import ModelDesk
from workbench.startup import quiet_libraries, say
from workbench.yaml_files import check_mapping

_OPTIONS = {"model", "revision", "precision", "compute_dtype", "device", "weights_in_memory"}


class OpenBase:
    """A base in memory; it leaves it when nothing refers to this object any more.

    Calls that use one base from several threads wait for each other.

    Args:
        asked: Says which base; its rows are nobody's concern.

    Attributes:
        desk: Its owner.
    """

    def __init__(self, asked: Experiment) -> None:
        self._asked = asked
        self._inspector: tuple[int, Inspector] | None = None
        # On the calling thread, which is the one that Ctrl-C interrupts.
        self.desk = ModelDesk(is_direct=True)
        self._info = self.desk.call(lambda: self.desk.engine(asked)).info

    @property
    def info(self) -> BaseInfo:
        """What is known about the base: source, precision, sizes in bytes, context in tokens."""
        return self._info

    @property
    def options(self) -> dict[str, object]:
        """How it was asked for, as an experiment says it."""
        return self._asked.model_dump(include=_OPTIONS)

    def inspector(self, num_items: int) -> Inspector:
        """Return what makes readings on it that are scored on so many test items.

        Raises:
            ConfigError: fewer than two.
        """
        if isinstance(num_items, bool) or not isinstance(num_items, int) or num_items < 2:
            raise ConfigError(f"num_items: {num_items!r}; a whole number from 2 up is needed.")
        if self._inspector is None or self._inspector[0] != num_items:
            # Only the last one: each holds an embedding table of its own.
            self._inspector = num_items, Inspector(self.desk, num_items)
        return self._inspector[1]

    def __repr__(self) -> str:
        info = self._info
        return (
            f"{info.name} · {info.precision} (products in {info.compute_dtype}) · {info.device} · "
            f"{memory_text(info)}"
        )

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def open_base(
    model: str | os.PathLike[str] = "smollm2-135m-instruct",
    *,
    precision: str = "nf4",
    revision: str | None = None,
    compute_dtype: str = "auto",
    device: str = "auto",
    weights_in_memory: str = "auto",
    progress: bool = True,
) -> OpenBase:
    """Load a base and return it; the same one serves any number of comparisons and questions.

    Args:
        model: A base of the catalog, the id of one at the hub, or a folder.
        precision: "nf4", "fp4", "int8", "bf16" or "fp32": storage of its linear layers.
        revision: Of a base at the hub.
        compute_dtype: "auto", "float32", "bfloat16" or "float16": what products are computed in.
        device: "auto", "cpu" or "cuda".
        weights_in_memory: "auto", "packed" or "restored": how 4-bit weights are kept on a CPU.
        progress: Say on stderr that it is being loaded.

    Raises:
        ConfigError: no such base, precision or device.
        ModelError: its weights are not at hand, or it cannot be run exactly.
    """
    given = {
        "model": os.fspath(model),
        "precision": precision,
        "revision": revision,
        "compute_dtype": compute_dtype,
        "device": device,
        "weights_in_memory": weights_in_memory,
    }
    asked = check_mapping(given, Experiment, where="open_base")
    quiet_libraries()
    transformers_logging.disable_progress_bar()  # ours says what is being loaded
    keep_freed_memory()
    if progress:
        say(f"loading base {asked.model} …")
    return OpenBase(asked)
