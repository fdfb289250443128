"""The layout of the code: the direction of imports, the owners of libraries, sizes, readers of the clock."""

from __future__ import annotations

import ast
import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "receipt_watcher"
ROOT = "receipt_watcher"

#: From the ground up: a package imports only from lines above its own, and from itself.
ORDER = """
errors
system
invoices
config jobs
examine
spool
inbox delivery review
report
notify web
service
cli
"""

#: Most entries of a folder besides its `__init__`, and the folders that are lists of one kind of thing.
ENTRIES_OF_FOLDER = 12
LISTS = {"docs", "migrations", "formats", "static", "templates", "commands", "workflows", "monitoring", "node"}
LINES_OF_MODULE = 400
LINES_OF_TEST_MODULE = 600
LINES_OF_CLASS = 250
ATTRIBUTES_OF_CLASS = 20
ARGUMENTS_OF_CONSTRUCTOR = 10

#: One library, one package: a name stands for itself and all below it.
OWNERS: dict[str, tuple[str, ...]] = {
    "PIL": ("examine", "cli.demo.samples"),  # samples of the demo are drawn
    "annotated_types": ("config",),
    "apprise": ("notify.channels",),
    "apscheduler": ("service",),
    "click": ("cli",),
    "h11": ("web",),
    "http.client": ("cli",),
    "httpx": ("delivery.destinations",),
    "jinja2": ("web",),
    "jwt": ("web.access",),
    "magic": ("examine",),
    "peewee": ("jobs.log",),
    "pillow_heif": ("examine", "cli.demo.samples"),
    "playhouse": ("jobs.log",),
    "prometheus_client": ("report",),
    "pybase64": ("delivery.destinations",),
    "pydantic": ("config", "web.api", "cli.documents"),
    "pydantic_core": ("config",),
    "pylibmagic": ("examine",),
    "pypdfium2": ("examine",),
    "python_multipart": ("web",),
    "sqlite3": ("jobs.log",),
    "starlette": ("web",),
    "tenacity": ("delivery.destinations",),
    "uvicorn": ("web",),
    "watchdog": ("inbox.watching",),
    "yaml": ("config", "cli.documents"),
}

#: Every stage logs, so structlog is everywhere; but only one module says how the lines look.
EVERYWHERE = {"structlog"}

#: The functions that catch any error: (module, function), and why.
CATCH_ALL = {
    (
        "service.process.openings",
        "_open",
    ): "the entry of each thread that opens an inbox: it logs, and the rounds go on",
    (
        "delivery.destinations.http_client",
        "__init__",
    ): "httpx promises nothing about what it raises for bad proxies and certificates",
    ("notify.channels.apprise_url", "_loaded"): "apprise loads a hundred plugins, and what they load",
    ("report.health.checks", "_trouble_of_log"): "whatever the database raises, the answer is «not ready»",
    ("system.time_limit", "run"): "whatever it is, it is raised again in the thread that asked",
    ("service.loops", "_loop"): "the entry of each stage's thread: it logs and goes on",
    ("service.loops", "do"): "the entry of each periodic task: it logs and goes on",
    ("examine.preview", "draw"): "no library promises anything about what it raises for bad content",
    (
        "service.process.reload",
        "_tried",
    ): "a defect of ours at a reload: it is logged, and the daemon that runs goes on",
    ("examine.worker", "_answer"): "a defect of ours on one file: the daemon is told, and refuses the file",
    ("examine.libraries", "with_pillow"): "Pillow promises nothing about what its plugins raise for bad content",
    ("examine.libraries", "with_pillow_heif"): "likewise for HEIC",
    ("examine.libraries", "decode_tiff"): "likewise for pictures that are decoded",
}

#: Modules that read the clock, and why; all others are told the time.
CLOCKS = {
    "cli.commands.notify": "a command is a moment of its own",
    "cli.check.check": "likewise",
    "cli.commands.balance": "likewise",
    "cli.commands.accept": "when a mark is left",
    "cli.commands.hold": "likewise",
    "cli.commands.receipts": "likewise",
    "cli.commands.run": "likewise",
    "system.clock": "it is the clock",
    "service.wiring": "the default of its argument: here the clock comes in",
    "cli.demo.demo": "its table shows how long it takes",
    "cli.demo.play": "likewise, and its patience ends",
    "cli.check.live": "measures how long each leg takes",
    "jobs.log.engine.locked": "measures for how long other programs keep the log locked, whatever time it is",
    "service.once": "its patience ends",
    "delivery.destinations.http_client": "measures how long an answer takes",
    "service.process.launcher": "the watchdog's clock",
    "service.process.reload": "its patience with a reload ends",
    "cli.demo.stand_in": "is another program, N8N's side",
    "service.process.signals": "the main thread waits so long",
}
_CLOCK_NAMES = {
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "monotonic"),
    ("time", "monotonic_ns"),
    ("time", "perf_counter"),
    ("time", "perf_counter_ns"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}

