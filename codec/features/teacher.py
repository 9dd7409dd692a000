"""The teacher: a CLIP image tower that gives the target feature of every patch (Radford et al., 2021).

open_clip, which brings torchvision, is an extra, and imported by the functions that need it: this module costs nothing
to import, and nothing that decodes imports it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bitstream.header import Teacher
from codec.atomic import atomic_output
from codec.errors import OutputError, TeacherError
from codec.extras import missing
from codec.features.cache import cache_directory
from codec.patches import Grid, patch_size, split

DEFAULT_MODEL = "ViT-B-32"
DEFAULT_PRETRAINED = "laion2b_s34b_b79k"
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
CACHE_VERSION = 1  # counts up when the same frames and weights come to give other features
HUB_TIMEOUT = 5.0  # seconds to wait for the model hub's first answer

Warn = Callable[[str], object]


def load_teacher(
    mode: Literal["on", "auto", "off"],
    model: str = DEFAULT_MODEL,
    pretrained: str = DEFAULT_PRETRAINED,
    device: str | torch.device = "cpu",
    cache_dir: str | Path | None = None,
    batch_size: int = 64,
    warn: Warn = warnings.warn,
) -> CLIPManager | None:
    """The teacher that `--clip MODE` asks for, or None for an encode without features.

    on: TeacherError where the weights cannot be had. auto: None instead, with one warning. off: None.
    The other arguments are those of `CLIPManager`.
    """
    if mode == "off":
        return None
    try:
        return CLIPManager(model, pretrained, device, cache_dir, batch_size, warn)
    except TeacherError as error:
        if mode == "on":
            raise TeacherError(f"{error}\n  --clip off               encode without features") from error
        reason = str(error).splitlines()[0]
        warn(f"the file will hold no features: {reason} (--clip off encodes so without this warning)")
        return None


class CLIPManager:
    """A CLIP model with its weights loaded: features of patches and of texts, float32 and of unit length.

    identity: what a file says of its teacher: model, weights, width D of a feature.

    model: a name of `open_clip.list_models()`, or the path of an open_clip model configuration (.json).
    pretrained: a name that open_clip has for weights of the model, or the path of a checkpoint (.safetensors, or a
        state dict in .pt, .pth or .bin, loaded without running pickled code). It must fit the model to the last tensor.
    cache_dir: where features are kept; default: `cache_directory("features")`.
    batch_size: patches encoded at a time; features do not depend on it.
    warn: is called with one line for each thing that does not go as planned and is no error.

    Raises TeacherError where the model or its weights cannot be had.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        pretrained: str = DEFAULT_PRETRAINED,
        device: str | torch.device = "cpu",
        cache_dir: str | Path | None = None,
        batch_size: int = 64,
        warn: Warn = warnings.warn,
    ) -> None:
        if (lack := missing("open_clip")) is not None:
            raise TeacherError(f"no CLIP teacher {model} / {pretrained or '(no weights)'}: {lack}")
        self._device = torch.device(device)
        self._batch_size = batch_size
        self._warn = warn
        self._cache_dir: Path | None = Path(cache_dir) if cache_dir else cache_directory("features")
        try:
            self._net, self._name, self.identity = _load(model, pretrained, self._device, warn)
        except _Unavailable as error:
            raise _teacher_error(model, pretrained, *error.args) from error
        import open_clip

        preprocess = open_clip.get_model_preprocess_cfg(self._net)
        size = preprocess["size"]
        self._size = (size, size) if isinstance(size, int) else tuple(size)  # height, width
        self._mode = "bilinear" if preprocess["interpolation"] == "bilinear" else "bicubic"
        self._mean, self._std = (255 * torch.tensor(preprocess[k]).view(3, 1, 1) for k in ("mean", "std"))
        self._key = [open_clip.get_model_config(self._name), preprocess, self.identity.digest or pretrained]

    def features(
        self,
        frames: NDArray[np.uint8],
        grid: Grid,
        content_digest: str | None = None,
        key_extra: str = "",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> NDArray[np.float32]:
        """Features of all patches. frames: uint8 [T, H, W, 3] -> float32 [T, R*C, D] of unit length.

        Each patch is squashed, not cropped, to the model's input, so that all of it counts; padding does not.
        Features are kept on disk by the content of the frames, model, weights and grid.
        content_digest: a digest that stands for the frames as they are here (cropped, resized); computed if not given.
        key_extra: tells these frames from others of the same digest: a segment's range, if the digest is the clip's.
        progress: is called with (done, total) frames as they are computed.
        """
        digest = content_digest or hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()
        key = json.dumps([CACHE_VERSION, *self._key, digest, key_extra, frames.shape, grid])
        name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
        shape = (len(frames), grid[0] * grid[1], self.identity.dim)
        features = self._cached(name, shape)
        if features is None:
            features = self._compute(frames, grid, progress)
            self._store(name, features)
        return features

    def text(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Features of texts, to be compared with those of patches. n strings -> float32 [n, D] of unit length."""
        tokens = self._tokenizer(list(queries)).to(self._device)
        with _plain_float32(self._device):
            return _unit(self._net.encode_text(tokens))

    def image(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The feature of one picture, squashed to the model's input: uint8 [H, W, 3] -> float32 [D] of unit length."""
        feature: NDArray[np.float32] = self._compute(picture[None], (1, 1))[0, 0]
        return feature

    @cached_property
    def _tokenizer(self) -> Callable[[list[str]], Tensor]:
        """Loaded at the first text, which takes as long as a search of hours."""
        import open_clip

        try:
            with _quiet():
                return open_clip.get_tokenizer(self._name)
        except Exception as error:  # some models take a tokenizer from the hub
            raise TeacherError(f"the tokenizer of {self._name} cannot be had: {_first_line(error)}") from error

    def _compute(
        self,
        frames: NDArray[np.uint8],
        grid: Grid,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> NDArray[np.float32]:
        cells = grid[0] * grid[1]
        step = max(1, self._batch_size // cells)  # frames whose patches are held at a time
        features = np.empty((len(frames), cells, self.identity.dim), np.float32)
        for start in range(0, len(frames), step):
            images = self._images(frames[start : start + step], grid)
            with _plain_float32(self._device):
                parts = [_unit(self._net.encode_image(x.to(self._device))) for x in images.split(self._batch_size)]
            features[start : start + step] = np.concatenate(parts).reshape(-1, *features.shape[1:])
            progress(min(start + step, len(frames)), len(frames))
        if not np.isfinite(features).all():
            raise TeacherError(f"{self._name} gives features that are not finite: the checkpoint is damaged")
        return features

    def _images(self, frames: NDArray[np.uint8], grid: Grid) -> Tensor:
        """What the model sees of the frames: float32 [T*R*C, 3, *size], resized on the CPU, so alike for any device."""
        height, width = frames.shape[1:3]
        h, w = patch_size(height, width, grid)
        patches = split(frames, grid)
        images = torch.empty(len(frames), patches.shape[1], 3, *self._size)
        for i in range(patches.shape[1]):
            row, column = divmod(i, grid[1])
            # Pixels that are the frame's own; a patch wholly in the padding keeps one repeated row or column of it.
            own_h, own_w = max(1, min(h, height - row * h)), max(1, min(w, width - column * w))
            patch = torch.from_numpy(patches[:, i, :own_h, :own_w]).permute(0, 3, 1, 2).float()
            images[:, i] = F.interpolate(patch, self._size, mode=self._mode, antialias=True).clamp(0, 255)
        return ((images - self._mean) / self._std).flatten(0, 1)

    def _cached(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        if self._cache_dir is None:
            return None
        path = self._cache_dir / name
        try:
            with np.load(path, allow_pickle=False) as entry:
                features: NDArray[np.float32] = entry["features"]
            if features.shape != shape or features.dtype != np.float32:
                raise ValueError(f"it holds {features.dtype} {features.shape}")
        except OSError:
            return None  # not there; or out of reach, which `_store` then says
        except (ValueError, LookupError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            self._warn(f"cached features in {path} are damaged and computed anew: {_first_line(error)}")
            return None
        return features

    def _store(self, name: str, features: NDArray[np.float32]) -> None:
        if self._cache_dir is None:
            return
        try:
            self._cache_dir.mkdir(parents=True, exist_ok=True)
            with atomic_output(self._cache_dir / name, force=True) as temporary:
                np.savez(temporary, features=features)
        except (OSError, OutputError) as error:
            self._warn(f"features are not cached: {_first_line(error)} (NVCODEC_CACHE=DIR names another place)")
            self._cache_dir = None


class _Unavailable(Exception):
    """Why a model or its weights cannot be had, in one line; open_clip's two names for them if a download would do."""


def _teacher_error(
    model: str, pretrained: str, reason: str, name: str = DEFAULT_MODEL, tag: str = DEFAULT_PRETRAINED
) -> TeacherError:
    load = f"import open_clip; open_clip.create_model('{name}', pretrained='{tag}')"
    return TeacherError(
        f"no CLIP teacher {model} / {pretrained or '(no weights)'}: {reason}\n"
        "Ways out:\n"
        "  --clip-pretrained FILE   a local checkpoint of the model (.safetensors, .pt, .pth, .bin)\n"
        f'  download it beforehand   on a machine with network, python -c "{load}";\n'
        "                           then copy its hub cache (~/.cache/huggingface/hub, $HF_HOME/hub) here"
    )


def _load(model: str, pretrained: str, device: torch.device, warn: Warn) -> tuple[Any, str, Teacher]:
    """The model in eval mode with its weights, its name in open_clip's registry, and what files say of it."""
    try:
        with _quiet():
            import open_clip
    except (ImportError, OSError, RuntimeError) as error:  # as of a torchvision that was built for another torch
        raise _Unavailable(
            f"open_clip cannot be imported, perhaps as torchvision does not match torch: {_first_line(error)}"
        ) from error
    name = _register(Path(model)) if model.endswith(".json") else model.replace("/", "-")
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise _Unavailable(f"open_clip knows no model of this name ({len(open_clip.list_models())} in list_models())")
    if not pretrained:
        raise _Unavailable("weights have to be named; random ones would teach nothing")
    weights = open_clip.get_pretrained_cfg(name, pretrained)
    if weights:
        path, preprocess = _from_hub(weights, name, pretrained), _constants(weights)
        shown, digest = pretrained, ""
    else:
        path, preprocess = _checkpoint(name, pretrained), _shared_constants(name, warn)
        shown, digest = path.name, _sha256(path)[:16]
    try:
        with _quiet():
            net = open_clip.create_model(
                name,
                pretrained=str(path),
                device=device,
                precision="fp32",
                force_quick_gelu=bool(weights.get("quick_gelu")),
                force_preprocess_cfg=preprocess,
                require_pretrained=True,  # or it would go on with random weights
                weights_only=True,
            )
    except Exception as error:  # a wrong file makes torch and open_clip raise anything
        raise _Unavailable(f"{path.name} cannot be loaded into it: {_first_line(error)}") from error
    net.eval().requires_grad_(False)
    return net, name, Teacher(name, shown, config["embed_dim"], digest)


def _register(path: Path) -> str:
    """Make a model configuration file known to open_clip; the name it has there."""
    import open_clip

    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise _Unavailable(f"the configuration cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _Unavailable(f"the configuration is not JSON: {_first_line(error)}") from error
    required = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(config, dict) or any(key not in config for key in required):
        raise _Unavailable(f"the file is no open_clip model configuration, which has {', '.join(required)}")
    if path.stem in open_clip.list_models() and open_clip.get_model_config(path.stem) != config:
        raise _Unavailable(f"open_clip has another model {path.stem}: rename the configuration file")
    open_clip.add_model_config(path)
    return path.stem


def _checkpoint(model: str, pretrained: str) -> Path:
    import open_clip

    path = Path(pretrained).expanduser()
    if not path.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise _Unavailable(f"there is no such file, and open_clip has no weights of this name for it (it has: {tags})")
    if path.suffix not in CHECKPOINT_SUFFIXES:
        raise _Unavailable(f"a checkpoint is one of {', '.join(CHECKPOINT_SUFFIXES)}, not {path.suffix or path.name}")
    return path


def _constants(weights: dict[str, Any]) -> dict[str, Any]:
    return {key: weights[key] for key in ("mean", "std", "interpolation") if weights.get(key)}


def _shared_constants(model: str, warn: Warn) -> dict[str, Any]:
    """The preprocessing that all weights open_clip names for a model agree on: a checkpoint does not say its own."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(model)
    choices = [_constants(open_clip.get_pretrained_cfg(model, tag)) for tag in tags] or [{}]
    if any(choice != choices[0] for choice in choices):
        warn(f"weights of {model} come with different preprocessing: taking open_clip's default for this checkpoint")
        return {}
    return choices[0]


def _from_hub(weights: dict[str, Any], model: str, tag: str) -> Path:
    """The file of named weights, from the hub's cache on disk if it is there, else downloaded into it."""
    import open_clip
    from huggingface_hub import constants, get_session, try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, file = weights.get("hf_hub", "").rpartition("/")
    names = (str(Path(file).with_suffix(".safetensors")), file) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    for name in names:
        found = try_to_load_from_cache(repository, name) if repository else None
        if isinstance(found, str):
            return Path(found)
    try:
        # One question first: without network the hub's client goes on trying for most of a minute.
        with _quiet():
            get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
            return Path(open_clip.download_pretrained(weights))
    except Exception as error:
        reason = f"the weights are not on this machine and cannot be downloaded: {_first_line(error)}"
        raise _Unavailable(reason, model, tag) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence for open_clip and the hub's client, which log what the errors here say better."""
    root, handler, level = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)  # with no handler there, their first message would configure logging for the process
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        root.removeHandler(handler)


@contextmanager
def _plain_float32(device: torch.device) -> Iterator[None]:
    """No gradients; float32 arithmetic with no bfloat16 or TF32 inside, whatever the process has set for training."""
    backends: Any = torch.backends
    settings = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "ieee"
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


def _unit(vectors: Tensor) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = F.normalize(vectors.float(), dim=-1).cpu().numpy()
    return unit


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    """The first two lines of a message on one: torch's first line alone often says only that there are errors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] or type(error).__name__
