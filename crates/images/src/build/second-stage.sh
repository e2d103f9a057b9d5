# Runs as root in a throwaway guest whose root holds the essential packages, unpacked but not configured.
# Arguments: directory of the packages, seconds since the epoch that stand for "now", mirror, code name of the suite.
set -eu
packages=$1
SOURCE_DATE_EPOCH=$2
mirror=$3
suite=$4
export SOURCE_DATE_EPOCH
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true PERL_HASH_SEED=0
export LC_ALL=C.UTF-8 HOME=/root TMPDIR=/tmp
umask 022
exec 2>&1

# Maintainer scripts see a wall clock that does not run ahead of the packages by more than this build takes.
date -u -s "@$SOURCE_DATE_EPOCH" >/dev/null

# No service starts while packages are configured.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

# Documentation and translations stay out, as in Debian's own slim images; licences stay in.
mkdir -p /etc/dpkg/dpkg.cfg.d
cat > /etc/dpkg/dpkg.cfg.d/pyro <<'CONFIG'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/groff/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/linda/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
CONFIG

mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers
: > /var/lib/dpkg/status
: > /var/lib/dpkg/available
# Scripts that run before mawk's alternative is set up call awk.
ln -sf mawk /usr/bin/awk

quietly="--force-unsafe-io --force-confold --no-debsig"
cd "$packages"
echo "phase unpack-essential"
dpkg $quietly --force-depends --install base-passwd_*.deb
dpkg $quietly --force-depends --install base-files_*.deb
dpkg $quietly --force-depends --unpack $(cat essential)
echo "phase configure-essential"
dpkg $quietly --force-depends --force-configure-any --configure --pending
echo "phase unpack"
if [ -s others ]; then
  dpkg $quietly --force-depends --unpack $(cat others)
fi
echo "phase configure"
dpkg $quietly --configure --pending
dpkg --audit
test -z "$(dpkg --audit)"

echo "phase clean"
cd /
rm -f /usr/sbin/policy-rc.d /var/lib/dpkg/*-old /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache
rm -f /etc/hostname /etc/hosts /etc/resolv.conf /etc/.pwd.lock /etc/machine-id /var/lib/dbus/machine-id
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /var/lib/dpkg/lock /var/lib/dpkg/lock-frontend
rm -f /etc/ssh/ssh_host_*
find /var/log /tmp /var/tmp /var/cache/apt /var/lib/apt/lists -mindepth 1 -delete 2>/dev/null || true
rmdir /workspace 2>/dev/null || true
mkdir -p /workspace /usr/lib/modules
cat > /etc/apt/sources.list.d/debian.sources <<SOURCES
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
: > /etc/machine-id

# A disk without a serial number of its own has a link.
output=/dev/disk/by-id/virtio-pyro-output
for serial in /sys/block/*/serial; do
  if [ "$(cat "$serial")" = pyro-output ]; then
    output=/dev/$(basename "$(dirname "$serial")")
  fi
done
test -b "$output"
echo "phase archive"
# What the guest mounted for itself stays out; empty mount points go in instead.
mkdir -p /tmp/points/dev /tmp/points/proc /tmp/points/sys /tmp/points/run
touch -d "@$SOURCE_DATE_EPOCH" /tmp/points/*
tar --create --totals --file="$output" --sort=name --numeric-owner \
  --format=posix --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
  --xattrs --xattrs-include=security.capability --clamp-mtime --mtime="@$SOURCE_DATE_EPOCH" \
  --exclude='./dev' --exclude='./proc' --exclude='./sys' --exclude='./run' --exclude='./tmp/*' \
  --exclude='./usr/lib/modules/*' --exclude='./workspace/*' --exclude=".$packages" \
  --directory=/ . --directory=/tmp/points dev proc sys run
sync
