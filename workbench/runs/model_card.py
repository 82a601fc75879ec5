"""The card beside an exported adapter: what it is, what it measured, how to load it elsewhere."""

import json
from pathlib import Path

from workbench.atomic import parse_json, write_text
from workbench.encoding import PromptEncoder
from workbench.methods.catalog import method_class
from workbench.models.adapters.files import CONFIG_NAME
from workbench.models.catalog import published_name
from workbench.options import declared_options
from workbench.runs.spec import RunSpec
from workbench.runs.store import RunRecord

_SCRIPT = """```python
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "{base}"  # {or_else}
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "{adapter}")
prompt, words, end = {prompt}, {words}, {end}

def logprob(word):
    texts = (prompt, prompt + word + end)
    start, ids = (tokenizer(t, add_special_tokens={special}).input_ids{cut} for t in texts)
    logits = model(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[0]
    logprobs = logits.log_softmax(-1)  # counted from the right: learned vectors stand before
    return sum(logprobs[i - len(ids) - 1, ids[i]] for i in range(len(start), len(ids)))

print(max(words, key=logprob))
```"""
_ELSEWHERE = (
    "PEFT has no adapter of this kind, so the files are the workbench's own: safetensors with each "
    "parameter under its layer's name. `workbench.runs.execute.restore` puts them on the base."
)
_VOTES = (
    "Each folder holds a soft prompt. All of them answer, and the most frequent answer counts; "
    "ties go to the higher mean probability. This is how one of them answers:"
)
_FOLDERS = ("adapter", "run", "runs")  # what options hold that are folders
_TAKE_THE_START = ("PREFIX_TUNING", "PROMPT_TUNING")  # what stands before a text is learned


def write_model_card(
    folder: Path, spec: RunSpec, record: RunRecord, encoder: PromptEncoder
) -> None:
    """Write `README.md` beside an adapter, with the measured numbers and a loading script."""
    fields = {name: f"<{name}>" for name in encoder.task.field_names}
    rendered = encoder.render(fields)
    members = sorted(folder.glob("member_*"))
    kind = _peft_type(members[0] if members else folder)
    takes_start = kind in _TAKE_THE_START
    prompt = rendered.tail if takes_start else rendered.text
    space = "" if prompt[-1:].isspace() else " "
    end = encoder.label_choices().end if encoder.task.labels else ""
    words = [space + encoder.template.word(label) for label in encoder.task.labels]
    hub_id = published_name(spec.base.name)
    folder_name = Path(spec.base.name).expanduser().resolve().name
    chosen_by = record.cost.dev_items or spec.task.num_dev
    lines = [
        *_metadata(hub_id, kind),
        "",
        f"# {spec.method} for {spec.task.name}",
        "",
        f"Trained on {hub_id or folder_name} ({record.source}) in {spec.base.precision}, seed "
        f"{spec.seed}, {spec.task.num_train} training rows; {chosen_by} more chose the step.",
        "",
        "| metric | value | 95 % interval | items |",
        "|---|---|---|---|",
    ]
    for name, estimate in record.metrics.items():
        if estimate.value is not None and estimate.low is not None and estimate.high is not None:
            lines.append(
                f"| {name} | {estimate.value:.4f} | {estimate.low:.4f} to {estimate.high:.4f} "
                f"| {estimate.num_scored} |"
            )
    script = _SCRIPT.format(
        base=hub_id or f"path/to/{folder_name}",
        or_else=f"{'or ' if hub_id else ''}the folder of the same weights",
        adapter=members[0].name if members else ".",
        prompt=json.dumps(prompt, ensure_ascii=False),
        special=not takes_start and not encoder.chat,
        cut="" if takes_start or not encoder.num_appended else f"[:-{encoder.num_appended}]",
        words=json.dumps(words, ensure_ascii=False),
        end=json.dumps(end, ensure_ascii=False),
    )
    options = f"Options: `{json.dumps(_shown_options(spec))}`"
    lines += ["", options, "", *([_VOTES, ""] if members else [])]
    lines += [script if kind else _ELSEWHERE, ""]
    write_text(folder / "README.md", "\n".join(lines))


def _shown_options(spec: RunSpec) -> dict[str, object]:
    """Return the options, folders by their last parts: where they lie is nobody else's matter."""
    known = declared_options(method_class(spec.method))
    shown = dict(spec.options)
    for name, value in shown.items():
        if isinstance(value, str) and name in known and known[name].holds in _FOLDERS:
            shown[name] = ",".join("/".join(Path(p).parts[-2:]) for p in value.split(","))
    return shown


def _metadata(hub_id: str | None, kind: str | None) -> list[str]:
    """Return the lines that the Hub reads; it refuses a base that is no id of its own."""
    base = [] if hub_id is None else [f"base_model: {json.dumps(hub_id)}"]
    relation = ["base_model_relation: adapter"] if hub_id and kind else []
    library = f"library_name: {'peft' if kind else 'prompt-workbench'}"
    return ["---", *base, *relation, library, "pipeline_tag: text-generation", "---"]


def _peft_type(folder: Path) -> str | None:
    """Return PEFT's name for the kind of an adapter; None for the workbench's own kinds."""
    path = folder / CONFIG_NAME
    found = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    kind = found.get("peft_type")
    return kind if isinstance(kind, str) else None
