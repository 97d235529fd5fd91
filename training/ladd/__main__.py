"""python -m training.ladd --config FILE: train adapter and LoRA on a base family."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Train, measure the gate, write the checkpoint.

    Args:
        arguments: Of the command line; None = the process's own.

    Returns:
        Exit status: 0, or 2 where the input cannot be used, 3 where training had to stop, or 130 where it was stopped.
    """
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    from training.ladd.config_file import read_ladd_config
    from training.ladd.errors import NonFiniteLossError

    try:
        read_ladd_config(options.config)  # before torch is imported, which takes 10 s
        from training.ladd.run import train

        written, gate = train(
            options.config,
            family=options.family,
            out=options.out,
            resume=options.resume,
            init=options.init,
            retrieves=not options.no_retrieval,
            minutes=options.minutes,
            device=options.device,
        )
    except NonFiniteLossError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; go on with --resume", file=sys.stderr)
        return 130
    if options.no_retrieval:
        print(
            f"held-out loss {gate.losses['all']['none']:.5f}; the control has no references, and so no gate"
        )
    else:
        print(gate)
    print(f"wrote {written}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.ladd", description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="TOML file, such as training/configs/ladd_emoji.toml"
    )
    parser.add_argument("--family", type=Path, help="folder of the base family (default: the config's)")
    parser.add_argument(
        "--out",
        type=Path,
        help="checkpoint to write (default: adapter.safetensors or lora_only.safetensors in the family)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of the config's work_dir"
    )
    parser.add_argument("--init", type=Path, help="adapter file whose weights a new run starts from")
    parser.add_argument(
        "--no-retrieval",
        action="store_true",
        help="train the LoRA alone, on the same pairs: the honest control",
    )
    parser.add_argument("--minutes", type=float, help="take no more steps than fit into this training time")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda[:i]")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
