//! File systems on loop devices, taken down again whatever happens.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fuser::BackgroundSession;
use tempfile::TempDir;

use crate::disk::{Disk, IMAGE};

/// Why there is no rig on this machine, or why it broke.
pub(crate) type Problem = String;

fn run(program: &str, arguments: &[&str]) -> Result<String, Problem> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), errors.trim()))
}

fn text(path: &Path) -> Result<&str, Problem> {
    path.to_str().ok_or_else(|| format!("{}: not text", path.display()))
}

fn problem(what: &str) -> impl Fn(io::Error) -> Problem + '_ {
    move |error| format!("{what}: {error}")
}

/// An ext4 on a loop device over the recording disk.
pub(crate) struct Rig {
    pub(crate) disk: Disk,
    mount: Mounted,
    session: Option<BackgroundSession>,
    _home: TempDir,
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A busy one goes when the last file in it is closed.
        if let Ok(path) = text(&self.0)
            && run("umount", &[path]).is_err()
        {
            let _ = run("umount", &["-l", path]);
        }
    }
}

impl Rig {
    pub(crate) fn new(size: usize, block: u32) -> Result<Self, Problem> {
        let home = tempfile::tempdir().map_err(problem("a directory for the disk"))?;
        let (disk_at, mount_at) = (home.path().join("disk"), home.path().join("mount"));
        for directory in [&disk_at, &mount_at] {
            fs::create_dir(directory).map_err(problem("a directory to mount on"))?;
        }
        let disk = Disk::new(size);
        let session = disk.mount(&disk_at).map_err(problem("FUSE (is fusermount3 there?)"))?;
        let image = disk_at.join(IMAGE);
        let device = run("losetup", &["-f", "--show", text(&image)?])?;
        let block = block.to_string();
        let mounted = run("mkfs.ext4", &["-q", "-F", "-b", &block, "-E", "nodiscard", &device])
            .and_then(|_| run("mount", &["-o", "nodiscard", &device, text(&mount_at)?]));
        // From here on the device goes with the mount.
        let _ = run("losetup", &["-d", &device]);
        mounted?;
        Ok(Self { disk, mount: Mounted(mount_at), session: Some(session), _home: home })
    }

    /// Where the file system is.
    pub(crate) fn directory(&self) -> &Path {
        &self.mount.0
    }

    /// Takes the file system down and gives the disk away.
    pub(crate) fn finish(mut self) -> Disk {
        let disk = self.disk.clone();
        drop(std::mem::replace(&mut self.mount, Mounted(PathBuf::new())));
        if let Some(session) = self.session.take() {
            drop(session);
        }
        disk
    }
}

/// An image of a disk, mounted: the kernel replays the journal.
pub(crate) struct Image {
    mount: Mounted,
    _home: TempDir,
}

impl Image {
    pub(crate) fn mount(bytes: &[u8]) -> Result<Self, Problem> {
        // In memory, where there is a file system in memory.
        let memory = tempfile::tempdir_in("/dev/shm");
        let home = memory.or_else(|_| tempfile::tempdir());
        let home = home.map_err(problem("a directory for an image"))?;
        let (image, mount_at) = (home.path().join("image"), home.path().join("mount"));
        fs::create_dir(&mount_at).map_err(problem("a directory to mount on"))?;
        File::create(&image)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(problem("an image"))?;
        run("mount", &["-o", "loop,nodiscard", text(&image)?, text(&mount_at)?])?;
        Ok(Self { mount: Mounted(mount_at), _home: home })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.mount.0
    }
}
