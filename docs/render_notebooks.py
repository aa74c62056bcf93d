"""Executes the notebooks on a store and writes them as Markdown with pictures: docs/examples/ is made so.

    python docs/render_notebooks.py sqlite:///runs/arbor.db            into docs/examples
    python docs/render_notebooks.py sqlite:///runs/arbor.db -o FOLDER

The store must hold a search that samples variants, with trees among them, and a comparison with several seeds:

    python -m search.run
    python -m search.run --confirm quickstart-1 --top 2 --seeds 3
"""

from __future__ import annotations

import argparse
import base64
import io
import os
from pathlib import Path
from typing import Any

import jupytext
import nbclient
from PIL import Image
from sqlalchemy.engine import make_url

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOKS = REPOSITORY / "results" / "notebooks"
COLOURS = 200
"""Of a picture's palette: fewer lose the colour of a small marker."""
WIDEST = 800
LIMIT_SECONDS = 300


def executed(source: Path, storage: str) -> Any:
    """A notebook after all its cells have run on that store. Raises nbclient's CellExecutionError where a cell does."""
    url = make_url(storage)
    if url.get_backend_name() == "sqlite" and url.database:  # the notebook runs in its own folder
        url = url.set(database=str(Path(url.database).resolve()))
    os.environ["ARBOR_STORAGE"] = url.render_as_string(hide_password=False)
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    notebook = jupytext.read(source)
    nbclient.NotebookClient(
        notebook, timeout=LIMIT_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(source.parent)}}
    ).execute()
    return notebook


def write_markdown(notebook: Any, name: str, folder: Path) -> None:
    """The cells with what they printed and showed: `name`.md, and its pictures as `name`-1.png and so on."""
    parts: list[str] = []
    pictures = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                pictures += 1
                (folder / f"{name}-{pictures}.png").write_bytes(_small(base64.b64decode(data["image/png"])))
                parts.append(f"![]({name}-{pictures}.png)")
                continue
            text = output.get("text") or data.get("text/plain") or ""
            if text.strip():
                parts.append(f"```text\n{text.rstrip()}\n```")
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


def _small(png: bytes) -> bytes:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        packed, "PNG", optimize=True
    )
    return packed.getvalue()


def main() -> None:
    """Render all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("storage", help="the store that they read, an SQLAlchemy URL")
    parser.add_argument("-o", "--output", type=Path, default=REPOSITORY / "docs" / "examples")
    given = parser.parse_args()
    given.output.mkdir(exist_ok=True)
    for source in sorted(NOTEBOOKS.glob("*.py")):
        write_markdown(executed(source, given.storage), source.stem, given.output)
        print(f"Wrote {given.output / source.stem}.md")


if __name__ == "__main__":
    main()
