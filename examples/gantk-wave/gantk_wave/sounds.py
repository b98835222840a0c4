"""Plucked strings: making them, measuring them, writing them. Sounds are float arrays in [-1, 1], 16,000 a second."""

import itertools
import wave

import numpy as np

RATE, LENGTH = 16_000, 4_096  # samples a second, samples of a sound: .256 s
PITCHES = 220 * 2 ** (np.arange(13) / 12)  # Hz: an octave of semitones from A3
BANDS = np.geomspace(100, RATE / 2, 49)  # Hz: edges of the bands of `envelope`


def pluck(pitch, rng):
    """A decaying tone of eight harmonics near `pitch` (within 5 cents), of random loudness, colour and length."""
    t, h = np.arange(LENGTH) / RATE, np.arange(1, 9)[:, None]
    pitch = pitch * 2 ** (rng.uniform(-5, 5) / 1200)
    fall = np.exp(-rng.uniform(4, 12) * np.sqrt(h) * t)
    tone = (h ** -rng.uniform(1, 2) * fall * np.sin(2 * np.pi * h * pitch * t)).sum(0)
    fade = np.minimum(1, (LENGTH - np.arange(LENGTH)) / 160)
    return (rng.uniform(0.5, 0.9) * tone / np.abs(tone).max() * fade).astype(np.float32)


def plucks(number, seed):
    """`number` sounds, all pitches in turn: (number, LENGTH)."""
    rng = np.random.default_rng(seed)
    return np.stack([pluck(PITCHES[i % len(PITCHES)], rng) for i in range(number)])


def pitch(sounds):
    """(Hz, harmonicity) of each of N sounds: where the autocorrelation peaks, and how high (1: periodic, noise: .1).

    Boersma 1993, "Accurate short-term analysis of the fundamental frequency", eq. 9: the autocorrelation of the
    windowed sound over the window's own. The first peak within 5 % of the highest counts, else octaves are mistaken.
    """
    window = np.hanning(2048)

    def correlation(x):
        return np.fft.irfft(np.abs(np.fft.rfft(x, 4096)) ** 2)[..., :100]

    ratio = correlation(sounds[:, :2048] * window) / correlation(window)
    ratio = ratio / np.maximum(ratio[:, :1], 1e-12)
    lags = np.arange(25, 90)  # 178 to 640 Hz
    before, here, after = (ratio[:, lags + step] for step in (-1, 0, 1))
    peaks = np.where((here >= before) & (here > after), here, 0)
    first = (peaks >= 0.95 * peaks.max(1, keepdims=True)).argmax(1)
    b, h, a = (x[np.arange(len(sounds)), first] for x in (before, here, after))
    bend = np.where(b - 2 * h + a < 0, b - 2 * h + a, -1)
    offset = np.clip((b - a) / (2 * bend), -0.5, 0.5)  # a parabola through the peak and its neighbours
    return RATE / (lags[first] + offset), np.clip(peaks.max(1), 0, 1)


def envelope(sounds):
    """Decibels in 48 bands from 100 Hz up, in the first and in the second half: (N, 96)."""
    halves = sounds.reshape(len(sounds), 2, LENGTH // 2) * np.hanning(LENGTH // 2)
    power = np.abs(np.fft.rfft(halves)) ** 2
    edges = np.searchsorted(np.fft.rfftfreq(LENGTH // 2, 1 / RATE), BANDS)
    bands = [power[..., low : max(low + 1, high)].mean(-1) for low, high in itertools.pairwise(edges)]
    return 10 * np.log10(np.stack(bands, -1) + 1e-2).reshape(len(sounds), -1)  # 1e-2: nobody hears less


def frechet(x, y):
    """Fréchet distance of two sets of vectors taken as Gaussians: Dowson and Landau 1982, eq. 4."""
    a, b = np.cov(x.T), np.cov(y.T)
    root = np.sqrt(np.maximum(np.linalg.eigvals(a @ b).real, 0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * root)


def measure(sounds, real):
    """Figures of N sounds, notes in turn from the lowest, held against real ones."""
    hertz, harmonicity = pitch(sounds)
    asked = np.arange(len(sounds)) % len(PITCHES)
    cents = 1200 * np.log2(hertz / PITCHES[asked])
    good = (harmonicity > 0.9) & (np.abs(cents) < 20)
    return {
        "in tune": float(good.mean()),  # a share: tonal, and within 20 cents of the note that was asked for
        "notes": int(
            sum(good[asked == note].mean() >= 0.5 for note in set(asked.tolist()))
        ),  # with half of theirs in tune
        "harmonicity": float(harmonicity.mean()),
        "distance": frechet(envelope(sounds), envelope(real)),
    }


def write(sound, path):
    """One sound as a 16-bit mono WAV file."""
    with path.open("wb") as file, wave.open(file, "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(RATE)
        out.writeframes(np.round(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def spectrogram(sound):
    """(129, 61, 3) uint8, low tones at the bottom, white is loud: 60 dB from black to white."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 256)[::64] * np.hanning(256)
    level = 10 * np.log10(np.abs(np.fft.rfft(frames)) ** 2 + 1e-9)
    grey = np.clip((level.T[::-1] - 25) / 60 + 1, 0, 1)
    return np.repeat(np.uint8(255 * grey)[..., None], 3, axis=2)
