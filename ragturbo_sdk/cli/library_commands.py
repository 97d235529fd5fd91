"""What each verb of ``ragturbo library`` does: it works, and returns what to print."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragturbo_sdk.checks import check_ids, check_prompts, check_text, check_threads
from ragturbo_sdk.cli.answer import Answer, as_json
from ragturbo_sdk.cli.progress_line import ProgressLine
from ragturbo_sdk.errors import InvalidInputError, RetrievalError

if TYPE_CHECKING:
    from ragturbo_runtime.bundle import Bundle
    from ragturbo_runtime.collection.entry import Entry, SkippedPicture
    from ragturbo_runtime.indexing.building import BuildReport
    from ragturbo_runtime.indexing.engine import LocalEngine
    from ragturbo_sdk.reference import Reference

_SHOWN = 20
"""Lines of a list; --json prints all."""


def run_library(arguments: argparse.Namespace) -> Answer:
    """Run a verb.

    Args:
        arguments: As `ragturbo_sdk.cli.arguments.parse` gave them.

    Returns:
        The text for stdout and the exit status.

    Raises:
        RagTurboError: Whatever went wrong; a library holds what was acknowledged.
    """
    return _VERBS[arguments.verb](arguments)


def _build(arguments: argparse.Namespace) -> Answer:
    from ragturbo_runtime.collection.opening import open_collection
    from ragturbo_runtime.indexing.building import build_library

    collection = open_collection(arguments.pictures)  # a slip is answered before the model is loaded
    bundle = _bundle(arguments)
    engine = _engine(bundle, arguments)
    with ProgressLine("pictures") as line:
        report = build_library(
            bundle,
            collection,
            arguments.out,
            engine,
            progress=lambda so_far: line.show(so_far.done, so_far.total),
        )
    return _built(arguments, arguments.out, report)


def _add(arguments: argparse.Namespace) -> Answer:
    from ragturbo_runtime.fitting import require_fit
    from ragturbo_runtime.indexing.building import add_entries, index_if_needed
    from ragturbo_runtime.library.writer import LibraryWriter

    entries, refused = _entries(arguments)
    bundle = _bundle(arguments)
    with LibraryWriter(arguments.library) as writer, ProgressLine("pictures") as line:
        require_fit(bundle, writer.layout, arguments.library)
        if arguments.caption is not None and writer.known([entries[0].id]):
            raise InvalidInputError(
                f"id {entries[0].id!r} is in the library already",
                argument="id",
                hint="remove it first, or give it another with --id",
            )
        engine = _engine(bundle, arguments)
        report = add_entries(
            writer, entries, engine, progress=lambda so_far: line.show(so_far.done, so_far.total)
        )
        index_if_needed(writer)
    return _built(arguments, arguments.library, report, refused)


def _entries(arguments: argparse.Namespace) -> tuple[list[Entry], tuple[SkippedPicture, ...]]:
    """What to add: one picture with its caption, or a collection."""
    from ragturbo_runtime.collection.entry import Entry
    from ragturbo_runtime.collection.opening import open_collection
    from ragturbo_runtime.collection.picture import read_picture

    path: Path = arguments.pictures
    single = {name: getattr(arguments, name) for name in ("caption", "id", "source", "licence")}
    is_one = path.is_file() or (single["caption"] and not path.exists())
    if is_one and path.suffix.lower() != ".tar":
        if not single["caption"]:
            raise InvalidInputError(
                f"{path}: nothing says what it shows",
                argument="caption",
                hint='add --caption "what it shows"',
            )
        texts = (single["source"] or "", single["licence"] or "")
        name = check_text("id", single["id"] or path.name)
        caption = check_prompts(single["caption"])[0]
        read_picture(path, 1, name=str(path))  # one that cannot be read is an error, not a line in a list
        return [Entry(name, caption, *texts, lambda side: read_picture(path, side, name=str(path)))], ()
    if given := [f"--{name}" for name, value in single.items() if value is not None]:
        raise InvalidInputError(
            f"{path}: {', '.join(given)} is for a single picture",
            argument=given[0].strip("-"),
            hint="a collection's metadata says it for each",
        )
    collection = open_collection(path)
    return collection.entries, tuple(collection.skipped)


def _remove(arguments: argparse.Namespace) -> Answer:
    from ragturbo_runtime.library.writer import LibraryWriter

    with LibraryWriter(arguments.library) as writer:
        removed = writer.remove(check_ids(arguments.ids))
    return _told(arguments, {"removed": removed}, f"{arguments.library}: {removed} removed")


def _compact(arguments: argparse.Namespace) -> Answer:
    from ragturbo_runtime.library.compaction import compact
    from ragturbo_runtime.library.writer import LibraryWriter

    with LibraryWriter(arguments.library) as writer:
        index = compact(writer)
        rows = writer.layout.rows
    text = f"{arguments.library}: {rows} pictures, " + (
        "searched exactly" if index is None else f"index with a recall of {index.recall:.3f}"
    )
    return _told(arguments, {"size": rows, "index": None if index is None else asdict(index)}, text)


def _search(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.generator import Generator

    query: str | Path | None = arguments.text if arguments.image is None else arguments.image
    if query is None or (arguments.text is not None and arguments.image is not None):
        raise InvalidInputError(
            "expected a text or --image FILE, one of the two", argument="text", hint='try "a red apple"'
        )
    if isinstance(query, str):
        check_prompts(query)
    with Generator(
        arguments.bundle, library=arguments.library, device=arguments.device, threads=arguments.threads
    ) as generator:
        found = generator.library.search(query, count=arguments.count)
    lines = "\n".join(_found(reference) for reference in found) or "nothing: the library is empty"
    return _told(arguments, {"references": [reference.metadata() for reference in found]}, lines)


def _info(arguments: argparse.Namespace) -> Answer:
    from ragturbo_runtime.library.opened import Library
    from ragturbo_sdk.library import describe_library

    with closing(Library(_library(arguments))) as library:
        facts = describe_library(library, writable=arguments.library is not None).as_dict()
    lines = [f"{name.replace('_', ' '):<20}{value}" for name, value in facts.items()]
    return _told(arguments, facts, "\n".join(lines))


def _verify(arguments: argparse.Namespace) -> Answer:
    from ragturbo_runtime.library.verification import verify_library

    folder = _library(arguments)
    problems = list(verify_library(folder))
    found = [{**asdict(problem), "path": str(problem.path)} for problem in problems]
    text = "\n".join(str(problem) for problem in problems) or f"{folder}: every byte is as it was written"
    return Answer(as_json({"problems": found}) if arguments.json else text, 1 if problems else 0)


def _copy(arguments: argparse.Namespace) -> Answer:
    from ragturbo_runtime.library.copying import copy_library

    copy_library(_library(arguments), arguments.out)
    return _told(arguments, {"path": str(arguments.out)}, f"{arguments.out}: yours to change")


def _bench(arguments: argparse.Namespace) -> Answer:
    from ragturbo_sdk.cli.library_bench import measure

    report = measure(arguments.keys, arguments.dim, seed=arguments.seed, queries=arguments.queries)
    return _told(arguments, report.as_dict(), report.as_text())


_VERBS: Mapping[str, Callable[[argparse.Namespace], Answer]] = {
    "build": _build,
    "add": _add,
    "remove": _remove,
    "search": _search,
    "info": _info,
    "verify": _verify,
    "compact": _compact,
    "copy": _copy,
    "bench": _bench,
}


def _bundle(arguments: argparse.Namespace) -> Bundle:
    from ragturbo_runtime.bundle import Bundle
    from ragturbo_sdk._version import __version__
    from ragturbo_sdk.generator import BUNDLED_MODEL

    return Bundle.load(arguments.bundle or BUNDLED_MODEL, sdk_version=__version__)


def _engine(bundle: Bundle, arguments: argparse.Namespace) -> LocalEngine:
    from ragturbo_runtime.indexing.engine import LocalEngine
    from ragturbo_runtime.indexing.opening import open_encoder

    encoder = open_encoder(bundle, device=arguments.device, threads=check_threads(arguments.threads))
    return LocalEngine(encoder, bundle.manifest.picture_height)


def _library(arguments: argparse.Namespace) -> Path:
    """The folder that was named, or the bundle's own library."""
    own: Path | None = getattr(arguments, "library", None)
    if own is not None:
        return own
    bundle = _bundle(arguments)
    if bundle.manifest.library is None:
        raise RetrievalError(f"{bundle.path}: the bundle has no library", hint="name one with --library")
    return bundle.library_directory(bundle.manifest.library)


def _built(
    arguments: argparse.Namespace, folder: Path, report: BuildReport, refused: tuple[SkippedPicture, ...] = ()
) -> Answer:
    skipped = refused + report.skipped
    facts: dict[str, Any] = {"path": str(folder), "added": report.added, "known": report.known}
    lines = [f"{folder}: {report.added} added, {report.known} known before, {len(skipped)} skipped"]
    lines += [f"  {one.name}: {one.reason}" for one in skipped[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"  and {len(skipped) - _SHOWN} more; --json prints all")
    return _told(arguments, {**facts, "skipped": [asdict(one) for one in skipped]}, "\n".join(lines))


def _found(reference: Reference) -> str:
    from ragturbo_runtime.collection.entry import printable

    where = f" ({reference.source}, {reference.licence})" if reference.source or reference.licence else ""
    text = f"{reference.id}  {' '.join(reference.caption.split())}{where}"
    return f"{reference.similarity:.3f}  {printable(text)}"


def _told(arguments: argparse.Namespace, facts: Mapping[str, Any], text: str) -> Answer:
    return Answer(as_json(facts) if arguments.json else text)
