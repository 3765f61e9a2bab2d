"""Protecting photos from Python: three lines, without labels and without a GPU.

::

    from photos.protector import Protector

    protector = Protector.load("runs/digits-20260101-120000")
    after = protector.protect(before)                       # a Pillow image, or a uint8 tensor C×H×W or N×C×H×W
    protector.protect_folder("photos", "photos-protected")
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from baselines.capabilities import TRANSFERABLE
from baselines.trained import AnyGenerator, load_trained
from datamodules.config import DataError, path_of
from datamodules.decode import BadImage
from datamodules.files import write_atomic
from gan.imagenet import shipped_generator
from gan.protection import GENERATOR, SHIPPED, GeneratorCard, GeneratorFileError, TrainedGenerator
from photos.change import Change
from photos.classes import NO_FOLDERS, ClassFolders, class_folders
from photos.description.metadata import Output, Strip
from photos.destination import REPORT, begun, planned
from photos.evidence import Evidence, read_evidence
from photos.folder import Summary, write_folder
from photos.groups import centres_of_text, centres_to_text, group_centres
from photos.manifest import ManifestHeader
from photos.noise import BATCH, PhotoNoise, add_noise, fused, independent, noise_of, read_codes
from photos.photo import Photo
from photos.read import photo_of, read_photo
from photos.report import SHOWN, page
from photos.text import printable
from photos.texture import SAID, SMOOTH, Visible

ClassChoice = Literal["auto", "folders", "groups", "read"]
CERTAIN = 1e4  # class logit of a known class; others have 0


@dataclass(frozen=True)
class Inspection:
    """One photo before and after.

    Attributes:
        before: the photo, upright, in the colours of ``after``.
        after: the protected one.
        change: what the noise did.
        class_name: the likeliest class by the generator's reading, which the noise encodes.
        share: its probability.
    """

    before: Photo
    after: Photo
    change: Change
    class_name: str
    share: float


@dataclass
class PendingNoise:
    """A photo, the noise that is meant for it, and its code (float 1×K)."""

    photo: Photo
    noise: PhotoNoise
    code: Tensor

    def add(self) -> Change:
        """Adds the noise in place."""
        return add_noise(self.photo, self.noise)

    def copy(self, levels: int) -> Photo:
        """A copy with the noise, cut to so many of the photo's levels."""
        photo = replace(self.photo, pixels=self.photo.pixels.copy())
        add_noise(photo, self.noise.cut(levels))
        return photo


