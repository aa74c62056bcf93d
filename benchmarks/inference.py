"""`python -m benchmarks.inference [KEY=VALUE ...]`: dense and conditional execution of a feed-forward at inference.

What is published as a speed-up of 78 on one CPU core at 4,095 neurons (arXiv 2311.10770, whose ceiling is 4095 / 12 = 341)
comes from a benchmark in which every sample walks the same path, so that its few rows stay in the cache, and the second
matrix is never read. Here every token is another, the whole feed-forward is computed, and what it is held against is told
for each figure: the same weights computed densely, a dense layer (`mlp`) of equal parameters, and one of as many neurons as
the tree uses, which is the same arithmetic without a tree. `ffn=fff ffn.fff.depth=11` is the published size.

Every row is one way to compute: a call's median in microseconds, `iqr` between the quartiles, and for the two forms how
many times as fast they are as the others (`x dense` and so on). All take turns. `verdict` says where the conditional form
loses: slower in at least three quarters of the turns; it is level where neither is. On a CPU `cpu_share` is this process's
CPU time for each second on the clock: below 0.9 for each thread others held the cores, and nothing is judged.
Weights and activations are fp32 on a CPU and bf16 on a GPU, in the whole model, too.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from torch import Tensor, nn

from arch_space.cost import cost
from arch_space.ffn.mlp import MLPConfig
from arch_space.vit_tiny import VitTiny
from benchmarks.subjects import Subject, conditional_kinds, of_trial, trained_on_digits, untrained, with_ffn
from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from trainer.config import parse_pairs
from trainer.timing import Call, Spread, cores, cpu_threads, distinct_inputs, time_calls

Row = dict[str, Any]
SIZES = (1, 65, 65_000)
"""Tokens of a call: one, those of an image, those of an evaluation's batch of 1,000 images."""
SECONDS = 0.3
GRAPHED = 65
"""Up to so many tokens a GPU waits for its launches, and recorded graphs are timed, too."""
POOL = PATH_TOKENS = 4096
"""Tokens that calls on few of them go through before one comes again; those of which paths are compared."""
FORMS = ("dense", "conditional")
EQUAL = ("equal parameters", "equal neurons")
NOT_JUDGED = "not judged: the threads had"
PLACE = ("part", "device", "threads", "tokens")
"""What rows that were timed in turn have in common."""


def of_kinds(changes: Mapping[str, Any], **how: Any) -> Iterator[Row]:
    """The `figures` of every kind with a conditional form, or of the one that `changes` names, at the start of training."""
    for subject in [
        untrained(kind, own) for kind, own in _by_kind(changes)
    ]:  # all first: what is refused times nothing
        yield from figures(subject, **how)


@torch.inference_mode()
def figures(
    subject: Subject,
    *,
    sizes: Sequence[int] = SIZES,
    seconds: float = SECONDS,
    threads: Sequence[int] | None = None,
    hidden: Sequence[int] = (),
) -> Iterator[Row]:
    """All rows of one subject: on the CPU with one thread and with all (or `threads`), on the GPU where there is one.

    Args:
        hidden: widths of further dense layers that are timed in the same turns.
    """
    beside = {**equal_layers(subject), **{f"mlp hidden={width}": MLPConfig(hidden=width) for width in hidden}}
    for device in [torch.device("cpu"), *([torch.device("cuda", 0)] if torch.cuda.is_available() else [])]:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        layers, models = _layers(subject, beside, device, dtype), _models(subject, beside, device, dtype)
        for count in (threads or sorted({1, cores()})) if device.type == "cpu" else (None,):
            with cpu_threads(count or 1):
                for batches in batches_of(subject, sizes, device, dtype):
                    where = {
                        "part": "feed-forward",
                        "device": device.type,
                        "threads": count,
                        "tokens": len(batches[0]),
                    }
                    yield from _rows(subject, beside, where, layers, batches, device, seconds)
                images = images_of(subject, device, dtype)
                where = {"part": "model", "device": device.type, "threads": count, "tokens": subject.config.tokens}
                yield from _rows(subject, beside, where, models, images, device, seconds)
        share = differing_paths(subject.module, next(batches_of(subject, (PATH_TOKENS,), device, torch.float32))[0])
        if share is not None:
            yield {
                "what": f"{subject.name}: of tokens take another path in bf16 than in float64",
                "weights": subject.weights,
                "device": device.type,
                "share": share,
            }


