"""How long a stage's batches take: what deadlines are predicted from and `/v1/routes` shows."""


class BatchTimes:
    """Predicts a batch's seconds as `fixed + per row * rows`: two warm-up runs, corrected as
    batches run.
    """

    __slots__ = ("_fixed_s", "_per_row_s", "_scale")

    def __init__(self) -> None:
        self._fixed_s = 0.0
        self._per_row_s = 0.0
        self._scale = 1.0

    def calibrate(self, one_s: float, many_s: float, many_rows: int) -> None:
        """Set the line through two runs: of one row, and of `many_rows` rows."""
        self._per_row_s = max(0.0, many_s - one_s) / (many_rows - 1) if many_rows > 1 else one_s
        self._fixed_s = max(0.0, one_s - self._per_row_s)
        self._scale = 1.0

    def observe(self, rows: int, seconds: float) -> None:
        line_s = self._fixed_s + self._per_row_s * rows
        if line_s <= 0.0:  # never calibrated: the first batch is all that is known
            self._per_row_s = seconds / rows
            return
        ratio = min(max(seconds / line_s, 0.1), 10.0)
        self._scale += 0.1 * (ratio - self._scale)

    def predict_s(self, rows: int) -> float:
        """Seconds for a batch of so many rows; 0 while nothing is known."""
        return self._scale * (self._fixed_s + self._per_row_s * rows)
