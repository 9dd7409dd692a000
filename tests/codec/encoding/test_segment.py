"""Encoding one segment: a task that can be pickled, a result that can be kept, the same wherever it runs."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitstream import read_segment
from codec.encoding.plan import plan
from codec.encoding.segment import SegmentResult, encode_segment
from codec.settings import PRESETS
from codec.specs import Geometry
from codec.training.task import SegmentTask
from tests.samples import moving_frames

GEOMETRY = Geometry(4, 21, 34, (2, 4))


@pytest.fixture(scope="module")
def task() -> SegmentTask:
    settings = PRESETS["grid"].override(fc_dim=8, epochs=2, clip="off")
    features = np.random.default_rng(1).normal(size=(4, 8, 5)).astype(np.float32)
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    spec = plan(settings, GEOMETRY, 5, None)
    return SegmentTask(7, GEOMETRY, spec, moving_frames(4, 21, 34), features, settings)


@pytest.fixture(scope="module")
def result(task: SegmentTask) -> SegmentResult:
    return encode_segment(task)


def test_a_result_says_what_was_coded(result: SegmentResult) -> None:
    segment = read_segment(result.payload, "")
    assert (segment.start, segment.frames) == (7, 4)
    assert result.parameters == sum(tensor.values.size for tensor in segment.tensors)
    assert result.measured.psnr.shape == (4,)
    assert result.measured.clip_sim is not None
    assert (result.epochs, result.frames_trained) == (2, 8)
    assert result.seconds.keys() == {"train", "code", "decode_symbols", "decode", "decode_features", "measure"}
    assert min(result.seconds.values()) >= 0


def test_a_result_is_kept_as_json(result: SegmentResult) -> None:
    facts = json.loads(json.dumps(result.facts(), allow_nan=False))
    kept = SegmentResult.of(result.payload, facts)
    assert kept.facts() == result.facts()
    assert np.array_equal(kept.measured.psnr, result.measured.psnr)


def test_a_segment_encoded_by_another_process_is_the_same(
    task: SegmentTask, result: SegmentResult, tmp_path: Path
) -> None:
    (tmp_path / "task").write_bytes(pickle.dumps(task))
    code = (
        "import pickle, sys, torch; from pathlib import Path; from codec.encoding.segment import encode_segment\n"
        "torch.set_num_threads(1); task, result = map(Path, sys.argv[1:])\n"
        "result.write_bytes(pickle.dumps(encode_segment(pickle.loads(task.read_bytes()))))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "task", tmp_path / "result"], check=True)
    elsewhere: SegmentResult = pickle.loads((tmp_path / "result").read_bytes())
    assert elsewhere.payload == result.payload
    assert np.array_equal(elsewhere.measured.psnr, result.measured.psnr)
