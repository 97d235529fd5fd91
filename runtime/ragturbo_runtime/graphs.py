"""The opened graphs of a pipeline, until it is closed."""

from __future__ import annotations

from collections.abc import Mapping

from ragturbo_runtime.errors import InferenceError
from ragturbo_runtime.session import GraphSession


class Graphs:
    """Sessions by the graph's name."""

    def __init__(self, sessions: Mapping[str, GraphSession]) -> None:
        """Keep the sessions."""
        self._sessions = dict(sessions)

    def __getitem__(self, name: str) -> GraphSession:
        """Return one session.

        Args:
            name: For example ``"text_encoder"``.

        Returns:
            The session.

        Raises:
            InferenceError: The graphs were let go of.
        """
        graph = self._sessions.get(name)
        if graph is None:
            raise InferenceError(f"{name}: the pipeline was closed", graph=name, hint="load it again")
        return graph

    def close(self) -> None:
        """Let go of the sessions."""
        self._sessions = {}
