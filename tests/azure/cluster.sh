#!/usr/bin/env bash
# A cluster of a scheduler and three workers, each worker in a network and a mount namespace of its
# own, with a blob service that all of them reach; one worker is killed half-way through an upload.
#
#     unshare --net --mount --pid --fork --kill-child --mount-proc cluster.sh SOURCE WORK VHDFS PYTHON AZURITE TOP
#
# Prints what the client says, and `mounts N` before a worker is killed. All of it ends with the shell.
set -euo pipefail
source=$1 work=$2 vhdfs=$3 python=$4 azurite=$5 top=$6
export PYTHONDONTWRITEBYTECODE=1 DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=5 PATH=$PATH:/usr/sbin:/sbin
host=10.99.0.1

# Waits for a command to succeed; the test that runs this ends it where that never comes.
until_ok() { until "$@" >/dev/null 2>&1; do sleep 0.1; done; }

# shellcheck disable=SC2317 # until_ok calls it.
is_apart() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }

ip link set lo up
ip link add switch type bridge
ip addr add $host/24 dev switch
ip link set switch up

"$azurite" --blobHost 0.0.0.0 --blobPort 10000 --silent --skipApiVersionCheck --disableTelemetry \
    --location "$work/blobs" >"$work/azurite.log" 2>&1 &
until_ok grep -q "listens on" "$work/azurite.log"
# The SDK knows the emulator's account by the address of loopback alone; the signature holds anywhere.
here=$("$python" "$top/tests/azure/blob.py" container http://127.0.0.1:10000/devstoreaccount1 vhds)
container=${here/127.0.0.1/$host}

"$python" -m distributed.cli.dask_scheduler --host $host --port 8786 --no-dashboard --no-show \
    >"$work/scheduler.log" 2>&1 &
declare -a workers holders
for number in 1 2 3; do
    unshare --net --mount sleep infinity &
    holder=$!
    holders+=("$holder")
    # It is this shell's namespace until unshare has made another.
    until_ok is_apart "$holder"
    until_ok ip link add "port$number" type veth peer name eth0 netns "$holder"
    ip link set "port$number" master switch up
    inside=(nsenter --target "$holder" --net --mount)
    "${inside[@]}" ip addr add "10.99.0.1$number/24" dev eth0
    "${inside[@]}" ip link set eth0 up
    "${inside[@]}" ip link set lo up
    mkdir -p "$work/host$number"
    TMPDIR=$work/host$number "${inside[@]}" "$python" -m distributed.cli.dask_worker tcp://$host:8786 \
        --no-nanny --no-dashboard --nthreads 2 --name "host$number" --local-directory "$work/host$number" \
        >"$work/host$number.log" 2>&1 &
    workers+=($!)
done

"$python" "$top/examples/dask_upload.py" --vhdfs "$vhdfs" --workers 3 --task 1 --option=--min-size=64M \
    tcp://$host:8786 "$source" "$container" >"$work/client.log" 2>&1 &
client=$!
# shellcheck disable=SC2317 # until_ok calls it.
is_half_way() {
    ! kill -0 "$client" || awk '/^put: / && $2 * 2 >= $4 { found = 1 } END { exit !found }' "$work/client.log"
}
until_ok is_half_way
mounts=0
for holder in "${holders[@]}"; do
    mounts=$((mounts + $(nsenter --target "$holder" --mount grep -c " $work/host.* - fuse.vhdfs " /proc/thread-self/mountinfo || true)))
done
echo "mounts $mounts"
kill -9 "${workers[1]}"
status=0
wait "$client" || status=$?
cat "$work/client.log"
[ $status = 0 ] || tail -n 40 "$work"/*.log >&2
"$python" "$top/tests/azure/blob.py" download "$here" "$work/downloaded"
exit $status
