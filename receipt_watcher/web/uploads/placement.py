"""The inbox and subfolder for an uploaded receipt, from the fields of its form. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.inbox.gate import Gate
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.uploads.form import Form

_MOST_DATABASE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of a receipt; `database` is the one that its form named, if that is not its branch's."""

    gate: Gate
    relative: Path
    database: str | None = None


def placement_of(form: Form, all_gates: Sequence[Gate]) -> Placement:
    """Return where a receipt goes: to the inbox that is named, to that of the database, or to the only one.

    Raises:
        RefusedError: there is none, there are several, or inbox and database contradict each other.
    """
    inbox, database = form.fields.get("inbox", ""), form.fields.get("notion_database_id", "")
    name = form.filename or ""
    gates = [gate for gate in all_gates if inbox in ("", gate.route.name)]
    if not gates:
        raise RefusedError(422, f"There is no inbox {inbox[:80]!r}.")
    if database:
        return _placement_by_database(gates, database, name)
    return Placement(_only(gates, ""), Path(name))


def _placement_by_database(gates: Sequence[Gate], database: str, name: str) -> Placement:
    """Return where a receipt for a database goes: to a subfolder or inbox that has it, or to one that takes any."""
    branches = {
        gate: branch
        for gate in gates
        for branch in gate.route.branches  # the outermost comes last
        if branch.notion_database_id == database
    }
    if branches:
        # Inboxes that send to one workflow are as good as each other.
        is_one = len({branch.target for branch in branches.values()}) == 1
        gate = next(iter(branches)) if is_one else _only(list(branches), f" with the database {database[:80]!r}")
        return Placement(gate, Path(branches[gate].subfolder) / name)
    takers = [gate for gate in gates if gate.route.takes_any_database]
    if not takers:
        which = f"The inbox {gates[0].route.name} does not go" if len(gates) == 1 else "No inbox goes"
        raise RefusedError(
            422,
            f"{which} to the database {database[:80]!r}. Leave out notion_database_id or name another one; an admin "
            "can let uploads name any: upload_database: any.",
        )
    if len(database) > _MOST_DATABASE_CHARACTERS or not database.isprintable():
        raise RefusedError(422, f"A database has {_MOST_DATABASE_CHARACTERS} printable characters at the most.")
    return Placement(_only(takers, ""), Path(name), database)


def _only(gates: Sequence[Gate], which: str) -> Gate:
    """Return the one gate that is possible.

    Raises:
        RefusedError: there are several.
    """
    if len(gates) > 1:
        names = ", ".join(gate.route.name for gate in gates)
        raise RefusedError(422, f"Say which inbox{which} it is for (the field inbox): {names}.")
    return gates[0]
