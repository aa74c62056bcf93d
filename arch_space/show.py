"""A variant without training it: `python -m arch_space.show KEY=VALUE ... [--json]`."""

import dataclasses
import json
import re
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from arch_space.cost import Cost, cost
from arch_space.flat import parse_assignments, refuse_unknown
from arch_space.model import ModelConfig
from arch_space.registry import FFN

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

_EPILOG = """
Examples:

    python -m arch_space.show

    python -m arch_space.show dim=256 layout=pair ffn.mlp.hidden=128

    python -m arch_space.show ffn=fff ffn.fff.depth=4 ffn.fff.trees=2 --json

    python -m arch_space.show ffn=squared_relu --variants squared_relu.py
"""


@app.command(epilog=_EPILOG)
def show(
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Keys of the model; the others take defaults.")
    ] = None,
    variants: Annotated[
        list[str] | None, typer.Option(help="A file or folder of feed-forward kinds of your own; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Shows a model's parameters, neurons used, multiply-adds and shapes, without training or building it.

    Keys: dim, depth, heads, patch, layout, dropout, classes, image_size, ffn (the kind) and `ffn.<kind>.<field>`.
    """
    try:
        for path in variants or []:
            FFN.discover(path)
        config = read_model(settings or [])
        result = cost(config)
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(result)))
    else:
        _print(config, result)


def read_model(assignments: list[str]) -> ModelConfig:
    """The model that `KEY=VALUE` texts describe. Raises ValueError for a key that is not the model's."""
    flat = parse_assignments(assignments)
    other_kinds = (key for key in flat if key.startswith("ffn."))  # from_flat has the better sentence for these
    refuse_unknown(flat, ModelConfig.keys(flat).union(other_kinds))
    return ModelConfig.from_flat(flat)


def _print(config: ModelConfig, result: Cost) -> None:
    console = Console()
    console.print(" ".join(f"{key}={value}" for key, value in config.to_flat().items()), highlight=False)
    costs = Table("cost", "value", "counts", title=f"vit_tiny with {FFN.kind_of(config.ffn)}", title_justify="left")
    costs.columns[1].justify = "right"
    used = "not defined" if result.neurons_used is None else f"{result.neurons_used:,}"
    costs.add_row("parameters", f"{result.parameters:,}", "trained numbers, whole model")
    costs.add_row("neurons_used", used, "neurons of one block, for one token")
    costs.add_row("macs", f"{result.macs:,}", "multiply-adds an image, as trained")
    costs.add_row("macs_conditional", f"{result.macs_conditional:,}", "multiply-adds an image, conditional")
    console.print(costs)
    console.print(_shapes_table(config, result))


def _shapes_table(config: ModelConfig, result: Cost) -> Table:
    """One line a parameter; what every block has is said once, with its number of copies."""
    table = Table("parameter", "shape", "copies", "numbers", title="shapes", title_justify="left")
    table.columns[0].overflow = "fold"  # a name cut short would say nothing
    for column in table.columns[1:]:
        column.justify = "right"
    for name, shape in result.shapes.items():
        block = re.match(r"blocks\.(\d+)\.", name)
        if block and block[1] != "0":
            continue
        copies = config.depth if block else 1
        numbers = copies
        for size in shape:
            numbers *= size
        label = re.sub(r"^blocks\.0\.", "blocks.*.", name)
        table.add_row(label, " x ".join(map(str, shape)), str(copies), f"{numbers:,}")
    return table


if __name__ == "__main__":
    app(prog_name="python -m arch_space.show")
