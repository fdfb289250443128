"""How the code is laid out: which way imports point, which module owns which library, and where the clock is read."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "receipt_watcher"
ROOT = "receipt_watcher"

#: From the ground up: a module imports only from the layers below its own, never from its own.
LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(layer.split())
    for layer in (
        "__init__ errors codes migrations nodes invoice sentences wrappings",
        "migrations.0001_first migrations.0002_branches migrations.0003_retention",
        "migrations.0004_order migrations.0005_stored migrations.0006_holds migrations.0007_notices",
        "migrations.0008_execution migrations.0009_commands migrations.0010_listing migrations.0011_retention",
        "migrations.0012_withdrawn",
        "window verdict hours signing links roles masking turns injected proxies locked",
        "values",
        "job config pace program names waiting timelimit permissions clock problem tokens strangers entries journal",
        "logstream",
        "places",
        "systemd statusline onecore reloading",
        "admission envelope schemas jwts disk formats samples clashes example tables outbound telemetry",
        "standin stopsignal mounts events settling",
        "rights schema provenance manpages identities",
        "notices",
        "channels",
        "channels.webhook channels.apprise_url",
        "channels.registry",
        "clients",
        "note sources owner logfile installation destinations view progress writers snapshot runtimefolder examination",
        "workflows deployment reach forms operations",
        "examinerprocess examinerqueue",
        "examinerpool",
        "listing spool records evidence examiners bodies connections content readiness",
        "joblog search accepting",
        "sessions bindings marks",
        "callers",
        "findings lastbalance lastclosed",
        "balance export since",
        "audit",
        "formats.jpeg formats.png formats.gif formats.bmp formats.webp formats.tiff formats.heic formats.pdf",
        "receipt drawing",
        "inbox holds handholds intake examiner acceptance demo_receipts",
        "destinations.n8n",
        "route demo_play causes closed outbox",
        "statusfile notification heartbeat channeltest textfile healthcheck proxycheck",
        "starts takein delivery conclusion filing retention explain rebuild",
        "keptcallbacks",
        "fetching actions feed texts",
        "downloads thumbnails pageview",
        "gate loops rendering",
        "uploads",
        "pages",
        "web server signin",
        "assembly condition health ground vigil",
        "metrics api",
        "site",
        "check status daemon",
        "once demo live service",
        "commands",
        "commands.shared commands.table commands.manual",
        "commands.completing",
        "commands.installing",
        "commands.accepting",
        "commands.receipts commands.service commands.holding commands.configuration commands.books commands.monitoring",
        "commands.tokens",
        "cli",
        "__main__",
    )
)

#: What an admin types, by noun.
COMMANDS = frozenset(
    f"commands.{noun}"
    for noun in (
        *("shared", "table", "manual", "completing", "receipts", "service"),
        *("accepting", "holding", "configuration", "books", "monitoring", "installing", "tokens"),
    )
)

#: One library, one module; where it is more than one, they are one concern.
OWNERS: dict[str, frozenset[str]] = {
    "PIL": frozenset({"drawing", "receipt", "samples"}),
    "annotated_types": frozenset({"example"}),
    "apprise": frozenset({"channels.apprise_url"}),
    "apscheduler": frozenset({"loops"}),
    "click": frozenset({"cli", "demo", "manpages", *COMMANDS}),
    "h11": frozenset({"connections"}),
    "httpx": frozenset({"outbound"}),
    "jinja2": frozenset({"rendering"}),
    "jwt": frozenset({"jwts"}),
    "magic": frozenset({"receipt"}),
    "prometheus_client": frozenset({"metrics"}),
    "peewee": frozenset({"joblog", "logfile", "records", "tables"}),
    "pillow_heif": frozenset({"drawing", "receipt", "samples"}),
    "playhouse": frozenset({"logfile"}),
    "pybase64": frozenset({"destinations.n8n"}),
    "pydantic": frozenset(
        {"api", "config", "example", "manpages", "masking", "operations", "schemas", "sources", "values"}
    ),
    "pydantic_core": frozenset({"sources", "values"}),
    "pylibmagic": frozenset({"receipt"}),
    "pypdfium2": frozenset({"drawing", "receipt"}),
    "python_multipart": frozenset({"forms"}),
    "starlette": frozenset(
        {
            "api",
            "bodies",
            "callers",
            "connections",
            "downloads",
            "envelope",
            "feed",
            "ground",
            "pages",
            "rendering",
            "server",
            "signin",
            "uploads",
            "web",
        }
    ),
    "tenacity": frozenset({"outbound"}),
    "uvicorn": frozenset({"connections", "server"}),
    "watchdog": frozenset({"events"}),
    "yaml": frozenset({"example", "provenance", "sources"}),
}

#: Every stage logs, so structlog is everywhere; but only one module says how the lines look.
EVERYWHERE = {"structlog"}

#: Words that say nothing, and why a name may have one all the same.
EMPTY_WORDS = {"manager", "helper", "helpers", "util", "utils", "handle", "handler", "process", "data"}
EXCUSED_NAMES = {"data_received": "asyncio calls it so", "handle_request": "httpx calls it so"}

#: Where any error whatever is caught: (module, function), and why.
CATCH_ALL = {
    ("daemon", "_open_gate"): "the entry of each thread that opens an inbox: it logs, and the rounds go on",
    ("outbound", "__init__"): "httpx promises nothing about what it raises for bad proxies and certificates",
    ("channels.apprise_url", "_loaded"): "apprise loads a hundred plugins, and what they load",
    ("health", "_trouble_of_log"): "whatever the database raises, the answer is «not ready»",
    ("timelimit", "run"): "whatever it is, it is raised again in the thread that asked",
    ("loops", "_loop"): "the entry of each stage's thread: it logs and goes on",
    ("loops", "do"): "the entry of each periodic task: it logs and goes on",
    ("drawing", "draw"): "no library promises anything about what it raises for bad content",
    ("service", "_tried"): "a defect of ours at a reload: it is logged, and the daemon that runs goes on",
    ("examiner", "_answer"): "a defect of ours on one file: the daemon is told, and refuses the file",
    ("receipt", "_with_pillow"): "Pillow promises nothing about what its plugins raise for bad content",
    ("receipt", "_with_pillow_heif"): "likewise for HEIC",
}

#: Who reads the clock, and why; everybody else is told the time.
CLOCKS = {
    "channeltest": "a command is a moment of its own",
    "check": "likewise",
    "commands.books": "likewise",
    "commands.accepting": "when a mark is left",
    "commands.holding": "likewise",
    "commands.receipts": "likewise",
    "commands.service": "likewise",
    "clock": "it is the clock",
    "daemon": "the default of its argument: here the clock comes in",
    "demo": "its table shows how long it takes",
    "demo_play": "likewise, and its patience ends",
    "live": "measures how long each leg takes",
    "locked": "measures for how long other programs keep the log locked, whatever time it is",
    "once": "its patience ends",
    "outbound": "measures how long an answer takes",
    "service": "the vigil's clock, and its patience with a reload ends",
    "standin": "is another program, N8N's side",
    "stopsignal": "the main thread waits so long",
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

#: What the repository shows first; hidden entries aside.
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

    def imports(self) -> Iterator[str]:
        """Yield the full name of everything that is imported, wherever it stands, without what it is called here."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: a relative import"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def libraries(self) -> set[str]:
        """Return the libraries that are imported, without the standard one and ourselves."""
        return {name.split(".")[0] for name in self.imports()} - sys.stdlib_module_names - {ROOT}

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield all functions and methods."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def read(folder: Path) -> dict[str, Module]:
    """Read all modules below a folder, by their name in the package."""
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
        modules[name] = Module(name, ast.parse(path.read_text("utf-8")))
    return modules


