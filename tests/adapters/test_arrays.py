"""Showcase tools over arrays."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from adapters.showcase import ArrayTools
from bridge import BridgeError, Code
from bridge.testing import connect
from bridge_client import BridgeClient


@pytest.fixture
async def client() -> AsyncIterator[BridgeClient]:
    async with connect(ArrayTools) as client:
        yield client


async def test_array_comes_back_with_shape_and_dtype(client: BridgeClient) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    result = await client.call("normalise", values=values)
    assert isinstance(result, np.ndarray)
    assert (result.shape, result.dtype) == ((2, 3, 4), values.dtype)
    np.testing.assert_allclose(result, (values - 11.5) / values.std())


async def test_constant_array_becomes_zeros(client: BridgeClient) -> None:
    np.testing.assert_array_equal(await client.call("normalise", values=np.full(5, 7.0)), np.zeros(5))


async def test_moving_average_takes_a_plain_list_too(client: BridgeClient) -> None:
    result = await client.call("moving_average", values=[1, 2, 3, 4], window=2)
    np.testing.assert_allclose(result, [1.5, 2.5, 3.5])


async def test_array_is_described_in_plain_numbers(client: BridgeClient) -> None:
    described = await client.call("describe_array", values=np.array([[1, 2], [3, 6]], dtype="int16"))
    assert described == {
        "shape": [2, 2],
        "dtype": "int16",
        "minimum": 1.0,
        "maximum": 6.0,
        "mean": 3.0,
        "deviation": pytest.approx(np.sqrt(3.5)),
    }


@pytest.mark.parametrize("window", [0, -1, 5])
async def test_window_that_does_not_fit_is_refused(client: BridgeClient, window: int) -> None:
    with pytest.raises(BridgeError, match=f"window {window} does not fit") as caught:
        await client.call("moving_average", values=np.ones(4), window=window)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "BAD_WINDOW")


@pytest.mark.parametrize("values", [[], ["a"], [[True, False]]])
async def test_array_without_numbers_is_refused(client: BridgeClient, values: list[object]) -> None:
    with pytest.raises(BridgeError, match="has no statistics") as caught:
        await client.call("describe_array", values=values)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "NO_NUMBERS")
