#!/bin/bash
# Generate random point charges, train on their energies and forces alone, and compare the charges
# the model has found with the true ones: a minute or two on one core.
#   bash examples/random_charges/run.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-output/random_charges}
# Networks as small as this one gain little from a second thread.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Deprecation warnings of the libraries below would hide what is going on.
export PYTHONWARNINGS=ignore

rm -rf "$out"
python "$here/generate.py" "$out"
mace_smile_run_train --config "$here/train.yaml" --work_dir "$out" --train_file "$out/train.xyz" \
  --valid_file "$out/valid.xyz" 2>&1 | tee "$out/train.log" | grep --line-buffered -E "Epoch|^error"
python "$here/check.py" "$out/random_charges.model" "$out/unseen.xyz"
