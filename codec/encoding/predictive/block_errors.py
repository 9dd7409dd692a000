"""How far the mean of two blocks is from a third: the inner loop of a motion search, on vectors that hold a block.

In LLVM's intermediate representation, as its compiler finds few vectors in loops over so few pixels; these become what
the machine has. Blocks are of 8 bits, so integers of 16 hold their errors, doubled, and all sums of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from codec.network.predictive.motion import CELL

Value = Any  # of LLVM, as what numba hands to intrinsics is

_BYTE, _SHORT, _WHOLE, _FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()
_PIXELS = CELL * CELL
_MANTISSA, _BIAS = 23, 127  # of a float32: bits, and what its exponent is stored with


@intrinsic
def _coefficients(
    _: Any, first: Any, at_first: Any, second: Any, at_second: Any, wanted: Any, at_wanted: Any, unit: Any
) -> Any:
    def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[Value]) -> Value:
        error = _doubled_error(context, builder, signature.args, args, 1)
        for _ in range(_PIXELS.bit_length() - 1):  # butterflies of neighbours; sums first, so that others are next
            a, b = (_pick(builder, error, range(odd, _PIXELS, 2)) for odd in (0, 1))
            error = _join(builder, builder.add(a, b), builder.sub(a, b))
        values = builder.sitofp(error, ir.VectorType(_FLOAT, _PIXELS))
        unit = builder.insert_element(ir.Constant(values.type, ir.Undefined), args[-1], _WHOLE(0))
        squares = builder.fmul(builder.fmul(values, values), _pick(builder, unit, [0] * _PIXELS))
        one = ir.Constant(squares.type, [1.0] * _PIXELS)
        over = builder.fcmp_ordered(">", squares, one)
        below = _fold(builder, builder.select(over, one, squares), builder.fadd)
        above = _fold(builder, builder.select(over, squares, one), builder.fmul, 16)  # products of four are no infinity
        bits = builder.bitcast(above, ir.VectorType(_WHOLE, 16))
        exponents = builder.sub(builder.lshr(bits, _all(bits, _MANTISSA)), _all(bits, _BIAS))
        digits = builder.or_(builder.and_(bits, _all(bits, 2**_MANTISSA - 1)), _all(bits, _BIAS << _MANTISSA))
        octaves = builder.sitofp(_fold(builder, exponents, builder.add), _FLOAT)
        rest = _fold(builder, builder.bitcast(digits, above.type), builder.fmul)
        return cgutils.pack_array(builder, [below, octaves, rest])

    result = types.UniTuple(types.float32, 3)
    return result(first, at_first, second, at_second, wanted, at_wanted, unit), code


coefficients = cast(Callable[..., tuple[np.float32, np.float32, np.float32]], _coefficients)
"""Squares of the Walsh-Hadamard coefficients of (first + second) / 2 - wanted, in units: how much, and how many.

(first, at_first, second, at_second, wanted, at_wanted, unit), in compiled code. Blocks: uint8 arrays of four dimensions
and where in each a block of CELL x CELL pixels begins, four integers. unit: what the square of a coefficient of the
doubled error is taken times, float32; the transform is not scaled. -> float32: sum of squares, each 1 at most; log2 of
the product of squares, each 1 at least, as a whole number and as what is left to take the logarithm of.
"""


def squared_lines(step: int) -> Callable[..., np.float32]:
    """Makes a function for compiled code of three blocks, as of `coefficients`.

    -> the sum of squares of first + second - 2 wanted in every step-th row, float32.
    """

    @intrinsic
    def squared(_: Any, first: Any, at_first: Any, second: Any, at_second: Any, wanted: Any, at_wanted: Any) -> Any:
        def code(context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[Value]) -> Value:
            error = _doubled_error(context, builder, signature.args, args, step)
            error = builder.sext(error, ir.VectorType(_WHOLE, error.type.count))
            return builder.sitofp(_fold(builder, builder.mul(error, error), builder.add), _FLOAT)

        return types.float32(first, at_first, second, at_second, wanted, at_wanted), code

    return cast(Callable[..., np.float32], squared)


def _doubled_error(
    context: Any, builder: ir.IRBuilder, kinds: Sequence[Any], args: Sequence[Value], step: int
) -> Value:
    """first + second - 2 wanted in every step-th row."""
    rows = (_rows(context, builder, kinds[k], args[k], args[k + 1], step) for k in (0, 2, 4))
    first, second, wanted = (builder.zext(r, ir.VectorType(_SHORT, r.type.count)) for r in rows)
    return builder.sub(builder.add(first, second), builder.add(wanted, wanted))


def _rows(context: Any, builder: ir.IRBuilder, kind: Any, array: Value, at: Value, step: int) -> Value:
    """Every step-th row of a block, one after another."""
    whole = context.make_array(kind)(context, builder, array)
    shape, strides, place = (cgutils.unpack_tuple(builder, x) for x in (whole.shape, whole.strides, at))
    start = cgutils.get_item_pointer2(context, builder, whole.data, shape, strides, kind.layout, place)
    row, stride, rows = ir.VectorType(_BYTE, CELL).as_pointer(), strides[2], []
    for line in range(0, CELL, step):
        begin = cgutils.pointer_add(builder, start, builder.mul(stride, stride.type(line)), row)
        rows.append(builder.load(begin, align=1))
    while len(rows) > 1:
        rows = [_join(builder, a, b) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    return rows[0]


def _pick(builder: ir.IRBuilder, vector: Value, places: Sequence[int]) -> Value:
    mask = ir.Constant(ir.VectorType(_WHOLE, len(places)), list(places))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _join(builder: ir.IRBuilder, a: Value, b: Value) -> Value:
    places = list(range(2 * a.type.count))
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_WHOLE, len(places)), places))


def _fold(builder: ir.IRBuilder, vector: Value, operation: Callable[..., Value], count: int = 1) -> Value:
    """Halves of a vector put together until so many elements are left; one is no vector."""
    while (half := vector.type.count // 2) >= count:
        vector = operation(*(_pick(builder, vector, range(k, k + half)) for k in (0, half)))
    return vector if count > 1 else builder.extract_element(vector, _WHOLE(0))


def _all(like: Value, value: int) -> Value:
    return ir.Constant(like.type, [value] * like.type.count)
