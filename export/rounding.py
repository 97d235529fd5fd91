"""What float16 on CUDA does to a module, on the CPU: every operator reads and writes float16, and adds up in float32.

ONNX Runtime's CPU provider cannot show it, for it computes graphs of float16 in float32. So torch computes here in
float32, and each operator's inputs and results are rounded to float16: what overflows there becomes infinite.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from export.operator_groups import ANGLES, ELEMENTWISE, MOVEMENT, group_of_aten

LARGEST = 65504.0  # of float16
SMALLEST = 5.96e-8  # what the conversion to float16 makes of smaller constants that are not 0

Operator = Callable[..., Any]


def rounded(x: Tensor) -> Tensor:
    """Round float32 to float16 and back; other tensors stay as they are."""
    return x.half().float() if x.dtype == torch.float32 else x


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which operators a module calls, and which of them serve to compute the argument of a sine or a cosine.

    Attributes:
        calls: How many calls each group of operators has.
        angles: Places in the order of calls.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()
        self.angles: set[int] = set()
        self._place = -1
        self._makers: MutableMapping[Tensor, set[int]] = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Operator, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Run an operator and note it."""
        self._place += 1
        result = func(*args, **(kwargs or {}))
        name = _name(func)
        if not any(tensor.dtype == torch.float32 for tensor in _tensors(result)):
            return result
        before = set().union(*(self._makers.get(tensor, set()) for tensor in _tensors((args, kwargs))))
        if name in ("sin", "cos"):
            self.angles |= before | {self._place}
            self.calls[ANGLES] += 1
        else:
            self.calls[group_of_aten(name)] += 1
        for tensor in _tensors(result):
            self._makers[tensor] = before | {self._place}
        return result


class Rounding(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Rounds as float16 does, but for the operators that are kept in float32.

    Attributes:
        culprit: The group of the first operator that made something infinite of finite inputs; only if `blame`.
    """

    def __init__(
        self, keep: frozenset[str] = frozenset(), angles: frozenset[int] = frozenset(), *, blame: bool = False
    ) -> None:
        """Decide what is rounded.

        Args:
            keep: Groups of `export.operator_groups` that stay in float32.
            angles: Places of calls, from `Recording`, that "Angles" stands for.
            blame: Look for what overflows; takes longer.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.culprit: str | None = None
        self._keep, self._blame = keep, blame
        self._angles = angles if ANGLES in keep else frozenset()
        self._place = -1
        self._is_rounded: MutableMapping[Tensor, bool] = WeakIdKeyDictionary()

    def take(self, x: Tensor) -> Tensor:
        """Round an input of the module; it then counts as float16."""
        result = rounded(x)
        self._is_rounded[result] = True
        return result

    def __torch_dispatch__(
        self, func: Operator, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Run an operator between roundings."""
        self._place += 1
        kwargs, name = kwargs or {}, _name(func)
        group = group_of_aten(name)
        inputs = [tensor for tensor in _tensors((args, kwargs)) if tensor.dtype == torch.float32]
        if group == MOVEMENT:
            moved = func(*args, **kwargs)
            if inputs and all(tensor in self._is_rounded for tensor in inputs):
                self._mark(moved)
            return moved
        if group in self._keep or self._place in self._angles:
            return func(*args, **kwargs)
        args, kwargs = tree_map(self._narrow, (args, kwargs))
        if group == ELEMENTWISE:
            args = tuple(map(_constant, args))
        result = func(*args, **kwargs)
        if group == "MultiHeadAttention":
            result = (_overflown(args[0], args[1], result[0]), *result[1:])
        if not inputs and name != "_to_copy":
            return result  # a constant: rounded where it is read
        narrow = self._returned(func, result)
        if self._blame and self.culprit is None and not _finite(narrow) and _finite(inputs):
            self.culprit = group
        return narrow

    def _narrow(self, x: object) -> object:
        if not isinstance(x, Tensor) or x in self._is_rounded:
            return x
        return rounded(x)

    def _returned(self, func: Operator, result: object) -> object:
        """The results rounded; what was changed in place stays the same tensor."""
        if func._schema.is_mutable:  # type: ignore[attr-defined]
            for tensor in _tensors(result):
                tensor.copy_(rounded(tensor))
        else:
            result = tree_map(lambda x: rounded(x) if isinstance(x, Tensor) else x, result)
        self._mark(result)
        return result

    def _mark(self, result: object) -> None:
        for tensor in _tensors(result):
            self._is_rounded[tensor] = True


def _name(func: Operator) -> str:
    return str(func.overloadpacket.__name__)  # type: ignore[attr-defined]


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def _finite(tree: object) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in _tensors(tree) if tensor.is_floating_point())


def _constant(x: object) -> object:
    """A number beside tensors, as the conversion stores it."""
    if not isinstance(x, float) or x == 0 or not np.isfinite(x):
        return x
    return float(np.float16(np.copysign(np.clip(abs(x), SMALLEST, LARGEST), x)))


def _overflown(query: Tensor, key: Tensor, attended: Tensor) -> Tensor:
    """Attention, but infinite for heads of which a score exceeds float16.

    Kernels that never store the scores keep them in float32. ONNX Runtime falls back to one that stores them, where a
    card or a size has no other, so that no graph may rely on it.
    """
    scale = query.shape[-1] ** -0.5
    bound = query.norm(dim=-1).amax(dim=-1) * key.norm(dim=-1).amax(dim=-1) * scale  # (B, heads)
    suspects = (bound > LARGEST).nonzero().tolist()
    for batch, head in suspects:
        scores = query[batch, head] @ key[batch, head].T * scale
        if scores.abs().max() > LARGEST:
            attended = attended.clone()
            attended[batch, head] = torch.inf
    return attended
