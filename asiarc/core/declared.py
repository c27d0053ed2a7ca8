"""What is declared in a file is data: frozen, typed, unknown fields refused; an error names the field to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from asiarc.core.errors import DeclarationError, unknown_name


def at_field(field: str, error: DeclarationError) -> DeclarationError:
    """The error, with the field that it is about."""
    error.field = field
    return error


class FieldError(ValueError):
    """What a validator of a whole declaration raises about one of its fields."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class Declaration(BaseModel):
    """A frozen model whose errors are `DeclarationError`s, of the kind that `refused` names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    refused: ClassVar[type[DeclarationError]] = DeclarationError

    if not TYPE_CHECKING:

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise _explain(type(self), error) from None


def _explain(model: type[Declaration], error: ValidationError) -> DeclarationError:
    """The first problem of a declaration, with the nearest valid choice and the field to look at."""
    # A misspelt field is also a missing one, and the misspelling is what helps.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    told = getattr(first.get("ctx", {}).get("error"), "field", "")
    field = told or (str(first["loc"][0]) if first["loc"] else "")
    where = told or ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = unknown_name(f"field of {model.__name__}", field, model.model_fields)
    elif first["type"] == "missing":
        text = f"{model.__name__} needs the field {field!r}: {model.model_fields[field].description}"
    else:
        text = f"{model.__name__}.{where}: {first['msg'].removeprefix('Value error, ')}"
        if first["type"] != "value_error":
            text += f" (given: {first['input']!r})"
    others = error.error_count() - 1
    return at_field(field, model.refused(text + (f" ({others} more after this one)" if others else "")))
