#!/bin/bash
# The whole way from DFT data to a trajectory in an electric field; `make demo` calls it. Every step
# is a command you could type yourself. SHORT=1 trains and runs less.
set -euo pipefail
cd "$(dirname "$0")/../.."

demo=examples/demo
out=demo_output
field=z07
if [ "${SHORT:-0}" = 1 ]; then
  training="--max_num_epochs 13 --lr_scheduler_gamma 0.85 --eval_interval 4"
  steps=60
else
  training=""
  steps=300
fi
# Networks as small as this one gain little from a second thread.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Deprecation warnings of the libraries below would hide what is going on.
export PYTHONWARNINGS=ignore

step() { echo; echo "== $1 ($SECONDS s)"; }
show() { echo "+ $*"; "$@"; }

rm -rf "$out"

step "1. split the data: an MD run is either for training, for validation or for the test"
show python $demo/split.py "$out"

step "2. train one model on energies, forces, dipoles and Born effective charges"
echo "(the log of the training is $out/train.log)"
show mace_smile_run_train --config configs/demo.yaml --work_dir "$out" $training \
  --train_file "$out/train.xyz" --valid_file "$out/valid.xyz" --test_file "$out/test.xyz" \
  2>&1 | tee "$out/train.log" | grep --line-buffered -E "^\+|Initial|Epoch|^error"

step "3. evaluate it on the test frames"
show mace_smile_eval_configs --model "$out/demo.model" --configs "$out/test.xyz" \
  --output "$out/test_predicted.xyz"

step "4. export it for engines in double precision, with a field of 0.07 V/A along z"
# Inside the film; it is what a field of 0.1 V/A in vacuum leaves there, by 1 + chi.
show mace_smile_export "$out/demo.model" -o "$out/demo.pt" --dtype float64 --boundary slab \
  --field $field=0,0,0.07 \
  --given_charges "$out/start.xyz"

step "5. molecular dynamics in ASE: check the forces of the field, run without and with it"
show python $demo/field_md_ase.py "$out" $field $steps

step "6. the same in i-PI, with its stock metatomic driver"
show python $demo/field_md_ipi.py "$out" $field $steps

step "7. draw the figure"
show python $demo/figure.py "$out" $field

step "done"
cat <<EOF
$out/demo.png             parity of dipoles and Born charges, dipole against time in the field
$out/demo.model           the trained model; $out/train.log and $out/results/ tell its errors
$out/test_predicted.xyz   test frames with what the model predicts for them
$out/demo.pt              the exported model, with the field as variant "$field" of the energy
$out/ase_*.xyz            trajectories of ASE without and with the field
$out/ipi_$field.xyz          trajectory of i-PI with the field; its input is $out/ipi_input.xml
EOF
