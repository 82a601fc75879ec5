"""What prompt tuning can be asked besides: a path, a warm start, a sentence to say; and PEZ."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from workbench.errors import ConfigError
from workbench.fitting.prediction import predict
from workbench.methods.catalog import make_method
from workbench.models.vocabulary import embedding_table, nearest_tokens, ordinary_tokens
from workbench.progress import Interrupted
from workbench.training.folder import PATH_FOLDER
from workbench.training.score import DevScore

QUICK = {"steps": 12, "batch_size": 4, "eval_every": 4, "learning_rate": 0.01}
SENTENCE = "A cup of tea."


def path_of(context) -> dict[int, torch.Tensor]:
    files = sorted((context.folder / PATH_FOLDER).glob("*.safetensors"))
    return {int(file.stem): load_file(file)["prompt_embeddings"] for file in files}


def learned(fitted) -> torch.Tensor:
    return fitted.prefix.pieces[-1].cpu()


# The path


def test_the_path_goes_from_the_start_to_the_end_at_each_evaluation(toy_context):
    method = make_method("prompt_tuning", QUICK)

    fitted = method.fit(toy_context)

    path = path_of(toy_context)
    assert list(path) == [0, 4, 8, 12]
    torch.testing.assert_close(path[0], method.initial_vectors(toy_context).cpu())
    assert torch.equal(path[fitted.cost.best_step], learned(fitted))
    assert not torch.equal(path[4], path[8])


def test_a_stopped_run_leaves_the_same_path_when_resumed(toy_context):
    whole = replace(toy_context, folder=toy_context.folder / "whole")
    make_method("prompt_tuning", QUICK).fit(whole)
    asked = iter([False] * 6 + [True])
    parts = replace(toy_context, folder=toy_context.folder / "parts")

    with pytest.raises(Interrupted):
        make_method("prompt_tuning", QUICK).fit(replace(parts, should_stop=lambda: next(asked)))
    make_method("prompt_tuning", QUICK).fit(parts)

    one, other = path_of(whole), path_of(parts)
    assert set(one) <= set(other)
    for step, vectors in one.items():
        assert torch.equal(other[step], vectors)


def test_a_path_of_many_evaluations_is_thinned(toy_context):
    options = {"steps": 230, "batch_size": 1, "eval_every": 1, "learning_rate": 0.01}

    make_method("prompt_tuning", options).fit(toy_context)

    steps = list(path_of(toy_context))
    assert len(steps) <= 101
    assert steps[0] == 0
    assert steps[-1] == 230
    assert {b - a for a, b in pairwise(steps)} <= {2, 3}


# A warm start


def test_a_warm_start_starts_where_another_prompt_ended(toy_context, tmp_path):
    first = make_method("prompt_tuning", QUICK)
    fitted = first.fit(toy_context)
    first.save(toy_context, fitted, tmp_path / "adapter")
    options = {"init": "prompt", "init_prompt": str(tmp_path / "adapter")}

    warm = make_method("prompt_tuning", QUICK | options)

    assert torch.equal(warm.initial_vectors(toy_context).cpu(), learned(fitted))
    size = len(learned(fitted))
    longer = make_method("prompt_tuning", options | {"num_virtual_tokens": size + 3})
    repeated = longer.initial_vectors(toy_context).cpu()
    assert len(repeated) == size + 3
    assert torch.equal(repeated[size:], learned(fitted)[:3])


def test_a_warm_start_leaves_the_chat_header_out(tiny_engine, toy_encoder, toy_context, tmp_path):
    chat = replace(toy_context, encoder=replace(toy_encoder, chat=True))
    assert chat.encoder.start().head_ids
    first = make_method("prompt_tuning", QUICK)
    fitted = first.fit(chat)
    first.save(chat, fitted, tmp_path / "adapter")
    options = {"init": "prompt", "init_prompt": str(tmp_path / "adapter")}

    start = make_method("prompt_tuning", options).initial_vectors(chat).cpu()

    assert torch.equal(start, learned(fitted))


# A sentence to say (waywardness)


def says(**options) -> dict[str, object]:
    return QUICK | {"says": SENTENCE} | options


def test_without_strength_it_is_plain_prompt_tuning_bit_for_bit(toy_context):
    wayward = replace(toy_context, folder=toy_context.folder / "wayward")
    text = {"init": "text", "init_text": SENTENCE}
    size = len(toy_context.encoder.encode(SENTENCE))

    one = make_method("prompt_tuning", says(says_strength=0.0)).fit(wayward)
    other = make_method("prompt_tuning", QUICK | text | {"num_virtual_tokens": size}).fit(
        toy_context
    )

    assert torch.equal(learned(one), learned(other))


def test_a_huge_strength_holds_the_vectors_at_the_sentence(toy_context):
    ids = toy_context.encoder.encode(SENTENCE)

    strong = make_method("prompt_tuning", says(says_strength=1e6, learning_rate=1e-4))
    weak = make_method("prompt_tuning", says(says_strength=0.0, learning_rate=1e-1))
    held = learned(strong.fit(replace(toy_context, folder=toy_context.folder / "strong")))
    free = learned(weak.fit(replace(toy_context, folder=toy_context.folder / "weak")))

    target = toy_context.engine.forward.embed(ids).cpu()
    table = embedding_table(toy_context.engine.forward).cpu()
    assert tuple(nearest_tokens(table, held).tolist()) == ids
    assert (held - target).norm() < 0.05 * (free - target).norm()


def test_steps_that_no_longer_say_it_are_kept_only_for_want_of_better():
    good = DevScore(0.9, 0.3, 100, is_admissible=False)
    poor = DevScore(0.5, 0.9, 100, is_admissible=True)

    assert poor.better_than(good)
    assert not good.better_than(poor)
    assert good.better_than(None)
    assert good.better_than(DevScore(0.5, 0.9, 100, is_admissible=False))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "prompt"}, "init 'prompt' and init_prompt belong together"),
        ({"init_prompt": "x"}, "init 'prompt' and init_prompt belong together"),
        ({"init_text": "x"}, "init 'text' and init_text belong together"),
        ({"says": "   "}, "no words in it"),
        ({"says": "x y", "init": "random"}, "Leave init and num_virtual_tokens out"),
        ({"says": "x y", "num_virtual_tokens": 5}, "Leave init and num_virtual_tokens out"),
    ],
)
def test_options_that_do_not_go_together_are_refused(toy_context, options, message):
    with pytest.raises(ConfigError, match=message):
        make_method("prompt_tuning", QUICK | options).fit(toy_context)


# Hard prompts (PEZ)


def test_a_hard_prompt_is_ordinary_tokens_and_scores_as_their_embeddings(toy_context, tmp_path):
    method = make_method("hard_prompt", QUICK | {"learning_rate": 0.3, "num_tokens": 6})

    fitted = method.fit(toy_context)

    (ids,) = fitted.prefix.pieces
    ordinary = ordinary_tokens(toy_context.encoder.tokenizer, 257)
    assert len(ids) == 6
    assert bool(ordinary[list(ids)].all())
    method.save(toy_context, fitted, tmp_path / "adapter")
    table = embedding_table(toy_context.engine.forward).cpu()
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")["prompt_embeddings"]
    assert torch.equal(stored, table[list(ids)])  # exactly rows of the table
    text = (toy_context.folder / "prompt.txt").read_text()
    assert text == toy_context.encoder.tokenizer.decode(list(ids)) + "\n"
    samples = toy_context.task.test
    soft = make_method("prompt_tuning", {}).restore(toy_context, tmp_path / "adapter")
    for one, other in zip(
        predict(toy_context.engine, fitted, samples),
        predict(toy_context.engine, soft, samples),
        strict=True,
    ):
        np.testing.assert_allclose(
            list(one.probabilities.values()), list(other.probabilities.values()), atol=1e-6
        )


def test_a_hard_prompt_keeps_the_best_it_saw_and_beats_its_start(toy_context):
    options = {"steps": 60, "eval_every": 5, "batch_size": 8, "learning_rate": 0.5, "num_tokens": 8}

    fitted = make_method("hard_prompt", options).fit(toy_context)

    lines = (toy_context.folder / "history.jsonl").read_text().splitlines()
    evaluated = [json.loads(line) for line in lines if "dev_loss" in line]
    best = min(entry["dev_loss"] for entry in evaluated)
    assert evaluated[0]["dev_loss"] > best
    kept = next(e for e in evaluated if e["step"] == fitted.cost.best_step)
    assert kept["dev_loss"] == pytest.approx(best, abs=0.2)
    assert kept["dev_accuracy"] >= evaluated[0]["dev_accuracy"]


def test_nearest_tokens_in_torch_and_numpy_agree(toy_context):
    from workbench.readings.vectors.neighbours import Vocabulary, nearest

    table = embedding_table(toy_context.engine.forward).cpu()
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32))
    allowed = torch.arange(len(table)) % 3 != 0
    vocabulary = Vocabulary(table.numpy(), [""] * len(table), allowed.numpy())

    found = nearest(vocabulary, vectors.numpy(), measures=("cosine", "distance"))

    for by_cosine, measure in ((True, "cosine"), (False, "distance")):
        ids = nearest_tokens(table, vectors, by_cosine=by_cosine, among=allowed)
        assert ids.tolist() == found[measure].ids[:, 0].tolist()
