#!/usr/bin/env bash
# `make test` on CPython 3.13, whatever Python the machine has: Debian trixie's, unpacked from the mirror that apt uses.
#
# Nothing is installed, and nobody has to be root. The interpreter runs by its own loader and libraries outside of any
# chroot, so that Node and Chromium are the machine's.
set -euo pipefail

readonly SUITE=trixie SERIES=3.13
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

root=$(cd "$(dirname "$0")/.." && pwd)

fail() {
    echo "python313.sh: $*" >&2
    exit 1
}

require() {
    local tool
    for tool in apt-get dpkg-deb tar make npm; do
        command -v "$tool" >/dev/null || fail "$tool is not installed; Debian with Node and make is expected"
    done
    [ "$(. /etc/os-release && echo "$ID")" = debian ] || fail "/etc/os-release names no Debian, whose mirror is needed"
}

# The archive that the machine's own release comes from; those of updates and of others have other suites. A machine
# whose apt was never asked for an update has no lists, and then they are made in the folder given.
mirror() {
    local uri
    uri=$(listed_mirror)
    if [ -z "$uri" ]; then
        mkdir -p "$1/partial"
        local options=(-o "Dir::State::Lists=$1" -o APT::Sandbox::User= -o Acquire::Languages=none)
        apt-get -qq "${options[@]}" update || fail "apt cannot read its own sources"
        uri=$(listed_mirror "${options[@]}")
    fi
    echo "$uri"
}

listed_mirror() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    apt-get indextargets "$@" --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v codename="$codename" '($1 == codename || $1 ~ /^(old)*stable$/) && $2 == "main" && !found++ { print $3 }'
}

# Downloads the interpreter with all it depends on, down to the C library, as if nothing were installed.
download() {
    local state=$1 uri=$2 signed=""
    mkdir -p "$state"/{lists,archives}/partial
    touch "$state/status"
    [ ! -f "$KEYRING" ] || signed="[signed-by=$KEYRING] "
    echo "deb $signed$uri $SUITE main" >"$state/sources.list"
    local options=(
        -qq
        -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o APT::Default-Release=
        -o "Dir::State=$state" -o "Dir::State::Lists=$state/lists" -o "Dir::State::Status=$state/status"
        -o "Dir::Cache=$state" -o "Dir::Cache::Archives=$state/archives"
        # The folder is the caller's alone, so apt's own user could not write there.
        -o APT::Sandbox::User= -o Acquire::Languages=none -o APT::Update::Error-Mode=any
    )
    apt-get "${options[@]}" update || fail "apt cannot read $SUITE from this machine's mirror"
    apt-get "${options[@]}" --yes --download-only --no-install-recommends install "python$SERIES" "python$SERIES-venv" ||
        fail "apt cannot fetch python$SERIES from this machine's mirror"
}

# Unpacks it. A script in the interpreter's place starts it by the loader that came with it: a virtual environment links
# to that, and Python takes its own place from the name it was called by.
unpack() {
    local archives=$1 place=$2 package
    for package in "$archives"/*.deb; do
        dpkg-deb --extract "$package" "$place"
    done
    local loader libraries
    loader=$(find "$place/usr/lib" -name 'ld-linux*.so.*' -print -quit)
    libraries=$(dirname "$(find "$place/usr/lib" -name libc.so.6 -print -quit)")
    [ -n "$loader" ] || fail "libc6 of $SUITE has no loader where it is looked for"
    # Debian keeps pip's wheel beside Python, by an absolute path.
    sed -i "s|'/usr/share/python-wheels/'|'$place/usr/share/python-wheels/'|" "$place/usr/lib/python$SERIES"/_sysconfigdata*.py
    mv "$place/usr/bin/python$SERIES" "$place/usr/bin/python$SERIES-program"
    cat >"$place/usr/bin/python$SERIES" <<END
#!/bin/sh
exec '$loader' --library-path '$libraries' --argv0 "\$0" '$place/usr/bin/python$SERIES-program' "\$@"
END
    chmod +x "$place/usr/bin/python$SERIES"
    # The suite starts hundreds of processes, and some environments forbid Python to write this by itself.
    "$place/usr/bin/python$SERIES" -m compileall -q -j0 "$place/usr/lib/python$SERIES"
}

# The working tree, uncommitted changes included, without what was made in it.
copy_tree() {
    mkdir "$1"
    tar -C "$root" --exclude=./.git --exclude=./.venv --exclude=node_modules --exclude=__pycache__ --exclude='.*_cache' \
        --exclude=./.hypothesis --exclude='./.coverage*' --exclude=./artefacts --exclude=./build --exclude=./dist --exclude=./site -cf - . |
        tar -C "$1" -xf -
}

require
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
uri=$(mirror "$folder/lists")
[ -n "$uri" ] || fail "apt's sources name no archive of this Debian release, whose mirror would have $SUITE"
download "$folder/apt" "$uri"
unpack "$folder/apt/archives" "$folder/python"
rm -rf "$folder/apt" "$folder/lists"
copy_tree "$folder/tree"

export DUPLEXIO_ARTEFACTS="${DUPLEXIO_ARTEFACTS:-$root/artefacts}/python$SERIES"
cd "$folder/tree"
# As if started by hand: this may be a rule of another make.
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make test "PYTHON=$folder/python/usr/bin/python$SERIES"
