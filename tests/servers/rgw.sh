#!/usr/bin/env bash
# A real S3 server for tests: Ceph's radosgw with one monitor and one OSD, on loopback. The OSD keeps
# objects in memory, or in a file below DIR.
#
#   rgw.sh start DIR PORT    serve http://127.0.0.1:PORT (user "testkey", secret "testsecret")
#   rgw.sh stop DIR          end the servers that were started in DIR and remove DIR
#
# Debian 12 packages: ceph-mon ceph-osd radosgw ceph-common curl
#   apt-get install -y --no-install-recommends ceph-mon ceph-osd radosgw ceph-common curl
#
# Environment:
#   MON_PORT           port of the monitor                (16789)
#   MEMSTORE_BYTES     most that the OSD may hold         (4 GiB)
#   BLUESTORE_BYTES    the same, but in a file            (not set: in memory)
#   RGW_MAX_REQUESTS   answer 503 SlowDown beyond so many requests at once (1024)
set -euo pipefail

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
  exit 2
}

# A pid may belong to someone else by now: only a server of this folder names its configuration.
runs() {
  grep -qsF "$conf" "/proc/$1/cmdline"
}

stop() {
  local file pid
  [ -e "$conf" ] || return 0
  for file in "$dir"/run/*.pid; do
    [ -e "$file" ] || continue
    pid=$(cat "$file")
    if runs "$pid"; then kill -KILL "$pid"; fi # nothing in DIR is to be kept
    while runs "$pid"; do sleep 0.05; done
  done
  rm -rf "$dir"
}

write_conf() {
  local objectstore=memstore
  if [ -n "${BLUESTORE_BYTES:-}" ]; then objectstore=bluestore; fi
  cat >"$conf" <<CONF
[global]
fsid = $fsid
mon initial members = a
mon host = [v2:127.0.0.1:$mon_port]
public network = 127.0.0.0/8
public addr = 127.0.0.1
ms bind ipv6 = false
# Authentication stays on: with "auth ... required = none" radosgw 16 hangs while it starts.
keyring = $dir/keyring
auth allow insecure global id reclaim = false
run dir = $dir/run
pid file = $dir/run/\$type.\$id.pid
admin socket = $dir/run/\$type.\$id.asok
log file = $dir/log/\$type.\$id.log
# One copy of everything, on one disk that is memory.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
[mon.a]
mon data = $dir/mon
mon data avail crit = 1
mon data avail warn = 2
# The monitor agrees with itself: waiting for others costs ten seconds of start-up.
paxos propose interval = 0.05
paxos min wait = 0.01
[osd]
osd data = $dir/osd
osd objectstore = $objectstore
memstore device bytes = ${MEMSTORE_BYTES:-4294967296}
bluestore block size = ${BLUESTORE_BYTES:-0}
osd memory target = 939524096
osd max object name len = 2048
[client.rgw.a]
rgw data = $dir/rgw
# Without tcp_nodelay every small GET waits 40 ms for a delayed acknowledgement.
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw max concurrent requests = ${RGW_MAX_REQUESTS:-1024}
rgw thread pool size = 32
rgw run sync thread = false
rgw dynamic resharding = false
CONF
}

start() {
  local fsid name osd_uuid
  fsid=$(cat /proc/sys/kernel/random/uuid)
  osd_uuid=$(cat /proc/sys/kernel/random/uuid)
  mkdir -p "$dir"/{run,log,mon,osd,rgw}
  write_conf

  monmaptool --create --clobber --addv a "[v2:127.0.0.1:$mon_port]" --fsid "$fsid" "$dir/monmap"
  ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *'
  for name in client.admin client.rgw.a osd.0; do
    ceph-authtool "$dir/keyring" --gen-key -n "$name" \
      --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  done
  ceph-mon -c "$conf" -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
  ceph-mon -c "$conf" -i a
  timeout 60 ceph -c "$conf" osd create "$osd_uuid" 0
  ceph-osd -c "$conf" -i 0 --mkfs --keyring "$dir/keyring" --osd-uuid "$osd_uuid"
  ceph-osd -c "$conf" -i 0
  timeout 60 radosgw -c "$conf" -n client.rgw.a
  curl -fsS -o /dev/null --retry 100 --retry-delay 1 --retry-connrefused --max-time 60 \
    "http://127.0.0.1:$port/"
  radosgw-admin -c "$conf" -n client.rgw.a --admin-socket= user create --uid=sdflow \
    --display-name=sdflow --access-key=testkey --secret-key=testsecret
}

[ $# -ge 2 ] || usage
command=$1
dir=$(realpath -m "$2")
conf=$dir/ceph.conf
mon_port=${MON_PORT:-16789}

case $command in
  start)
    [ $# -eq 3 ] || usage
    port=$3
    mkdir -p "$dir"
    # The daemons keep what they inherit, so their output goes to a file and never to a pipe.
    set +e # a function called in a condition would run on after an error
    (set -e; start) >"$dir/start.log" 2>&1 </dev/null
    status=$?
    if [ $status -ne 0 ]; then tail -n 20 "$dir/start.log" >&2; fi
    exit $status
    ;;
  stop) stop ;;
  *) usage ;;
esac