MODULES = read(PACKAGE)


def own_imports(module: Module) -> set[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for name in module.imports():
        if name.split(".")[0] == ROOT:
            inner = name.removeprefix(ROOT).removeprefix(".")
            while inner not in MODULES:  # the last part is a name in that module
                inner = inner.rpartition(".")[0] or "__init__"
            found.add(inner)
    return found


def layer_of(name: str) -> int:
    """Return the number of a module's layer; 0 is the ground."""
    [number] = [number for number, layer in enumerate(LAYERS) if name in layer]
    return number


# --- imports -------------------------------------------------------------------------------------------------------


def test_each_module_has_its_layer() -> None:
    """Each module stands in the table of layers once, and the table names no module that is gone."""
    listed = [name for layer in LAYERS for name in layer]
    assert sorted(listed) == sorted(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name: str) -> None:
    """A module imports only from layers below its own."""
    wrong = {other for other in own_imports(MODULES[name]) if layer_of(other) >= layer_of(name)}
    assert wrong == set()


def test_all_imports_are_seen() -> None:
    """The test sees the imports that it judges: in functions, of the package itself, and of a whole module."""
    assert {"records", "job", "tables"} <= own_imports(MODULES["joblog"])
    assert {"once", "service", "status", "telemetry"} <= own_imports(MODULES["commands.service"])
    assert {"__init__", "commands.service"} <= own_imports(MODULES["cli"])
    assert own_imports(MODULES["destinations.n8n"]) >= {"destinations", "outbound"}
    assert own_imports(MODULES["__main__"]) == {"cli"}


@pytest.mark.parametrize("name", MODULES)
def test_each_library_has_its_module(name: str) -> None:
    """A library is used by the one module that knows it, and none comes in unnoticed."""
    wrong = {
        library for library in MODULES[name].libraries() - EVERYWHERE if name not in OWNERS.get(library, frozenset())
    }
    assert wrong == set()


@pytest.mark.parametrize("library", OWNERS)
def test_each_owner_uses_its_library(library: str) -> None:
    """The table of libraries names no library that nobody uses any more."""
    assert any(library in MODULES[name].libraries() for name in OWNERS[library])


def test_one_module_configures_logging() -> None:
    """How log lines look is said in one place."""
    found = {
        name
        for name, module in MODULES.items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"configure", "basicConfig"}
        and ast.unparse(node) in {"structlog.configure", "logging.basicConfig"}
    }
    assert found == {"telemetry"}


