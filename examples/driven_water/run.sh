#!/bin/bash
# Train a small model of water, export it, and drive bulk water with oscillating fields. SHORT=1
# trains and runs less.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-output/driven_water}
training="" running=""
if [ "${SHORT:-0}" = 1 ]; then
  training="--max_num_epochs 5"
  running="--cells 2 --steps 130"
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} PYTHONWARNINGS=ignore

python "$here/split.py" "$out"
mace_smile_run_train --config "$here/train.yaml" --work_dir "$out" $training \
  --train_file "$out/train.xyz" --valid_file "$out/valid.xyz" > "$out/train.log" 2>&1
grep "Epoch" "$out/train.log" | tail -n 2
mace_smile_export "$out/water.model" -o "$out/water.pt" --boundary periodic --overwrite
python "$here/run.py" "$out/water.pt" "$out/start.xyz" --output "$out" $running
