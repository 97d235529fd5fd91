"""The words after ``ragturbo library``."""

from __future__ import annotations

import argparse
from pathlib import Path

VERBS = ("build", "add", "remove", "search", "info", "verify", "compact", "copy", "bench")
_EXAMPLES = """examples:
  ragturbo library build PICTURES --out my-library
  ragturbo library copy --out my-library
  ragturbo library add mug.jpg --library my-library --caption "my red mug"
  ragturbo library search "a mug" --library my-library
  ragturbo library search --image photo.jpg
  ragturbo library remove mug.jpg --library my-library
  ragturbo library bench --keys 630000 --dim 1024 --json

PICTURES: a folder with a metadata.csv or metadata.jsonl (columns file_name, text; optional id, source,
licence), or webdataset shards (.tar). build goes on where a build that was stopped had come to.
Exit status: 0 done, 1 verify: something is wrong, 2 wrong input or a file that cannot be used."""


def add_library(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``ragturbo library``.

    Args:
        parser: Of that command; its class parses the verbs too.
    """
    parser.description = (
        "Build, search and change a library: the captioned pictures that prompts are looked up in."
    )
    parser.epilog, parser.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    added = {
        name: verbs.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
        )
        for name, text in _HELP.items()
    }
    _add_building(added["build"], added["add"])
    for name in ("remove", "compact"):
        _add_own(added[name])
    for name in ("info", "verify", "search"):
        added[name].add_argument(
            "--library", type=Path, metavar="DIR", help="default: the library of the bundle"
        )
    for name in ("copy", "build"):
        added[name].add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="the library's folder"
        )
    added["remove"].add_argument("ids", nargs="+", metavar="ID", help="names, as search prints them")
    added["search"].add_argument("text", nargs="?", help="what to look for")
    added["search"].add_argument("--image", type=Path, metavar="FILE", help="a picture to look for instead")
    added["search"].add_argument(
        "-n", "--count", type=int, default=10, help="the most to print (default: 10)"
    )
    for name in ("build", "add", "search"):
        _add_device(added[name])
    _add_bench(added["bench"])
    for name, verb in added.items():
        _add_common(verb, with_bundle=name != "bench")


_HELP = {
    "build": "encode a collection of pictures into a new library",
    "add": "add a picture, or a whole collection, to a library",
    "remove": "remove pictures",
    "search": "find the pictures whose captions are nearest to a text, or to what a picture shows",
    "info": "say what is in a library",
    "verify": "read every byte of a library and compare it with what was written",
    "compact": "free the room of removed pictures, and build the index anew",
    "copy": "copy the library of a bundle, to add to it",
    "bench": "measure search among many keys, which are made by chance",
}


def _add_building(build: argparse.ArgumentParser, add: argparse.ArgumentParser) -> None:
    build.add_argument("pictures", type=Path, help="a folder of pictures with metadata, or webdataset shards")
    add.add_argument("pictures", type=Path, help="a picture, a folder of pictures with metadata, or shards")
    _add_own(add)
    single = add.add_argument_group("of a single picture")
    single.add_argument("--caption", help="what it shows")
    single.add_argument("--id", help="its name (default: the file's)")
    single.add_argument("--source", help="where it comes from")
    single.add_argument("--licence", help="under which licence")


def _add_own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--library", type=Path, required=True, metavar="DIR", help="a library of your own")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1 (default: auto)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: one per core)")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", type=int, default=20_000, metavar="N", help="how many (default: 20000)")
    parser.add_argument("--dim", type=int, default=1024, metavar="E", help="their width (default: 1024)")
    parser.add_argument("--queries", type=int, default=1000, metavar="Q", help="searches (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="makes the keys (default: 0)")


def _add_common(parser: argparse.ArgumentParser, *, with_bundle: bool) -> None:
    if with_bundle:
        parser.add_argument(
            "--bundle", metavar="DIR", help="the model's folder (default: the one that came with ragturbo)"
        )
    else:
        parser.set_defaults(bundle=None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what happens to stderr")
