"""One training on two processes: the numbers of one process, whatever is trained.

Two oracles: one process that runs the same parts in turn has the same bits, dropout included; one
that knows no parts has, without dropout, the same parameters but for rounding. Adam makes much of
a gradient near nothing, so single parameters may part; what a mistake would do is the measure.
"""

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from joint_processes import (
    CASES,
    SEED_OF,
    STOPPED,
    exchanges,
    fit_all,
    run_processes,
    summands,
    toy_session,
    trained_parameters,
    trainings,
)
from workbench.methods.catalog import make_method
from workbench.tensor_files import open_tensors
from workbench.training.ranks import Ranks

TOLERANCE = 1e-5
WITH_DROPOUT = {name for name in CASES if name.endswith("_dropout")}


class Unfair(Ranks):
    """Two parts, of which the second weighs 1 % too much."""

    def total(self, summands):
        first, second = summands
        return first + second * 1.01


def in_one_process(folder: Path, ranks: Ranks) -> None:
    session = replace(toy_session(folder.parent / "tiny"), ranks=ranks)
    with trained_parameters(folder / "parameters"):
        fit_all(session, folder)
        if folder.name == "in_turn":
            for name in ("ours", "theirs"):
                context = session.context(SEED_OF[name], folder / name, adapter_name=name)
                make_method(*STOPPED).fit(context)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Return a folder with all cases, trained jointly, in turn, by one process, and unfairly."""
    folder = tmp_path_factory.mktemp("made")
    ended = run_processes(trainings, folder)
    killed = -signal.SIGKILL
    assert [one.returncode for one in ended] == [0, killed], [one.stderr[-2000:] for one in ended]
    in_one_process(folder / "in_turn", Ranks(2))
    in_one_process(folder / "plain", Ranks())
    in_one_process(folder / "unfair", Unfair(2))
    return folder


def files(folder: Path) -> list[Path]:
    """Return files of parameters in the order of their trainings."""
    return sorted(folder.glob("*.safetensors"))


def history(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: entry[name] for name in entry if name != "seconds"} for entry in lines]


def differences(one: Path, other: Path) -> dict[str, float]:
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    return {name: float((first[name] - second[name]).abs().max()) for name in first}


def mean_difference(one: Path, other: Path) -> float:
    """Return the root of the mean squared difference over all parameters."""
    first, second = load_file(one), load_file(other)
    gaps = [(first[name] - second[name]).double().flatten() for name in first]
    return float(torch.cat(gaps).square().mean().sqrt())


def numbers_of(case: str, folder: Path) -> list[int]:
    """Return which trainings are a case's; an ensemble has one for each member."""
    order = list(CASES)
    members = {"prompt_ensemble": 3}
    begin = sum(members.get(one, 1) for one in order[: order.index(case)])
    assert len(files(folder)) >= sum(members.get(one, 1) for one in order)
    return list(range(begin, begin + members.get(case, 1)))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_bits_of_one_that_runs_their_parts_in_turn(case, made):
    joint, in_turn = files(made / "parameters-0"), files(made / "in_turn" / "parameters")

    for number in numbers_of(case, made / "parameters-0"):
        assert set(differences(joint[number], in_turn[number]).values()) == {0.0}
    assert history(made / "joint" / case) == history(made / "in_turn" / case)


@pytest.mark.parametrize("case", CASES)
def test_all_processes_end_with_the_same_parameters(case, made):
    first, second = files(made / "parameters-0"), files(made / "parameters-1")

    for number in numbers_of(case, made / "parameters-0"):
        assert set(differences(first[number], second[number]).values()) == {0.0}


@pytest.mark.parametrize("case", sorted(set(CASES) - WITH_DROPOUT))
def test_two_processes_have_the_parameters_of_one(case, made):
    joint, plain = files(made / "parameters-0"), files(made / "plain" / "parameters")
    unfair = files(made / "unfair" / "parameters")

    for number in numbers_of(case, made / "parameters-0"):
        mistake = mean_difference(unfair[number], plain[number])
        assert mean_difference(joint[number], plain[number]) < mistake / 30


@pytest.mark.parametrize("case", sorted(set(CASES) - WITH_DROPOUT))
def test_dev_is_scored_alike_by_two_processes_and_by_one(case, made):
    joint, plain = history(made / "joint" / case), history(made / "plain" / case)

    assert [entry.keys() for entry in joint] == [entry.keys() for entry in plain]
    for mine, theirs in zip(joint, plain, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=TOLERANCE)


@pytest.mark.parametrize("case", sorted(WITH_DROPOUT))
def test_each_part_draws_its_own_dropout(case, made):
    joint, plain = files(made / "parameters-0"), files(made / "plain" / "parameters")
    (number,) = numbers_of(case, made / "parameters-0")

    assert max(differences(joint[number], plain[number]).values()) > TOLERANCE


