"""What was wanted of retrieval, and what was reached: computed from the results, met or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation.tables import cell, table
from training.evaluation.times import total_ms

Document = Mapping[str, Any]

EXPLANATION = "research.md"
"""Says of the family that ships which causes were ruled out, by which experiment."""
ABOUT = f"{EXPLANATION}#what-was-not-reached-and-what-was-ruled-out"
ADAPTER, BASE, LORA, WRONG, TEACHER = (
    "adapter_1", "base_1", "lora_only_1", "adapter_wrong_references_1", "teacher_50",
)  # fmt: skip


@dataclass(frozen=True)
class Reached:
    """One figure that was wanted."""

    what: str
    wanted: str
    value: str
    """What was reached, in the figure's own unit."""
    relative: str
    """The same as a share, where that says something; or a dash."""
    is_met: bool


def wanted_lines(document: Document, new_concepts: Document | None, *, explained: bool = True) -> list[str]:
    """The table, in Markdown; empty where not one of its figures was measured.

    Args:
        document: What results.json holds.
        new_concepts: What new_concepts.json holds; None where it was not measured.
        explained: Whether the explanation lies beside the page.
    """
    missed = f"[no]({ABOUT})" if explained else "no"
    reached = reached_figures(document, new_concepts)
    if not reached:
        return []
    body = [
        [one.what, one.wanted, one.value, one.relative, "yes" if one.is_met else missed] for one in reached
    ]
    met = sum(one.is_met for one in reached)
    about = f"Reached: {met} of {len(reached)}. A gain counts where its interval is clear of zero."
    if explained:
        about += " What is behind a *no* links to the causes\nthat experiments ruled out, and to those that are left."
    return [
        "## What was wanted, what was reached",
        "",
        *about.splitlines(),
        "",
        *table(["figure", "wanted", "reached", "relative", "reached?"], body),
        "",
    ]


def reached_figures(document: Document, new_concepts: Document | None) -> list[Reached]:
    """Compute every figure that the numbers allow, in the order of the aims."""
    known = {**document, "new_concepts": new_concepts}
    found = []
    for figure in FIGURES:
        try:
            found.append(figure(known))
        except (KeyError, TypeError, ZeroDivisionError):
            continue  # a row, or the other benchmark, was not measured
    return found


def _gain(what: str, pair: str, other: str, least: float) -> Callable[[Document], Reached]:
    def figure(document: Document) -> Reached:
        mean, low, high = document["paired"][pair]
        relative = f"{mean / document['rows'][other]['tifa'][0]:+.1%}"
        is_met = mean >= least and low > 0
        return Reached(what, f"at least {least:+.3f}", cell((mean, low, high), signed=True), relative, is_met)

    return figure


def _clip(document: Document) -> Reached:
    ours, base = document["rows"][ADAPTER]["clip"][0], document["rows"][BASE]["clip"][0]
    gain = ours / base - 1
    value = f"{cell(document['paired_clip']['adapter_minus_base'], signed=True)}"
    return Reached("CLIP over the base", "at least +1.37%", value, f"{gain:+.2%}", gain >= 0.0137)


def _fid(document: Document) -> Reached:
    ours, base = document["rows"][ADAPTER]["fid"], document["rows"][BASE]["fid"]
    return Reached(
        "FID", f"not over the base's {base:.2f}", f"{ours:.2f}", f"{ours / base - 1:+.1%}", ours <= base
    )


def _wrong(document: Document) -> Reached:
    gain, lost = (
        document["paired"]["adapter_minus_base"][0],
        document["paired"]["adapter_minus_wrong_references"],
    )
    value = f"{cell(lost, signed=True)} lost of {gain:+.3f}"
    is_met = lost[0] > gain / 2 and lost[1] > 0
    return Reached(
        "TIFA lost with wrong references", "most of the gain", value, f"{lost[0] / gain:.0%}", is_met
    )


def _teacher(document: Document) -> Reached:
    ours, teacher = document["rows"][ADAPTER]["tifa"][0], document["rows"][TEACHER]["tifa"][0]
    value = cell(document["paired"]["adapter_minus_teacher"], signed=True)
    gap = ours / teacher - 1
    return Reached(
        "TIFA, one step less the teacher's 50", "within 1.2% of it", value, f"{gap:+.1%}", gap >= -0.012
    )


def _recall(kind: str, words: str) -> Callable[[Document], Reached]:
    def figure(document: Document) -> Reached:
        gains = document["paired_recall"]["adapter_minus_base"]
        mean, low, high = gains[kind]
        common = gains["common"][0]
        value = cell((mean, low, high), signed=True)
        is_met = mean > common and low > 0
        return Reached(
            f"recall over the base, {words}", f"above common concepts' {common:+.3f}", value, "-", is_met
        )

    return figure


def _times_as_often(document: Document) -> Reached:
    recall = document["new_concepts"]["recall"]
    ratio, clear = (
        recall["own_3"][0] / recall["none"][0],
        document["new_concepts"]["paired"]["own_3_minus_none"][1],
    )
    value = f"{recall['own_3'][0]:.3f} against {recall['none'][0]:.3f}"
    return Reached(
        "new concepts: recall with three references", "3 times that without", value, f"{ratio:.1f} times",
        ratio >= 3 and clear > 0,
    )  # fmt: skip


def _half_of_rare(document: Document) -> Reached:
    recall = document["new_concepts"]["recall"]
    share = recall["own_3"][0] / recall["rare"][0]
    value = f"{recall['own_3'][0]:.3f} against {recall['rare'][0]:.3f}"
    return Reached("the same", "half of trained rare concepts'", value, f"{share:.0%}", share >= 0.5)


def _speed(document: Document) -> Reached:
    ours, teacher = total_ms(document["rows"][ADAPTER]), total_ms(document["rows"][TEACHER])
    if ours is None or teacher is None:
        raise KeyError("ms")
    value = f"{ours:.1f} against {teacher:.1f} ms"
    ratio = teacher / ours
    return Reached(
        "speed against the teacher, same runtime", "25 times", value, f"{ratio:.1f} times", ratio >= 25
    )


FIGURES: Sequence[Callable[[Document], Reached]] = (
    _gain("TIFA over the base", "adapter_minus_base", BASE, 0.022),
    _gain("TIFA over the same LoRA without retrieval", "adapter_minus_lora_only", LORA, 0.015),
    _clip,
    _fid,
    _wrong,
    _teacher,
    _recall("rare", "rare concepts"),
    _recall("library_only", "library-only concepts"),
    _times_as_often,
    _half_of_rare,
    _speed,
)
"""In the order in which the project's aims name them."""
