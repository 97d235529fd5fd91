"""A damaged index is done without: everything is searched exactly, and nothing crashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragturbo_runtime.index import cache
from ragturbo_runtime.index.kinds import INDEX_KINDS, is_installed
from tests.faults.index_damage import LAYOUT, index_cases, stored
from tests.faults.index_trial import searched
from tests.faults.workers import CrashProof

SEED = 21


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexes")
    for kind in filter(is_installed, INDEX_KINDS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache, "installed_kind", lambda kind=kind: kind)
            (folder / kind).mkdir()
            assert cache.build_index(folder / kind, LAYOUT, stored(), at_least=1) is not None
    return folder


def test_a_whole_index_is_used(libraries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "EXACT_BELOW", 10)
    assert [searched(library) for library in libraries.iterdir()] == ["by the index"] * len(
        list(libraries.iterdir())
    )


def test_every_damaged_index_is_done_without(libraries: Path, tmp_path: Path) -> None:
    cases = list(index_cases(libraries, SEED))
    assert len(cases) >= 30
    worker = CrashProof(
        "tests.faults.index_trial",
        [str(libraries), str(tmp_path / "damaged"), str(SEED)],
        tmp_path / "stderr",
    )
    answers = dict(worker.answers(range(len(cases))))
    found = [
        f"{case.name}: {answers[number]}"
        for number, (_, case) in enumerate(cases)
        if answers[number] != {"searched": "exactly"}
    ]
    assert not found, "\n".join(found)
