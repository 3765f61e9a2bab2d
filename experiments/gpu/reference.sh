#!/usr/bin/env bash
# The reference of the field on one GPU, about an hour; resumable: the same command continues. Options: experiments/gpu/reference.py
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
# several victims at once fill a GPU better than one; a control program that runs already is fine
if command -v nvidia-cuda-mps-control > /dev/null; then nvidia-cuda-mps-control -d || true; fi
exec "$python" -m experiments.gpu.reference "$@"
