"""The desk: one base in memory, one thread that runs it, and streams that can be left."""

import gc
import logging
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from toys import add_lora
from visitors import keep_rows, local_workspace, tiny_experiment
from workbench.errors import ConfigError, ModelError, TaskError
from workbench.fitting.base import FittedMethod
from workbench.models.base import Prefix
from workbench.progress import Interrupted
from workbench.runs.experiment import Experiment, TaskChoice
from workbench.runs.session import environment
from workbench.serving.desk import ModelDesk

SECONDS = 30  # the most any of these waits for another thread


@pytest.fixture(scope="module")
def experiment(tiny_folder, tmp_path_factory) -> Experiment:
    root = tmp_path_factory.mktemp("desk")
    workspace = local_workspace(root)
    key = keep_rows(workspace, root / "given")
    return tiny_experiment(workspace, tiny_folder, key, {"zero_shot": {}})


@pytest.fixture
def desk():
    desk = ModelDesk()
    yield desk
    desk.close()


@pytest.fixture
def direct() -> ModelDesk:
    return ModelDesk(is_direct=True)


@pytest.fixture(params=["thread", "direct"])
def either(request, desk, direct) -> ModelDesk:
    """Return a desk of each kind."""
    return desk if request.param == "thread" else direct


def other(experiment: Experiment, **changes: object) -> Experiment:
    return experiment.model_copy(update=changes)


# One base


def test_weights_kept_another_way_are_another_base_in_memory_and_the_same_specs(direct, experiment):
    four = other(experiment, precision="nf4")
    sessions = [
        direct.session(other(four, weights_in_memory=way)) for way in ("packed", "restored")
    ]

    assert [s.engine.info.restored_bytes > 0 for s in sessions] == [False, True]
    assert direct.info(other(four, weights_in_memory="packed")).restored_bytes == 0
    packed, restored = (s.spec("zero_shot", {}, 0) for s in sessions)
    assert packed.digest == restored.digest
    said = [environment(s.engine.info)["weights_in_memory"] for s in sessions]
    assert re.fullmatch(r"[\d.]+ kB in 4 bits", said[0])
    assert re.fullmatch(re.escape(said[0]) + r", [\d.]+ kB beside them for speed", said[1])


def test_the_base_stays_as_long_as_it_is_the_one_asked_for(desk, experiment):
    first = desk.call(lambda: desk.session(experiment).engine)

    assert desk.call(lambda: desk.session(experiment).engine) is first


def test_another_choice_takes_the_place_of_the_base(desk, experiment):
    desk.call(lambda: desk.session(experiment))

    desk.call(lambda: desk.session(other(experiment, precision="bf16")))

    assert desk.loaded.precision == "bf16"


def test_the_base_before_is_freed(desk, experiment):
    before = weakref.ref(desk.call(lambda: desk.session(experiment).engine))

    desk.call(lambda: desk.session(other(experiment, precision="bf16")))

    gc.collect()
    assert before() is None


def test_what_was_fitted_on_the_base_before_is_forgotten(desk, experiment):
    fits: list[str] = []

    for precision in ("fp32", "bf16"):
        changed = other(experiment, precision=precision)
        desk.call(lambda e=changed: (desk.session(e), desk.fitted("one", fit_with(desk, fits))))

    assert fits == ["fp32", "bf16"]


def fit_with(desk: ModelDesk, fits: list[str]) -> Callable[[], FittedMethod]:
    def fit() -> FittedMethod:
        fits.append(desk.loaded.precision)
        return FittedMethod(None, None, Prefix())  # type: ignore[arg-type]

    return fit


def test_a_base_that_cannot_be_loaded_leaves_none(desk, experiment, tmp_path):
    desk.call(lambda: desk.session(experiment))

    with pytest.raises(ModelError):
        desk.call(lambda: desk.session(other(experiment, model=str(tmp_path))))

    assert desk.loaded is None


def test_a_base_is_known_without_loading_it_again(desk, experiment):
    desk.info(experiment)
    desk.call(lambda: desk.session(other(experiment, precision="bf16")))

    assert desk.info(experiment).precision == "fp32"
    assert desk.loaded.precision == "bf16"


def test_the_setting_is_what_stands_in_the_specs_of_runs(desk, experiment):
    spec = desk.call(lambda: desk.session(experiment).spec("zero_shot", {}, 0))

    assert desk.setting(experiment) == spec.setting


def test_a_task_is_read_once(desk, experiment):
    assert desk.task(experiment.task) is desk.task(experiment.task)


def test_tasks_used_long_ago_are_read_anew(desk, experiment):
    first = desk.task(experiment.task)
    for seed in range(1, 17):
        desk.task(experiment.task.model_copy(update={"split_seed": seed}))

    assert desk.task(experiment.task) is not first


