"""Adapters of strangers: genuine exports pass, and nothing else is read, run or written."""

import json
import os
import stat
import struct
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load, load_file, save

from torn import flip
from toys import export_lora, export_prompt
from workbench.errors import ModelError, StoreError
from workbench.models.adapters import reading
from workbench.models.adapters.reading import check_adapter, check_imported, import_adapter
from workbench.models.adapters.tensors import pattern_value

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
LORA = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 16,
    "target_modules": ["q_proj"],
}
PROMPT = {
    "peft_type": "PROMPT_TUNING",
    "task_type": "CAUSAL_LM",
    "num_virtual_tokens": 3,
    "token_dim": 4,
}


def lora_tensors(**changes) -> dict[str, torch.Tensor]:
    """Return A and B of one module; `a` and `b` replace them."""
    tensors = {"a": torch.arange(16.0).view(2, 8), "b": torch.ones(6, 2)} | changes
    return {f"{MODULE}.lora_{side.upper()}.weight": tensor for side, tensor in tensors.items()}


def write_folder(folder: Path, config: object = LORA, weights: object = None, **extra) -> Path:
    """Write an adapter; a config or weights in bytes are written as they are."""
    folder.mkdir(exist_ok=True)
    weights = lora_tensors() if weights is None else weights
    is_text = isinstance(config, bytes)
    (folder / CONFIG).write_bytes(config if is_text else json.dumps(config).encode())
    (folder / WEIGHTS).write_bytes(weights if isinstance(weights, bytes) else save(weights))
    for name, content in extra.items():
        (folder / name).write_bytes(content)
    return folder