#: The first level of the repository; hidden entries aside.
TOP_LEVEL = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "receipt_watcher",
    "systemd",
    "tests",
    "watcher.example.yaml",
}


@dataclass(frozen=True)
class Module:
    """One module of the package, read but not run."""

    name: str
    tree: ast.Module

    @functools.cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree; to walk it is slow."""
        return list(ast.walk(self.tree))

    @functools.cached_property
    def imports(self) -> list[str]:
        """The full name of everything that is imported, wherever it stands, without what it is called here."""
        found: list[str] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: a relative import"
                found += [f"{node.module}.{alias.name}" for alias in node.names]
        return found

    def libraries(self) -> set[str]:
        """Return the libraries that are imported, without ourselves; of the standard one only what has an owner."""
        found = {name.split(".")[0] for name in self.imports} - sys.stdlib_module_names - {ROOT}
        owned = OWNERS.keys() & {name.rpartition(".")[0] for name in self.imports} | OWNERS.keys() & set(self.imports)
        return found | owned

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield all functions and methods."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def paths_of(folder: Path) -> dict[str, Path]:
    """Return the file of each module below a folder, by its name in the package."""
    paths = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        paths[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return paths


def read(folder: Path) -> dict[str, Module]:
    """Read all modules below a folder, by their name in the package."""
    return {name: Module(name, ast.parse(path.read_text("utf-8"))) for name, path in paths_of(folder).items()}


@functools.cache
def all_modules() -> dict[str, Module]:
    """Return all modules of the package."""
    return read(PACKAGE)


@pytest.fixture(scope="module", autouse=True)
def trees_are_dropped() -> Iterator[None]:
    """Later tests need not drag the trees of all modules along."""
    yield
    all_modules.cache_clear()


def own_imports(module: Module) -> set[str]:
    """Return the modules of the package that a module imports, without the package's own `__init__`."""
    found = set()
    for name in module.imports:
        if name.split(".")[0] == ROOT:
            inner = name.removeprefix(ROOT).removeprefix(".")
            while inner and inner not in all_modules():  # the last part is a name in that module
                inner = inner.rpartition(".")[0]
            found.add(inner)
    return found - {""}


def wrong_imports(modules: dict[str, Module]) -> set[tuple[str, str]]:
    """Return the imports that do not point down: (module, module)."""
    level = {package: number for number, line in enumerate(ORDER.split("\n")) for package in line.split()}
    return {
        (name, other)
        for name, module in modules.items()
        for other in own_imports(module)
        if (package := name.split(".")[0]) in level and package != (below := other.split(".")[0])
        if level[below] >= level[package]
    }


def owned_by(name: str, owners: tuple[str, ...]) -> bool:
    """Return whether a module is one of a library's owners, or lies below one."""
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


def circles(modules: dict[str, Module]) -> list[list[str]]:
    """Return modules that import each other in a circle, each circle once."""
    graph = {name: own_imports(module) & modules.keys() - {name} for name, module in modules.items()}
    while leaves := {name for name, others in graph.items() if not others}:
        graph = {name: others - leaves for name, others in graph.items() if name not in leaves}
    found = []
    while graph:  # whatever is left imports something that is left: following it comes round
        way = [min(graph)]
        while (following := min(graph[way[-1]])) not in way:
            way.append(following)
        circle = way[way.index(following) :]
        found.append(circle)
        graph = {name: others - set(circle) for name, others in graph.items() if name not in circle}
        while leaves := {name for name, others in graph.items() if not others}:
            graph = {name: others - leaves for name, others in graph.items() if name not in leaves}
    return found


# --- imports -------------------------------------------------------------------------------------------------------


def test_imports_point_down() -> None:
    """A package imports only from packages below its own, and never from one beside it."""
    assert wrong_imports(all_modules()) == set()


