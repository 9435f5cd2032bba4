#!/bin/sh
# Start a single-node Slurm in FOLDER, as root: munged, slurmctld and slurmd with their own ports.
# Partition `low` is preempted by `high`: its jobs are queued again. Installs Debian's packages if
# they are missing. Stop with: tests/engines/stop_slurm.sh FOLDER
#
#   sh tests/engines/start_slurm.sh FOLDER && export SLURM_CONF=FOLDER/slurm.conf
set -eu
folder=$1
port=${2:-27817}
[ "$(id -u)" = 0 ] || { echo "start_slurm.sh needs root" >&2; exit 3; }
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } \
        >"$folder.apt.log" 2>&1 || { echo "slurm-wlm and munge can't be installed" >&2; exit 3; }
fi
mkdir -p "$folder/state" "$folder/spool"
folder=$(cd "$folder" && pwd)
chmod 755 "$folder"
dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 2>/dev/null
chmod 400 "$folder/munge.key"
host=$(hostname -s)
cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
ReturnToService=2
SchedulerParameters=sched_interval=2,requeue_delay=1
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=low Nodes=$host Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=$host State=UP PriorityTier=10 PreemptMode=OFF
CONF
munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
    --seed-file="$folder/munge.seed"
export SLURM_CONF="$folder/slurm.conf"
slurmctld -c
slurmd
for _ in $(seq 60); do
    case $(sinfo --noheader --format=%T 2>/dev/null || true) in
        *idle*) exit 0 ;;
    esac
    sleep 0.5
done
echo "Slurm did not become idle; see $folder/slurmctld.log and $folder/slurmd.log" >&2
exit 1
