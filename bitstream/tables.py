"""The tables that ship with the format: step sizes, and integer frequencies for the entropy coder.

Both are made by integer arithmetic alone, so that every machine has the same ones. FORMAT.md states the rules.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FAMILIES",
    "FLAGS",
    "MAX_VALUE",
    "PEAKED",
    "PRECISION",
    "RANKS",
    "ROWS",
    "STEPS",
    "bit_costs",
    "frequencies",
    "nearest_step_index",
    "step",
]

STEPS: Final = 255  # step indices 0..254
MAX_VALUE: Final = 127  # coded values -127..127: 255 symbols
PRECISION: Final = 24  # the frequencies of a row sum to 2**PRECISION
ROWS: Final = 64  # rows per family, by rising scale
FAMILIES: Final = 2  # 0 two-sided geometric (Laplace), 1 Gaussian; a row's number is family * ROWS + row
PEAKED: Final = FAMILIES * ROWS  # the first of 64 rows more, for values that are 0 or of any size
FLAGS: Final = PEAKED + 64  # the first of 32, for values that are 0 or 1
RANKS: Final = FLAGS + 32  # the first of 32, for places in a list: 0 and above

_SYMBOLS: Final = 2 * MAX_VALUE + 1

# 24-bit mantissas of 2**(k/8), k = 0..7, in units of 2**-23: eight steps to the octave.
_STEP_MANTISSAS: Final = (8388608, 9147842, 9975792, 10878679, 11863283, 12937002, 14107901, 15384775)
_LOWEST_STEP_EXPONENT: Final = -24

# Ratios in units of 2**-32, one per row. Row 0 has ratio 0, all weight on the value 0. Row r > 0 has the ratio that
# gives its (untruncated) distribution the standard deviation 2**(2 * (r - 1) / 11 - 5), from 1/32 to 78.
# Laplace: weight(k) = ratio**|k|.
_LAPLACE_RATIOS: Final = (
    0, 2095106, 2694947, 3466247, 4457838, 5732336, 7369965, 9473374, 12173701, 15638144, 20079308, 25766644, 33040165,
    42326564, 54157507, 69189446, 88223466, 112222556, 142322160, 179828041, 226193858, 282970065, 351717019,
    433879806, 530630825, 642697665, 770204809, 912563194, 1068436988, 1235801785, 1412087144, 1594377270,
    1779633344, 1964901949, 2147483648, 2325048849, 2495700051, 2657987785, 2810891538, 2953777629, 3086344516,
    3208563730, 3320622101, 3422868830, 3515769258, 3599865984, 3675747213, 3744021758, 3805299880, 3860179083,
    3909233988, 3953009498, 3992016552, 4026729867, 4057587183, 4084989606, 4109302733, 4130858306, 4149956194,
    4166866577, 4181832201, 4195070639, 4206776490, 4217123497,
)  # fmt: skip
# Gaussian: weight(k) = ratio**(k * k).
_GAUSSIAN_RATIOS: Final = (
    0, 2099202, 2701727, 3477471, 4476418, 5763093, 7420879, 9557652, 12313204, 15869049, 20461488, 26399172, 34086973,
    44058887, 57024111, 73932875, 96072605, 125212052, 163823306, 215433104, 285189866, 380773883, 513729944,
    700617782, 960104287, 1296730019, 1681314752, 2070430665, 2435832953, 2763915464, 3049129667, 3290974326,
    3492108194, 3656881843, 3790295335, 3897337191, 3982613853, 4050177710, 4103479153, 4145389176, 4178257168,
    4203982149, 4224085020, 4239775399, 4252010251, 4261543595, 4268967699, 4274746668, 4279243502, 4282741723,
    4285462525, 4287578336, 4289223472, 4290502512, 4291496850, 4292269812, 4292870656, 4293337692, 4293700709,
    4293982868, 4294202176, 4294372631, 4294505113, 4294608082,
)  # fmt: skip
# Peaked: all weight on 0 but a share in units of 2**-24, 0.9 * 2**(-4 i / 3), which falls with 1 / (|k| + offset)**2.
_PEAKED_SHARES: Final = (15099494, 5992238, 2378021, 943718, 374514, 148626, 58982, 23407)
_PEAKED_OFFSETS: Final = (0, 1, 2, 4, 8, 16, 32, 64)


@cache
def _steps() -> NDArray[np.float32]:  # [STEPS]
    index = np.arange(STEPS)
    mantissas = np.asarray(_STEP_MANTISSAS, np.float32)[index % 8]
    steps: NDArray[np.float32] = np.ldexp(mantissas, index // 8 + _LOWEST_STEP_EXPONENT - 23)  # exact in float32
    steps.flags.writeable = False
    return steps


def step(index: ArrayLike) -> NDArray[np.float32]:
    """Step sizes for indices 0..254 (any shape): 2**(index/8 - 24) to 24 bits, from 2**-24 to 2**7.75."""
    index = np.asarray(index)
    if index.size and not (index.min() >= 0 and index.max() < STEPS):
        raise ValueError(f"step indices lie in 0..{STEPS - 1}")
    steps: NDArray[np.float32] = _steps()[index]
    return steps


def nearest_step_index(value: ArrayLike) -> NDArray[np.uint8]:
    """Indices (any shape) of the steps nearest to positive `value` on a log scale; values off the table's ends clip."""
    value = np.asarray(value, np.float64)
    if not (np.isfinite(value) & (value > 0)).all():
        raise ValueError("step sizes are positive and finite")
    steps = _steps().astype(np.float64)
    return np.searchsorted(np.sqrt(steps[:-1] * steps[1:]), value).astype(np.uint8)


