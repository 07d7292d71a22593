"""`python -m benchmarks.report`: the measured parts of `docs/reports/`, from the newest results."""

import sys

from benchmarks.acm.report import REPORTS as ACM
from benchmarks.bento import REPORT as BENTO
from benchmarks.compare.report import REPORTS as COMPARE
from benchmarks.dual_cnn import REPORTS as DUAL_CNN
from benchmarks.duplicates import make_report
from benchmarks.energy import REPORT as ENERGY
from benchmarks.eviction import REPORT as EVICTION
from benchmarks.exits import REPORT as EXITS
from benchmarks.own_models.measure import REPORT as OWN_MODELS
from benchmarks.peers.measure import REPORT as PEERS
from benchmarks.pyramid_drop.report import REPORT as PYRAMID_DROP
from benchmarks.remote import REPORT as REMOTE
from benchmarks.reporting.pages import DOCS, write_report
from benchmarks.scaling.measure import REPORT as SCALING
from benchmarks.serving.measure import REPORT as SERVING
from benchmarks.similar import REPORT as SIMILAR
from benchmarks.sizing import REPORT as SIZING
from benchmarks.tracing import REPORT as TRACING
from benchmarks.workers import REPORT as WORKERS
from harness.results import FOLDER, find_newest

REPORTS = (
    SERVING, PEERS, *DUAL_CNN.values(), BENTO, make_report("cifar10"), SIMILAR, EVICTION, REMOTE,
    ENERGY, TRACING, *COMPARE.values(), EXITS, WORKERS, SCALING, SIZING,
    OWN_MODELS, ACM["fashion-mnist"],
    PYRAMID_DROP,
)  # fmt: skip


def main() -> None:
    for report in REPORTS:
        try:
            print(write_report(report, find_newest(report.bench, FOLDER), DOCS))
        except FileNotFoundError as error:
            print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