def test_a_task_that_cannot_be_read_is_not_remembered(desk, tmp_path):
    choice = TaskChoice(name="mine", train=tmp_path / "rows.csv")

    for _ in range(2):
        with pytest.raises(TaskError, match="no such file"):
            desk.task(choice)


def test_what_is_measured_is_measured_once_for_each_base(desk, experiment):
    found = []

    def measure(session: object) -> int:
        found.append(session)
        return len(found)

    numbers = [desk.measured(experiment, measure) for _ in range(3)]
    numbers.append(desk.measured(other(experiment, precision="bf16"), measure))

    assert numbers == [1, 1, 1, 2]


def test_what_was_measured_long_ago_is_measured_again_not_kept_for_ever(desk, experiment):
    """A public page is asked about every upload of every visitor."""
    found = []

    def measure(_: object) -> int:
        found.append(None)
        return len(found)

    desk.measured(experiment, measure)
    for number in range(64):
        asked = other(
            experiment, task=experiment.task.model_copy(update={"limit_test": number + 1})
        )
        desk.measured(asked, measure)

    assert desk.measured(experiment, measure) == 66


def test_a_base_can_be_loaded_before_anybody_asks(either, experiment):
    assert either.warm(experiment).result()

    assert either.call(lambda: either.loaded.precision) == "fp32"


def test_a_base_that_cannot_be_loaded_early_is_only_logged(desk, experiment, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        loading = desk.warm(other(experiment, model=str(tmp_path)))

        assert not loading.result()

    assert "base model not loaded" in caplog.text


# Calls


def test_a_call_returns_what_its_work_returns(either):
    assert either.call(lambda: 7) == 7


def test_an_exception_of_a_call_reaches_who_called(either):
    with pytest.raises(ConfigError, match="wrong"):
        either.call(lambda: (_ for _ in ()).throw(ConfigError("wrong")))


def test_all_calls_run_on_one_thread_that_is_not_the_callers(desk):
    names = {desk.call(lambda: threading.current_thread().name) for _ in range(3)}

    assert len(names) == 1
    assert threading.current_thread().name not in names


def test_a_direct_desk_works_on_the_calling_thread(direct):
    assert direct.call(threading.get_ident) == threading.get_ident()


def test_calls_and_streams_of_eight_threads_come_one_after_the_other(either):
    inside, most = [0], [0]

    def enter() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.002)
        inside[0] -= 1

    def stream(_: Callable[[], bool]) -> Iterator[int]:
        for number in range(3):
            enter()
            yield number

    def ask(number: int) -> object:
        return list(either.stream(stream)) if number % 2 else either.call(enter)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(24)))

    assert most == [1]


# Streams


def count(_: Callable[[], bool]) -> Iterator[int]:
    yield from range(200)


def test_a_stream_has_everything_in_order(either):
    assert list(either.stream(count)) == list(range(200))


def test_an_item_arrives_before_the_next_one_is_made(either):
    has_arrived = threading.Event()

    def work(_: Callable[[], bool]) -> Iterator[str]:
        yield "first"
        assert has_arrived.wait(SECONDS)
        yield "second"

    items = either.stream(work)
    assert next(items) == "first"
    has_arrived.set()

    assert list(items) == ["second"]


def test_a_reader_who_is_slow_gets_everything(desk):
    items = desk.stream(count)
    first = next(items)
    time.sleep(0.3)  # the hand-over is full by now, and its wait was over at least once

    assert [first, *items] == list(range(200))


def test_an_exception_comes_after_the_items_before_it(either):
    def work(_: Callable[[], bool]) -> Iterator[int]:
        yield 1
        raise ConfigError("wrong")

    items = either.stream(work)

    assert next(items) == 1
    with pytest.raises(ConfigError, match="wrong"):
        next(items)


def test_after_an_exception_the_desk_goes_on(either):
    def work(_: Callable[[], bool]) -> Iterator[int]:
        raise ConfigError("wrong")
        yield

    with pytest.raises(ConfigError):
        next(either.stream(work))

    assert either.call(lambda: 7) == 7


def test_work_is_told_that_its_reader_should_stop(desk):
    is_told = threading.Event()

    def work(should_stop: Callable[[], bool]) -> Iterator[int]:
        yield 1
        deadline = time.monotonic() + SECONDS
        while not should_stop() and time.monotonic() < deadline:
            time.sleep(0.01)
        if should_stop():
            is_told.set()

    items = desk.stream(work)
    next(items)
    items.close()

    assert is_told.wait(SECONDS)


def test_a_left_stream_ends_after_the_current_item(either):
    made = []

    def work(_: Callable[[], bool]) -> Iterator[int]:
        for number in range(100_000):
            made.append(number)
            yield number

    items = either.stream(work)
    next(items)
    items.close()
    either.call(lambda: None)

    assert len(made) < 100


