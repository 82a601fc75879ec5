"""What a step holds, against tensors counted in a real step, and published figures."""

from dataclasses import replace

import pytest
import torch

from architectures import save_tiny
from toys import open_tiny
from workbench.batches import Example
from workbench.budget.known import CPU_TERAFLOPS, DEVICES, GIB, KNOWN_SHAPES, any_gpu, processor
from workbench.budget.memory import (
    BUDGET_PRECISIONS,
    HEAD_BLOCK_BYTES,
    LOGIT_ROWS,
    SCORING_TOKENS,
    MemoryEstimate,
    Storage,
    Workload,
    base_bytes,
    kv_bytes_per_token,
    training_memory,
)
from workbench.budget.plan import Question, make_plan, training_flops
from workbench.budget.sources import find_shape
from workbench.budget.trained import RECIPES, AdaptOptions
from workbench.models import engine as engine_module
from workbench.models import output_head, scoring
from workbench.models.base import Prefix
from workbench.models.engine import Engine
from workbench.models.loading import PRECISIONS
from workbench.training.loss import answer_loss

ON_CPU = {name: Storage(name, is_gpu=False) for name in BUDGET_PRECISIONS}
GPT_3, LLAMA_65B = KNOWN_SHAPES["gpt-3-175b"], KNOWN_SHAPES["llama-65b"]


def test_the_budget_knows_the_precisions_of_the_workbench():
    assert BUDGET_PRECISIONS == PRECISIONS


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_footprint_is_that_of_a_loaded_base(tiny_folder, precision):
    loaded = open_tiny(tiny_folder, precision)

    estimate = base_bytes(find_shape(str(tiny_folder)), ON_CPU[precision])

    assert estimate == pytest.approx(loaded.info.footprint_bytes, rel=0.02)


