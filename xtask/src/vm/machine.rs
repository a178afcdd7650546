//! The kernel, and the machine under qemu.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::base::busybox;
use super::files::{copy, create, entries, name, only, remove, write};
use super::flavours::Flavour;
use crate::run::{Outcome, output, run};

/// How long a machine may take, under emulation without help of the processor.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Begins the line that says how the tests went.
pub(super) const VERDICT: &str = "conex-vm-verdict:";

pub(super) struct Kernel {
    image: PathBuf,
    /// `lib/modules/<release>`.
    pub(super) modules: PathBuf,
}

/// Debian's kernel for machines in a cloud, unpacked.
pub(super) fn kernel(dir: &Path) -> Outcome<Kernel> {
    let unpacked = dir.join("kernel");
    if !unpacked.join("complete").exists() {
        remove(&unpacked)?;
        create(&unpacked)?;
        let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
        let package = depends
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
            .ok_or("linux-image-cloud-amd64 depends on no kernel; is the package list there? (apt-get update)")?;
        run(Command::new("apt-get")
            .current_dir(&unpacked)
            .args(["download", &format!("linux-image-{package}")]))?;
        let archive = entries(&unpacked)?
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or("apt-get download left no package")?;
        run(Command::new("dpkg").arg("-x").arg(&archive).arg(&unpacked))?;
        let modules = only(&unpacked.join("lib/modules"))?;
        run(Command::new("/sbin/depmod")
            .arg("-b")
            .arg(&unpacked)
            .arg(name(&modules)))?;
        write(&unpacked.join("complete"), "", 0o644)?;
    }
    let modules = only(&unpacked.join("lib/modules"))?;
    Ok(Kernel {
        image: unpacked.join(format!("boot/vmlinuz-{}", name(&modules))),
        modules,
    })
}

/// The first root: loads the drivers of the disk, and goes over to it.
pub(super) fn initramfs(dir: &Path, kernel: &Kernel) -> Outcome<PathBuf> {
    let tree = dir.join("initramfs");
    remove(&tree)?;
    for directory in ["dev", "proc", "disk", "modules"] {
        create(&tree.join(directory))?;
    }
    busybox(&tree)?;
    let drivers = kernel.modules.join("kernel/drivers");
    let virtio = entries(&drivers.join("virtio"))?;
    let modules = virtio.into_iter().chain([drivers.join("block/virtio_blk.ko")]);
    for module in modules {
        copy(&module, &tree.join("modules").join(name(&module)))?;
    }
    // Twice: a module whose own needs come later in the alphabet finds them in the second round.
    let script = "#!/bin/sh\n\
         mount -t proc proc /proc\n\
         mount -t devtmpfs devtmpfs /dev\n\
         for round in 1 2 3; do for module in /modules/*; do insmod $module 2>/dev/null; done; done\n\
         for wait in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; sleep 1; done\n\
         mount -t ext4 /dev/vda /disk && umount /proc && exec switch_root /disk /sbin/init\n\
         poweroff -f\n";
    write(&tree.join("init"), script, 0o755)?;
    let image = dir.join("initramfs.cpio");
    let packed = format!(
        "cd {} && find . | /bin/busybox cpio -o -H newc > {}",
        tree.display(),
        image.display()
    );
    run(Command::new("sh").args(["-c", &packed]))?;
    Ok(image)
}

/// Runs the machine until it powers itself off, shows its console, and takes the verdict from it.
pub(super) fn boot(kernel: &Kernel, initramfs: &Path, disk: &Path, flavour: &Flavour) -> Outcome {
    let drive = format!("file={},format=raw,if=virtio,cache=unsafe", disk.display());
    let options = format!("console=ttyS0 panic=-1 quiet {}", flavour.options);
    let mut machine = Command::new("qemu-system-x86_64")
        // Emulated everywhere: what helps the processor is half there on machines that are virtual themselves.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max"])
        .args(["-m", "2048", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none"])
        .args(["-append", &options])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-drive", &drive])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("qemu-system-x86_64: {error}"))?;
    let console = machine.stdout.take().ok_or("the machine has no console")?;
    let (say, said) = mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    let reader_is_over = over.clone();
    let flavour = flavour.name;
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            println!("{flavour}: {line}");
            if let Some((_, verdict)) = line.split_once(VERDICT) {
                // Nobody listens any more when the time is up.
                let _ = say.send(verdict.trim().to_owned());
            }
        }
        reader_is_over.store(true, Ordering::Release);
    });
    let verdict = said.recv_timeout(PATIENCE);
    let _ = machine.kill();
    let ended = machine.wait().map_err(|error| format!("wait for the machine: {error}"));
    let _ = reader.join();
    ended?;
    match verdict.as_deref() {
        Ok("passed") => Ok(()),
        Ok(other) => Err(format!("in the virtual machine {flavour}: {other}")),
        Err(_) if over.load(Ordering::Acquire) => Err(format!("the virtual machine {flavour} ended without a verdict")),
        Err(_) => Err(format!("the virtual machine {flavour} did not come to an end")),
    }
}
