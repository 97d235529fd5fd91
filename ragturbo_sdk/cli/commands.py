"""What each command of ``ragturbo`` does: it works, and returns what to print."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragturbo_sdk.checks import check_integer, check_prompts
from ragturbo_sdk.cli.answer import Answer, as_json
from ragturbo_sdk.errors import InvalidInputError

if TYPE_CHECKING:
    from ragturbo_sdk.generator import Generator
    from ragturbo_sdk.reference import Reference
    from ragturbo_sdk.result import GenerationResult


def run(arguments: argparse.Namespace) -> Answer:
    """Run a command.

    Args:
        arguments: As :func:`ragturbo_sdk.cli.arguments.parse` gave them.

    Returns:
        The text for stdout and the exit status.

    Raises:
        RagTurboError: Whatever went wrong; no file is left half-written.
    """
    if arguments.bundle == "":
        hint = "leave --bundle out for the model that came with ragturbo"
        raise InvalidInputError("bundle is '', expected a folder", argument="bundle", hint=hint)
    return _COMMANDS[arguments.command](arguments)


def _generate(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.png import check_png_path

    check_prompts(arguments.prompt)  # before the model is loaded: the answer to a slip comes at once
    if arguments.output:
        check_png_path(arguments.output)
    with _open(arguments) as generator:
        result = generator.generate(
            arguments.prompt,
            seed=arguments.seed,
            num_images=arguments.num_images,
            references=arguments.references,
            strength=arguments.strength,
            num_inference_steps=arguments.num_inference_steps,
            retrieval=not arguments.no_retrieval,
        )
        device = generator.info.device
    files = result.save(arguments.output or _file_name(result))
    return _drawn(arguments, result, files, device)


def _demo(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.cli import demo
    from ragturbo_sdk.png import check_png_path, write_png

    prompt = demo.PROMPT if arguments.prompt is None else arguments.prompt
    check_prompts(prompt)
    target = check_png_path(arguments.output)
    with _open(arguments) as generator:
        drawn = demo.draw_demo(
            generator,
            prompt,
            seed=demo.SEED if arguments.seed is None else arguments.seed,
            references=arguments.references,
            strength=arguments.strength,
            num_inference_steps=arguments.num_inference_steps,
        )
        device = generator.info.device
    write_png(target, drawn.sheet, drawn.retrieved.metadata())
    return _drawn(arguments, drawn.retrieved, (arguments.output,), device)


def _bench(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.cli import bench

    hint = "100 rounds take some seconds with the bundled model"
    rounds = check_integer("rounds", arguments.rounds, 1, 100_000, hint=hint)
    warmup = check_integer("warmup", arguments.warmup, 0, 100_000, hint=hint)
    with _open(arguments) as generator:
        report = bench.measure(generator, rounds=rounds, warmup=warmup)
    return Answer(as_json(report.as_dict()) if arguments.json else report.as_text())


def _info(arguments: argparse.Namespace) -> Answer:
    with _open(arguments) as generator:
        facts = generator.info.as_dict()
    if arguments.json:
        return Answer(as_json(facts))
    lines = [f"{name.replace('_', ' '):<20}{_plain(value)}" for name, value in facts.items()]
    return Answer("\n".join(lines))


def _doctor(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.cli import doctor

    report = doctor.examine(arguments.bundle, device=arguments.device, library=arguments.library)
    text = as_json(report.as_dict()) if arguments.json else report.as_text()
    return Answer(text, 0 if report.can_draw else 1)


def _library(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.cli.library_commands import run_library

    return run_library(arguments)


def _playground(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.playground.command import run_playground

    return run_playground(arguments)


def _completion(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.cli.arguments import build_parser
    from ragturbo_sdk.cli.completion.script import script

    return Answer(script(arguments.shell, build_parser()))


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], Answer]] = {
    "generate": _generate,
    "demo": _demo,
    "library": _library,
    "bench": _bench,
    "info": _info,
    "doctor": _doctor,
    "playground": _playground,
    "completion": _completion,
}


def _open(arguments: argparse.Namespace) -> Generator:
    from ragturbo_sdk.generator import Generator

    return Generator(
        arguments.bundle,
        library=arguments.library,
        device=arguments.device,
        threads=arguments.threads,
        memory_limit=arguments.memory_limit,
        cuda_graphs=arguments.cuda_graphs,
    )


def _file_name(result: GenerationResult) -> Path:
    """A name that says what is in the file: a-cat-left-of-two-pizzas-7.png."""
    words = re.sub(r"[^\w]+", "-", result.prompt.lower()).strip("-_")[:48].strip("-_")
    return Path(f"{words or 'picture'}-{result.seed}.png")


def _drawn(
    arguments: argparse.Namespace, result: GenerationResult, files: tuple[Path, ...], device: str
) -> Answer:
    if arguments.json:
        return Answer(as_json(_as_dict(result, files, device)))
    return Answer(_as_text(result, files, device))


def _as_dict(result: GenerationResult, files: tuple[Path, ...], device: str) -> dict[str, Any]:
    pictures = [{"file": str(file), **result.metadata(index)} for index, file in enumerate(files)]
    timings = {stage: round(ms, 3) for stage, ms in result.timings.items()}
    return {"pictures": pictures, "timings_ms": timings, "device": device}


def _as_text(result: GenerationResult, files: tuple[Path, ...], device: str) -> str:
    lines = [f"{file}  (seed {seed})" for file, seed in zip(files, result.seeds, strict=True)]
    lines.append(f"drawn in {result.timings['total']:.1f} ms on {device}, with {_count(result.references)}")
    lines += [f"  {_reference(reference)}" for reference in result.references]
    return "\n".join(lines)


def _count(references: tuple[Reference, ...]) -> str:
    if not references:
        return "no references"
    return "1 reference" if len(references) == 1 else f"{len(references)} references"


def _reference(reference: Reference) -> str:
    caption = " ".join(reference.caption.split())
    return f"similarity {reference.similarity:.3f}  weight {reference.weight:.2f}  {caption}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {item}" for name, item in value.items()) or "none"
    return str(value)
