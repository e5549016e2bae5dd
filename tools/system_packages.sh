#!/usr/bin/env bash
# Install the system libraries that Blender's module loads and the compiler that builds QuantImPy.
# As root through apt; otherwise the one line to type is printed.
set -euo pipefail

declare -A package_of=(
  [libX11.so.6]=libx11-6 [libXrender.so.1]=libxrender1 [libXfixes.so.3]=libxfixes3 [libXi.so.6]=libxi6
  [libXt.so.6]=libxt6 [libSM.so.6]=libsm6 [libICE.so.6]=libice6 [libxkbcommon.so.0]=libxkbcommon0
  [libGL.so.1]=libgl1 [libEGL.so.1]=libegl1
)

# ldconfig is not on every user's PATH.
PATH="$PATH:/usr/sbin:/sbin"
known=$(ldconfig -p)
missing=()
for library in "${!package_of[@]}"; do
  grep -q "$library" <<<"$known" || missing+=("${package_of[$library]}")
done
command -v cc >/dev/null || missing+=(gcc libc6-dev)
[ -e "$("${PYTHON:-python3.11}" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ] ||
  missing+=(libpython3.11-dev)
"${PYTHON:-python3.11}" -c 'import ensurepip' 2>/dev/null || missing+=(python3.11-venv)
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "Install what these Debian packages hold, then call make again: ${missing[*]}" >&2
  exit 2
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "System libraries are missing. Type this, then call make again:" >&2
  echo "  sudo apt-get install --yes --no-install-recommends ${missing[*]}" >&2
  exit 2
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
