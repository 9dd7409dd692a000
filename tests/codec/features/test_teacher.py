"""The teacher: what it sees, that its features are exact and cached, and every way it can be unavailable."""

from __future__ import annotations

import json
import os
import pickle
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from bitstream.header import Teacher
from codec.errors import TeacherError
from codec.features.teacher import CLIPManager, load_teacher
from tests.tiny_clip import CONFIG, EMBED_DIM, TinyClip, write_tiny_clip

ROOT = Path(__file__).resolve().parents[3]
CLIPS = ROOT.parent / "shared" / "clips"
GRID = (2, 4)


@pytest.fixture
def manager(tiny_clip: TinyClip, tmp_path: Path) -> CLIPManager:
    return CLIPManager(tiny_clip.model, tiny_clip.pretrained, cache_dir=tmp_path / "cache")


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """Three frames of 40x72 pixels, smooth and each different."""
    t, y, x = np.meshgrid(np.arange(3), np.arange(40), np.arange(72), indexing="ij")
    waves = [128 + 120 * np.sin(0.9 * t + y / a + x / b) for a, b in ((5, 9), (11, -6), (-7, 13))]
    return np.stack(waves, axis=-1).astype(np.uint8)


def test_importing_the_module_does_not_import_open_clip() -> None:
    code = "import sys, codec.features.teacher; sys.exit(bool({'open_clip', 'torchvision'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_features_are_unit_vectors_for_every_patch(manager: CLIPManager, frames: NDArray[np.uint8]) -> None:
    features = manager.features(frames, GRID)
    assert features.shape == (3, 8, EMBED_DIM)
    assert features.dtype == np.float32
    assert np.linalg.norm(features, axis=-1) == pytest.approx(1, abs=1e-6)
    assert np.ptp(features, axis=1).max() > 0.01  # patches differ


def test_identity_names_no_path(manager: CLIPManager, tiny_clip: TinyClip) -> None:
    assert manager.identity == Teacher("tiny", "tiny.safetensors", EMBED_DIM, manager.identity.digest)
    assert len(bytes.fromhex(manager.identity.digest)) == 8


