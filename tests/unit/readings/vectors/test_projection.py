"""Projections: against numpy, a definition written out, groups that must stay together; apart."""

import subprocess
import sys

import numpy as np
import psutil
import pytest

from workbench.progress import Interrupted
from workbench.readings.vectors import projection_process
from workbench.readings.vectors.projection import METHODS, directions, project
from workbench.readings.vectors.projection_process import project_apart


def blobs(num=100, width=16, *, seed=0):
    """Return tokens (num, width) in two groups far apart, and the group of each."""
    generator = np.random.default_rng(seed)
    centres = 3 * np.eye(2, width)
    groups = np.arange(num) % 2
    return (centres[groups] + 0.3 * generator.normal(size=(num, width))).astype(np.float32), groups


def projected(tokens, vectors, *, method, seed=0):
    """Return the projection; UMAP where it does not slow the other tests down."""
    apart = project_apart if method == "umap" else project
    return apart(tokens, vectors, method=method, seed=seed)


def processes():
    """Return the processes that projections run in."""
    children = psutil.Process().children()
    return [c for c in children if any("projection_process" in part for part in c.cmdline())]


def trustworthiness_by_definition(rows, placed, k):
    """Return Venna and Kaski's figure with plain loops."""

    def ranks(points, i):
        order = sorted(range(len(points)), key=lambda j: np.linalg.norm(points[i] - points[j]))
        order.remove(i)
        return {j: rank for rank, j in enumerate(order, start=1)}

    n, penalty = len(rows), 0
    for i in range(n):
        in_space, in_plane = ranks(rows, i), ranks(placed, i)
        penalty += sum(max(0, in_space[j] - k) for j in in_plane if in_plane[j] <= k)
    return 1 - 2 * penalty / (n * k * (2 * n - 3 * k - 1))


def test_principal_components_are_those_of_numpy():
    tokens, _ = blobs()
    vectors = np.random.default_rng(1).normal(size=(7, 16))

    found = project(tokens, vectors, method="pca")

    mean = tokens.mean(axis=0)
    axes = np.linalg.svd((tokens - mean).astype(np.float64), full_matrices=False)[2][:2]
    for got, rows in ((found.tokens, tokens), (found.vectors, vectors)):
        expected = (rows - mean) @ axes.T
        assert np.abs(got) == pytest.approx(np.abs(expected), abs=1e-5)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_fidelity_is_trustworthiness_by_its_definition(method):
    tokens, _ = blobs(30)
    vectors = np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)

    found = project(tokens, vectors, method=method)

    rows = np.concatenate([tokens, vectors]).astype(np.float64)
    if method == "tsne":
        rows = directions(rows, tokens.mean(axis=0, dtype=np.float64))
    placed = np.concatenate([found.tokens, found.vectors])
    assert found.num_compared == 34
    assert found.fidelity == pytest.approx(trustworthiness_by_definition(rows, placed, 15))


@pytest.mark.parametrize("method", METHODS)
def test_vectors_land_in_the_group_they_lie_in(method):
    tokens, groups = blobs()
    vectors = np.stack([tokens[groups == group].mean(axis=0) for group in (0, 1)])

    found = projected(tokens, vectors, method=method)

    for group in (0, 1):
        distances = np.linalg.norm(found.tokens - found.vectors[group], axis=1)
        assert set(groups[np.argsort(distances)[:20]]) == {group}
    assert 0.6 < found.fidelity <= 1


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_picture(method):
    tokens, _ = blobs()

    first, second = (projected(tokens, tokens[:9] + 1, method=method, seed=3) for _ in range(2))

    assert np.array_equal(first.tokens, second.tokens)
    assert np.array_equal(first.vectors, second.vectors)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["one vector", "duplicates", "at the mean", "few tokens", "none"])
