#!/usr/bin/env bash
# Makes what can be installed from this checkout, in dist/: a tar archive, a Debian package, and
# their checksums. The executable needs the glibc of this machine or a newer one. Needs dpkg-deb, objdump
# and strip (Debian: dpkg, binutils). EXECUTABLE=… packages one that was built before.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git rev-parse --short=12 HEAD)
if [ -n "$(git status --porcelain)" ]; then commit="$commit-changed"; fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
architecture=$(dpkg --print-architecture)
name="wahook-$version-linux-$architecture"

executable=${EXECUTABLE:-}
if [ -z "$executable" ]; then
  echo "building wahook $version ($commit); without dependencies at hand this takes ten minutes"
  WAHOOK_COMMIT=$commit cargo build --release --locked --package wahook --features cql-tls
  executable=target/release/wahook
fi

rm -rf dist
mkdir -p "dist/$name"
# Private files of the one who builds must not become private files of the package.
umask 022
install -m 755 "$executable" "dist/$name/wahook"
strip --strip-unneeded "dist/$name/wahook"
papers="LICENSE-APACHE LICENSE-MIT CHANGELOG.md docs/licences.md config/default.toml"
papers="$papers nats/dev.conf nats/cluster.conf"
# shellcheck disable=SC2086
install -m 644 $papers deploy/systemd/wahook.service deploy/systemd/wahook.toml "dist/$name/"
tar --create --gzip --owner=0 --group=0 --directory dist --file "dist/$name.tar.gz" "$name"

# The newest symbol version of glibc that the executable asks for.
glibc=$(objdump -T "dist/$name/wahook" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1 | cut -d_ -f2)
root=dist/deb
install -D -m 755 "dist/$name/wahook" "$root/usr/bin/wahook"
install -D -m 644 deploy/systemd/wahook.service "$root/usr/lib/systemd/system/wahook.service"
install -D -m 644 deploy/systemd/wahook.toml "$root/etc/wahook/wahook.toml"
for file in $papers; do
  install -D -m 644 "$file" "$root/usr/share/doc/wahook/$(basename "$file")"
done
mkdir -p "$root/DEBIAN"
cat > "$root/DEBIAN/control" << CONTROL
Package: wahook
Version: $version
Architecture: $architecture
Maintainer: the wahook maintainers
Section: net
Priority: optional
Depends: libc6 (>= $glibc), ca-certificates, adduser
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Description: WhatsApp messages in, signed webhooks out, with nothing lost between
 Takes messages of WhatsApp accounts, keeps them in NATS JetStream, and delivers
 them to HTTPS webhooks, with retries, an audit of every attempt, and replay.
 It needs a nats-server, version 2.12 or later.
CONTROL
echo /etc/wahook/wahook.toml > "$root/DEBIAN/conffiles"
cat > "$root/DEBIAN/postinst" << 'POSTINST'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent passwd wahook > /dev/null \
    || adduser --system --group --home /var/lib/wahook --no-create-home --quiet wahook
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # After an update; the first start is the operator's: nats-server comes first.
    systemctl try-restart wahook.service
  fi
fi
POSTINST
cat > "$root/DEBIAN/prerm" << 'PRERM'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  systemctl disable --now wahook.service
fi
PRERM
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
dpkg-deb --root-owner-group --build "$root" "dist/wahook_${version}_${architecture}.deb" > /dev/null
rm -r "$root" "dist/$name"
(cd dist && sha256sum -- * > SHA256SUMS && cat SHA256SUMS)
