#!/usr/bin/env bash
# One resolution with hashes for development, CI and images: dev.lock for every Python from 3.11 on, the others cut from it.
set -euo pipefail
cd "$(dirname "$0")/../.."
lock() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-package tokenmark "$@"; }
part() { lock --constraints deploy/locks/dev.lock "$@"; }
upgrade=--upgrade
[ "${TOKENMARK_LOCK_KEEP:-}" ] && upgrade=
lock $upgrade pyproject.toml --extra dev -o deploy/locks/dev.lock
part $upgrade pyproject.toml --extra store --extra databases --extra local -o deploy/locks/runner.lock
part $upgrade pyproject.toml -o deploy/locks/netprobe.lock
part $upgrade pyproject.toml --extra operator -o deploy/locks/operator.lock
part $upgrade --group rag -o deploy/locks/rag.lock # the reference RAG backend
part $upgrade pyproject.toml --extra quality --group node -o deploy/locks/quality.lock # node is a wheel: one lock for all of the image
part $upgrade --group build -o deploy/locks/build.lock
lock $upgrade --group fronts -o deploy/locks/fronts.lock # servers that tests measure: an environment of their own
lock $upgrade --group chroma -o deploy/locks/chroma.lock # a real server for tests
python -m tests.drift.locks --write
