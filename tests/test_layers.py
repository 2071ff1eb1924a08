"""Imports point down, and the three sides meet only at the top."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bench"

# What each part may import of the package. A part is a module or a folder directly below `bench`.
FOUNDATION = {
    "errors", "interrupts", "units", "registry", "events", "record", "lineage", "cards", "metrics"
}  # fmt: skip
TABLE: dict[str, set[str]] = {
    "errors": set(),
    "interrupts": set(),
    "units": {"errors"},
    "registry": {"errors"},
    "events": set(),
    "places": set(),
    "record": {"errors"},
    "lineage": {"errors", "record"},
    "cards": {"errors", "registry"},
    "metrics": {"cards", "errors", "record"},
    "power": FOUNDATION,
    "learn": FOUNDATION | {"recipes"},
    "recipes": FOUNDATION | {"learn"},
    "rank": FOUNDATION | {"power.trace", "submission"},
    "child": FOUNDATION | {"power"},
    "account": FOUNDATION | {"power"},
    "merging": FOUNDATION | {"account", "power"},
    "nodes": {"child", "errors", "record"},
    "measure": FOUNDATION | {"power", "child", "account", "merging"},
    "importing": FOUNDATION | {"power", "child", "account", "measure"},
    "run": FOUNDATION
    | {
        "power",
        "learn",
        "recipes",
        "child",
        "account",
        "measure",
        "merging",
        "nodes",
        "workfolder",
    },
    "workfolder": FOUNDATION | {"learn", "child"},
    "continuing": FOUNDATION | {"power", "recipes", "run"},
    "program": FOUNDATION
    | {"power", "learn", "child", "account", "measure", "run", "workfolder", "reference"},
    "plot": FOUNDATION | {"account", "power", "rank.pareto"},
    "reference": FOUNDATION | {"power", "child", "run", "workfolder"},
    "submission": {"errors", "record"},
    "upstream": {"learn", "submission"},
    "checks": FOUNDATION
    | {"power.trace", "power.probes", "learn", "rank", "child", "account", "measure", "submission"}
    | {"merging", "places", "power.calibration", "recipes", "study", "upstream"},
    "redaction": {"places", "record"},
    "submit": FOUNDATION | {"checks", "redaction", "study", "submission"},
    "reevaluation": FOUNDATION | {"power", "learn", "recipes", "checks", "run", "workfolder"},
    "verification": FOUNDATION
    | {"power", "learn", "recipes", "rank", "child", "checks", "submission", "run", "reference"}
    | {"workfolder"},
    "footprint": FOUNDATION
    | {"account", "live", "measure", "plot", "power", "rank", "run", "study", "submission"}
    | {"checks.computing", "child", "learn", "recipes", "reference", "workfolder"},
    "site": FOUNDATION
    | {"account", "checks", "footprint", "learn", "listing", "plot", "power", "rank", "recipes"}
    | {"show"}
    | {"study", "submission", "verification", "__init__"},
    "turn": {"errors", "power.processes"},
    "study": FOUNDATION
    | {"power", "learn", "recipes", "rank", "child", "measure", "run", "workfolder", "reference"}
    | {"live", "places", "plot", "turn"},
    "live": {"units", "child", "rank"},
    "show": FOUNDATION | {"power", "learn", "recipes", "rank", "run", "reference"},
    "listing": FOUNDATION | {"rank", "show"},
    "cli": FOUNDATION
    | {"power", "learn", "recipes", "rank", "measure", "run", "program", "workfolder"}
    | {
        "live",
        "show",
        "listing",
        "plot",
        "reference",
        "continuing",
        "turn",
        "study",
        "nodes",
        "importing",
        "checks",
        "submission",
        "submit",
        "upstream",
        "reevaluation",
        "footprint",
        "site",
        "verification",
    },
    "__main__": {"cli"},
    "metering": FOUNDATION | {"power", "child", "account", "measure"},
    "__init__": {"metering"},
}
WITHOUT_TORCH = {"torch", "transformers", "datasets", "tokenizers", "safetensors"}
HEAVY = WITHOUT_TORCH | {
    "pandas", "scipy", "scipy.stats", "pyarrow", "rich", "sklearn", "altair", "vl_convert",
    "jinja2", "markdown_it",
}  # fmt: skip


def part_of(path: Path, package: Path) -> str:
    first = path.relative_to(package).parts[0]
    return first.removesuffix(".py")


def modules(package: Path) -> list[Path]:
    """Every module but the examples, which are programs of users."""
    return [p for p in sorted(package.rglob("*.py")) if part_of(p, package) != "docs"]


def imports(tree: ast.AST) -> set[str]:
    """The full names that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return found


def violations(package: Path) -> list[str]:
    """Each import inside `package` that the table does not allow, as 'file: name'."""
    parts = {p.name.removesuffix(".py") for p in package.iterdir() if p.suffix in ("", ".py")}
    wrong = []
    for path in modules(package):
        part = part_of(path, package)
        for name in sorted(imports(ast.parse(path.read_text(encoding="utf-8")))):
            pieces = name.split(".")
            if pieces[0] != "bench" or len(pieces) < 2 or pieces[1] not in parts:
                continue
            allowed = TABLE.get(part, set()) | {part}
            if pieces[1] not in allowed and ".".join(pieces[1:3]) not in allowed:
                wrong.append(f"{path.relative_to(package)}: {name}")
    return wrong


def test_imports_point_down() -> None:
    assert violations(PACKAGE) == []


def test_every_part_is_in_the_table() -> None:
    parts = {part_of(p, PACKAGE) for p in modules(PACKAGE)}
    assert parts == set(TABLE)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("power/meter.py", "from bench.learn import data"),
        ("rank/board.py", "import bench.power.meter"),
        ("rank/board.py", "from bench import power"),
        ("learn/loop.py", "def f():\n    from bench.rank.score import skill"),
        ("errors.py", "from bench import units"),
        ("record.py", "from bench.run import run"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    for part in TABLE:
        folder = part in ("power", "learn", "recipes", "rank")
        path = tmp_path / part / "__init__.py" if folder else tmp_path / f"{part}.py"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / file).write_text(line)
    assert len(violations(tmp_path)) == 1


def test_rank_may_read_a_trace(tmp_path: Path) -> None:
    (tmp_path / "rank").mkdir()
    (tmp_path / "power").mkdir()
    (tmp_path / "rank" / "checks.py").write_text("from bench.power.trace import Trace")
    assert violations(tmp_path) == []


def top_level(tree: ast.Module) -> set[str]:
    """Names imported when the module is imported."""
    body = [n for n in tree.body if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n))]
    return imports(
        ast.Module(body=[n for n in body if not isinstance(n, ast.FunctionDef)], type_ignores=[])
    )


def test_torch_is_imported_only_where_models_are() -> None:
    """Everything but the worker's own modules works without torch, and heavy imports are lazy."""
    for path in modules(PACKAGE):
        part = part_of(path, PACKAGE)
        if part in ("learn", "recipes"):
            continue
        names = imports(ast.parse(path.read_text(encoding="utf-8")))
        assert not {n.split(".")[0] for n in names} & WITHOUT_TORCH, path


def test_the_command_line_imports_nothing_heavy() -> None:
    parts = ("cli", "errors", "units", "registry", "events", "record", "cards", "metrics")
    for path in (p for p in modules(PACKAGE) if part_of(p, PACKAGE) in parts):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not {n.split(".")[0] for n in top_level(tree)} & HEAVY, path
