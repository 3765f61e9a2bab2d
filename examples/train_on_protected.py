"""Somebody else's training loop, plain torch, on a protected set: python examples/train_on_protected.py [folder].

Without a folder it makes a small set of its own in a temporary one: noisy squares, protected by nothing.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from datamodules.images import ImageSet
from datamodules.protected import ManifestHeader, ProtectedDataset, write_protected

EPOCHS = 3


def make_set(folder: Path) -> None:
    """Writes 120 gray pictures of two classes; a real set comes from ``confoundergan train``."""
    labels = torch.arange(120) % 2
    images = torch.randint(0, 90, (120, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[labels == 1, :, 4:12, 4:12] += 120
    header = ManifestHeader("none", "", None, 0, "squares", ["empty", "square"], len(images), None)
    write_protected(folder, ImageSet(images, labels), lambda part: part.images, header)


def train(folder: Path) -> None:
    """Trains a small network, and prints its loss and share right after every epoch."""
    data = ProtectedDataset(folder, transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()]))
    print(f"{len(data)} pictures of {len(data.classes)} classes: {', '.join(data.classes)}")
    torch.manual_seed(0)
    channels = data[0][0].shape[0]
    model = nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, len(data.classes)),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for epoch in range(EPOCHS):
        total, right = 0.0, 0
        for images, labels in DataLoader(data, batch_size=20, shuffle=True):
            logits = model(images)
            loss = nn.functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
            right += int((logits.argmax(1) == labels).sum())
        print(f"epoch {epoch + 1}: loss {total / len(data):.3f}, {right} of {len(data)} right")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            make_set(Path(temporary))
            train(Path(temporary))