def test_a_stream_that_has_not_begun_when_the_desk_closes_ends(desk):
    ended, busy = threading.Event(), threading.Event()

    def read() -> None:
        with pytest.raises(Interrupted, match="closed before this began"):
            list(desk.stream(lambda should_stop: iter([1])))
        ended.set()

    threading.Thread(target=lambda: desk.call(lambda: busy.wait(SECONDS)), daemon=True).start()
    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.2)  # until both wait in line

    desk.close()
    busy.set()

    assert ended.wait(5)


def test_a_left_stream_is_closed_where_it_ran(desk):
    closed_on = []

    def work(_: Callable[[], bool]) -> Iterator[int]:
        try:
            yield from range(100_000)
        finally:
            closed_on.append(threading.get_ident())

    items = desk.stream(work)
    next(items)
    items.close()

    assert [desk.call(threading.get_ident)] == closed_on


def test_a_stream_that_nobody_reads_does_no_work(either):
    made = []

    def work(_: Callable[[], bool]) -> Iterator[int]:
        made.append(1)
        yield 1

    either.stream(work)
    either.call(lambda: None)

    assert made == []


# Previews beside the model


def test_prompts_can_be_looked_at_while_the_model_is_busy(desk, experiment):
    template = desk.call(lambda: desk.session(experiment).encoder.template)
    with desk.encoder(experiment, template) as encoder:
        expected = encoder.start()
    is_busy, is_done = threading.Event(), threading.Event()

    def work() -> bool:
        is_busy.set()
        return is_done.wait(SECONDS)

    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(desk.call, work)
        assert is_busy.wait(SECONDS)
        with desk.encoder(experiment, template) as encoder:
            found = encoder.start()
        is_done.set()
        assert busy.result()

    assert found == expected


def test_a_preview_has_a_tokenizer_of_its_own(desk, experiment):
    session = desk.call(lambda: desk.session(experiment))

    with desk.encoder(experiment, session.encoder.template) as encoder:
        assert encoder.tokenizer is not session.engine.tokenizer


def test_a_look_in_another_precision_puts_no_base_in_anothers_place(desk, experiment):
    """Anybody may look at any time; loading a base takes seconds and is paid by whoever asks."""
    rounded = other(experiment, precision="bf16")
    desk.info(rounded)
    session = desk.call(lambda: desk.session(experiment))

    with desk.encoder(rounded, session.encoder.template) as encoder:
        encoder.start()

    assert desk.loaded == session.engine.info
    assert desk.call(lambda: desk.session(experiment).engine) is session.engine


def test_previews_and_answers_of_many_threads_encode_alike(desk, experiment):
    session = desk.call(lambda: desk.session(experiment))
    fields = session.task.train[0].fields
    expected = desk.call(lambda: session.encoder.own_ids(fields, session.encoder.start()))

    def look(number: int) -> object:
        if number % 2:
            return desk.call(lambda: session.encoder.own_ids(fields, session.encoder.start()))
        with desk.encoder(experiment, session.encoder.template) as encoder:
            return encoder.own_ids(fields, encoder.start())

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(look, range(48)))

    assert found == {expected}


# Fitted methods


@pytest.fixture
def engine(direct, experiment):
    return direct.session(experiment).engine


def adapted(engine, name: str) -> Callable[[], FittedMethod]:
    """Return a fit that puts a weight adapter on the base."""

    def fit() -> FittedMethod:
        add_lora(engine, name, rank=1)
        return FittedMethod(None, None, Prefix(), adapter=name)  # type: ignore[arg-type]

    return fit


def test_a_method_is_fitted_once(direct, engine):
    first = direct.fitted("one", adapted(engine, "one"))

    assert direct.fitted("one", adapted(engine, "one")) is first


def test_the_method_not_used_for_longest_makes_room_with_its_adapter(direct, engine):
    for number in range(32):
        direct.fitted(str(number), adapted(engine, str(number)))
    direct.fitted("0", adapted(engine, "0"))

    direct.fitted("32", adapted(engine, "32"))

    assert "1" not in engine.adapters.names
    assert set(engine.adapters.names) == {str(number) for number in range(33)} - {"1"}


def test_what_was_fitted_can_be_taken_off_the_base(direct, engine):
    first = direct.fitted("one", adapted(engine, "one"))

    direct.forget_fitted()

    assert engine.adapters.names == ()
    assert direct.fitted("one", adapted(engine, "one")) is not first


def test_a_fit_that_fails_is_tried_again(direct, engine):
    def fail() -> FittedMethod:
        raise ConfigError("not trained yet")

    with pytest.raises(ConfigError):
        direct.fitted("one", fail)

    assert direct.fitted("one", adapted(engine, "one")).adapter == "one"


def test_a_chat_template_is_part_of_the_encoder_not_of_the_base(direct, experiment):
    plain = direct.session(experiment)
    chat = direct.session(other(experiment, chat=True))

    assert chat.engine is plain.engine
    assert replace(chat.encoder, chat=False) == plain.encoder
