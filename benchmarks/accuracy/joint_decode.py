"""SpeechBrain's beam of 10 with CTC and KenLM on its joint CTC/attention model.

python benchmarks/accuracy/joint_decode.py --data_folder=DIR --set=yoruba \\
    --folder=OUTPUT_FOLDER_OF_speechbrain_joint [--bundle=OURS]

Tunes the weights of CTC and language model on a part of dev, decodes dev and
test into SPLIT.hypotheses.jsonl, and measures the seconds of audio a
core-second of its decoding and, with --bundle, of ours (encoder, beam of 5,
n-gram) on the same utterances. Test is decoded, not scored. The same command
continues a stopped run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peer_command import LM_ORDER, train_lm
from peer_data import SETS, Split, load_split
from peer_training import pad
from speechbrain.decoders.scorer import (
    CTCScorer,
    KenLMScorer,
    ScorerBuilder,
)
from speechbrain.decoders.seq2seq import S2STransformerBeamSearcher
from speechbrain_model import BLANK, SpeechBrainModel

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer, load_tokenizer
from nar_asr_lobes.decoding.recognizer import Recognizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import score
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.lm.corpus import lm_words
from nar_asr_lobes.storage import write_text

BEAM = 10
CTC_WEIGHTS, LM_WEIGHTS = (0.4, 0.2, 0.6), (0.0, 0.2, 0.4, 0.6)
Weights = dict[str, float]


class JointSearch:
    """A trained model with SpeechBrain's searcher and scorers.

    Arguments
    ---------
    model : SpeechBrainModel
        With a decoder.
    tokenizer : Tokenizer
    arpa : Path
        The n-gram of pieces, of an order that KenLM reads.
    batch : int
        Utterances searched together.
    """

    def __init__(
        self,
        model: SpeechBrainModel,
        tokenizer: Tokenizer,
        arpa: Path,
        batch: int = 8,
    ):
        self.model, self.tokenizer, self.batch = model.eval(), tokenizer, batch
        words = [*lm_words(tokenizer), "<s>", "</s>"]
        self.kenlm = KenLMScorer(str(arpa), len(words), words)

    def searcher(self, weights: Weights) -> S2STransformerBeamSearcher:
        """Build the search of the recipe with these weights."""
        model = self.model
        kenlm = [self.kenlm] if weights.get("kenlm") else []
        return S2STransformerBeamSearcher(
            modules=[model.transformer, model.seq_lin],
            bos_index=model.begin,
            eos_index=model.end,
            min_decode_ratio=0.0,
            max_decode_ratio=1.0,
            beam_size=BEAM,
            using_eos_threshold=False,
            length_normalization=True,
            scorer=ScorerBuilder(
                weights={k: v for k, v in weights.items() if v},
                full_scorers=[CTCScorer(model.ctc_lin, BLANK, model.end)],
                partial_scorers=kenlm,
            ),
        )

    @torch.no_grad()
    def __call__(
        self, split: Split, indices: Sequence[int], weights: Weights
    ) -> Iterator[tuple[int, str]]:
        """Yield place and text of utterances, those of like length together."""
        search = self.searcher(weights)
        order = sorted(indices, key=lambda i: len(split.wavs[i]))
        for start in range(0, len(order), self.batch):
            some = order[start : start + self.batch]
            # one by one, as padding would change the encoder's output
            rows = [
                self.model.encode(split.waveform(i)[None], torch.ones(1))[0]
                for i in some
            ]
            found, _, _, _ = search(*pad(rows))
            for index, tokens in zip(some, found, strict=True):
                kept = [t for t in tokens if 0 < t < self.model.pieces]
                yield index, self.tokenizer.decode(kept)


def spread(split: Split, seconds: float) -> list[int]:
    """Take every k-th utterance by length, about so many seconds in all."""
    order = sorted(range(len(split)), key=lambda i: len(split.wavs[i]))
    step = max(1, round(sum(split.seconds) / seconds))
    return order[step // 2 :: step]


def tune(search: JointSearch, dev: Split, indices: list[int]) -> dict:
    """Choose the LM's weight, then that of CTC, by word errors."""

    def errors(weights: Weights) -> float:
        found = dict(search(dev, indices, weights))
        names, texts = (
            [dev.ids[i] for i in found],
            [dev.texts[i] for i in found],
        )
        return score(names, texts, list(found.values())).wer

    tried = []

    def attempt(**weights: float) -> None:
        tried.append({**weights, "wer": errors(weights)})
        print(tried[-1], flush=True)

    for lm in LM_WEIGHTS:
        attempt(ctc=CTC_WEIGHTS[0], kenlm=lm)
    best = min(tried, key=lambda x: x["wer"])["kenlm"]
    for ctc in CTC_WEIGHTS[1:]:
        attempt(ctc=ctc, kenlm=best)
    chosen = dict(min(tried, key=lambda x: x["wer"]))
    chosen.pop("wer")
    return {"weights": chosen, "tried": tried, "utterances": len(indices)}


