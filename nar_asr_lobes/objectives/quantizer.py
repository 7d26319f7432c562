"""The quantisers of BEST-RQ (frozen, of log-mel frames) and wav2vec 2.0.

BEST-RQ (Chiu et al., https://arxiv.org/abs/2202.01855; several codebooks and
search by matrix product: https://arxiv.org/abs/2501.16131):

wav [B, S] -> log-mel at 100 Hz, normalised -> stacked at each encoder frame
           -> frozen projection -> nearest code of each frozen codebook
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.frontend import WaveformFrontend, normalize_wavs
from nar_asr_lobes.lobes.lengths import absolute_lengths, valid_mask
from nar_asr_lobes.lobes.stems import SAMPLE_RATE

WINDOW, HOP, MELS = 400, 160, 80
PROJECTIONS = ("random", "pca", "whitened")


class _LogMel(nn.Module):
    """Log-mel frames at 100 Hz, normalised over each utterance."""

    def __init__(self):
        super().__init__()
        bank = melscale_fbanks(201, 60.0, 7800.0, MELS, SAMPLE_RATE)
        self.register_buffer("bank", bank, persistent=False)
        window = torch.hann_window(WINDOW)
        self.register_buffer("window", window, persistent=False)

    def forward(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> torch.Tensor:
        """Compute [B, M, 80] of wavs [B, S]; padding frames are zero."""
        samples = absolute_lengths(wav_lens, wavs.shape[1])
        short = max(0, WINDOW - wavs.shape[1])
        wavs = F.pad(normalize_wavs(wavs, samples), (0, short))
        frames = wavs.unfold(1, WINDOW, HOP) * self.window
        power = torch.fft.rfft(frames).abs().square()
        # log1p maps the floor to zero: silence stays exactly that.
        log_mel = torch.log1p(1e6 * (power @ self.bank))
        counts = (samples - WINDOW) // HOP + 1
        valid = valid_mask(counts, log_mel.shape[1])[..., None]
        count = counts.clamp_min(1).view(-1, 1, 1)
        mean = (log_mel * valid).sum(1, keepdim=True) / count
        centred = (log_mel - mean) * valid
        var = centred.square().sum(1, keepdim=True) / count
        return centred * torch.rsqrt(var + 1e-5)


class RandomProjectionQuantizer(nn.Module):
    """Frozen targets for each encoder frame.

    Log-mel stacks have few strong components, so that random and plain PCA
    projections (https://arxiv.org/abs/2606.30671) use about a tenth of the
    codes. Scaled to unit variance (``"whitened"``, ours) the components use
    most codes. All codebooks share a fitted projection.

    Arguments
    ---------
    frontend : WaveformFrontend
        Defines the samples that a frame reads; its target comes from the
        log-mel frames in their middle.
    codebooks : int
        Number of independent projections and codebooks.
    codes : int
        Codes of each codebook.
    code_dim : int
        Width of the projection.
    seed : int
        Seed of the frozen projections.
    projection : str
        ``"random"``; or ``"pca"`` or ``"whitened"``, random before ``fit``.

    Raises
    ------
    UserError
        If the stem's ``hop_length`` is no multiple of the log-mel frames'.

    Example
    -------
    >>> from nar_asr_lobes.lobes.stems import GaborStem
    >>> frontend = WaveformFrontend(GaborStem(8, 16), 16, 32)
    >>> quantizer = RandomProjectionQuantizer(frontend, codebooks=2, codes=64)
    >>> codes = quantizer(torch.randn(1, 16000), torch.ones(1))
    >>> codes.shape, int(codes.max()) < 64
    (torch.Size([1, 23, 2]), True)
    """

    def __init__(
        self,
        frontend: WaveformFrontend,
        codebooks: int = 1,
        codes: int = 1024,
        code_dim: int = 16,
        seed: int = 0,
        projection: str = "random",
    ):
        super().__init__()
        self.kind = projection
        stride = frontend.stem.hop_length
        if stride % HOP:  # the targets would drift away from their frames
            raise UserError(
                f"stem: its frames are {stride} samples apart; BEST-RQ needs a "
                f"multiple of {HOP}, so take another stem or wav2vec 2.0"
            )
        self.stack = stride // HOP
        # Log-mel frame whose stack lies in the middle of encoder frame 0.
        middle = (frontend.min_samples() - WINDOW) / 2 / HOP
        self.offset = max(0, round(middle - (self.stack - 1) / 2))
        self.output_lengths = frontend.output_lengths
        self.mel = _LogMel()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.empty(codebooks, self.stack * MELS, code_dim)
        nn.init.xavier_normal_(weight, generator=generator)
        book = torch.randn(codebooks, code_dim, codes, generator=generator)
        self.register_buffer("projection", weight)
        if projection != "random":
            self.register_buffer("centre", torch.zeros(self.stack * MELS))
            self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("book", F.normalize(book, dim=1))

    def forward(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> torch.Tensor:
        """Return codes [B, T, codebooks] of wavs [B, S]; T is at least 1."""
        return self.similarities(self.project(wavs, wav_lens)).argmax(-1)

    @torch.no_grad()
    def project(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> torch.Tensor:
        """Return projections [B, T, codebooks, code_dim], of unit length."""
        # bfloat16 would change a sixth of the targets.
        with torch.autocast(wavs.device.type, enabled=False):
            stacked = self._stacks(wavs.float(), wav_lens)
            if self.kind != "random":
                stacked = stacked - self.centre
            projected = torch.einsum("btf,nfc->btnc", stacked, self.projection)
            return F.normalize(projected, dim=-1)

    @torch.no_grad()
    def similarities(self, projected: torch.Tensor) -> torch.Tensor:
        """Return cosines [..., codebooks, codes]; the largest is the code's."""
        with torch.autocast(projected.device.type, enabled=False):
            return torch.einsum("...nc,nck->...nk", projected, self.book)

    @torch.no_grad()
    def moments(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> torch.Tensor:
        """Sum the outer products of (stack, 1) over the valid frames.

        The result, [F + 1, F + 1] in float64 on the CPU, is for ``fit``.
        """
        stacked = self._stacks(wavs.float(), wav_lens)
        samples = absolute_lengths(wav_lens, wavs.shape[1])
        valid = valid_mask(self.output_lengths(samples), stacked.shape[1])
        frames = F.pad(stacked[valid].cpu().double(), (0, 1), value=1.0)
        return frames.T @ frames

    @torch.no_grad()
    def fit(self, moments: torch.Tensor) -> None:
        """Fit the projection to (sums of) ``moments``."""
        count = moments[-1, -1].clamp_min(1)
        mean = moments[:-1, -1] / count
        spread = moments[:-1, :-1] / count - torch.outer(mean, mean)
        values, vectors = torch.linalg.eigh(spread)  # ascending
        width = self.projection.shape[-1]
        values, vectors = values[-width:].flip(0), vectors[:, -width:].flip(1)
        # Fix the sign of a component: its largest value is positive.
        top = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        vectors = vectors * top.sign()
        if self.kind == "whitened":
            vectors = vectors * torch.rsqrt(values.clamp_min(1e-6))
        self.centre.copy_(mean)
        self.projection.copy_(vectors)
        self.fitted.fill_(True)

    def _stacks(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor
    ) -> torch.Tensor:
        # Of the padded length, which the host knows without the device.
        longest = torch.tensor([wavs.shape[1]], device="cpu")
        frames = max(1, *self.output_lengths(longest).tolist())
        mel = self.mel(wavs, wav_lens)[:, self.offset :]
        short = frames * self.stack - mel.shape[1]
        mel = F.pad(mel, (0, 0, 0, max(0, short)))[:, : frames * self.stack]
        return mel.unflatten(1, (frames, self.stack)).flatten(2)


@dataclass(frozen=True)
class Quantized:
    """Code vectors [..., G * code_dim], codes [..., G], softmax [..., G, V]."""

    vectors: torch.Tensor
    codes: torch.Tensor
    probabilities: torch.Tensor


class GumbelQuantizer(nn.Module):
    """Choose one code of each group, straight-through.

    Forward the choice is hard; backward it is the Gumbel softmax that it was
    drawn from (Jang et al., https://arxiv.org/abs/1611.01144).

    Arguments
    ---------
    width : int
        Width of the frames.
    groups, codes : int
        G codebooks of V codes each.
    code_dim : int
        Width of a group's code vectors.

    Example
    -------
    >>> quantizer = GumbelQuantizer(16, groups=2, codes=8, code_dim=4)
    >>> quantized = quantizer(torch.randn(1, 5, 16), temperature=2.0)
    >>> quantized.vectors.shape, quantized.codes.shape
    (torch.Size([1, 5, 8]), torch.Size([1, 5, 2]))
    """

    def __init__(self, width: int, groups: int, codes: int, code_dim: int):
        super().__init__()
        self.groups = groups
        self.scores = nn.Linear(width, groups * codes)
        # A third of fairseq's, whose softmax is so peaked that in short runs
        # the diversity loss has no gradient and few codes stay in use.
        nn.init.normal_(self.scores.weight, std=0.3)
        nn.init.zeros_(self.scores.bias)
        self.book = nn.Parameter(torch.rand(groups, codes, code_dim))

    def forward(
        self, frames: torch.Tensor, temperature: float | None
    ) -> Quantized:
        """Quantise frames [..., width], in float32.

        ``temperature`` is that of the Gumbel softmax, whose noise comes from
        torch's global generator; None takes the best code, without noise.
        """
        with torch.autocast(frames.device.type, enabled=False):
            scores = self.scores(frames.float())
            scores = scores.unflatten(-1, (self.groups, -1))
            noisy = scores
            if temperature is not None:
                waits = torch.empty_like(scores).exponential_()
                noise = -waits.clamp_min(1e-30).log()  # a 0 may be drawn
                noisy = (scores + noise) / temperature
            codes = noisy.argmax(-1)
            choice = torch.zeros_like(scores).scatter_(
                -1, codes.unsqueeze(-1), 1.0
            )
            if temperature is not None:
                soft = noisy.softmax(-1)
                choice = choice + (soft - soft.detach())
            vectors = torch.einsum("...gv,gvd->...gd", choice, self.book)
            return Quantized(vectors.flatten(-2), codes, scores.softmax(-1))
