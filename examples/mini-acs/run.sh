#!/bin/bash
# Starts or stops a whole mini-ACS by hand, in the order of the real one.
#   ./run.sh start | stop | status
# It is what a supervisor replaces: no restart, readiness by polling, process ids in files.
here=$(cd "$(dirname "$0")" && pwd)
export ACS_INSTANCE=${ACS_INSTANCE:-0} ACS_HOST=${ACS_HOST:-127.0.0.1}
export ACS_TMP=${ACS_TMP:-$here/tmp} ACS_CDB=${ACS_CDB:-$here}
dir=$ACS_TMP/ACS_INSTANCE.$ACS_INSTANCE
base=$((3000 + 100 * ACS_INSTANCE))
mini="python3 -u $here/miniacs.py"
ns="-ORBInitRef NameService=corbaloc::$ACS_HOST:$((base + 1))/NameService"

launch() { # name, readiness text or port:N, command...
  local name=$1 ready=$2; shift 2
  mkdir -p "$dir/out" "$dir/run" "$dir/pids" "$dir/iors"
  setsid "$@" >"$dir/out/$name.out" 2>&1 &
  echo $! >"$dir/run/$name.pid"
  for _ in $(seq 150); do
    case $ready in
      port:*) (exec 3<>/dev/tcp/$ACS_HOST/${ready#port:}) 2>/dev/null && { echo "ready    $name"; return 0; } ;;
      *) grep -qs "$ready" "$dir/out/$name.out" && { echo "ready    $name"; return 0; } ;;
    esac
    kill -0 "$(cat "$dir/run/$name.pid")" 2>/dev/null || break
    sleep 0.1
  done
  echo "FAILED   $name"; tail -n 3 "$dir/out/$name.out"; return 45
}

start() {
  mkdir -p "$dir/naming"
  launch NameService port:$((base + 1)) omniNames -start $((base + 1)) -always -datadir "$dir/naming" \
      -errlog "$dir/naming/err.log" -ORBendPoint giop:tcp:$ACS_HOST:$((base + 1)) || return
  launch InterfaceRepository "Repository is ready" $mini service InterfaceRepository || return
  for ch in Notify:2 LoggingNotify:5 ArchiveNotify:6 AlarmNotify:7; do
    local p=$((base + ${ch#*:})) n=${ch%:*}
    mkdir -p "$dir/events-$n"
    # a factory of channels with its own store, named like the ones of ACS
    launch "$n" port:$p omniEvents -f -p $p -ORBendPointPublish giop:tcp:$ACS_HOST: -l "$dir/events-$n" -N "${n}EventChannelFactory" $ns || return
  done
  launch Log "Centralized Logger is running" $mini service Log || return
  launch CDB "JDAL is ready and waiting" $mini cdb --root "$ACS_CDB" || return
  launch ACSLogSvc "waiting for incoming" $mini service ACSLogSvc || return
  launch AcsAlarmService "alarm service is ready" $mini service AcsAlarmService || return
  launch Manager "Manager Application initialized" $mini manager $RECOVER || return
  launch MountContainer "ContainerStatusMsg: Ready" "$here/cpp/miniContainer" MountContainer \
      -ORBendPoint giop:tcp:$ACS_HOST:$((base + 50)) || return
  launch ScheduleContainer "ContainerStatusMsg: Ready" $mini container ScheduleContainer --lang java --port $((base + 52)) || return
  launch AcquisitionContainer "ContainerStatusMsg: Ready" $mini container AcquisitionContainer --lang py --port $((base + 54)) || return
}

order_stop="AcquisitionContainer ScheduleContainer MountContainer Manager AcsAlarmService CDB AlarmNotify ArchiveNotify LoggingNotify Notify Log InterfaceRepository ACSLogSvc NameService"
stop() {
  for n in $order_stop; do
    [ -s "$dir/run/$n.pid" ] || continue
    pid=$(cat "$dir/run/$n.pid")
    kill "$pid" 2>/dev/null
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$pid" 2>/dev/null; then kill -9 "$pid"; echo "killed   $n"; else echo "stopped  $n"; fi
    rm -f "$dir/run/$n.pid"
  done
}
status() {
  for f in "$dir"/run/*.pid; do
    [ -e "$f" ] || continue
    n=$(basename "$f" .pid); p=$(cat "$f")
    kill -0 "$p" 2>/dev/null && echo "$n pid $p" || echo "$n DEAD"
  done
}
"$1"
