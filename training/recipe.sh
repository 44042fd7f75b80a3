#!/usr/bin/env bash
# Makes the default model: training/recipe.sh WORK TEXT…; what is done already is not done again.
set -euo pipefail
work=$1; shift
[ $# -gt 0 ] || { echo "usage: $0 WORK TEXT…" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$work"
export PYTHONPATH="$root/training"
python="${PYTHON:-python3}"
deputy="${DEPUTY:-$root/target/release/deputy}"
train() { "$python" -m deputy_training "$@"; }

[ -e "$work/conversations/held_out.jsonl" ] || train converse --out "$work/conversations"
[ -e "$work/base/model.safetensors" ] ||
  train pretrain --text "$@" --conversations "$work/conversations" --out "$work/base" --steps 1300 --chat-share 0.55
# Twice: ranks of an eighth bring the dense weights on the way, then a fit of those with ranks of a quarter is trained.
[ -e "$work/first/deputy.json" ] ||
  train deputize "$work/base" --out "$work/first" --dense lora --text "$@" --conversations "$work/conversations" \
    --steps 600 --lr 1.5e-3 --target 0.805
[ -x "$deputy" ] || (cd "$root" && cargo build --release)
if [ ! -e "$work/fitted/deputy.json" ]; then
  head -q -c 100000 "$@" >"$work/calib.txt"
  rm -rf "$work/fitted"
  cp -r "$work/first" "$work/fitted"
  rm "$work"/fitted/deputy.* "$work/fitted/checkpoint.pt"
  "$deputy" fit "$work/fitted" --calib "$work/calib.txt" --dense-layers 1
fi
[ -e "$work/routed/deputy.json" ] ||
  train deputize "$work/fitted" --from-fit --out "$work/routed" --dense lora --text "$@" \
    --conversations "$work/conversations" --steps 900 --lr 1.5e-3 --least 0.42 --target 0.6
rm -rf "$work/default"
"$deputy" quantize "$work/routed" "$work/default" --weights q8
for effort in 1 default; do
  options="--device cpu"
  [ "$effort" = default ] || options+=" --effort $effort"
  echo "answers at effort $effort:"
  train answers "$work/default" "$work/conversations/held_out.jsonl" --deputy "$deputy" --options="$options"
done
echo "The model lies in $work/default; copy it to models/default to embed it."
