"""The configuration and the command line's errors."""

import subprocess
import sys
import time
from dataclasses import asdict

import pytest
from omegaconf import OmegaConf

from experiments.cli import main
from experiments.config import ConfigError, compose, names, options, to_yaml


def faults(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose(list(arguments))
    return caught.value.faults


def test_every_key_is_documented_and_its_default_is_in_range() -> None:
    for key, item in options().items():
        assert item.help, key
        assert item.kind, key
        assert item.fault(item.default) is None, key


@pytest.mark.parametrize("name", names("data"))
def test_every_shipped_data_file_composes(name: str) -> None:
    extra = {"npz": ["data.path=x.npz"], "folder": ["data.root=x"]}.get(name, [])
    config, sources = compose([f"data={name}", *extra])
    assert config.data.name == name
    assert sources["data.name"] == f"data/{name}.yaml"


@pytest.mark.parametrize("name", names("experiment"))
def test_every_shipped_experiment_composes(name: str) -> None:
    config, sources = compose([f"experiment={name}"])
    assert f"experiment/{name}.yaml" in sources.values()
    assert config.experiment == name


def test_command_line_wins_over_files() -> None:
    config, sources = compose(["victim.augment=crop", "gan.epsilon=4"])
    assert (config.victim.augment, config.gan.epsilon) == ("crop", 4.0)
    assert sources["victim.augment"] == "command line"
    assert sources["gan.noise.beta1"] == "default"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("gan.epsilonn=8", "gan.epsilonn: no such key; did you mean 'gan.epsilon'?"),
        ("max_epochs=3", "max_epochs: no such key; did you mean 'trainer.max_epochs'?"),
        ("gan.epsilon=abc", "gan.epsilon: expected a number, found 'abc'"),
        ("seeds=2.5", "seeds: expected an integer, found '2.5'"),
        ("gan.epsilon=nan", "gan.epsilon: expected a finite number, found nan"),
        (
            "gan.epsilon=8/255",
            "gan.epsilon: expected a number, found '8/255' (it is: largest change of a pixel, in grey levels of 255 (8 means 8/255))",
        ),
        ("gan.epsilon=0.03", "gan.epsilon: expected a number ≥ 1, ≤ 64, found 0.03"),
        ("data.val_fraction=1", "data.val_fraction: expected a number > 0, < 1, found 1.0"),
        (
            "gan.gan_loss=hing",
            "gan.gan_loss: expected one of hinge, least_squares, none, found 'hing'; did you mean 'hinge'?",
        ),
        ("gan.surrogates=3", "gan.surrogates: is a section, not a key; it has "),
        ("data=digit", "data: no data 'digit'; did you mean 'digits'?; known: blood, cifar10, "),
        ("experiment=emn", "experiment: no experiment 'emn'; did you mean 'emn60'?; known: emn60"),
        ("fast", "fast: expected key=value"),
        ("data.path=a.npz", "data.path: is read by data=npz only"),
        ("data=npz", "data.path: data=npz needs the file"),
        ("data=folder", "data.root: data=folder needs your folder"),
        ("data.labels=x.csv", "data.labels: is read by data=folder only"),
        ("victim.augment=crop_flip", "victim.augment: no augmentation 'crop_flip'; expected none, or some of crop"),
        ("gan.surrogates.kinds=narrow", "gan.surrogates.kinds: expected architectures with sizes from 8 to 256"),
        ("gan.transforms.jpeg=1", "gan.transforms: shares add up to 1."),
        ("gan.curriculum.low=0.9", "gan.curriculum.low: expected less than gan.curriculum.high"),
        ("gan.gan_weight=0", "gan.gan_weight: is 0 while gan.gan_loss is on"),
        ("trainer.strategy=fsdp", "trainer.strategy: 'fsdp' cannot train three networks that take turns; use ddp"),
    ],
)
def test_a_fault_is_one_line_naming_the_key_and_the_remedy(argument: str, expected: str) -> None:
    found = faults(argument)
    assert len(found) == 1
    assert found[0].startswith(expected)
    assert "\n" not in found[0]


def test_contradictions_of_the_method() -> None:
    assert faults("gan.refine=0", "gan.start=none") == [
        "gan.refine: is 0 while gan.start=none; an untrained network's noise protects nothing"
    ]
    assert faults("gan.classifier.pretrained=none", "gan.classifier.arch=none") == [
        "gan.classifier: pretrained and arch are both none; something must read the class"
    ]
    assert faults("gan.refine=false")


def test_contradictions_between_run_folders() -> None:
    assert faults("resume=a", "run_dir=b") == [
        "run_dir: contradicts resume, which names the folder already; leave run_dir out"
    ]
    assert faults("resume=a", "run=b") == ["run: is read by evaluate, resume by train; give one of them"]


def test_contradictions_come_with_the_other_faults() -> None:
    assert len(faults("gan.epsilon=abc", "gan.gan_weight=0", "trainer.strategy=fsdp", "data.val_fraction=7")) == 4


def test_all_faults_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "gan.epsilonn=8", "seeds=x", "gan.gan_loss=foo", "data=nope"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "'trian': no such verb; did you mean 'train'?; known: train, evaluate, validate"),
        (["train", "--fast"], "--fast: no such flag"),
        (
            ["train", "victim.arch=resnet19"],
            "victim.arch: 'resnet19' is neither one of narrow, narrow_vgg",
        ),
        (["train", "gan.surrogates.kinds=narrow@16+narow@16"], "gan.surrogates.kinds: 'narow' is neither"),
        (["train", "gan.classifier.arch=narow"], "gan.classifier.arch: 'narow' is neither"),
        (["train", "resume=nowhere"], "resume: nowhere is no run folder"),
        (["evaluate", "run=nowhere"], "run: nowhere is no run folder"),
    ],
)
def test_other_requests_that_cannot_be_met(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert f"error: {expected}" in capsys.readouterr().err


def test_help_lists_every_key_and_is_fast_and_loads_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for key, item in options().items():
        assert f"{key}=" in shown
        assert item.help in shown
    code = "import sys; from experiments.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    started = time.perf_counter()
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert time.perf_counter() - started < 1


def test_printed_config_is_the_resolved_one(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["gan.epsilon=4", "data.path=", "seeds=3"]
    assert main(["train", "--print-config", *arguments]) == 0
    shown = capsys.readouterr().out
    config, _ = compose(arguments)
    assert OmegaConf.to_container(OmegaConf.create(shown)) == OmegaConf.to_container(OmegaConf.create(asdict(config)))
    assert "epsilon: 4.0  # command line" in shown


def test_config_file_round_trip() -> None:
    config, _ = compose(["gan.epsilon=4", "run_dir=a b/${x}"])
    base = OmegaConf.to_container(OmegaConf.create(to_yaml(config)), resolve=False)
    assert compose([], base)[0] == config  # type: ignore[arg-type]


def test_both_ways_to_start_are_the_same() -> None:
    outputs = [
        subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        for command in ([sys.executable, "-m", "experiments"], [f"{sys.prefix}/bin/confoundergan"])
    ]
    assert outputs[0] == outputs[1] == "confoundergan 0.1.0\n"
