"""Files of a public source: fetched once, resumed after a cut, checked, and never deleted where the user put them.

::

    <root>/<name>               the file; has its name only when it is whole and checked
    <root>/.<name>.verified     digest, size and time of the last check; spares hashing it at the next start
    <root>/<name>.part          what has arrived of an unfinished download
    <root>/<name>.part.json     the version of the remote file that the part belongs to
    <root>/.download.lock       one process fetches, the others wait
"""

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from datamodules.config import DataError

ATTEMPTS = 5  # in a row without a further byte; after that a download is given up
BACKOFF = 1.0  # seconds before the second attempt, doubled before each further one
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
CHUNK = 1 << 16
_BY_HAND = "look for the file at the source and put it there by hand"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a source.

    Attributes:
        name: file name under the data set's folder (data.root), may be in a sub-folder.
        url: http or https; "" where it may not be fetched automatically.
        digest: ``md5:…`` or ``sha256:…`` in lower case; "" if the source publishes none.
        size: bytes; 0 unknown.
    """

    name: str
    url: str
    digest: str
    size: int = 0


class _Unfinished(Exception):
    """An attempt failed, and another may succeed."""


def ensure(files: Sequence[RemoteFile], root: Path, download: bool, title: str, terms: str = "") -> list[Path]:
    """The files on disk, present and checked; absent ones are fetched if that is allowed.

    A root that holds everything may be read-only. Nothing is fetched while any absent file has no address, so that the
    user learns of it before a long download and not after.

    Args:
        files: of one source.
        root: folder of the data set; made if something is fetched.
        download: whether absent files may be fetched.
        title: of the data set, for messages.
        terms: address of the page with the source's terms, shown where files are to be fetched by hand.

    Returns:
        One path for each of ``files``, in their order.

    Raises:
        DataError: a file is wrong or cannot be had; where files are absent, the message lists all of them.
    """
    missing = [file for file in files if not _present(file, root)]

    def absent(reason: str) -> DataError:
        rest = [file for file in missing if not (root / file.name).exists()]
        head = f"{title}: {len(rest)} of {len(files)} files are missing in {root}: {reason}"
        return DataError(f"{head}\n{instructions(rest, root, title, terms)}")

    if missing and not download:
        hint = "; data.download=true fetches them" if all(file.url for file in missing) else ""
        raise absent(f"downloading is off{hint}")
    if not all(file.url for file in missing):
        raise absent("not all of them may be fetched automatically")
    if missing:
        with _named(root, "written", "choose another data.root"):
            root.mkdir(parents=True, exist_ok=True)
            with FileLock(root / ".download.lock"):
                for file in missing:
                    if not _present(file, root):  # another process may have fetched it while this one waited
                        try:
                            _fetch(file, root / file.name)
                        except requests.ConnectionError as error:
                            host = urlsplit(file.url).netloc.rpartition("@")[2]
                            raise absent(f"{host} cannot be reached ({_first_cause(error)})") from error
    return [root / file.name for file in files]


def instructions(files: Sequence[RemoteFile], root: Path, title: str, terms: str = "") -> str:
    """How to get files by hand: for each its source, size, place and the command that checks it; several lines."""
    lines = [f"{title}: put these files into {root}" + (f" (terms: {terms})" if terms else "")]
    for file in files:
        lines.append(f"  {file.name}" + (f" ({file.size:,} bytes)" if file.size else ""))
        lines.append(f"    from:  {file.url or terms or 'the source; it has no public address'}")
        if file.digest:
            algorithm, _, value = file.digest.partition(":")
            lines.append(f"    check: {algorithm}sum {shlex.quote(str(root / file.name))}  # must print {value}")
    return "\n".join([*lines, "Then run the same command again."])


def hash_file(path: Path, algorithm: str) -> str:
    """Hexadecimal digest of a file, read piece by piece; ``algorithm`` as hashlib names it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


@contextmanager
def _named(path: Path, done: str, remedy: str) -> Iterator[None]:
    """Turns the system's errors into a DataError that names the file."""
    try:
        yield
    except requests.RequestException:  # an OSError too
        raise
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        raise DataError(f"{path}: cannot be {done} ({getattr(error, 'strerror', None) or error}); {remedy}") from error


