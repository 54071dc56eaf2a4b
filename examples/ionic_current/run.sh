#!/bin/bash
# The conductivity of molten NaCl from a trained model, without and with a field, beside that of the
# exact potential: some five minutes on two cores. SHORT=1 trains and runs less.
#   bash examples/ionic_current/run.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-output/ionic_current}
fields="0.02 0.03 0.04" # V/A
if [ "${SHORT:-0}" = 1 ]; then
  training="--max_num_epochs 8"
  fields="0.02 0.04"
  resting=6400 driven=600 exact=6400 # fs
else
  training=""
  resting=30000 driven=10000 exact=150000
fi
# Networks as small as this one gain little from a second thread.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Deprecation warnings of the libraries below would hide what is going on.
export PYTHONWARNINGS=ignore
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT

step() { echo; echo "== $1 ($SECONDS s)"; }

rm -rf "$out"
step "1. generate frames, and run the exact potential on the other core"
python "$here/generate.py" "$out"
python "$here/run_md.py" "$out" --fields 0 $fields --time $exact > "$out/exact.log" 2>&1 &
reference=$!

step "2. train on energies, forces and Born effective charges (log: $out/train.log)"
mace_smile_run_train --config "$here/train.yaml" --work_dir "$out" $training \
  --train_file "$out/train.xyz" --valid_file "$out/valid.xyz" 2>&1 |
  tee "$out/train.log" | grep --line-buffered -E "Epoch|^error"
mace_smile_export "$out/nacl.model" -o "$out/nacl.pt" --boundary periodic
wait $reference
cat "$out/exact.log"

step "3. run the model without a field, and in fields on the other core"
python "$here/run_md.py" "$out" --model "$out/nacl.pt" --fields $fields --time $driven &
in_fields=$!
python "$here/run_md.py" "$out" --model "$out/nacl.pt" --fields 0 --time $resting
wait $in_fields

step "4. compare and draw"
python "$here/analyse.py" "$out"
step "done"
