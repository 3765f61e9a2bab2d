"""The loop of every supervised training, projected descent by signed gradients, and the optimizers of all.

EMN, whose noise is moved for all images (or summed over classes) at once, steps by itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def make_optimizer(
    parameters: Iterable[Tensor],
    kind: str,
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    fused: bool | None = None,
) -> Optimizer:
    """An optimizer by its name.

    Args:
        parameters: that it moves; frozen ones are left out.
        kind: ``sgd``, ``adam`` or ``adamw``.
        lr: learning rate.
        momentum: of sgd; of the others the first coefficient (the second is 0.999).
        weight_decay: as torch's.
        nesterov: of sgd.
        fused: as torch's.

    Raises:
        ValueError: there is no such optimizer.
    """
    moved = [p for p in parameters if p.requires_grad]
    if kind == "sgd":
        return torch.optim.SGD(moved, lr, momentum, weight_decay=weight_decay, nesterov=nesterov, fused=fused)
    if kind not in ("adam", "adamw"):
        raise ValueError(f"optimizer: expected sgd, adam or adamw, found {kind!r}")
    adam = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
    return adam(moved, lr, betas=(momentum, 0.999), weight_decay=weight_decay, fused=fused)


def equal_batches(count: int, batch_size: int, device: torch.device) -> tuple[Tensor, ...]:
    """Shuffled rows (int64) in equal batches of at least ``batch_size``: no small last one for batch normalisation.

    torch's global random state gives the order.
    """
    return torch.randperm(count).to(device).tensor_split(max(1, count // batch_size))


def train_epochs(
    epochs: Iterable[int],
    batches: Callable[[], Sequence[Tensor]],
    loss: Callable[[Tensor, int, int], Tensor],
    optimizer: Optimizer,
    clip: float = 0.0,
    after: Callable[[int], None] = lambda _: None,
) -> Iterator[float]:
    """Trains by an optimizer, and gives the mean loss after every epoch; nothing waits for the device inside one.

    Args:
        epochs: numbers of the epochs, from 0.
        batches: rows of an epoch's batches, asked for as it begins.
        loss: of a batch, by its rows, its epoch and its number in it.
        optimizer: of what is trained.
        clip: largest gradient norm; 0: none.
        after: called after every step, with its number from the first epoch on.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for epoch in epochs:
        parts = batches()
        total = torch.zeros((), device=parameters[0].device)
        for step, rows in enumerate(parts):
            value = loss(rows, epoch, step)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            if clip:
                nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            after(epoch * len(parts) + step)
            total += value.detach()
        yield total.item() / len(parts)


def signed_descent(
    objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, length: float, limit: Callable[[Tensor], Tensor]
) -> Tensor:
    """Projected descent by signs (Madry et al., ICLR 2018): z ← limit(z − α·sign ∇ objective(z)), T times.

    Args:
        objective: a number that is to become small.
        start: z, of any shape.
        steps: T.
        length: α.
        limit: what z is projected to.
    """
    z = start
    for _ in range(steps):
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(z), z)
        z = limit(z.detach() - length * gradient.sign())
    return z.detach()
