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
[ -e "$work/routed/deputy.json" ] ||
  train deputize "$work/base" --out "$work/routed" --dense lora --text "$@" --conversations "$work/conversations" \
    --steps 600 --lr 1.5e-3 --target 0.805
[ -x "$deputy" ] || (cd "$root" && cargo build --release)
rm -rf "$work/default"
"$deputy" quantize "$work/routed" "$work/default" --weights q8
for effort in 1 default; do
  options="--device cpu"
  [ "$effort" = default ] || options+=" --effort $effort"
  echo "answers at effort $effort:"
  train answers "$work/default" "$work/conversations/held_out.jsonl" --deputy "$deputy" --options="$options"
done
echo "The model lies in $work/default; copy it to models/default to embed it."
