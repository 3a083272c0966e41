"""A separate disk: a file system on a file, whose bytes can be copied at any moment to simulate a power loss."""
import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time


def run(*command):
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout.strip()


class Disk:
    """An ext4 on a loop device that bypasses the machine's page cache: the image has what was written to the disk,
    and not what is only in the page cache of the file system."""

    def __init__(self, megabytes=96, image=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-disk-"))
        self.image = image or self.directory / "image"
        # A database runs under its own user.
        self.directory.chmod(0o711)
        self.place = self.directory / "mounted"
        self.place.mkdir()
        if image is None:
            with open(self.image, "wb") as file:
                file.truncate(megabytes * 1024 * 1024)
            run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.device = self.attach()
        # The journal of the file system is written when a file is synchronised, and not periodically.
        run("mount", "-o", "noatime,commit=900", self.device, self.place)

    def attach(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                return run("losetup", "--find", "--show", "--direct-io=on", self.image)
            except RuntimeError:
                # Another test took the same device, or no device is free.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def cut(self):
        """Returns the disk's content as it would be after a power loss now."""
        image = pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-cut-")) / "image"
        run("cp", "--sparse=always", self.image, image)
        return image

    def close(self):
        # A process that was stopped may keep it open for a moment longer.
        deadline = time.monotonic() + 10
        while True:
            try:
                run("umount", self.place)
                break
            except RuntimeError:
                if time.monotonic() > deadline:
                    run("umount", "--lazy", self.place)
                    break
                time.sleep(0.1)
        run("losetup", "--detach", self.device)
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def after_the_cut(image):
    """The file system of a copy, as it is mounted after the power loss."""
    disk = Disk(image=image)
    try:
        yield disk.place
    finally:
        disk.close()
        shutil.rmtree(image.parent, ignore_errors=True)