@pytest.mark.slow
def test_the_footprint_is_that_of_the_default_base_in_nf4(real_base):
    shape = KNOWN_SHAPES["smollm2-135m-instruct"]

    assert base_bytes(shape, ON_CPU["nf4"]) == pytest.approx(
        real_base.info.footprint_bytes, rel=0.02
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_keys_and_values_are_those_of_the_engine(tiny_folder, precision):
    engine = Engine(open_tiny(tiny_folder, precision))

    estimate = kv_bytes_per_token(find_shape(str(tiny_folder)), ON_CPU[precision])

    assert estimate == engine.forward.cache_bytes_per_token


def test_the_sizes_of_scoring_batches_are_those_of_the_engine():
    assert engine_module._MAX_BATCH_TOKENS == SCORING_TOKENS
    assert scoring._LOGIT_ROWS == LOGIT_ROWS
    assert output_head._BLOCK_BYTES == HEAD_BLOCK_BYTES


def nodes_below(node):
    """Return every node of the graph that a backward pass from here visits."""
    found, waiting = set(), [node]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [below for below, _ in node.next_functions]
    return found


def counted_activations(engine, prefix, adapter, batch, **options):
    """Return the bytes autograd keeps for the backward pass, each storage once, base left out."""
    seen = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = answer_loss(engine, prefix, adapter, batch, **options)
    for node in nodes_below(loss.grad_fn):  # bitsandbytes keeps some past the hooks
        for tensor in getattr(node, "tensors", ()):
            if tensor is not None:
                note(tensor)
    model = engine.forward.model
    restored = [m.restored for m in model.modules() if getattr(m, "restored", None) is not None]
    weights = [*model.parameters(), *model.buffers(), *restored]
    ours = {tensor.untyped_storage().data_ptr() for tensor in weights}
    return sum(num_bytes for place, num_bytes in seen.items() if place not in ours)


WORKLOADS = {
    "many short rows": (8, 24, 10, 1),
    "one long row": (1, 300, 40, 3),
    "beyond one tree": (16, 160, 20, 2),
}


@pytest.mark.parametrize("rows", WORKLOADS.values(), ids=WORKLOADS)
@pytest.mark.parametrize("precision", ["nf4", "int8", "bf16", "fp32"])
def test_activations_are_those_autograd_keeps(tiny_folder, precision, rows):
    batch_size, own, shared, answers = rows
    engine = Engine(open_tiny(tiny_folder, precision))
    vectors = torch.nn.Parameter(engine.forward.embed([5] * shared).clone())
    batch = [Example((7,) * (own - answers + 1), (9,) * answers)] * batch_size
    work = Workload(
        batch_size=batch_size, row_tokens=own + shared, shared_tokens=shared, answer_tokens=answers
    )

    counted = counted_activations(engine, Prefix((vectors,)), None, batch)

    estimate = training_memory(
        find_shape(str(tiny_folder)), ON_CPU[precision], RECIPES["prompt_tuning"], AdaptOptions(),
        work,
    )  # fmt: skip
    assert estimate.activations == pytest.approx(counted, rel=0.12)


@pytest.mark.parametrize("rows", WORKLOADS.values(), ids=WORKLOADS)
def test_layers_that_are_run_again_keep_what_the_estimate_says(tiny_folder, rows):
    batch_size, own, shared, answers = rows
    engine = Engine(open_tiny(tiny_folder, "fp32"))
    vectors = torch.nn.Parameter(engine.forward.embed([5] * shared).clone())
    batch = [Example((7,) * (own - answers + 1), (9,) * answers)] * batch_size
    plain = Workload(
        batch_size=batch_size, row_tokens=own + shared, shared_tokens=shared, answer_tokens=answers
    )

    counted = counted_activations(engine, Prefix((vectors,)), None, batch, recomputes=True)

    shape, recipe = find_shape(str(tiny_folder)), RECIPES["prompt_tuning"]
    again, kept = (
        training_memory(shape, ON_CPU["fp32"], recipe, AdaptOptions(), work).activations
        for work in (replace(plain, has_checkpointing=True), plain)
    )
    # The estimate has one layer more, which is there only while it is run again.
    assert counted < again <= counted + kept / shape.layers


@pytest.mark.parametrize(
    "name", ["falcon", "falcon-key-heads", "gemma3", "gpt2", "gpt_neox", "mixtral", "stablelm"]
)
def test_activations_of_other_architectures_are_those_autograd_keeps(tmp_path, name):
    engine = Engine(open_tiny(save_tiny(name, tmp_path), "nf4"))
    vectors = torch.nn.Parameter(engine.forward.embed([5] * 20).clone())
    batch = [Example((7,) * 30, (9,))] * 8
    work = Workload(batch_size=8, row_tokens=50, shared_tokens=20)

    counted = counted_activations(engine, Prefix((vectors,)), None, batch)

    estimate = training_memory(
        find_shape(str(tmp_path)), ON_CPU["nf4"], RECIPES["prompt_tuning"], AdaptOptions(), work
    )
    # GPT-NeoX keeps the one tensor that its queries, keys and values are parts of.
    assert estimate.activations == pytest.approx(counted, rel=0.13)


def test_16_bit_weights_of_gpt_3_take_about_350_gb():
    assert base_bytes(GPT_3, Storage("bf16", is_gpu=True)) == pytest.approx(350e9, rel=0.01)


def test_double_quantisation_saves_what_its_authors_say():
    """0.5 bits of scales become 0.127 (Dettmers et al. 2023, section 3)."""
    single, double = (base_bytes(LLAMA_65B, Storage(name, is_gpu=True))
                      for name in ("nf4-single", "nf4"))  # fmt: skip

    saved_bits = 8 * (single - double) / LLAMA_65B.linear_weights

    assert saved_bits == pytest.approx(0.5 - 0.127, abs=0.001)


def test_a_65b_base_in_nf4_trains_on_48_gb():
    """Dettmers et al. 2023: batch 1, 512 tokens, gradient checkpointing, all linear layers."""
    question = Question(
        LLAMA_65B,
        DEVICES["a6000"],
        options=AdaptOptions(rank=16, targets="all_linear"),
        work=Workload(batch_size=1, row_tokens=512, has_checkpointing=True),
    )

    row = make_plan(question).row("lora")

    assert row.fits
    assert not make_plan(replace(question, device=any_gpu(32))).row("lora").fits


def test_full_fine_tuning_of_65b_takes_more_than_780_gb():
    """Dettmers et al. 2023, section 1: regular 16-bit fine-tuning needs more than 780 GB."""
    work = Workload(batch_size=1, row_tokens=512, has_checkpointing=True)
    estimate = training_memory(
        LLAMA_65B, Storage("bf16", is_gpu=True), RECIPES["full_fine_tuning"], AdaptOptions(), work
    )

    assert estimate.total > 780e9


def test_checkpointing_trades_memory_for_work():
    shape, lora, options = KNOWN_SHAPES["llama-2-13b"], RECIPES["lora"], AdaptOptions()
    plain, checked = Workload(), Workload(has_checkpointing=True)

    memory = [training_memory(shape, ON_CPU["nf4"], lora, options, work).activations
              for work in (plain, checked)]  # fmt: skip
    flops = [training_flops(shape, lora, options, work) for work in (plain, checked)]

    assert memory[1] < memory[0] / 10
    assert 1.4 < flops[1] / flops[0] < 1.6


def test_training_the_base_itself_takes_six_operations_for_each_parameter_and_position():
    """Kaplan et al. 2020, section 2.1, for texts short beside the width."""
    work = Workload(batch_size=1, row_tokens=128, answer_tokens=128)
    shape = GPT_3

    flops = training_flops(shape, RECIPES["full_fine_tuning"], AdaptOptions(), work)

    assert flops == pytest.approx(6 * shape.linear_weights * 128, rel=0.02)


def test_a_frozen_base_takes_two_thirds_of_that():
    work = Workload(batch_size=1, row_tokens=128)

    full, frozen = (training_flops(GPT_3, RECIPES[name], AdaptOptions(), work)
                    for name in ("full_fine_tuning", "prompt_tuning"))  # fmt: skip

    assert frozen / full == pytest.approx(2 / 3, rel=0.01)


def test_a_gib_is_a_gib():
    assert any_gpu(24).memory_bytes == 24 * GIB == DEVICES["rtx-4090"].memory_bytes


def test_gradients_take_the_place_of_activations():
    many = MemoryEstimate(base=100, trained=8, gradients=4, optimizer=8, activations=50, working=5)
    few = replace(many, activations=1, working=1)

    assert many.total == 100 + 8 + 8 + 55
    assert few.total == 100 + 8 + 8 + 4
    assert few.base + few.trained + few.learning + few.passing == few.total
    assert few.on(Storage("nf4", is_gpu=True)).total == few.total
    held = few.on(Storage("nf4", is_gpu=False))
    assert held.living == few.total < held.total


def test_weights_kept_unpacked_come_on_top_and_nothing_is_unpacked_for_a_product():
    shape = KNOWN_SHAPES["smollm2-135m-instruct"]
    asked = (RECIPES["lora"], AdaptOptions(), Workload())
    packed, kept = (
        training_memory(shape, Storage("nf4", is_gpu=False, unpacked_bytes=size), *asked)
        for size in (0, 4)
    )
    largest = max(linear.weights for linear in shape.linears if linear.is_quantised)

    assert kept.base == packed.base
    assert kept.restored == 4 * 106_168_320
    assert kept.living - packed.living == kept.restored - 4 * largest
    assert kept.held < packed.held


def test_a_step_on_a_card_is_never_shorter_than_launching_it():
    card = DEVICES["h100-80"]
    small, large = KNOWN_SHAPES["smollm2-135m-instruct"], KNOWN_SHAPES["llama-2-13b"]
    speed = card.teraflops * 1e12 * card.utilisation

    little = make_plan(Question(small, card)).row("lora")
    much = make_plan(Question(large, card, work=Workload(batch_size=32))).row("lora")
    at_home = make_plan(Question(small, processor(24 * GIB))).row("lora")

    assert little.seconds == 300 * small.layers * card.layer_seconds > 10 * little.flops / speed
    assert much.seconds == much.flops / speed
    assert at_home.seconds == at_home.flops / (CPU_TERAFLOPS * 1e12)
    assert "at least 4 ms" in card.speed_source
