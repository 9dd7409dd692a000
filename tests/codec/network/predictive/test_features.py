"""The features of a segment as a decoder reads them: what FORMAT.md says they are; whatever else is refused."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitstream import BitstreamError, LimitExceeded, MalformedChunk, Part, QuantizedTensor, Segment, step, write_segment
from bitstream.fields import write_uint
from codec.network.predictive.features import read_features, write_features

T, P, D, R = 5, 4, 6, 2
SHAPE = (T, P, D)


def tensor(*shape: int, most: int = 9, index: int = 180, part: Part = Part.CLIP) -> QuantizedTensor:
    values = np.random.default_rng(sum(shape)).integers(-most, most + 1, shape)
    return QuantizedTensor(part, values.astype(np.int16), np.array([index], np.uint8))


def tensors(rank: int = R, frames: int = T) -> list[QuantizedTensor]:
    found = [tensor(1, D)]
    if rank:
        found += [tensor(rank, D), tensor(rank, P)]
    if rank and frames > 1:
        found.append(tensor(rank, P, frames - 1))
    return found


def read(found: Sequence[QuantizedTensor], frames: int = T) -> np.ndarray:
    return read_features(write_features(found), (frames, P, D)).at(torch.arange(frames)).numpy()


@pytest.mark.parametrize("frames", [1, T])
@pytest.mark.parametrize("rank", [0, 1, R])
def test_a_feature_is_the_mean_and_what_is_added_along_vectors(rank: int, frames: int) -> None:
    found = tensors(rank, frames)
    shown = read(found, frames)
    assert shown.shape == (frames, P, D)
    for t in range(frames):
        for p in range(P):
            wanted = found[0].values[0] * float(step(180))
            for k in range(rank):
                many = found[2].values[k, p] + (found[3].values[k, p, :t].sum() if frames > 1 else 0)
                wanted = wanted + many * float(step(180)) * found[1].values[k] * float(step(180))
            np.testing.assert_allclose(shown[t, p], wanted / np.linalg.norm(wanted), atol=1e-5)


def test_a_step_may_be_one_for_each_vector() -> None:
    found, steps = tensors(), np.array([180, 188], np.uint8)
    found[1:] = [QuantizedTensor(t.part, t.values, steps) for t in found[1:]]
    wanted = [t if n == 0 else QuantizedTensor(t.part, t.values[1:], steps[1:]) for n, t in enumerate(found)]
    for n in (2, 3):
        found[n].values[0] = 0
    np.testing.assert_allclose(read(found), read(wanted), atol=1e-6)


def test_features_of_no_length_stay_so() -> None:
    nothing = [QuantizedTensor(t.part, 0 * t.values, t.steps) for t in tensors()]
    assert not read(nothing).any()


def over(changes: list[int]) -> QuantizedTensor:
    values = np.broadcast_to(np.array(changes, np.int16), (R, P, T - 1))
    return QuantizedTensor(Part.CLIP, values, np.array([180], np.uint8))


WRONG = {
    "none": [],
    "another mean": [tensor(1, D + 1)],
    "a mean of two": [tensor(2, D)],
    "a mean alone in one dimension": [tensor(D)],
    "vectors alone": tensors()[:2],
    "no changes": tensors()[:3],
    "one too many": [*tensors(), tensor(1, 1)],
    "changes of fewer frames": [*tensors()[:3], tensor(R, P, T - 2)],
    "changes of more frames": [*tensors()[:3], tensor(R, P, T)],
    "coefficients of another rank": [*tensors()[:2], tensor(R + 1, P), tensors()[3]],
    "vectors of another width": [tensor(1, D), tensor(R, D - 1), *tensors()[2:]],
    "more vectors than values": tensors(D + 1),
    "another part": [tensor(1, D, part=Part.WEIGHT)],
    "changes by other steps": [*tensors()[:3], tensor(R, P, T - 1, index=181)],
    "coefficients over 127": [*tensors()[:3], over([127, 1, -127, 0])],
    "coefficients under -127": [*tensors()[:3], over([-127, -127, 127, 127])],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_features_is_refused(wrong: list[QuantizedTensor]) -> None:
    with pytest.raises(MalformedChunk, match="the features of the segment"):
        read_features(write_features(wrong), SHAPE)


def test_more_vectors_than_patches_are_refused() -> None:
    with pytest.raises(MalformedChunk, match="5 vectors, more than they can need"):
        read_features(write_features([tensor(1, D), tensor(5, D), tensor(5, P)]), (1, P, D))


def test_another_span_is_refused() -> None:
    with pytest.raises(MalformedChunk, match="are numbered 0, 5, where 0, 1 belong"):
        read_features(write_segment(Segment(0, T, tuple(tensors()))), SHAPE)


@given(st.binary(max_size=60))
def test_any_bytes_are_features_or_an_error(payload: bytes) -> None:
    try:
        found = read_features(payload, SHAPE)
    except BitstreamError:
        return
    assert found.at(torch.arange(T)).shape == SHAPE


GOOD = write_features(tensors())


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
def test_any_damage_is_features_or_an_error(place: int, value: int, length: int) -> None:
    damaged = bytearray(GOOD)
    damaged[place] = value
    for payload in (bytes(damaged), bytes(damaged[:length])):
        try:
            found = read_features(payload, SHAPE)
        except BitstreamError:
            continue
        shown = found.at(torch.arange(T))
        assert shown.shape == SHAPE
        assert shown.isfinite().all()


def test_a_few_bytes_that_declare_much_are_refused_before_it_is_decoded() -> None:
    shapes = [(1, 2**16 - 1), (2**14, 2**16 - 1), (2**14, 2**12)]
    records = b"".join(bytes([1 << 2 | Part.CLIP]) + b"".join(map(write_uint, s)) + b"\x00\x00" for s in shapes)
    with pytest.raises(LimitExceeded, match="values"):
        read_features(b"\x00\x01\x03" + records + b"\x00", (2, 2**12, 2**16 - 1))
