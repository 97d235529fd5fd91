"""Which code is changed, and by which tests that must be noticed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """Some files and their tests.

    Attributes:
        name: For the table.
        files: Patterns below ``ragturbo_runtime``.
        tests: Files of the suite.
    """

    name: str
    files: tuple[str, ...]
    tests: tuple[str, ...]

    def holds(self, mutant: str) -> bool:
        """Whether mutmut's name of a mutant, ``ragturbo_runtime.index.exact.x_largest__mutmut_3``, is of this room."""
        modules = [pattern.removesuffix(".py").removesuffix("/*").replace("/", ".") for pattern in self.files]
        return any(mutant.startswith(f"ragturbo_runtime.{module}.") for module in modules)


ROOMS = (
    Room("sampler", ("sampler.py",), ("tests/unit/test_sampler.py",)),
    Room(
        "manifest",
        ("manifest.py", "manifest_json.py", "manifest_text.py", "json_fields.py"),
        tuple(
            f"tests/unit/test_{name}.py"
            for name in ("manifest", "manifest_json", "manifest_text", "json_fields", "bundle")
        ),
    ),
    Room(
        "index",
        ("index/*",),
        tuple(
            f"tests/library/test_{name}.py"
            for name in ("index", "index_kinds", "index_parts", "index_files", "ranked_index")
        ),
    ),
)
