"""A bundle: all that recognition needs, in one folder without code.

    model.safetensors  tokenizer  inference.yaml  README.md
    [lm.ngram]  [lm.safetensors  lm.safetensors.json]
    bundle.json (SHA-256 of all the others)

Nothing is parsed before every file matches its SHA-256, and nothing is ever
unpickled or instantiated by name.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import yaml

from nar_asr_lobes.dataio.text.normalization import NORMALIZER_VERSION, STYLES
from nar_asr_lobes.dataio.text.tokenizer import Tokenizer, load_tokenizer
from nar_asr_lobes.decoding.modes import (
    DecodingOptions,
    available_modes,
    find_mode,
    parts_present,
)
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.inference.bundle_files import (
    REMEDY,
    BundleCard,
    sealed_folder,
    verified_files,
    write_text,
)
from nar_asr_lobes.lm.models import LanguageModels, LmFiles
from nar_asr_lobes.lm.neural import WEIGHTS as NEURAL
from nar_asr_lobes.lobes.model import NarAsr, build_model

_FORMAT_VERSION = 4

WEIGHTS = "model.safetensors"
_TOKENIZER = "tokenizer"
SETTINGS = "inference.yaml"
README = "README.md"
_NGRAM = "lm.ngram"
_PREFERRED = ("nar_beam5_lm", "beam5_lm", "nar", "beam5")  # modes

_SETTINGS = {
    "format_version": int,
    "tokenizer": str,  # fingerprint
    "text_style": str,
    "normalizer_version": int,
    "default_mode": str,
    "model": dict,
    "decoding": dict,
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """A trained model with all that recognition needs.

    Arguments
    ---------
    model : NarAsr
        In evaluation mode, on the CPU.
    tokenizer : Tokenizer
        The one the model was trained with.
    lms : LanguageModels
        Language models over the tokenizer's pieces.
    options : DecodingOptions
        Of all modes, as tuned on the development set.
    default_mode : str
        The mode to use when the user names none.
    text_style : str
        How the training transcripts were normalised; references must be too.
    """

    model: NarAsr
    tokenizer: Tokenizer
    lms: LanguageModels
    options: DecodingOptions
    default_mode: str
    text_style: str

    @property
    def present(self) -> frozenset[str]:
        """The parts that modes may need: language models and decoder."""
        return parts_present(self.model, self.lms)


def write_bundle(
    folder: str | os.PathLike,
    model: NarAsr,
    tokenizer: Tokenizer,
    options: DecodingOptions,
    *,
    card: BundleCard,
    lm_files: LmFiles | None = None,
    text_style: str = "none",
    default_mode: str | None = None,
) -> Path:
    """Write a bundle that appears whole or not at all.

    Arguments
    ---------
    folder : str or path
        Where; a bundle that is there already is replaced.
    model : NarAsr
        The trained model, on any device.
    tokenizer : Tokenizer
        The one it was trained with.
    options : DecodingOptions
        Of all modes.
    card : BundleCard
        Its README.
    lm_files : LmFiles, optional
        The language models to copy.
    text_style : str
        How the training transcripts were normalised.
    default_mode : str, optional
        Mode used when the user names none; else the first that works of
        "nar_beam5_lm", "beam5_lm", "nar" and "beam5".

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        When the parts do not belong together, or the folder holds something
        else than a bundle or cannot be written.

    Example
    -------
    >>> import tempfile
    >>> from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
    >>> from nar_asr_lobes.lobes.model import ModelConfig
    >>> tokenizer = CharTokenizer(" ab")
    >>> model = build_model(ModelConfig.tiny(), tokenizer.size)
    >>> card = BundleCard("Tiny")
    >>> folder = write_bundle(
    ...     tempfile.mkdtemp(), model, tokenizer, DecodingOptions(), card=card
    ... )
    >>> load_bundle(folder).default_mode
    'nar'
    """
    files = lm_files or LmFiles()
    _check_parts(model, tokenizer, text_style)
    lms = files.load(tokenizer)
    present = parts_present(model, lms)
    if default_mode is None:
        default_mode = next(
            mode for mode in _PREFERRED if mode in available_modes(present)
        )
    find_mode(default_mode, present, "add one or choose another mode")
    settings = {
        "format_version": _FORMAT_VERSION,
        "tokenizer": tokenizer.fingerprint,
        "text_style": text_style,
        "normalizer_version": NORMALIZER_VERSION,
        "default_mode": default_mode,
        "model": model.config.to_dict(),
        "decoding": options.to_dict(),
    }
    with sealed_folder(folder) as temporary:
        _write_weights(temporary / WEIGHTS, model)
        tokenizer.save(temporary / _TOKENIZER)
        if files.ngram is not None:
            shutil.copyfile(files.ngram, temporary / _NGRAM)
        if lms.neural is not None:
            lms.neural.save(temporary / NEURAL, tokenizer)
        content = yaml.safe_dump(settings, sort_keys=False)
        write_text(temporary / SETTINGS, content)
        write_text(temporary / README, card.markdown())
    return Path(folder)


def load_bundle(folder: str | os.PathLike) -> Bundle:
    """Load a bundle; no code from it is run.

    Arguments
    ---------
    folder : str or path
        Written by ``write_bundle``.

    Returns
    -------
    Bundle
        Ready for a ``Transcriber``.

    Raises
    ------
    UserError
        When the folder is no bundle, a file is missing or damaged, or the
        parts do not belong together.
    """
    folder = Path(folder)
    lm_files = _verify(folder)
    settings = _read_settings(folder / SETTINGS)
    tokenizer = load_tokenizer(folder / _TOKENIZER)
    if tokenizer.fingerprint != settings["tokenizer"]:
        raise UserError(
            f"{folder / _TOKENIZER}: is not the tokenizer that the model was "
            f"trained with (fingerprint {tokenizer.fingerprint[:12]} instead "
            f"of {settings['tokenizer'][:12]}); {REMEDY}"
        )
    lms = lm_files.load(tokenizer)
    model = _load_model(folder, settings["model"], tokenizer.size)
    present = parts_present(model, lms)
    try:
        options = DecodingOptions.from_dict(settings["decoding"])
        find_mode(settings["default_mode"], present, REMEDY)
    except UserError as error:
        raise UserError(f"{folder / SETTINGS}: {error}") from error
    return Bundle(
        model=model,
        tokenizer=tokenizer,
        lms=lms,
        options=options,
        default_mode=settings["default_mode"],
        text_style=settings["text_style"],
    )


def _check_parts(model: NarAsr, tokenizer: Tokenizer, text_style: str) -> None:
    if tokenizer.size != model.vocab_size:
        raise UserError(
            f"the tokenizer has {tokenizer.size} pieces but the model "
            f"{model.vocab_size} outputs; give the tokenizer it was trained "
            "with"
        )
    if text_style not in STYLES:
        raise UserError(
            f"text style {text_style!r} is unknown; use one of "
            + ", ".join(STYLES)
        )


def _write_weights(path: Path, model: NarAsr) -> None:
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    path.write_bytes(safetensors.torch.save(weights))


def _verify(folder: Path) -> LmFiles:
    """Check that all files are there and whole; name the language models'."""
    names = verified_files(folder)
    for name in (WEIGHTS, _TOKENIZER, SETTINGS, README):
        if name not in names:
            raise UserError(f"{folder / name}: is missing; {REMEDY}")
    return LmFiles(
        str(folder / _NGRAM) if _NGRAM in names else None,
        str(folder) if NEURAL in names else None,
    )


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        version = settings["format_version"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: does not hold a bundle's settings; {REMEDY}"
        ) from error
    if version != _FORMAT_VERSION:
        raise UserError(
            f"{path}: has format version {version}, but this program reads "
            f"{_FORMAT_VERSION}; install the program that wrote it"
        )
    if set(settings) != set(_SETTINGS):
        key = min(set(settings) ^ set(_SETTINGS), key=str)
        fault = "unknown" if key in settings else "missing"
        raise UserError(f"{path}: key {key!r} is {fault}; {REMEDY}")
    for key, kind in _SETTINGS.items():
        if type(settings[key]) is not kind:
            raise UserError(f"{path}: {key!r} is no {kind.__name__}; {REMEDY}")
    if settings["normalizer_version"] != NORMALIZER_VERSION:
        logger.warning(
            "%s: its transcripts were normalised by version %s, this program "
            "has version %s; error rates cannot be compared",
            path,
            settings["normalizer_version"],
            NORMALIZER_VERSION,
        )
    return settings


def _load_model(
    folder: Path, config: dict[str, Any], vocab_size: int
) -> NarAsr:
    try:
        weights = safetensors.torch.load_file(folder / WEIGHTS)
        model = build_model(config, vocab_size)
        model.load_state_dict(weights)
    except UserError as error:
        raise UserError(f"{folder / SETTINGS}: {error}") from error
    except (
        safetensors.SafetensorError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(
            f"{folder / WEIGHTS}: the weights do not fit the sizes in "
            f"{SETTINGS} and the tokenizer; {REMEDY}"
        ) from error
    return model.eval()
