"""What the benchmarks run on: the base, SST-2 or the embedded task, and fitted methods."""

import json
import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from workbench.encoding import PromptEncoder
from workbench.fitting.base import FitContext, FittedMethod
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.models.loading import BaseInfo, ComputeDtype, WeightsInMemory, load_base
from workbench.models.weights import find_weights
from workbench.tasks.base import DroppedRows, Sample, Task, TaskSource
from workbench.tasks.catalog import load_task, prompts_folder
from workbench.templates import read_template

BASE = "smollm2-135m-instruct"
REPOSITORY = Path(__file__).parents[1]
_LONG_TEXTS = 16
DATA = Path(os.environ.get("WORKBENCH_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))


def load_engine(
    precision: str = "nf4",
    device: str = "cpu",
    *,
    compute_dtype: ComputeDtype | Literal["auto"] = "auto",
    weights_in_memory: WeightsInMemory = "auto",
) -> Engine:
    """Return an engine over a freshly loaded base."""
    return Engine(
        load_base(
            BASE,
            precision=precision,
            device=device,
            compute_dtype=compute_dtype,
            weights_in_memory=weights_in_memory,
        )
    )


def loaded_by_users(info: BaseInfo) -> PreTrainedModel:
    """Return a base as transformers' documentation loads it, with the same products."""
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, info.compute_dtype),
    )
    model = AutoModelForCausalLM.from_pretrained(
        find_weights(info.name).folder,
        quantization_config=None if info.precision == "fp32" else quantised,
        dtype=torch.float32 if info.device == "cpu" else getattr(torch, info.compute_dtype),
        device_map={"": info.device},
    ).eval()
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        # Only a processor with AVX512-BF16 has bitsandbytes' fast layout; torch may have been told
        # to do without (ATEN_CPU_CAPABILITY), which bitsandbytes does not know.
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    return model


def load_material() -> Task:
    """Return SST-2 where its data is at hand, else the embedded task."""
    folder = DATA / "sst2"
    if not folder.is_dir():
        return load_task("support_intents")
    return Task(
        name="sst2",
        kind="classification",
        labels=("negative", "positive"),
        field_names=("text",),
        train=_samples(folder / "train.jsonl", 0, 400),
        dev=_samples(folder / "train.jsonl", 400, 408),
        test=_samples(folder / "dev.jsonl", 0, 400),
        source=TaskSource("file", str(folder), "see SOURCE.md there"),
        dropped=DroppedRows({}),
    )


def long_texts(task: Task, engine: Engine, tokens: int) -> Task:
    """Return a task of few texts of so many tokens each, made of the task's own one after another.

    A text is decoded from its tokens, so that it has that many, or one more or less.
    """
    (field,) = task.field_names
    words = " ".join(sample.fields[field] for sample in task.train)
    ids = engine.tokenizer(words, add_special_tokens=False)["input_ids"]
    ids = ids * (1 + _LONG_TEXTS * tokens // len(ids))

    def text(number: int) -> str:
        return str(engine.tokenizer.decode(ids[number * tokens : (number + 1) * tokens]))

    made = [
        replace(sample, fields={field: text(number)})
        for number, sample in enumerate(task.train[:_LONG_TEXTS])
    ]
    return replace(task, train=tuple(made), dev=tuple(made[:2]), test=tuple(made[:2]))


def encoder_for(engine: Engine, task: Task) -> PromptEncoder:
    """Return the encoder of the task's plain template."""
    template = read_template(prompts_folder() / task.name / "plain.yaml")
    template.check(task.field_names, task.labels, where="benchmarks")
    return PromptEncoder(engine.tokenizer, template, task)


def fit(
    engine: Engine, encoder: PromptEncoder, name: str, folder: Path, **options: object
) -> FittedMethod:
    """Return a fitted method with seed 0; a weight adapter gets the method's name."""
    context = FitContext(engine, encoder, 0, folder / name, adapter_name=name)
    return make_method(name, options).fit(context)


def _samples(path: Path, begin: int, end: int) -> tuple[Sample, ...]:
    with path.open(encoding="utf-8") as lines:
        return tuple(
            Sample(f"{path.stem}-{begin + number}", {"text": row["text"]}, row["label"])
            for number, row in enumerate(map(json.loads, islice(lines, begin, end)))
        )
