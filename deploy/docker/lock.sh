#!/usr/bin/env bash
# Writes the locks that the images install from: every package with its hash, for the images' Python.
set -euo pipefail
cd "$(dirname "$0")/../.."
lock() { uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.13 --no-emit-package tokenmark "$@"; }
lock pyproject.toml -o deploy/docker/runner.lock
lock pyproject.toml --extra operator -o deploy/docker/operator.lock
echo 'hatchling>=1.27' | lock - -o deploy/docker/build.lock
