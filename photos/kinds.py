"""What a file is, told from its first bytes: names and suffixes may be missing or wrong, contents are not."""

import fnmatch
import re

from datamodules.decode import SUFFIXES
from photos.dicom import is_dicom, is_dicomdir

HEAD = 1024  # bytes that are looked at; a DICOM directory says what it is within them
READ = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "HEIC", "JPEG XL", "DICOM")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# what ends a photo's name, so that its copy's name has the suffix of the copy instead
PHOTO_SUFFIXES = (*SUFFIXES, ".jfif", ".jif", ".heic", ".heif", ".hif", ".avif", ".jxl", *DICOM_SUFFIXES)
RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
UNREAD_SUFFIXES = (".jp2", ".psd", ".svg", *RAW_SUFFIXES)
RAW = "camera raw"
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"8BPS\0", "Photoshop"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIU\0", RAW),
    (b"IIRO", RAW),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"),
    RAW: (b"crx ",),
}
# what operating systems and file servers leave in folders
_LITTER = (
    ".DS_Store", "._*", "Icon\r", ".Spotlight-V100", ".Trashes", ".fseventsd", ".TemporaryItems", ".AppleDouble",
    ".DocumentRevisions-V100", ".apdisk", "__MACOSX", "Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "$RECYCLE.BIN", "System Volume Information", "@eaDir", ".@__thumb", "#recycle", ".directory", ".Trash-*",
    "lost+found", ".nfs[0-9a-f]*", ".fuse_hidden*", ".picasa.ini", "Picasa.ini",
)  # fmt: skip
_is_litter = re.compile("|".join(fnmatch.translate(pattern.lower()) for pattern in _LITTER)).match


def kind_of(head: bytes, suffix: str = "") -> str:
    """The kind of a picture file, such as ``JPEG``, ``HEIC`` or ``DICOM``; empty for what is none.

    Args:
        head: the first ``HEAD`` bytes, or more.
        suffix: of its name, in lower case: cameras' raw files are TIFFs by their content.
    """
    if is_dicom(head):
        return "" if is_dicomdir(head) else "DICOM"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            raw = kind == "TIFF" and (suffix in RAW_SUFFIXES or head[8:10] == b"CR")
            return RAW if raw else kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _brand(head)
    if re.match(rb"P[1-6][\s#]\s*[\d#]", head):
        return "PPM"
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADERS:
        return "BMP"
    return ""


_BMP_HEADERS = [size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)]


def _brand(head: bytes) -> str:
    """Of a file of the ISO base media format; videos are none."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    for brand in brands:
        for kind, known in _BRANDS.items():
            if brand in known:
                return kind
    return ""


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is an operating system's own."""
    return bool(_is_litter(name.lower()))
