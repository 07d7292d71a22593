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
    board = new_dashboard("energy", "Energy", "Joules: their source, who pays, and the carbon.")
    lay_out(board, _first_look(), _meter(), _routes(), _carbon())
    return board


def _account(*matchers: str, by: str = "") -> str:
    return q.server_rate("sparing_energy_account_joules_total", *matchers, by=by)


def _first_look() -> Iterator[Tile]:
    yield named_tile(
        "Source of the joules",
        "model is an estimate from busy time; rapl, nvml, ina3221 and pmic are measured.",
        "sum by (source) (sparing_energy_meter_joules_total)",
        "source",
    )
    yield tile(
        "Meter",
        "STANDING IN: the meter cannot be read, and the model takes its place.",
        "max(sparing_energy_degraded)",
        "none",
        words={"0": ("WORKS", GREEN), "1": ("STANDING IN", RED)},
    )
    yield tile("Power", "Of everything the meter sees.", METER, "watt")
    rows = _account('account="rows"')
    ours = _account('account!="others"')
    share = f"{rows} / {ours}"
    yield tile("Goes to rows", "Of idle, overhead and rows.", share, "percentunit")
    yield tile(
        "Power saved, estimated", "Against the costliest stage alone.", q.saved_watts(), "watt"
    )
    yield tile("Compute saved", "Against the full model alone.", q.saved(), "percentunit", SAVED)


def _meter() -> Iterator[Lines]:
    yield lines(
        "Power by component",
        "What the meter reads.",
        "watt",
        {
            "{{component}} ({{source}})": q.server_rate(
                "sparing_energy_meter_joules_total", by="component, source"
            )
        },
        Look(stacked=True),
    )
    yield lines(
        "Who pays",
        "The meter's joules by account: rows; our process beside stages; other processes; idle.",
        "watt",
        {"{{account}}": _account(by="account")},
        Look(colours=ACCOUNTS, stacked=True),
    )
    yield lines(
        "Not accounted for",
        "The accounts against the meter. Away from zero, joules are lost or invented.",
        "percentunit",
        {"accounts - meter": f"{_account()} / {METER} - 1"},
        Look(minimum=-0.02, maximum=0.02, steps=((None, GREEN), (-0.01, RED), (0.01, RED))),
    )


def _routes() -> Iterator[Lines]:
    yield lines(
        "Power by route",
        "Joules a second charged to rows.",
        "watt",
        {"{{route}}": q.rate("sparing_energy_joules_total", by="route")},
        Look(stacked=True),
    )
    yield lines(
        "Energy a request",
        "Joules charged to rows, by request answered.",
        "joule",
        {"{{route}}": q.joules_a_request("route")},
    )
    idle = _account('account="idle"')
    yield lines(
        "Idle",
        "Share of the meter's joules in which nothing ran. Fewer, fuller machines lower it.",
        "percentunit",
        {"idle": f"{idle} / {_account()}"},
        Look(colours={"idle": GREY}, maximum=1.0),
    )


def _carbon() -> Iterator[Lines]:
    grams = q.rate("sparing_carbon_grams_total", by="route")
    everything = q.server_rate("sparing_carbon_grams_total")
    yield lines(
        "Carbon",
        "Grams of CO2 equivalent an hour: energy times intensity, and a share of the machine.",
        "suffix: g/h",
        {"{{route}}": f"3600 * {grams}", "all, with idle": f"3600 * {everything}"},
        Look(colours={"all, with idle": GREY}),
    )
    yield lines(
        "Carbon of 1000 requests",
        "The same by request answered (SCI, ISO/IEC 21031).",
        "massg",
        {
            "{{route}}": f"1000 * {grams} / "
            + q.rate("sparing_requests_total", 'result="ok"', by="route")
        },
    )
    yield lines(
        "Carbon intensity",
        "The setting that carbon is reckoned with.",
        "suffix: g/kWh",
        {"intensity": "max(sparing_carbon_intensity_grams_per_kwh)"},
        Look(colours={"intensity": GREY}),
    )
