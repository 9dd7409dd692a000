"""Random access: any frame, patch or feature is what decoding everything gives, and costs no more than it needs."""

import gc
import pickle
import re
import resource
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import bitstream
from bitstream import OPERATIONS_A_BYTE, BitstreamError, LimitExceeded, Limits, MalformedChunk, Segment
from codec.decoding.reader import NervReader
from codec.network.dual_head import DualHeadHNeRV
from tests.samples import Encoded


@pytest.fixture(scope="module")
def everything(encoded: Encoded) -> NDArray[np.uint8]:
    return NervReader(encoded.path, "cpu", batch=100)[:]


def near(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Equal to one level of 255: floating-point sums may come in another order."""
    return a.shape == b.shape and a.dtype == b.dtype == np.uint8 and int(np.abs(a.astype(int) - b).max(initial=0)) <= 1


def test_a_file_is_a_sequence_of_frames(encoded: Encoded, everything: NDArray[np.uint8]) -> None:
    reader = NervReader(encoded.path, "cpu")
    assert len(reader) == 12
    assert everything.shape == (12, 45, 63, 3)
    assert np.abs(everything.astype(int) - encoded.frames).mean() < 40, "it shows what was encoded"
    for t in (0, 4, 5, 11, -1, -12, np.int64(7)):
        assert near(reader[t], everything[t])
    for outside in (12, -13):
        with pytest.raises(IndexError):
            reader[outside]


@pytest.mark.parametrize(
    "chosen",
    [slice(3, 9), slice(None), slice(10, None), slice(4, 6), slice(None, None, 3), slice(None, None, -1), slice(7, 7),
     slice(9, 99), slice(-3, None)],
    ids=str,
)  # fmt: skip
def test_slices_are_those_of_the_whole(encoded: Encoded, everything: NDArray[np.uint8], chosen: slice) -> None:
    assert near(NervReader(encoded.path, "cpu")[chosen], everything[chosen])


@pytest.mark.parametrize("batch", [1, 2, 5, 100, None])
def test_batches_change_nothing(encoded: Encoded, everything: NDArray[np.uint8], batch: int | None) -> None:
    reader = NervReader(encoded.path, "cpu", batch=batch)
    batches = list(reader.frames(2, 11))
    assert near(np.concatenate(batches), everything[2:11])
    assert max(map(len, batches)) <= min(batch or 5, 5)


def test_every_patch_equals_that_of_its_frame(encoded: Encoded, everything: NDArray[np.uint8]) -> None:
    reader = NervReader(encoded.path, "cpu")
    for row in range(2):
        for column in range(4):
            y, x = (slice(*span) for span in reader.geometry(1).spans(row, column))
            found = np.concatenate(list(reader.patches(range(12), row, column)))
            assert near(found, everything[:, y, x])
            assert near(reader.patch(-1, row, column), everything[-1, y, x])


@pytest.mark.parametrize(("row", "column"), [(2, 0), (0, 4), (-1, 0)])
def test_patches_off_the_grid(encoded: Encoded, row: int, column: int) -> None:
    with pytest.raises(IndexError, match=f"patch {row},{column} is not on this file's grid of 2 rows and 4 columns"):
        NervReader(encoded.path, "cpu").patch(0, row, column)


def test_features_are_of_unit_length_and_sliced_like_frames(encoded: Encoded) -> None:
    reader = NervReader(encoded.path, "cpu")
    features = reader.features()
    assert features.shape == (12, 8, 32)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, rtol=1e-3)
    np.testing.assert_allclose(reader.features(4, 7), features[4:7], atol=1e-2)
    assert reader.features(7, 7).shape == (0, 8, 32)
    coords = reader.coords()
    assert coords.shape == (12, 8, 3)
    assert coords[0, 0].tolist() == [0, 0, 0]
    assert coords[11, 7].tolist() == [1, 1, 1]
    np.testing.assert_allclose(coords[:, 5, 1:], [[1, 1 / 3]] * 12)


def fail(*arguments: Any) -> Any:
    pytest.fail("this head was not asked for")


def test_features_leave_the_rgb_head_alone(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = NervReader(encoded.path, "cpu")
    monkeypatch.setattr(DualHeadHNeRV, "rgb", fail)
    for number in (0, 1):
        network = reader.network(number)
        assert isinstance(network, DualHeadHNeRV)
        monkeypatch.setattr(network.rgb_head, "forward", fail)
    assert reader.features(0, 10).shape == (10, 8, 32)


def test_frames_and_patches_leave_the_clip_head_alone(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DualHeadHNeRV, "_clip", fail)
    reader = NervReader(encoded.path, "cpu")
    assert reader[3].shape == (45, 63, 3)
    assert reader.patch(3, 1, 3).shape == (22, 15, 3)


def segments_read(reader: NervReader, monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> list[int]:
    numbers: list[int] = []
    read = reader.file.segment

    def noted(number: int) -> Segment:
        numbers.append(number)
        return read(number)

    monkeypatch.setattr(reader.file, "segment", noted)
    action()
    return numbers


def test_only_the_segments_that_are_needed_are_read(encoded: Encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    def reader() -> NervReader:
        return NervReader(encoded.path, "cpu")

    assert [e.frames for e in reader().file.index] == [5, 5, 2]
    assert segments_read(r := reader(), monkeypatch, lambda: r[6]) == [1]
    assert segments_read(r := reader(), monkeypatch, lambda: r[3:7]) == [0, 1]
    assert segments_read(r := reader(), monkeypatch, lambda: [r[t] for t in range(12)]) == [0, 1, 2]
    assert segments_read(r := reader(), monkeypatch, lambda: r.features(11)) == [2]


def test_memory_is_bounded_by_a_few_networks(encoded: Encoded) -> None:
    reader = NervReader(encoded.path, "cpu")
    networks = [weakref.ref(reader.network(number)) for number in range(3)]
    gc.collect()
    assert [network() is None for network in networks] == [True, False, False]


def test_a_reader_opens_bytes_too(encoded: Encoded, everything: NDArray[np.uint8]) -> None:
    assert near(NervReader(encoded.path.read_bytes(), "cpu")[5], everything[5])


def test_lost_frames_are_not_there(encoded: Encoded, everything: NDArray[np.uint8]) -> None:
    data = bytearray(encoded.path.read_bytes())
    entry = NervReader(encoded.path, "cpu").file.index[1]
    data[entry.offset + 40] ^= 1
    reader = NervReader(bytes(data), "cpu", salvage=True)
    assert reader.lost == (range(5, 10),)
    assert near(reader[:5], everything[:5])
    assert near(reader[11], everything[11])
    with pytest.raises(IndexError):
        reader[7]


@pytest.mark.parametrize("chosen", [[0], [3, 1, 4, 1, 5], [0, 6, 1, 11, 5], [-1, 0], []])
def test_lists_of_frames(encoded: Encoded, everything: NDArray[np.uint8], chosen: list[int]) -> None:
    reader = NervReader(encoded.path, "cpu", batch=4)
    found = reader[chosen]
    assert found.shape == (len(chosen), 45, 63, 3)
    if chosen:
        assert near(found, everything[chosen])
        assert near(reader[np.array(chosen)], everything[chosen])
        assert reader.features(at=chosen) == pytest.approx(NervReader(encoded.path, "cpu").features()[chosen], abs=1e-5)
    with pytest.raises(IndexError):
        reader[[0, 12]]


def test_what_a_reader_says_of_itself(encoded: Encoded) -> None:
    with NervReader(encoded.path, "cpu") as reader:
        assert reader.shape == (12, 45, 63, 3)
        assert reader.fps == 25
        assert reader.timestamps == pytest.approx(np.arange(12) / 25)
        said = f"<NervReader {encoded.path}: 12 frames of 63x45, 25 frames/s, patches 2x4, features of tiny, on cpu>"
        assert repr(reader) == said
        first = reader[0]
        assert reader._network.cache_info().currsize == 1
    assert reader._network.cache_info().currsize == 0
    assert near(reader[0], first)


def test_a_reader_can_be_pickled_after_use(encoded: Encoded) -> None:
    reader = NervReader(encoded.path, "cpu", batch=3)
    before = reader[2:9]
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy[2:9], before)
    assert copy.batch == 3


HOSTILE: list[tuple[dict[str, Any], type[BitstreamError], str]] = [
    ({"fc_dim": 65535, "head_strd": 64}, LimitExceeded, "--limit operations="),
    ({"fc_dim": 65535, "lower_width": 65535}, LimitExceeded, "--limit operations="),
    ({"fc_dim": 4000}, MalformedChunk, "tensor stem.body.conv.weight of the network is WEIGHT"),
    ({"lower_width": 65535, "dec_strds": (64, 2), "dec_blks": (1, 1)}, LimitExceeded, "--limit activations="),
    ({"dec_strds": (64,) * 16, "dec_blks": (64,) * 16}, LimitExceeded, "activations"),
    ({"embed": "grid_9999999999999999999.1.1"}, LimitExceeded, "activations"),
    ({"embed": "grid_1.1.1_60000.1.1"}, MalformedChunk, "tensors"),
    ({"embed": "pe_1.0_1024", "fc_hw": (4095, 4095), "fc_dim": 99}, LimitExceeded, "activations"),
    ({"embed": "pe_1.0_1024", "fc_hw": (200, 200)}, MalformedChunk, "tensors"),
    ({"embed": "hnerv_99999999999999999999999999999"}, LimitExceeded, "activations"),
    ({"embed": "hnerv_1000000"}, MalformedChunk, "tensors"),
    ({"embed": "siren_1"}, MalformedChunk, "describes no network: embedding 'siren_1' is none of"),
    ({"conv_type": "dense"}, MalformedChunk, "describes no network: conv_type 'dense' is unknown"),
    ({"act": "sin"}, MalformedChunk, "describes no network: act 'sin' is unknown"),
    ({"norm": "what"}, MalformedChunk, "describes no network: norm 'what' is unknown"),
    ({"ks": (1, 2)}, MalformedChunk, "describes no network: ks 1_2: kernel sizes must be odd"),
    ({"ks": (0, 0)}, MalformedChunk, "describes no network: ks 0_0"),
    ({"ks": (63, 63)}, MalformedChunk, "tensor .* of the network is"),
    ({"out_bias": "x"}, MalformedChunk, "describes no network: out_bias 'x'"),
    (
        {"lower_width": 0, "reduce": 64.0, "dec_strds": (1,) * 16, "dec_blks": (1,) * 16},
        MalformedChunk,
        "describes no network: fc_hw",
    ),
    ({"clip_rank": 65535}, MalformedChunk, "tensor clip_head.0.weight of the network is CLIP"),
    ({"dec_blks": (64, 64), "dec_strds": (1, 2)}, MalformedChunk, "the segment holds .* tensors, the network"),
]


@pytest.mark.parametrize(("changes", "error", "message"), HOSTILE, ids=[str(c) for c, _, _ in HOSTILE])
def test_headers_of_absurd_networks_are_refused_before_memory_is_taken(
    encoded: Encoded, changes: dict[str, Any], error: type[BitstreamError], message: str
) -> None:
    nerv = bitstream.read(encoded.path)
    header = replace(nerv.header, architecture=replace(nerv.header.architecture, **changes))
    data = bitstream.write(replace(nerv, header=header))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(error, match=message):
        NervReader(data, "cpu")[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_limit_on_work_can_be_raised(encoded: Encoded) -> None:
    size = encoded.path.stat().st_size
    reader = NervReader(encoded.path, "cpu")
    assert 0 < reader.spec.operations(reader.geometry(5)) < OPERATIONS_A_BYTE * size, "no limit for what is no trick"
    wide = replace(reader.header.architecture, fc_dim=65535)
    data = bitstream.write(replace(bitstream.read(encoded.path), header=replace(reader.header, architecture=wide)))
    with pytest.raises(LimitExceeded) as caught:
        NervReader(data, "cpu")
    limit = re.search(r"--limit operations=(\d+)", str(caught.value))
    assert limit is not None
    NervReader(data, "cpu", limits=Limits(operations=int(limit[1])))


sizes = st.one_of(st.integers(1, 8), st.integers(1, 65535))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "embed": st.one_of(
        st.builds("pe_{}_{}".format, st.sampled_from(["1", "1.25", "16", "inf", "nan"]), sizes),
        st.builds("hnerv_{}".format, st.integers(1, 10**30)),
        st.lists(st.builds("{}.{}.{}".format, sizes, sizes, sizes), max_size=3).map(lambda v: f"grid_{'_'.join(v)}"),
        st.text("grid_pe.0129", max_size=12),
    ),
    "fc_dim": sizes,
    "fc_hw": st.tuples(st.integers(1, 4095), st.integers(1, 4095)),
    "conv_type": st.sampled_from(["pshuffel", "conv", "interpolate", "convnext", "residual"]),
    "reduce": st.floats(1 / 64, 64),
    "lower_width": sizes,
    "norm": st.sampled_from(["none", "bn"]),
    "ks": st.tuples(st.integers(0, 63), st.integers(0, 63)),
    "head_strd": st.integers(1, 64),
    "out_bias": st.sampled_from(["sigmoid", "1e300", "-inf", "half"]),
    "clip_rank": sizes,
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.sampled_from(sorted(FIELDS)), max_size=3),
    st.lists(st.tuples(st.integers(1, 64), st.integers(1, 4)), max_size=5),
    st.data(),
)
def test_any_header_gives_frames_or_says_what_is_wrong(
    encoded: Encoded, names: set[str], stages: list[tuple[int, int]], data: st.DataObject
) -> None:
    nerv = bitstream.read(encoded.path)
    changes = {name: data.draw(FIELDS[name], name) for name in sorted(names)}
    if stages:
        changes |= {"dec_strds": tuple(s for s, _ in stages), "dec_blks": tuple(b for _, b in stages)}
    header = replace(nerv.header, architecture=replace(nerv.header.architecture, **changes))
    try:
        frame = NervReader(bitstream.write(replace(nerv, header=header)), "cpu")[0]
    except BitstreamError:
        return
    assert frame.shape == (45, 63, 3)


def test_limits_can_be_raised(encoded: Encoded) -> None:
    with pytest.raises(LimitExceeded, match=r"activations = \d+, over the limit of 100; .*--limit activations="):
        NervReader(encoded.path, "cpu", limits=Limits(activations=100))
    NervReader(encoded.path, "cpu", limits=Limits(activations=10**6))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NervReader(tmp_path / "none.nerv")


def test_frames_in_batches_leave_the_callers_mode_alone(encoded: Encoded) -> None:
    batches = NervReader(encoded.path, "cpu", batch=2).frames()
    next(batches)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
