"""Inference per megapixel of input on the same weights, run by different means.

    python benchmarks/superres_inference.py [--model photo-x4] [--side 256] [--rounds 7] [--json FILE]

The baseline is what one gets without a toolkit: PyTorch eager, fp32, contiguous layout. Each way runs the same square
window of a photograph; ways take turns, and speed-ups are medians of ratios within a round. Run it without and with
`--hold` and compare the seconds: the second is how `gantk run` works. For a model whose ncnn files a package carries
(realesr-animevideov3) ncnn's CPU run is a row too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import torch
from common import paired, parser, ratio, report
from heldout import photos

from gantk_superres import catalog
from gantk_superres.enlarge import Enlarger
from gantoolkit import devices
from gantoolkit.model import Model, find


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", default="photo-x4")
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--hold", action="store_true", help="keep freed memory, as `gantk run superres` does")
    options.add_argument("--compiled", action="store_true", help="also torch.compile (a slow first run)")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.hold:
        devices.hold_memory()
    model = find("superres", arguments.model)
    window = photos()["astronaut"][: arguments.side, : arguments.side]
    pixels = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None].float() / 255

    ways = made(model, pixels, arguments.compiled)
    if arguments.model in catalog.PACKAGED:
        ways["ncnn, CPU"] = in_ncnn(arguments.model, pixels, arguments.threads)
    with torch.inference_mode():
        reference = ways["eager fp32, contiguous"]()
        seconds = paired(ways, arguments.rounds)
        rows = []
        for name, way in ways.items():
            difference = float(np.abs(np.asarray(way()) - np.asarray(reference)).max())
            median = statistics.median(seconds[name])
            speed_up = ratio(seconds["eager fp32, contiguous"], seconds[name])
            rows.append([name, median / (window.shape[0] * window.shape[1] / 1e6), speed_up, difference])
    held = ", memory held" if arguments.hold else ""
    title = f"{model.name}{held}, {arguments.side}×{arguments.side} window, {arguments.rounds} rounds"
    report(title, ["way", "s per input megapixel", "speed-up", "max difference"], rows, arguments)


def made(model: Model, pixels: torch.Tensor, compiled: bool) -> dict[str, Callable[[], object]]:
    """Every way that this installation can run."""
    eager = Enlarger(model, precision="fp32")
    plain = Enlarger(model, precision="fp32").network.to(memory_format=torch.contiguous_format)
    ways: dict[str, Callable[[], object]] = {
        "eager fp32, contiguous": lambda: plain(pixels),
        "eager fp32, channels_last": lambda: eager._run(pixels),
    }
    half = Enlarger(model, precision="bf16")
    ways["ours: bf16 autocast, channels_last"] = lambda: half._run(pixels)
    if compiled:
        network = torch.compile(Enlarger(model, precision="bf16").network)

        def run() -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return network(pixels.contiguous(memory_format=torch.channels_last)).float()

        ways["compiled bf16"] = run
    for backend, precision in (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        try:
            runner = Enlarger(model, precision=precision, backend=backend)._run  # type: ignore[arg-type]
            runner(pixels)
        except Exception as error:
            print(f"left out {backend}: {error}")
            continue
        ways[f"{backend} {precision}"] = lambda runner=runner: runner(pixels)  # type: ignore[misc]
    return ways


def in_ncnn(name: str, pixels: torch.Tensor, threads: int) -> Callable[[], object]:
    """ncnn's own CPU run of the packaged files, fp32."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    param, weights = catalog.PACKAGED[name].files()
    net.load_param(str(param))
    net.load_model(str(weights))
    array = np.ascontiguousarray(pixels[0].numpy())

    def run() -> object:
        extractor = net.create_extractor()
        given = ncnn.Mat(array)
        extractor.input(net.input_names()[0], given)
        _, output = extractor.extract(net.output_names()[0])
        return np.array(output)[None]

    return run


if __name__ == "__main__":
    main()
