"""The public surface as text: every name, parameter, kind, default and annotation that a host can depend on.

python -m tests.sdk.signatures        writes public_signatures.txt anew
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ragturbo_sdk

FILE = Path(__file__).with_name("public_signatures.txt")
MARKS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def surface() -> str:
    """All of it, one line each."""
    return "\n".join(line for name in ragturbo_sdk.__all__ for line in _lines(name)) + "\n"


def _lines(name: str) -> Iterator[str]:
    value = getattr(ragturbo_sdk, name)
    if not isinstance(value, type):
        yield f"{name}{signature_text(value)}" if callable(value) else f"{name}: {type(value).__name__}"
        return
    yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)}){signature_text(value.__init__)}"
    fields = (
        {field.name: field.type for field in dataclasses.fields(value)}
        if dataclasses.is_dataclass(value)
        else {}
    )
    for field, kind in fields.items():
        if not field.startswith("_"):
            yield f"  {name}.{field}: {kind}"
    for member, found in sorted(vars(value).items()):
        if not member.startswith("_") and member not in fields:
            yield f"  {name}.{member}{_member(found)}"


def _member(found: Any) -> str:
    if isinstance(found, property):
        return f": {_annotation(inspect.signature(found.fget).return_annotation)}"
    if isinstance(found, classmethod | staticmethod):
        return f"{signature_text(found.__func__)}  [{type(found).__name__}]"
    return signature_text(found) if callable(found) else f" = {found!r}"


def signature_text(function: Callable[..., Any]) -> str:
    """One signature, annotations as they are written."""
    signature = inspect.signature(function)
    written: list[str] = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            written.append("*")
        star = star or parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL)
        written.append(_parameter(parameter))
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            written.append("/")
    return f"({', '.join(written)}) -> {_annotation(signature.return_annotation)}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = MARKS.get(parameter.kind, "") + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    return text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}"


def _annotation(annotation: object) -> str:
    if annotation is inspect.Signature.empty:
        return "?"
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


if __name__ == "__main__":
    FILE.write_text(surface(), encoding="utf-8")
