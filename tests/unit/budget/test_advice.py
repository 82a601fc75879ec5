"""The questions of a course, answered: what is tried, where it fits, and why not."""

from dataclasses import replace

import pytest

from visitors import store_run
from workbench.budget.advice import advise
from workbench.budget.asked import NUMBERS, ask, find_device
from workbench.budget.finished_runs import measured_costs, runs_below
from workbench.budget.known import DEVICES, GIB, KNOWN_SHAPES, any_gpu, processor
from workbench.budget.memory import Workload
from workbench.budget.plan import Question, kept_bytes, make_plan, serving_bytes
from workbench.budget.trained import RECIPES, AdaptOptions
from workbench.errors import ConfigError

SHAPES = KNOWN_SHAPES


def advice(question):
    return advise(make_plan(question))


def test_13b_five_tasks_16_gb():
    question = Question(SHAPES["llama-2-13b"], any_gpu(16), tasks=5)

    found = advice(question)

    assert found.method == "lora"
    assert found.precision == "nf4"
    full = make_plan(question).row("full_fine_tuning")
    assert not full.fits
    assert any("5 tasks are 5 files" in reason for reason in found.reasons)


def test_70b_on_one_24_gb_card():
    found = advice(Question(SHAPES["llama-2-70b"], DEVICES["rtx-4090"]))

    assert found.method is None
    text = " ".join(found.reasons)
    assert "weights alone" in text
    assert "A100 40 GB" in text
    assert "one row at a time and gradient checkpointing" in text
    assert "at least 2 of them" in text


def test_a_hundred_fine_tuned_versions():
    question = Question(SHAPES["llama-2-7b"], DEVICES["a100-40"], versions=100)
    plan = make_plan(question)

    found = advise(plan)

    lora, full = plan.row("lora"), plan.row("full_fine_tuning")
    assert found.method == "lora"
    assert serving_bytes(question, lora) < question.device.usable_bytes
    assert serving_bytes(question, full) > 100 * 2 * SHAPES["llama-2-7b"].linear_weights
    assert kept_bytes(question, lora) == lora.stored_bytes


def test_more_versions_than_loras_fit_get_smaller_ones():
    shape = SHAPES["llama-2-7b"]
    few = Question(shape, any_gpu(48), options=AdaptOptions(rank=64), versions=2)

    assert advice(few).method == "lora"
    assert advice(replace(few, versions=200)).method == "ia3"


def test_a_base_that_fits_in_no_16_bits_is_advised_in_4():
    found = advice(Question(SHAPES["llama-2-13b"], any_gpu(16), precision="bf16"))

    assert found.precision == "nf4"
    assert "In bf16 nothing can be trained" in found.reasons[0]


@pytest.mark.parametrize("gib", [4, 8, 16, 24, 48, 80, 640])
@pytest.mark.parametrize("name", SHAPES)
def test_what_is_advised_fits(name, gib):
    question = Question(SHAPES[name], any_gpu(gib))

    found = advice(question)

    if found.method is not None:
        work = replace(question.work, has_checkpointing=found.has_checkpointing)
        asked = replace(question, precision=found.precision, work=work)
        assert make_plan(asked).row(found.method).fits
    else:
        assert not make_plan(replace(question, precision="nf4")).row("lora").fits


def test_gradient_checkpointing_is_advised_where_only_it_makes_room():
    question = Question(
        SHAPES["llama-2-13b"], any_gpu(12), work=Workload(batch_size=2, row_tokens=4000)
    )

    found = advice(question)

    assert not make_plan(question).row("lora").fits
    assert found.method == "lora"
    assert found.headline.endswith("in nf4, with gradient checkpointing.")
    assert "With gradient_checkpointing: true layers keep their inputs alone" in found.reasons[0]


def test_long_texts_run_in_parts_and_the_steps_stay_as_many():
    long = Question(SHAPES["llama-2-7b"], any_gpu(80), work=Workload(row_tokens=2000))
    short = replace(long, work=Workload(row_tokens=200))
    asked = replace(short, micro_batch_size=3)

    rows = [make_plan(question).row("lora") for question in (long, short, asked)]

    assert [row.micro_batch_size for row in rows] == [1, 8, 3]
    assert not any(row.is_split_further for row in rows)
    assert rows[1].flops == rows[2].flops
    assert rows[2].memory.passing < rows[1].memory.passing
    assert "run in parts of 1" in " ".join(advice(long).reasons)


def test_a_smaller_part_is_found_before_a_method_is_given_up():
    question = Question(SHAPES["llama-2-13b"], any_gpu(16))

    row = make_plan(question).row("lora")

    assert row.fits
    assert row.micro_batch_size < question.work.batch_size