def decode(
    search: JointSearch, split: Split, weights: Weights, path: Path
) -> None:
    """Append the hypotheses that the file has not yet."""
    done = set()
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        done = {json.loads(line)["id"] for line in lines if line[-1:] == "}"}
    left = [i for i, name in enumerate(split.ids) if name not in done]
    with open(path, "a", encoding="utf-8") as file:
        for index, text in search(split, left, weights):
            row = {"id": split.ids[index], "text": text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()


def joint_speed(
    search: JointSearch, split: Split, indices: list[int], weights: Weights
) -> float:
    """Measure seconds of audio a core-second, features to text."""
    for _ in search(split, indices[:1], weights):
        pass  # first calls allocate
    start = time.process_time()
    for _ in search(split, indices, weights):
        pass
    used = time.process_time() - start
    return sum(split.seconds[i] for i in indices) / used


def our_speed(bundle_path: Path, split: Split, indices: list[int]) -> float:
    """Measure the same for a bundle of ours with beam5_lm, one by one."""
    bundle = load_bundle(bundle_path)
    recognizer = Recognizer(
        bundle.model, bundle.tokenizer, bundle.options, bundle.lms
    )

    def recognize(index: int) -> None:
        wav = split.waveform(index)[None]
        recognizer.recognize(wav, torch.ones(1), ["beam5_lm"])

    recognize(indices[0])  # compiles
    start = time.process_time()
    for index in indices:
        recognize(index)
    used = time.process_time() - start
    return sum(split.seconds[i] for i in indices) / used


def load_model(
    folder: Path, tokenizer: Tokenizer, decoder_layers: int
) -> SpeechBrainModel:
    """Load the weights that a training chose."""
    path = folder / "model.pt"
    if not path.exists():
        raise UserError(f"{path}: is not there; let its training end first")
    model = SpeechBrainModel(tokenizer.size, decoder_layers)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_folder", required=True)
    parser.add_argument("--set", required=True, choices=SETS)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--tune_seconds", type=float, default=150)
    parser.add_argument("--speed_seconds", type=float, default=150)
    parser.add_argument("--splits", nargs="+", default=["dev", "test"])
    parser.add_argument("--batch", type=int, default=8)
    return parser.parse_args()


def main() -> None:
    """Tune, measure the speed, decode."""
    options = _parse()
    torch.set_num_threads(1)
    folder, source = options.folder, (options.data_folder, options.set)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    model = load_model(folder, tokenizer, decoder_layers=4)
    arpa = train_lm(
        *source, tokenizer, folder / "kenlm.arpa", LM_ORDER["joint"]
    )
    search = JointSearch(model, tokenizer, arpa, options.batch)
    dev = load_split(*source, "dev", tokenizer)
    tuned = folder / "joint_tuning.json"
    if not tuned.exists():
        found = tune(search, dev, spread(dev, options.tune_seconds))
        write_text(tuned, json.dumps(found, indent=1) + "\n")
    weights = json.loads(tuned.read_text(encoding="utf-8"))["weights"]
    some = spread(dev, options.speed_seconds)[:100]
    speed = {"joint_beam10_lm": joint_speed(search, dev, some, weights)}
    if options.bundle:
        speed["ours_beam5_lm"] = our_speed(options.bundle, dev, some)
    speed["utterances"] = len(some)
    write_text(folder / "speed.json", json.dumps(speed, indent=1) + "\n")
    print(speed, flush=True)
    for name in options.splits:
        split = dev if name == "dev" else load_split(*source, name, tokenizer)
        decode(search, split, weights, folder / f"{name}.hypotheses.jsonl")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
