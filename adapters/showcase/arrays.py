"""NumPy arrays both ways: shape and dtype arrive as they were sent, without a list in between."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge import Adapter, Code, ToolError, tool

__all__ = ["ArrayStatistics", "ArrayTools"]


@dataclass(frozen=True, slots=True)
class ArrayStatistics:
    """An array in a few numbers."""

    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float
    mean: float
    deviation: float
    """Standard deviation of the population."""


def check_numbers(values: NDArray[np.float64]) -> None:
    """Refuses an array that has no mean."""
    if values.size == 0 or values.dtype.kind not in "iuf":
        message = f"an array of {values.size} {values.dtype} has no statistics; send at least one real number"
        raise ToolError(Code.INVALID_ARGUMENT, message, reason="NO_NUMBERS")


class ArrayTools(Adapter):
    """Tools over arrays. They are ordinary functions, so they run in threads; NumPy lets other threads run."""

    @tool(idempotent=True, read_only=True)
    def moving_average(self, values: NDArray[np.float64], window: int = 3) -> NDArray[np.float64]:
        """Mean of each `window` neighbours of a vector; shorter than the vector by `window - 1`."""
        check_numbers(values)
        if values.ndim != 1 or not 1 <= window <= values.size:
            message = f"window {window} does not fit an array of shape {values.shape}; it must be 1 to its length"
            raise ToolError(Code.INVALID_ARGUMENT, message, reason="BAD_WINDOW")
        means: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=1)
        return means

    @tool(idempotent=True, read_only=True)
    def normalise(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shifts and scales an array of any shape to mean 0 and standard deviation 1; a constant one becomes zeros."""
        check_numbers(values)
        deviation = float(values.std())
        return (values - float(values.mean())) / (deviation or 1.0)

    @tool(idempotent=True, read_only=True)
    def describe_array(self, values: NDArray[np.float64]) -> ArrayStatistics:
        """Shape, dtype and a few statistics of an array."""
        check_numbers(values)
        return ArrayStatistics(
            shape=values.shape,
            dtype=str(values.dtype),
            minimum=float(values.min()),
            maximum=float(values.max()),
            mean=float(values.mean()),
            deviation=float(values.std()),
        )
