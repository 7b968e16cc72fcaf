"""What compiled code needs of the machine and numba does not offer: atomic numbers, waiting in a loop, addresses, bits as floats.

The atomic numbers stand in C-contiguous int64 arrays and are sequentially consistent.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from engine.decode.tiles import I64, POINTER

ORDER = "seq_cst"
X86 = platform.machine().lower() in ("x86_64", "amd64")
ARM = platform.machine().lower() in ("aarch64", "arm64")


def _place(context: Any, builder: Any, signature: Any, array: Any, index: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, array).data
    whole = builder.ptrtoint(data, I64)
    return builder.inttoptr(builder.add(whole, builder.shl(index, ir.Constant(I64, 3))), POINTER)


@intrinsic
def atomic_add(typing, array, index, amount):  # type: ignore[no-untyped-def]
    """Add to a number; returns what it was before."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments[0], arguments[1])
        return builder.atomic_rmw("add", place, arguments[2], ORDER)

    return types.int64(array, types.int64, types.int64), emit


@intrinsic
def atomic_get(typing, array, index):  # type: ignore[no-untyped-def]
    """A number as it stands in memory now."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, *arguments), ORDER, 8, typ=I64)

    return types.int64(array, types.int64), emit


@intrinsic
def atomic_swap(typing, array, index, expected, wanted):  # type: ignore[no-untyped-def]
    """Replace a number if it is `expected`; whether it was."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _place(context, builder, signature, arguments[0], arguments[1])
        both = builder.cmpxchg(place, arguments[2], arguments[3], ORDER)
        return builder.extract_value(both, 1)

    return types.boolean(array, types.int64, types.int64, types.int64), emit


@intrinsic
def pause(typing):  # type: ignore[no-untyped-def]
    """Tell the core that it is waiting in a loop."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if X86:
            kinds = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kinds, "llvm.x86.sse2.pause"), [])
        elif ARM:
            kinds = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            hint = cgutils.get_or_insert_function(builder.module, kinds, "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def give_way(typing, function):  # type: ignore[no-untyped-def]
    """Let another thread have the core, if one wants it: calls the system's function at that address, 0 for none."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (place,) = arguments
        with builder.if_then(builder.icmp_unsigned("!=", place, ir.Constant(I64, 0))):
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(builder.inttoptr(place, kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), emit


def array_at(context: Any, builder: Any, kind: Any, place: Any, sizes: list[Any]) -> Any:
    """Emit an array of this numba type, C-contiguous, whose numbers stand at an address."""
    number = context.get_data_type(kind.dtype)
    width = ir.Constant(I64, context.get_abi_sizeof(number))
    strides, stride = [], width
    for size in reversed(sizes):
        strides.insert(0, stride)
        stride = builder.mul(stride, size)
    array = context.make_array(kind)(context, builder)
    populate_array(
        array,
        data=builder.inttoptr(place, number.as_pointer()),
        shape=cgutils.pack_array(builder, sizes),
        strides=cgutils.pack_array(builder, strides),
        itemsize=width,
        meminfo=None,
    )
    return array._getvalue()


def array_maker(number: Any) -> Any:
    """`make(place, count)`: the `count` numbers of this type at an address, as an array."""
    kind = types.Array(number, 1, "C")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return array_at(context, builder, kind, arguments[0], [arguments[1]])

    @intrinsic
    def make(typing, place, count):  # type: ignore[no-untyped-def]
        return kind(types.int64, types.int64), emit

    return make


floats = array_maker(types.float32)


@intrinsic
def float_of_bits(typing, bits):  # type: ignore[no-untyped-def]
    """The float32 number with these 32 bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), emit


@intrinsic
def address_of(typing, array):  # type: ignore[no-untyped-def]
    """The address of an array's first number."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(context.make_array(signature.args[0])(context, builder, arguments[0]).data, I64)

    return types.int64(array), emit
