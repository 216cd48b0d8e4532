"""Kinds of numbers that configuration fields share."""

from typing import Annotated

from pydantic import Field, StrictInt

PositiveInt = Annotated[StrictInt, Field(ge=1, le=2**31 - 1)]
NaturalInt = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Fraction = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0.0, allow_inf_nan=False)]
ImageSize = Annotated[StrictInt, Field(ge=32, multiple_of=32)]
