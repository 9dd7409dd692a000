"""Quality frame by frame, and means over the parts of a data split."""

import numpy as np
import pytest

from codec import quality
from codec.quality import compare, split_mean
from tests.samples import moving_frames


def test_batches_are_measured_against_single_frames() -> None:
    source = moving_frames(5, 170, 165)
    decoded = np.clip(source.astype(int) + 3, 0, 255).astype(np.uint8)
    found = compare(iter([decoded[:2], decoded[2:]]), iter(source))
    assert found.psnr == pytest.approx(quality.psnr(decoded, source))
    assert found.ms_ssim == pytest.approx(quality.ms_ssim(decoded, source))


def test_ms_ssim_is_none_where_it_is_not_defined() -> None:
    frames = moving_frames(2, 40, 40)
    assert compare([frames], iter(frames)).ms_ssim is None


def test_a_source_that_ends_early_is_noticed() -> None:
    frames = moving_frames(3, 8, 8)
    with pytest.raises(ValueError, match="the source has fewer frames than the file"):
        compare([frames], iter(frames[:2]))


def test_means_over_the_parts_of_a_split() -> None:
    values = np.arange(10.0)
    assert split_mean(values, (1, 1, 1), "all", 10) == 4.5
    assert split_mean(values, (1, 1, 1), "val", 10) is None
    assert split_mean(values, (3, 4, 5), "train", 10) == np.mean([0, 1, 2, 5, 6, 7])
    assert split_mean(values, (3, 4, 5), "val", 10) == np.mean([4, 9])
    assert split_mean(None, (1, 1, 1), "all", 10) is None


def test_every_segment_counts_from_its_own_first_frame() -> None:
    """As training does: each network has frames to train on, however short it is."""
    values = np.arange(10.0)  # segments of 4: 0..3, 4..7, 8..9
    assert split_mean(values, (2, 2, 3), "train", 4) == np.mean([0, 1, 3, 4, 5, 7, 8, 9])
    assert split_mean(values, (2, 2, 3), "val", 4) == np.mean([2, 6])
