"""Arguments are converted, refused and described as msgspec does it in the full bridge."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import typing
import uuid
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar

import msgspec
import numpy
import pydantic
import pytest

from bridge.runtime.convert import MismatchError, Type, Types

# ruff: noqa: UP006, UP007, UP017, UP045, PYI061 - every way to write them


class Color(enum.Enum):
    """What it looks like."""

    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Point:
    """A place."""

    x: int
    y: float = 1.5
    tags: list[str] = dataclasses.field(default_factory=list)
    color: Color = Color.RED


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)


class Partial(TypedDict, total=False):
    a: Required[int]
    b: str


class Whole(TypedDict):
    a: int
    b: NotRequired[list[Point]]


class Pair(NamedTuple):
    a: int
    b: str = "q"


class Meta:
    """Limits by the attributes that ``annotated_types`` and others use."""

    def __init__(self, **limits: Any) -> None:
        self.__dict__.update(limits)


T = TypeVar("T")
UserId = NewType("UserId", int)

HINTS: list[Any] = [
    None, bool, int, float, str, bytes, bytearray, memoryview, Any, T, UserId,
    list, list[int], typing.List[int], tuple, tuple[int, ...], tuple[int, str], tuple[()],
    set, set[int], frozenset[str], dict, dict[str, int], dict[str, Any], list[Any],
    collections.abc.Sequence[int], collections.abc.Collection[int], collections.abc.Set[int],
    collections.abc.Mapping[str, int], collections.abc.MutableMapping[str, int], collections.abc.MutableSequence[str],
    int | None, typing.Optional[str], typing.Union[int, str], int | float | None, list[int] | None, Point | None,
    Point | int, Point | None | int | str | list[int], dict[str, list[Point | None]], Color | None,
    Literal["a", "b"], Literal[1, 2], Literal[1, "a", None], Color, Level, list[Color],
    Point, Tree, Partial, Whole, Pair, tuple[Point, Pair], typing.Final[int], list[T],
    datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID,
    datetime.datetime | None,
    Annotated[int, msgspec.Meta(ge=1, le=5)], Annotated[int, msgspec.Meta(ge=1, multiple_of=2)],
    Annotated[str, msgspec.Meta(min_length=2, max_length=4)], Annotated[str, msgspec.Meta(pattern="^a+$")],
    Annotated[list[int], msgspec.Meta(min_length=1, max_length=2)], Annotated[float, msgspec.Meta(gt=0.5, lt=4.5)],
    Annotated[dict[str, int], msgspec.Meta(min_length=1)],
    Annotated[int, msgspec.Meta(description="how many", title="N", examples=[1])], Annotated[int, "a comment"],
]  # fmt: skip

TIME = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 4, 2**70, -5, 1.5, 1.0, 1e400, "1", "a", "aa", "r", "", "aaaaa", b"x", b"1" * 16,
    bytearray(b"q"), memoryview(b"ab"), [], [1], ["a"], [1, "a"], [[1]], [1, 2, 3], [None], ["r", "b"], (1, "a"), {1},
    {}, {"x": 1}, {"x": "a"}, {"x": 1, "y": 2}, {"x": 1, "tags": [1]}, {"x": 1, "tags": "q"}, {"x": 1, "color": "b"},
    {"x": 1, "color": "z"}, {"a": 1}, {"a": 1, "b": 2}, {"a": 1, "zz": 3}, {"a": None}, {"a": 1, "b": [{"x": None}]},
    {"a": [{"x": 1}, None, {"y": 1}]}, {"value": 1, "children": [{"value": 2}, {"value": "three"}]},
    [{"x": 1}, [1]], [{"x": 1}, [1, 2]],
    "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00", "2020-01-01 00:00:00.123456+01:00", "2020-13-01",
    "2020-01-01T00:00:00+0100", "20200101T000000Z", "10:20:30", "10:20:30.5Z", "10:20", "PT1S", "P1D", "-P1DT2H3M4.5S",
    "P", "PT", "1.5", "1e3", "12345678-1234-5678-1234-567812345678", "12345678123456781234567812345678", "12345678",
    TIME, TIME.date(), TIME.timetz(), datetime.timedelta(1), decimal.Decimal("1.5"), uuid.UUID(int=5), Color.RED,
    Point(1), Pair(1), "YWJj",
]  # fmt: skip


def _here(type_: Type, value: Any) -> tuple[str, Any]:
    try:
        return "value", type_.convert(value)
    except MismatchError as error:
        return "error", error.text + (f" - at `${error.path}`" if error.path else "")


def _msgspec(hint: Any, value: Any) -> tuple[str, Any]:
    try:
        return "value", msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        text = str(error)
    except TypeError:  # what cannot be in a set
        return "error", "Expected values that can be in a set"
    if text.startswith("Invalid enum value"):
        text = "Expected one of the values in the schema" + text[text.find(" - at") :] * (" - at" in text)
    if text.startswith("Only units"):
        text = "Invalid ISO8601 duration"
    return "error", text


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_values_are_converted_and_refused_as_msgspec_does(hint: Any) -> None:
    type_ = Types().of(hint)
    for value in VALUES:
        ours, theirs = _here(type_, value), _msgspec(hint, value)
        assert ours == theirs, value
        assert type(ours[1]) is type(theirs[1]), value


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_schemas_are_those_of_msgspec(hint: Any) -> None:
    definitions: dict[str, Any] = {}
    schema = Types().of(hint).schema(definitions)
    (expected,), more = msgspec.json.schema_components([hint], ref_template="#/$defs/{name}")
    assert (schema, definitions) == (expected, more)


def test_what_stands_in_a_key_is_not_shown() -> None:
    for hint, value, path in (
        (dict[int, int], {"secret": 1}, "[...]"),
        (dict[str, dict[str, int]], {"secret": {"secret": "x"}}, "[...][...]"),
    ):
        with pytest.raises(MismatchError) as caught:
            Types().of(hint).convert(value)
        assert "secret" not in caught.value.text
        assert caught.value.path == path


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        ({"ge": 1}, 1, 0),
        ({"gt": 1}, 2, 1),
        ({"le": 1}, 1, 2),
        ({"lt": 1}, 0, 1),
        ({"multiple_of": 3}, 6, 7),
    ],
)
def test_limits_are_known_by_their_attributes(limits: dict[str, Any], good: int, bad: int) -> None:
    type_ = Types().of(Annotated[int, Meta(**limits)])
    assert type_.convert(good) == good
    with pytest.raises(MismatchError, match="Expected `int`"):
        type_.convert(bad)


def test_a_path_is_made_of_text() -> None:
    for kind in (pathlib.Path, pathlib.PurePosixPath):
        made = Types().of(kind).convert("/a/b")
        assert made == kind("/a/b")
        assert isinstance(made, kind)
    assert _here(Types().of(pathlib.Path), 1) == ("error", "Expected `str`, got `int`")
    assert Types().of(pathlib.Path).schema({}) == {"type": "string", "title": "Path"}


def test_arrays_are_left_as_they_are_and_made_of_lists() -> None:
    type_ = Types().of(numpy.ndarray)
    array = numpy.zeros(3)
    assert type_.convert(array) is array
    assert type_.convert([1, 2]).tolist() == [1, 2]
    assert _here(type_, "x") == ("error", "Expected `ndarray`, got `str`")
    assert Types().of(numpy.ndarray[Any, Any] | None).convert(array) is array


class Model(pydantic.BaseModel):
    n: int


class Record(msgspec.Struct):
    n: int


def test_models_and_structs_of_the_plugins_own_libraries_are_made() -> None:
    assert Types().of(Model).convert({"n": 1}) == Model(n=1)
    assert _here(Types().of(Model), {"n": "x"})[1].startswith("n: Input should be a valid integer")
    assert Types().of(list[Record]).convert([{"n": 1}]) == [Record(1)]
    assert _here(Types().of(list[Record]), [{"n": "x"}]) == ("error", "Expected `int`, got `str` - at `$[0].n`")
    assert Types().of(Record).schema({}) == {"$ref": "#/$defs/Record"}


def test_a_class_that_refuses_its_fields_says_why() -> None:
    @dataclasses.dataclass
    class Positive:
        n: int

        def __post_init__(self) -> None:
            if self.n <= 0:
                raise ValueError("must be positive")

    assert Types().of(Positive).convert({"n": 1}) == Positive(1)
    assert _here(Types().of(Positive), {"n": 0}) == ("error", "must be positive")


def test_alternatives_are_tried_the_particular_ones_first() -> None:
    moment = Types().of(str | datetime.datetime | list[int] | tuple[str, str])
    assert moment.convert("2020-01-01T00:00:00Z") == TIME
    assert moment.convert("tomorrow") == "tomorrow"
    assert moment.convert([1]) == [1]
    assert moment.convert(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize("hint", [collections.abc.Iterable[int], type, collections.abc.Callable[..., int], object()])
def test_what_cannot_come_over_a_wire_is_refused_or_taken_as_it_is(hint: Any) -> None:
    with pytest.raises(TypeError):
        Types().of(hint)
    thing = object()
    assert Types(lenient=True).of(hint).convert(thing) is thing


def test_a_class_of_the_plugin_takes_its_own_objects() -> None:
    class Own:
        pass

    own = Own()
    assert Types().of(Own).convert(own) is own
    assert _here(Types().of(Own), {}) == ("error", "Expected `Own`, got `dict`")
    assert Types().of(Own).schema({}) == {"title": "Own"}
