"""W&B: offline files read back, one id for one run, and nothing fails without package, key or network."""

import builtins
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL

from experiments import logs
from experiments.cli import main
from experiments.config import compose
from experiments.dashboard import unlogged
from experiments.logs import WandbRun, artifacts, log_end, make_loggers, wandb_mode
from experiments.panels import BEST, panel_metrics


def records(path: Path) -> Iterator[tuple[str, Any]]:
    """Kind and content of every record of a .wandb file: protocol buffers in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    raw, at, part = path.read_bytes(), 7, b""  # after the file's own header
    while at + 7 <= len(raw):
        if 32768 - at % 32768 < 7:  # the rest of a block, too short for a header
            at += 32768 - at % 32768
            continue
        size, kind = struct.unpack("<HB", raw[at + 4 : at + 7])  # after the checksum
        part += raw[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(part)
            name, part = record.WhichOneof("record_type"), b""
            yield name, getattr(record, name)


def named(items: Any) -> set[str]:
    """The names under which items are; what pictures and the like consist of is nested below theirs."""
    return {item.key or item.nested_key[0] for item in items}


def small_run(path: Path, folder: Path, *extra: str) -> int:
    return main(["train", "data=npz", f"data.path={path}", f"run_dir={folder}", *SMALL, *extra])


def test_offline_run_holds_curves_pictures_tables_and_summary(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    folder = tmp_path / "run"
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))
    options = (
        "logger=wandb",
        "tags=lab, night",
        "trainer.max_epochs=1",
        "trainer.profiler=simple",
        "victim.check_every=1",
        "victim.check_epochs=1",
    )
    assert small_run(tiny(), folder, *options) == 0
    shown = capsys.readouterr().out
    assert f"W&B is offline (no API key found); upload later with: wandb sync {folder / 'wandb'}/offline-run-*" in shown
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    identity = (folder / "wandb-id").read_text()
    assert len(runs) == 1
    found = list(records(next(runs[0].glob("*.wandb"))))

    (run,) = (content for kind, content in found if kind == "run")
    assert (run.run_id, run.run_group, run.job_type) == (identity, "run", "train")
    assert list(run.tags) == ["npz", "confoundergan", "eps8", "lab", "night"]
    history = set().union(*(named(content.item) for kind, content in found if kind == "history"))
    summary = set().union(*(named(content.update) for kind, content in found if kind == "summary"))
    assert set(panel_metrics()) <= history | summary
    assert {"pictures", "final", "results", "loss_g_gan_step", "victim/epoch"} <= history
    assert "cost/device_hours" in summary
    defined = {content.name: content for kind, content in found if kind == "metric"}
    for name, best in BEST.items():
        assert getattr(defined[name].summary, best), name
        assert not getattr(defined[name].summary, {"min": "max", "max": "min"}[best]), name
        assert name in history
    assert "gan" in set().union(*(named(content.update) for kind, content in found if kind == "config"))
    names = {p.name for p in runs[0].rglob("*") if p.is_file()}
    assert any(name.startswith("pictures") and name.endswith(".png") for name in names)
    assert any(name.startswith("final") and name.endswith(".png") for name in names)
    table = next(runs[0].rglob("results*.table.json"))
    assert "protected (standard)" in json.dumps(json.loads(table.read_text())["data"])

    assert "(simple profiler): profile/*-simple*.txt" in (folder / "summary.md").read_text()
    assert "run_training_batch" in next((folder / "profile").glob("*-simple*.txt")).read_text()
    assert (folder / "metrics.csv").exists()
    assert unlogged(folder) == []
    assert main(["dashboard", f"run={folder}"]) == 0
    count = len(panel_metrics())
    shown = capsys.readouterr().out
    assert f"logs {count} of the {count} metrics that panels show" in shown
    assert "no workspace was made: W&B is offline" in shown

    class Online:
        """What log_end asks of a run."""

        offline, id = False, identity

        def __init__(self) -> None:
            self.summary: dict[str, Any] = {}
            self.logged: list[Any] = []
            self.finished = False

        def log(self, content: dict[str, Any]) -> None:
            self.logged.append(content)

        def log_artifact(self, artifact: Any) -> None:
            self.logged.append(artifact)

        def finish(self) -> None:
            self.finished = True

    logger, online = WandbRun(offline=True), Online()
    logger._experiment = online  # type: ignore[assignment]
    log_end([logger], folder, json.loads((folder / "results.json").read_text()))
    generator, manifests = (a for a in online.logged if not isinstance(a, dict))
    assert (generator.type, manifests.type) == ("generator", "protected-manifest")
    assert set(generator.manifest.entries) == {"generator.safetensors", "generator.json"}
    assert set(manifests.manifest.entries) == {"standard/manifest.jsonl", "fast/manifest.jsonl"}
    assert online.finished
    assert [a.name for a in artifacts(folder, "x")] == ["generator-x", "protected-x"]

    assert main(["train", f"resume={folder}"]) == 0
    assert (folder / "wandb-id").read_text() == identity
    again = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(again) == 2
    assert all(run.name.endswith(identity) for run in again)


@pytest.mark.parametrize("case", ["refused", "down"])
def test_a_refused_key_or_a_network_that_is_down_leaves_the_run_offline(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb").teardown()  # which remembers the mode of runs before

    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(401)
            self.end_headers()
            self.wfile.write(b'{"errors": [{"message": "invalid API key"}]}')

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        if case == "refused":
            threading.Thread(target=server.serve_forever, daemon=True).start()
        else:
            server.server_close()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.setenv("WANDB_SILENT", "true")
        monkeypatch.setattr(logs, "INIT_SECONDS", 2.0)
        config, _ = compose(["logger=wandb"])
        _csv, logger = make_loggers(config, tmp_path, 0)
        if case == "refused":
            server.shutdown()
    assert isinstance(logger, WandbRun)
    run = logger.experiment
    assert run.offline
    assert run.id == (tmp_path / "wandb-id").read_text()
    run.log({"psnr_epoch": 30.0})
    run.finish()
    shown = capsys.readouterr().out
    assert "W&B is offline (online failed: " in shown
    assert re.search("401" if case == "refused" else "connection refused|deadline exceeded", shown)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


def test_without_the_package_metrics_go_to_csv(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "wandb":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert wandb_mode() == ("missing", "not installed")
    assert small_run(tiny(), tmp_path / "run", "logger=wandb", "trainer.max_epochs=1") == 0
    assert "the package wandb is not installed, so metrics go to metrics.csv alone" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.csv").exists()
    assert not (tmp_path / "run" / "wandb").exists()


def test_mode_follows_key_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert wandb_mode() == ("offline", "no API key found")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert wandb_mode()[0] == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode() == ("offline", "WANDB_MODE=offline")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode()[0] == "disabled"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password " + "x" * 40)
    (tmp_path / ".netrc").chmod(0o600)
    assert wandb_mode() == ("online", "a key is in ~/.netrc")
