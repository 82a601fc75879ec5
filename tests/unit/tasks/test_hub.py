"""The loader of hub datasets, on local folders; nothing here needs a network."""

from pathlib import Path

import datasets
import huggingface_hub.constants
import pytest

from workbench.errors import TaskError
from workbench.tasks.hub import load_hub_rows


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


ADVICE = "Or do without: use --train FILE and --test FILE, or the task support_intents."


def test_class_numbers_become_names_and_hidden_labels_become_none() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    Path("set").mkdir()
    datasets.Dataset.from_dict(
        {"text": ["a", "b", "c", "d"], "label": [1, 0, -1, None]}, features=features
    ).to_parquet("set/train.parquet")

    assert load_hub_rows("set", split="train") == [
        {"text": "a", "label": "yes"},
        {"text": "b", "label": "no"},
        {"text": "c", "label": None},
        {"text": "d", "label": None},
    ]


def test_json_lines_are_read_from_a_folder() -> None:
    Path("set").mkdir()
    Path("set/test.jsonl").write_text('{"text": "a", "label": 1}\n')

    assert load_hub_rows("set", split="test") == [{"text": "a", "label": 1}]


def test_an_unknown_split_names_those_there_are() -> None:
    Path("set").mkdir()
    Path("set/train.jsonl").write_text('{"text": "a"}\n')

    with pytest.raises(TaskError) as error:
        load_hub_rows("set", split="test")

    assert str(error.value) == (
        "dataset set, split 'test': cannot be loaded: Unknown split \"test\". Should be one of "
        f"['train']. Correct the id, config or split, or update the revision. {ADVICE}"
    )


def test_an_unknown_config_names_those_there_are() -> None:
    Path("set").mkdir()
    Path("set/train.jsonl").write_text('{"text": "a"}\n')

    with pytest.raises(TaskError) as error:
        load_hub_rows("set", "rte", split="train")

    assert str(error.value) == (
        "dataset set (rte), split 'train': cannot be loaded: BuilderConfig 'rte' not found. "
        "Available: ['default']. Correct the id, config or split, or update the revision. "
        f"{ADVICE}"
    )


def test_without_a_network_the_message_says_what_else_to_do() -> None:
    with pytest.raises(TaskError) as error:
        load_hub_rows("owner/name", split="train")

    assert str(error.value) == (
        "dataset owner/name, split 'train': cannot be loaded: Couldn't reach 'owner/name' on the "
        "Hub (OfflineModeIsEnabled). It takes a network that reaches huggingface.co (and "
        f"HF_HUB_OFFLINE unset), or an earlier download in the cache. {ADVICE}"
    )


def test_a_file_that_does_not_parse_is_an_error_of_the_data() -> None:
    Path("set").mkdir()
    Path("set/train.parquet").write_text("no parquet")

    with pytest.raises(TaskError, match=r"^dataset set, split 'train': cannot be loaded: "):
        load_hub_rows("set", split="train")


def test_code_of_a_dataset_never_runs() -> None:
    Path("set").mkdir()
    Path("set/set.py").write_text("raise SystemExit('ran')")

    with pytest.raises(TaskError, match=r"^dataset set, split 'train': cannot be loaded: "):
        load_hub_rows("set", split="train")