def write_zip(path: Path, entries: dict[object, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip; keys are names or `ZipInfo`."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def genuine(prefix: str = "") -> dict[object, bytes]:
    """Return the two files of a good adapter by their names in a zip."""
    return {
        f"{prefix}{CONFIG}": json.dumps(LORA).encode(),
        f"{prefix}{WEIGHTS}": save(lora_tensors()),
    }


def refusal(source: Path, tmp_path: Path) -> str:
    """Return why an adapter is refused, after the name of its source; nothing may be written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError) as caught:
        import_adapter(source, tmp_path / "store")
    assert sorted(tmp_path.rglob("*")) == before
    kind, name = ("folder", source) if source.is_dir() else ("zip", source.name)
    prefix = f"adapter {kind} {name}"
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


# What passes


def test_a_lora_of_plain_peft_is_rebuilt_from_its_checked_fields(lora_export, tmp_path):
    folder, summary = import_adapter(lora_export, tmp_path)

    assert folder == tmp_path / summary.digest
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]
    assert json.loads((folder / CONFIG).read_text()) == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 4,
        "lora_alpha": 8.0,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj", "v_proj"],
        "use_rslora": False,
        "fan_in_fan_out": False,
        "bias": "none",
    }
    theirs, ours = load_file(lora_export / WEIGHTS), load_file(folder / WEIGHTS)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs | ours)
    assert (summary.kind, summary.rank, summary.targets) == ("lora", 4, ("q_proj", "v_proj"))
    assert (summary.num_virtual_tokens, summary.width) == (None, None)
    assert summary.num_parameters == 2 * 4 * (64 + 64 + 64 + 32)
    assert isinstance(PeftConfig.from_pretrained(folder), LoraConfig)


def test_a_soft_prompt_of_plain_peft_is_rebuilt_from_its_checked_fields(tiny_folder, tmp_path):
    export = export_prompt(tiny_folder, tmp_path / "export")

    folder, summary = import_adapter(export, tmp_path / "store")

    assert json.loads((folder / CONFIG).read_text()) == {
        "peft_type": "PROMPT_TUNING",
        "task_type": "CAUSAL_LM",
        "num_virtual_tokens": 5,
        "token_dim": 64,
        "num_transformer_submodules": 1,
    }
    assert (summary.kind, summary.num_virtual_tokens, summary.width) == ("prompt_tuning", 5, 64)
    assert (summary.rank, summary.targets, summary.num_parameters) == (None, (), 320)


GENUINE_OPTIONS = {
    "no task type": {"task_type": None},
    "all linear layers": {"target_modules": "all-linear"},
    "rank-stabilised": {"use_rslora": True, "lora_alpha": 3.5, "lora_dropout": 0.1},
    "other start": {"init_lora_weights": "gaussian"},
    "one layer": {"target_modules": ["layers.1.mlp.up_proj"]},
}


@pytest.mark.parametrize("options", GENUINE_OPTIONS.values(), ids=GENUINE_OPTIONS)
def test_genuine_loras_of_many_kinds_pass(options, tiny_folder, tmp_path):
    export = export_lora(tiny_folder, tmp_path / "export", **options)

    folder, summary = import_adapter(export, tmp_path / "store")

    assert check_adapter(export) == summary
    assert check_adapter(folder).digest == summary.digest


def test_an_imported_folder_is_found_again_and_passes_its_own_checks(tmp_path):
    source = write_folder(tmp_path / "source")

    folder, summary = import_adapter(source, tmp_path / "store")
    again, _ = import_adapter(folder, tmp_path / "store")

    assert again == folder
    assert check_adapter(folder) == summary
    assert [path.name for path in (tmp_path / "store").iterdir()] == [summary.digest]


def test_an_imported_adapter_is_read_again_only_after_it_changed(tmp_path, monkeypatch):
    folder, _ = import_adapter(write_folder(tmp_path / "source"), tmp_path / "store")
    read, read_files = [], reading.read_adapter_files

    def noted(source: Path) -> object:
        read.append(source)
        return read_files(source)

    monkeypatch.setattr(reading, "read_adapter_files", noted)
    for _ in range(3):
        check_imported(folder)

    assert read == [folder]
    flip(folder / WEIGHTS, 1.0)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"damaged since it was imported\. Import it again\."):
            check_imported(folder)


def test_equal_weights_of_another_base_keep_its_name_beside_and_one_digest(tmp_path):
    sources = {
        base: write_folder(tmp_path / base[-3:], {**LORA, "base_model_name_or_path": base})
        for base in ("acme/base-one", "acme/base-two")
    }

    made = {base: import_adapter(source, tmp_path / "store") for base, source in sources.items()}
    again = {base: import_adapter(source, tmp_path / "store") for base, source in sources.items()}

    assert again == made
    assert {base: check_adapter(folder).base_name for base, (folder, _) in made.items()} == {
        base: base for base in sources
    }
    assert {import_adapter(folder, tmp_path / "store")[0] for folder, _ in made.values()} == {
        folder for folder, _ in made.values()
    }
    assert len({check_adapter(folder).digest for folder, _ in made.values()}) == 1
    assert len({folder for folder, _ in made.values()}) == 2


def test_imports_of_one_adapter_at_once_end_in_one_folder(tmp_path):
    source = write_folder(tmp_path / "source")

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: import_adapter(source, tmp_path / "store"), range(24)))

    ((folder, summary),) = found
    assert [path.name for path in (tmp_path / "store").iterdir()] == [summary.digest]
    assert check_adapter(folder) == summary


@pytest.mark.parametrize("prefix", ["", "my adapter/", "runs/a/adapter/"])
def test_a_zip_is_the_same_adapter_as_its_folder(prefix, tmp_path):
    parents = {prefix: b""} if prefix else {}
    extra = {f"{prefix}README.md": b"# mine", f"__MACOSX/{prefix}._{CONFIG}": b"\0"}
    path = write_zip(tmp_path / "mine.ZIP", parents | genuine(prefix) | extra)

    assert check_adapter(path) == check_adapter(write_folder(tmp_path / "folder"))


def test_other_numbers_or_settings_make_another_digest(tmp_path):
    changes = [
        (LORA, lora_tensors()),
        (LORA, lora_tensors(b=torch.zeros(6, 2))),
        (LORA, lora_tensors(b=torch.ones(6, 2, dtype=torch.float16))),
        ({**LORA, "lora_alpha": 8}, lora_tensors()),
    ]

    digests = {
        check_adapter(write_folder(tmp_path / str(i), *change)).digest
        for i, change in enumerate(changes)
    }

    assert len(digests) == 4


def test_all_linear_becomes_the_names_in_the_weights(tmp_path):
    source = write_folder(tmp_path / "source", {**LORA, "target_modules": "all-linear"})

    folder, summary = import_adapter(source, tmp_path / "store")

    assert summary.targets == ("q_proj",)
    assert json.loads((folder / CONFIG).read_text())["target_modules"] == ["q_proj"]


def test_the_name_of_the_base_is_one_safe_line_and_is_not_kept(tmp_path):
    config = {**LORA, "base_model_name_or_path": "some/\u202emodel\n\x1b[31m" + 300 * "x"}
    source = write_folder(tmp_path / "source", config)

    folder, summary = import_adapter(source, tmp_path / "store")

    assert summary.base_name == ("some/ model [31m" + 300 * "x")[:200]
    assert "base_model" not in (folder / CONFIG).read_text()


def test_where_nothing_can_be_written_the_place_is_named(tmp_path):
    (tmp_path / "store").write_text("a file")

    with pytest.raises(StoreError, match=r"store/\w{12}: cannot be written"):
        import_adapter(write_folder(tmp_path / "source"), tmp_path / "store")


# Files


def test_a_pickled_adapter_is_refused(tmp_path):
    source = write_folder(tmp_path / "source")
    (source / WEIGHTS).rename(source / "adapter_model.bin")

    assert refusal(source, tmp_path) == (
        ": holds no adapter_model.safetensors. Exactly one adapter_config.json and one "
        "adapter_model.safetensors are needed, as PEFT's save_pretrained writes them. Weights in "
        "pickle formats can run code and parts are not put together here: load the adapter with "
        "PEFT and save it again with save_pretrained, which writes one file."
    )


CODE_NAMES = (
    *("adapter_model.bin", "a.PT", "a.pth", "a.pkl", "a.ckpt", "a.npz", "a.npy", "a.msgpack"),
    *("a.h5", "modeling.py", "a.so", "a.joblib"),
)


@pytest.mark.parametrize("name", CODE_NAMES)
def test_files_that_can_run_code_are_refused_beside_good_ones_in_a_zip_too(name, tmp_path):
    packed = write_zip(tmp_path / "a.zip", genuine() | {f"deep/{name}": b"x"})

    problem = f": holds '{name}', which no adapter needs. Only safetensors are read: "
    assert refusal(packed, tmp_path).startswith(problem)


def test_unknown_files_of_a_zip_are_refused_all_at_once(tmp_path):
    extra = {"new_embeddings.safetensors": b"", "notes.docx": b"", "README.md": b""}

    assert refusal(write_zip(tmp_path / "a.zip", genuine() | extra), tmp_path) == (
        ": holds 'new_embeddings.safetensors', 'notes.docx', which no adapter needs. Keep "
        "adapter_config.json and adapter_model.safetensors (cards, tokenizers, logs and a "
        "trainer's state may stay) and leave the rest out."
    )


def test_of_a_folder_only_the_two_files_are_opened_whatever_lies_beside(monkeypatch, tmp_path):
    plain = check_adapter(write_folder(tmp_path / "plain"))
    beside = (*CODE_NAMES, *LEFT_BESIDE, "notes.docx", "new_embeddings.safetensors", "no suffix")
    source = write_folder(tmp_path / "source", **dict.fromkeys(beside, WOULD_RUN))
    opened, really = [], os.open

    def noted(path, *args, **options):
        opened.append(Path(path))
        return really(path, *args, **options)

    monkeypatch.setattr(os, "open", noted)

    assert check_adapter(source) == plain
    assert opened == [source / CONFIG, source / WEIGHTS]


LEFT_BESIDE = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja", "README.md", "LICENSE"),
    *("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "rng_state_3.pth"),
    *("training_args.bin", "trainer_state.json", "all_results.json", "._README.md"),
    # LLaMA-Factory, Axolotl, DeepSpeed and ms-swift
    *("training_loss.png", "training_eval_loss.png", "llamaboard_config.yaml", "running_log.txt"),
    *("config.json", "debug.log", "args.json", "training_params.json", "axolotl_config.yml"),
    *("zero_to_fp32.py", "logging.jsonl", "random_states_0.pkl", "mp_rank_00_model_states.pt"),
    *("bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "runs.csv", "loss curve.jpg"),
    *("tekken.json", "qwen.tiktoken", "video_preprocessor_config.json", "tokenizer.model.v3"),
)
WOULD_RUN = b"cos\nabort\n(tR."  # a pickle that would end the process


@pytest.mark.parametrize("is_zip", [False, True])
def test_what_trainers_leave_beside_an_adapter_is_passed_over_unopened(is_zip, tmp_path):
    plain = check_adapter(write_folder(tmp_path / "plain"))
    extra = dict.fromkeys(LEFT_BESIDE, WOULD_RUN)
    older = dict.fromkeys((CONFIG, WEIGHTS, "optimizer.pt"), b"{}")
    if is_zip:
        older = {f"out/checkpoint-5/{name}": content for name, content in older.items()}
        left = {f"out/{name}": content for name, content in extra.items()}
        source = write_zip(tmp_path / "a.zip", genuine("out/") | left | older)
    else:
        source = write_folder(tmp_path / "source", **extra)
        (source / "checkpoint-5").mkdir()
        for name, content in older.items():
            (source / "checkpoint-5" / name).write_bytes(content)
        for name in LEFT_BESIDE:
            (source / name).chmod(0)

    folder, summary = import_adapter(source, tmp_path / "store")

    assert summary == plain
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]


def test_where_the_adapter_lies_in_a_folder_below_the_folders_are_named(tmp_path):
    (tmp_path / "out").mkdir()
    write_folder(tmp_path / "out" / "checkpoint-20")
    write_folder(tmp_path / "out" / "checkpoint-40")

    assert refusal(tmp_path / "out", tmp_path).endswith(
        "In it are the folders 'checkpoint-20', 'checkpoint-40': give the one you mean."
    )


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(name, tmp_path):
    source = write_folder(tmp_path / "source")
    (source / name).unlink()

    assert refusal(source, tmp_path) == (
        f": holds no {name}. Exactly one adapter_config.json and one adapter_model.safetensors are "
        "needed, as PEFT's save_pretrained writes them."
    )


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "README.md"])
def test_a_link_in_a_folder_is_refused(name, tmp_path):
    source = write_folder(tmp_path / "source", **{"README.md": b""})
    (source / name).rename(tmp_path / "elsewhere")
    (source / name).symlink_to(tmp_path / "elsewhere")

    assert refusal(source, tmp_path) == (
        f": {name!r} is a link. Only plain files are read, and links of the Hub's cache; copy what "
        "it points to into the folder."
    )


def in_the_hubs_cache(root: Path, target: str | None = None) -> Path:
    """Return a snapshot as the Hub's client keeps it; `target` is where the config's link leads."""
    repository = root / "models--someone--adapter"
    snapshot, blobs = repository / "snapshots" / ("a" * 40), repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for digit, (name, content) in enumerate(genuine().items()):
        (blobs / (str(digit) * 40)).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{str(digit) * 40}")
    if target is not None:
        for place in (root / "secret", blobs / "plainly", root / ("0" * 40)):
            place.write_bytes(json.dumps(LORA).encode())
        (snapshot / CONFIG).unlink()
        (snapshot / CONFIG).symlink_to(target)
    return snapshot


def test_links_of_the_hubs_cache_are_followed(tmp_path):
    plain = check_adapter(write_folder(tmp_path / "plain"))

    assert check_adapter(in_the_hubs_cache(tmp_path)) == plain


LEADING_OUT = {
    "of the machine's root": "/etc/passwd",
    "of the cache": "../../../secret",
    "of the repository's folder": f"../../../{'0' * 40}",
    "by a detour": "../../blobs/../../secret",
    "to no content": "../../blobs/plainly",
    "to nothing": f"../../blobs/{'9' * 40}",
    "through another link": f"../../blobs/{'7' * 40}",
}


@pytest.mark.parametrize("target", LEADING_OUT.values(), ids=LEADING_OUT)
def test_links_that_lead_out_of_the_hubs_cache_are_refused(target, tmp_path):
    snapshot = in_the_hubs_cache(tmp_path, target)
    (snapshot.parents[1] / "blobs" / ("7" * 40)).symlink_to(tmp_path / "secret")

    assert refusal(snapshot, tmp_path).startswith(f": {CONFIG!r} is a link. ")


def test_a_cache_whose_contents_lie_elsewhere_is_no_cache(tmp_path):
    snapshot = in_the_hubs_cache(tmp_path)
    blobs = snapshot.parents[1] / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")

    assert refusal(snapshot, tmp_path).startswith(f": {CONFIG!r}, {WEIGHTS!r} is a link. ")


def test_pipes_in_a_folder_are_refused(tmp_path):
    piped = write_folder(tmp_path / "piped")
    (piped / WEIGHTS).unlink()
    os.mkfifo(piped / WEIGHTS)

    assert refusal(piped, tmp_path).startswith(f": {WEIGHTS!r} is no plain file.")


def test_a_folder_of_many_files_is_not_looked_through(tmp_path):
    source = write_folder(tmp_path / "source", **{f"{i}.txt": b"" for i in range(210)})

    assert refusal(source, tmp_path) == (
        ": holds more than 200 files; at most 200 are looked at. Keep adapter_config.json and "
        "adapter_model.safetensors only."
    )


@pytest.mark.parametrize("name", ["nowhere", "a.safetensors", "a\0b"])
def test_a_source_that_is_neither_folder_nor_zip_is_refused(name, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(save(lora_tensors()))

    with pytest.raises(ModelError, match=r"is no folder and no \.zip file") as caught:
        import_adapter(tmp_path / name, tmp_path / "store")

    assert str(caught.value).endswith(
        "Give a folder, or a zip, with adapter_config.json and adapter_model.safetensors."
    )


# Zips


def info(name: str, **fields) -> zipfile.ZipInfo:
    """Return an entry whose name is written as it is, and whose fields are forged."""
    entry = zipfile.ZipInfo("x")
    entry.filename = name
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def forge(path: Path, name: str, *, offset: int, form: str, value: int) -> Path:
    """Overwrite a field of an entry in the table of contents of a zip."""
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    while content[at + 46 :][: len(name)] != name.encode():
        at = content.index(b"PK\x01\x02", at + 1)
    struct.pack_into(form, content, at + offset, value)
    path.write_bytes(content)
    return path


LEADING_ELSEWHERE = (
    *("../adapter_config.json", "a/../../adapter_config.json", "./adapter_config.json", ".."),
    *("/adapter_config.json", "//server/adapter_config.json", "a//adapter_config.json"),
    *("..\\adapter_config.json", "\\adapter_config.json", "a\\adapter_config.json"),
    *("C:adapter_config.json", "c:/adapter_config.json", "adapter_config.json\0.txt"),
    300 * "a" + "/adapter_config.json",
)


@pytest.mark.parametrize("name", LEADING_ELSEWHERE)
def test_names_that_lead_elsewhere_are_refused(name, tmp_path):
    entries = {info(name): json.dumps(LORA).encode(), WEIGHTS: save(lora_tensors())}

    message = refusal(write_zip(tmp_path / "a.zip", entries), tmp_path)

    assert message.startswith(": entry '")
    assert message.endswith(
        "is no plain relative name. Only plain files are read, stored or deflated, without a "
        "password; zip the two files again."
    )


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
@pytest.mark.parametrize("name", [WEIGHTS, "README.md"])
def test_links_and_devices_in_a_zip_are_refused(name, mode, tmp_path):
    link = info(name, external_attr=(mode | 0o777) << 16)
    entries = {key: content for key, content in genuine().items() if key != name}

    message = refusal(write_zip(tmp_path / "a.zip", {**entries, link: b"/etc/passwd"}), tmp_path)

    assert message.startswith(f": entry {name!r} is a link or a device, not a file. ")


def test_an_encrypted_zip_is_refused(tmp_path):
    path = forge(write_zip(tmp_path / "a.zip", genuine()), WEIGHTS, offset=8, form="<H", value=1)

    assert refusal(path, tmp_path).startswith(f": entry {WEIGHTS!r} is encrypted. ")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_packing_is_refused(method, tmp_path):
    path = write_zip(tmp_path / "a.zip", genuine(), method)

    assert refusal(path, tmp_path).startswith(f": entry {CONFIG!r} is packed in an unusual way. ")


def test_a_zip_bomb_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", {**genuine(), WEIGHTS: bytes(10_000_000)})

    assert refusal(path, tmp_path).startswith(
        f": entry {WEIGHTS!r} unpacks to more than 200 times its size. "
    )


def test_a_zip_bomb_that_claims_to_be_small_is_not_unpacked_further(tmp_path):
    path = write_zip(tmp_path / "a.zip", {**genuine(), WEIGHTS: bytes(50_000_000)})
    forge(path, WEIGHTS, offset=24, form="<I", value=1_000_000)

    tracemalloc.start()
    message = refusal(path, tmp_path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert message == ": is damaged (BadZipFile). Zip or download it again."
    assert peak_bytes < 5_000_000


def test_a_file_shorter_than_it_claims_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", genuine())
    forge(path, WEIGHTS, offset=24, form="<I", value=1000)

    assert refusal(path, tmp_path) == ": is damaged (EOFError). Zip or download it again."


def test_the_unpacked_size_is_bounded_in_all(tmp_path):
    entries = genuine() | {"README.md": b"x", ".gitattributes": b"x"}
    path = write_zip(tmp_path / "a.zip", entries)
    for name in ("README.md", ".gitattributes"):
        forge(path, name, offset=20, form="<I", value=300_000_000)
        forge(path, name, offset=24, form="<I", value=300_000_000)

    message = refusal(path, tmp_path)

    assert message.startswith(": unpacked, it has 60000")
    assert message.endswith(
        "at most 512000000 are read. Give an adapter alone, without the base or a training state."
    )


@pytest.mark.parametrize(("number", "problem"), [(199, "more than 200"), (2000, "thousands of")])
def test_too_many_entries_are_refused(number, problem, tmp_path):
    extra = {f"{i:030}/README.md": b"" for i in range(number)}

    assert refusal(write_zip(tmp_path / "a.zip", genuine() | extra), tmp_path) == (
        f": holds {problem} files; at most 200 are looked at. Keep adapter_config.json and "
        "adapter_model.safetensors only."
    )


def test_a_name_twice_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of what is wanted here
        path = write_zip(tmp_path / "a.zip", genuine() | {info(CONFIG): b"{}"})

    assert refusal(path, tmp_path) == (
        f": holds {CONFIG!r} twice. Each name is allowed once; zip the two files again."
    )


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (genuine() | genuine("b/"), f": holds more than one {CONFIG}. "),
        ({}, f": holds no {CONFIG}. "),
        ({"a/": b""}, f": holds no {CONFIG}. "),
        (
            {f"a/{CONFIG}": b"{}", f"b/{WEIGHTS}": b""},
            f": {CONFIG} and {WEIGHTS} lie in different folders. ",
        ),
    ],
)
def test_one_adapter_in_one_folder_is_needed(entries, problem, tmp_path):
    assert refusal(write_zip(tmp_path / "a.zip", entries), tmp_path).startswith(problem)


BROKEN_ZIPS = {
    "text": lambda content: b"not a zip",
    "empty": lambda content: b"",
    "cut off": lambda content: content[:-30],
    "with a comment": lambda content: content[:-2] + b"\x04\0\x00\x00\x00\x00",
    "beyond 4 GB": lambda content: content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:],
}


@pytest.mark.parametrize("change", BROKEN_ZIPS.values(), ids=BROKEN_ZIPS)
def test_what_is_no_ordinary_zip_is_refused(change, tmp_path):
    path = write_zip(tmp_path / "a.zip", genuine())
    path.write_bytes(change(path.read_bytes()))

    assert refusal(path, tmp_path) == (
        ": is no zip archive, is cut off, or ends in a comment. Zip the two files again with an "
        "ordinary tool."
    )


def test_a_zip_with_wrong_bytes_inside_is_refused(tmp_path):
    path = write_zip(tmp_path / "a.zip", genuine())
    content = bytearray(path.read_bytes())
    for at in range(len(CONFIG) + 40, len(CONFIG) + 60):
        content[at] ^= 0xFF
    path.write_bytes(content)

    assert refusal(path, tmp_path).startswith(": is damaged (")


# The config


NEVER_RUN = {
    "target_modules": "(a|a?)+$|(.*)*q_proj",
    "exclude_modules": "(a+)+$",
    "layers_pattern": "(a+)+$",
    "layers_to_transform": [0],
}


@pytest.mark.parametrize(("key", "value"), NEVER_RUN.items(), ids=NEVER_RUN)
def test_expressions_are_never_run_and_the_tensors_say_what_is_meant(key, value, tmp_path):
    folder, summary = import_adapter(
        write_folder(tmp_path / "source", {**LORA, key: value}), tmp_path / "store"
    )

    stored = json.loads((folder / CONFIG).read_text())
    assert stored["target_modules"] == ["model.layers.0.self_attn.q_proj"]
    assert str(value) not in (folder / CONFIG).read_text()
    assert key == "target_modules" or key not in stored
    assert summary.targets == ("q_proj",)
    assert check_adapter(folder) == summary


OUT_OF_BOUNDS = {
    "peft_type": ["LOHA", "lora", None, ["LORA"], 1],
    "task_type": ["SEQ_CLS", 1],
    "r": [0, 4097, 2.0, True, "2", None, 10**400],
    "lora_alpha": [0, -1, 1_000_001, True, "16", None],
    "lora_dropout": [-0.1, 0.91, True, "0"],
    "target_modules": [
        [],
        None,
        {},
        ["q_proj"] * 2001,
        ["q.*"],
        [".q_proj"],
        [""],
        [1],
        ["a" * 101],
    ],
    "use_rslora": [1, "yes", None],
    "fan_in_fan_out": [1, "yes"],
    "bias": ["all", "lora_only", None, True],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in OUT_OF_BOUNDS.items() for value in values]
)
def test_values_out_of_bounds_are_refused(key, value, tmp_path):
    message = refusal(write_folder(tmp_path / "source", {**LORA, key: value}), tmp_path)

    assert message.startswith(f", adapter_config.json: {key} is ")
    assert ". Allowed: " in message


PROMPT_OUT_OF_BOUNDS = {
    "num_virtual_tokens": [0, 2001, 3.0, True, None],
    "token_dim": [0, 65_537, "4"],
    "num_transformer_submodules": [2, "1"],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in PROMPT_OUT_OF_BOUNDS.items() for value in values],
)
def test_values_of_a_soft_prompt_out_of_bounds_are_refused(key, value, tmp_path):
    weights = {"prompt_embeddings": torch.ones(3, 4)}
    source = write_folder(tmp_path / "source", {**PROMPT, key: value}, weights)

    assert refusal(source, tmp_path).startswith(f", adapter_config.json: {key} is ")


def test_a_rank_beyond_all_bounds_is_named_with_the_bounds(tmp_path):
    assert refusal(write_folder(tmp_path / "source", {**LORA, "r": 1_000_000}), tmp_path) == (
        ", adapter_config.json: r is 1000000. Allowed: a whole number, 1 to 4096. Train the "
        "adapter within that."
    )


@pytest.mark.parametrize("key", ["r", "lora_alpha", "target_modules"])
def test_missing_fields_are_named(key, tmp_path):
    config = {name: value for name, value in LORA.items() if name != key}

    assert refusal(write_folder(tmp_path / "source", config), tmp_path).startswith(
        f", adapter_config.json: {key} is missing. Allowed: "
    )


HOSTILE = {
    "alora_invocation_tokens": [1, 2],
    "arrow_config": {"top_k": 1},
    "auto_mapping": {"base_model_class": "system", "parent_library": "os"},
    "corda_config": {"cache_file": "/tmp/x"},
    "ensure_weight_tying": True,
    "init_lora_weights": "pissa",
    "kasa_config": {"x": 1},
    "layer_replication": [[0, 1000]],
    "loftq_config": {"loftq_bits": 4},
    "lora_bias": True,
    "lora_ga_config": {"scale": "unit"},
    "megatron_config": {"tensor_model_parallel_size": 2},
    "megatron_core": "os",
    "modules_to_save": ["lm_head"],
    "monteclora_config": {"num_samples": 1},
    "prompt_tuning_init_state_dict_path": "/etc/passwd",
    "runtime_config": {"ephemeral_gpu_offload": True},
    "target_parameters": ["q_proj.weight"],
    "tokenizer_kwargs": {"trust_remote_code": True},
    "trainable_token_indices": [1],
    "use_bdlora": {"nblocks": 2},
    "use_qalora": True,
    "velora_config": {"scale": 2.0},
    "made_up": 1,
}


@pytest.mark.parametrize(("key", "value"), HOSTILE.items(), ids=HOSTILE)
def test_fields_with_an_effect_are_refused(key, value, tmp_path):
    message = refusal(write_folder(tmp_path / "source", {**LORA, key: value}), tmp_path)

    assert message.startswith(f", adapter_config.json: {key} is ")
    assert ". Allowed: null, false, empty or no such key. " in message


@pytest.mark.parametrize("key", ["alora_invocation_tokens", "layer_replication", "use_qalora"])
def test_nobody_is_told_to_delete_what_changes_the_answers(key, tmp_path):
    message = refusal(write_folder(tmp_path / "source", {**LORA, key: HOSTILE[key]}), tmp_path)

    assert message.endswith(". Train the adapter without what changes how it computes.")


@pytest.mark.parametrize("key", ["tokenizer_kwargs", "modules_to_save", "auto_mapping", "r"])
def test_fields_with_an_effect_are_refused_in_soft_prompts_too(key, tmp_path):
    weights = {"prompt_embeddings": torch.ones(3, 4)}
    source = write_folder(tmp_path / "source", {**PROMPT, key: HOSTILE.get(key, 8)}, weights)

    assert refusal(source, tmp_path).startswith(f", adapter_config.json: {key} is ")


def test_the_effect_of_a_field_is_named(tmp_path):
    config = {**LORA, "auto_mapping": HOSTILE["auto_mapping"]}

    assert refusal(write_folder(tmp_path / "source", config), tmp_path) == (
        ", adapter_config.json: auto_mapping is {'base_model_class': 'system', 'parent_library': "
        "'os'}, which names code to import. Allowed: null, false, empty or no such key. A key that "
        "only says how the adapter was trained or loaded can be deleted from adapter_config.json."
    )


def test_everything_that_stands_in_the_way_is_said_at_once(tmp_path):
    config = {**LORA, "r": 0, "bias": "all", "modules_to_save": ["lm_head"], "made_up": 1}

    assert refusal(write_folder(tmp_path / "source", config), tmp_path) == (
        ", adapter_config.json: modules_to_save is ['lm_head'], which replaces whole modules of "
        "the base. Allowed: null, false, empty or no such key. made_up is 1, which is not "
        "supported here. Allowed: null, false, empty or no such key. r is 0. Allowed: a whole "
        "number, 1 to 4096. bias is 'all'. Allowed: \"none\". Merge the adapter into its base with "
        "PEFT (merge_and_unload, then save_pretrained) and use the merged folder as the base "
        "model; not where the base's output head is its embedding. A key that only says how the "
        "adapter was trained or loaded can be deleted from adapter_config.json. Train the adapter "
        "within that."
    )


@pytest.mark.parametrize("key", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("pattern", [{"q_proj": -1}, {"q_proj": "8"}, {3001 * "a": 8}, [8], "q_pr"])
def test_patterns_of_anything_but_names_and_numbers_are_refused(key, pattern, tmp_path):
    config = json.dumps({**LORA, key: pattern}).encode()

    problem = refusal(write_folder(tmp_path / "source", config), tmp_path)

    assert problem.startswith(f", adapter_config.json: {key} is ")


@pytest.mark.parametrize("key", [".*", ".*q_proj", "(a|q)_proj", "q_proj|^x", "[q]_proj", "q+", ""])
def test_alphas_by_expressions_are_refused_and_ranks_are_those_of_the_weights(key, tmp_path):
    alphas = write_folder(tmp_path / "alphas", {**LORA, "alpha_pattern": {key: 8}})
    ranks = write_folder(tmp_path / "ranks", {**LORA, "r": 4, "rank_pattern": {key: 3}})

    assert "alpha_pattern is {" in refusal(alphas, tmp_path)
    folder, _ = import_adapter(ranks, tmp_path / "store")
    stored = json.loads((folder / CONFIG).read_text())
    assert stored["rank_pattern"] == {"model.layers.0.self_attn.q_proj": 2}


@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 1), (5000, 5000)])
def test_ranks_of_the_weights_are_one_in_each_module_and_have_a_bound(a, b, tmp_path):
    sides = {"a": torch.ones(a, 8), "b": torch.ones(6, b)}
    source = write_folder(
        tmp_path / "source", {**LORA, "rank_pattern": {".*": 8}}, lora_tensors(**sides)
    )

    assert "is needed. Export config and weights together." in refusal(source, tmp_path)


def test_the_keys_of_patterns_mean_what_they_mean_in_peft():
    keys = ["q_proj", "^q_proj", "attn.q_proj", "self_attn.q_proj", "self.attn.q_proj", "q.proj"]
    keys += ["layers.1.q_proj", "^model.layers.1.q_proj$", "1.q_proj", "11.q_proj", ".q_proj"]
    keys += [r"1\.q_proj", r"model\.layers.1.q_proj", r"layers\.11\.q_proj$", "l.layers.1.q_proj"]
    parents = ["model.layers.1.self_attn.", "model.layers.1.", "layers.11.", "layers.1_", ""]
    pairs = [(key, f"{parent}q_proj") for key in keys for parent in parents]

    found = {(key, name): pattern_value({key: 1}, name, 0) for key, name in pairs}

    # As PEFT looks it up.
    theirs = {(key, name): {key: 1}.get(get_pattern_key([key], name), 0) for key, name in pairs}
    assert found == theirs
    assert 10 < sum(found.values()) < 60


def test_patterns_of_plain_names_are_kept_module_by_module(tmp_path):
    patterns = {"rank_pattern": {"q_proj": 2, "v_proj": 9}, "alpha_pattern": {"attn.q_proj": 5}}
    source = write_folder(tmp_path / "source", {**LORA, "r": 4} | patterns)
    other = write_folder(tmp_path / "other", {**LORA, "r": 4, "rank_pattern": {"q_proj": 3}})

    folder, _ = import_adapter(source, tmp_path / "store")

    stored = json.loads((folder / CONFIG).read_text())
    assert stored["rank_pattern"] == {"model.layers.0.self_attn.q_proj": 2}
    assert "alpha_pattern" not in stored  # "attn.q_proj" is not the end of "self_attn.q_proj"
    assert "by the config, (3, in) is needed" in refusal(other, tmp_path)


@pytest.mark.parametrize(
    "mapping",
    [
        {"base_model_class": "A", "parent_library": "transformers.models.llama.modeling_llama.os"},
        {"base_model_class": "A", "parent_library": "transformers_modules.x.modeling_x"},
        {"base_model_class": "A", "parent_library": "transformers.models.a.modeling_a", "x": 1},
        {"base_model_class": "A"},
        "transformers.models.llama.modeling_llama",
    ],
)
def test_only_what_peft_writes_itself_passes_as_auto_mapping(mapping, tmp_path):
    source = write_folder(tmp_path / "source", {**LORA, "auto_mapping": mapping})

    assert refusal(source, tmp_path).startswith(", adapter_config.json: auto_mapping is ")


def test_dropped_and_empty_fields_pass_and_leave_no_trace(tmp_path):
    plain = check_adapter(write_folder(tmp_path / "plain"))
    config = {
        **LORA,
        "base_model_name_or_path": "../../etc",
        "revision": "refs/pr/1",
        "inference_mode": True,
        "peft_version": "99.0",
        "tokenizer_name_or_path": "http://example.org",
        "auto_mapping": None,
        "megatron_core": "megatron.core",
        "qalora_group_size": 16,
        **dict.fromkeys(["made_up", "modules_to_save", "use_dora", "rank_pattern"]),
        "alpha_pattern": {},
        "loftq_config": {},
        "layers_pattern": "",
        "lora_bias": False,
    }

    summary = check_adapter(write_folder(tmp_path / "full", config))

    assert summary.digest == plain.digest


BROKEN_JSON = {
    "NaN": (b'{"lora_alpha": NaN}', "'NaN' is no finite number"),
    "infinity": (b'{"lora_alpha": -Infinity}', "'-Infinity' is no finite number"),
    "beyond floats": (b'{"lora_alpha": 1e999}', "'1e999' is no finite number"),
    "a key twice": (b'{"r": 2, "r": 256}', "key 'r' was given twice"),
    "a nested key twice": (b'{"a": [{"b": 1, "b": 2}]}', "key 'b' was given twice"),
    "a list": (b"[]", "it is no object with keys"),
    "nothing": (b"", "Expecting value: line 1 column 1 (char 0)"),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN_JSON.values(), ids=BROKEN_JSON)
def test_a_config_that_is_no_strict_json_is_refused(content, reason, tmp_path):
    assert refusal(write_folder(tmp_path / "source", content), tmp_path) == (
        f", adapter_config.json: is no strict JSON: {reason}. Export the adapter again with PEFT's "
        "save_pretrained."
    )


UPSETTING_JSON = {
    "not UTF-8": b"\xff\xfe{}",
    "UTF-16": json.dumps(LORA).encode("utf-16"),
    "nested": b"[" * 60_000,
    "huge number": b'{"r": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("content", UPSETTING_JSON.values(), ids=UPSETTING_JSON)
def test_a_config_that_would_upset_a_reader_is_refused(content, tmp_path):
    message = refusal(write_folder(tmp_path / "source", content), tmp_path)

    assert message.startswith(", adapter_config.json: is no strict JSON: ")


def test_a_config_beyond_its_size_is_refused_in_folders_and_zips(tmp_path):
    config = json.dumps({**LORA, "revision": os.urandom(40_000).hex()}).encode()
    problem = f": {CONFIG} has {len(config)} bytes; at most 64000 are read. "

    source = write_folder(tmp_path / "source", config)
    packed = write_zip(tmp_path / "a.zip", {**genuine(), CONFIG: config})

    assert refusal(source, tmp_path).startswith(problem)
    assert refusal(packed, tmp_path).startswith(problem)


# The weights


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite_are_refused(value, dtype, tmp_path):
    b = torch.ones(6, 2, dtype=dtype)
    b[3, 1] = value

    assert refusal(write_folder(tmp_path / "source", LORA, lora_tensors(b=b)), tmp_path) == (
        f", adapter_model.safetensors: '{MODULE}.lora_B.weight' holds NaN or infinity. All numbers "
        "have to be finite; train the adapter again, with a lower learning rate."
    )


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float64, "F64"), (torch.int64, "I64"), (torch.uint8, "U8")]
)
def test_other_types_of_numbers_are_refused(dtype, name, tmp_path):
    source = write_folder(tmp_path / "source", LORA, lora_tensors(a=torch.ones(2, 8, dtype=dtype)))

    assert refusal(source, tmp_path) == (
        f", adapter_model.safetensors: '{MODULE}.lora_A.weight' is of type {name!r}. Allowed: F32, "
        "F16, BF16. Save the adapter in one of them."
    )


WRONG_SHAPES = {
    "A of another rank": ({"a": torch.ones(3, 8)}, "A", "(3, 8)", "(2, in)"),
    "B of another rank": ({"b": torch.ones(6, 3)}, "B", "(6, 3)", "(out, 2)"),
    "A of one dimension": ({"a": torch.ones(2)}, "A", "(2,)", "(2, in)"),
    "B of three dimensions": ({"b": torch.ones(6, 2, 1)}, "B", "(6, 2, 1)", "(out, 2)"),
}


@pytest.mark.parametrize(
    ("changes", "side", "shape", "wanted"), WRONG_SHAPES.values(), ids=WRONG_SHAPES
)
def test_shapes_that_do_not_follow_from_the_rank_are_refused(
    changes, side, shape, wanted, tmp_path
):
    assert refusal(write_folder(tmp_path / "source", LORA, lora_tensors(**changes)), tmp_path) == (
        f", adapter_model.safetensors: '{MODULE}.lora_{side}.weight' has shape {shape}; by the "
        f"config, {wanted} is needed. Export config and weights together."
    )


@pytest.mark.parametrize(("side", "other"), ["AB", "BA"])
def test_half_a_pair_is_refused(side, other, tmp_path):
    tensors = lora_tensors()
    del tensors[f"{MODULE}.lora_{other}.weight"]

    assert refusal(write_folder(tmp_path / "source", LORA, tensors), tmp_path) == (
        f", adapter_model.safetensors: '{MODULE}.lora_{side}.weight' has no partner "
        f"'{MODULE}.lora_{other}.weight'. Each module needs lora_A.weight and lora_B.weight; "
        "export the adapter again."
    )


FOREIGN_NAMES = [
    "base_model.model.lm_head.weight",
    "base_model.model.model.embed_tokens.lora_embedding_A",
    f"{MODULE}.lora_magnitude_vector",
    f"{MODULE}.lora_A.default.weight",
    "model.layers.0.self_attn.q_proj.lora_A.weight",
    "base_model.model..q_proj.lora_A.weight",
    "base_model.model.q_proj.lora_A.weight\n",
    "prompt_embeddings",
    "",
]


@pytest.mark.parametrize("name", FOREIGN_NAMES)
def test_tensors_that_are_no_part_of_a_lora_are_refused(name, tmp_path):
    source = write_folder(tmp_path / "source", LORA, lora_tensors() | {name: torch.ones(2, 8)})

    assert refusal(source, tmp_path) == (
        f", adapter_model.safetensors: holds {name!r}, which is no part of a plain LORA "
        "adapter. Allowed: base_model.model.<module>. with lora_A.weight, lora_B.weight. Export "
        "the adapter alone with PEFT's save_pretrained."
    )


@pytest.mark.parametrize("targets", [["v_proj"], ["proj"], ["attn.q_proj"]])
def test_modules_that_the_config_does_not_name_are_refused(targets, tmp_path):
    source = write_folder(tmp_path / "source", {**LORA, "target_modules": targets})

    assert refusal(source, tmp_path) == (
        f", adapter_model.safetensors: '{MODULE}.lora_A.weight' changes a module that "
        f"target_modules does not name. Named: {targets}. Export config and weights together."
    )


def test_all_linear_needs_modules_with_names(tmp_path):
    tensors = {name.replace("q_proj", "0"): tensor for name, tensor in lora_tensors().items()}
    source = write_folder(tmp_path / "source", {**LORA, "target_modules": "all-linear"}, tensors)

    assert refusal(source, tmp_path) == (
        ", adapter_config.json: target_modules is 'all-linear', and the weights' modules are "
        "called ['0']. List target_modules by name."
    )


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({"prompt_embeddings": torch.ones(2, 4)}, "{'prompt_embeddings': (2, 4)}"),
        ({"prompt_embeddings": torch.ones(3, 5)}, "{'prompt_embeddings': (3, 5)}"),
        ({"prompt_embeddings": torch.ones(12)}, "{'prompt_embeddings': (12,)}"),
        ({"vectors": torch.ones(3, 4)}, "{'vectors': (3, 4)}"),
        (
            {"prompt_embeddings": torch.ones(3, 4), "more": torch.ones(1)},
            "{'more': (1,), 'prompt_embeddings': (3, 4)}",
        ),
        ({}, "{}"),
    ],
)
def test_a_soft_prompt_is_one_tensor_of_the_configs_shape(tensors, found, tmp_path):
    assert refusal(write_folder(tmp_path / "source", PROMPT, tensors or save({})), tmp_path) == (
        f", adapter_model.safetensors: holds {found}; by the config, "
        "{'prompt_embeddings': (3, 4)} is needed. Export the adapter again with PEFT's "
        "save_pretrained."
    )


def tampered(change) -> bytes:
    """Return good weights whose header was changed by a function of the parsed header."""
    content = save(lora_tensors())
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def overlapping(header) -> None:
    header[f"{MODULE}.lora_B.weight"]["data_offsets"] = [0, 48]


def huge(header) -> None:
    header[f"{MODULE}.lora_A.weight"]["shape"] = [2, 10**15]


BROKEN_WEIGHTS = {
    "empty": b"",
    "a few bytes": b"\x01\0\0",
    "cut off": save(lora_tensors())[:-4],
    "cut off in the header": save(lora_tensors())[:40],
    "bytes after the end": save(lora_tensors()) + b"\0\0",
    "header beyond the file": (10_000).to_bytes(8, "little") + b"{}",
    "header beyond all bounds": (2**63).to_bytes(8, "little") + save(lora_tensors())[8:],
    "overlapping tensors": tampered(overlapping),
    "shape beyond the data": tampered(huge),
    "negative shape": tampered(lambda h: h[f"{MODULE}.lora_A.weight"].update(shape=[2, -8])),
    "empty tensor": tampered(lambda h: h[f"{MODULE}.lora_A.weight"].update(shape=[2, 0])),
    "no tensors": save({}),
    "a pickle": b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07builtin",
}


@pytest.mark.parametrize("content", BROKEN_WEIGHTS.values(), ids=BROKEN_WEIGHTS)
def test_damaged_weights_are_refused(content, tmp_path):
    message = refusal(write_folder(tmp_path / "source", LORA, content), tmp_path)

    assert message.startswith(", adapter_model.safetensors: is damaged or no safetensors file: ")
    assert message.endswith(". Copy or export it again.")


def test_a_header_that_lies_about_its_size_is_named(tmp_path):
    content = (2**40).to_bytes(8, "little") + b"{}"

    assert refusal(write_folder(tmp_path / "source", LORA, content), tmp_path) == (
        ", adapter_model.safetensors: is damaged or no safetensors file: its header claims "
        "1099511627776 bytes. Copy or export it again."
    )


def test_a_tensor_twice_in_the_header_is_refused(tmp_path):
    name = f"{MODULE}.lora_A.weight"
    content = save(lora_tensors())
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length].rstrip()
    entry = json.dumps({name: json.loads(text)[name]})[1:-1].encode()
    text = text[:-1] + b"," + entry + b"}"
    content = len(text).to_bytes(8, "little") + text + content[8 + length :]

    assert refusal(write_folder(tmp_path / "source", LORA, content), tmp_path) == (
        f", adapter_model.safetensors: is no strict JSON: key '{name}' was given twice. Export the "
        "adapter again with PEFT's save_pretrained."
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(dtype, tmp_path):
    tensors = {name: tensor.to(dtype) for name, tensor in lora_tensors().items()}

    folder, _ = import_adapter(write_folder(tmp_path / "source", LORA, tensors), tmp_path / "store")

    found = load((folder / WEIGHTS).read_bytes())
    assert all(torch.equal(found[name], tensors[name]) for name in tensors | found)
