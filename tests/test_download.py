"""Downloads from a server on this machine that misbehaves in every way that the module promises to bear."""

import hashlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from datamodules import download
from datamodules.config import DataError
from datamodules.download import RemoteFile, ensure, hash_file, instructions

ROOT = Path(__file__).parents[1]
BODY = bytes(range(256)) * 2048  # 512 KiB


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Remote:
    """What the server does, and what it was asked."""

    url: str = ""
    body: bytes = BODY
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    ranges: bool = True  # honours Range
    shift: int = 0  # answers a Range from so many bytes further on
    length: bool = True  # tells Content-Length
    codes: list[int] = field(default_factory=list)  # answers of the first requests
    cuts: list[int] = field(default_factory=list)  # bytes after which the next bodies are cut off
    stall: threading.Event | None = None  # awaited where a body is cut
    delay: float = 0  # seconds before each answer
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of each request
    sent: list[int] = field(default_factory=list)  # bytes of each body

    def file(self, name: str = "a.bin", digest: str | None = None, size: int = 0) -> RemoteFile:
        return RemoteFile(name, f"{self.url}/{name}", sha256(self.body) if digest is None else digest, size)


@pytest.fixture
def remote() -> Iterator[Remote]:
    state = Remote()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(dict(self.headers.items()))
            time.sleep(state.delay)
            start, total, code = 0, len(state.body), state.codes.pop(0) if state.codes else 200
            wanted = self.headers.get("Range")
            unchanged = self.headers.get("If-Range") in (None, *state.headers.values())
            span = ""
            if code == 200 and wanted and state.ranges and unchanged:
                start = int(wanted.removeprefix("bytes=").removesuffix("-")) + state.shift
                code, span = (206, f"bytes {start}-{total - 1}/{total}") if start < total else (416, f"bytes */{total}")
            body = state.body[start:] if code in (200, 206) else b""
            cut = state.cuts.pop(0) if body and state.cuts else len(body)
            state.sent.append(len(body[:cut]))
            self.send_response(code)
            for name, value in state.headers.items():
                self.send_header(name, value)
            if span:
                self.send_header("Content-Range", span)
            if state.length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut])
            if cut < len(body) and state.stall:
                self.wfile.flush()
                state.stall.wait(10)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield state
        if state.stall:
            state.stall.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between attempts, which are left out."""
    waited: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def fetch(file: RemoteFile, root: Path) -> Path:
    (path,) = ensure([file], root, True, "Set")
    return path


def refused(file: RemoteFile, root: Path) -> str:
    """The message of one line with which the file is refused."""
    with pytest.raises(DataError) as caught:
        fetch(file, root)
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)
    return str(caught.value)


def python(code: str, *files: RemoteFile, root: Path) -> subprocess.Popen[str]:
    """A process that runs ``code`` with ``files`` and ``root`` at hand."""
    head = (
        "import sys, json; from pathlib import Path; from datamodules import download; "
        "from datamodules.download import RemoteFile, ensure\n"
        "root, files = Path(sys.argv[1]), [RemoteFile(**f) for f in json.loads(sys.argv[2])]\n"
    )
    arguments = [sys.executable, "-c", head + code, str(root), json.dumps([asdict(f) for f in files])]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_neither_module_imports_torch() -> None:
    code = "import sys, datamodules.download, datamodules.archive; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_files_are_fetched_into_sub_folders_and_no_trace_of_the_way_is_left(remote: Remote, tmp_path: Path) -> None:
    files = [remote.file("a.bin", size=len(BODY)), remote.file("deep/b.bin", f"md5:{hashlib.md5(BODY).hexdigest()}")]
    paths = ensure(files, tmp_path / "new" / "place", True, "Set")
    assert paths == [tmp_path / "new/place/a.bin", tmp_path / "new/place/deep/b.bin"]
    assert [p.read_bytes() for p in paths] == [BODY, BODY]
    assert not list(tmp_path.rglob("*.part*"))
    ensure(files, tmp_path / "new" / "place", False, "Set")
    assert len(remote.asked) == 2


def test_hash_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(BODY)
    for algorithm in ("md5", "sha256"):
        assert hash_file(tmp_path / "f", algorithm) == hashlib.new(algorithm, BODY).hexdigest()


def test_a_body_cut_off_is_gone_on_with(remote: Remote, tmp_path: Path) -> None:
    remote.cuts = [200_000, 100_000]
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert remote.sent == [200_000, 100_000, len(BODY) - 300_000]
    assert [h.get("Range") for h in remote.asked] == [None, "bytes=200000-", "bytes=300000-"]
    assert [h.get("If-Range") for h in remote.asked] == [None, '"one"', '"one"']
    assert {h["Accept-Encoding"] for h in remote.asked} == {"identity"}


def test_a_body_without_length_is_held_against_the_known_size(remote: Remote, tmp_path: Path) -> None:
    remote.length, remote.cuts = False, [200_000]
    assert fetch(remote.file(size=len(BODY)), tmp_path).read_bytes() == BODY
    assert remote.sent == [200_000, len(BODY) - 200_000]


def test_many_cuts_are_borne_as_long_as_bytes_arrive(remote: Remote, tmp_path: Path) -> None:
    remote.cuts = [50_000] * 8
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY


def test_cuts_without_a_further_byte_are_not(remote: Remote, tmp_path: Path) -> None:
    remote.cuts = [1000, *[0] * 99]
    message = refused(remote.file(), tmp_path)
    assert "failed 5 times in a row" in message
    assert "run again to resume from 1,000 bytes" in message
    assert len(remote.asked) == 5
    remote.cuts, remote.sent = [], []
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert remote.sent == [len(BODY) - 1000]


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_busy_server_is_asked_again_after_growing_waits(
    remote: Remote, tmp_path: Path, waits: list[float], code: int
) -> None:
    remote.codes = [code] * 3
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert waits == [1, 2, 4]
    remote.codes = [code] * 9
    assert f"lastly: answered {code}" in refused(remote.file("b.bin"), tmp_path)
    assert len(remote.asked) == 4 + 5


def test_a_refusal_is_not_repeated(remote: Remote, tmp_path: Path) -> None:
    remote.codes = [404]
    message = refused(remote.file(), tmp_path)
    assert message.startswith(f"{tmp_path}/a.bin: {remote.url}/a.bin answered 404 Not Found, expected 200; ")
    assert len(remote.asked) == 1


def test_a_silent_server_is_left_and_resumed(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (1, 0.2))
    remote.cuts, remote.stall = [2 * download.CHUNK], threading.Event()
    start = time.monotonic()
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert remote.sent == [2 * download.CHUNK, len(BODY) - 2 * download.CHUNK]
    assert time.monotonic() - start < 5  # the server would be silent for 10


def test_a_server_without_ranges_sends_all_again(remote: Remote, tmp_path: Path) -> None:
    remote.ranges, remote.cuts = False, [200_000]
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert remote.sent == [200_000, len(BODY)]


def test_a_server_without_ranges_that_always_cuts_is_left(remote: Remote, tmp_path: Path) -> None:
    remote.ranges, remote.cuts = False, [200_000] * 99
    assert "failed 5 times in a row, lastly: " in refused(remote.file(), tmp_path)
    remote.cuts = [100_000, 200_000] * 9  # now less than before, now more, but nothing further
    assert "failed 5 times in a row, lastly: " in refused(remote.file(), tmp_path)
    assert len(remote.asked) == 5 + 5


def test_a_wrong_range_starts_anew(remote: Remote, tmp_path: Path) -> None:
    remote.shift, remote.cuts = 10, [200_000]
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert [h.get("Range") for h in remote.asked] == [None, "bytes=200000-", None]


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_a_remote_file_changed_in_between_starts_anew(remote: Remote, tmp_path: Path, header: str) -> None:
    remote.headers, remote.cuts = {header: "one"}, [1000, *[0] * 9]
    refused(remote.file(digest=""), tmp_path)
    remote.headers, remote.cuts, remote.body = {header: "two"}, [], b"new" * 1000
    assert fetch(remote.file(digest=""), tmp_path).read_bytes() == remote.body
    assert remote.asked[-1]["If-Range"] == "one"


def test_a_weak_etag_vouches_for_nothing(remote: Remote, tmp_path: Path) -> None:
    remote.headers, remote.cuts = {"ETag": 'W/"one"', "Last-Modified": "then"}, [1000]
    fetch(remote.file(), tmp_path)
    assert remote.asked[-1]["If-Range"] == "then"


def test_a_part_of_unknown_version_is_gone_on_with_only_if_a_digest_tells(remote: Remote, tmp_path: Path) -> None:
    remote.headers = {}
    for name, digest, sent in (("a", None, len(BODY) - 1000), ("b", "", len(BODY))):
        (tmp_path / f"{name}.part").write_bytes(BODY[:1000])
        assert fetch(remote.file(name, digest), tmp_path).read_bytes() == BODY
        assert remote.sent[-1] == sent


def test_the_version_of_another_address_is_not_held_against_this_one(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    (tmp_path / "a.bin.part.json").write_text(json.dumps({"http://elsewhere/a.bin": '"one"'}))
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert "If-Range" not in remote.asked[0]


def test_a_whole_part_is_not_fetched_again(remote: Remote, tmp_path: Path) -> None:
    for name in ("known", "unknown"):
        (tmp_path / f"{name}.part").write_bytes(BODY)
    fetch(remote.file("known", size=len(BODY)), tmp_path)
    assert remote.asked == []
    fetch(remote.file("unknown"), tmp_path)  # asked, and answered 416
    assert remote.sent == [0]


@pytest.mark.parametrize("size", [0, len(BODY)])
def test_a_part_that_is_too_long_starts_anew(remote: Remote, tmp_path: Path, size: int) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY + b"!")
    assert fetch(remote.file(size=size), tmp_path).read_bytes() == BODY


def test_a_packed_file_is_stored_as_it_is(remote: Remote, tmp_path: Path) -> None:
    import gzip

    remote.body, remote.headers = gzip.compress(b"tar"), {"Content-Encoding": "gzip"}
    assert fetch(remote.file(), tmp_path).read_bytes() == remote.body


def test_wrong_content_is_never_given_the_name(remote: Remote, tmp_path: Path) -> None:
    file = remote.file()
    remote.body = BODY[::-1]
    message = refused(file, tmp_path)
    assert f"expected {file.digest}, found {sha256(remote.body)}; it was deleted: run again" in message
    assert [p.name for p in tmp_path.iterdir() if p.name != ".download.lock"] == []
    remote.body = BODY
    assert fetch(file, tmp_path).read_bytes() == BODY


def test_wrong_size_is_refused_before_and_after_the_transfer(remote: Remote, tmp_path: Path) -> None:
    assert "offers 524,288 bytes, expected 7; look" in refused(remote.file(size=7), tmp_path)
    assert remote.asked
    assert not (tmp_path / "a.bin.part").exists()
    remote.length = False
    assert "expected 7 bytes, found 524,288; it was deleted" in refused(remote.file(digest="", size=7), tmp_path)


def test_a_file_put_there_is_checked_and_never_deleted(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    for file, fault in (
        (remote.file(), f"expected {remote.file().digest}, found {sha256(b'mine')}"),
        (remote.file(size=5), "expected 5 bytes, found 4"),
        (remote.file(digest="", size=5), "expected 5 bytes, found 4"),
    ):
        assert refused(file, tmp_path) == (
            f"{tmp_path}/a.bin: {fault}; delete it to have it fetched again, or put the right file there"
        )
        assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert remote.asked == []
    fetch(remote.file(digest=""), tmp_path)
    fetch(remote.file(digest="", size=4), tmp_path)


def test_a_folder_in_place_of_the_file(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    assert "expected a file, found a folder" in refused(remote.file(), tmp_path)


@pytest.mark.parametrize("downloaded", [True, False])
def test_a_file_is_hashed_once_until_it_changes(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, downloaded: bool
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(
        download, "hash_file", lambda p, a: hashed.append(p) or hashlib.new(a, p.read_bytes()).hexdigest()
    )
    path, file = tmp_path / "a.bin", remote.file()
    if not downloaded:
        path.write_bytes(BODY)
    for _ in range(3):
        fetch(file, tmp_path)
    assert len(hashed) == 1
    stamp = json.loads((tmp_path / ".a.bin.verified").read_text())
    assert stamp == {"digest": file.digest, "size": len(BODY), "mtime_ns": path.stat().st_mtime_ns}
    os.utime(path, ns=(1, 1))
    fetch(file, tmp_path)
    assert len(hashed) == 2
    (tmp_path / ".a.bin.verified").write_text("torn {")
    fetch(file, tmp_path)
    assert len(hashed) == 3
    assert "found sha256" in refused(remote.file(digest="sha256:00"), tmp_path)  # the stamp is of another digest
    path.write_bytes(BODY + b"!")
    os.utime(path, ns=(1, 1))
    refused(file, tmp_path)


def test_a_folder_that_cannot_be_written_may_hold_the_files(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(BODY)
    (tmp_path / ".a.bin.verified").mkdir()  # hence no stamp, also for root, whom permissions do not stop
    fetch(remote.file(), tmp_path)
    assert not (tmp_path / ".download.lock").exists()


def test_a_folder_that_cannot_be_made_is_named(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    message = refused(remote.file(), tmp_path / "taken")
    assert message == f"{tmp_path}/taken: cannot be written (File exists); choose another data.root"


def test_a_file_that_cannot_be_read_is_named(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(download, "hash_file", fail)
    (tmp_path / "a.bin").write_bytes(BODY)
    assert f"{tmp_path}/a.bin: cannot be read (Input/output error); check" in refused(remote.file(), tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").symlink_to("/dev/full")
    message = refused(remote.file(), tmp_path)
    assert f"{tmp_path}/a.bin: cannot be written (No space left on device); free some space or choose" in message
    assert len(remote.asked) == 1


def test_a_disk_that_is_too_small_is_named_before_the_transfer(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=len(BODY) - 1001))
    (tmp_path / "a.bin.part").write_bytes(BODY[:1000])
    assert "(523,288 bytes are to come, 523,287 are free)" in refused(remote.file(), tmp_path)
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:1000]
    (tmp_path / "a.bin.part").write_bytes(BODY[:1001])
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY


@pytest.fixture
def shop(remote: Remote) -> list[RemoteFile]:
    """A file in place, one with an address, one without; names that a shell would split."""
    return [
        remote.file("have.bin"),
        RemoteFile("two words.tar", f"{remote.url}/t", "md5:0123", 1_234_567),
        RemoteFile("sub/closed.zip", "", "sha256:4567"),
        RemoteFile("bare.zip", "", ""),
    ]


def listed(files: list[RemoteFile], root: Path, download: bool) -> str:
    with pytest.raises(DataError) as caught:
        ensure(files, root, download, "Set", "http://terms")
    return str(caught.value)


def test_all_missing_files_are_listed_at_once(remote: Remote, shop: list[RemoteFile], tmp_path: Path) -> None:
    (tmp_path / "have.bin").write_bytes(BODY)
    message = listed(shop, tmp_path, False)
    assert message.splitlines() == [
        f"Set: 3 of 4 files are missing in {tmp_path}: downloading is off",
        f"Set: put these files into {tmp_path} (terms: http://terms)",
        "  two words.tar (1,234,567 bytes)",
        f"    from:  {remote.url}/t",
        f"    check: md5sum {shlex.quote(f'{tmp_path}/two words.tar')}  # must print 0123",
        "  sub/closed.zip",
        "    from:  http://terms",
        f"    check: sha256sum {tmp_path}/sub/closed.zip  # must print 4567",
        "  bare.zip",
        "    from:  http://terms",
        "Then run the same command again.",
    ]
    assert message.endswith(instructions(shop[1:], tmp_path, "Set", "http://terms"))
    assert "data.download=true fetches them" in listed(shop[:2], tmp_path, False)
    # nothing is fetched that would have to wait for a file without address
    assert "not all of them may be fetched automatically" in listed(shop, tmp_path, True)
    assert remote.asked == []


def test_an_address_is_not_made_up() -> None:
    text = instructions([RemoteFile("a", "", "")], Path("r"), "Set", "")
    assert "from:  the source; it has no public address" in text
    assert "terms" not in text
    assert "check" not in text


def test_an_unreachable_server_is_asked_for_one_file_only(
    remote: Remote, closed: str, tmp_path: Path, waits: list[float]
) -> None:
    files = [remote.file("a.bin"), *(RemoteFile(n, f"{closed}/{n}", "", 5) for n in ("b.bin", "c.bin", "d.bin"))]
    message = listed(files, tmp_path, True)
    host = closed.removeprefix("http://")
    assert message.startswith(f"Set: 3 of 4 files are missing in {tmp_path}: {host} cannot be reached ([Errno 111] ")
    assert [name in message for name in ("a.bin", "b.bin", "c.bin", "d.bin")] == [False, True, True, True]
    assert len(waits) == download.ATTEMPTS - 1


def test_an_unknown_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    message = listed(
        [RemoteFile("a", "http://me:secret@nowhere/a", ""), RemoteFile("b", "http://nowhere/b", "")], tmp_path, True
    )
    head = message.splitlines()[0]
    assert head.endswith("nowhere cannot be reached ([Errno -2] Name or service not known)")
    assert "secret" not in head
    assert "  b" in message.splitlines()


def test_processes_at_the_same_time_fetch_once(remote: Remote, tmp_path: Path) -> None:
    remote.delay = 0.5
    files = [remote.file("a.bin"), remote.file("b.bin")]
    both = [python("print(len(ensure(files, root, True, 'Set')))", *files, root=tmp_path) for _ in range(2)]
    assert [process.communicate(timeout=20)[0] for process in both] == ["2\n", "2\n"]
    assert len(remote.asked) == 2


def test_after_a_kill_only_the_rest_is_transferred(remote: Remote, tmp_path: Path) -> None:
    remote.cuts, remote.stall = [4 * download.CHUNK], threading.Event()
    part = tmp_path / "a.bin.part"
    process = python("ensure(files, root, True, 'Set')", remote.file(), root=tmp_path)
    wait_for(lambda: part.exists() and part.stat().st_size == 4 * download.CHUNK)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    assert not (tmp_path / "a.bin").exists()
    assert fetch(remote.file(), tmp_path).read_bytes() == BODY
    assert remote.sent == [4 * download.CHUNK, len(BODY) - 4 * download.CHUNK]


@pytest.mark.parametrize("quiet", ["", "1"])
def test_progress_is_shown_unless_quiet(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], quiet: str
) -> None:
    monkeypatch.setenv("CONFOUNDERGAN_QUIET", quiet)
    monkeypatch.setenv("COLUMNS", "120")
    fetch(remote.file(), tmp_path)
    shown = "".join(capfd.readouterr())
    assert ("a.bin" in shown and "524.3/524.3 kB" in shown and "B/s" in shown) == (not quiet)
    assert bool(shown) == (not quiet)
