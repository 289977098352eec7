#!/usr/bin/env bash
# Puts ONNX Runtime's C++ headers into the folder given as $1 (include/onnxruntime below it).
#
# The library itself comes with the Python wheel and is opened at run time; only the headers are
# missing there. Debian 13 and Ubuntu 25.04 package them. On an older Debian they are taken from
# Debian 13's package, unpacked in a private folder: the system's own package state is not touched.
set -euo pipefail

prefix=$1
for folder in "$prefix/include/onnxruntime" "${ONNXRUNTIME_INCLUDE_DIR:-/nowhere}" \
  /usr/include/onnxruntime /usr/include/onnxruntime/core/session /usr/local/include/onnxruntime; do
  [ -f "$folder/onnxruntime_cxx_api.h" ] && exit 0
done

help_and_exit() {
  echo "error: could not get the ONNX Runtime headers: $1" >&2
  echo "  Install libonnxruntime-dev (Debian 13+, Ubuntu 25.04+), or unpack ONNX Runtime's release" >&2
  echo "  archive (1.21 or newer) and set ONNXRUNTIME_INCLUDE_DIR to the folder that holds" >&2
  echo "  onnxruntime_cxx_api.h, then run 'make setup' again." >&2
  exit 1
}

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' | grep -m1 -E '/debian/?$' || true)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -n "$mirror" ] || help_and_exit "this machine has no Debian package source"
[ -f "$keyring" ] || help_and_exit "$keyring is missing"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/etc/{apt.conf.d,preferences.d} "$work"/{lists,cache/archives,state} "$work"/lists/partial "$work"/cache/archives/partial
echo "deb [signed-by=$keyring] $mirror trixie main" >"$work/etc/sources.list"
apt_options=(
  -o Dir::Etc="$work/etc" -o Dir::Etc::sourcelist="$work/etc/sources.list" -o Dir::Etc::sourceparts=-
  -o Dir::State="$work/state" -o Dir::State::lists="$work/lists" -o Dir::State::status=/var/lib/dpkg/status
  -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
)
apt-get "${apt_options[@]}" update -qq || help_and_exit "apt-get update failed"
(cd "$work" && apt-get "${apt_options[@]}" download -qq libonnxruntime-dev) || help_and_exit "the download failed"
dpkg-deb -x "$work"/libonnxruntime-dev_*.deb "$work/unpacked"
mkdir -p "$prefix/include"
cp -r "$work/unpacked/usr/include/onnxruntime" "$prefix/include/"