# --- names ---------------------------------------------------------------------------------------------------------


def words_of(name: str) -> set[str]:
    """Return the words of a name, be it in snake case or in camel case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_in(module: Module) -> Iterator[str]:
    """Yield the names that a module gives: its own, and those of its classes, functions and their arguments."""
    yield from module.name.split(".")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("name", MODULES)
def test_names_say_something(name: str) -> None:
    """No module, class, function or argument has a name that would fit any other as well."""
    empty = {given for given in names_in(MODULES[name]) if words_of(given) & EMPTY_WORDS}
    assert empty - EXCUSED_NAMES.keys() == set()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("handle_callback", {"handle", "callback"}),
        ("JobManager", {"job", "manager"}),
        ("HTTPHandler2", {"http", "handler"}),
        ("notion_database_id", {"notion", "database", "id"}),
        ("dataclass", {"dataclass"}),
    ],
)
def test_words_are_whole(name: str, words: set[str]) -> None:
    """A name is judged by its whole words: «database» is not «data»."""
    assert words_of(name) == words


# --- errors --------------------------------------------------------------------------------------------------------


def catches(handler: ast.ExceptHandler) -> set[str]:
    """Return the names of what is caught; a bare `except` catches BaseException."""
    if handler.type is None:
        return {"BaseException"}
    return {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}


def handlers() -> Iterator[tuple[str, str, ast.ExceptHandler]]:
    """Yield each `except` with its module and the innermost function around it."""
    for name, module in MODULES.items():
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
    """Whether a module asks for the time, by an attribute or by a name that it imports."""
    by_attribute = any(
        isinstance(node, ast.Attribute)
        and any(node.attr == clock for _, clock in _CLOCK_NAMES)  # taking an expression to text is slow
        and (ast.unparse(node.value).rpartition(".")[2], node.attr) in _CLOCK_NAMES
        for node in ast.walk(module.tree)
    )
    return by_attribute or any(name in {f"time.{clock}" for _, clock in _CLOCK_NAMES} for name in module.imports())


def test_few_read_the_clock() -> None:
    """The time is read at the edges; everything deeper is told it, so that tests can let days pass."""
    assert {name for name, module in MODULES.items() if reads_clock(module)} == CLOCKS.keys()


@pytest.mark.parametrize("folder", [PACKAGE, Path(__file__).parent], ids=["package", "tests"])
def test_nobody_sleeps(folder: Path) -> None:
    """Neither the program nor a test sleeps: they wait for something that happens, with a deadline."""
    found = [
        name
        for name, module in read(folder).items()
        if any(imported == "time.sleep" for imported in module.imports())
        or any(
            isinstance(node, ast.Attribute) and node.attr == "sleep" and ast.unparse(node) == "time.sleep"
            for node in ast.walk(module.tree)
        )
    ]
    assert found == []


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
