"""Changes of owner that answer "done" and do nothing, for a user namespace with a single id.

There chown(2) and setuid(2) to any other id fail with EINVAL, and no Debian package would unpack.
A seccomp filter (seccomp(2)) that answers them with errno 0 lets dpkg work; every file then
belongs to the one id.  The filter is inherited by all children, in any root filesystem, whatever
their C library.
"""

from __future__ import annotations

import ctypes
import os
import struct

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

# linux/audit.h, and the system call numbers of (chown, lchown where they exist) fchown, fchownat,
# setuid, setgid, setreuid, setregid, setgroups, setresuid, setresgid, setfsuid, setfsgid, capset.
ARCHITECTURES: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (0xC000003E, (92, 94, 93, 260, 105, 106, 113, 114, 116, 117, 119, 122, 123, 126)),
    "aarch64": (0xC00000B7, (55, 54, 146, 144, 145, 143, 159, 147, 149, 151, 152, 91)),
}

# linux/bpf_common.h and linux/seccomp.h
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ANSWER_ZERO = 0x7FFF0000, 0x00050000
ARCH_OFFSET, NUMBER_OFFSET = 4, 0


def supported() -> bool:
    """Whether the system call numbers of this machine are known."""
    return os.uname().machine in ARCHITECTURES


def program(machine: str) -> bytes:
    """The filter for `machine`, as an array of struct sock_filter."""
    audit, numbers = ARCHITECTURES[machine]
    code = [(LOAD_WORD, 0, 0, ARCH_OFFSET), (JUMP_IF_EQUAL, 0, len(numbers) + 1, audit)]
    code.append((LOAD_WORD, 0, 0, NUMBER_OFFSET))
    code += [(JUMP_IF_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    code += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ANSWER_ZERO)]
    return b"".join(struct.pack("=HBBI", *step) for step in code)


def install() -> None:
    """Filter this process and all that it starts; raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = program(os.uname().machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: unsigned short len; struct sock_filter *filter
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    calls = ((PR_SET_NO_NEW_PRIVS, 1, None), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header))
    for option, argument, pointer in calls:
        if libc.prctl(option, ctypes.c_ulong(argument), pointer, ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
