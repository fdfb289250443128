"""The mutants that `python -m tests.mutation` makes, and that the tests it runs are there."""

from __future__ import annotations

from tests.mutation.mutants import mutants_of
from tests.mutation.run import REPOSITORY
from tests.mutation.targets import TARGETS

_SOURCE = '''
"""Words are left alone."""
LIMIT = 3

@dataclass(frozen=True)
class Count:
    number: int

def may(count: int, is_open: bool) -> bool:
    """Return whether it may."""
    return is_open and not count > LIMIT
'''


def test_one_thing_is_changed_at_a_time() -> None:
    """Comparisons, constants and boolean operators are changed, each in a mutant of its own."""
    mutants = mutants_of(_SOURCE)
    assert {mutant.name for mutant in mutants} == {
        "<module>: 3 -> 4",
        "may: is_open and (not count > LIMIT) -> is_open or not count > LIMIT",
        "may: not count > LIMIT -> count > LIMIT",
        "may: count > LIMIT -> count >= LIMIT",
    }
    assert len({mutant.source for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        compile(mutant.source, "mutant", "exec")


def test_each_module_has_its_tests() -> None:
    """Each module of the list is there, and so are the tests that are its own."""
    for module, tests in TARGETS.items():
        assert (REPOSITORY / "receipt_watcher" / f"{module.replace('.', '/')}.py").is_file(), module
        for test in tests:
            assert (REPOSITORY / test).is_file(), test
