"""Who waits for a place is let in, in whatever way the others leave."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest, DrawResult
from ragturbo_sdk import CancelToken, Generator, GeneratorClosedError
from ragturbo_sdk.gate import Gate

PROMPT = "a cat left of two pizzas on a blue background"


@pytest.mark.parametrize("at_once", [1, 3])
def test_never_more_than_so_many_inside_and_nobody_waits_for_ever(at_once: int) -> None:
    gate, inside, most = Gate(at_once), 0, 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with gate.inside():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.0002)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(400), timeout=30))
    assert most == at_once
    assert gate.has_room()


def test_closing_waits_for_those_inside_and_sends_the_others_away() -> None:
    gate, drawn = Gate(1), threading.Event()

    def wait_in_line() -> None:
        with gate.inside():
            drawn.set()

    with ThreadPoolExecutor(3) as pool:
        with gate.inside():
            waiting = [pool.submit(wait_in_line) for _ in range(2)]
            closing = pool.submit(gate.close)
            for one in waiting:
                with pytest.raises(GeneratorClosedError, match="was closed"):
                    one.result(timeout=10)
            assert not closing.done()
        assert closing.result(timeout=10)
    assert not drawn.is_set()
    assert not gate.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer that sends signals here")
def test_who_is_interrupted_while_being_let_in_lets_the_next_one_in() -> None:
    """Ctrl-C comes at the very moment: within the signal's handler the place becomes free, and this thread's."""
    gate, leave, arrived, let_in = Gate(1), threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with gate.inside():
            arrived.set()
            leave.wait(10)

    def follow() -> None:
        with gate.inside():
            let_in.set()

    def interrupt(*_: object) -> None:
        leave.set()
        holder.join(10)
        raise KeyboardInterrupt

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    arrived.wait(10)
    second = threading.Timer(0.1, follow)  # behind this thread
    second.daemon = True
    second.start()
    with _alarm(0.3, interrupt), pytest.raises(KeyboardInterrupt), gate.inside():
        pytest.fail("the place was free before the alarm")
    assert let_in.wait(10)
    second.join(10)


@contextmanager
def _alarm(seconds: float, handler: object) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)  # type: ignore[arg-type]
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def taking_turns(nano_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Generator]:
    """A generator that draws one call at a time, as on a machine of two cores."""
    monkeypatch.setattr("ragturbo_sdk.drawing.side_by_side", lambda *_: 1)
    with Generator(nano_bundle, device="cpu") as opened:
        yield opened


def test_one_thread_draws_for_those_who_would_wait(
    taking_turns: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_by: Counter[str] = Counter()
    draw = Pipeline.draw

    def counting(self: Pipeline, request: DrawRequest, **options: object) -> DrawResult:
        drawn_by[threading.current_thread().name] += 1
        return draw(self, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "draw", counting)
    drawing, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        drawing.set()
        go_on.wait(10)

    expected = [taking_turns.generate(PROMPT, seed=i).image.tobytes() for i in range(8)]
    assert drawn_by == {threading.current_thread().name: 8}
    with ThreadPoolExecutor(9, thread_name_prefix="caller") as pool:
        first = pool.submit(taking_turns.generate, PROMPT, seed=1, progress=hold)
        drawing.wait(10)
        waiting = [pool.submit(taking_turns.generate, PROMPT, seed=i) for i in range(8)]
        time.sleep(0.3)
        drawn_by.clear()
        go_on.set()
        assert [call.result(timeout=30).image.tobytes() for call in waiting] == expected
        assert first.result(timeout=30).seed == 1
    helpers = {name: calls for name, calls in drawn_by.items() if name.startswith("ragturbo-draw")}
    assert len(helpers) == 1, drawn_by
    assert sum(helpers.values()) >= 4, drawn_by  # all of them, but for callers that came late


def test_a_callback_with_tokens_may_not_wait_for_its_own_drawing_either(taking_turns: Generator) -> None:
    """Its thread is the one that would have to draw."""

    def again(_: object) -> None:
        with pytest.raises(GeneratorClosedError, match="wait for itself"):
            taking_turns.generate(PROMPT, cancel=CancelToken())

    assert taking_turns.generate(PROMPT, seed=1, cancel=CancelToken(), progress=again).seed == 1


def test_closing_sends_away_the_calls_that_another_thread_was_to_draw(taking_turns: Generator) -> None:
    drawing, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        drawing.set()
        go_on.wait(10)

    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(taking_turns.generate, PROMPT, seed=1, progress=hold)
        drawing.wait(10)
        waiting = [pool.submit(taking_turns.generate, PROMPT, seed=i) for i in range(4)]
        time.sleep(0.1)
        closing = pool.submit(taking_turns.close)
        assert {type(call.exception(timeout=10)) for call in waiting} == {GeneratorClosedError}
        assert not closing.done()
        go_on.set()
        assert first.result(timeout=10).seed == 1
        closing.result(timeout=10)


def test_what_is_logged_of_a_call_includes_the_wait(
    taking_turns: Generator, caplog: pytest.LogCaptureFixture
) -> None:
    drawing = threading.Event()

    def hold(progress: object) -> None:
        if not drawing.is_set():
            drawing.set()
            time.sleep(0.3)

    with caplog.at_level(logging.DEBUG, "ragturbo_sdk"), ThreadPoolExecutor(2) as pool:
        first = pool.submit(taking_turns.generate, PROMPT, seed=1, progress=hold)
        drawing.wait(10)
        taking_turns.generate(PROMPT, seed=2)
        first.result(timeout=10)
    events = [record.ragturbo for record in caplog.records if hasattr(record, "ragturbo")]
    assert [event["event"] for event in events] == ["generate", "generate"]
    assert min(event["milliseconds"] for event in events) > 200


@pytest.mark.parametrize("daemon", [False, True])
def test_who_draws_in_his_own_thread_is_not_overtaken_for_ever(taking_turns: Generator, daemon: bool) -> None:
    """Plain callers in a loop keep the thread that draws for them busy; it must stand in line too."""
    stop, done = threading.Event(), threading.Event()

    def loop() -> None:
        while not stop.is_set():
            taking_turns.generate(PROMPT, seed=1)

    def own() -> None:
        for _ in range(5):
            taking_turns.generate(PROMPT, seed=1, progress=None if daemon else lambda _: None)
        taking_turns.warmup()
        done.set()

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(loop) for _ in range(4)]
        threading.Thread(target=own, daemon=True).start()
        finished = done.wait(20)
        stop.set()
        assert finished
        for call in calls:
            call.result(timeout=30)


def test_a_daemon_thread_draws_itself_so_that_the_interpreter_may_end(
    taking_turns: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    draw = Pipeline.draw

    def noting(self: Pipeline, request: DrawRequest, **options: object) -> DrawResult:
        names.append(threading.current_thread().name)
        return draw(self, request, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "draw", noting)
    threads = [
        threading.Thread(target=taking_turns.generate, args=(PROMPT,), daemon=True, name="daemon")
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert names == ["daemon"] * 6


def test_a_callback_may_make_a_clone_and_draw_with_it(taking_turns: Generator) -> None:
    drawn: list[int] = []

    def other(_: object) -> None:
        if not drawn:
            with taking_turns.clone() as clone:
                drawn.append(clone.generate(PROMPT, seed=5).seed)

    taking_turns.generate(PROMPT, seed=1, progress=other)
    assert drawn == [5]


def test_a_signals_handler_may_close_while_this_thread_holds_the_lock() -> None:
    gate = Gate(1)
    with gate._changed:
        assert gate.close()


def test_what_a_failed_call_held_is_freed_at_once(
    taking_turns: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[object]] = []

    def fail(self: Pipeline, request: DrawRequest, **options: object) -> DrawResult:
        large = np.zeros(8)
        held.append(weakref.ref(large))
        raise ValueError(large.shape)

    monkeypatch.setattr(Pipeline, "draw", fail)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="8"):
            taking_turns.generate(PROMPT, cancel=CancelToken())
        assert held[0]() is None
    finally:
        gc.enable()
