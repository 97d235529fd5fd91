"""What a caller asks for, checked and made into the runtime's request."""

from __future__ import annotations

from ragturbo_runtime.requests import DrawRequest
from ragturbo_sdk.checks import (
    MAX_STEPS,
    check_flag,
    check_images,
    check_integer,
    check_prompts,
    check_seed,
    check_strength,
)
from ragturbo_sdk.errors import RetrievalError
from ragturbo_sdk.info import GeneratorInfo

_ANY = 1 << 31
"""Without a library the answer is another than that there are too many."""


def draw_request(
    info: GeneratorInfo,
    *,
    has_library: bool,
    prompt: object,
    seed: object,
    num_images: object,
    references: object,
    strength: object,
    num_inference_steps: object,
    retrieval: object,
) -> DrawRequest:
    """Check the arguments of ``Generator.generate``, which says what they are.

    Args:
        info: The generator's limits.
        has_library: Whether references can be looked up.
        prompt: A text or several.
        seed: Of the first picture, or None.
        num_images: Of each prompt.
        references: To look up, or None.
        strength: Of the references.
        num_inference_steps: Denoising steps.
        retrieval: False: no references after all.

    Raises:
        InvalidInputError: One is of the wrong type or out of range.
        RetrievalError: References are asked for, and there is no library.
    """
    prompts = check_prompts(prompt)
    per_prompt = check_images(len(prompts), num_images)
    count = len(prompts) * per_prompt
    first_seed = check_seed(seed, count=count)
    wanted = _check_references(info, has_library, references)
    hint = "1 is what the model is made for"
    return DrawRequest(
        prompts=tuple(text for text in prompts for _ in range(per_prompt)),
        seeds=tuple(range(first_seed, first_seed + count)),
        steps=check_integer("num_inference_steps", num_inference_steps, 1, MAX_STEPS, hint=hint),
        references=wanted if check_flag("retrieval", retrieval) else 0,
        strength=check_strength(strength),
    )


def _check_references(info: GeneratorInfo, has_library: bool, references: object) -> int:
    if references is None:
        return info.default_references
    hint = "pass None for the model's default"
    wanted = check_integer(
        "references", references, 0, info.max_references if has_library else _ANY, hint=hint
    )
    if wanted and not has_library:
        raise RetrievalError(
            f"references is {wanted}, and bundle {info.name!r} has no library",
            hint="pass references=0, or build a library and load it with library=folder",
        )
    return wanted
