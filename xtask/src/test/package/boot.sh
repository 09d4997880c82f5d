#!/bin/sh
# Becomes PID 1 of a systemd of its own on a copy of this system, which takes what is written and loses it at the end.
# In new namespaces of processes, mounts, network, names, IPC and control groups; arguments: a directory, and what is shown
# inside as /packages, and what becomes PID 1.
set -eu

dir=$1 packages=$2
shift 2

# Nothing below here is seen outside, and all of it ends with the last process inside.
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"
cd "$dir/root"

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs dev
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mkdir dev/shm dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir -p packages
mount --bind "$packages" packages

# Of the system's own services only those that every boot needs, and none that changes the kernel, which is everybody's.
rm -rf etc/systemd/system var/log/journal
mkdir -p etc/systemd/system etc/systemd/journald.conf.d
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-timesyncd.service systemd-networkd.service \
    systemd-resolved.service systemd-logind.service getty.target remote-fs.target systemd-sysctl.service \
    systemd-modules-load.service systemd-binfmt.service systemd-journald-audit.socket systemd-random-seed.service \
    modprobe@.service dbus.socket; do
    ln -s /dev/null etc/systemd/system/$unit
done
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' > etc/systemd/system/trial.target
# One machine, one identity.
rm -f etc/machine-id
touch etc/machine-id
: > etc/fstab

mkdir -p old
pivot_root . old
umount -l old
exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
