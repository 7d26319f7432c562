"""The command line and the sequence of a peer's training."""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import fields
from pathlib import Path

import torch
from peer_data import SETS, list_split, load_split, make_tokenizer
from peer_training import (
    Budget,
    Training,
    log_posteriors,
    save_posteriors,
)
from speechbrain_model import SpeechBrainModel

from nar_asr_lobes.dataio.text.tokenizer import Tokenizer
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.storage import write_text

# Ours is that of recipes/LowResource; KenLM reads none above 6.
LM_ORDER = {"ours": 8, "joint": 6}


def train_lm(
    data_folder: str, name: str, tokenizer: Tokenizer, path: Path, order: int
) -> Path:
    """Train the n-gram of pieces on the texts of train, if it is not there."""
    if not path.exists():
        rows = list_split(data_folder, name, "train")
        train_ngram([row.text or "" for row in rows], tokenizer, order, path)
    return path


def parse(description: str | None) -> argparse.Namespace:
    """Read the options of a training."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_folder", required=True)
    parser.add_argument("--set", required=True, choices=SETS)
    parser.add_argument("--output_folder", required=True, type=Path)
    for field in fields(Budget):
        kind = type(field.default) if field.default is not None else float
        parser.add_argument(f"--{field.name}", type=kind, default=field.default)
    return parser.parse_args()


def main(name: str, description: str | None, decoder_layers: int) -> None:
    """Train on one core, then write posteriors and results."""
    options = parse(description)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    logging.getLogger("speechbrain").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    budget = Budget(
        **{f.name: getattr(options, f.name) for f in fields(Budget)}
    )
    folder, source = options.output_folder, (options.data_folder, options.set)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(*source)
    tokenizer.save(folder / "tokenizer.json")
    train, dev = (
        load_split(*source, split, tokenizer) for split in ("train", "dev")
    )
    torch.manual_seed(budget.seed)
    model = SpeechBrainModel(tokenizer.size, decoder_layers)
    training = Training(model, train, dev, tokenizer, folder, budget)
    training.run()
    if budget.stop_after is not None:
        return
    results = {
        "system": name,
        "set": options.set,
        "dev": training.choose(),
        "core_minutes": training.state["spent"] / 60,
        "steps": training.state["steps"],
        "epochs": training.state["epoch"],
        "train_seconds": sum(train.seconds),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    torch.save(model.state_dict(), folder / "model.pt")
    test = load_split(*source, "test", tokenizer)
    for name, split in (("dev", dev), ("test", test)):
        start = time.process_time()
        rows = log_posteriors(model, split)
        used = time.process_time() - start
        results[f"{name}_speed"] = sum(split.seconds) / used
        save_posteriors(folder / name, rows, split, tokenizer)
    train_lm(*source, tokenizer, folder / "lm.arpa", LM_ORDER["ours"])
    write_text(folder / "results.json", json.dumps(results, indent=1) + "\n")
