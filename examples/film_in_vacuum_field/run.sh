#!/bin/bash
# A water film between neon walls in a field that is given in vacuum, in LAMMPS and in i-PI at once:
# some eight minutes on two cores. SHORT=1 trains and runs less.
#   bash examples/film_in_vacuum_field/run.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
examples=$(dirname "$here")
out=${1:-output/film_in_vacuum_field}
# A smaller network than that of the demo.
training="--num_channels 16 --max_ell 2 --max_num_epochs 31 --lr_scheduler_gamma 0.9"
steps=3000 stride=10
if [ "${SHORT:-0}" = 1 ]; then
  training="$training --max_num_epochs 5 --lr_scheduler_gamma 0.6"
  steps=100 stride=5
fi
# Networks as small as this one gain little from a second thread.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Deprecation warnings of the libraries below would hide what is going on.
export PYTHONWARNINGS=ignore
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT

step() { echo; echo "== $1 ($SECONDS s)"; }

rm -rf "$out"
step "1. train the model of the demo, made smaller, on the embedded data (log: $out/train.log)"
python "$examples/demo/split.py" "$out"
mace_smile_run_train --config "$examples/../configs/demo.yaml" --name film --work_dir "$out" \
  $training --train_file "$out/train.xyz" --valid_file "$out/valid.xyz" 2>&1 |
  tee "$out/train.log" | grep --line-buffered -E "Epoch|^error"

step "2. export it with fields of 0.1 V/A in vacuum, up and down"
mace_smile_export "$out/film.model" -o "$out/film.pt" --boundary slab --field_kind vacuum \
  --field up=0,0,0.1 --field down=0,0,-0.1 --given_charges "$out/start.xyz"

run_all() { # engine: without a field, and in both
  local arguments="$out/film.pt $out/start.xyz --freeze Ne --steps $steps --stride $stride"
  python "$examples/$1_finite_field/run.py" $arguments --output "$out/$1_none"
  for field in up down; do
    python "$examples/$1_finite_field/run.py" $arguments --output "$out/$1_$field" --field $field
  done
}

step "3. run LAMMPS on one core and i-PI on the other"
run_all ipi &
ipi=$!
run_all lammps
wait $ipi

step "4. compute the dipoles, compare, draw"
python "$here/gather.py" "$out" $stride
mace_smile_eval_configs --model "$out/film.model" --configs "$out/trajectories.xyz" \
  --output "$out/dipoles.xyz"
python "$here/figure.py" "$out"
step "done"
