"""Arguments are checked here, once, at the border; behind it they are trusted."""

from __future__ import annotations

import math
import operator
import os
import secrets
from collections.abc import Sequence
from itertools import islice
from numbers import Real
from pathlib import Path

from ragturbo_runtime.cancellation import CancelToken
from ragturbo_runtime.shown import shown
from ragturbo_sdk.errors import InvalidInputError

MAX_IMAGES = 64  # the graphs' dynamic batch ends here
MAX_PROMPT = 20_000
"""Characters: many times what the text encoder reads."""
MAX_STEPS = 4
MAX_STRENGTH = 2.0
MAX_SEED = 2**64 - 1
MAX_THREADS = 1024
MAX_MEMORY = 2**63 - 1  # what ONNX Runtime can count


def check_prompts(prompt: object) -> tuple[str, ...]:
    """Check one prompt or several.

    Args:
        prompt: Text, or a sequence of texts.

    Returns:
        The prompts, at least one, each with something to draw in it.

    Raises:
        InvalidInputError: It is neither, or empty, or holds text that is not valid Unicode.
    """
    if isinstance(prompt, str):
        return (_check_prompt(prompt),)
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes | bytearray | memoryview):
        raise _invalid("prompt", prompt, "text, or a sequence of texts", "pass a str")
    texts = _first("prompt", prompt)
    if not texts:
        raise _invalid("prompt", prompt, "at least one text", "pass a str, or a list with one in it")
    return tuple(_check_prompt(text) for text in texts)


def check_integer(argument: str, value: object, low: int, high: int, *, hint: str) -> int:
    """Check a whole number.

    Args:
        argument: Its name, for the message.
        value: An int, or what acts as one (numpy's integers do; a bool does not).
        low: The least that is allowed.
        high: The most that is allowed.
        hint: The way out, for the message.

    Returns:
        The number as an int.

    Raises:
        InvalidInputError: It is no whole number, or out of range.
    """
    allowed = f"a whole number from {low} to {high}"
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except Exception as error:  # TypeError, or what a class of the caller's raises
        raise _invalid(argument, value, allowed, hint) from error
    if isinstance(value, bool) or not low <= number <= high:
        raise _invalid(argument, number, allowed, hint)
    return number


def check_seed(seed: object, *, count: int) -> int:
    """Check the seed, or choose one.

    Args:
        seed: A whole number, or None for one by chance.
        count: How many pictures are drawn; picture i uses seed + i.

    Returns:
        The seed of the first picture, 0 to 2**64 - count.

    Raises:
        InvalidInputError: It is no whole number, or out of range.
    """
    if seed is None:
        return secrets.randbelow(2**32)  # short enough to type again
    return check_integer("seed", seed, 0, MAX_SEED - (count - 1), hint="pass None for a seed by chance")


def check_threads(threads: object) -> int | None:
    """Check the number of CPU threads.

    Args:
        threads: A whole number, or None for one per core.

    Returns:
        The number, or None.

    Raises:
        InvalidInputError: It is no whole number from 1 to 1024.
    """
    if threads is None:
        return None
    return check_integer("threads", threads, 1, MAX_THREADS, hint="pass None for one per core")


def check_memory_limit(memory_limit: object) -> int | None:
    """Check the limit of GPU memory.

    Args:
        memory_limit: Bytes, or None for no limit.

    Returns:
        The bytes, or None.

    Raises:
        InvalidInputError: It is no whole number of 1 or more.
    """
    if memory_limit is None:
        return None
    hint = "give bytes, for example 4 * 2**30, or None for no limit"
    return check_integer("memory_limit", memory_limit, 1, MAX_MEMORY, hint=hint)


def check_callable(argument: str, value: object) -> None:
    """Check a function that may be left out.

    Args:
        argument: Its name, for the message.
        value: Something that can be called, or None.

    Raises:
        InvalidInputError: It is neither.
    """
    if value is not None and not callable(value):
        raise _invalid(argument, value, "a function, or None", "pass a function that takes one argument")


def check_cancel(cancel: object) -> CancelToken | None:
    """Check what stops a drawing.

    Args:
        cancel: A CancelToken, or None.

    Returns:
        The same.

    Raises:
        InvalidInputError: It is neither.
    """
    if cancel is None or isinstance(cancel, CancelToken):
        return cancel
    raise _invalid("cancel", cancel, "a CancelToken, or None", "make one: CancelToken()")


