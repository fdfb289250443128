"""What the workflow `extract` asks Gemini for: an invoice as JSON, each field with the confidence it was read with.

The schema is of the kind that Gemini's `responseSchema` takes (a subset of OpenAPI 3.0). Plain values, nothing else.
"""

from __future__ import annotations

from typing import Any

PROMPT = (
    "Read this receipt or invoice. Copy what is printed, and invent nothing: a field that is not there, or cannot be "
    "read, is null with confidence 0. Dates are YYYY-MM-DD, amounts are numbers with a decimal point, the currency is "
    "an ISO 4217 code. confidence is your own estimate, from 0 to 1, that the value is what is printed."
)


def _read(kind: str, description: str, **more: Any) -> dict[str, Any]:
    """Return the schema of one field and its confidence."""
    value = {"type": kind, "nullable": True, "description": description, **more}
    return {
        "type": "OBJECT",
        "properties": {"value": value, "confidence": {"type": "NUMBER", "minimum": 0, "maximum": 1}},
        "required": ["value", "confidence"],
    }


def _all_of(properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with all of these."""
    return {
        "type": "OBJECT",
        "properties": properties,
        "required": list(properties),
        "propertyOrdering": list(properties),
    }


RESPONSE_SCHEMA: dict[str, Any] = _all_of(
    {
        "vendor": _read("STRING", "who sold: the name as printed"),
        "invoice_number": _read("STRING", "the number of the invoice or receipt"),
        "invoice_date": _read("STRING", "when it was issued, YYYY-MM-DD"),
        "due_date": _read("STRING", "when it is to be paid, YYYY-MM-DD"),
        "currency": _read("STRING", "ISO 4217, such as EUR"),
        "net_total": _read("NUMBER", "the total without tax"),
        "tax_total": _read("NUMBER", "all taxes together"),
        "gross_total": _read("NUMBER", "what is to be paid"),
        "line_items": {
            "type": "ARRAY",
            "items": _all_of(
                {
                    "description": _read("STRING", "what was bought"),
                    "quantity": _read("NUMBER", "how many"),
                    "unit_price": _read("NUMBER", "the price of one"),
                    "tax_rate": _read("NUMBER", "in percent"),
                    "total": _read("NUMBER", "the line's total"),
                }
            ),
        },
    }
)