def equal_layers(subject: Subject) -> dict[str, MLPConfig]:
    """Dense layers of as many parameters, to half a neuron, and of as many neurons as one token uses."""
    dim, ffn = subject.config.dim, subject.config.ffn
    hidden = max(1, round((ffn.parameters(dim) - dim) / (2 * dim + 1)))
    layers = {EQUAL[0]: MLPConfig(hidden=hidden)}
    if (used := cost(subject.config).neurons_used) is not None:
        layers[EQUAL[1]] = MLPConfig(hidden=used // subject.config.feed_forwards)
    return layers


def _layers(
    subject: Subject, beside: Mapping[str, MLPConfig], device: torch.device, dtype: torch.dtype
) -> dict[str, Call]:
    """The feed-forward alone, in both forms, and the dense layers beside it."""
    module = copy.deepcopy(subject.module).to(device, dtype)
    dim = subject.config.dim
    others = {name: config.build(dim, 0.0).eval().to(device, dtype) for name, config in beside.items()}
    return {**others, "dense": module.forward, "conditional": module.forward_conditional}  # type: ignore[dict-item]


def _models(
    subject: Subject, beside: Mapping[str, MLPConfig], device: torch.device, dtype: torch.dtype
) -> dict[str, Call]:
    """The same for the whole model."""
    others = {name: with_ffn(subject.config, config) for name, config in beside.items()}
    forms = {"dense": copy.deepcopy(subject.model), "conditional": conditional(copy.deepcopy(subject.model))}
    return {name: model.to(device, dtype) for name, model in {**others, **forms}.items()}


def conditional(model: VitTiny) -> VitTiny:
    """The model, with every feed-forward that has a conditional form computed by it."""
    for module in model.modules():
        if hasattr(module, "forward_conditional"):
            module.forward = module.forward_conditional  # type: ignore[assignment]
    return model


def batches_of(
    subject: Subject, sizes: Sequence[int], device: torch.device, dtype: torch.dtype
) -> Iterator[list[Tensor]]:
    """For each size, batches (tokens, D) in which no token occurs twice; smaller where a trial's images have too few."""
    dim = subject.config.dim
    if subject.tokens is None:
        yield from (distinct_inputs(size, dim, device, dtype) for size in sizes)
        return
    for size in dict.fromkeys(min(size, len(subject.tokens) // 2) for size in sizes):
        parts = subject.tokens[: max(2 * size, POOL)].split(size)
        yield [part.to(device, dtype) for part in parts if len(part) == size]


def images_of(subject: Subject, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Batches (1, 3, S, S), each another image."""
    size = subject.config.image_size
    images = torch.randn(256, 3, size, size) if subject.images is None else subject.images[:256]
    return [image[None].to(device, dtype) for image in images]


def _rows(
    subject: Subject,
    beside: Mapping[str, MLPConfig],
    where: Row,
    calls: Mapping[str, Call],
    inputs: Sequence[Tensor],
    device: torch.device,
    seconds: float,
) -> Iterator[Row]:
    """A row for each call; on a GPU that would wait for launches, the calls once more as recorded graphs."""
    spreads = time_calls(calls, inputs, device, seconds=seconds)
    for name, spread in spreads.items():
        low, high = spread.quartiles
        row = {
            "what": f"{subject.name}: {f'mlp hidden={beside[name].hidden}, {name}' if name in EQUAL else name}",
            "weights": subject.weights if name in FORMS else "start",
            **where,
            "microseconds": 1e6 * spread.median,
            "iqr": 1e6 * (high - low),
            "cpu_share": spread.cpu_share,
        }
        if name in FORMS:
            row |= {f"x {other}": spread.times_as_fast(spreads[other]) for other in spreads if other != name}
        if name == "conditional":
            alone = device.type == "cuda" or not spread.disturbed(where["threads"])
            row["verdict"] = verdict(spreads) if alone else f"{NOT_JUDGED} {spread.cpu_share:.2f} of their cores"
        yield row
    if device.type == "cuda" and where["tokens"] <= GRAPHED and where["device"] != "cuda graph":
        graphs = {name: recorded(call, inputs[0]) for name, call in calls.items()}
        yield from _rows(subject, beside, {**where, "device": "cuda graph"}, graphs, inputs, device, seconds)


def verdict(spreads: Mapping[str, Spread]) -> str:
    """To which of the others the conditional form loses, with which it is level, and against which it wins."""
    found = {name: spreads["conditional"].compare(other) for name, other in spreads.items() if name != "conditional"}
    words = {"slower": "loses to", "level": "level with", "faster": "wins against"}
    told = [(word, [name for name, compared in found.items() if compared == how]) for how, word in words.items()]
    return "; ".join(f"{word} {', '.join(names)}" for word, names in told if names)


def recorded(call: Call, example: Tensor) -> Call:
    """The call as a CUDA graph, which takes its input by a copy into its own memory (part of its time)."""
    own = example.clone()
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            call(own)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call(own)

    def replay(x: Tensor) -> None:
        own.copy_(x)
        graph.replay()

    return replay


def differing_paths(module: nn.Module, tokens: Tensor) -> float | None:
    """The share of tokens (N, D) of which any tree's path in bf16 is not that in float64; none for a kind without leaves.

    In bf16 weights and tokens are rounded, as autocast rounds them.
    """
    if not hasattr(module, "leaves"):
        return None
    leaves = {}
    for dtype in (torch.float64, torch.bfloat16):
        rounded = copy.deepcopy(module).to(tokens.device, dtype)
        leaves[dtype] = rounded.leaves(tokens.to(dtype))  # type: ignore[operator]
    differs = (leaves[torch.float64] != leaves[torch.bfloat16]).any(dim=-1)
    return differs.double().mean().item()


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

HELP = """\
Time the dense and the conditional execution of feed-forwards at inference, every token another.

Examples:

  python -m benchmarks.inference                                 every kind that has both forms, at its start

  python -m benchmarks.inference ffn=fff ffn.fff.depth=11        the size of the published speed-up

  python -m benchmarks.inference --trial fff_vs_dense-1.7        trained weights, and the trial's own validation images

  python -m benchmarks.inference ffn=fff --digits 4              weights after 4 epochs on the embedded digits

  python -m benchmarks.inference ffn=fff --hidden 320,384        dense layers of these widths, too: which is as fast?
"""


@app.command(help=HELP)
def main(
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys of the model.")] = None,
    trial: Annotated[str | None, typer.Option(help="A trial, or a checkpoint's file, whose weights are used.")] = None,
    digits: Annotated[int | None, typer.Option(help="Train each kind on the digits for so many epochs.")] = None,
    tokens: Annotated[str, typer.Option(help="Tokens of a call.")] = ",".join(map(str, SIZES)),
    seconds: Annotated[float, typer.Option(help="About how long each figure is timed.")] = SECONDS,
    hidden: Annotated[str, typer.Option(help="Widths of dense layers to time beside them, such as 320,384.")] = "",
    output: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")] = None,
    storage: Annotated[str, typer.Option(help="Where the trial is.")] = DEFAULT_STORAGE,
) -> None:
    """Print rows as they come."""
    sizes = _counts(tokens, "--tokens")
    widths = _counts(hidden, "--hidden") if hidden else ()
    if not 0 < seconds < 3600:
        raise InputError(f'"--seconds" must be above 0 and below 3600, but got {seconds:g}.')
    console = Console(file=sys.stderr if output == "-" else None, soft_wrap=True, highlight=False)
    rows: list[Row] = []
    for subject in _subjects(dict(parse_pairs(keys or [])), trial, digits, storage):
        inputs = "N(0, 1)" if subject.tokens is None else "what its validation images bring to the first block"
        console.print(f"{subject.name}: weights {subject.weights}; tokens {inputs}, every one another.")
        for row in figures(subject, sizes=sizes, seconds=seconds, hidden=widths):
            _print(row, rows[-1] if rows else None, console)
            rows.append(row)
            if output not in (None, "-"):
                Path(str(output)).write_text(json.dumps(rows, indent=1))  # after every row: a kill loses none
    if output == "-":
        print(json.dumps(rows, indent=1))


def _subjects(changes: dict[str, Any], trial: str | None, digits: int | None, storage: str) -> Iterator[Subject]:
    if trial is not None:
        if changes or digits is not None:
            raise InputError(
                f"--trial {trial} has its keys and weights already, so neither KEY=VALUE nor --digits apply."
            )
        yield of_trial(trial, storage)
        return
    if digits is not None and digits < 1:
        raise InputError(f'"--digits" must be at least 1 epoch, but got {digits}.')
    started = [untrained(kind, own) for kind, own in _by_kind(changes)]  # all first: what is refused times nothing
    if digits is None:
        yield from started
        return
    for kind, own in _by_kind(changes):
        yield trained_on_digits(kind, own, digits)


def _by_kind(changes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each kind to be timed, with the keys that are its model's; of all kinds, a key of one changes that one alone."""
    kinds = [str(changes["ffn"])] if "ffn" in changes else conditional_kinds()
    for kind in kinds:
        others = [f"ffn.{other}." for other in kinds if other != kind]
        yield kind, {key: value for key, value in changes.items() if not key.startswith(tuple(others))}


def _counts(text: str, option: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 1 <= int(part) <= 10**7 for part in parts):
        raise InputError(f'"{option}" must be numbers from 1 to 10,000,000 such as 1,65, but got {text!r}.')
    return tuple(int(part) for part in parts)


def _print(row: Row, before: Row | None, console: Console) -> None:
    """A row as a line, under a heading where it was timed elsewhere than the row before."""
    what = row["what"].partition(": ")[2]
    if "share" in row:
        console.print(f"  {row['device']}: {100 * row['share']:.2f} % {what}")
        return
    place = [str(row[key]) for key in PLACE]
    if before is None or [str(before.get(key)) for key in PLACE] != place:
        threads = f", {row['threads']} thread(s)" if row["threads"] else ""
        what_whole = "1 image through the whole model" if row["part"] == "model" else f"{row['tokens']:,} token(s)"
        console.print(f"  {row['device']}{threads}, {what_whole}", style="bold")
    ratios = ", ".join(f"{row[key]:.2f} {key}" for key in row if key.startswith("x "))
    console.print(f"    {what:<40} {row['microseconds']:>13,.1f} us  iqr {row['iqr']:>11,.1f}  {ratios}".rstrip())
    if "verdict" in row:
        console.print(f"      conditional {row['verdict']}")


if __name__ == "__main__":
    run(app, "python -m benchmarks.inference")
