#!/bin/sh
# One venv per peer under the folder given, and the pipeline's models in its `models`. About 1.2 GB.
#   benchmarks/peers/install.sh FOLDER      (PYTHON=python3.11: Triton's stub is built per minor version)
# Debian: apt-get install wrk libpython3.11
set -eu
folder=${1:?usage: install.sh FOLDER}
python=${PYTHON:-python3.11}
here=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder"

venv() {
    name=$1
    shift
    [ -x "$folder/$name/bin/python" ] || "$python" -m venv "$folder/$name"
    "$folder/$name/bin/pip" install --quiet "$@" numpy pillow onnxruntime
}

venv tool onnx
venv gunicorn gunicorn flask
venv mosec mosec
venv pytriton nvidia-pytriton
cd "$here" && "$folder/tool/bin/python" -m benchmarks.peers.models "$folder/models"
