"""ConfounderGAN in a plain Lightning script: your pictures, your callback, your Trainer. Run it where it may write."""

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gan.config import ClassifierConfig, GanConfig, SurrogatesConfig
from gan.module import ConfounderGAN
from gan.protection import start_network

CHECKPOINT = "confounder.ckpt"


class MyPictures(Dataset[tuple[Tensor, int]]):
    """Handwritten digits, enlarged to 32×32: an image, float C×H×W in [0, 1], and its label."""

    def __init__(self, rows: slice) -> None:
        digits = load_digits()
        small = torch.from_numpy(digits.images[rows]).float()[:, None] / 16
        self.images = torch.nn.functional.interpolate(small, size=32, mode="bilinear").clamp(0, 1)
        self.labels = digits.target[rows].tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.labels[index]


class MyCallback(pl.Callback):
    """Says what was measured on the validation pictures."""

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seen = trainer.callback_metrics
        if not trainer.sanity_checking:
            print(
                f"epoch {trainer.current_epoch}: {seen['val_accuracy']:.0%} classified correctly, "
                f"{seen['val_psnr']:.1f} dB"
            )


def main() -> None:
    """Fits on the pictures, keeps a checkpoint, and protects the pictures with what the checkpoint holds."""
    pl.seed_everything(0)
    pictures, others = MyPictures(slice(240)), MyPictures(slice(240, 340))
    # small networks, briefly trained: this is to be over in seconds on a CPU, and its noise is worth little
    config = GanConfig(
        classifier=ClassifierConfig(pretrained="none", arch="linear", epochs=10),
        surrogates=SurrogatesConfig(kinds="linear@16"),
    )
    gan = ConfounderGAN(config, classes=10, channels=1, size=(32, 32), start=start_network(config.start, config.noise))
    trainer = pl.Trainer(
        accelerator="cpu", precision="bf16-mixed", max_epochs=1, callbacks=[MyCallback()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(gan, DataLoader(pictures, batch_size=24, shuffle=True), DataLoader(others, batch_size=100))
    trainer.save_checkpoint(CHECKPOINT)

    trained = ConfounderGAN.load_from_checkpoint(CHECKPOINT)
    protected = torch.cat(trainer.predict(trained, DataLoader(pictures, batch_size=24)))
    change = (protected.int() - (pictures.images * 255).round().int()).abs()
    print(f"protected {len(protected)} pictures, {protected.dtype} {tuple(protected.shape[1:])}")
    print(f"largest change: {change.max()} grey levels of 255, mean {change.float().mean():.1f}")


if __name__ == "__main__":
    main()
