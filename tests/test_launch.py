"""Processes of one run: who speaks, how they meet, what each does, and how they are started under SLURM."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from conftest import SMALL
from lightning.pytorch.plugins.environments import LightningEnvironment

from callbacks.stopping import WholeCheckpoints
from datamodules.batches import EpochBatches
from evaluation.jobs import SharedJobs, assign_jobs
from experiments.cli import main
from experiments.config import ConfigError, compose
from experiments.folder import RunError, check_code, code, create_run_dir, environment, is_main
from experiments.launch import explain_lost_processes, join_processes, started_by, wait_for_processes

SCRIPT = Path(__file__).parents[1] / "experiments" / "slurm" / "train.sbatch"
JOB = {
    "SLURM_JOB_ID": "41", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "2",
    "SLURM_NODELIST": "n[1-2]", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
}  # fmt: skip
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def started_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")) or name in ("NODE_RANK", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0", "NODE_RANK": "0"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, True),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_JOB_NAME": "interactive"}, True),
    ],
)
def test_one_process_of_all_machines_is_the_main_one(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    assert is_main() is expected


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        ({k: v for k, v in JOB.items() if k != "SLURM_NTASKS_PER_NODE"}, [], "SLURM: SLURM_NTASKS_PER_NODE not set; start with 'srun'"),
        ({"SLURM_NTASKS": "2"}, [], "SLURM: SLURM_JOB_ID, SLURM_NTASKS_PER_NODE, SLURM_NNODES, SLURM_NODELIST, SLURM_PROCID"),
        (JOB, ["trainer.devices=4"], "--ntasks-per-node=2 --nodes=2, but trainer.devices=4 and trainer.num_nodes=1; give trainer.devices=2 trainer.num_nodes=2"),
        (TORCHRUN, [], "torchrun started 2 processes on each of 1 machines, but trainer.devices=1 and trainer.num_nodes=1; give trainer.devices=2"),
        ({"MASTER_ADDR": "n1"}, ["trainer.num_nodes=2"], "trainer.num_nodes: is 2, but NODE_RANK, MASTER_PORT not set; start with torchrun"),
    ],
)  # fmt: skip
def test_a_launcher_that_does_not_fit_is_refused(
    variables: dict[str, str], options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_all(monkeypatch, variables)
    with pytest.raises(ConfigError) as caught:
        started_by(compose(options)[0].trainer)
    assert message in caught.value.faults[0]


def test_the_error_of_a_launcher_is_one_line_and_leaves_nothing(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    given = ["data=npz", f"data.path={tiny()}", f"run_dir={tmp_path / 'run'}", *SMALL]
    assert main(["train", *given]) == 2
    assert capsys.readouterr().err.startswith("error: SLURM: SLURM_JOB_ID")
    monkeypatch.delenv("SLURM_NTASKS")
    assert main(["train", *given, "trainer.devices=40"]) == 2
    assert capsys.readouterr().err == "error: data.batch_size: 16 is too small to share among 40 processes; raise it\n"
    assert not (tmp_path / "run").exists()


def test_what_runs_in_one_process_is_refused_in_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_all(monkeypatch, TORCHRUN)
    assert main(["evaluate", "run=runs/none"]) == 2
    assert capsys.readouterr().err == "error: evaluate: runs in one process; start it without torchrun or srun\n"


def test_slurm_is_lightnings_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, JOB)
    found = started_by(compose(["trainer.devices=2", "trainer.num_nodes=2"])[0].trainer)
    assert found is not None
    assert (found.global_rank(), found.world_size(), found.main_address) == (3, 4, "n1")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert started_by(compose([])[0].trainer) is None


class Place(LightningEnvironment):
    """Process 0 of 2 at a port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._main_port = port
        self.set_world_size(2)


