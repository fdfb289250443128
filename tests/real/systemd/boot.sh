#!/bin/sh
# Boots a tree with systemd as the first process of namespaces of its own: boot.sh NAME TREE SCRATCH SHARE.
# The tree is never written: what changes is laid over it, in SCRATCH. SHARE is seen inside as /mnt/share.
# Called by machine.py through `unshare --pid --mount --fork`, so that whatever is left ends with this process.
set -eu
name=$1 tree=$2 scratch=$3 share=$4

mount --make-rprivate /
mount -t proc proc /proc
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root" "$scratch/cgroup"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"

# A group of its own: two machines at once must not find each other's services in theirs.
mount -t cgroup2 cgroup2 "$scratch/cgroup"
mkdir -p "$scratch/cgroup/$name"
echo $$ >"$scratch/cgroup/$name/cgroup.procs"

exec unshare --cgroup sh -euc '
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec systemd-nspawn --boot --quiet --register=no --keep-unit --private-network --link-journal=no --resolv-conf=off \
  --timezone=off --machine="$1" --directory="$2/root" --bind="$3:/mnt/share"' sh "$name" "$scratch" "$share"
