#!/bin/bash
# Trains and decodes all peers, one after the other, on one core; those with
# results are skipped, so that the same command continues.
#   PYTHON=python benchmarks/accuracy/run_peers.sh DATA_FOLDER OUTPUT_FOLDER [OPTIONS]
# A bundle of ours in OUTPUT_FOLDER/ours-SET/bundle joins the speed comparison.
set -u
cd "$(dirname "$0")" || exit 1
data=$1 output=$2
shift 2
python=${PYTHON:-python}
export OMP_NUM_THREADS=1
for system in ctc joint; do
   for set in yoruba swahili speechocean762; do
      folder=$output/$system-$set
      mkdir -p "$folder"
      if [ ! -f "$folder/results.json" ]; then
         $python speechbrain_$system.py --data_folder="$data" --set=$set \
            --output_folder="$folder" "$@" >> "$folder/log.txt" 2>&1
      fi
   done
done
for set in yoruba swahili speechocean762; do
   folder=$output/joint-$set
   bundle=$output/ours-$set/bundle
   if [ -f "$folder/results.json" ] && [ ! -f "$folder/decoded" ]; then
      $python joint_decode.py --data_folder="$data" --set=$set \
         --folder="$folder" $([ -d "$bundle" ] && echo "--bundle=$bundle") \
         >> "$folder/log.txt" 2>&1 && touch "$folder/decoded"
   fi
done
