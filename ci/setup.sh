#!/usr/bin/env bash
# Everything that vipdrill needs to run from this checkout: to be sourced, then `set_up` called.
#
#   system tools   mmdebstrap and friends, by apt, with sudo once; never a daemon
#   .venv          a virtual environment with the versions of constraints.txt
#   node image     a root filesystem in the user's cache, where keepalived and HAProxy live
#
# It can be interrupted and repeated, and run side by side; when all is there it takes a moment.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "vipdrill set-up: $*" >&2; }
die() {
    say "$*"
    exit 2
}

# What the virtual environment is made from: when it differs, the environment is renewed.
stamp() {
    printf '%s\n' "$root" "$("$venv/bin/python" -V 2>&1)"
    cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum
}

venv_ready() { [[ -x $venv/bin/python && "$(cat "$venv/.stamp" 2>/dev/null)" == "$(stamp)" ]]; }
node_image() { (cd "$root" && "$venv/bin/python" -m harness.image "$@"); }

find_python() {
    local candidate
    for candidate in ${VIPDRILL_PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "needs Python 3.10 or newer; install it, or name it by VIPDRILL_PYTHON"
}

# Commands as root: sudo may ask for a password only where somebody can answer.
as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; elif [[ -t 0 ]]; then sudo "$@"; else sudo -n "$@"; fi
}

# Debian packages, one a line, that the machine lacks; $1 is the Python for the virtual environment.
missing_tools() {
    local path=$PATH:/usr/sbin:/sbin
    PATH=$path command -v mmdebstrap >/dev/null || echo mmdebstrap
    PATH=$path command -v newuidmap >/dev/null || echo uidmap
    [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || echo debian-archive-keyring
    # Where mmdebstrap of another distribution finds the names of Debian's releases.
    [[ -e /usr/share/distro-info/debian.csv ]] || grep -qs '^ID=debian' /etc/os-release || echo distro-info-data
    "$1" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_tools() {
    local packages install="apt-get install --no-install-recommends"
    packages=$(missing_tools "$1" | xargs)
    [[ -n $packages ]] || return 0
    command -v apt-get >/dev/null || die "missing, and there is no apt-get to install them: $packages"
    say "installing $packages by apt: tools to build the virtual environment and the node image, no daemon"
    as_root true || die "that needs sudo; have an administrator run, once: $install $packages"
    # shellcheck disable=SC2086  # $packages is a list of words
    apt_install $packages || die "apt could not install them, see above; start again to go on"
}

apt_install() {
    as_root apt-get -qq update || say "apt-get update failed; going on with the package lists that are here"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

# What CI looks at pages and captures with. Nobody else is made to install these: without them the tests
# that need them are skipped, and say so.
install_viewers() {
    local packages=()
    command -v chromium >/dev/null || packages+=(chromium)
    command -v tshark >/dev/null || packages+=(tshark)
    [[ ${#packages[@]} -gt 0 ]] || return 0
    say "installing ${packages[*]} by apt: the tests look at pages and captures with them"
    apt_install "${packages[@]}" || say "apt could not install them; the tests that need them are skipped"
}

# Ids for the users inside a node; without any, everything in a node belongs to one user.
subordinate_ids() {
    local user=$1 first range
    ! grep -qsE "^($user|$(id -u "$user")):" /etc/subuid || return 0
    first=$(cat /etc/subuid /etc/subgid 2>/dev/null |
        awk -F: -v next_id=100000 '$2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }')
    range=$first-$((first + 65535))
    say "giving $user the subordinate ids $range (/etc/subuid), for the users inside a node"
    as_root usermod --add-subuids "$range" --add-subgids "$range" "$user" ||
        say "that needs sudo; going on with a single id"
}

# Where AppArmor forbids user namespaces (Ubuntu 24.04), a profile allows them to .venv/bin/python.
apparmor_profile() {
    local name profile
    [[ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" == 1 ]] || return 0
    name=vipdrill-$(sha256sum <<<"$root" | cut -c1-10) profile=/etc/apparmor.d/$name
    [[ ! -e $profile ]] || return 0
    say "letting $venv/bin/python make user namespaces, by the AppArmor profile $profile"
    if ! printf 'abi <abi/4.0>,\nprofile %s "%s/bin/python*" flags=(unconfined) {\n  userns,\n}\n' \
        "$name" "$venv" | as_root tee "$profile" >/dev/null || ! as_root apparmor_parser -r "$profile"; then
        say "that needs sudo; see \`vipdrill doctor\`"
    fi
}

make_venv() {
    local python=$1 options=(--clear)
    if ! head -2 "$venv/.stamp" 2>/dev/null | cmp -s - <(stamp | head -2); then
        # An AppArmor profile is for a path, so there the interpreter has to be a file of its own.
        [[ ! -e /proc/sys/kernel/apparmor_restrict_unprivileged_userns ]] || options+=(--copies)
        say "making the virtual environment .venv with $("$python" -V)"
        "$python" -m venv "${options[@]}" "$venv"
    fi
    say "installing vipdrill and the packages of constraints.txt into .venv"
    "$venv/bin/python" -m pip install --progress-bar off \
        --constraint "$root/constraints.txt" --editable "${root}[dev]" 2>&1 | show_pip ||
        die "pip could not install them (see above); is the network there? Start again to go on"
    stamp >"$venv/.stamp"
}

# Of pip's output the errors, and on a terminal one changing line.
show_pip() {
    local live=0
    [[ ! -t 2 ]] || live=1
    awk -v live="$live" '
        /^(Collecting|Building|Installing)/ && live { printf "\r%.78s\033[K", $0 > "/dev/stderr" }
        /^(ERROR|error|WARNING: Retrying)/ { print > "/dev/stderr" }
        END { if (live) printf "\r\033[K" > "/dev/stderr" }'
}

set_up() {
    if venv_ready && node_image --check; then return; fi
    local python owner
    if [[ -e $venv && ! -O $venv || ! -w $root ]]; then
        owner=$(stat -c %U "$venv" 2>/dev/null || stat -c %U "$root")
        venv_ready || die "$venv is $owner's and cannot be renewed by $(id -un): use a clone of your own, or remove it"
    else
        exec 9>"$root/.venv.lock"
        flock --nonblock 9 || { say "waiting for another set-up of this checkout" && flock 9; }
    fi
    python=$(find_python)
    install_tools "$python"
    if [[ $EUID -ne 0 ]]; then
        subordinate_ids "$(id -un)"
        apparmor_profile
    fi
    venv_ready || make_venv "$python"
    exec 9>&-
    node_image
}
