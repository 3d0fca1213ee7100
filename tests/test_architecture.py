"""Claims about the house: who imports whom, and how large a thing grows (docs/decisions.md)."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "fedklpr_flwr"
EXPERIMENTS = PACKAGE.parent / "experiments"

QUIET_ROOMS = ("data", "reid", "algorithm", "wire")
FRONT_HALL = (
    *("client_app", "server_app", "strategy", "sweep"),
    *("server", "runs", "launch", "deploy", "planning", "report", "search", "export"),
)
FLOORS = (
    ("errors", "version", "wording", "flower_internals"),
    ("system",),
    QUIET_ROOMS,
    ("config",),
    ("model",),
    ("protocol",),
    ("client",),
    FRONT_HALL,
    ("commands",),
    ("api",),
    ("fedklpr_flwr", "experiments", "examples"),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

FLOWER_ROOMS = {"client_app", "server_app", "strategy", "commands"}
FLOWER_ROOMS |= {"protocol", "server", "runs", "launch", "deploy", "flower_internals"}
FLOWER_PUBLIC = ("flwr.app", "flwr.client", "flwr.common.logger", "flwr.serverapp")
HYDRA_ROOMS = {"config", "sweep"}
REPORT_ONLY = {"wandb", "matplotlib"}

# A ratchet, no knife: a thought is not cut into three files to fit.
LONGEST_FILE, LONGEST_FUNCTION, MOST_IMPORTS = 400, 60, 14


@cache
def package_files() -> tuple[Path, ...]:
    return tuple(sorted(PACKAGE.rglob("*.py")))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name_of(path: Path) -> str:
    """The dotted module name of a file."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """`fedklpr_flwr.reid.ranking` -> `reid`; the package itself -> its own name."""
    parts = module.split(".")
    return parts[1] if parts[0] == "fedklpr_flwr" and len(parts) > 1 else parts[0]


def imports_of(path: Path, *, top_level: bool = False) -> set[str]:
    """Every module a file names in an import, `from package import module` as the module."""
    known = {name_of(file) for file in package_files()}
    nodes = tree_of(path).body if top_level else ast.walk(tree_of(path))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names} & known
            found |= inner or {module}
    return found


def internal(modules: set[str]) -> set[str]:
    return {module for module in modules if module.split(".")[0] == "fedklpr_flwr"}


def files_and_names() -> list[tuple[Path, str]]:
    files = [*package_files(), *sorted(EXPERIMENTS.rglob("*.py"))]
    return [(path, name_of(path)) for path in files]


def test_there_is_a_package_to_look_at():
    assert {room_of(name_of(path)) for path in package_files()} >= {
        *QUIET_ROOMS,
        *("config", "model", "protocol", "client", "server", "runs", "launch"),
        "report",
        "commands",
    }
    rooms = {room_of(name) for _, name in files_and_names()}
    assert rooms <= FLOOR_OF.keys(), "a room without a floor: give it one here"


def test_imports_go_from_the_front_hall_to_the_quiet_rooms_and_never_back():
    def allowed(here: str, there: str) -> bool:
        inside = here == there or {here, there} <= {*FRONT_HALL}
        return inside or FLOOR_OF.get(there, 0) < FLOOR_OF[here]

    wrong = [
        f"{name} imports {module}"
        for path, name in files_and_names()
        for module in internal(imports_of(path))
        if not allowed(room_of(name), room_of(module))
    ]
    assert not wrong


def test_quiet_rooms_do_not_know_one_another():
    wrong = []
    for path in package_files():
        here = room_of(name_of(path))
        if here not in QUIET_ROOMS:
            continue
        for module in internal(imports_of(path)):
            there = room_of(module)
            if there not in (here, "errors", "wording", "system"):
                wrong.append(f"{name_of(path)} imports {module}")
    assert not wrong


def test_client_and_server_never_import_each_other():
    """An edge box loads no merge, a server no trainer, not even through a third file."""
    known = {name_of(path): path for path in package_files()}
    arrows = {name: internal(imports_of(path)) & known.keys() for name, path in known.items()}

    def reached(name: str, found: set[str]) -> set[str]:
        for other in arrows[name] - found:
            found.add(other)
            reached(other, found)
        return found

    for here, there in (("client", "server"), ("server", "client")):
        names = [name for name in known if room_of(name) == here]
        assert names
        wrong = {n: {m for m in reached(n, set()) if room_of(m) == there} for n in names}
        assert {name: modules for name, modules in wrong.items() if modules} == {}


@pytest.mark.parametrize(
    ("libraries", "rooms"),
    [
        ({"flwr"}, FLOWER_ROOMS),
        ({"hydra", "omegaconf"}, HYDRA_ROOMS),
        (REPORT_ONLY, {"report"}),
        ({"typer", "rich"}, {"commands", "report"}),
        ({"ray"}, set()),
    ],
)
def test_a_library_of_the_outer_world_is_known_in_its_own_rooms_alone(libraries, rooms):
    users = {
        name_of(path)
        for path in package_files()
        if {module.split(".")[0] for module in imports_of(path)} & libraries
    }
    assert {name for name in users if room_of(name) not in rooms} == set()


def test_report_libraries_are_imported_inside_functions():
    wrong = [
        name_of(path)
        for path in package_files()
        if {m.split(".")[0] for m in imports_of(path, top_level=True)} & REPORT_ONLY
    ]
    assert not wrong


def test_no_module_imports_itself_through_others():
    known = {name_of(path): path for path in package_files()}
    arrows = {name: internal(imports_of(path)) & known.keys() for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, "import cycle: " + " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(arrows[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(known):
        visit(name, ())


def test_no_file_is_longer_than_a_reader_holds():
    lengths = {name_of(p): len(p.read_text(encoding="utf-8").splitlines()) for p in package_files()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_pictures_are_opened_in_one_place_and_by_the_lines_of_a_card():
    """Whichever door they come in by: of the formats that are read alone, upright, in sRGB."""
    opened = {
        name_of(path)
        for path in package_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "Image.open"
    }
    assert opened == {"fedklpr_flwr.data.picture_file", "fedklpr_flwr.export.recipe"}


def test_no_function_is_longer_than_a_page():
    wrong = {}
    for path in package_files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    wrong[f"{name_of(path)}.{node.name}"] = length
    assert wrong == {}


def test_no_file_needs_more_than_a_handful_of_others():
    """The foundation (errors, words, settings, the system) is everybody's, and costs no reader."""
    everybodys = {*FLOORS[0], *FLOORS[1]}
    counts = {
        name_of(path): sum(
            room_of(module) not in everybodys and module != "fedklpr_flwr.config.settings"
            for module in internal(imports_of(path))
        )
        for path in package_files()
        if path.name != "__init__.py"
    }
    assert {name: n for name, n in counts.items() if n > MOST_IMPORTS} == {}


