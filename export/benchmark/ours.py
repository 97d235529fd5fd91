"""Our chain: one worker draws both rows, so that what retrieval costs is measured in one process."""

from __future__ import annotations

import time

from export.benchmark.bare import Call, Recorder
from export.benchmark.errors import RowError
from export.benchmark.job import OURS, OURS_OFF, PROMPT, Drawn, GraphRun, Job
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest


class OurDrawer:
    """A bundle in ragturbo_runtime.

    Args:
        job: What to load.
    """

    compile_ms = preparing_ms = 0.0
    note = ""

    def __init__(self, job: Job) -> None:
        bundle = Bundle.load(job.bundle)
        self._references = bundle.manifest.adapter.default_references
        self._recorder = Recorder()
        self._calls: list[Call] = []
        self._retrieval: list[bool] = []
        files = {bundle.graph_file(name).resolve(): name for name in bundle.manifest.graphs}
        threads = None if job.device.is_cuda else job.threads
        with self._recorder.sessions_of(files):
            self._pipeline = Pipeline.load(bundle, device=job.device.name, threads=threads)

    def draw(self, row: str, prompt: str, seed: int) -> Drawn:
        """Draw with retrieval (`OURS`) or without (`OURS_OFF`)."""
        request = DrawRequest((prompt,), (seed,), references=self._references if row == OURS else 0)
        start = time.perf_counter()
        result = self._pipeline.draw(request)
        elapsed = (time.perf_counter() - start) * 1e3
        stages = {name: value for name, value in result.timings.items() if name != "total"}
        return Drawn(elapsed, result.images[0], stages)

    def run_bare(self) -> list[GraphRun]:
        """Run every graph that a picture with retrieval takes, one after the other, by itself.

        Raises:
            RowError: The runtime runs its graphs in a way that this benchmark does not know.
        """
        if not self._calls:
            self._record()
        return [
            GraphRun(call.graph, call.timed(), retrieval)
            for call, retrieval in zip(self._calls, self._retrieval, strict=True)
        ]

    def _record(self) -> None:
        """Draw once with retrieval and once without, to know which calls are made for retrieval alone."""
        without = self._recorder.recorded(lambda: self.draw(OURS_OFF, PROMPT, 0))
        self._calls = self._recorder.recorded(lambda: self.draw(OURS, PROMPT, 0))
        if not without or not self._calls:
            raise RowError("no call of ONNX Runtime was seen: run() and run_with_iobinding() are recorded")
        left = [call.graph for call in without]
        for call in self._calls:  # the prompt is encoded before its phrases: the first call of a name counts
            self._retrieval.append(call.graph not in left)
            if call.graph in left:
                left.remove(call.graph)
