"""Options of the rules: time scale, scrape job, objectives, and the address of the runbooks."""

from dataclasses import dataclass, field

from dashboards.prometheus.objectives import Objectives
from dashboards.prometheus.rules import Alert, Severity
from dashboards.prometheus.windows import Windows


@dataclass(frozen=True, slots=True)
class Options:
    """`runbooks` is a URL prefix for each runbook's path in the repository."""

    windows: Windows = field(default_factory=Windows)
    objectives: Objectives = field(default_factory=Objectives)
    job: str = "sparing"
    runbooks: str = ""

    def alert(
        self,
        name: str,
        expr: str,
        for_duration: str,
        severity: Severity,
        summary: str,
        description: str,
        **labels: str,
    ) -> Alert:
        """Make an alert with scaled durations and a link to its runbook."""
        base = f"{self.runbooks.rstrip('/')}/" if self.runbooks else ""
        return Alert(
            name,
            expr,
            self.windows(for_duration),
            {"severity": severity, **labels},
            {
                "summary": summary,
                "description": description,
                "runbook_url": f"{base}docs/runbooks/{name}.md",
            },
        )
