"""How sessions are made: our options, and what ONNX Runtime calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragturbo_runtime.onnxruntime_import import import_onnxruntime
from ragturbo_runtime.providers import Device

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class SessionOptions:
    """How sessions are made.

    Attributes:
        device: Where the graph runs.
        threads: Threads per graph on the CPU; None leaves the choice to ONNX Runtime (one per physical core).
        spinning: Whether idle threads wait awake for the next node of a running graph. They stop at the graph's
            end in any case.
        memory_limit: The most bytes that a CUDA arena may hold; None for all there are.
        cuda_graphs: Record each set of shapes once as a CUDA graph, and replay it.
        shared_arena: Take memory from the arena that ``share_arena`` has registered for the device.
        bind: Bind tensors on the CPU too, as on CUDA. It costs time there; it is how the CUDA path is tested
            where there is no card.
    """

    device: Device
    threads: int | None = None
    spinning: bool = True
    memory_limit: int | None = None
    cuda_graphs: bool = False
    shared_arena: bool = False
    bind: bool = False

    @property
    def binds(self) -> bool:
        """Whether tensors between graphs are OrtValues on the device."""
        return self.bind or self.device.kind != "cpu"

    @property
    def providers(self) -> list[tuple[str, dict[str, Any]]]:
        """The provider list for ``onnxruntime.InferenceSession``, options included."""
        (name, settings), *others = self.device.providers
        if self.device.kind == "cuda":
            settings = {**settings, **self._cuda_settings()}
        return [(name, settings), *others]

    def _cuda_settings(self) -> dict[str, str]:
        limit = {} if self.memory_limit is None else {"gpu_mem_limit": str(self.memory_limit)}
        return {**limit, **({"enable_cuda_graph": "1"} if self.cuda_graphs else {})}

    def for_onnxruntime(self) -> onnxruntime.SessionOptions:
        """ONNX Runtime's own options for one session."""
        onnxruntime = import_onnxruntime()

        result = onnxruntime.SessionOptions()
        result.log_severity_level = 3  # errors; warnings would go to stderr, not to logging
        result.intra_op_num_threads = self.threads or 0
        # Within a graph the threads wait for each other at every node: asleep, two are no faster than one. But the
        # graphs run one after the other, and a pool that spins on after its graph takes a core from the next one's.
        result.add_session_config_entry("session.force_spinning_stop", "1")
        if not self.spinning:
            result.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.shared_arena:
            result.add_session_config_entry("session.use_env_allocators", "1")
            # On the CPU a pattern is one more block as large as a whole run needs, beside what the first run took.
            result.enable_mem_pattern = self.device.kind != "cpu"
        return result