def test_training_moves_the_parameters_by_more_than_the_tolerance(made):
    plain = files(made / "plain" / "parameters")

    for case in CASES:
        for number in numbers_of(case, made / "plain" / "parameters"):
            values = load_file(plain[number])
            assert all(torch.isfinite(value).all() for value in values.values())
        steps = [entry["loss"] for entry in history(made / "plain" / case) if "loss" in entry]
        assert max(steps) - min(steps) > 100 * TOLERANCE, case


def test_only_the_first_process_writes_into_the_folder_of_the_run(made):
    for case in set(CASES) - {"prompt_ensemble"}:
        assert (made / "joint" / case / "checkpoint.safetensors").is_file()
    assert not [path for path in made.iterdir() if path.name.startswith("workbench-")]


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_a_stop_that_any_process_is_asked_for_keeps_a_checkpoint_to_go_on_from(name, made):
    found = json.loads((made / "found.json").read_text())[name]
    stopped = {"ours": -2, "theirs": -1}[name]
    joint, second = files(made / "parameters-0"), files(made / "parameters-1")
    in_turn = files(made / "in_turn" / "parameters")

    assert found == "training stopped after step 4 of 7"
    assert history(made / name) == history(made / "in_turn" / name)
    assert set(differences(joint[stopped], in_turn[stopped]).values()) == {0.0}
    assert len(second) > len(joint) - 1
    assert set(differences(second[len(joint) + stopped], joint[stopped]).values()) == {0.0}


def test_lack_of_memory_in_one_process_ends_that_training_alone(made):
    found = json.loads((made / "found.json").read_text())

    assert found["memory"] == (
        "RunError: process 2 of 2: out of memory (CUDA out of memory. Tried to allocate 20 MB.). "
        "Each process holds a base of its own: use fewer processes on a machine, micro_batch_size "
        "1, or gradient_checkpointing."
    )
    assert found["whole"] == "nothing"


def test_a_killed_process_ends_the_training_with_a_checkpoint_and_a_message(made):
    found = json.loads((made / "found.json").read_text())

    lost = "training on 2 processes: another process ended or does not answer (its connection is "
    assert found["killed"] == (
        f"RankLost: {lost}gone). The training stopped after step 5 of 7, of which there is a "
        "checkpoint; the same command goes on from there."
    )
    assert found["later"] == f"RankLost: {lost}gone)."
    with open_tensors(made / "killed" / "checkpoint.safetensors", needs_digest=True) as stored:
        assert json.loads(stored.metadata()["position"])["step"] == 5


def test_a_process_with_another_base_is_refused_in_every_one(made):
    found = [json.loads((made / f"unlike-{rank}.json").read_text()) for rank in (0, 1)]

    assert found[0] == found[1]
    assert re.fullmatch(
        r"ConfigError: processes: process 2 of 2 has base local:\w+ where the first has local:\w+. "
        "Start all with the same base, precision, compute_dtype, device and versions.",
        found[0],
    )


@pytest.fixture(scope="module")
def exchanged(tmp_path_factory) -> list[dict[str, object]]:
    """Return what the first two of three processes found; the third one stands still at the end."""
    folder = tmp_path_factory.mktemp("exchanged")
    ended = run_processes(exchanges, folder, 3)
    assert [one.returncode for one in ended[:2]] == [0, 0], ended
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in (0, 1)]


def test_vectors_are_summed_in_the_order_of_the_processes(exchanged):
    vectors = summands(3, 7)
    expected = ((vectors[0] + vectors[1]) + vectors[2]).tolist()

    for found in exchanged:
        assert found["total"] == found["after"] == expected
    assert expected != (vectors[0] + (vectors[1] + vectors[2])).tolist()


def test_tables_of_any_length_are_gathered_and_the_first_is_shared(exchanged):
    for found in exchanged:
        assert found["gathered"] == [[], [[1.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]]]
        assert found["first"] == "from 0"


def test_what_goes_wrong_in_one_process_is_raised_in_all(exchanged):
    memory = (
        "RunError: process 2 of 3: out of memory (can't allocate memory: 5 GB). Each process holds "
        "a base of its own: use fewer processes on a machine, micro_batch_size 1, or "
        "gradient_checkpointing."
    )
    for found in exchanged:
        assert found["theirs"] == "ModelError: a rate too high"
        assert found["ours"] == (
            "RunError: process 3 of 3: ended by an error of ours (ValueError: no such thing)."
        )
        assert found["memory"] == memory
        assert found["stop"] == "Interrupted: asked to stop"
        assert found["inside"] == "ModelError: while summing"
        assert found["outside"] == "ModelError: outside"


def test_a_process_that_stands_still_is_waited_for_no_longer_than_said(exchanged):
    for found in exchanged:
        first, again = found["silence"]
        assert first == again
        assert re.match(r"RankLost: training on 3 processes: another process ended or does", first)
