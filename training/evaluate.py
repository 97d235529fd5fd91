"""Run a benchmark: TIFA v1.0, PartiPrompts or COCO with your own models, or this project's own.

``python -m training.evaluate tifa --text-inputs FILE --questions FILE --vqa DIR --out DIR``; see docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.benchmarks.sources import Options

OWN = "own"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Of the command line; None = the process's own.

    Returns:
        Exit status: 0, or 2 where the input cannot be used, or 130 where it was stopped.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [OWN]:
        from training.evaluation.__main__ import main as own

        return own(words[1:])
    options = _parser().parse_args(words)
    from ragturbo_runtime.errors import RagTurboError
    from training.benchmarks.table import format_document

    try:
        document = _run(options)
    except (RagTurboError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)  # noqa: T201 - a command's output
        return 130
    print(format_document(document))  # noqa: T201 - a command's output
    return 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.benchmark == "tifa":
        from training.benchmarks.tifa import run_tifa

        return run_tifa(
            _shared(options), text_inputs=options.text_inputs, questions=options.questions, vqa=options.vqa,
            sentence_encoder=options.sentence_encoder,
        )  # fmt: skip
    from training.benchmarks.clip_benchmarks import run_coco, run_parti

    if options.benchmark == "parti":
        return run_parti(_shared(options), prompts=options.prompts, clip=options.clip)
    return run_coco(
        _shared(options), prompts=options.prompts, clip=options.clip, pictures_real=options.pictures_real,
        inception=options.inception,
    )  # fmt: skip


def _shared(options: argparse.Namespace) -> Options:
    from training.benchmarks.sources import Options

    return Options(
        out=options.out, bundle=options.bundle, pictures=tuple(options.pictures), references=options.references,
        first_seed=options.first_seed, count=options.count, batch=options.batch, device=options.device,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    kinds = parser.add_subparsers(dest="benchmark", required=True)
    tifa = kinds.add_parser("tifa", help="questions about the pictures, answered by a VQA model")
    tifa.add_argument("--text-inputs", type=Path, required=True, help="tifa_v1.0_text_inputs.json")
    tifa.add_argument("--questions", type=Path, required=True, help="tifa_v1.0_question_answers.json")
    tifa.add_argument(
        "--vqa", type=Path, required=True, help="folder of a BLIP or ViLT VQA model, transformers' layout"
    )
    tifa.add_argument(
        "--sentence-encoder", type=Path, help="folder of all-mpnet-base-v2: TIFA's own way to pick a choice"
    )
    parti = kinds.add_parser("parti", help="CLIP score of PartiPrompts, by category and challenge")
    parti.add_argument("--prompts", type=Path, required=True, help="PartiPrompts.tsv")
    coco = kinds.add_parser("coco", help="CLIP score and FID of COCO captions")
    coco.add_argument("--prompts", type=Path, required=True, help="captions, one a line: id----caption")
    coco.add_argument(
        "--pictures-real", type=Path, help="folder of real pictures; without it there is no FID"
    )
    coco.add_argument(
        "--inception",
        type=Path,
        help="torch-fidelity's Inception weights; default: FID with the CLIP's features",
    )
    for one in (parti, coco):
        one.add_argument(
            "--clip", type=Path, required=True, help="folder of a CLIP, open_clip's local layout"
        )
    for one in (tifa, parti, coco):
        _add_shared(one)
    kinds.add_parser(
        OWN, add_help=False, help="the family's own benchmark; the same as python -m training.evaluation"
    )
    return parser


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of pictures, answers and results; it resumes"
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        help="draws with and without retrieval; default: the bundled model, unless --pictures",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        nargs="+",
        default=[],
        help="folders of pictures called by prompt id, a row each",
    )
    parser.add_argument("--references", type=int, help="references of a prompt; default: the bundle's")
    parser.add_argument("--first-seed", type=int, default=0, help="another one gives all prompts other noise")
    parser.add_argument("--count", type=int, help="only the first prompts")
    parser.add_argument("--batch", type=int, default=16, help="at a time, 1 to 64 (default 16)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:i]")


if __name__ == "__main__":
    raise SystemExit(main())
