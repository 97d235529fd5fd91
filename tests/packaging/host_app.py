"""A host application with a `runtime` module and `export` and `training` folders of its own.

Copied to a folder of its own and run there with `python -I`; prints one JSON line. It refuses all network.
"""

import sys

STARTED_WITH = set(sys.modules)


def refuse_network(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: the SDK has to work on a machine without network."""
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto"}:
        raise RuntimeError(f"the SDK used the network: {event} {arguments}")


sys.addaudithook(refuse_network)
sys.path.insert(0, sys.argv[1])  # what running `python main.py` would do without -I

import runtime  # noqa: E402  the host's
from ragturbo_sdk import Generator  # noqa: E402

generator = Generator()
result = generator.generate("two cats left of a red apple", seed=7)
result.image.save("picture.png")

import json  # noqa: E402

import export.orders  # noqa: E402  the host's
import training.course  # noqa: E402  the host's

said = {
    "host": [runtime.OWNER, export.orders.OWNER, training.course.OWNER],
    "sdk": [sys.modules["ragturbo_sdk"].__file__, sys.modules["ragturbo_runtime"].__file__],
    "modules": sorted(set(sys.modules) - STARTED_WITH),
    "references": [reference.caption for reference in result.references],
    "size": result.image.size,
}
sys.stdout.write(json.dumps(said) + "\n")
