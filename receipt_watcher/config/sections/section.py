"""The base of all sections of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from receipt_watcher.config.secrets import redacted

#: The place of an option: the names above it and its own, with numbers of inboxes.
Key = tuple[str | int, ...]


class Section(BaseModel):
    """The base of all sections: frozen, and strict about unknown options."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _unset_empty(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {name: value for name, value in options.items() if value is not None or name not in cls.model_fields}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return list(redacted(self).items())
