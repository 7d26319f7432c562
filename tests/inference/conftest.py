"""A language of tones, a tiny model that understands it, and its bundle."""

import json
import random

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.audio.silence import with_silence
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.inference.bundle import write_bundle
from nar_asr_lobes.inference.bundle_files import _INDEX, BundleCard
from nar_asr_lobes.lm.neural import WEIGHTS, NeuralLM
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lobes.model import ModelConfig, build_model
from nar_asr_lobes.lobes.transformer_lm import LmSizes, TransformerLm
from nar_asr_lobes.storage import sha256
from tests.tones import tone_speech

CARD = BundleCard("Tones", trained_on="sine waves")


def say(text, noise=0.0, seed=0):
    """Say a text of the letters a to d, with a pause around it."""
    wav = tone_speech(f" {text} ")
    hiss = np.random.default_rng(seed).normal(scale=noise, size=len(wav))
    return (wav + hiss).astype(np.float32)


def sentence(rng, words=3):
    count = rng.randint(1, words)
    return " ".join(
        "".join(rng.choices("abcd", k=rng.randint(1, 3))) for _ in range(count)
    )


@pytest.fixture(scope="session")
def speak():
    return say


@pytest.fixture(scope="session")
def tokenizer():
    return CharTokenizer(" abcd")


@pytest.fixture(scope="session")
def model(tokenizer):
    """A tiny model after 200 steps (6 s) of CTC on tones."""
    torch.manual_seed(0)
    rng = random.Random(0)
    model = build_model(ModelConfig.tiny(), tokenizer.size)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, 200)
    for step in range(200):
        texts = [sentence(rng) for _ in range(8)]
        wavs = [
            torch.from_numpy(
                with_silence(say(text, rng.uniform(0, 0.01), step))
            )
            for text in texts
        ]
        pause = torch.zeros(rng.randrange(40000))
        wavs[0] = torch.cat([wavs[0], pause] if step % 2 else [pause, wavs[0]])
        lengths = torch.tensor([len(wav) for wav in wavs])
        wavs = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
        encoded = model.encode(wavs, lengths / wavs.shape[1])
        targets = [torch.tensor(tokenizer.encode(text)) for text in texts]
        loss = torch.nn.functional.ctc_loss(
            encoded.log_probs.transpose(0, 1),
            torch.cat(targets),
            encoded.lengths,
            torch.tensor([len(target) for target in targets]),
            zero_infinity=True,
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="session")
def lm_path(tmp_path_factory, tokenizer):
    """A bigram that was taught on 50 sentences."""
    rng = random.Random(1)
    path = tmp_path_factory.mktemp("lm") / "pieces.arpa"
    texts = [sentence(rng) for _ in range(50)]
    return str(train_ngram(texts, tokenizer, 2, path).path)


@pytest.fixture(scope="session")
def neural_folder(tmp_path_factory, tokenizer):
    """A random Transformer over the letters, as a training leaves it."""
    torch.manual_seed(2)
    neural = NeuralLM(TransformerLm(LmSizes(16, 2, 32, 1), tokenizer.size))
    folder = tmp_path_factory.mktemp("neural")
    neural.save(folder / WEIGHTS, tokenizer)
    return str(folder)


@pytest.fixture
def folder(tmp_path, model, tokenizer):
    """A bundle on disk, without a language model."""
    return write_bundle(
        tmp_path / "bundle",
        model,
        tokenizer,
        DecodingOptions(),
        card=CARD,
        default_mode="beam5",
    )


@pytest.fixture
def rehash():
    """Make the index of a bundle fit what its files hold now."""

    def write(folder):
        index = json.loads((folder / _INDEX).read_text())
        index["sha256"] = {
            name: sha256(folder / name) for name in index["sha256"]
        }
        (folder / _INDEX).write_text(json.dumps(index))

    return write