def test_batch_size_does_not_change_a_feature(tiny_clip: TinyClip, tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    def features(batch_size: int) -> NDArray[np.float32]:
        cache = tmp_path / str(batch_size)
        return CLIPManager(tiny_clip.model, tiny_clip.pretrained, "cpu", cache, batch_size).features(frames, GRID)

    assert features(1) == pytest.approx(features(7), abs=1e-5)


@pytest.fixture
def fast_settings() -> Iterator[list[Any]]:
    """The places where torch keeps how exact float32 has to be, all set to TF32."""
    backends: Any = torch.backends
    settings = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "tf32"
    yield settings
    for setting, value in zip(settings, before, strict=True):
        setting.fp32_precision = value


def test_fast_math_of_the_process_does_not_reach_the_teacher(
    manager: CLIPManager, frames: NDArray[np.uint8], fast_settings: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_image, seen = manager._net.encode_image, set[Any]()

    def watched(images: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = encode_image(images)
        seen.update([vectors.dtype, *(setting.fp32_precision for setting in fast_settings)])
        return vectors

    monkeypatch.setattr(manager._net, "encode_image", watched)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        manager.features(frames, GRID)
    assert seen == {torch.float32, "ieee"}
    assert {setting.fp32_precision for setting in fast_settings} == {"tf32"}


def test_patches_are_prepared_as_open_clip_prepares_images(manager: CLIPManager, tiny_clip: TinyClip) -> None:
    source = CLIPS / "bunny.mkv"
    if not source.is_file():
        pytest.skip(f"{source} is not there")
    with av.open(str(source)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    net = open_clip.create_model("tiny", pretrained=tiny_clip.pretrained)
    transform = open_clip.image_transform(32, is_train=False, resize_mode="squash")
    rows, columns = np.array_split(np.arange(frame.shape[0]), 2), np.array_split(np.arange(frame.shape[1]), 4)
    patches = [Image.fromarray(frame[np.ix_(y, x)]) for y in rows for x in columns]
    with torch.inference_mode():
        expected = net.encode_image(torch.stack([transform(p) for p in patches]), normalize=True).numpy()
    features = manager.features(frame[None], GRID)[0]
    assert (features * expected).sum(-1).min() > 0.9999  # the rest is open_clip's rounding of the resized image


@pytest.mark.parametrize(("height", "width", "grid"), [(37, 50, (2, 4)), (5, 7, (4, 3)), (1, 1, (1, 1))])
def test_padding_does_not_count(manager: CLIPManager, height: int, width: int, grid: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    h, w = -(-height // grid[0]), -(-width // grid[1])
    features = manager.features(frame[None], grid)[0]
    for i, feature in enumerate(features):
        top, left = i // grid[1] * h, i % grid[1] * w
        # In a 5-row frame the fourth of four 2-row patches is all padding: the last row of the frame, repeated.
        own = frame[min(top, height - 1) : top + h, min(left, width - 1) : left + w]
        assert feature == pytest.approx(manager.features(own[None], (1, 1))[0, 0], abs=1e-6)


def test_texts_have_features_too(manager: CLIPManager) -> None:
    features = manager.text(["a dog", "a cat on a mat"])
    assert features.shape == (2, EMBED_DIM)
    assert np.linalg.norm(features, axis=-1) == pytest.approx(1, abs=1e-6)
    assert not np.allclose(features[0], features[1])
    assert manager.text(["a dog"])[0] == pytest.approx(features[0], abs=1e-6)


class TestCache:
    def entries(self, tmp_path: Path) -> list[Path]:
        return sorted((tmp_path / "cache").iterdir())

    def test_same_work_is_not_done_twice(
        self, manager: CLIPManager, tmp_path: Path, frames: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = manager.features(frames, GRID)
        monkeypatch.setattr(manager, "_compute", lambda *_: pytest.fail("computed again"))
        assert np.array_equal(manager.features(frames, GRID), first)
        assert len(self.entries(tmp_path)) == 1

    def test_key_holds_all_that_features_depend_on(
        self, manager: CLIPManager, tiny_clip: TinyClip, tmp_path: Path, frames: NDArray[np.uint8]
    ) -> None:
        (tmp_path / "other").mkdir()
        other_weights = write_tiny_clip(tmp_path / "other", seed=1)
        other = CLIPManager(tiny_clip.model, other_weights.pretrained, cache_dir=tmp_path / "cache")
        changed = frames.copy()
        changed[-1, -1, -1, -1] ^= 1
        base = manager.features(frames, GRID)
        assert not np.allclose(other.features(frames, GRID), base, atol=1e-3)
        manager.features(changed, GRID)
        manager.features(frames, (4, 2))
        manager.features(frames.reshape(3, 72, 40, 3), GRID)
        manager.features(frames, GRID, content_digest="clip", key_extra="0:3")
        manager.features(frames, GRID, content_digest="clip", key_extra="3:6")
        assert len(self.entries(tmp_path)) == 7

    def test_key_holds_neither_path_nor_batch_size(
        self, manager: CLIPManager, tiny_clip: TinyClip, tmp_path: Path, frames: NDArray[np.uint8]
    ) -> None:
        manager.features(frames, GRID)
        moved = Path(tiny_clip.pretrained).read_bytes()
        (tmp_path / "moved.safetensors").write_bytes(moved)
        copy = CLIPManager(
            tiny_clip.model, str(tmp_path / "moved.safetensors"), cache_dir=tmp_path / "cache", batch_size=2
        )
        copy.features(frames, GRID)
        assert len(self.entries(tmp_path)) == 1

    @pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "shape", "dtype", "pickle", "other name"])
    def test_damaged_entry_is_computed_anew_with_a_warning(
        self, tiny_clip: TinyClip, tmp_path: Path, frames: NDArray[np.uint8], damage: str
    ) -> None:
        warnings: list[str] = []
        manager = CLIPManager(tiny_clip.model, tiny_clip.pretrained, cache_dir=tmp_path / "cache", warn=warnings.append)
        good = manager.features(frames, GRID)
        (path,) = self.entries(tmp_path)
        data = path.read_bytes()
        middle = len(data) // 2
        match damage:
            case "empty":
                path.write_bytes(b"")
            case "cut":
                path.write_bytes(data[:middle])
            case "flipped":
                path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
            case "text":
                path.write_text("not an archive")
            case "shape":
                np.savez(path, features=good[:1])
            case "dtype":
                np.savez(path, features=good.astype(np.float64))
            case "pickle":
                np.savez(path, features=np.array([{}], dtype=object))
            case "other name":
                np.savez(path, other=good)
        assert np.array_equal(manager.features(frames, GRID), good)
        assert len(warnings) == 1
        assert "damaged" in warnings[0]
        assert np.array_equal(manager.features(frames, GRID), good)
        assert len(warnings) == 1  # mended

    def test_unwritable_cache_costs_one_warning(
        self, tiny_clip: TinyClip, manager: CLIPManager, tmp_path: Path, frames: NDArray[np.uint8]
    ) -> None:
        (tmp_path / "file").touch()
        warnings: list[str] = []
        without = CLIPManager(
            tiny_clip.model, tiny_clip.pretrained, cache_dir=tmp_path / "file" / "cache", warn=warnings.append
        )
        for grid in (GRID, (1, 1)):
            assert np.array_equal(without.features(frames, grid), manager.features(frames, grid))
        assert len(warnings) == 1
        assert "NVCODEC_CACHE" in warnings[0]

    @pytest.mark.parametrize(
        ("variable", "below"), [("NVCODEC_CACHE", "features"), ("XDG_CACHE_HOME", "nvcodec/features")]
    )
    def test_place_comes_from_the_environment(
        self,
        tiny_clip: TinyClip,
        tmp_path: Path,
        frames: NDArray[np.uint8],
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
        below: str,
    ) -> None:
        monkeypatch.delenv("NVCODEC_CACHE", raising=False)
        monkeypatch.setenv(variable, str(tmp_path))
        CLIPManager(tiny_clip.model, tiny_clip.pretrained).features(frames, GRID)
        assert len(list((tmp_path / below).iterdir())) == 1


class TestWeights:
    def test_state_dict_in_pt_equals_safetensors(
        self, manager: CLIPManager, tiny_clip: TinyClip, tmp_path: Path, frames: NDArray[np.uint8]
    ) -> None:
        torch.save({"state_dict": load_file(tiny_clip.pretrained)}, tmp_path / "tiny.pt")
        other = CLIPManager(tiny_clip.model, str(tmp_path / "tiny.pt"), cache_dir=tmp_path / "other")
        assert np.array_equal(other.features(frames, GRID), manager.features(frames, GRID))
        assert other.identity.digest != manager.identity.digest

    def test_checkpoint_does_not_run_code(self, tiny_clip: TinyClip, tmp_path: Path) -> None:
        target = tmp_path / "code_has_run"

        class Evil:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(target),)

        checkpoint = tmp_path / "evil.pt"
        torch.save({"state_dict": Evil()}, checkpoint)
        with pytest.raises(TeacherError, match=r"evil\.pt cannot be loaded"):
            CLIPManager(tiny_clip.model, str(checkpoint))
        checkpoint.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(TeacherError, match=r"evil\.pt cannot be loaded"):
            CLIPManager(tiny_clip.model, str(checkpoint))
        assert not target.exists()

    @pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
    def test_checkpoint_must_fit_to_the_last_tensor(self, tiny_clip: TinyClip, tmp_path: Path, change: str) -> None:
        weights = load_file(tiny_clip.pretrained)
        match change:
            case "missing":
                del weights["visual.proj"]
            case "surplus":
                weights["visual.extra"] = torch.zeros(1)
            case "shape":
                weights["visual.proj"] = torch.zeros(32, 16)
        save_file(weights, tmp_path / "other.safetensors")
        with pytest.raises(TeacherError, match=r"other\.safetensors cannot be loaded.*visual\."):
            CLIPManager(tiny_clip.model, str(tmp_path / "other.safetensors"))

    def test_damaged_weights_do_not_teach(self, tiny_clip: TinyClip, tmp_path: Path, frames: NDArray[np.uint8]) -> None:
        weights = load_file(tiny_clip.pretrained)
        weights["visual.proj"][0, 0] = torch.nan
        save_file(weights, tmp_path / "nan.safetensors")
        manager = CLIPManager(tiny_clip.model, str(tmp_path / "nan.safetensors"), cache_dir=tmp_path)
        with pytest.raises(TeacherError, match="not finite"):
            manager.features(frames, GRID)

    def test_named_weights_come_from_the_hub_cache_with_their_own_constants(
        self,
        manager: CLIPManager,
        tiny_clip: TinyClip,
        tmp_path: Path,
        frames: NDArray[np.uint8],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        half = (0.5, 0.5, 0.5)
        entry = {"hf_hub": "someone/tiny/", "mean": half, "std": half, "interpolation": "bilinear", "quick_gelu": True}
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"some_tag": entry})
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (tmp_path / "hub" / "models--someone--tiny" / "refs").mkdir()
        (tmp_path / "hub" / "models--someone--tiny" / "refs" / "main").write_text("0" * 40)
        (snapshot / "open_clip_model.safetensors").write_bytes(Path(tiny_clip.pretrained).read_bytes())

        named = CLIPManager(tiny_clip.model, "some_tag", cache_dir=tmp_path / "cache")
        assert named.identity == Teacher("tiny", "some_tag", EMBED_DIM)
        net = open_clip.create_model("tiny", pretrained=tiny_clip.pretrained, force_quick_gelu=True)
        image = torch.nn.functional.interpolate(
            torch.from_numpy(frames).permute(0, 3, 1, 2) / 255, (32, 32), mode="bilinear", antialias=True
        )
        with torch.inference_mode():
            expected = net.encode_image(2 * image - 1, normalize=True).numpy()
        assert named.features(frames, (1, 1))[:, 0] == pytest.approx(expected, abs=1e-5)
        assert not np.allclose(manager.features(frames, (1, 1))[:, 0], expected, atol=1e-3)

        local = CLIPManager(tiny_clip.model, tiny_clip.pretrained, cache_dir=tmp_path / "cache")
        assert local._mean.flatten().tolist() == [127.5] * 3  # all weights of the model share it, so a checkpoint does


class Hub(socketserver.ThreadingTCPServer):
    """A model hub that hangs up on whoever calls; counts the calls."""

    calls = 0

    class Hangup(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            assert isinstance(self.server, Hub)
            self.server.calls += 1

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Hangup)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub out of order, and nothing cached from it."""
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server
        server.shutdown()


class TestUnavailable:
    def assert_names_ways_out(self, error: TeacherError) -> None:
        for way in ("--clip-pretrained", "create_model"):
            assert way in str(error)

    def test_unreachable_hub_is_asked_once_and_in_silence(
        self, hub: Hub, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(open_clip, "download_pretrained", lambda _: pytest.fail("this tries for minutes"))
        with pytest.raises(TeacherError, match="cannot be downloaded") as caught:
            CLIPManager("ViT-B-32", "laion2b_s34b_b79k")
        self.assert_names_ways_out(caught.value)
        assert "create_model('ViT-B-32', pretrained='laion2b_s34b_b79k')" in str(caught.value)
        assert hub.calls == 1
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("model", "pretrained", "reason"),
        [
            ("ViT-B-33", "laion2b_s34b_b79k", "no model of this name"),
            ("hf-hub:someone/model", "laion2b_s34b_b79k", "no model of this name"),
            ("missing.json", "laion2b_s34b_b79k", "cannot be read: No such file"),
            ("ViT-B-32", "laion3b", "no weights of this name for it .*laion2b_s34b_b79k"),
            ("ViT-B-32", "missing.safetensors", "there is no such file"),
            ("ViT-B-32", "", "weights have to be named"),
        ],
    )
    def test_unknown_names(self, hub: Hub, model: str, pretrained: str, reason: str) -> None:
        with pytest.raises(TeacherError, match=reason) as caught:
            CLIPManager(model, pretrained)
        self.assert_names_ways_out(caught.value)
        assert hub.calls == 0

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("{", "not JSON"),
            ("[]", "no open_clip model configuration"),
            (json.dumps({"embed_dim": 32, "vision_cfg": {}}), "no open_clip model configuration"),
        ],
    )
    def test_wrong_configuration(self, tiny_clip: TinyClip, tmp_path: Path, content: str, reason: str) -> None:
        (tmp_path / "wrong.json").write_text(content)
        with pytest.raises(TeacherError, match=reason) as caught:
            CLIPManager(str(tmp_path / "wrong.json"), tiny_clip.pretrained)
        self.assert_names_ways_out(caught.value)

    def test_configuration_does_not_replace_a_model_of_open_clip(self, tiny_clip: TinyClip, tmp_path: Path) -> None:
        before = open_clip.get_model_config("ViT-B-32")
        (tmp_path / "ViT-B-32.json").write_text(json.dumps(CONFIG))
        with pytest.raises(TeacherError, match="rename"):
            CLIPManager(str(tmp_path / "ViT-B-32.json"), tiny_clip.pretrained)
        assert open_clip.get_model_config("ViT-B-32") == before

    @pytest.mark.parametrize("name", ["no.safetensors", "no.pt", "no.npz"])
    def test_file_that_is_no_checkpoint(self, tiny_clip: TinyClip, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"no checkpoint at all")
        with pytest.raises(TeacherError) as caught:
            CLIPManager(tiny_clip.model, str(tmp_path / name))
        self.assert_names_ways_out(caught.value)


class TestModes:
    def test_on_raises(self, hub: Hub) -> None:
        with pytest.raises(TeacherError, match="--clip off"):
            load_teacher("on")

    def test_auto_warns_once_in_one_line(self, hub: Hub) -> None:
        warnings: list[str] = []
        assert load_teacher("auto", warn=warnings.append) is None
        assert len(warnings) == 1
        assert "will hold no features" in warnings[0]
        assert "\n" not in warnings[0]

    def test_off_is_silent(self, hub: Hub) -> None:
        warnings: list[str] = []
        assert load_teacher("off", warn=warnings.append) is None
        assert warnings == []
        assert hub.calls == 0

    @pytest.mark.parametrize("mode", ["on", "auto"])
    def test_teacher_that_can_be_had(self, tiny_clip: TinyClip, mode: Any) -> None:
        teacher = load_teacher(mode, tiny_clip.model, tiny_clip.pretrained)
        assert teacher is not None
        assert teacher.identity.dim == EMBED_DIM
