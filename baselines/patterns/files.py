"""Files that the first build of this project wrote: a generator's weights and its card of format 4."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load

from baselines.config import PatternsConfig
from baselines.patterns.network import PatternGenerator, build_pattern_generator
from gan.protection import GeneratorFileError


def load_patterns(path: Path, data: bytes, fields: dict[str, Any]) -> PatternGenerator:
    """The generator of an old file, in evaluation mode.

    Args:
        path: of the file, for the message.
        data: what the file holds (safetensors).
        fields: of its card.

    Raises:
        GeneratorFileError: weights and card do not fit.
    """
    try:
        options, (height, width) = PatternsConfig.from_card(fields["generator"]), fields["size"]
        classes, epsilon = len(fields["class_names"]), fields["epsilon"] / 255
        generator = build_pattern_generator(options, fields["channels"], classes, epsilon, (height, width), load=False)
        generator.load_state_dict(load(data))
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise GeneratorFileError(f"{path}: weights and card do not fit ({error}); get both again") from error
    return generator.eval()