def test_unusual_rows_are_placed(method, case):
    tokens, _ = blobs()
    vectors = {
        "one vector": tokens[:1] + 0.1,
        "duplicates": np.repeat(tokens[:1], 40, axis=0),
        "at the mean": tokens.mean(axis=0, keepdims=True),
        "few tokens": tokens[:3],
        "none": tokens[:0],
    }[case]
    if case == "duplicates":
        tokens = np.concatenate([np.repeat(tokens[:1], 50, axis=0), tokens])
    if case == "few tokens":
        tokens = tokens[:5]

    found = projected(tokens, vectors, method=method)

    assert found.tokens.shape == (len(tokens), 2)
    assert found.vectors.shape == (len(vectors), 2)
    assert np.isfinite(found.tokens).all()
    assert np.isfinite(found.vectors).all()
    assert 0 <= found.fidelity <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.zeros((2, 3))}, "do not fit together"),
        ({"tokens": np.zeros((4, 16))}, "4 tokens of width 16; allowed: 5 to 4000"),
        ({"tokens": np.ones((9, 16))}, "all tokens are the same"),
        ({"vectors": np.full((2, 16), np.nan)}, "finite"),
        ({"method": "mds"}, "unknown method 'mds'; known: umap, tsne, pca"),
    ],
)
def test_what_cannot_be_projected_is_refused(change, message):
    tokens, _ = blobs()
    rows = {"tokens": tokens, "vectors": tokens[:2], "method": "pca"} | change

    for one in (project, project_apart):
        with pytest.raises(ValueError, match=message):
            one(rows["tokens"], rows["vectors"], method=rows["method"])


def test_directions_have_length_one_or_none():
    rows = np.array([[3.0, 4.0], [1.0, 1.0], [1.0, -4.0]])

    found = directions(rows, np.array([1.0, 1.0]))

    assert found == pytest.approx(np.array([[2 / 13**0.5, 3 / 13**0.5], [0, 0], [0, -1]]))


def test_apart_is_the_same_as_here_and_the_process_is_kept_without_torch():
    tokens, _ = blobs()

    apart = project_apart(tokens, tokens[:3], method="pca")

    here = project(tokens, tokens[:3], method="pca")
    assert apart.tokens == pytest.approx(here.tokens, abs=1e-9)
    assert (apart.fidelity, apart.num_compared) == (here.fidelity, here.num_compared)
    before = processes()
    project_apart(tokens, tokens[:3], method="pca")
    assert processes() == before
    assert len(before) == 1
    assert not [m.path for m in before[0].memory_maps() if "torch" in m.path]


def test_a_stopped_projection_ends_its_process_and_the_next_one_works():
    tokens, _ = blobs(2000)
    seconds = []

    with pytest.raises(Interrupted, match="the projection was stopped"):
        project_apart(
            tokens,
            tokens[:3],
            method="tsne",
            should_stop=lambda: len(seconds) > 1,
            waiting=seconds.append,
        )

    assert processes() == []
    assert seconds == sorted(seconds)
    assert project_apart(tokens, tokens[:3], method="pca").vectors.shape == (3, 2)


def test_a_process_that_dies_is_an_error_and_not_a_wait():
    tokens, _ = blobs(2000)
    project_apart(tokens, tokens[:3], method="pca")
    (process,) = processes()

    with pytest.raises(RuntimeError, match="the projection's process ended with -9"):
        project_apart(tokens, tokens[:3], method="tsne", waiting=lambda seconds: process.kill())

    assert processes() == []


def test_what_goes_wrong_in_the_process_is_told_and_the_next_one_works(monkeypatch):
    tokens, _ = blobs()
    monkeypatch.setattr(projection_process, "check_rows", lambda *rows: None)

    with pytest.raises(
        RuntimeError,
        match=r"(?s)^the projection's process ended with 1\nTraceback.*unknown method 'nowhere'",
    ):
        project_apart(tokens, tokens[:3], method="nowhere")

    assert processes() == []
    assert project_apart(tokens, tokens[:3], method="pca").vectors.shape == (3, 2)


def test_the_process_imports_nothing_heavy_before_it_must():
    program = (
        "import sys, workbench.readings.vectors.projection_process as _;"
        "print(sorted({'torch', 'transformers', 'umap', 'numba', 'gradio'} & set(sys.modules)))"
    )

    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert found.stdout == "[]\n"
