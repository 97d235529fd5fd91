"""Work beside the caller: its result or its fault comes back, wherever and whenever it is asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from ragturbo_runtime.beside import Beside


def test_it_runs_at_the_same_time_in_another_thread() -> None:
    gate = threading.Event()

    def work() -> str:
        assert gate.wait(10)
        return threading.current_thread().name

    future = Beside().run(work)
    assert not future.done()
    gate.set()
    assert future.result(10).startswith("ragturbo-retrieval")


def test_what_it_raises_reaches_the_caller() -> None:
    def work() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        Beside().run(work).result(10)


def test_without_a_thread_the_caller_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    future = Beside().run(threading.get_ident)
    assert future.done()
    assert future.result() == threading.get_ident()


def test_an_interrupt_that_meets_the_pool_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python's semaphore has it: what it raises while it unlocks again hides the interrupt."""

    def interrupted(thread: threading.Thread) -> None:
        lock = threading.Lock()
        with lock:
            lock.release()
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Beside().run(threading.get_ident)


def test_the_next_work_finds_the_thread_of_the_last() -> None:
    beside = Beside()
    first = beside.run(threading.get_ident).result(10)
    time.sleep(0.2)  # it says that it is free only after it has given its result
    assert beside.run(threading.get_ident).result(10) == first
    beside.close()
    assert beside.run(threading.get_ident).result() == threading.get_ident()


HOSTS = {
    "a worker that outlives the main thread": """
import threading, time
def late():
    threading.main_thread().join()
    print(beside.run(lambda: 7).result(10), flush=True)
threading.Thread(target=late).start()
""",
    "a child of a host that has drawn before": """
import os
beside.run(lambda: 0).result(10)
child = os.fork()
if child == 0:
    print(beside.run(lambda: 7).result(10), flush=True)
    os._exit(0)
os.waitpid(child, 0)
""",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_hosts_that_a_plain_pool_of_threads_would_fail(host: str) -> None:
    code = "from ragturbo_runtime.beside import Beside\nbeside = Beside()\n" + host
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def test_inline_work_is_done_in_the_callers_thread() -> None:
    beside = Beside(inline=True)
    assert beside.run(threading.get_ident).result() == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        beside.run(lambda: 1 // 0).result()
