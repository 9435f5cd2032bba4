#!/bin/sh
# Stop the Slurm of start_slurm.sh in FOLDER.
for daemon in slurmd slurmctld munged; do
    [ -f "$1/$daemon.pid" ] && kill "$(cat "$1/$daemon.pid")" 2>/dev/null
done
exit 0
