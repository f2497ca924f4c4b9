"""Pickles read as data: what unpickling would call is written down, and never called."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from skiqa import _types


def is_torch_file(path: _types.Path) -> bool:
    """Is it a file of torch.save, by its first bytes?"""
    with open(path, "rb") as file:
        magic = file.read(4)
    return magic in (b"PK\x03\x04", b"\x80\x02\x8a\x0a")  # a zip; before torch 1.6, its number


class Call:
    """A call that unpickling would have made.

    Parameters
    ----------
    function : str
        Full name of the class or function, or "persistent_load".
    arguments : object
        What it would have been called with, a tuple as a rule.

    Attributes
    ----------
    state : object
        What the new object's ``__setstate__`` would have been given; None where there is none.
    """

    def __init__(self, function: str, arguments: Any) -> None:
        self.function, self.arguments = function, arguments
        self.state: Any = None


class _Name(str):
    """The full name of a class or function, as opposed to a text in the pickle."""


def read_pickle(data: bytes, allowed: Iterable[str]) -> Any:
    """Return what a pickle holds, with a :class:`Call` in the place of every object.

    Only what containers, numbers, texts, bytes and objects need is understood (protocols 2 to 4):
    any other operation is refused.

    Parameters
    ----------
    data : bytes
    allowed : iterable of str
        The full names of classes and functions that may occur; ``*`` stands for any text.

    Raises
    ------
    ValueError
        If the pickle names anything else, is damaged, or is no pickle. The message says which.

    Examples
    --------
    >>> import pickle
    >>> from skiqa._network.pickles import read_pickle
    >>> call = read_pickle(pickle.dumps(complex(1, 2), protocol=2), ["*.complex"])
    >>> call.function, call.arguments
    ('__builtin__.complex', (1.0, 2.0))
    >>> read_pickle(pickle.dumps(print, protocol=2), ["*.complex"])
    Traceback (most recent call last):
    ValueError: it names __builtin__.print, which has no place in such a file
    """
    try:
        return _Reader(allowed).read(data)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is a damaged pickle ({error!r})") from error


_MARK = object()


class _Reader:
    """The stack machine that a pickle is a program for; its objects are calls written down.

    Parameters
    ----------
    allowed : iterable of str
        As for :func:`read_pickle`.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self.allowed = tuple(allowed)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """Run the operations of a pickle and return what is on the stack at its end."""
        for opcode, argument, position in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                return self.pop()
            if name in ("PROTO", "FRAME"):
                continue
            if name not in _OPERATIONS:
                raise ValueError(
                    f"its operation {name} at byte {position} has no place in such a file"
                )
            _OPERATIONS[name](self, argument)
        raise ValueError("it ends before its end")

    # What operations take from the stack

    def pop_many(self, count: int) -> list[Any]:
        items = self.stack[len(self.stack) - count :]
        if len(items) < count or _MARK in items:
            raise IndexError("the stack is empty")
        del self.stack[len(self.stack) - count :]
        return items

    def pop(self) -> Any:
        (item,) = self.pop_many(1)
        return item

    def pop_to_mark(self) -> list[Any]:
        place = max((i for i, item in enumerate(self.stack) if item is _MARK), default=None)
        if place is None:
            raise IndexError("there is no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    # What they put there

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_name(self, module: str, name: str) -> None:
        full = ".".join((module, name))  # a TypeError for what is no text
        if not any(fnmatchcase(full, pattern) for pattern in self.allowed):
            raise ValueError(f"it names {full}, which has no place in such a file")
        self.push(_Name(full))

    def push_call(self) -> None:
        function, arguments = self.pop_many(2)
        if not isinstance(function, _Name):
            raise ValueError(f"it calls {function!r:.40}, which is no class or function")
        self.push(Call(str(function), arguments))

    # What they do to the container or object on top of it

    def extend(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def set_state(self) -> None:
        state = self.pop()
        self.stack[-1].state = state

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]


_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")

# Operation -> what it does to the machine, given its argument.
_OPERATIONS: dict[str, Callable[[_Reader, Any], None]] = {
    **dict.fromkeys((*_NUMBERS, *_TEXTS, *_BYTES), _Reader.push),
    "NONE": lambda reader, _: reader.push(None),
    "NEWTRUE": lambda reader, _: reader.push(True),
    "NEWFALSE": lambda reader, _: reader.push(False),
    "MARK": lambda reader, _: reader.push(_MARK),
    "EMPTY_TUPLE": lambda reader, _: reader.push(()),
    "TUPLE1": lambda reader, _: reader.push(tuple(reader.pop_many(1))),
    "TUPLE2": lambda reader, _: reader.push(tuple(reader.pop_many(2))),
    "TUPLE3": lambda reader, _: reader.push(tuple(reader.pop_many(3))),
    "TUPLE": lambda reader, _: reader.push(tuple(reader.pop_to_mark())),
    "EMPTY_DICT": lambda reader, _: reader.push({}),
    "SETITEM": lambda reader, _: reader.set_items(reader.pop_many(2)),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop_to_mark()),
    "EMPTY_LIST": lambda reader, _: reader.push([]),
    "APPEND": lambda reader, _: reader.extend(reader.pop_many(1)),
    "APPENDS": lambda reader, _: reader.extend(reader.pop_to_mark()),
    "GLOBAL": lambda reader, names: reader.push_name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda reader, _: reader.push_name(*reader.pop_many(2)),
    "REDUCE": lambda reader, _: reader.push_call(),
    "NEWOBJ": lambda reader, _: reader.push_call(),
    "BINPERSID": lambda reader, _: reader.push(Call("persistent_load", reader.pop())),
    "BUILD": lambda reader, _: reader.set_state(),
    "BINPUT": lambda reader, key: reader.memoize(key),
    "LONG_BINPUT": lambda reader, key: reader.memoize(key),
    "MEMOIZE": lambda reader, _: reader.memoize(len(reader.memo)),
    "BINGET": lambda reader, key: reader.push(reader.memo[key]),
    "LONG_BINGET": lambda reader, key: reader.push(reader.memo[key]),
}
