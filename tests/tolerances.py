"""One table of tolerances for all numerics: what is compared, and how close it must be."""

from __future__ import annotations

TOL: dict[str, float] = {
    "accumulated gradient, relative": 1e-5,
    "animation, mean of 0..255": 4.0,
    "augmentation, fp32 absolute": 1e-6,
    "augmentation, fp64 absolute": 1e-12,
    "demodulated deviation": 0.1,
    "distributed gradient, relative": 1e-6,
    "folded features, fp64 absolute": 1e-9,
    "Fréchet of equal sets": 1e-9,
    "Fréchet vs torchmetrics, absolute": 1e-6,
    "largest singular value": 0.01,
    "local features, absolute": 1e-5,
    "log row without TensorBoard, ms": 0.2,
    "latents, fp32 absolute": 1e-4,
    "latents, fp64 absolute": 1e-12,
    "gauge, known answer": 1e-5,
    "loss, known answer": 1e-6,
    "map of colours, absolute": 1e-6,
    "MS-SSIM, absolute": 1e-6,
    "ncnn parity, absolute": 1e-4,
    "onnx parity, absolute": 1e-4,
    "parts of a batch in fp64, relative": 1e-11,
    "penalty's slope, relative": 1e-5,
    "planes and back, share of the range": 1e-7,
    "resample, float32 absolute": 1e-6,
    "resample, float64 absolute": 1e-12,
    "row alone vs in a batch, absolute": 1e-5,
    "share of good points, of 20,000": 4e-3,
    "tiled vs untiled, fp32 absolute": 1e-5,
}
