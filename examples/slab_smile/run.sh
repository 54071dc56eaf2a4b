#!/bin/bash
# Charges from the dipole of the cell (SMILE), beside SMILE0 and partitioned charges: train the
# three, scan the susceptibility, predict MD runs nobody has seen. About three minutes on one core.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=examples/slab_smile
out=slab_smile_output
# Networks as small as this one gain little from a second thread.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Deprecation warnings of the libraries below would hide what is going on.
export PYTHONWARNINGS=ignore

step() { echo; echo "== $1 ($SECONDS s)"; }
show() { echo "+ $*"; "$@"; }

mkdir -p "$out"

step "1. split the data by MD run"
show python $here/split.py "$out"

step "2. SMILE: train a small MACE on energies and forces, scan chi on its features, fit with the best"
echo "(the logs are in $out/logs; repeated after an interruption, the command goes on)"
show mace_smile_scan_susceptibility --config configs/slab_smile.yaml --work_dir "$out" --overwrite \
  --train_file "$out/train.xyz" --group_key geometry_id --group_pattern '(.*)_s[0-9]+'

step "3. SMILE0 and partitioned charges, on the same MACE"
for model in slab_smile0 slab_hirshfeld; do
  show mace_smile_train_charges --config configs/$model.yaml --work_dir "$out" --overwrite \
    --train_file "$out/train.xyz" --foundation_model "$out/slab_smile_backbone.model"
done

step "4. predict the unseen runs"
for model in slab_smile slab_smile0 slab_hirshfeld; do
  show mace_smile_eval_configs --model "$out/$model.model" --configs "$out/test.xyz" \
    --output "$out/${model}_test.xyz" --charges_key REF_hirshfeld --overwrite
done

step "5. the change of phi(z) between two charges of the walls, for one unseen geometry"
profile() { # name, model, screening
  show mace_smile_potential_profile --model "$out/$2.model" --screening "$3" --overwrite \
    --configs "$out/high.xyz" --reference "$out/high_dft.npz" \
    --minus "$out/low.xyz" --minus_reference "$out/low_dft.npz" --output "$out/phi_$1"
}
profile smile slab_smile profile
profile uniform slab_smile uniform
profile smile0 slab_smile0 uniform
profile hirshfeld slab_hirshfeld none

step "6. compare and draw"
show python $here/figure.py "$out"

step "done"
echo "$out/slab_smile.png       the comparison in one figure"
echo "$out/slab_smile_scan.csv  errors against chi; .json has the minimum and its uncertainty"
