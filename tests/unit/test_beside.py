"""Work beside the caller: its result or its fault comes back, wherever and whenever it is asked for."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from ragturbo_runtime.beside import run_beside


def test_it_runs_at_the_same_time_in_another_thread() -> None:
    gate = threading.Event()

    def work() -> str:
        assert gate.wait(10)
        return threading.current_thread().name

    future = run_beside(work)
    assert not future.done()
    gate.set()
    assert future.result(10) == "ragturbo-retrieval" != threading.current_thread().name


def test_what_it_raises_reaches_the_caller() -> None:
    def work() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run_beside(work).result(10)


def test_without_a_thread_the_caller_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    future = run_beside(threading.get_ident)
    assert future.done()
    assert future.result() == threading.get_ident()


HOSTS = {
    "a worker that outlives the main thread": """
import threading, time
def late():
    threading.main_thread().join()
    print(run_beside(lambda: 7).result(10), flush=True)
threading.Thread(target=late).start()
""",
    "a child of a host that has drawn before": """
import os
run_beside(lambda: 0).result(10)
child = os.fork()
if child == 0:
    print(run_beside(lambda: 7).result(10), flush=True)
    os._exit(0)
os.waitpid(child, 0)
""",
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_hosts_that_a_pool_of_threads_would_fail(host: str) -> None:
    code = "from ragturbo_runtime.beside import run_beside\n" + host
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
