#!/bin/bash
# A Slurm array: each task uploads its share of the images of a folder that all nodes see.
#
#     sbatch --export=ALL,SOURCE=/srv/images,CONTAINER_URL="$CONTAINER_URL_WITH_SAS" slurm.sh
#
# A task that is requeued goes on where it stopped: the state lies beside this file, on the shared file system.
#SBATCH --job-name=vhdfs-upload
#SBATCH --array=0-7
#SBATCH --cpus-per-task=2
#SBATCH --mem=1G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# Slurm runs a copy of this file, so the folder is the one that sbatch was called in.
cd "${SLURM_SUBMIT_DIR:?}"
mkdir -p upload-state
exec ./upload_share.sh "$SLURM_ARRAY_TASK_ID" "$SLURM_ARRAY_TASK_COUNT" "${SOURCE:?}" "${CONTAINER_URL:?}" upload-state
