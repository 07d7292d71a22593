"""Energy: what the meter says, to whom it is charged, how far to trust it, and what it emits."""

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.builders.stat import Panel as Tile
from grafana_foundation_sdk.builders.timeseries import Panel as Lines

from dashboards.grafana import queries as q
from dashboards.grafana.layout import lay_out, new_dashboard
from dashboards.grafana.panels import (
    GREEN,
    GREY,
    PURPLE,
    RED,
    SAVED,
    YELLOW,
    Look,
    lines,
    named_tile,
    tile,
)

ACCOUNTS = {"rows": GREEN, "overhead": YELLOW, "others": PURPLE, "idle": GREY}
METER = q.server_rate("sparing_energy_meter_joules_total")


def make_energy() -> Dashboard:
    board = new_dashboard(
        "energy", "Energy", "Energy in joules: source, accounts, routes and carbon."
    )
    lay_out(board, _first_look(), _meter(), _routes(), _carbon())
    return board


def _account(*matchers: str, by: str = "") -> str:
    return q.server_rate("sparing_energy_account_joules_total", *matchers, by=by)


def _first_look() -> Iterator[Tile]:
    yield named_tile(
        "Energy source",
        "rapl, nvml, ina3221 and pmic are meters; model is an estimate from busy time.",
        "sum by (source) (sparing_energy_meter_joules_total)",
        "source",
    )
    yield tile(
        "Meter",
        "FALLBACK: the meter cannot be read, so joules are estimated.",
        "max(sparing_energy_degraded)",
        "none",
        words={"0": ("WORKS", GREEN), "1": ("FALLBACK", RED)},
    )
    yield tile("Power", "Of everything that the meter measures.", METER, "watt")
    rows = _account('account="rows"')
    ours = _account('account!="others"')
    share = f"{rows} / {ours}"
    text = "Share of the joules of rows, overhead and idle that rows used."
    yield tile("Energy used by rows", text, share, "percentunit")
    text = "Compared with the slowest stage for every row."
    yield tile("Power saved, estimated", text, q.saved_watts(), "watt")
    text = "Compared with the full model for every row."
    yield tile("Compute saved", text, q.saved(), "percentunit", SAVED)


def _meter() -> Iterator[Lines]:
    yield lines(
        "Power by component",
        "Readings of the meter, per component.",
        "watt",
        {
            "{{component}} ({{source}})": q.server_rate(
                "sparing_energy_meter_joules_total", by="component, source"
            )
        },
        Look(stacked=True),
    )
    yield lines(
        "Power by account",
        "rows; overhead: the server outside stages; others: other processes; idle.",
        "watt",
        {"{{account}}": _account(by="account")},
        Look(colours=ACCOUNTS, stacked=True),
    )
    yield lines(
        "Accounting error",
        "Sum of the accounts compared with the meter. It should stay at zero.",
        "percentunit",
        {"accounts - meter": f"{_account()} / {METER} - 1"},
        Look(minimum=-0.02, maximum=0.02, steps=((None, GREEN), (-0.01, RED), (0.01, RED))),
    )


def _routes() -> Iterator[Lines]:
    yield lines(
        "Power by route",
        "Joules per second that the route's rows used.",
        "watt",
        {"{{route}}": q.rate("sparing_energy_joules_total", by="route")},
        Look(stacked=True),
    )
    yield lines(
        "Energy per request",
        "Joules that rows used, per answered request.",
        "joule",
        {"{{route}}": q.joules_a_request("route")},
    )
    idle = _account('account="idle"')
    yield lines(
        "Idle energy",
        "Share of the meter's joules while nothing ran. Fewer, busier machines lower it.",
        "percentunit",
        {"idle": f"{idle} / {_account()}"},
        Look(colours={"idle": GREY}, maximum=1.0),
    )


def _carbon() -> Iterator[Lines]:
    grams = q.rate("sparing_carbon_grams_total", by="route")
    everything = q.server_rate("sparing_carbon_grams_total")
    yield lines(
        "Carbon",
        "Grams of CO2 equivalent per hour: energy times carbon intensity, plus hardware.",
        "suffix: g/h",
        {"{{route}}": f"3600 * {grams}", "all, with idle": f"3600 * {everything}"},
        Look(colours={"all, with idle": GREY}),
    )
    yield lines(
        "Carbon per 1000 requests",
        "Grams of CO2 equivalent per 1000 answered requests (SCI, ISO/IEC 21031).",
        "massg",
        {
            "{{route}}": f"1000 * {grams} / "
            + q.rate("sparing_requests_total", 'result="ok"', by="route")
        },
    )
    yield lines(
        "Carbon intensity",
        "The configured intensity, which converts energy to carbon.",
        "suffix: g/kWh",
        {"intensity": "max(sparing_carbon_intensity_grams_per_kwh)"},
        Look(colours={"intensity": GREY}),
    )
