"""Checks the parameters of one input or output, for both endpoints. A parameter that would change
the meaning if it were ignored is refused; null means the same as a missing parameter.
"""

from collections.abc import Mapping

from core.errors import InvalidInput
from serving.oip.tensors import shorten

# Triton's extensions that this server does not offer.
REFUSED = frozenset(
    {
        "classification",
        "shared_memory_byte_size",
        "shared_memory_offset",
        "shared_memory_region",
    }
)
_NOTHING: Mapping[str, object] = {}


def check_tensor_parameters(
    field: str, name: object, parameters: Mapping[str, object]
) -> Mapping[str, object]:
    """Return the parameters that are not null. `field` is "inputs" or "outputs"."""
    if not parameters:
        return _NOTHING
    if None in parameters.values():
        parameters = {key: value for key, value in parameters.items() if value is not None}
    if not REFUSED.isdisjoint(parameters):
        given = sorted(REFUSED.intersection(parameters))
        raise InvalidInput(
            f"{field}.{shorten(name)}.parameters: given {given}, which this server does not offer"
        )
    return parameters
