"""The parameters of one input or output, alike at both endpoints: what would change its meaning if
it were ignored is refused, and a null says no more than a parameter that was not given.
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
    """The parameters that say something. `field` is "inputs" or "outputs"."""
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
