"""What a PyTorch pickle would do when it is opened, found out without opening it.

A pickle is a little program. `Rehearsal` goes through its instructions and only writes down what they would make: which names they
call, which storages they ask for, which tensors they cut out of them. It calls nothing, takes no memory for a tensor, and refuses
whatever a file of weights has no use for. Knows no file format around the pickle and no model.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from engine.checkpoints.readers.common import MOST_DIMENSIONS, MOST_VALUES, shown

MOST_INSTRUCTIONS = 2_000_000
NUMPY_SCALARS = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
_ITEM_BYTES = {
    f"torch.{kind}Storage": size
    for kind, size in {
        "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
    }.items()
}  # fmt: skip
_CALLED = {
    "collections.OrderedDict",
    "collections.Counter",  # the milestones of a learning-rate schedule
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "torch.device",
    "_codecs.encode",
    "numpy.dtype",
    *NUMPY_SCALARS,
}
_FLOAT64_STATE = (3, "<", None, None, None, -1, -1, 0)
"""What numpy writes of its float64; given another state, numpy 2.4 has brought the whole process down."""
_NAMED = {
    f"torch.{kind}" for kind in ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
}
"""Names that stand for a plain value."""


class WouldRunCode(Exception):
    """The pickle names something that a file of weights has no business with; `str` is that name."""


class NotWeights(Exception):
    """The pickle is damaged, or asks for more than its file holds; `str` says what is wrong."""


@dataclass(frozen=True)
class _Name:
    path: str


@dataclass(frozen=True)
class Made:
    """Something that was built. Two of one kind are equal: for checking, the kind is all that matters."""

    kind: str
    """`dict`, `list`, `tensor`; others stand for something of no interest."""
    holds: Any = field(default=None, compare=False, repr=False)
    """A dict's or list's contents, a tensor's `Cut`."""


@dataclass(frozen=True)
class Cut:
    """A tensor as a part of a storage."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    """The name of its storage's type: `Float`, `BFloat16`, …"""
    storage: str
    """Key of the storage."""
    offset: int
    """Bytes before its first number."""
    size: int
    """Bytes of its numbers."""


@dataclass(frozen=True)
class _Storage:
    key: str
    kind: str
    count: int
    item_bytes: int


