"""``python -m tests.library.killed_writer FOLDER ROUNDS SEED``: writers that are killed at random moments.

Every round a child process changes the library and says what it does; some moments after it began a change of the kind
that is this round's turn, it is killed with SIGKILL. Another child then opens the library: everything that was
acknowledged must be there, and of the change under way all or nothing. The parent makes no threads, so that forking it
is safe.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from ragturbo_runtime.library.compaction import compact
from ragturbo_runtime.library.opened import Library
from ragturbo_runtime.library.verification import verify_library
from ragturbo_runtime.library.writer import LibraryWriter
from tests.library.made import empty, features_of, key_of, pictures

Change = tuple[str, list[int]]


def plan(rng: random.Random, there: set[int], following: int) -> Change:
    """Choose the next change: what it is, and which pictures it concerns."""
    kind = rng.choice(["add", "add", "add", "remove", "compact"])
    if kind == "remove" and there:
        return "remove", rng.sample(sorted(there), min(len(there), rng.randint(1, 5)))
    if kind == "compact" and there:
        return "compact", []
    return "add", list(range(following, following + rng.randint(1, 8)))


def applied(there: set[int], change: Change) -> set[int]:
    kind, numbers = change
    return there | set(numbers) if kind == "add" else there - set(numbers) if kind == "remove" else there


def write(folder: Path, seed: int, there: set[int], following: int, say: Callable[[str], None]) -> None:
    """Change the library until killed."""
    rng = random.Random(seed)
    while True:
        with LibraryWriter(folder) as writer:  # opening and closing have their moments too
            for _ in range(rng.randint(1, 4)):
                kind, numbers = change = plan(rng, there, following)
                say(json.dumps(["begin", *change]))
                if kind == "add":
                    following = numbers[-1] + 1
                    writer.add(*pictures(range(numbers[0], following)))
                elif kind == "remove":
                    writer.remove([f"p{number}" for number in numbers])
                else:
                    compact(writer, index_at_least=100)
                there = applied(there, change)
                say(json.dumps(["done", *change]))


def check(folder: Path, allowed: list[set[int]]) -> set[int]:
    """Open the library as a host does; it must be one of those that are allowed, to the last byte."""
    problems = list(verify_library(folder))
    assert not problems, problems
    with closing(Library(folder)) as library:
        view = library.view
        rows = [row for row in range(view.layout.rows) if view.alive is None or view.alive[row]]
        records = library.records(rows, view)
        there = {int(record.id[1:]) for record in records}
        assert there in allowed, (sorted(there), [sorted(some) for some in allowed])
        for record in records[:: max(1, len(records) // 8)]:
            number = int(record.id[1:])
            found, _ = view.search(key_of(number)[None], 1)
            assert found[0, 0] == record.row
            decoded = view.features([record.row])[0] * view.layout.scale
            assert np.abs(decoded - features_of(number)).max() <= 0.026
    return there


def in_child(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Fork; return the child and the end of the pipe that it writes lines to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.close(reading)
    status = 1
    try:
        work(lambda line: (os.write(writing, (line + "\n").encode()), None)[1])
        status = 0
    except BaseException as error:
        os.write(writing, f"failed: {error!r}\n".encode())
    finally:
        os._exit(status)


def lines(reading: int) -> list[str]:
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode().splitlines()


def killed_in(kind: str, child: int, reading: int, delay: float) -> list[str]:
    """Kill a writer some moments after it began a change of a kind; return all that it said."""
    said: list[str] = []
    with os.fdopen(reading, "rb") as pipe:
        for line in pipe:
            said.append(line.decode())
            if said[-1].startswith(f'["begin", "{kind}"'):
                break
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return [*said, *pipe.read().decode().splitlines()]


def round_of(folder: Path, rng: random.Random, there: set[int], following: int) -> tuple[set[int], int, str]:
    """Let one writer work, kill it, and look; return what is there, and what it was killed in."""
    seed, turn = rng.randrange(1 << 30), rng.choice(["add", "remove", "compact"])
    child, reading = in_child(lambda say: write(folder, seed, there, following, say))
    said = killed_in(turn, child, reading, rng.uniform(0, 0.008))
    assert not any(line.startswith("failed") for line in said), said[-1]
    under_way = None
    for line in said:
        what, kind, numbers = json.loads(line)
        under_way = (kind, numbers)
        following = max([following, *(number + 1 for number in numbers)])
        if what == "done":
            there, under_way = applied(there, under_way), None
    allowed = [there] if under_way is None else [there, applied(there, under_way)]

    def look(say: Callable[[str], None]) -> None:
        say(json.dumps(sorted(check(folder, allowed))))

    child, reading = in_child(look)
    found = lines(reading)
    os.waitpid(child, 0)
    assert len(found) == 1, found
    assert not found[0].startswith("failed"), found[0]
    return set(json.loads(found[0])), following, "idle" if under_way is None else under_way[0]


def main(folder: Path, rounds: int, seed: int) -> dict[str, int]:
    rng, there, following = random.Random(seed), set[int](), 0
    killed: dict[str, int] = {}
    empty(folder)
    for _ in range(rounds):
        there, following, kind = round_of(folder, rng, there, following)
        killed[kind] = killed.get(kind, 0) + 1
    return killed


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), sys.stdout)
