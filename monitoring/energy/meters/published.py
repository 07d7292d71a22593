"""Published power of processors, from makers and benchmarks; none of it was measured here.

Two tables. `SERIES`: the thermal design power of single models, from the makers' lists. `FAMILIES`:
idle and full power per logical CPU of a whole generation, for machines whose model name is only
"AMD EPYC". Every figure is published by the named source.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Chip(NamedTuple):
    """One processor model."""

    name: str
    tdp_w: float
    cores: int
    threads: int
    source: str


class Series(NamedTuple):
    """Models of one list: `name=watts/cores`, which has twice as many threads, or
    `name=watts/cores/threads`.
    """

    source: str
    before: str
    models: str
    after: str = ""


class Family(NamedTuple):
    """Watts of one logical CPU, with its share of the rest of the machine."""

    name: str
    idle_w: float
    full_w: float
    threads_a_core: int
    source: str


# Power of a processor when idle and under full load, as a share of its thermal design power: the
# ends of the curve that Teads measured on five servers.
# https://medium.com/teads-engineering/estimating-aws-ec2-instances-power-consumption-c9745e347959
TDP_IDLE, TDP_FULL = 0.12, 1.02

_ARK = "https://www.intel.com/content/www/us/en/ark/products/series"
_SKYLAKE = f"{_ARK}/125191/intel-xeon-scalable-processors.html"
_CASCADE_LAKE = f"{_ARK}/192283/2nd-gen-intel-xeon-scalable-processors.html"
_ICE_LAKE = f"{_ARK}/204098/3rd-gen-intel-xeon-scalable-processors.html"
_SAPPHIRE_RAPIDS = f"{_ARK}/228622/4th-gen-intel-xeon-scalable-processors.html"
_EMERALD_RAPIDS = f"{_ARK}/236644/5th-gen-intel-xeon-scalable-processors.html"
_XEON_6 = f"{_ARK}/240357/intel-xeon-6.html"
_E5_V4 = f"{_ARK}/91287/intel-xeon-processor-e5-v4-family.html"
_E5_V3 = f"{_ARK}/78583/intel-xeon-processor-e5-v3-family.html"
_E3_V3 = f"{_ARK}/78581/intel-xeon-processor-e3-v3-family.html"
_CORE_8 = f"{_ARK}/122593/8th-generation-intel-core-i7-processors.html"
_EPYC = "https://www.amd.com/en/products/specifications/server-processor.html"
_RYZEN = "https://www.amd.com/en/products/specifications/processors.html"

SERIES = (
    Series(
        _SKYLAKE, "Xeon Platinum ",
        "8153=125/16 8158=150/12 8160=150/24 8164=150/26 8168=205/24 8170=165/26 8176=165/28 "
        "8180=205/28",
    ),
    Series(
        _SKYLAKE, "Xeon Gold ",
        "5115=85/10 5118=105/12 5120=105/14 6126=125/12 6128=115/6 6130=125/16 6132=140/14 "
        "6134=130/8 6136=150/12 6138=125/20 6140=140/18 6142=150/16 6146=165/12 6148=150/20 "
        "6150=165/18 6152=140/22 6154=200/18",
    ),
    Series(_SKYLAKE, "Xeon Silver ", "4108=85/8 4110=85/8 4112=85/4 4114=85/10 4116=85/12"),
    Series(
        _CASCADE_LAKE, "Xeon Platinum ",
        "8253=125/16 8260=165/24 8268=205/24 8270=205/26 8276=165/28 8280=205/28",
    ),
    Series(
        _CASCADE_LAKE, "Xeon Gold ",
        "5215=85/10 5217=115/8 5218=125/16 5218R=125/20 5220=125/18 5220R=150/24 6226=125/12 "
        "6226R=150/16 6230=125/20 6230R=150/26 6234=130/8 6238=140/22 6238R=165/28 6240=150/18 "
        "6240R=165/24 6242=150/16 6242R=205/20 6244=150/8 6246=165/12 6246R=205/16 6248=150/20 "
        "6248R=205/24 6252=150/24 6254=200/18 6258R=205/28",
    ),
    Series(
        _CASCADE_LAKE, "Xeon Silver ",
        "4208=85/8 4210=85/10 4210R=100/10 4214=85/12 4214R=100/12 4215=85/8 4216=100/16",
    ),
    Series(
        _ICE_LAKE, "Xeon Platinum ",
        "8352S=205/32 8352V=195/36 8352Y=205/32 8358=250/32 8360Y=250/36 8362=265/32 8368=270/38 "
        "8380=270/40",
    ),
    Series(
        _ICE_LAKE, "Xeon Gold ",
        "5315Y=140/8 5317=150/12 5318Y=165/24 5320=185/26 6326=185/16 6330=205/28 6334=165/8 "
        "6336Y=185/24 6338=205/32 6342=230/24 6346=205/16 6348=235/28 6354=205/18",
    ),
    Series(_ICE_LAKE, "Xeon Silver ", "4309Y=105/8 4310=120/12 4314=135/16 4316=150/20"),
    Series(
        _SAPPHIRE_RAPIDS, "Xeon Platinum ",
        "8452Y=300/36 8458P=350/44 8460Y+=300/40 8462Y+=300/32 8468=350/48 8470=350/52 "
        "8480+=350/56 8490H=350/60",
    ),
    Series(
        _SAPPHIRE_RAPIDS, "Xeon Gold ",
        "5415+=150/8 5416S=150/16 5418Y=185/24 5420+=205/28 6426Y=185/16 6430=270/32 6434=195/8 "
        "6438Y+=205/32 6442Y=225/24 6444Y=270/16 6448Y=225/32 6454S=270/32",
    ),
    Series(_SAPPHIRE_RAPIDS, "Xeon Silver ", "4410Y=150/12 4416+=165/20"),
    Series(
        _EMERALD_RAPIDS, "Xeon Platinum ",
        "8558=330/48 8562Y+=300/32 8568Y+=350/48 8570=350/56 8580=350/60 8592+=350/64",
    ),
    Series(
        _EMERALD_RAPIDS, "Xeon Gold ",
        "5515+=165/8 5520+=205/28 6526Y=195/16 6530=270/32 6534=195/8 6538Y+=225/32 6542Y=250/24 "
        "6544Y=270/16 6548Y+=250/32 6554S=270/36",
    ),
    Series(_EMERALD_RAPIDS, "Xeon Silver ", "4509Y=125/8 4510=150/12 4514Y=150/16 4516Y+=185/24"),
    Series(
        _XEON_6, "Xeon ",
        "6730P=250/32 6740P=270/48 6761P=350/64 6767P=350/64 6787P=350/86 6952P=400/96 "
        "6960P=500/72 6972P=500/96 6980P=500/128",
    ),
    Series(
        _E5_V4, "Xeon E5-",
        "1620=140/4 1650=140/6 2620=85/8 2630=85/10 2640=90/10 2650=105/12 2660=105/14 2667=135/8 "
        "2680=120/14 2683=120/16 2687W=160/12 2690=135/14 2695=120/18 2697=145/18 2697A=145/16 "
        "2698=135/20 2699=145/22",
        " v4",
    ),
    Series(
        _E5_V3, "Xeon E5-",
        "2620=85/6 2630=85/8 2640=90/8 2650=105/10 2660=105/10 2667=135/8 2670=120/12 2680=120/12 "
        "2683=120/14 2687W=160/10 2690=135/12 2695=120/14 2697=145/14 2698=135/16 2699=145/18",
        " v3",
    ),
    Series(_E3_V3, "Xeon E3-", "1231=80/4 1241=80/4 1246=84/4 1271=80/4 1276=84/4", " v3"),
    Series(_CORE_8, "Core i7-", "8550U=15/4 8650U=15/4 8700=65/6 8700K=95/6 8750H=45/6"),
    Series(
        _EPYC, "EPYC ",  # 7001 and 7002
        "7251=120/8 7371=200/16 7451=180/24 7551=180/32 7551P=180/32 7601=180/32 7232P=120/8 "
        "7252=120/8 7262=155/8 7272=120/12 7282=120/16 7302=155/16 7302P=155/16 7352=155/24 "
        "7402=180/24 7402P=180/24 7452=155/32 7502=180/32 7502P=180/32 7532=200/32 7542=225/32 "
        "7552=200/48 7642=225/48 7662=225/64 7702=200/64 7702P=200/64 7742=225/64 7F32=180/8 "
        "7F52=240/16 7F72=240/24 7H12=280/64",
    ),
    Series(
        _EPYC, "EPYC ",  # 7003
        "72F3=180/8 7313=155/16 7313P=155/16 7343=190/16 7373X=240/16 73F3=240/16 7413=180/24 "
        "7443=200/24 7443P=200/24 7453=225/28 7473X=240/24 74F3=240/24 7513=200/32 7543=225/32 "
        "7543P=225/32 7573X=280/32 75F3=280/32 7643=225/48 7663=240/56 7713=225/64 7713P=225/64 "
        "7763=280/64 7773X=280/64",
    ),
    Series(
        _EPYC, "EPYC ",  # 9004
        "9124=200/16 9174F=320/16 9224=200/24 9254=200/24 9274F=320/24 9334=210/32 9354=280/32 "
        "9354P=280/32 9374F=320/32 9384X=320/32 9454=290/48 9454P=290/48 9474F=360/48 9534=280/64 "
        "9554=360/64 9554P=360/64 9634=290/84 9654=360/96 9654P=360/96 9684X=400/96 9734=340/112 "
        "9754=360/128 9754S=360/128/128",
    ),
    Series(
        _EPYC, "EPYC ",  # 9005
        "9015=125/8 9115=125/16 9135=200/16 9175F=320/16 9255=200/24 9275F=320/24 9335=210/32 "
        "9355=280/32 9355P=280/32 9365=300/36 9375F=320/32 9455=300/48 9455P=300/48 9475F=400/48 "
        "9535=300/64 9555=360/64 9555P=360/64 9565=400/72 9575F=400/64 9645=320/96 9655=400/96 "
        "9655P=400/96 9745=400/128 9755=500/128 9825=390/144 9845=390/160 9965=500/192",
    ),
    Series(
        _EPYC, "EPYC ",  # 4004 and 4005
        "4124P=65/4 4244P=65/6 4344P=65/8 4364P=105/8 4464P=65/12 4564P=170/16 4245P=65/6 "
        "4345P=65/8 4465P=65/12 4545P=65/16 4565P=170/16",
    ),
    Series(
        _RYZEN, "Ryzen ",
        "5_3600=65/6 7_3700X=65/8 9_3900X=105/12 9_3950X=105/16 5_5600X=65/6 7_5800X=105/8 "
        "9_5900X=105/12 9_5950X=105/16 5_7600X=105/6 7_7700X=105/8 9_7900X=170/12 9_7950X=170/16",
    ),
)  # fmt: skip

# Means of SPECpower_ssj2008 results of whole servers, divided by their logical CPUs: idle, and at
# full load. EPYC of the 5th generation is left out, as the mean is one of small desktop boards.
_CCF = "https://github.com/cloud-carbon-footprint/ccf-coefficients"
_MAC_MINI = "https://support.apple.com/en-us/103253"  # M1, 2020: 6.8 W idle, 39 W at most, 8 cores

SANDY_BRIDGE = Family("Intel Sandy Bridge", 2.21, 8.63, 2, _CCF)
IVY_BRIDGE = Family("Intel Ivy Bridge", 1.71, 5.56, 2, _CCF)
HASWELL = Family("Intel Haswell", 1.86, 5.60, 2, _CCF)
BROADWELL = Family("Intel Broadwell", 0.71, 3.69, 2, _CCF)
SKYLAKE = Family("Intel Skylake", 0.61, 4.10, 2, _CCF)
CASCADE_LAKE = Family("Intel Cascade Lake", 0.69, 4.06, 2, _CCF)
COFFEE_LAKE = Family("Intel Coffee Lake", 1.14, 5.42, 2, _CCF)
ICE_LAKE = Family("Intel Ice Lake", 0.77, 3.76, 2, _CCF)
SAPPHIRE_RAPIDS = Family("Intel Sapphire Rapids", 1.04, 4.16, 2, _CCF)
EMERALD_RAPIDS = Family("Intel Emerald Rapids", 0.81, 4.48, 2, _CCF)
GRANITE_RAPIDS = Family("Intel Granite Rapids", 0.58, 2.53, 2, _CCF)
EPYC_1 = Family("AMD EPYC, 1st generation", 0.85, 2.60, 2, _CCF)
EPYC_2 = Family("AMD EPYC, 2nd generation", 0.47, 1.69, 2, _CCF)
EPYC_3 = Family("AMD EPYC, 3rd generation", 0.46, 1.96, 2, _CCF)
EPYC_4 = Family("AMD EPYC, 4th generation", 0.74, 2.28, 2, _CCF)
# There are no results for Graviton; the source treats it as an EPYC of the 2nd generation.
NEOVERSE = Family("Arm Neoverse, as AWS Graviton", 0.47, 1.69, 1, _CCF)
APPLE = Family("Apple silicon, as a Mac mini M1", 0.85, 4.88, 1, _MAC_MINI)

FAMILIES = (
    SANDY_BRIDGE, IVY_BRIDGE, HASWELL, BROADWELL, SKYLAKE, CASCADE_LAKE, COFFEE_LAKE, ICE_LAKE,
    SAPPHIRE_RAPIDS, EMERALD_RAPIDS, GRANITE_RAPIDS, EPYC_1, EPYC_2, EPYC_3, EPYC_4, NEOVERSE,
    APPLE,
)  # fmt: skip


def list_chips() -> Iterator[Chip]:
    """Yield every model of SERIES."""
    for series in SERIES:
        for entry in series.models.split():
            name, _, figures = entry.partition("=")
            tdp, cores, *threads = map(int, figures.split("/"))
            name = series.before + name.replace("_", " ") + series.after
            yield Chip(name, tdp, cores, threads[0] if threads else 2 * cores, series.source)


def find_chip(name: str) -> Chip | None:
    """Find a model by its name from `monitoring.energy.meters.cpuinfo`, in any case."""
    found = (chip for chip in list_chips() if chip.name.casefold() == name.casefold())
    return next(found, None)
