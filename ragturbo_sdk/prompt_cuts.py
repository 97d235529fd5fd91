"""The warning for a prompt that is longer than the text encoder reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ragturbo_sdk.errors import PromptTruncatedWarning


def warn_of_cuts(prompts: Sequence[str], cuts: Sequence[Sequence[str]]) -> None:
    """Name the words that the text encoder did not see, once per prompt, where the caller of the caller is.

    Args:
        prompts: One per picture.
        cuts: Of each, the words that did not fit.
    """
    for prompt, words in dict(zip(prompts, cuts, strict=True)).items():
        if words:
            start = prompt if len(prompt) <= 40 else f"{prompt[:37]}..."
            message = f"prompt {start!r} is longer than the text encoder reads; these words were cut: "
            warnings.warn(
                message + ", ".join(repr(word) for word in words), PromptTruncatedWarning, stacklevel=3
            )