@pytest.mark.parametrize("name", RECIPES)
def test_more_memory_never_makes_a_method_unfit(name):
    fits = [make_plan(Question(SHAPES["llama-2-7b"], any_gpu(gib))).row(name).fits
            for gib in (2, 6, 12, 24, 48, 80, 200)]  # fmt: skip

    assert fits == sorted(fits)
    assert fits[-1]


def test_a_processor_has_its_own_memory_and_speed():
    cpu = find_device("cpu", None, own_memory_bytes=16 * GIB)

    assert cpu == processor(16 * GIB)
    assert not cpu.is_gpu


def test_a_card_that_is_not_known_is_refused_and_known_ones_are_named():
    with pytest.raises(ConfigError, match="rtx-4090"):
        find_device("rtx-4091", None, own_memory_bytes=GIB)


def test_every_wrong_number_is_named_at_once():
    wrong = dict.fromkeys(NUMBERS, -1)

    with pytest.raises(ConfigError) as error:
        ask(SHAPES["llama-2-7b"], any_gpu(24), precision="3 bits", numbers=wrong)

    assert all(key in str(error.value) for key in NUMBERS)
    assert "3 bits" in str(error.value)


def test_a_row_longer_than_the_model_reads_is_refused():
    with pytest.raises(ConfigError, match="at most 4096 tokens"):
        ask(SHAPES["llama-2-7b"], any_gpu(24), numbers={"length": 5000})


def test_finished_runs_of_the_same_base_and_precision_are_read_and_others_are_not(tmp_path):
    name = "smollm2-135m-instruct"
    base = {"name": name, "identity": "x", "precision": "nf4", "device": "cpu"}
    store_run(tmp_path, base=base, method="lora")
    store_run(tmp_path, base=base, method="lora", seed=1)
    store_run(tmp_path, base=base | {"name": "other/base"}, method="dora")
    store_run(tmp_path, base=base | {"precision": "fp32"}, method="bitfit")
    store_run(tmp_path, base=base | {"device": "cuda"}, method="adalora")
    store_run(tmp_path, base=base, method="ia3", status="failed")
    runs, _ = runs_below(tmp_path)

    here = measured_costs(runs, Question(SHAPES[name], processor(24 * GIB)))
    card = measured_costs(runs, Question(SHAPES[name], DEVICES["t4"]))

    assert {method: costs.runs for method, costs in here.items()} == {"lora": 2}
    assert set(card) == {"adalora"}


def test_versions_that_do_not_fit_together_are_counted_and_not_called_untrainable():
    question = Question(SHAPES["llama-2-7b"], DEVICES["t4"], versions=100)

    found = advice(question)

    assert found.method is None
    assert "100 versions of llama-2-7b do not answer at once" in found.headline
    assert "Each can be trained there" in found.reasons[0]
    (most,) = [int(word) for word in found.reasons[1].split() if word.isdigit()]
    assert advice(replace(question, versions=most)).method is not None
    assert "do not answer" in advice(replace(question, versions=most + 1)).headline


@pytest.mark.parametrize(("name", "card"), [("llama-2-13b", "rtx-3090"), ("llama-2-7b", "t4")])
def test_versions_are_counted_over_the_base_that_serves_most(name, card):
    question = Question(SHAPES[name], DEVICES[card], precision="bf16", versions=1000)

    found = advice(question)

    assert "1000 versions" in found.headline
    assert found.precision == "nf4"
    assert found.reasons == advice(replace(question, precision="nf4")).reasons


def test_what_a_method_adds_has_to_be_read_too():
    options = AdaptOptions(demonstrations=8)
    # It reads 2,048 tokens.
    question = Question(SHAPES["llama-65b"], DEVICES["h100-80"], options=options)
    plan = make_plan(question)

    assert plan.row("few_shot").is_too_long
    assert not plan.row("few_shot").fits
    assert plan.row("prompt_tuning").fits
    assert not any("few_shot" in reason for reason in advise(plan).reasons)


def test_memory_beside_a_named_card_is_refused_and_so_is_none_at_all():
    with pytest.raises(ConfigError, match="80 GB beside 't4', whose memory is known"):
        find_device("t4", 80, own_memory_bytes=GIB)
    with pytest.raises(ConfigError) as error:
        find_device("cpu", 0, own_memory_bytes=GIB)
    assert str(error.value) == (
        "memory: 0 is no amount in GB. Above 0 and up to 100,000 are allowed; give what the device "
        "has, like 16."
    )


def test_a_tight_plan_is_called_tight_also_where_the_batch_was_cut():
    reasons = " ".join(advice(Question(SHAPES["llama-2-13b"], any_gpu(16))).reasons)

    assert "Only 2 of the 8 rows of a batch fit at once. Set micro_batch_size to 2" in reasons
    assert "It is tight" in reasons
    assert "Training takes about" in reasons
