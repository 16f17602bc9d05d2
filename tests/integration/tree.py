"""tree.py make DIR...: layers with all that a file can have, topmost first, of 3 folders.
tree.py compare WANTED FOUND: two trees, entry by entry; exit 1 and the differences.
tree.py hold FILE: opens an image as image_open() does, says so and keeps it open until its stdin ends."""

import fcntl
import os
import stat
import struct
import sys


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
ACL = acl((1, 6, NOBODY), (2, 6, 1234), (4, 4, NOBODY), (0x10, 6, NOBODY), (0x20, 4, NOBODY))
# cap_net_raw+ep
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def write(path, text="", mode=0o644):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def make_bottom(path):
    for name in ("etc", "usr", "opaque", "gone", "acl"):
        os.mkdir(f"{path}/{name}")
    write(f"{path}/etc/base", "base" * 5000)
    os.link(f"{path}/etc/base", f"{path}/etc/hard")
    os.link(f"{path}/etc/base", f"{path}/usr/hard")
    write(f"{path}/opaque/old")
    write(f"{path}/gone/file")
    write(f"{path}/setuid", "x", 0o4755)
    write(f"{path}/name with\nnewline and \xe4")
    write(f"{path}/ping", "ping", 0o755)
    os.setxattr(f"{path}/ping", "security.capability", CAPABILITY)
    os.setxattr(f"{path}/etc/base", "user.note", b"v" * 500)
    os.setxattr(f"{path}/etc/base", "system.posix_acl_access", ACL)
    os.setxattr(f"{path}/acl", "system.posix_acl_default", ACL)
    os.setxattr(f"{path}/usr", "trusted.note", b"1")
    os.symlink("/etc/base", f"{path}/link")
    os.symlink("x" * 2000, f"{path}/long link")
    os.mkfifo(f"{path}/fifo")
    os.mknod(f"{path}/char", stat.S_IFCHR | 0o666, os.makedev(5, 300))
    os.mknod(f"{path}/block", stat.S_IFBLK | 0o600, os.makedev(4095, 100000))
    os.mknod(f"{path}/socket", stat.S_IFSOCK | 0o755)
    os.lchown(f"{path}/link", 1000620000, 4294967294)
    os.chown(f"{path}/usr", 1000620000, 70000)
    os.utime(f"{path}/etc/base", ns=(0, 981173106789012345))
    with open(f"{path}/sparse", "wb") as file:
        file.truncate(20 << 20)
    os.mkdir(f"{path}/many")
    for i in range(2000):
        write(f"{path}/many/{i:0100d}", str(i))
    os.chmod(f"{path}/etc", 0o1777)


def make(top, middle, bottom):
    make_bottom(bottom)
    os.mkdir(f"{middle}/opaque")
    os.setxattr(f"{middle}/opaque", "trusted.overlay.opaque", b"y")
    write(f"{middle}/opaque/new", "new")
    os.mknod(f"{middle}/gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mkdir(f"{top}/many")
    write(f"{top}/many/{7:0100d}", "seven")
    write(f"{top}/top", "top")
    os.chmod(top, 0o711)
    os.utime(top, ns=(0, 915148800123456789))


def content(path, st):
    if stat.S_ISLNK(st.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as file:
            return hash(file.read())
    return None


def describe(path, inodes):
    st = os.lstat(path)
    attributes = {name: os.getxattr(path, name, follow_symlinks=False)
                  for name in os.listxattr(path, follow_symlinks=False)}
    is_dir = stat.S_ISDIR(st.st_mode)
    first = None if is_dir else inodes.setdefault(st.st_ino, path)
    return (oct(st.st_mode), st.st_uid, st.st_gid, None if is_dir else st.st_size, st.st_mtime_ns,
            st.st_rdev, content(path, st), sorted(attributes.items()), first and os.path.basename(first))


def walk(root):
    found, inodes = {}, {}
    os.chdir(root)
    for folder, folders, files in os.walk("."):
        folders.sort()
        for name in [""] + sorted(folders + files):
            path = os.path.join(folder, name)
            if name or folder == ".":
                found[path] = describe(path, inodes)
    return found


def compare(wanted, found):
    wanted, found = walk(wanted), walk(found)
    different = [path for path in sorted(wanted.keys() | found.keys())
                 if wanted.get(path) != found.get(path)]
    for path in different[:20]:
        print(path, wanted.get(path), found.get(path), sep="\n  ")
    print(len(wanted), "entries")
    sys.exit(1 if different or len(wanted) < 2000 else 0)


F_OFD_SETLK = 37


def hold(path):
    fd = os.open(path, os.O_RDONLY)
    fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 1, 0))
    print("held", flush=True)
    sys.stdin.read()


{"make": make, "compare": compare, "hold": hold}[sys.argv[1]](*map(os.path.abspath, sys.argv[2:]))
