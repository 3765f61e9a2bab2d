"""A trained network that protects label-free, from its file: ConfounderGAN's, or one of the first build (patterns)."""

from pathlib import Path

from baselines.patterns.files import load_patterns
from baselines.patterns.network import PatternGenerator
from gan.networks import Generator
from gan.protection import GeneratorCard, GeneratorFileError, TrainedGenerator, load_generator, read_card

FIRST_BUILD = 4  # format of its cards

AnyGenerator = Generator | PatternGenerator


def load_trained(path: Path) -> tuple[TrainedGenerator, GeneratorCard, str]:
    """A trained generator from its .safetensors file, its card, and the file's sha256.

    Raises:
        GeneratorFileError: file or card is missing, damaged, of another version, or they do not belong together.
    """
    data, fields, sha256 = read_card(path)
    if fields.get("format") != FIRST_BUILD:
        return load_generator(path)
    generator = load_patterns(path, data, fields)
    known = {name: value for name, value in fields.items() if name != "format"}
    try:
        card = GeneratorCard(**known)
    except TypeError as error:
        raise GeneratorFileError(
            f"{path.with_suffix('.json')}: not a generator's card ({error}); get both again"
        ) from error
    return TrainedGenerator(generator, card.epsilon), card, sha256
