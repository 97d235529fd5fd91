"""Whether ONNX Runtime is there at all."""

from __future__ import annotations

from ragturbo_runtime.onnxruntime_import import import_onnxruntime
from ragturbo_sdk.errors import ProviderUnavailableError


def require_onnxruntime(device: str) -> None:
    """Say which extra is missing: ``pip install ragturbo-sdk`` alone brings no ONNX Runtime.

    Args:
        device: As asked for, for the error.

    Raises:
        ProviderUnavailableError: It cannot be imported.
    """
    try:
        import_onnxruntime()
    except ImportError as error:
        message = f"ONNX Runtime cannot be imported ({error})"
        hint = "pip install 'ragturbo-sdk[cpu]', or 'ragturbo-sdk[cuda]' for a GPU, but not both"
        raise ProviderUnavailableError(message, requested=str(device), available=(), hint=hint) from error
