"""What a prompt is looked up by. Nothing here imports torch: configs name it."""

from __future__ import annotations

from typing import Literal

from ragturbo_runtime.phrases import split_phrases

Ask = Literal["both", "prompt", "phrases"]
"""The whole prompt and each of its object phrases, as the runtime does, or one alone."""


def queries_of(prompt: str, ask: Ask = "both") -> list[str]:
    """What a prompt is looked up by, without repeats; a prompt without object phrases by itself."""
    if ask == "prompt":
        return [prompt]
    phrases = split_phrases(prompt)
    return list(dict.fromkeys([prompt, *phrases])) if ask == "both" else phrases or [prompt]