def test_each_package_has_its_line() -> None:
    """The root holds the packages of the order, the errors and what Python wants; nothing else."""
    known = {*ORDER.split(), "__init__", "__main__"}
    assert {name.split(".")[0] or "__init__" for name in all_modules()} <= known
    shown = {entry.name for entry in PACKAGE.iterdir() if entry.is_file() or any(entry.rglob("*.py"))}
    assert shown <= {*ORDER.split(), "errors.py", "__init__.py", "__main__.py", "py.typed"}


def test_no_circles() -> None:
    """No modules import each other in a circle, inside of a package either."""
    assert circles(all_modules()) == []


def test_all_imports_are_seen() -> None:
    """The test sees the imports that it judges: in functions, and of a whole module."""
    assert {"service.once", "service.process.supervisor", "report.status"} <= own_imports(
        all_modules()["cli.commands.run"]
    )
    assert own_imports(all_modules()["__main__"]) == {"cli.main"}


def test_each_library_has_its_package() -> None:
    """A library is used by the package that knows it, and none comes in unnoticed."""
    wrong = {
        (name, library)
        for name, module in all_modules().items()
        for library in module.libraries() - EVERYWHERE
        if not owned_by(name, OWNERS.get(library, ()))
    }
    assert wrong == set()


@pytest.mark.parametrize("library", OWNERS)
def test_each_owner_uses_its_library(library: str) -> None:
    """The table of libraries names no package that does not use its library."""
    for owner in OWNERS[library]:
        assert any(owned_by(name, (owner,)) and library in module.libraries() for name, module in all_modules().items())


def test_one_module_configures_logging() -> None:
    """How log lines look is said in one place."""
    found = {
        name
        for name, module in all_modules().items()
        for node in module.nodes
        if isinstance(node, ast.Attribute)
        and node.attr in {"configure", "basicConfig"}
        and ast.unparse(node) in {"structlog.configure", "logging.basicConfig"}
    }
    assert found == {"service.logging.setup"}


# --- sizes ---------------------------------------------------------------------------------------------------------


def lines_of_modules() -> dict[str, int]:
    """Return how many lines each module has."""
    return {name: len(path.read_text("utf-8").splitlines()) for name, path in paths_of(PACKAGE).items()}


def entries_of_folders(package: Path) -> dict[str, int]:
    """Return how many modules and folders each folder has besides its `__init__`; lists of one kind aside."""
    return {
        str(folder.relative_to(package)): sum(1 for entry in folder.iterdir() if _is_entry(entry))
        for folder in package.rglob("*")
        if _is_entry(folder) and folder.is_dir() and not LISTS.intersection(folder.relative_to(package).parts)
    }


def _is_entry(entry: Path) -> bool:
    if entry.is_dir():
        return entry.name not in LISTS | {"__pycache__"}
    return entry.suffix == ".py" and entry.name != "__init__.py"


def classes(modules: dict[str, Module]) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield each class but values, by its full name."""
    for name, module in modules.items():
        for node in module.nodes:
            if isinstance(node, ast.ClassDef) and not _is_value(node):
                yield f"{name}.{node.name}", node


def _is_value(node: ast.ClassDef) -> bool:
    marks = [ast.unparse(mark) for mark in (*node.decorator_list, *node.bases)]
    return any("frozen=True" in mark or mark in {"BaseModel", "Section", "_Model"} for mark in marks)


def attributes_of(node: ast.ClassDef) -> set[str]:
    """Return the attributes that the methods of a class give to itself."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def arguments_of_constructor(node: ast.ClassDef) -> int:
    """Return how many arguments a class is made with, `self` aside."""
    for each in node.body:
        if isinstance(each, ast.FunctionDef) and each.name == "__init__":
            return len([*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs]) - 1
    return 0


SIZES: dict[str, tuple[Callable[[], dict[str, int]], int]] = {
    "lines of a module": (lines_of_modules, LINES_OF_MODULE),
    "entries of a folder": (lambda: entries_of_folders(PACKAGE), ENTRIES_OF_FOLDER),
    "lines of a class": (
        lambda: {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in classes(all_modules())},
        LINES_OF_CLASS,
    ),
    "attributes of a class": (
        lambda: {name: len(attributes_of(node)) for name, node in classes(all_modules())},
        ATTRIBUTES_OF_CLASS,
    ),
    "arguments of a constructor": (
        lambda: {name: arguments_of_constructor(node) for name, node in classes(all_modules())},
        ARGUMENTS_OF_CONSTRUCTOR,
    ),
}


