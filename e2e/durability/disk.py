"""A disk of its own: a file system on a file, whose bytes can be copied at any moment as if the power had gone."""
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
    """An ext4 on a loop device that writes past the cache of the machine: what is in the image is what the disk was given,
    and what only lies in the page cache of the file system is not in it."""

    def __init__(self, megabytes=96, image=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-disk-"))
        self.image = image or self.directory / "image"
        # A database runs as a user of its own.
        self.directory.chmod(0o711)
        self.place = self.directory / "mounted"
        self.place.mkdir()
        if image is None:
            with open(self.image, "wb") as file:
                file.truncate(megabytes * 1024 * 1024)
            run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.device = self.attach()
        # The journal of the file system is written when something is synchronised, and not by the clock.
        run("mount", "-o", "noatime,commit=900", self.device, self.place)

    def attach(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                return run("losetup", "--find", "--show", "--direct-io=on", self.image)
            except RuntimeError:
                # Another test took the same device, or all of them.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def cut(self):
        """The disk as it would be found if the power went now."""
        image = pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-cut-")) / "image"
        run("cp", "--sparse=always", self.image, image)
        return image

    def close(self):
        # A process that was stopped may hold it for a moment longer.
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
    """The file system of a copy, as it comes back after the power did."""
    disk = Disk(image=image)
    try:
        yield disk.place
    finally:
        disk.close()
        shutil.rmtree(image.parent, ignore_errors=True)
