"""Which method to try, and why: the plan read as a person with some experience would read it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from workbench.budget.known import DEVICES, GIB, KNOWN_SHAPES, Device
from workbench.budget.memory import BudgetPrecision, base_bytes
from workbench.budget.plan import MethodPlan, Plan, Question, kept_bytes, make_plan, serving_bytes
from workbench.budget.shape import ModelShape
from workbench.presentation.display import byte_size, duration

_LARGE_SHARE = 0.9  # of a device's memory: beyond it a longer text than planned does not fit
# What reaches most with little: the first of these that fits is taken.
_PREFERRED = (("lora", "all_linear"), ("lora", "attention_qv"), ("ia3", ""), ("prompt_tuning", ""))


@dataclass(frozen=True)
class Advice:
    """A recommendation.

    Attributes:
        method: Name of the method; None where nothing fits.
        precision: How the base it is given for is stored.
        has_checkpointing: Whether it is given for gradient checkpointing.
        headline: What to do, in one sentence.
        reasons: Why, each with its figures.
    """

    method: str | None
    precision: BudgetPrecision
    headline: str
    reasons: tuple[str, ...]
    has_checkpointing: bool = False
    question: Question | None = None
    row: MethodPlan | None = None


@dataclass(frozen=True)
class AdvisedRow:
    """A row of a plan's table: its name there, its costs, and whether the headline names it."""

    name: str
    plan: MethodPlan
    is_advised: bool


def advised_rows(plan: Plan, advice: Advice) -> list[AdvisedRow]:
    """Return the plan's rows, and before them the advised one where it is none of them.

    The advice may be for other layers, bits or checkpointing than the plan; then its name says so.
    """
    asked, row = advice.question, advice.row
    if asked is None or row is None or asked == plan.question:
        return [AdvisedRow(one.recipe.name, one, one == row) for one in plan.rows]
    differing = [row.recipe.name]
    if _has_targets(row) and asked.options.targets != plan.question.options.targets:
        differing.append(f"targets {asked.options.targets}")
    if asked.precision != plan.question.precision:
        differing.append(asked.precision)
    if asked.work.has_checkpointing != plan.question.work.has_checkpointing:
        differing.append("gradient checkpointing")
    others = [AdvisedRow(one.recipe.name, one, False) for one in plan.rows]
    return [AdvisedRow(", ".join(differing), row, True), *others]


def advise(plan: Plan) -> Advice:
    """Return what to try for the plan's question."""
    question = plan.question
    found, quantised = _choose(question), replace(question, precision="nf4")
    if found is not None:
        return _recommend(*found)
    checked = _with_checkpointing(question)
    if not any(_trainable(question)) and _choose(checked) is not None:
        advice = advise(make_plan(checked))
        return replace(advice, reasons=(_why_checkpointing(question), *advice.reasons))
    fewer = (quantised, _with_checkpointing(quantised))
    if question.precision != "nf4" and any(_choose(asked) is not None for asked in fewer):
        advice = advise(make_plan(quantised))
        return replace(advice, reasons=(_why_fewer_bits(question), *advice.reasons))
    crowds = [(asked, row) for asked in (question, quantised) for _, row in _trainable(asked)]
    return _crowded(crowds) if crowds else _refuse(plan)


def _with_checkpointing(question: Question) -> Question:
    return replace(question, work=replace(question.work, has_checkpointing=True))


def _why_checkpointing(question: Question) -> str:
    row = _usual(question)
    return (
        f"With all activations kept, even one row at a time takes {gibibytes(row.memory.total)} of "
        f"{gibibytes(question.device.usable_bytes)}. With gradient_checkpointing: true layers "
        "keep their inputs alone: the same gradients, and about half as much work again."
    )


def _why_fewer_bits(question: Question) -> str:
    base, usable = _base(question), question.device.usable_bytes
    if base > usable:
        return (
            f"In {question.precision} nothing can be trained here: the weights alone take "
            f"{gibibytes(base)} of {gibibytes(usable)}."
        )
    if any(_trainable(question)):
        return f"In {question.precision} {question.versions} versions do not answer at once."
    least = make_plan(question, ("prompt_tuning",)).row("prompt_tuning").memory
    return (
        f"In {question.precision} nothing can be trained here: even one row takes "
        f"{gibibytes(least.total)} of {gibibytes(usable)}, {gibibytes(least.passing)} of it "
        "activations."
    )


