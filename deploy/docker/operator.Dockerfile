# tokenmark-operator. BASE is any image with Python 3.13 and venv; the default suits Docker, e2e passes its own.
ARG BASE=python:3.13-slim-trixie
FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_DEFAULT_TIMEOUT=60
WORKDIR /src
COPY deploy/locks/build.lock deploy/locks/operator.lock deploy/locks/
RUN python3 -m venv /build && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r deploy/locks/build.lock
RUN python3 -m venv --without-pip /opt/tokenmark \
 && /build/bin/pip --python /opt/tokenmark/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r deploy/locks/operator.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY workloads workloads
COPY operator operator
COPY netprobe netprobe
COPY bench_runner bench_runner
RUN /build/bin/python -m hatchling build -t wheel -d /dist \
 && /build/bin/pip --python /opt/tokenmark/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && cd /opt/tokenmark/lib/python3*/site-packages && rm -rf bench_runner netprobe \
 && /opt/tokenmark/bin/python -m compileall -q /opt/tokenmark/lib

FROM ${BASE}
COPY --from=build /opt/tokenmark /opt/tokenmark
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["/opt/tokenmark/bin/python", "-I", "-m", "tokenmark_operator.main"]
