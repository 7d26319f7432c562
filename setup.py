"""Installation: what the package needs, and in which versions it imports.

A newer torch than torchaudio (the newest of both do not match) fails at import,
so the pair and speechbrain are pinned; numpy and scipy keep a range, because
their newest releases leave out Python 3.10.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"',
    (HERE / "nar_asr_lobes" / "__init__.py").read_text(encoding="utf-8"),
).group(1)

INSTALL = [
    "torch==2.11.0",
    "torchaudio==2.11.0",
    "speechbrain==1.1.2",
    "hyperpyyaml==1.2.3",
    "sentencepiece==0.2.3",
    "jiwer==4.0.0",
    "safetensors==0.8.0",
    "soundfile==0.14.0",
    "av>=17.0,<19",  # FFmpeg's libraries, for what soundfile does not read
    "numpy>=1.26,<2.5",
    "scipy>=1.11,<1.18",
    "numba>=0.61,<0.69",  # the look-ups of the language model
    "tqdm>=4.66,<5",
    "pyyaml>=6.0,<7",
    "huggingface_hub>=0.30,<3",  # of speechbrain, which sets no upper limit
]
EXTRAS = {
    # KenLM, which only the tests need, to compare language models with; built
    # from source (cmake, C++).
    "lm": ["kenlm==0.3.0"],
    # The synthetic corpus.
    "demo": ["espeakng-loader==0.2.4"],
    # Whisper's English text normaliser, for `nar-asr evaluate`, and the plot of
    # `nar-asr robustness`.
    "eval": ["whisper-normalizer==0.1.15", "matplotlib>=3.8,<4"],
    # Tests, style, and the programs that tests compare with.
    "dev": [
        "pytest>=8.2,<10",
        "pytest-xdist>=3.6,<4",
        "ruff>=0.14,<0.18",
        "flashlight-text==0.0.7",
        "transformers>=4.57,<6",
        "tensorboard>=2.18,<3",
        "matplotlib>=3.8,<4",  # learning curves
    ],
}

setup(
    name="nar-asr-lobes",
    version=VERSION,
    description="Non-autoregressive speech recognition from little data",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["nar_asr_lobes", "nar_asr_lobes.*"]),
    package_data={"nar_asr_lobes.report": ["page/*"]},
    install_requires=INSTALL,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["nar-asr=nar_asr_lobes.cli.main:main"]},
)
