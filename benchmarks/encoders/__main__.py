"""`python -m benchmarks.encoders FAMILY...`: throughput from files, of the model alone, and of the originals."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from benchmarks.cache.measure import show
from benchmarks.encoders.material import CLIP_S, families, filled_encoder, make_clips
from benchmarks.encoders.speed import Bench, measure_reference, reference_loop
from cache.location import Store
from pipeline.monitor.device import PRECISIONS, describe, pick_device
from stages.embed.towers import load_tower

HEAD = [
    "encoder",
    "precision",
    "compiled",
    "from files, clips/s",
    "× real time",
    "from extracted audio, clips/s",
    "model alone, clips/s",
    "from files / alone",
    "reference, clips/s",
    "from files / reference",
    "GPU busy",
    "seconds in threads and device",
]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=families(), help=f"of {', '.join(families())}; all by default")
    parser.add_argument("--clips", type=int, default=200, help="of 10 s, each a compressed file of its own")
    parser.add_argument("--device", help="cpu, cuda, ...; a GPU where there is one by default")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"])
    parser.add_argument("--compile", choices=["no", "yes", "both"], default="no", help="through torch.compile")
    parser.add_argument("--batch-size", type=int, help="chosen by the run by default; the model alone then has 16")
    parser.add_argument("--workers", type=int, help="decoding threads; one per processor by default")
    parser.add_argument("--threads", type=int, help="of torch on the CPU; all processors by default")
    parser.add_argument("--alone-batches", type=int, default=8, help="batches that the model alone is fed with")
    parser.add_argument("--reference", type=Path, help="checkout of the original repository; measured with one family")
    parser.add_argument("--reference-clips", type=int, help="of the clips, for the original; all by default")
    parser.add_argument("--checkpoints", type=Path, help="folder of filled checkpoints; kept if it is named")
    parser.add_argument("--folder", type=Path, help="where media are written; a temporary folder by default")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parsed = parser.parse_args()
    if parsed.reference and len(parsed.families) != 1:
        parser.error("--reference goes with one family")
    return parsed


def measure(family: str, parsed: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """One result per precision, with and without torch.compile."""
    device = pick_device(parsed.device)
    if parsed.threads:
        torch.set_num_threads(parsed.threads)
    checkpoints = parsed.checkpoints or folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    encoder = filled_encoder(family, checkpoints)
    clips = make_clips(encoder, folder / ("media" if not parsed.folder else "."), parsed.clips, parsed.workers)
    reference = None
    if parsed.reference:
        chosen = clips[: parsed.reference_clips or len(clips)]
        reference = measure_reference(reference_loop(family, parsed.reference, encoder, device), chosen)
    results: list[dict[str, object]] = []
    for precision in parsed.precision:
        for compiled in {"no": [False], "yes": [True], "both": [False, True]}[parsed.compile]:
            version = filled_encoder(family, checkpoints, precision=precision)
            tower = load_tower(version, "clips", device, compiled)
            bench = Bench(version, tower, clips, parsed.batch_size, parsed.workers, device)
            with tempfile.TemporaryDirectory(dir=folder) as fresh, tempfile.TemporaryDirectory(dir=folder) as other:
                prepared = bench.warm_up(Store(Path(other)))
                alone = bench.model_alone(prepared, parsed.alone_batches)
                del prepared
                from_files, summary, busy = bench.from_files(Store(Path(fresh)))
                extracted = bench.from_files(Store(Path(fresh)))[0] if bench.listens else None
            results.append(
                {
                    "family": family,
                    "precision": precision,
                    "compiled": compiled,
                    "device": describe(device)["device"],
                    "clips": len(clips),
                    "batch_size": parsed.batch_size,
                    "from_files": from_files,
                    "from_extracted_audio": extracted,
                    "model_alone": alone,
                    "reference": reference,
                    "gpu_busy_percent": busy,
                    "seconds": summary.stopwatch.seconds,
                    "peak_gpu_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
                }
            )
            print(json.dumps(results[-1]), flush=True)
    return results


def line(result: dict[str, object]) -> list[object]:
    """A result as a line of the table."""
    from_files, alone, reference = (result[name] for name in ("from_files", "model_alone", "reference"))
    assert isinstance(from_files, float) and isinstance(alone, float) and isinstance(result["seconds"], dict)
    ratio = f"{from_files / reference:.2f}" if isinstance(reference, float) else "–"
    busy, extracted = result["gpu_busy_percent"], result["from_extracted_audio"]
    return [
        result["family"],
        result["precision"],
        "yes" if result["compiled"] else "no",
        f"{from_files:.2f}",
        f"{from_files * CLIP_S:.0f}",
        f"{extracted:.2f}" if isinstance(extracted, float) else "–",
        f"{alone:.2f}",
        f"{from_files / alone:.2f}",
        f"{reference:.2f}" if isinstance(reference, float) else "–",
        ratio,
        f"{busy:.0f} %" if isinstance(busy, float) else "–",
        ", ".join(f"{part} {seconds:.1f}" for part, seconds in result["seconds"].items()),
    ]


def main() -> None:
    """Measures, prints a table and perhaps writes JSON."""
    parsed = options()
    with tempfile.TemporaryDirectory(prefix="hearonce-benchmark-") as temporary:
        folder = parsed.folder or Path(temporary)
        results = [result for family in parsed.families for result in measure(family, parsed, folder)]
    device = results[0]["device"]
    title = f"{parsed.clips} clips of {CLIP_S:.0f} s, batches of {parsed.batch_size or 'what is best'}, {device}"
    show(title, HEAD, map(line, results))
    if parsed.json:
        parsed.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
