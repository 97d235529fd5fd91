"""``ragturbo playground`` as a process: what it says, what it asks for, how it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ragturbo_runtime.library.copying import copy_library
from tests.playground.conftest import ROOT, Running, playground

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="sends signals"),
]


@pytest.fixture(scope="module")
def running(nano_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One that all tests here may ask."""
    with playground(tmp_path_factory.mktemp("running"), "--bundle", nano_bundle) as started:
        yield started


def get(url: str, path: str = "/", *, host: str | None = None) -> tuple[int, str]:
    place = urlsplit(url)
    with closing(http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)) as connection:
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize(("number", "own"), [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_it_ends_cleanly_and_leaves_nothing(
    nano_bundle: Path, tmp_path: Path, number: signal.Signals, own: bool
) -> None:
    library = copy_library(nano_bundle / "library", tmp_path / "own") if own else None
    options = [] if library is None else ["--library", library]
    with playground(tmp_path, "--bundle", nano_bundle, "--device", "cpu", *options) as running:
        assert running.said == {"url": running.url, "library": None if library is None else str(library)}
        assert get(running.url)[0] == 200
        assert list(running.temporary.iterdir())
        running.process.send_signal(number)
        out, err = running.process.communicate(timeout=60)
        assert (running.process.returncode, out, err) == (130, "", "ragturbo: interrupted\n")
        assert list(running.temporary.iterdir()) == []
        assert running.asked() == {"127.0.0.1"}


def test_the_page_names_no_other_host(running: Running) -> None:
    for path in ("/", "/theme.css"):
        status, text = get(running.url, path)
        assert status == 200
        fetched = re.findall(r"""(?:(?:src|href)=|url\()["']?((?:https?:)?//[^"')]+)""", text)
        assert [address for address in fetched if not address.startswith(running.url)] == []
        assert "fonts.googleapis" not in text


def test_it_listens_on_one_address_and_to_one_name(running: Running) -> None:
    port = urlsplit(running.url).port
    assert get(running.url, host=f"localhost:{port}")[0] == 200
    assert get(running.url, host="somewhere.example")[0] == 400
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=10):
        pytest.fail("it listens on every address")


def test_a_second_one_needs_another_port(running: Running, nano_bundle: Path) -> None:
    port = str(urlsplit(running.url).port)
    done = process("", "--no-browser", "--port", port, "--bundle", str(nano_bundle))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"port {port} of 127.0.0.1 cannot be used" in done.stderr
    assert "--port 0" in done.stderr


def process(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command after some other code in the same process."""
    program = f"import sys\n{code}\nfrom ragturbo_sdk.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
    path = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
    return subprocess.run(
        [sys.executable, "-c", program, "playground", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("code", "why", "hint"),
    [
        (
            "sys.modules['gradio'] = None",
            "the playground needs gradio",
            'hint: pip install "ragturbo-sdk[playground]"\n',
        ),
        (
            "import types; sys.modules['gradio'] = types.SimpleNamespace(__version__='5.49.1')",
            "gradio is 5.49.1, expected 6.0 or newer",
            'hint: pip install --upgrade "gradio>=6"\n',
        ),
    ],
)
def test_without_gradio_the_message_says_what_to_install(code: str, why: str, hint: str) -> None:
    done = process(code, "--no-browser")
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert done.stderr.endswith(hint)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_where_nobody_can_read_the_address_it_ends(nano_bundle: Path) -> None:
    command = [sys.executable, "-m", "ragturbo_sdk", "playground", "--no-browser", "--port", "0"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "runtime")])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--bundle", str(nano_bundle)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
            timeout=120,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("ragturbo: error: standard output: cannot be written")
    assert len(done.stderr.splitlines()) == 2
