"""The coder of the kind `dual_head`: `plan` a network of the size asked for, and overfit it to a segment's frames."""

from __future__ import annotations

from codec.encoding.plan import plan
from codec.training.fit import encode_frames

__all__ = ["encode_frames", "plan"]
