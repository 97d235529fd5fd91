"""The search for training's neighbours, many pairs at a time: the rule of the runtime, in matrix products."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.ladd.library import TrainingLibrary, encode_keys

if TYPE_CHECKING:
    from training.family.text_tower import TextTower
    from training.ladd.masking import Masker

CELLS = 1 << 25
"""Cosines held at a time: 128 MiB."""


class Queries:
    """The keys of queries and of a library, each encoded once: phrases repeat a thousand times.

    Args:
        text: The family's text tower.
        library: The entries.
        queries: All queries; repeats are fine.
        masker: Finds names.
        lent: Names of the things that only the library's lent entries show.
    """

    def __init__(
        self,
        text: TextTower,
        library: TrainingLibrary,
        queries: Sequence[str],
        masker: Masker,
        lent: Sequence[str],
    ) -> None:
        unique = list(dict.fromkeys(queries))
        self.place = {query: place for place, query in enumerate(unique)}
        self.keys = encode_keys(text, unique)
        # The bundle's keys are float16; so near-ties fall alike here.
        self._library = library.keys.half().float().T.contiguous()  # (E, N)
        self._own, self._masker, self._lent = library.own, masker, frozenset(lent)
        self._names = {query: masker.found(query) for query in unique} if lent else {}
        self._showing: dict[str, list[int]] = defaultdict(list)
        for row, caption in enumerate(library.captions if lent else ()):
            for name in masker.found(caption):
                self._showing[name].append(row)

    def find(
        self, prompts: Sequence[str], asked: Sequence[Sequence[str]], excluded: Tensor, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find every prompt's entries: the best of its queries in turn, without repeats.

        Args:
            prompts: P of them.
            asked: Per prompt, its queries, one or more.
            excluded: (P, N) bool, entries that must not be found.
            count: M, entries a prompt.

        Returns:
            (P, M) ids and cosines, each with the query that found the entry; -1 and 0 where there is none.
        """
        whose = np.repeat(np.arange(len(prompts)), [len(some) for some in asked])
        flat = [query for some in asked for query in some]
        # By torch: numpy's threads and torch's would fight for the cores, and 1 ms would become 7.
        cosines = self.keys[[self.place[query] for query in flat]] @ self._library  # (Q, N)
        cosines.masked_fill_(excluded[whose], -torch.inf)
        cosines[:, self._own :].masked_fill_(self._stays_out(prompts, whose), -torch.inf)
        for place, (query, prompt) in enumerate(zip(flat, whose.tolist(), strict=True)):
            if self._lent.intersection(names := self._names.get(prompts[prompt], ())):
                self._keep_those_that_show(cosines[place], self._names[query] or names)
        return deal(*best(cosines, count), whose, len(prompts), count)

    def _stays_out(self, prompts: Sequence[str], whose: NDArray[np.int64]) -> Tensor:
        """(Q, 1) bool: whether a query is of a prompt without a lent thing, for which lent entries are none."""
        out = [not self._lent.intersection(self._names.get(prompt, ())) for prompt in prompts]
        return torch.tensor(out)[whose][:, None]

    def _keep_those_that_show(self, cosines: Tensor, names: Sequence[str]) -> None:
        rows = [row for name in names for row in self._showing[name]]
        kept = cosines[rows].clone()
        cosines.fill_(-torch.inf)
        cosines[rows] = kept


def best(cosines: Tensor, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The largest cosines of each query, largest first, and of equal ones the first first.

    Args:
        cosines: (Q, N) float32; minus infinity where an entry must not be found.
        count: M.

    Returns:
        (Q, M) ids and cosines; -1 and minus infinity where there are fewer.
    """
    queries, entries = cosines.shape
    least = cosines.topk(min(count, entries), dim=1).values[:, -1:]  # topk itself takes any of equal ones
    rows, columns = ((cosines >= least) & (cosines > -torch.inf)).nonzero(as_tuple=True)
    values, query, column = cosines[rows, columns].numpy(), rows.numpy(), columns.numpy()
    order = np.lexsort((column, -values, query))
    values, query, column = values[order], query[order], column[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    taken = rank < count
    ids = np.full((queries, count), -1)
    found = np.full((queries, count), -np.inf, dtype=np.float32)
    ids[query[taken], rank[taken]], found[query[taken], rank[taken]] = column[taken], values[taken]
    return ids, found


def deal(
    ids: NDArray[np.int64],
    cosines: NDArray[np.float32],
    whose: NDArray[np.int64],
    prompts: int,
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Deal the finds of queries out to their prompts, as `ragturbo_runtime.retriever.round_robin` does for one prompt.

    Args:
        ids: (Q, K) entries of each query, best first; -1 = none.
        cosines: (Q, K).
        whose: (Q,) the queries' prompts, ascending.
        prompts: P.
        count: M, entries a prompt, at most K.

    Returns:
        (P, M) ids and cosines; -1 and 0 where there are fewer.
    """
    turn = np.arange(len(whose)) - np.searchsorted(whose, whose)
    dealt = np.full((prompts, ids.shape[1], int(turn.max(initial=0)) + 1), -1)
    values = np.zeros(dealt.shape, dtype=np.float32)
    dealt[whose, :, turn], values[whose, :, turn] = ids, cosines
    flat = dealt.reshape(prompts, -1)  # every query's best, then every second best
    order = np.argsort(flat, axis=1, kind="stable")
    ordered = np.take_along_axis(flat, order, axis=1)
    again = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    real = (flat >= 0) & ~again
    first = np.argsort(~real, axis=1, kind="stable")[:, :count]
    is_real = np.take_along_axis(real, first, axis=1)
    rows = np.where(is_real, np.take_along_axis(flat, first, axis=1), -1)
    return rows, np.where(
        is_real, np.take_along_axis(values.reshape(prompts, -1), first, axis=1), np.float32(0)
    )
