#!/bin/sh
# Upload one share of a folder's images: those of number INDEX, INDEX + COUNT, INDEX + 2 × COUNT …, the largest
# first. Every host that sees the folder computes the same shares, so they need to know nothing of each other.
#
#     upload_share.sh INDEX COUNT SOURCE CONTAINER_URL_WITH_SAS [STATE_FOLDER] [OPTION OF vhdfs…]
#
# Started again it goes on where it stopped, where STATE_FOLDER (default: .) outlives it. Uses upload.py beside it
# and no FUSE. Needs vhdfs, jq, python3 and its package azure-storage-blob.
set -eu
index=$1 count=$2 source=$3 container=$4 state=${5:-.}
if [ $# -gt 5 ]; then shift 5; else shift $#; fi
here=$(dirname "$0")
list=$(mktemp)
trap 'rm -f "$list"' EXIT
vhdfs list --json "$@" "$source" >"$list"
for option; do
    set -- "$@" "--option=$option"
    shift
done
jq -r --argjson index "$index" --argjson count "$count" '
    .images | sort_by([-.allocated_size, .view]) | to_entries[]
    | select(.key % $count == $index) | .value | @base64' "$list" |
    while read -r image; do
        field() { printf %s "$image" | base64 -d | jq -r ".$1"; }
        view=$(field view)
        blob="${container%%\?*}/$(printf %s "$view" | jq -sRr '@uri | gsub("%2F"; "/")')?${container#*\?}"
        "${PYTHON:-python3}" "$here/upload.py" "$@" \
            --state "$state/$(printf %s "$view" | sha256sum | cut -c 1-16).upload" "$source/$(field source)" "$blob"
    done