def test_a_port_in_use_and_a_process_that_never_comes() -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.bind(("", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(
            RunError, match=f"MASTER_PORT: {port} is in use on 127.0.0.1; set MASTER_PORT to a free port"
        ):
            wait_for_processes(Place(port), 0.02)
    with pytest.raises(
        RunError, match="not all 2 processes have come here within 0.02 minutes .* or raise join_minutes"
    ):
        wait_for_processes(Place(port), 0.02)
    assert join_processes(compose([])[0].trainer) is None  # nobody else was started


def test_the_main_process_names_the_folder_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store, config = dist.HashStore(), compose([])[0]
    made = create_run_dir(config, store)
    set_all(monkeypatch, TORCHRUN)
    assert create_run_dir(config, store) == made


def test_what_a_killed_start_leaves_is_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".config.yaml.123.tmp").write_text("data: [")
    config = compose([f"run_dir={folder}"])[0]
    assert create_run_dir(config) == folder
    (folder / "config.yaml").write_text("")
    with pytest.raises(RunError, match="is not empty"):
        create_run_dir(config)


def test_a_lost_process_is_one_line_and_a_defect_is_not() -> None:
    with (
        pytest.raises(RunError, match="another process of this run has ended .*store is gone.*; again"),
        explain_lost_processes("again"),
    ):
        raise dist.DistNetworkError("the store is gone\nand a trace")
    with pytest.raises(RuntimeError, match="mat1 and mat2"), explain_lost_processes("again"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_changed_code_or_libraries_are_no_resume(tmp_path: Path) -> None:
    path, now = tmp_path / "environment.json", environment()
    check_code(tmp_path)  # killed before it was written
    path.write_text(json.dumps(now))
    check_code(tmp_path)
    path.write_text(json.dumps(now | {"code": "0123", "git": {"commit": "abcdef0123456789"}}))
    with pytest.raises(
        RunError, match=f"resume: code 0123 → {code()} since the run began at commit abcdef012345; go back"
    ):
        check_code(tmp_path)
    path.write_text(json.dumps(now | {"versions": now["versions"] | {"torch": "1.0"}}))
    with pytest.raises(RunError, match="resume: torch 1.0 → .* or resume all the same with any_code=true"):
        check_code(tmp_path)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
def test_every_image_comes_once_an_epoch_whatever_the_number_of_processes(world: int) -> None:
    seen, seen_together = [], []
    for rank in range(world):
        batches = EpochBatches(100, 16, 5, rank, world)
        batches.set_epoch(3)
        own = list(batches)
        assert len(own) == len(batches) == 7
        seen += [row for rows, _, _ in own for row in rows.tolist()]
        seen_together.append([set(rows.tolist()) for rows, _, _ in own])
    assert sorted(seen) == list(range(100))
    alone = EpochBatches(100, 16, 5)
    alone.set_epoch(3)
    assert [set(rows.tolist()) for rows, _, _ in alone] == [
        set.union(*parts) for parts in zip(*seen_together, strict=True)
    ]


def test_an_interrupted_epoch_resumes_at_its_next_batch_and_the_one_after_is_whole() -> None:
    batches = EpochBatches(100, 16, 5)
    whole = [rows.tolist() for rows, _, _ in batches]
    batches.skip(3)
    assert [rows.tolist() for rows, _, _ in batches] == whole[3:]
    assert [rows.tolist() for rows, _, _ in batches] == whole


def test_jobs_are_shared_by_cost() -> None:
    costs = {"small": 1.0, "large": 3.0, "middle": 2.0, "other": 2.0}
    assert assign_jobs(costs, 2) == [["large", "small"], ["middle", "other"]]
    assert assign_jobs(costs, 6)[4:] == [[], []]
    assert sorted(name for share in assign_jobs(costs, 3) for name in share) == sorted(costs)


class Threads:
    """What SharedJobs needs of torch.distributed, between two threads in place of two processes."""

    def __init__(self) -> None:
        self.own, self.both = threading.local(), threading.Barrier(2, timeout=60)
        self.table: dict[int, Any] = {}

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def get_rank(self) -> int:
        return int(self.own.rank)

    def get_world_size(self) -> int:
        return 2

    def broadcast_object_list(self, content: list[Any], source: int, group: Any) -> None:
        content[:] = self._all(content)[source]

    def all_gather_object(self, into: list[Any], content: Any, group: Any) -> None:
        into[:] = self._all(content)

    def _all(self, content: Any) -> list[Any]:
        self.table[self.own.rank] = json.loads(json.dumps(content))
        self.both.wait()
        found = [self.table[0], self.table[1]]
        self.both.wait()
        return found


def test_what_is_missing_after_a_kill_is_shared_out_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ace":  # all that the first process would have had to do
        (tmp_path / f"{name}.json").write_text('{"by": "before"}')
    threads = Threads()
    monkeypatch.setattr("evaluation.jobs.dist", threads)
    monkeypatch.setattr("evaluation.jobs.long_timeout_group", lambda: None)

    def work(rank: int) -> dict[str, Any]:
        threads.own.rank = rank
        return SharedJobs(tmp_path).run({name: lambda: {"by": rank} for name in "abcde"})

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    assert first == second
    assert [first[name]["by"] for name in "abcde"] == ["before", 0, "before", 1, "before"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == list("abcde")


def test_a_checkpoint_is_whole_and_clears_what_a_kill_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    (tmp_path / ".last.ckpt.99.tmp").write_text("half")
    WholeCheckpoints().save_checkpoint({"a": torch.ones(2)}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpoints().save_checkpoint({"a": torch.zeros(2)}, path)
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.ones(2))


def job(tmp_path: Path, code: int) -> tuple[int, list[str]]:
    """Runs the SLURM script with a srun that ends with ``code``; what srun and scontrol were asked for."""
    tools, asked = tmp_path / "tools", tmp_path / "asked"
    tools.mkdir(exist_ok=True)
    for name, end in (("srun", code), ("scontrol", 0)):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {asked}\nexit {end}\n')
        (tools / name).chmod(0o755)
    asked.unlink(missing_ok=True)
    done = subprocess.run(
        ["bash", str(SCRIPT), "data=digits", "gan.epsilon=4"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": f"{tools}:/usr/bin:/bin", "PYTHON": "python", **JOB},
    )  # fmt: skip
    return done.returncode, asked.read_text().splitlines() if asked.exists() else [done.stderr]


def test_the_slurm_script_starts_resumes_and_requeues(tmp_path: Path) -> None:
    where = "trainer.devices=2 trainer.num_nodes=2"
    head = "srun --kill-on-bad-exit=1 python -m experiments train"
    assert job(tmp_path, 138) == (138, [
        f"{head} run_dir=runs/slurm-41 data=digits gan.epsilon=4 {where}", "scontrol requeue 41",
    ])  # fmt: skip
    folder = tmp_path / "runs" / "slurm-41"
    folder.mkdir(parents=True)
    assert job(tmp_path, 0) == (0, [f"{head} run_dir=runs/slurm-41 data=digits gan.epsilon=4 {where}"])
    (folder / "config.yaml").write_text("")
    assert job(tmp_path, 0) == (0, [f"{head} resume=runs/slurm-41 {where}"])
    for end in (2, 143):  # an error; scancel or a preemption, after which SLURM requeues by itself
        assert job(tmp_path, end) == (end, [f"{head} resume=runs/slurm-41 {where}"])


def test_the_slurm_script_asks_for_what_it_passes_on() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    text = SCRIPT.read_text()
    for line in ("--ntasks-per-node=", "--nodes=", "--signal=USR1@", "--requeue", "--open-mode=append"):
        assert f"#SBATCH {line}" in text
    started = subprocess.run(
        ["bash", str(SCRIPT)], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert started.returncode != 0
    assert "SLURM_JOB_ID: is not set: start this with sbatch" in started.stderr
