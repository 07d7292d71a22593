"""Charges callers' shares for the batch on the device."""

from collections.abc import Sequence

from serving.scheduling.fair_shares import Charge


class Billing:
    """The charges for the running batch: predicted when it starts, corrected when it ends."""

    __slots__ = ("_charged_s", "_charges")

    def __init__(self) -> None:
        self._charges: Sequence[Charge] = ()
        self._charged_s = 0.0

    def charge(self, charges: Sequence[Charge], batch_s: float) -> None:
        """Charge a batch that is predicted to take `batch_s` seconds, by rows."""
        self._charges, self._charged_s = charges, batch_s
        rows = sum([charge.rows for charge in charges])
        for charge in charges:
            charge.share.charge(batch_s * charge.rows / rows, charge.start_s)

    def settle(self, run_s: float) -> None:
        """Correct the charges to the measured time."""
        charges, more_s = self._charges, run_s - self._charged_s
        self._charges = ()
        rows = sum([charge.rows for charge in charges])
        for charge in charges:
            charge.share.correct(more_s * charge.rows / rows)
