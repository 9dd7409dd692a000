"""Optimisers: Muon for convolutions, Adam for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al., 2024): every direction of a weight matrix moves equally far.

    Takes tensors of two or more dimensions; a convolution's weight [out, in, k, k] counts as the matrix
    [out, in * k * k]. weight_decay: share of lr by which a step shrinks the weights; without it they grow until the
    training diverges, since every step moves them equally far however large they are. A group's lr may be a tensor of
    no dimensions on the device of its parameters: a recorded step then follows it.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor, momentum: float = 0.95, weight_decay: float = 0.1
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}  # matrices of one shape are orthogonalised together
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for shape, params in alike.items():
                updates = orthogonalise(torch.stack([self._update(p, group["momentum"]) for p in params]).flatten(2))
                scale = max(1.0, updates.shape[1] / updates.shape[2]) ** 0.5
                for p, update in zip(params, updates.unflatten(2, shape[1:]), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(update * (group["lr"] * scale))

    def _update(self, p: Tensor, momentum: float) -> Tensor:
        """The momentum of a parameter and this step's gradient once more (Nesterov)."""
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        assert p.grad is not None
        return p.grad.lerp(state["momentum"].lerp_(p.grad, 1 - momentum), momentum)


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, singular values within about 0.7 to 1.2: [B, m, n] -> [B, m, n].

    Newton-Schulz iteration with the quintic coefficients of Jordan et al., 2024, chosen for a steep start.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def optimizers(model: nn.Module, name: str, lr: float) -> list[torch.optim.Optimizer]:
    """The optimisers of one training, by name.

    adam: Adam on all parameters (HNeRV). muon: Muon with 4 x lr on the weights of dense convolutions and linear layers,
    Adam on embeddings, biases and depthwise kernels.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if name == "muon" and _is_matrix(n, p)]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in chosen]
    fused = all(p.device.type in ("cpu", "cuda") for p in rest)
    adam = torch.optim.Adam(rest, lr=lr, betas=(0.9, 0.99 if name == "muon" else 0.999), fused=fused)
    return [Muon(matrices, lr=4 * lr), adam] if matrices else [adam]


def _is_matrix(name: str, p: Tensor) -> bool:
    return p.ndim in (2, 4) and p.shape[1] > 1 and not name.startswith("embedding.")


def optimizer_tensors(found: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """What optimisers remember of the steps so far, for `restore_optimizers`."""
    return {
        f"{i}.{j}.{key}": value
        for i, optimizer in enumerate(found)
        for j, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }


def restore_optimizers(found: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`, on new optimisers of the same parameters.

    Raises RuntimeError, LookupError or ValueError for tensors of other optimisers.
    """
    for i, optimizer in enumerate(found):
        own = optimizer.state_dict()
        moved = [p for group in optimizer.param_groups for p in group["params"]]
        for name, tensor in tensors.items():
            number, parameter, key = name.split(".")
            if int(number) == i:
                p = moved[int(parameter)]
                # laid out in memory as the parameter is: fused optimisers go through both side by side
                like = torch.empty_like(p).copy_(tensor) if tensor.shape == p.shape else tensor
                own["state"].setdefault(int(parameter), {})[key] = like
        optimizer.load_state_dict(own)