def check_strength(strength: object) -> float:
    """Check the strength of the references.

    Args:
        strength: A finite number, 0 to 2; 1 is what the adapter was trained for.

    Returns:
        The strength as a float.

    Raises:
        InvalidInputError: It is no number, not finite, or out of range.
    """
    is_number = isinstance(strength, Real) and not isinstance(strength, bool)
    try:
        number = float(strength) if is_number else math.nan  # type: ignore[arg-type]
    except Exception:  # a fraction that no float can hold
        number = math.inf
    if not 0.0 <= number <= MAX_STRENGTH:  # false for NaN too
        allowed = f"a number from 0 to {MAX_STRENGTH:g}"
        raise _invalid("strength", strength, allowed, "1 is what the adapter was trained for")
    return number


def check_flag(argument: str, value: object) -> bool:
    """Check a switch.

    Args:
        argument: Its name, for the message.
        value: True or False, numpy's too; no number or text that Python would take for one.

    Returns:
        The switch as a bool.

    Raises:
        InvalidInputError: It is neither.
    """
    if type(value).__name__ not in ("bool", "bool_"):
        raise _invalid(argument, value, "True or False", "pass a bool")
    return bool(value)


def check_images(prompts: int, num_images: object) -> int:
    """Check how many pictures a call asks for.

    Args:
        prompts: How many prompts there are.
        num_images: How many pictures of each.

    Returns:
        Pictures per prompt.

    Raises:
        InvalidInputError: It is no whole number from 1 to 64, or all prompts together make more.
    """
    hint = "call generate several times"
    number = check_integer("num_images", num_images, 1, MAX_IMAGES, hint=hint)
    if prompts * number > MAX_IMAGES:
        message = (
            f"{prompts} prompts with {number} pictures each are more than {MAX_IMAGES} pictures in one call"
        )
        raise InvalidInputError(message, argument="prompt" if number == 1 else "num_images", hint=hint)
    return number


def check_text(argument: str, value: object, *, empty: bool = False) -> str:
    """Check a short text.

    Args:
        argument: Its name, for the message.
        value: Text.
        empty: Whether it may be empty.

    Returns:
        The text.

    Raises:
        InvalidInputError: It is no text, or no valid Unicode, or empty.
    """
    if not isinstance(value, str) or not (value or empty):
        raise _invalid(argument, value, "text" if empty else "text that is not empty", "pass a str")
    _require_unicode(argument, value)
    return str.__str__(value)


def check_ids(ids: object) -> tuple[str, ...]:
    """Check names of references.

    Args:
        ids: One text, or a sequence of texts.

    Returns:
        The names, at least one.

    Raises:
        InvalidInputError: It is neither, or empty.
    """
    if isinstance(ids, str):
        return (check_text("ids", ids),)
    if not isinstance(ids, Sequence) or isinstance(ids, bytes | bytearray | memoryview) or not ids:
        raise _invalid("ids", ids, "a text, or a sequence of texts", "reference.id is one")
    return tuple(check_text("ids", one) for one in ids)


def check_folder(argument: str, value: object) -> Path:
    """Check a folder's path.

    Args:
        argument: Its name, for the message.
        value: A path.

    Returns:
        The path.

    Raises:
        InvalidInputError: It is none, or empty, or holds what no path may hold.
    """
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise _invalid(argument, value, "a folder", "pass a str or a pathlib.Path")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise _invalid(argument, str(value), "a path", "decode it with os.fsdecode") from error
    return Path(value)


def check_library(library: object) -> Path | None:
    """Check the folder of a host's own library.

    Args:
        library: A path, or None for the bundle's own.

    Returns:
        The path, or None.

    Raises:
        InvalidInputError: It is neither, or empty.
    """
    if library is None:
        return None
    return check_folder("library", library)


def _first(argument: str, values: Sequence[object]) -> list[object]:
    """One more than may be asked for at once: a sequence of the caller's may be of any length, or without end."""
    try:
        return list(islice(values, MAX_IMAGES + 1))
    except Exception as error:
        raise _invalid(argument, values, "a sequence that can be read", "pass a list") from error


def _check_prompt(text: object) -> str:
    if not isinstance(text, str):
        raise _invalid("prompt", text, "text", "pass a str")
    text = str.__str__(text)  # whatever a subclass makes of it
    if len(text) > MAX_PROMPT:  # repairing a text can take time that grows with the square of its length
        raise _invalid(
            "prompt", text, f"at most {MAX_PROMPT} characters, not {len(text)}", "only 77 tokens are read"
        )
    if not text.strip():
        raise _invalid("prompt", text, "text with at least one word", "say what to draw")
    _require_unicode("prompt", text)
    return text


def _require_unicode(argument: str, text: str) -> None:
    try:
        str.encode(text, "utf-8")
    except UnicodeEncodeError as error:
        raise _invalid(argument, text, "valid Unicode", "decode the text with its true encoding") from error


def _invalid(argument: str, value: object, allowed: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        f"{argument} is {shown(value)}, expected {allowed}", argument=argument, hint=hint
    )