class _WithCode(nn.Module):
    """A generator that also gives its code."""

    def __init__(self, generator: AnyGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        code = self.generator.code(images)
        return code, self.generator.noise(code, images)


class Protector:
    """A trained generator, applied to photos at their own size.

    Args:
        trained: the generator.
        card: what is known of it.
        checkpoint: sha256 of its file.
        path: of its file.
        visible: how visible the noise may be on smooth areas, such as sky and skin: all of it, half, or a quarter.
    """

    def __init__(
        self, trained: TrainedGenerator, card: GeneratorCard, checkpoint: str, path: Path, visible: Visible = "full"
    ) -> None:
        self.visible = visible
        self.generator, self.card, self.checkpoint, self.path = fused(trained.generator), card, checkpoint, path
        self.size = (card.size[0], card.size[1])
        self.groups = ""  # of like photos, as a manifest holds them; see ``grouped``

    @classmethod
    def load(cls, generator: str | Path = "", visible: Visible = "full") -> "Protector":
        """From a run's folder or a .safetensors; ``find_generator`` says which one where none is given.

        Args:
            generator: the folder or file.
            visible: how visible the noise may be on smooth areas.

        Raises:
            GeneratorFileError: there is no such generator; its file is damaged, tampered with, or of another version.
        """
        path = find_generator(str(generator))
        return cls(*(shipped_generator() if path == SHIPPED else load_trained(path)), path, visible)

    @overload
    def protect(self, image: Image.Image) -> Image.Image: ...
    @overload
    def protect(self, image: Tensor) -> Tensor: ...
    def protect(self, image: Image.Image | Tensor) -> Image.Image | Tensor:
        """The protected image, of the same kind and size.

        Args:
            image: a Pillow image of any mode (comes back upright, as L, LA, RGB, RGBA or I;16), or uint8 C×H×W or
                N×C×H×W with C = 1 or 3. A gray one stays gray, but for generators of the first build that were trained
                on colour.

        Raises:
            ValueError: a tensor of another type or shape.
            BadImage: a Pillow image of 32-bit pixels, or of 16 bits whose displayed range leaves no room for noise.
        """
        if isinstance(image, Image.Image):
            return self.protect_photo(photo_of(image.copy()))[0].image()
        if image.dtype != torch.uint8 or image.dim() not in (3, 4) or image.shape[-3] not in (1, 3):
            raise ValueError(
                f"expected uint8 C×H×W or N×C×H×W with 1 or 3 channels, found {str(image.dtype)[6:]} "
                f"{'×'.join(map(str, image.shape))}"
            )
        if image.dim() == 4:
            return self._tensors(image) if len(image) else image.clone()
        return self._tensors(image[None])[0]

    def protect_photo(self, photo: Photo) -> tuple[Photo, Change]:
        """A photo, changed in place where its number of channels allows, and what the noise did.

        Raises:
            BadImage: 16-bit gray and a first build's generator for colour, or a displayed range without room for noise.
        """
        noised = self._one(photo)
        return noised.photo, noised.add()

    def protect_photos(
        self, photos: Sequence[Photo], labels: Sequence[int | None] | None = None
    ) -> list[PendingNoise | BadImage]:
        """Each photo with its noise, not added yet; or why it gets none. Small ones are read several at a time.

        Args:
            photos: N, of any sizes.
            labels: N numbers of classes of the generator where they are known, None where they are to be read; none:
                all are read.
        """
        made: dict[int, PendingNoise | BadImage] = {}
        fit: dict[int, Photo] = {}
        channels, epsilon = self.card.channels, self.card.epsilon
        for place, photo in enumerate(photos):
            try:
                fit[place] = self._in_colour(photo)
            except BadImage as error:
                made[place] = error
        if fit:
            known = {} if labels is None else {place: label for place in fit if (label := labels[place]) is not None}
            codes = {place: self._code(label) for place, label in known.items()}
            if unread := [place for place in fit if place not in known]:
                read = read_codes(self.generator, [fit[place] for place in unread], channels, self.size, self.batch)
                codes |= zip(unread, read.split(1), strict=True)
            for place, photo in fit.items():
                code = codes[place]
                try:
                    noise = noise_of(
                        self.generator,
                        code,
                        photo,
                        min(channels, photo.pixels.shape[-1]),
                        epsilon,
                        SMOOTH[self.visible],
                    )
                    made[place] = PendingNoise(photo, noise, code)
                except BadImage as error:  # its displayed range leaves no room for noise
                    made[place] = error
        return [made[place] for place in range(len(photos))]

    def _code(self, label: int) -> Tensor:
        """Class logits, float 1×K, that leave no doubt about a class."""
        logits = torch.zeros(1, len(self.card.class_names))
        logits[0, label] = CERTAIN
        return logits.to(next(self.generator.parameters()).device)

    def class_folders(
        self, source: str | Path, dest: str | Path, choice: ClassChoice = "auto", folders: set[str] | None = None
    ) -> ClassFolders:
        """The class folders by which photos get their codes; none where the codes are read from the photos.

        The generator that comes with the package has a code for any class; one that was trained has those of its own
        classes, so that all folders must bear their names.

        Args:
            source: the owner's folder.
            dest: of the copies: what an earlier call for it began is resumed.
            choice: ``auto``: folders where there are any; ``folders``; ``groups`` and ``read`` take none.
            folders: that hold photos, if they are known, as paths below ``source``.

        Raises:
            DataError: ``folders``, and there are none, or more than the generator has codes for, or of other names;
                or as ``planned``.
        """
        if choice in ("groups", "read"):
            return NO_FOLDERS
        source, dest = path_of(str(source)), path_of(str(dest))
        if folders is None:
            folders = {os.path.dirname(found.source) for found in planned(source, dest, "png") if found.target}
        before = begun(dest) if choice == "auto" else None
        known = ClassFolders(before.classes, before.class_level) if before else None
        found, names = class_folders(folders, known), self.card.class_names
        if not found.names:
            fault = "holds no two folders of photos"
        elif self.path == SHIPPED and len(found.names) > len(names):
            fault = f"holds {len(found.names)} folders of photos, and there are codes for {len(names)}"
        elif self.path != SHIPPED and not set(found.names) <= set(names):
            other = printable(min(set(found.names) - set(names)))
            fault = f"holds the folder {other}, and the generator was trained on other classes"
        else:
            return found
        if choice == "folders":
            raise DataError(f"classes: {printable(source)} {fault}; leave classes=folders out, or sort the photos anew")
        return NO_FOLDERS

    def grouped(self, source: str | Path, dest: str | Path, choice: ClassChoice = "auto") -> "Protector":
        """The generator that comes with the package, with codes for groups of like photos of a folder (no fit).

        Itself where it is another generator, whose classes are its own, where the photos are too few for groups, and
        where the copies were begun without.

        Args:
            source: the owner's folder, not sorted into classes.
            dest: of the copies: what an earlier call for it began is resumed.
            choice: ``read`` leaves the generator as it is.

        Raises:
            DataError: ``groups``, and there are too few photos, or the generator is another; or as ``planned``.
        """
        source, dest = path_of(str(source)), path_of(str(dest))
        if choice == "groups" and self.path != SHIPPED:
            raise DataError("classes: groups are for the generator that comes with the package; leave generator= out")
        before = None if choice == "read" or self.path != SHIPPED else begun(dest)
        if choice == "read" or self.path != SHIPPED or (choice == "auto" and before and not before.groups):
            return self
        if before and before.groups:
            try:
                centres: Tensor | None = centres_of_text(before.groups)
            except ValueError as error:
                raise DataError(f"{printable(dest)}: damaged manifest ({error}); choose another folder") from error
        else:
            centres = group_centres(source, (f.source for f in planned(source, dest, "png") if f.target), self.size)
        if centres is None:
            if choice == "groups":
                raise DataError(f"classes: {printable(source)} has too few photos for groups; leave classes=groups out")
            return self
        other = Protector(*shipped_generator(self.card.epsilon, centres), SHIPPED, self.visible)
        other.groups = centres_to_text(centres)
        return other

    def codes(self, classes: ClassFolders) -> str:
        """Where the photos' codes come from, in words."""
        return classes.sentence(len(self.card.class_names) if self.groups else 0) + SAID[self.visible]

    def _labels(self, sources: Sequence[str], classes: ClassFolders) -> list[int | None]:
        """The numbers of the classes of photos, by their paths below the owner's folder."""
        names = classes.names if self.path == SHIPPED else self.card.class_names
        numbers = {name: number for number, name in enumerate(names)}
        return [None if (name := classes.of(source)) is None else numbers[name] for source in sources]

    def _in_colour(self, photo: Photo) -> Photo:
        """The photo as it can get the generator's noise: the first build's gives gray ones colours."""
        return photo.in_colour() if self.card.channels == 3 and not self.generator.keeps_gray else photo

    @cached_property
    def batch(self) -> int:
        """Small photos that are read at a time: 1 on a machine where they would not be read independently."""
        return BATCH if independent(self.generator, self.card.channels, self.size) else 1

    def _one(self, photo: Photo) -> PendingNoise:
        [noised] = self.protect_photos([photo])
        if isinstance(noised, BadImage):
            raise noised
        return noised

    def _tensors(self, images: Tensor) -> Tensor:
        photos = [Photo(image.permute(1, 2, 0).contiguous().numpy().copy()) for image in images.cpu()]
        after = []
        for noised in self.protect_photos(photos):
            assert isinstance(noised, PendingNoise)  # 8 bits are never refused
            noised.add()
            after.append(torch.from_numpy(noised.photo.pixels).permute(2, 0, 1).contiguous())
        return torch.stack(after)

    def inspect(self, path: Path) -> Inspection:
        """One photo before and after.

        Raises:
            DataError: it cannot be read.
        """
        try:
            data = path.read_bytes()
            before = read_photo(data)
            before = self._in_colour(before)
            noised = self._one(read_photo(data))
            change = noised.add()
        except OSError as error:
            raise DataError(f"image: {printable(path)} cannot be read ({error.strerror}); give a photo") from error
        except BadImage as error:
            raise DataError(f"image: {printable(path)}: {error}") from error
        shares = noised.code.float().softmax(1)[0]
        best = int(shares.argmax())
        return Inspection(before, noised.photo, change, self.card.class_names[best], shares[best].item())

    def export_onnx(self, path: str | Path) -> None:
        """Writes the generator for images of the size that it was trained on, as ONNX.

        Input ``images``: float32 N×C×H×W in [0, 1]. Outputs: ``code``, float32 N×K, and ``noise``, float32 N×C×H×W in
        [-ε, ε]; rounding to whole grey levels, adding and clipping are the caller's (``gan.protection.quantise``).

        Raises:
            DataError: the packages of the extra ``onnx`` are not there.
            OSError: the file cannot be written.
        """
        try:
            import onnx  # noqa: F401 - torch's exporter needs both, and says so in a page of text
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise DataError(f"ONNX needs {error.name}: pip install 'confoundergan[onnx]'") from error
        assert isinstance(self.generator, AnyGenerator)
        two = torch.zeros(2, self.card.channels, *self.size)  # of one image the number would be taken for fixed
        program = torch.onnx.export(
            _WithCode(self.generator).eval(), (two,), input_names=["images"], output_names=["code", "noise"],
            dynamic_shapes={"images": {0: torch.export.Dim("n")}}, dynamo=True, verbose=False,
        )  # fmt: skip
        assert program is not None
        write_atomic(path_of(str(path)), program.model_proto.SerializeToString())

    def header(
        self, output: Output, strip: Strip, quality: int = 0, classes: ClassFolders = NO_FOLDERS
    ) -> ManifestHeader:
        """The first line of a folder's manifest."""
        card, quality = self.card, quality if output == "jpeg" else 0
        decided = (self.checkpoint, card.epsilon, card.seed, card.data, output, strip, quality)
        return ManifestHeader(card.method, *decided, classes.names, classes.level, self.groups, self.visible)

    def protect_folder(
        self,
        source: str | Path,
        dest: str | Path,
        format: Output = "png",
        strip: Strip = "none",
        workers: int = 0,
        progress: Callable[[Summary], None] = lambda summary: None,
        quality: int = 95,
        shard: tuple[int, int] = (1, 1),
        classes: ClassFolders | ClassChoice = "auto",
        shown: int = SHOWN,
    ) -> Summary:
        """Protects all photos of a folder into another; resumes where a killed call stopped (docs/PROTECT.md).

        Args:
            source: is only read.
            dest: made if absent; outside of ``source``.
            format: ``png`` or ``webp``, both without loss, or ``jpeg``.
            strip: ``gps`` or ``all`` leaves out of EXIF and XMP where photos were taken, or all.
            workers: threads; 0: one per core.
            progress: called after every photo.
            quality: the lowest of a JPEG; it is raised where the bound asks for it.
            shard: (i, n): the i-th of n equal shares alone; the call that ends last joins them.
            classes: where the codes come from: what ``class_folders`` gave, or what it is to choose.
            shown: photos that the report shows unprotected beside their copies; nobody but the owner can read it then.

        Raises:
            DataError: the folders are refused; the message says why.
            OSError: the disk is full; the same call resumes it later.
        """
        source, dest = path_of(str(source)), path_of(str(dest))
        if isinstance(classes, str):
            found = self.class_folders(source, dest, classes)
            protector = self if found.names else self.grouped(source, dest, classes)
            return protector.protect_folder(
                source, dest, format, strip, workers, progress, quality, shard, found, shown
            )

        def protect(photos: Sequence[Photo], sources: Sequence[str]) -> list[PendingNoise | BadImage]:
            return self.protect_photos(photos, self._labels(sources, classes))

        # the one that ships was trained on no classes: those of its card are how it reads photos
        card = replace(self.card, class_names=[]) if self.path == SHIPPED else self.card

        def report(manifest: Path, summary: Summary) -> None:
            text = page(manifest, dest, source, summary, card, self.evidence(classes), self.codes(classes), shown)
            write_atomic(dest / REPORT, text.encode(), summary.mode & (0o600 if shown else 0o666) | 0o400)

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums are then the same on any number of cores; the photos are what runs side by side
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # damaged EXIF, large pictures: what matters is raised
                assert self.batch  # looked at before there are threads
                return write_folder(
                    source, dest, self.header(format, strip, quality, classes), protect,
                    workers or os.cpu_count() or 1, progress, report, shard,
                )  # fmt: skip
        finally:
            torch.set_num_threads(threads)

    def evidence(self, classes: ClassFolders) -> Evidence:
        """What was measured of the generator, with codes from where they come here."""
        return read_evidence(self.path, "folders" if classes.names else "groups" if self.groups else "read")


def find_generator(text: str) -> Path:
    """A generator's file.

    Args:
        text: a .safetensors, a run's folder (of several seeds the first one's), or nothing for the one that ships (a
            run that happens to be at hand was trained on other pictures than the photos, as a rule).

    Raises:
        GeneratorFileError: there is none.
    """
    if not text:
        return SHIPPED
    folder = path_of(text)
    if folder.suffix == ".safetensors":
        return folder
    seeds = sorted(folder.glob(f"seed-*/{GENERATOR}"), key=lambda path: (len(path.parent.name), path.parent.name))
    found = [path for path in (folder / GENERATOR, *seeds) if path.is_file()]
    if not found:
        raise GeneratorFileError(
            f"generator: {printable(folder)} holds no {GENERATOR}; give a run that 'train' made with method="
            f"{' or '.join(TRANSFERABLE)}"
        )
    return found[0]


def amplified(before: Photo, after: Photo, epsilon: float, side: int = 512) -> Image.Image:
    """Before, after and noise beside each other at true pixels, of the middle of a photo where it is large.

    The noise fills black to white at ±ε; reducing the picture would take it away.
    """
    height, width = before.pixels.shape[:2]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    shown = (before.eight(), after.eight(before.display))
    parts = [pixels[top : top + side, left : left + side].astype(np.float64) for pixels in shown]
    parts.append(127.5 + (parts[1] - parts[0]) * (127.5 / epsilon))
    cells = [np.broadcast_to(part.round().clip(0, 255).astype(np.uint8), (*part.shape[:2], 3)) for part in parts]
    gap = np.full((cells[0].shape[0], 4, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([cells[0], gap, cells[1], gap, cells[2]], 1))