@dataclass
class Rehearsal:
    """One run through a pickle. `storages` holds bytes by key afterwards, `names` every name it mentions."""

    storages: dict[str, int] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    tensor_bytes: int = 0
    """Bytes of all tensors together, those that share memory counted twice."""
    _values: int = 0
    _stack: list[Any] = field(default_factory=list)
    _below: list[list[Any]] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)

    def run(self, file: BinaryIO) -> Any:
        """Read one pickle from `file` up to its end; returns what it makes: a number, a text, a `Made`.

        Raises `WouldRunCode` or `NotWeights`.
        """
        self._stack, self._below, self._memo = [], [], {}
        try:
            for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
                if count > MOST_INSTRUCTIONS:
                    raise NotWeights("it holds far too many instructions")
                if instruction.name == "STOP":
                    return self._stack.pop()
                self._step(instruction.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError) as error:
            raise NotWeights("its instructions are not whole") from error
        raise NotWeights("its instructions have no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append(Made("list", []) if name == "EMPTY_LIST" else Made("dict", {}))
        elif name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING"):
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            items = tuple(stack[-count:])
            if len(items) != count:
                raise IndexError
            stack[-count:] = [items]
        elif name == "MARK":
            self._below.append(stack)
            self._stack = []
        elif name == "TUPLE":
            items = tuple(self._to_mark())
            self._stack.append(items)
        elif name == "APPEND":
            item = stack.pop()
            self._top("list").append(item)
        elif name == "APPENDS":
            listed = self._to_mark()
            self._top("list").extend(listed)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _check_key(key)
            self._top("dict")[key] = value
        elif name == "SETITEMS":
            pairs = self._to_mark()
            for key in pairs[::2]:
                _check_key(key)
            self._top("dict").update(zip(pairs[::2], pairs[1::2], strict=False))
        elif name == "GLOBAL":
            self._name(*argument.split(" ", 1))
        elif name == "STACK_GLOBAL":
            last, first = stack.pop(), stack.pop()
            raise WouldRunCode(shown(f"{first}.{last}"))
        elif name == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            if not isinstance(called, _Name) or not isinstance(arguments, tuple):
                raise NotWeights("it calls something that has no name")
            stack.append(self._call(called.path, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if stack[-1] == Made("dtype"):
                if state != _FLOAT64_STATE:
                    raise NotWeights("a number in it has no proper type")
            elif stack[-1] != Made("dict") or state != Made("dict"):
                raise WouldRunCode("the state of an object")
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name in ("NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            raise WouldRunCode(shown(argument or "an object of its own"))
        elif name != "PROTO":
            raise NotWeights(f"it was written in a way that is not read here ({shown(name)})")

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _top(self, kind: str) -> Any:
        """What the dict or list on top of the stack holds."""
        if self._stack[-1] != Made(kind):
            raise NotWeights(f"it fills a {kind} that is none")
        return self._stack[-1].holds

    def _name(self, module: str, last: str) -> None:
        path = f"{module}.{last}"
        self.names.add(path)
        if module == "torch" and last.endswith("Storage") and path not in _ITEM_BYTES:
            raise NotWeights(f"it holds tensors as {shown(path)}, which are not read here")
        if path not in _CALLED and path not in _NAMED and path not in _ITEM_BYTES:
            raise WouldRunCode(shown(path))
        self._stack.append(_Name(path))

    def _call(self, path: str, arguments: tuple[Any, ...]) -> Made:
        match path:
            case "collections.OrderedDict" if not arguments:
                return Made("dict", {})
            case "collections.Counter" if not arguments or arguments == (Made("dict"),):
                return Made("dict", {})
            case "torch._utils._rebuild_tensor" if len(arguments) == 4:
                return self._tensor(*arguments)
            case "torch._utils._rebuild_tensor_v2" if len(arguments) == 6:
                _check_switches(*arguments[4:])
                return self._tensor(*arguments[:4])
            case "torch._utils._rebuild_parameter" if len(arguments) == 3 and arguments[0] == Made("tensor"):
                _check_switches(*arguments[1:])
                return arguments[0]
            case "torch.Size" if len(arguments) == 1 and _sizes(arguments[0]):
                return Made("size")
            case "torch.device" if arguments and all(isinstance(part, (str, int)) for part in arguments):
                return Made("value")
            case "_codecs.encode" if len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] == "latin1":
                return Made("bytes")
            case "numpy.dtype" if arguments == ("f8", False, True):
                return Made("dtype")
            case _ if path in NUMPY_SCALARS and arguments == (Made("dtype"), Made("bytes")):
                return Made("value")
        raise NotWeights(f"it calls {shown(path)} with something unexpected")

    def _storage(self, wanted: Any) -> _Storage:
        """A storage: `("storage", type, key, place, count)`, of old files with a None at the end."""
        if (
            not isinstance(wanted, tuple)
            or len(wanted) not in (5, 6)
            or wanted[0] != "storage"
            or wanted[5:] not in ((), (None,))
        ):
            raise NotWeights("it asks for something that is no storage")
        kind, key, place, count = wanted[1:5]
        if not isinstance(kind, _Name) or kind.path not in _ITEM_BYTES:
            raise NotWeights("a storage in it has a type that is not read here")
        if not isinstance(key, str) or not isinstance(place, str) or type(count) is not int or not 0 <= count < MOST_VALUES:
            raise NotWeights("a storage in it makes no sense")
        size = count * _ITEM_BYTES[kind.path]
        if self.storages.setdefault(key, size) != size:
            raise NotWeights("a storage in it has two sizes")
        return _Storage(key, kind.path.removeprefix("torch.").removesuffix("Storage"), count, _ITEM_BYTES[kind.path])

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> Made:
        if not isinstance(storage, _Storage) or type(offset) is not int or offset < 0 or not (_sizes(shape) and _sizes(strides)):
            raise NotWeights("a tensor in it makes no sense")
        if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS:
            raise NotWeights("a tensor in it has a shape that makes no sense")
        count = math.prod(shape)
        reach = sum((part - 1) * stride for part, stride in zip(shape, strides, strict=True)) + 1 if count else 0
        if offset + reach > storage.count or count > storage.count:
            raise NotWeights("a tensor in it is larger than what is stored of it")
        self._values += count
        self.tensor_bytes += count * storage.item_bytes
        if self._values >= MOST_VALUES:
            raise NotWeights(f"it claims more than {MOST_VALUES:,} numbers")
        cut = Cut(shape, strides, storage.kind, storage.key, offset * storage.item_bytes, count * storage.item_bytes)
        return Made("tensor", cut)


_CONSTANTS: Mapping[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}


def _check_key(key: Any) -> None:
    """A key is a text or a number: others (a tuple in a tuple in a tuple …) can bring Python down when they are hashed."""
    if not (key is None or isinstance(key, (str, int, float))):
        raise NotWeights("a table in it has keys that are neither texts nor numbers")


def _check_switches(requires_grad: Any, hooks: Any) -> None:
    """What else belongs to a tensor: whether it is trained, and an empty table of hooks."""
    if not isinstance(requires_grad, bool) or (hooks is not None and hooks != Made("dict")):
        raise NotWeights("a tensor in it has hooks")


def _sizes(found: Any) -> bool:
    return isinstance(found, tuple) and all(type(part) is int and 0 <= part < MOST_VALUES for part in found)