def _first_cause(error: BaseException) -> BaseException:
    while error.__context__:
        error = error.__context__
    return error


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _json(path: Path) -> object:
    """What a small file says; None if it is absent or torn."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return None


def _present(file: RemoteFile, root: Path) -> bool:
    """Whether the file is there.

    Raises:
        DataError: it is there, but is not what the source publishes.
    """
    path = root / file.name
    with _named(path, "read", "check its permissions and the disk"):
        if not path.exists():
            return False
        fault = _fault(file, path, path)
    if fault:
        raise DataError(f"{path}: {fault}; delete it to have it fetched again, or put the right file there")
    return True


def _fault(file: RemoteFile, held: Path, final: Path) -> str:
    """Why ``held`` is not the file, "" if it is; then the stamp of ``final`` says so."""
    if not held.is_file():
        return "expected a file, found a folder"
    facts = {"digest": file.digest, "size": held.stat().st_size, "mtime_ns": held.stat().st_mtime_ns}
    if file.size and facts["size"] != file.size:
        return f"expected {file.size:,} bytes, found {facts['size']:,}"
    stamp = final.with_name(f".{final.name}.verified")
    if not file.digest or _json(stamp) == facts:
        return ""
    algorithm = file.digest.partition(":")[0]
    found = f"{algorithm}:{hash_file(held, algorithm)}"
    if found != file.digest:
        return f"expected {file.digest}, found {found}"
    with suppress(OSError):  # a read-only folder: the file is good all the same, and is hashed at each start
        stamp.write_text(json.dumps(facts))
    return ""


def _fetch(file: RemoteFile, path: Path) -> None:
    """Brings one file to its final name.

    Raises:
        DataError: the server refuses it or sends something else, or the disk does.
        requests.ConnectionError: the server cannot be reached.
    """
    part, note = (path.with_name(path.name + end) for end in (".part", ".part.json"))
    progress = Progress(
        TextColumn("{task.description:24}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        disable=bool(os.environ.get("CONFOUNDERGAN_QUIET")),
    )
    with _named(path, "written", "free some space or choose another data.root, then run again to resume from there"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with progress, requests.Session() as session:
            task = progress.add_task(file.name, total=file.size or None)
            failures, furthest = 0, _size(part)
            while True:
                try:
                    _receive(
                        session, file, part, note, lambda n, total: progress.update(task, completed=n, total=total)
                    )
                    break
                except (_Unfinished, requests.RequestException, urllib3.exceptions.HTTPError) as error:
                    failures = failures + 1 if _size(part) <= furthest else 1
                    furthest = max(furthest, _size(part))
                    if failures >= ATTEMPTS:
                        if isinstance(error, requests.ConnectionError):
                            raise
                        raise DataError(
                            f"{path}: {file.url} failed {failures} times in a row, lastly: {error}; run again to "
                            f"resume from {_size(part):,} bytes, or {_BY_HAND}"
                        ) from error
                time.sleep(BACKOFF * 2 ** (failures - 1))
        fault = _fault(file, part, path)
        note.unlink(missing_ok=True)
        if fault:
            part.unlink()
            raise DataError(
                f"{path}: {file.url} sent another file: {fault}; it was deleted: run again, and if that does not help, "
                f"the source has changed: {_BY_HAND}"
            )
        os.replace(part, path)  # keeps the time of change, hence the stamp holds for it


def _receive(
    session: requests.Session, file: RemoteFile, part: Path, note: Path, show: Callable[[int, int | None], None]
) -> None:
    """One request: what is still absent from the part, or all of it if the part cannot be resumed.

    Raises:
        _Unfinished, requests.RequestException, urllib3.exceptions.HTTPError: failed; another attempt may succeed.
        DataError: the server does not have the file.
    """
    known = _json(note)
    version = str(known.get(file.url, "")) if isinstance(known, dict) else ""
    have = _size(part)
    if file.size and have == file.size:
        return  # killed after the last byte, before the check
    if not (version or file.digest):
        have = 0  # without either nothing would tell that the rest belongs to another version
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", **({"If-Range": version} if version else {})}
    with session.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        status = answer.status_code
        span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if status == 200:
            have, total = 0, _number(answer.headers.get("Content-Length", ""))
        elif status == 206 and span and span[1] == str(have):
            total = _number(span[2])
        elif status == 416 and span and span[2] == str(have):
            return  # all of it is here
        elif status in (206, 416):
            part.unlink(missing_ok=True)
            raise _Unfinished("the server does not resume where the part ends")
        elif status >= 500 or status in (408, 429):
            raise _Unfinished(f"answered {status} {answer.reason}")
        else:
            raise DataError(
                f"{part.with_suffix('')}: {file.url} answered {status} {answer.reason}, expected 200; {_BY_HAND}"
            )
        total = total or file.size
        if file.size and total != file.size:
            raise DataError(
                f"{part.with_suffix('')}: {file.url} offers {total:,} bytes, expected {file.size:,}; {_BY_HAND}"
            )
        free = shutil.disk_usage(part.parent).free
        if total - have > free:
            raise OSError(errno.ENOSPC, f"{total - have:,} bytes are to come, {free:,} are free")
        with part.open("ab" if have else "wb") as out:
            if not have:  # after the part was emptied: a kill between the two must not leave a new note on an old part
                etag = answer.headers.get("ETag", "")
                strong = "" if etag.startswith("W/") else etag  # a weak one does not vouch for equal bytes
                note.write_text(json.dumps({file.url: strong or answer.headers.get("Last-Modified", "")}))
            # as sent: requests would unpack a .tar.gz that a server labels as packed
            for piece in answer.raw.stream(CHUNK, decode_content=False):
                have += out.write(piece)
                show(have, total or None)
    if have < total:
        raise _Unfinished(f"was cut off after {have:,} of {total:,} bytes")
