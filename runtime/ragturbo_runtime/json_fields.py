"""Typed reading of a JSON object, with errors that name the key."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from ragturbo_runtime.errors import BundleCorruptError


@dataclass(frozen=True)
class JsonFields:
    """One JSON object of a manifest, read key by key.

    Attributes:
        data: The object.
        where: Its place in the file, for messages, for example ``"graphs.adapter"``; empty at the top.
        path: The file it came from.
    """

    data: Mapping[str, Any]
    where: str
    path: Path

    def text(self, key: str) -> str:
        """Return a string.

        Args:
            key: The key in this object.

        Returns:
            The value.

        Raises:
            BundleCorruptError: The key is absent or holds something else.
        """
        value = self._require(key)
        if not isinstance(value, str):
            raise self.fault(key, value, "a string")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """Return a string that is one of ``allowed``; raises BundleCorruptError otherwise."""
        value = self.text(key)
        if value not in allowed:
            raise self.fault(key, value, "one of " + ", ".join(repr(item) for item in allowed))
        return value

    def integer(self, key: str, *, minimum: int = 0) -> int:
        """Return an integer of at least ``minimum``; raises BundleCorruptError otherwise."""
        value = self._require(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.fault(key, value, f"an integer of at least {minimum}")
        return value

    def number(self, key: str) -> float:
        """Return a finite float (an integer counts); raises BundleCorruptError otherwise."""
        value = self._require(key)
        if not _is_number(value) or not math.isfinite(value):
            raise self.fault(key, value, "a finite number")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """Return a float that may be infinite, or None where it is null or absent."""
        value = self.data.get(key)
        if value is None:
            return None
        if not _is_number(value) or math.isnan(value):
            raise self.fault(key, value, "a number or null")
        return float(value)

    def nested(self, key: str) -> JsonFields:
        """Return a nested object; raises BundleCorruptError otherwise."""
        value = self._require(key)
        if not isinstance(value, dict):
            raise self.fault(key, value, "an object")
        return JsonFields(value, self._name(key), self.path)

    def nested_list(self, key: str) -> tuple[JsonFields, ...]:
        """Return a list of objects; raises BundleCorruptError otherwise."""
        value = self._require(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.fault(key, value, "a list of objects")
        return tuple(JsonFields(item, f"{self._name(key)}[{i}]", self.path) for i, item in enumerate(value))

    def texts(self) -> dict[str, str]:
        """Return the whole object as strings; raises BundleCorruptError where a value is no string."""
        return {key: self.text(key) for key in self.data}

    def optional_texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty where it is absent; raises BundleCorruptError where it is something else."""
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fault(key, value, "a list of strings")
        return tuple(value)

    def fault(self, key: str, value: object, allowed: str) -> BundleCorruptError:
        """Return the error for a value that is not ``allowed``."""
        return self._damaged(f"{self._name(key)} is {_shorten(value)}, expected {allowed}")

    def relative_path(self, value: str, key: str) -> str:
        """Return ``value`` if it is a plain path that stays inside the bundle.

        Args:
            value: A path with forward slashes.
            key: The key that holds it, for the message.

        Returns:
            The value, unchanged.

        Raises:
            BundleCorruptError: The path is absolute, empty, or climbs out with ``..``.
        """
        parts = PurePosixPath(value).parts
        plain = value == "/".join(parts) and "\\" not in value and ":" not in value and "\0" not in value
        if not parts or not plain or ".." in parts or value.startswith("/"):
            raise self.fault(key, value, "a relative path inside the bundle, with forward slashes")
        return value

    def _require(self, key: str) -> Any:  # noqa: ANN401 - JSON values are of any type
        if key not in self.data:
            raise self._damaged(f"{self._name(key)} is missing")
        return self.data[key]

    def _name(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _damaged(self, what: str) -> BundleCorruptError:
        hint = "download or export the bundle again"
        return BundleCorruptError(f"{self.path.name}: {what}", path=self.path, hint=hint)


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether a float can hold it: JSON's integers have no limit, and ``math`` overflows on large ones."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max


def _shorten(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
