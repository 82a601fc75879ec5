"""What a worker works with: sessions equal to the driver's, or a word on why they are not."""

from dataclasses import replace

import pytest

from toys import TOY_TEMPLATE, make_toy_task, open_tiny
from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError
from workbench.methods.catalog import make_method
from workbench.models.engine import Engine
from workbench.progress import ignore_progress
from workbench.runs.execute import RunRequest
from workbench.runs.experiment import Experiment
from workbench.runs.session import Session
from workbench.runs.store import RunStore
from workbench.training.ranks import Ranks
from workbench.workers.bench import Bench, check_store, parts_of
from workbench.workers.executor import RunWork
from workbench.workers.work import Done, Failed, Unfit, UnfitWorker


@pytest.fixture(scope="module")
def session(tiny_folder) -> Session:
    base = open_tiny(tiny_folder)
    encoder = PromptEncoder(base.tokenizer, TOY_TEMPLATE, make_toy_task(12, 4, 6))
    return Session(Engine(base), encoder, ranks=Ranks(2))


@pytest.fixture(scope="module")
def asked(tiny_folder) -> Experiment:
    return Experiment(model=str(tiny_folder), precision="fp32")


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench("node-2", RunStore(tmp_path))


def work_of(session: Session, method: str = "zero_shot", **options: object) -> RunWork:
    request = RunRequest("row", make_method(method, options), 0)
    return RunWork("key", "base", request, session.spec_of(request.method, 0))


def test_a_worker_makes_the_run_of_the_driver(session, asked, bench):
    bench.take({"key": parts_of(session, asked)})
    steps = {"steps": 2, "batch_size": 2, "eval_every": 1}

    answer = bench.do(work_of(session, "lora", **steps), ignore_progress)

    assert answer == Done(False)
    (run,) = bench.store.runs()
    assert (run.record.status, run.spec.processes) == ("finished", 2)
    assert bench.do(work_of(session, "lora", **steps), ignore_progress) == Done(True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"compute_dtype": "bfloat16"}, "(products in float32)"),
        ({"device": "cuda"}, "on cpu"),
        ({"identity": "other weights"}, "on base"),
    ],
)
def test_a_worker_that_comes_to_something_else_is_unfit_and_says_how(
    changes, said, session, asked, bench
):
    """It was asked for one thing and its machine has another, whatever it was told."""
    parts = parts_of(session, asked)
    base = parts.setting.base.model_copy(update=changes)
    wanted = replace(parts, setting=parts.setting.model_copy(update={"base": base}))
    bench.take({"key": wanted})

    answer = bench.do(work_of(session), ignore_progress)

    assert isinstance(answer, Unfit)
    assert answer.reason.startswith("node-2")
    assert said in answer.reason or "weights" in answer.reason
    assert bench.store.runs() == []


def test_a_run_that_comes_to_another_spec_fails_alone(session, asked, bench):
    bench.take({"key": parts_of(session, asked)})
    work = work_of(session)
    other = replace(work, spec=work.spec.model_copy(update={"seed": 7}))

    answer = bench.do(other, ignore_progress)

    assert isinstance(answer, Failed)
    assert isinstance(answer.error(), ConfigError)
    assert "comes to another run on node-2" in answer.message


def test_a_store_is_made_where_it_is_not_there_and_known_by_its_mark(tmp_path):
    store = RunStore(tmp_path / "new")
    check_store(store, "node-2", "")
    assert store.root.is_dir()

    with pytest.raises(UnfitWorker, match="is another folder there"):
        check_store(store, "node-2", ".mark")
    (store.root / ".mark").write_bytes(b"")
    check_store(store, "node-2", ".mark")

    assert [path.name for path in store.root.iterdir()] == [".mark"]
