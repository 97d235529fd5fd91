"""docs/performance.md, from docs/performance.json alone.

Command: ``python -m export.benchmark.page --out docs`` writes page and plots again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.benchmark.document import NUMBERS, PAGE, PLOTS, Document, read_document
from export.benchmark.errors import BenchError
from export.benchmark.plot import draw_plot, file_name
from export.benchmark.table import graphs_table, rows_table, sentences
from ragturbo_runtime.files import write_bytes

_HEAD = """\
# Speed and memory

Written by `python -m export.bench`, never by hand; the numbers are also in [performance.json](performance.json). On
one machine, in one run, from the same prompt, noise and weights, in one step, without guidance:

```console
python -m export.bench --bundle DIR --base FAMILY --device cpu
```
"""
_PROTOCOL = """\
## How it is measured

- **Rows.** Ours: `ragturbo_runtime`, with the default number of references, and without. diffusers:
  `StableDiffusionPipeline` with `EulerDiscreteScheduler`, the prompt encoded by the same open_clip tower as
  transformers would (without its last layer), eager and with `torch.compile` of U-Net and VAE decoder. optimum:
  `ORTDiffusionPipeline` on the folder that `--layout optimum` writes. All fuse the same LoRA. On the CPU all compute
  in float32 with the same number of threads; on CUDA torch computes in float16, channels last.
- **Time.** From the prompt to 8-bit pixels, the text encoder included. Each row has a process of its own that loads,
  draws two pictures that do not count, and then sleeps until it is its turn. The rounds go round robin and begin with
  another row each; ours with retrieval, without, and its graphs run bare follow each other, in another order each
  round. Where not all rows fit into memory, they are measured in groups with ours in each; **ratios come from the
  rounds of one group**. "over ours": their median over ours with retrieval.
- **The same picture.** In every round each row's picture is compared with ours without retrieval, as 8-bit pixels. A
  row that differs has no numbers.
- **Retrieval's cost** is the median of the paired differences over the median without; the interval is a bootstrap
  over rounds, 95 %.
- **Bare graphs.** Every call of ONNX Runtime that the chain makes is recorded with its tensors, and done again by
  itself in the same process and round. The keys of the prompt's phrases are known since
  the warm-up; a new prompt with two phrases takes longer by one short run of the text encoder.
- **Floor.** Per graph the larger of two times, then the sum: floating-point operations (counted on the modules'
  shapes) over the best matrix product that was measured before and after the rows, and bytes of weights, inputs and
  outputs over the best copy. A convolution behind a doubling counts 4 of 9 products.
- **Load** is from the first import of the libraries to the first picture that could be drawn, files in the page
  cache, without fusing LoRA; compiling is part of it, from an empty cache. **Peak** is what the process took at most
  up to and with the warm-up: on the CPU resident memory, mapped files and libraries included; on CUDA, memory of the
  card.
"""


def make_page(document: Document) -> str:
    """Write docs/performance.md.

    Args:
        document: What docs/performance.json holds.
    """
    parts = [_HEAD]
    for device, families in document.items():
        parts.append(f"## {device}\n")
        parts += [_section(device, family, entry) for family, entry in families.items()]
    return "\n".join([*parts, _PROTOCOL])


def _section(device: str, family: str, entry: Mapping[str, Any]) -> str:
    height, width = entry["picture"]
    picture = f"![Milliseconds per row]({PLOTS}/{file_name(device, family)})"
    packages = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
    lines = [
        f"### {family}, {width}x{height} pixels, {entry['flavour']}",
        "",
        *rows_table(entry),
        "",
        picture,
        "",
        *(f"- {line}" for line in sentences(entry)),
        "",
        *graphs_table(entry),
        "",
        f"Rounds: {entry['rounds']}; processes side by side: {entry['together']}; threads: {entry['threads']}; "
        f'{entry["references"]} references, "{entry["prompt"]}". {packages}.',
        "",
    ]
    return "\n".join(lines)


def publish(document: Document, out: Path) -> None:
    """Write page and plots; the same numbers give the same bytes.

    Args:
        document: What docs/performance.json holds.
        out: The folder of documentation.
    """
    for device, families in document.items():
        for family, entry in families.items():
            draw_plot(entry, out / PLOTS / file_name(device, family))
    write_bytes(out / PAGE, make_page(document).encode())


def main(arguments: list[str] | None = None) -> int:
    """Write page and plots again; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m export.benchmark.page", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"), help=f"folder with {NUMBERS}")
    options = parser.parse_args(arguments)
    try:
        publish(read_document(options.out / NUMBERS), options.out)
    except (BenchError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