def _crowded(crowds: Sequence[tuple[Question, MethodPlan]]) -> Advice:
    """Say how many results can answer at once where training one is no problem."""
    question, row = max(crowds, key=lambda crowd: _most_versions(*crowd))
    return Advice(
        method=None,
        precision=question.precision,
        headline=(
            f"{question.versions} versions of {question.shape.name} do not answer at once from "
            f"{question.device.title}."
        ),
        reasons=(
            f"Each can be trained there, but together, made with {row.recipe.name} over "
            f"{question.precision}, they take {gibibytes(serving_bytes(question, row))} of "
            f"{gibibytes(question.device.usable_bytes)}: one base, and for each version its result "
            f"and a text of {question.work.row_tokens} tokens.",
            f"At most {_most_versions(question, row)} answer at a time. Shorter texts or a larger "
            "card make room; stored results can be put on the base in turns.",
        ),
    )


def _most_versions(question: Question, row: MethodPlan) -> int:
    one, two = (serving_bytes(replace(question, versions=n), row) for n in (1, 2))
    return max(0, 1 + (question.device.usable_bytes - one) // (two - one))


def gibibytes(num_bytes: float) -> str:
    """Return "7.4 GiB", as the memory of devices is counted."""
    amount = num_bytes / GIB
    return f"{amount:,.0f} GiB" if amount >= 100 else f"{amount:.1f} GiB"


def _base(question: Question) -> int:
    return base_bytes(question.shape, question.storage)


def _trainable(question: Question) -> Iterator[tuple[Question, MethodPlan]]:
    """Yield the question with the targets to use, and the row, of each method that can be trained.

    In the order they are preferred in.
    """
    for name, targets in _PREFERRED:
        asked = question
        if targets == "all_linear":
            asked = replace(question, options=replace(question.options, targets="all_linear"))
        for row in make_plan(asked, (name,)).rows:  # none if the model has no such layers
            if row.fits:
                yield asked, row


def _choose(question: Question) -> tuple[Question, MethodPlan] | None:
    """Return the first of those that also answers with all versions at once."""
    for asked, row in _trainable(question):
        if question.versions == 1 or serving_bytes(asked, row) <= question.device.usable_bytes:
            return asked, row
    return None


def _recommend(question: Question, row: MethodPlan) -> Advice:
    precision = question.precision
    place = " on all linear layers" if question.options.targets == "all_linear" else ""
    name = f"{row.recipe.name}{place if _has_targets(row) else ''}"
    is_checked = question.work.has_checkpointing
    how = ", with gradient checkpointing" if is_checked else ""
    return Advice(
        method=row.recipe.name,
        precision=precision,
        headline=f"Train {name} over {question.shape.name} in {precision}{how}.",
        reasons=tuple(_reasons(question, row)),
        has_checkpointing=is_checked,
        question=question,
        row=row,
    )


def _reasons(question: Question, row: MethodPlan) -> Iterator[str]:
    device, memory = question.device, row.memory
    yield (
        f"It takes {gibibytes(memory.total)} of the {gibibytes(device.usable_bytes)} that "
        f"{device.title} leaves: {gibibytes(memory.base)} base, "
        f"{gibibytes(memory.passing)} activations, "
        f"{byte_size(memory.trained + memory.learning)} for "
        f"{row.trained:,} trained parameters."
    )
    batch, at_once = question.work.batch_size, row.micro_batch_size
    if row.is_split_further:
        yield (
            f"Only {at_once} of the {batch} rows of a batch fit at once. Set micro_batch_size to "
            f"{at_once}: the step adds up {-(-batch // at_once)} parts, with the same gradients."
        )
    elif at_once < batch:
        yield (
            f"The {batch} rows of a batch are run in parts of {at_once}, whose gradients are added "
            "up to the same sum."
        )
    if memory.total > _LARGE_SHARE * device.usable_bytes:
        yield (
            "It is tight: a text longer than planned would not fit, and measured peaks were up to "
            f"a tenth above their estimates. {_looser(question, row)}"
        )
    yield f"Training takes about {duration(row.seconds)}, and looking at dev up to a fifth more."
    yield from _full_fine_tuning(question, row)
    yield from _many(question, row)
    is_4_bit = question.precision.startswith(("nf4", "fp4"))
    if is_4_bit and _has_targets(row) and question.options.targets == "all_linear":
        yield (
            "Over a 4-bit base, low-rank changes of all linear layers reached what 16-bit "
            "fine-tuning reached (Dettmers et al. 2023, section 4); rank mattered little."
        )
    few_shot = make_plan(question, ("few_shot",)).row("few_shot")
    if few_shot.fits:
        yield (
            f"Try few_shot first: it trains nothing and adds {few_shot.extra_tokens:,} tokens to "
            "every prompt; it is the figure training has to beat."
        )


def _looser(question: Question, row: MethodPlan) -> str:
    """Return a sentence on the options that take less memory for the same training."""
    options = {
        "gradient_checkpointing: true": _with_checkpointing(question),
        "micro_batch_size: 1": replace(question, micro_batch_size=1),
    }
    found = []
    for name, asked in options.items():
        total = make_plan(asked, (row.recipe.name,)).row(row.recipe.name).memory.total
        if total < row.memory.total:
            found.append(f"{name} takes it down to {gibibytes(total)}")
    if not found:
        return "Plan for shorter rows, a smaller base or a larger device."
    return f"For the same gradients {' and '.join(found)}."


def _has_targets(row: MethodPlan) -> bool:
    """Return whether a method lets the layers it changes be chosen."""
    return "targets" in row.recipe.options


def _full_fine_tuning(question: Question, row: MethodPlan) -> Iterator[str]:
    full = make_plan(question, ("full_fine_tuning",)).row("full_fine_tuning")
    times = full.memory.total / row.memory.total
    if not full.fits:
        yield (
            f"full_fine_tuning would need {gibibytes(full.memory.total)}, {times:.0f} times as "
            "much: gradients and moments for every weight."
        )
    else:
        yield (
            f"full_fine_tuning would fit too, with {gibibytes(full.memory.total)}; take it as the "
            f"reference row, at {byte_size(full.stored_bytes)} for each result."
        )


def _many(question: Question, row: MethodPlan) -> Iterator[str]:
    full = make_plan(question, ("full_fine_tuning",)).row("full_fine_tuning")
    if question.tasks > 1:
        yield (
            f"{question.tasks} tasks are {question.tasks} files of {byte_size(row.stored_bytes)} "
            f"({byte_size(kept_bytes(question, row))}) beside one base; as many fully trained "
            f"models would be {byte_size(kept_bytes(question, full))}."
        )
    if question.versions > 1:
        yield (
            f"{question.versions} versions answer from one base with "
            f"{gibibytes(serving_bytes(question, row))}, each with a text of "
            f"{question.work.row_tokens} tokens in memory; {question.versions} copies of the "
            f"model would take {gibibytes(serving_bytes(question, full))}. Rows of one batch may "
            "use different versions."
        )


def _refuse(plan: Plan) -> Advice:
    question = plan.question
    smallest = _with_checkpointing(
        replace(question, precision="nf4", work=replace(question.work, batch_size=1))
    )
    return Advice(
        method=None,
        precision="nf4",
        headline=f"{question.shape.name} cannot be trained on {question.device.title}.",
        reasons=tuple(_refusals(smallest)),
    )


def _refusals(question: Question) -> Iterator[str]:
    base, usable = _base(question), question.device.usable_bytes
    row = _usual(question)
    if base > usable:
        yield (
            f"Its weights alone take {gibibytes(base)} in nf4, the smallest precision here; "
            f"{question.device.title} leaves {gibibytes(usable)}."
        )
    else:
        yield (
            f"Even one row takes {gibibytes(row.memory.total)}, "
            f"{gibibytes(row.memory.activations)} of it activations, with gradient checkpointing. "
            "Shorter texts bring that down."
        )
    card = _smallest_card(question)
    if card is not None:
        yield (
            f"The smallest card known here that trains {row.recipe.name} over it is {card.title}, "
            f"with {gibibytes(_usual(replace(question, device=card)).memory.total)} for one row at "
            "a time and gradient checkpointing."
        )
    if usable and question.device.is_gpu:
        cards = -(-row.memory.total // usable)
        yield f"Split over several of these, it would take at least {cards} of them."
    model = _largest_model(question)
    if model is not None:
        yield (
            f"The largest known model that trains here is {model.name} "
            f"({model.parameters / 1e9:.1f} billion parameters)."
        )


def _smallest_card(question: Question) -> Device | None:
    cards = sorted(DEVICES.values(), key=lambda device: device.memory_bytes)
    return next((card for card in cards if _trains(replace(question, device=card))), None)


def _largest_model(question: Question) -> ModelShape | None:
    shapes = sorted(KNOWN_SHAPES.values(), key=lambda shape: -shape.parameters)
    return next((shape for shape in shapes if _trains(replace(question, shape=shape))), None)


def _trains(question: Question) -> bool:
    return _usual(question).fits


def _usual(question: Question) -> MethodPlan:
    """Return the plan of LoRA, or of vectors where the model has no layers for it."""
    return make_plan(question, ("lora", "prompt_tuning")).rows[0]