@pytest.mark.parametrize("what", SIZES)
def test_nothing_is_large(what: str) -> None:
    """Modules, folders, classes and constructors stay small enough to be read at one go."""
    measure, most = SIZES[what]
    sizes = measure()
    sys.stdout.write(f"{what}: {sorted(sizes.items(), key=lambda item: -item[1])[:3]}\n")
    assert {name for name, size in sizes.items() if size > most} == set()


def test_test_modules_are_short() -> None:
    """A test module shows one behaviour, and is short enough to be read at one go."""
    folder = Path(__file__).parent
    lines = {str(path.relative_to(folder)): len(path.read_text("utf-8").splitlines()) for path in folder.rglob("*.py")}
    sys.stdout.write(f"lines of a test module: {sorted(lines.items(), key=lambda item: -item[1])[:3]}\n")
    assert {name for name, count in lines.items() if count > LINES_OF_TEST_MODULE} == set()


# --- errors --------------------------------------------------------------------------------------------------------


def catches(handler: ast.ExceptHandler) -> set[str]:
    """Return the names of what is caught; a bare `except` catches BaseException."""
    if handler.type is None:
        return {"BaseException"}
    return {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}


def handlers() -> Iterator[tuple[str, str, ast.ExceptHandler]]:
    """Yield each `except` with its module and the innermost function around it."""
    for name, module in all_modules().items():
        for function in module.functions():
            inner = {id(node) for other in ast.walk(function) if other is not function for node in _body_of(other)}
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and id(node) not in inner:
                    yield name, function.name, node


def _body_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is inside a function; nothing for what is none."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from ast.walk(node)


def test_every_error_is_caught_at_the_entries_only() -> None:
    """Any error whatever is caught where a thread begins, and in the few other places that say why."""
    found = {(module, function) for module, function, handler in handlers() if "Exception" in catches(handler)}
    assert found == CATCH_ALL.keys()


def test_what_cannot_be_caught_is_passed_on() -> None:
    """Whoever catches even an interrupt only cleans up: the error goes on."""
    found = [(name, where, handler) for name, where, handler in handlers() if "BaseException" in catches(handler)]
    assert found
    kept = [(name, where) for name, where, handler in found if not isinstance(handler.body[-1], ast.Raise)]
    assert kept == []


# --- time ----------------------------------------------------------------------------------------------------------


def reads_clock(module: Module) -> bool:
    """Return whether a module asks for the time, by an attribute or by a name that it imports."""
    by_attribute = any(
        isinstance(node, ast.Attribute)
        and any(node.attr == clock for _, clock in _CLOCK_NAMES)  # taking an expression to text is slow
        and (ast.unparse(node.value).rpartition(".")[2], node.attr) in _CLOCK_NAMES
        for node in module.nodes
    )
    return by_attribute or any(name in {f"time.{clock}" for _, clock in _CLOCK_NAMES} for name in module.imports)


def test_few_read_the_clock() -> None:
    """The time is read at the edges; everything deeper is told it, so that tests can let days pass."""
    assert {name for name, module in all_modules().items() if reads_clock(module)} == CLOCKS.keys()


@pytest.mark.parametrize("folder", [PACKAGE, Path(__file__).parent], ids=["package", "tests"])
def test_nobody_sleeps(folder: Path) -> None:
    """Neither the program nor a test sleeps: they wait for something that happens, with a deadline."""
    found = [path for path in folder.rglob("*.py") if _sleeps(path.read_text("utf-8"))]
    assert found == []


def _sleeps(source: str) -> bool:
    if "sleep" not in source:
        return False
    module = Module("", ast.parse(source))
    return any(imported == "time.sleep" for imported in module.imports) or any(
        isinstance(node, ast.Attribute) and node.attr == "sleep" and ast.unparse(node) == "time.sleep"
        for node in module.nodes
    )


# --- the repository ------------------------------------------------------------------------------------------------


def test_the_top_level_is_small() -> None:
    """Whoever opens the repository sees a handful of entries, each of which is meant for a reader."""
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone")
    listed = subprocess.run(
        [git, "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    shown = {name.split("/")[0] for name in listed.stdout.split("\0") if name and not name.startswith(".")}
    assert {"receipt_watcher", "pyproject.toml"} <= shown
    assert shown - TOP_LEVEL == set()
