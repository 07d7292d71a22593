# The server's image. `make image` builds the target `cpu`; k8s/README.md explains the targets.
#
#   docker build --target cpu       -t sparing:0.1.0 .         ONNX routes on the CPU, no torch
#   docker build --target cpu-torch -t sparing:0.1.0-torch .   also stages that need torch
#   docker build --target gpu       -t sparing:0.1.0-gpu .     torch with CUDA's libraries; the node has the driver
#
# BASE is any Debian 12 with Python 3.11. Pin it by the digest that your registry shows:
# --build-arg BASE=python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build-cpu
WORKDIR /src
RUN python3 -m venv /opt/sparing
COPY requirements/tools.txt requirements/image.txt requirements/
RUN /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/tools.txt \
 && /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/image.txt

FROM build-cpu AS build-cpu-torch
COPY requirements/image-torch.txt requirements/torch-cpu.txt requirements/
RUN /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/image-torch.txt \
 && /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/torch-cpu.txt

FROM build-cpu AS build-gpu
COPY requirements/image-torch.txt requirements/torch-cuda.txt requirements/
RUN /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/image-torch.txt \
 && /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/torch-cuda.txt

# The project itself, as a wheel that every target installs into its own packages.
FROM build-cpu AS wheel
COPY pyproject.toml LICENSE ./
COPY core/ core/
COPY cascades/ cascades/
COPY converters/ converters/
COPY tokens/ tokens/
COPY cache/ cache/
COPY monitoring/ monitoring/
COPY routes/ routes/
COPY serving/ serving/
COPY simulation/ simulation/
COPY importing/ importing/
COPY training/ training/
COPY sparing/ sparing/
RUN /opt/sparing/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${BASE} AS runtime
# The tools of the base that need root rights stay unused: the server runs as this user, which owns nothing.
RUN groupadd --gid 10001 sparing \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin sparing
# A compiled module is never written at run time: the root file system is read-only.
# ONNX Runtime would otherwise report its use to its vendor.
ENV PATH=/opt/sparing/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
COPY k8s/image/settings.toml /app/settings.toml
COPY models/ /models/
EXPOSE 3000 3001
STOPSIGNAL SIGTERM
# Kubernetes ignores this and has its own probes; Docker and Compose use it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
# No shell around it, so that the server is process 1 and gets SIGTERM itself.
ENTRYPOINT ["sparing"]
CMD ["serve"]

FROM build-cpu AS packages-cpu
COPY --from=wheel /wheels /wheels
RUN /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl \
 && /opt/sparing/bin/python -m pip uninstall -y -q setuptools wheel pip

FROM build-cpu-torch AS packages-cpu-torch
COPY --from=wheel /wheels /wheels
RUN /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl \
 && /opt/sparing/bin/python -m pip uninstall -y -q setuptools wheel pip

FROM build-gpu AS packages-gpu
COPY --from=wheel /wheels /wheels
RUN /opt/sparing/bin/python -m pip install --no-cache-dir --no-deps /wheels/*.whl \
 && /opt/sparing/bin/python -m pip uninstall -y -q setuptools wheel pip

FROM runtime AS cpu-torch
COPY --from=packages-cpu-torch /opt/sparing /opt/sparing
USER 10001:10001

FROM runtime AS gpu
COPY --from=packages-gpu /opt/sparing /opt/sparing
# The node's container runtime puts the driver into containers that ask for it.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001

# The last target is the one that a build without --target makes.
FROM runtime AS cpu
COPY --from=packages-cpu /opt/sparing /opt/sparing
USER 10001:10001
