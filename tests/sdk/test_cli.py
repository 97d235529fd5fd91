"""The command: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ragturbo_sdk import Generator, __version__, read_metadata
from ragturbo_sdk.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a cat left of two pizzas"
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whatever a command writes, it writes here."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def process(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as `python -m ragturbo_sdk`."""
    return subprocess.run(
        [sys.executable, "-m", "ragturbo_sdk", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=120,
    )


def environment() -> dict[str, str]:
    """This checkout's packages, wherever the command is started."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtime")])}


def test_a_prompt_alone_draws_a_picture(nano_bundle: Path, capsys: Captured) -> None:
    words = [PROMPT, "-o", "cat.png", "--seed", "7", "--references", "2", "--strength", "0.5"]
    assert main([*words, "--num-inference-steps", "2", "--bundle", str(nano_bundle)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("cat.png  (seed 7)\ndrawn in ")
    assert out.count("similarity") == 2
    metadata = read_metadata("cat.png")
    assert (metadata["prompt"], metadata["seed"], metadata["num_inference_steps"]) == (PROMPT, 7, 2)
    assert (metadata["strength"], len(metadata["references"])) == (0.5, 2)
    assert os.listdir() == ["cat.png"]


def test_python_m_is_the_command(nano_bundle: Path, generator: Generator) -> None:
    done = process("-o", "cat.png", "--seed", "7", "--bundle", nano_bundle, "--", PROMPT)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_metadata("cat.png") == generator.generate(PROMPT, seed=7).metadata()


def test_json_tells_everything(nano_bundle: Path, capsys: Captured) -> None:
    options = ["-n", "2", "--no-retrieval", "--json", "--bundle", str(nano_bundle), "--device", "cpu"]
    assert main(["generate", PROMPT, "-o", "cat.png", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [picture["file"] for picture in said["pictures"]] == ["cat-1.png", "cat-2.png"]
    first, second = said["pictures"]
    assert second["seed"] == first["seed"] + 1
    assert first["references"] == []
    assert said["device"] == "cpu"
    assert said["timings_ms"]["total"] > 0
    for picture in said["pictures"]:
        assert read_metadata(picture.pop("file")) == picture


def test_without_a_name_the_file_is_named_after_the_prompt(nano_bundle: Path) -> None:
    assert main(["A Cat, left of\n/two pizzas!", "--seed", "7", "--bundle", str(nano_bundle)]) == 0
    assert main(["!?", "--seed", "8", "--bundle", str(nano_bundle)]) == 0
    assert sorted(os.listdir()) == ["a-cat-left-of-two-pizzas-7.png", "picture-8.png"]


def test_demo_writes_a_sheet(nano_bundle: Path, capsys: Captured) -> None:
    assert main(["demo", PROMPT, "--bundle", str(nano_bundle), "--json"]) == 0
    (picture,) = json.loads(capsys.readouterr().out)["pictures"]
    assert picture["file"] == "ragturbo-demo.png"
    assert read_metadata("ragturbo-demo.png")["prompt"] == PROMPT
    assert main(["demo", "--bundle", str(nano_bundle), "--output", "sheet.png"]) == 0
    assert capsys.readouterr().out.startswith("sheet.png")


def test_info_describes_the_model(nano_bundle: Path, capsys: Captured) -> None:
    assert main(["info", "--bundle", str(nano_bundle), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["path"] == str(nano_bundle.resolve())
    assert said["sdk_version"] == __version__
    assert main(["info", "--bundle", str(nano_bundle)]) == 0
    assert f"library size        {said['library_size']}\n" in capsys.readouterr().out


def test_bench_prints_exactly_what_was_agreed(nano_bundle: Path, capsys: Captured) -> None:
    options = ["--bundle", str(nano_bundle), "--rounds", "3", "--warmup", "1"]
    assert main(["bench", "--json", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == ["retrieval_on", "retrieval_off", "overhead", "stages_ms"]
    assert list(said["retrieval_on"]) == list(said["retrieval_off"]) == ["p50_ms", "p95_ms"]
    assert list(said["stages_ms"]) == [
        "text_encoder",
        "search",
        "features",
        "unet_encoder",
        "adapter",
        "unet_decoder",
        "vae_decoder",
    ]
    assert all(milliseconds > 0 for milliseconds in said["stages_ms"].values())
    assert main(["bench", *options]) == 0
    assert re.search(
        r"retrieval costs -?[\d.]+% .*; at most 10%: (yes|no|not certain)", capsys.readouterr().out
    )


BAD_WORDS = [
    ([], "no prompt was given"),
    ([""], "prompt is ''"),
    (["\ud800"], "valid Unicode"),
    (["a cat", "-o", "cat.jpg"], "written as PNG"),
    (["a cat", "-o", "missing/cat.png"], "no folder"),
    (["a cat", "-o", "cat.png", "--seed", "-1"], "seed is -1"),
    (["a cat", "-o", "cat.png", "--seed", "x"], "invalid int value"),
    (["a cat", "-o", "cat.png", "-n", "65"], "num_images is 65"),
    (["a cat", "-o", "cat.png", "--references", "99999"], "references is 99999"),
    (["a cat", "-o", "cat.png", "--strength", "nan"], "strength is nan"),
    (["a cat", "-o", "cat.png", "--steps", "9"], "num_inference_steps is 9"),
    (["a cat", "-o", "cat.png", "--device", "gpu"], "device is 'gpu'"),
    (["a cat", "-o", "cat.png", "--device", "cuda:999"], "cuda:999"),
    (["a cat", "-o", "cat.png", "--threads", "0"], "threads is 0"),
    (["a cat", "-o", "cat.png", "--memory-limit", "4 apples"], "'4 apples' is no size such as 4G"),
    (["a cat", "-o", "cat.png", "--memory-limit", "0"], "memory_limit is 0"),
    (
        ["a cat", "-o", "cat.png", "--device", "cpu", "--memory-limit", "4g"],
        "memory_limit is 4294967296, but",
    ),
    (["a cat", "-o", "cat.png", "--device", "cpu", "--cuda-graphs"], "cuda_graphs is True, but"),
    (["a cat", "-o", "cat.png", "--bundle", "missing\nfolder"], "no such folder"),
    (["a cat", "-o", "cat.png", "--bundle", "."], "no manifest.json"),
    (["a cat", "-o", "cat.png", "--bundle", ""], "bundle is ''"),
    (["a cat", "and", "more"], "unrecognized arguments"),
    (["--seed", "7", "bench"], "'bench' is a command"),
    (["demo", "", "-o", "sheet.png"], "prompt is ''"),
    (["demo", "-o", "sheet.gif"], "written as PNG"),
    (["bench", "--rounds", "0"], "rounds is 0"),
    (["bench", "--warmup", "-1"], "warmup is -1"),
    (["playground", "--port", "65536"], "port is 65536"),
    (["info", "--bogus"], "unrecognized arguments"),
    (["info", "--bundle", "missing"], "no such folder"),
    (["info", "--bundle", "~no-such-user-of-ragturbo"], "no folder that can be opened"),
    (["info", "--bundle", "a\0b"], "no folder that can be opened"),
]


@pytest.mark.parametrize(("words", "why"), BAD_WORDS)
def test_an_error_is_two_lines_and_status_2(
    nano_bundle: Path, capsys: Captured, words: list[str], why: str
) -> None:
    bundle = [] if not words or "--bundle" in words else ["--bundle", str(nano_bundle)]
    assert main([*words, *bundle]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert why in err
    error, hint = err.splitlines()
    assert error.startswith("ragturbo: error: ")
    assert hint.startswith("hint: ")
    assert len(hint) > len("hint: ")
    assert os.listdir() == []


def test_an_error_in_a_process_has_no_traceback(tmp_path: Path) -> None:
    done = process("a cat", "-o", "cat.png", "--bundle", tmp_path / "missing")
    assert (done.returncode, done.stdout, os.listdir()) == (2, "", [])
    assert re.fullmatch(r"ragturbo: error: .*no such folder\nhint: .+\n", done.stderr), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights elsewhere")
def test_a_folder_that_links_to_itself_is_an_error_of_ours(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert main(["info", "--bundle", str(tmp_path / "circle")]) == 2
    assert re.fullmatch(
        r"ragturbo: error: .*circle': no folder that can be opened .*\nhint: .+\n", capsys.readouterr().err
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("words", [["info"], ["info", "--json"]])
def test_an_output_that_is_full_has_no_traceback(nano_bundle: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "ragturbo_sdk", *words, "--bundle", str(nano_bundle)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
            timeout=120,
        )
    expected = r"ragturbo: error: standard output: cannot be written \(No space left on device\)\nhint: .+\n"
    assert re.fullmatch(expected, done.stderr), done.stderr
    assert done.returncode == 2


def test_words_that_were_cut_are_one_line(nano_bundle: Path, capsys: Captured) -> None:
    words = " ".join(f"word{number}" for number in range(100))
    assert main([words, "-o", "long.png", "--bundle", str(nano_bundle)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ragturbo: warning: prompt 'word0 word1")
    assert line.endswith("'word99'")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["generate", "--help"],
        ["demo", "-h"],
        ["bench", "-h"],
        ["doctor", "-h"],
        ["playground", "-h"],
    ],
)
def test_help_is_instant_and_complete(words: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: ragturbo")
    assert len(out.splitlines()) > 5
    assert all(len(line) <= 100 for line in out.splitlines())


def test_help_and_version_load_no_numpy() -> None:
    code = (
        "import sys\nfrom ragturbo_sdk.cli.main import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "assert not {'numpy', 'PIL', 'onnxruntime'} & set(sys.modules), 'slow to answer'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ragturbo {__version__}\n", "")


def test_a_reader_that_leaves_is_no_error(nano_bundle: Path) -> None:
    words = [sys.executable, "-m", "ragturbo_sdk", "info", "--bundle", str(nano_bundle)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""


def test_a_terminal_without_the_letters_still_works(nano_bundle: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "ragturbo_sdk",
        "une pâtisserie 🐈",
        "--bundle",
        str(nano_bundle),
        "--seed",
        "1",
    ]
    ascii_only = {**environment(), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, text=True, env=ascii_only, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "p\\xe2tisserie" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_interrupted_means_130(nano_bundle: Path) -> None:
    command = [sys.executable, "-m", "ragturbo_sdk", "bench", "--rounds", "100000", "--verbose"]
    words = [*command, "--bundle", str(nano_bundle)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # A shell starts its background jobs with SIGINT ignored, and a child inherits that.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(words, **pipes, env=environment(), preexec_fn=heed) as running:
        try:
            assert running.stderr
            line = running.stderr.readline()
            assert b"event=load" in line, line
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, out, err) == (130, b"", b"ragturbo: interrupted\n")