@cache
def frequencies() -> NDArray[np.int64]:
    """Frequencies [256, 255] of the values -127..127 in every row: each at least 1, each row's sum 2**24."""
    rows = [_row_frequencies(_laplace_weights(ratio)) for ratio in _LAPLACE_RATIOS]
    rows += [_row_frequencies(_gaussian_weights(ratio)) for ratio in _GAUSSIAN_RATIOS]
    rows += [_peaked_frequencies(share, offset) for share in _PEAKED_SHARES for offset in _PEAKED_OFFSETS]
    rows += [_rank_frequencies([64 - odd, odd]) for odd in range(1, 64, 2)]
    rows += [_rank_frequencies(_laplace_weights(odd << 26)) for odd in range(1, 64, 2)]
    table = np.asarray(rows, np.int64)
    table.flags.writeable = False
    return table


@cache
def bit_costs() -> NDArray[np.float64]:
    """Bits that each value costs in each row, [256, 255], rounded to multiples of 2**-16.

    Sums of such multiples are exact in any order, so that a choice made by them is the same on every machine.
    """
    costs: NDArray[np.float64] = np.rint((PRECISION - np.log2(frequencies())) * 2**16) / 2**16
    costs.flags.writeable = False
    return costs


def _laplace_weights(ratio: int) -> list[int]:
    """Weights of the values 0..127 in units of 2**-60: weight(k + 1) = weight(k) * ratio."""
    weights = [1 << 60]
    for _ in range(MAX_VALUE):
        weights.append(weights[-1] * ratio >> 32)
    return weights


def _gaussian_weights(ratio: int) -> list[int]:
    """Weights of the values 0..127 in units of 2**-60: weight(k + 1) = weight(k) * ratio**(2 k + 1)."""
    weights = [1 << 60]
    odd_power = ratio << 28  # ratio**(2 k + 1) in units of 2**-60
    for _ in range(MAX_VALUE):
        weights.append(weights[-1] * odd_power >> 60)
        odd_power = odd_power * ratio * ratio >> 64
    return weights


def _row_frequencies(weights: list[int]) -> list[int]:
    """Frequencies of -127..127: 1 each, the rest shared by weight, rounded down, and the remainder given to 0."""
    total = weights[0] + 2 * sum(weights[1:])
    tail = [1 + weight * ((1 << PRECISION) - _SYMBOLS) // total for weight in weights[1:]]
    return [*tail[::-1], (1 << PRECISION) - 2 * sum(tail), *tail]


def _peaked_frequencies(share: int, offset: int) -> list[int]:
    """Frequencies of -127..127: 1 each, a share of the rest to magnitudes above 0 by weight, what is left to 0."""
    weights = [(1 << 60) // (k + offset) ** 2 for k in range(1, MAX_VALUE + 1)]
    tail = [1 + weight * share // (2 * sum(weights)) for weight in weights]
    return [*tail[::-1], (1 << PRECISION) - 2 * sum(tail), *tail]


def _rank_frequencies(weights: list[int]) -> list[int]:
    """Frequencies of -127..127: 1 each, the rest to 1 and above by the weights from 0 on, and what is left to 0."""
    tail = [1 + weight * ((1 << PRECISION) - _SYMBOLS) // sum(weights) for weight in weights[1:]]
    tail += [1] * (MAX_VALUE - len(tail))
    return [*[1] * MAX_VALUE, (1 << PRECISION) - sum(tail) - MAX_VALUE, *tail]
