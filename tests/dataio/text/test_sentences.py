"""Sentences of manifests and text files, whatever program wrote them."""

from nar_asr_lobes.dataio.manifest import Utterance, write_manifest
from nar_asr_lobes.dataio.text.sentences import read_sentences


def test_lines_and_transcripts_are_the_sentences(tmp_path):
    sentences = ["good\u2028 morning", "no\x85 pain\rat all", "", "ten"]
    path = tmp_path / "a.txt"
    path.write_bytes(
        "\r\n".join(["\ufeff" + sentences[0], *sentences[1:]]).encode()
    )
    assert list(read_sentences(path)) == sentences
    rows = [
        Utterance(str(i), "a.wav", 1.0, text or None)
        for i, text in enumerate(sentences)
    ]
    write_manifest(tmp_path / "a.jsonl", rows, tmp_path)
    assert list(read_sentences(tmp_path / "a.jsonl")) == sentences
