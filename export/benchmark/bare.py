"""Graphs run bare: each ONNX Runtime session by itself, fed with the very tensors that the chain fed it.

Sessions are recorded from outside, at ONNX Runtime's own interface: whatever the runtime does between two calls is
then the chain's cost, and none of it is in the bare times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime


@dataclass(frozen=True)
class Call:
    """One call of one session, to be done again."""

    graph: str
    again: Callable[[], object]

    def timed(self) -> float:
        """Do it again; returns milliseconds. ONNX Runtime waits for the device before it returns."""
        start = time.perf_counter()
        self.again()
        return (time.perf_counter() - start) * 1e3


class Recorder:
    """Keeps the calls of all sessions that were made within `sessions_of`, while `recorded` runs something."""

    def __init__(self) -> None:
        """Record nothing yet."""
        self._calls: list[Call] | None = None

    @contextmanager
    def sessions_of(self, files: Mapping[Path, str]) -> Iterator[None]:
        """Make every new session of the process one that can be recorded.

        Args:
            files: A graph's file -> its name.
        """
        plain = onnxruntime.InferenceSession
        onnxruntime.InferenceSession = self._recording(plain, files)
        try:
            yield
        finally:
            onnxruntime.InferenceSession = plain

    def recorded(self, action: Callable[[], object]) -> list[Call]:
        """Run something, and return the calls that it made, in order."""
        calls: list[Call] = []
        self._calls = calls
        try:
            action()
        finally:
            self._calls = None
        return calls

    def _add(self, graph: str, again: Callable[[], object]) -> None:
        if self._calls is not None:
            self._calls.append(Call(graph, again))

    def _recording(self, plain: Any, files: Mapping[Path, str]) -> Any:  # noqa: ANN401 - an untyped class
        recorder = self

        class RecordedSession(plain):  # type: ignore[misc]
            """A session that tells the recorder of its calls."""

            def __init__(self, path_or_bytes: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
                super().__init__(path_or_bytes, *args, **kwargs)
                self._graph = _name(path_or_bytes, files)

            def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:  # noqa: ANN401
                recorder._add(self._graph, lambda: plain.run(self, output_names, input_feed, run_options))
                return super().run(output_names, input_feed, run_options)

            def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> None:  # noqa: ANN401
                recorder._add(self._graph, lambda: plain.run_with_iobinding(self, iobinding, run_options))
                super().run_with_iobinding(iobinding, run_options)

        return RecordedSession


def _name(path_or_bytes: object, files: Mapping[Path, str]) -> str:
    if not isinstance(path_or_bytes, str | Path):
        return "?"
    path = Path(path_or_bytes)
    return files.get(path.resolve(), path.parent.name)
