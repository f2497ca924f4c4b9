"""Pickles read as data: what unpickling would call is written down, and never called."""

import pickletools
from fnmatch import fnmatchcase

_CONSTANTS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_SINGLETONS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


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

    def __init__(self, function, arguments):
        self.function, self.arguments, self.state = function, arguments, None


class _Name(str):
    """The full name of a class or function, as opposed to a text in the pickle."""


def read_pickle(data, allowed):
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
        return _read(data, tuple(allowed))
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is a damaged pickle ({error!r})") from error


def _read(data, allowed):
    stack, memo = [], {}

    def take(count):
        items = stack[len(stack) - count :]
        if len(items) < count or _MARK in items:
            raise IndexError("the stack is empty")
        del stack[len(stack) - count :]
        return items

    def take_to_mark():
        place = max((i for i, item in enumerate(stack) if item is _MARK), default=None)
        if place is None:
            raise IndexError("there is no mark")
        items = stack[place + 1 :]
        del stack[place:]
        return items

    for opcode, argument, position in pickletools.genops(data):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append(argument)
        elif name in _SINGLETONS:
            stack.append(_SINGLETONS[name])
        elif name in _TUPLES:
            stack.append(tuple(take(_TUPLES[name])))
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(take_to_mark()))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name in ("SETITEM", "SETITEMS"):
            items = take(2) if name == "SETITEM" else take_to_mark()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = take(1) if name == "APPEND" else take_to_mark()
            stack[-1].extend(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            parts = argument.split(" ", 1) if name == "GLOBAL" else take(2)
            stack.append(_named(".".join(parts), allowed))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = take(2)
            if not isinstance(function, _Name):
                raise ValueError(f"it calls {function!r:.40}, which is no class or function")
            stack.append(Call(str(function), arguments))
        elif name == "BINPERSID":
            stack.append(Call("persistent_load", *take(1)))
        elif name == "BUILD":
            (state,) = take(1)
            stack[-1].state = state
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "STOP":
            (result,) = take(1)
            return result
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"its operation {name} at byte {position} has no place in such a file")
    raise ValueError("it ends before its end")


def _named(name, allowed):
    if not any(fnmatchcase(name, pattern) for pattern in allowed):
        raise ValueError(f"it names {name}, which has no place in such a file")
    return _Name(name)
