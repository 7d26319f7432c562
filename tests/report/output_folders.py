"""An output folder as a fine-tuning leaves it."""

import json

import numpy as np
import soundfile

# Everything that could leave its place in a page or turn a line around.
TEXTS = [
    ("u1", "no chest pain", "no today chest pan"),
    ("</script><script>document.title='x'</script>", "a b", "a <img src=x>"),
    ("&amp;\"'`${1}", "\u2028 ọ̀rọ̀ \u2029x", "ọ̀rọ̀ </li>"),
    ("\u202eu4", "مرحبا بكم في العيادة", "مرحبا في العيادة"),
    ("__proto__", "constructor yes", ""),
]
SECONDS = 1.5


def write_run(
    folder,
    texts=TEXTS,
    modes=("ctc_greedy", "beam5"),
    groups=(),
    headline="wer",
):
    """Write the files of a fine-tuning; the modes have the same texts.

    The odd utterances are of speaker s1, the even ones of s0.
    """
    (folder / "manifests").mkdir(parents=True)
    (folder / "alignments" / "test").mkdir(parents=True)
    wav = 0.5 * np.sin(2 * np.pi * 1000 / 16000 * np.arange(24000))
    soundfile.write(folder / "a.wav", wav, 16000)
    manifest = [{"data_root": str(folder)}]
    for number, (name, said, _) in enumerate(texts):
        row = {"id": name, "audio": "a.wav", "duration": SECONDS, "text": said}
        row |= {"speaker": f"s{number % 2}"}
        row |= {"groups": dict(groups)} if groups else {}
        manifest.append(row)
    write_rows(folder / "manifests" / "test.jsonl", manifest)
    numbers = {"headline": headline, "wer": 0.5, "cer": 0.4, "rtf": 0.25}
    numbers |= {"oracle_wer": 0.125}
    numbers |= {"utterances": len(texts), "utterances_in_all": len(texts) + 1}
    numbers |= {"words": 9, "substitutions": 1, "deletions": 2, "insertions": 3}
    results = {"test": dict.fromkeys(modes, numbers)}
    (folder / "results.json").write_text(json.dumps(results))
    for mode in modes:
        rows = [
            {"id": name, "text": heard, "words": word_times(heard)}
            for name, _, heard in texts
        ]
        write_rows(folder / "alignments" / "test" / f"{mode}.jsonl", rows)
    lines = [
        f"step: {step}, skipped_steps: 0 - train loss: {3 - step / 50:.3f}, "
        "train lr: 1.000e-03"
        for step in (10, 20, 30)
    ]
    lines[1:1] = ["step: 10, skipped_steps: 0 - valid loss: 2.9, valid wer: 1"]
    (folder / "train_log.txt").write_text("\n".join(lines) + "\n")
    return folder


def word_times(text):
    """Words of a tenth of a second each."""
    words = enumerate(text.split())
    return [[round(n / 10, 1), round(n / 10 + 0.1, 1), w] for n, w in words]


def write_rows(path, rows):
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