def test_the_words_utils_common_and_helpers_name_no_file():
    names = {path.stem for path in package_files()}
    assert names & {"utils", "util", "common", "helpers", "helper", "misc"} == set()


def test_nothing_is_timed_by_a_clock_that_can_jump():
    """Deadlines and durations are monotonic.

    The wall clock names new run folders, says whether a certificate holds, stands beside the times
    of files, and is held against a box's.
    """
    wall = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}
    users = {
        name_of(path)
        for path in package_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in wall
    }
    assert users == {
        "fedklpr_flwr.system.paths",
        "fedklpr_flwr.deploy.certificates",
        "fedklpr_flwr.deploy.check",
        "fedklpr_flwr.deploy.clean_memories",
        "fedklpr_flwr.search.gallery",
        "fedklpr_flwr.protocol.box_state",
        "fedklpr_flwr.data.unfinished_pictures",
        "fedklpr_flwr.system.atomic_file",
    }


def test_a_client_starts_without_what_only_a_server_or_a_report_needs():
    """A SuperNode starts a process for every message: each import is paid thousands of times."""
    code = "import sys, fedklpr_flwr.client_app; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())
    assert "fedklpr_flwr.client.local_round" in loaded
    assert loaded & {"wandb", "matplotlib", "sklearn", "ray", "torchvision.models"} == set()


def test_private_names_of_flowers_are_known_in_one_file_alone():
    private = {
        name_of(path): module
        for path in package_files()
        for module in imports_of(path)
        if module.split(".")[0] == "flwr" and not module.startswith(FLOWER_PUBLIC)
    }
    assert private.keys() == {"fedklpr_flwr.flower_internals"}
