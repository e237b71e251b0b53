# tokenmark-netprobe. BASE is any image with Python 3.13 and venv; the default suits Docker, e2e passes its own.
ARG BASE=python:3.13-slim-trixie
FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_DEFAULT_TIMEOUT=60
WORKDIR /src
COPY deploy/locks/build.lock deploy/locks/netprobe.lock deploy/locks/
RUN python3 -m venv /build && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r deploy/locks/build.lock
RUN python3 -m venv --without-pip /opt/tokenmark \
 && /build/bin/pip --python /opt/tokenmark/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r deploy/locks/netprobe.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY workloads workloads
COPY operator operator
COPY netprobe netprobe
COPY bench_runner bench_runner
RUN /build/bin/python -m hatchling build -t wheel -d /dist \
 && /build/bin/pip --python /opt/tokenmark/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && cd /opt/tokenmark/lib/python3*/site-packages && rm -rf tokenmark_operator bench_runner \
 && /opt/tokenmark/bin/python -m compileall -q /opt/tokenmark/lib

FROM ${BASE}
# iperf3 3.18 or newer: earlier ones are single-threaded. The e2e base brings its own.
USER 0
RUN command -v iperf3 >/dev/null || (apt-get update && apt-get install -y --no-install-recommends iperf3 && rm -rf /var/lib/apt/lists/*)
COPY --from=build /opt/tokenmark /opt/tokenmark
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/opt/tokenmark/bin/python", "-I", "-m", "netprobe"]
