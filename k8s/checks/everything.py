"""All checks of rendered objects: schemas of Kubernetes first, then the objects with each other."""

from collections.abc import Callable, Iterator

from k8s.checks.fields import check_fields
from k8s.checks.monitoring import check_monitoring
from k8s.checks.network import check_network
from k8s.checks.objects import Rendered
from k8s.checks.pods import check_pods
from k8s.checks.references import check_references
from k8s.checks.scaling import check_scaling
from k8s.checks.schemas import check_schemas
from k8s.checks.settings import check_settings
from k8s.rendering import Object

CHECKS: tuple[Callable[[Rendered], Iterator[str]], ...] = (
    check_fields,
    check_references,
    check_network,
    check_pods,
    check_settings,
    check_scaling,
    check_monitoring,
)


def find_faults(objects: tuple[Object, ...]) -> Iterator[str]:
    """Yield a sentence for each fault. An object that lacks what its schema demands ends the rest:
    the other checks rely on it.
    """
    broken = list(check_schemas(objects))
    yield from broken
    if broken:
        return
    yield from check_together(objects)


def check_together(objects: tuple[Object, ...]) -> Iterator[str]:
    """Yield what is wrong with objects that follow their schemas."""
    rendered = Rendered(objects)
    for check in CHECKS:
        try:
            yield from check(rendered)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            # A custom resource has no schema here, so a part that is missing shows itself so.
            yield f"{check.__name__}: {type(error).__name__}: {error}"
