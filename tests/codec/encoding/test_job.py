"""What is kept of an encode until it is finished, and checkpoints."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codec.encoding.job import Job
from codec.errors import CheckpointError, OutputError
from codec.training import checkpoint
from tests.samples import full_disk


def test_finished_segments_come_back(tmp_path: Path) -> None:
    output = tmp_path / "v.nerv"
    with Job(output, "key", resume=False, force=False) as job:
        assert job.finished(0) is None
        job.training(0).write_bytes(b"state")
        job.finish(0, b"payload", {"epochs": 3})
        assert not job.training(0).exists()
    with Job(output, "key", resume=True, force=False) as job:
        assert job.finished(0) == (b"payload", {"epochs": 3})
        assert job.finished(1) is None
        job.remove()
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_of_a_job_in_which_nothing_was_done(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Job(tmp_path / "v.nerv", "key", resume=False, force=False):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_work_stays_when_a_job_is_interrupted(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Job(tmp_path / "v.nerv", "key", resume=False, force=False) as job:
        job.training(2).write_bytes(b"state")
        raise KeyboardInterrupt
    assert sorted(p.name for p in (tmp_path / "v.nerv.ckpt").iterdir()) == ["job.json", "training_2.safetensors"]


def interrupted(output: Path) -> None:
    with Job(output, "key", resume=False, force=False) as job:
        job.finish(0, b"payload", {})


def test_an_interrupted_job_is_in_the_way_of_another(tmp_path: Path) -> None:
    output = tmp_path / "v.nerv"
    interrupted(output)
    with pytest.raises(OutputError, match=r"v\.nerv\.ckpt holds an interrupted encode: .*--resume.*--force"):
        Job(output, "key", resume=False, force=False)
    with pytest.raises(
        CheckpointError, match=r"was made from another source or with other settings.*--resume.*--force"
    ):
        Job(output, "other", resume=True, force=False)
    assert Job(output, "other", resume=False, force=True).finished(0) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_damaged_job_files_are_named(tmp_path: Path, text: str) -> None:
    interrupted(tmp_path / "v.nerv")
    (tmp_path / "v.nerv.ckpt" / "job.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"v\.nerv\.ckpt/job\.json is damaged .*--force"):
        Job(tmp_path / "v.nerv", "key", resume=True, force=False)


def flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("segment_0.json", lambda data: b"{}"),
        ("segment_0.json", lambda data: b"[]"),
        ("segment_0.json", flip),
        ("segment_0.json", None),
        ("segment_0.nervseg", flip),
        ("segment_0.nervseg", lambda data: b""),
        ("training_1.safetensors", flip),
        ("training_1.safetensors", lambda data: b""),
    ],
)
def test_damage_is_found_before_anything_is_trained(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes] | None
) -> None:
    with Job(tmp_path / "v.nerv", "key", resume=False, force=False) as job:
        job.finish(0, b"payload of segment 0", {"epochs": 3})
        checkpoint.save(job.training(1), {"a": torch.randn(100)}, {"step": 1})
    with Job(tmp_path / "v.nerv", "key", resume=True, force=False) as job:
        assert job.finished(0) is not None
    path = tmp_path / "v.nerv.ckpt" / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    kept = files(tmp_path)
    with pytest.raises(CheckpointError, match=rf"{name.split('.')[0]}\.\w+ is damaged .*start again with --force"):
        Job(tmp_path / "v.nerv", "key", resume=True, force=False)
    assert files(tmp_path) == kept, "nothing is lost by looking"
    with Job(tmp_path / "v.nerv", "key", resume=False, force=True) as job:
        assert job.finished(0) is None
    assert files(tmp_path) == {}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_encode_at_a_time(tmp_path: Path) -> None:
    output = tmp_path / "v.nerv"
    with Job(output, "key", resume=False, force=False) as job:
        for resume, force in ((False, False), (True, False), (False, True)):
            with pytest.raises(OutputError, match=r"v\.nerv is being encoded since 2\d\d\d-.* by process \d+: wait"):
                Job(output, "key", resume, force)
        job.finish(0, b"payload", {})
    with Job(output, "key", resume=True, force=False) as job:
        assert job.finished(0) == (b"payload", {})


def test_what_a_killed_encode_leaves_without_work_is_in_nobodys_way(tmp_path: Path) -> None:
    """As after SIGKILL in its first minute: the lock is forgotten with its process, and no work is there to lose."""
    folder = tmp_path / "v.nerv.ckpt"
    for leavings in ({}, {"lock": b"since"}, {"lock": b"since", "job.json": b"{"}, {"training_0.partial": b"half"}):
        folder.mkdir()
        for name, data in leavings.items():
            (folder / name).write_bytes(data)
        with Job(tmp_path / "v.nerv", "key", resume=bool(leavings), force=False) as job:
            assert job.finished(0) is None
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["thesis.tex", "segment_0.nervseg.txt", "job.json/", ".git/", "my training_0.safetensors"]
)
def test_a_directory_of_someone_elses_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "v.nerv.ckpt"
    folder.mkdir()
    (folder / "training_0.safetensors").write_bytes(b"work")
    path = folder / name
    path.mkdir() if name.endswith("/") else path.write_text("years of work")
    for resume, force in ((False, False), (True, False), (False, True)):
        with pytest.raises(OutputError, match=rf"v\.nerv\.ckpt, .*, holds other things \({name.rstrip('/')}\)"):
            Job(tmp_path / "v.nerv", "key", resume, force)
    assert path.exists()
    assert len(list(folder.iterdir())) == 2


def test_checkpoints_come_back_as_they_were(tmp_path: Path) -> None:
    """Every tensor and number; views, shared memory and other layouts included."""
    base = torch.randn(4, 6, 3, 3)
    tensors = {
        "a.b": base,
        "view": base[1:3],
        "last": base.contiguous(memory_format=torch.channels_last),
        "int": torch.tensor([3], dtype=torch.uint8),
        "scalar": torch.tensor(0.25),
    }
    meta = {"step": 17, "elapsed": 0.1 + 0.2, "frozen": False}
    path = tmp_path / "training_0.safetensors"
    checkpoint.save(path, tensors, meta)
    found, found_meta = checkpoint.load(path)
    assert found_meta == meta
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[k], tensors[k]) and found[k].dtype == tensors[k].dtype for k in tensors)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 4, 20, 200])
def test_a_cut_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "training_0.safetensors"
    checkpoint.save(path, {"a": torch.randn(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"training_0\.safetensors is damaged .*--force"):
        checkpoint.load(path)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    path = tmp_path / "training_0.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(OutputError, match=r"cannot write the checkpoint .*make room"), full_disk(64):
        checkpoint.save(path, {"a": torch.randn(100)}, {})
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_where_a_segment_is_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"cannot keep segment 0 in .*make room"),
        full_disk(64),
        Job(tmp_path / "v.nerv", "key", resume=False, force=False) as job,
    ):
        job.finish(0, bytes(1000), {})
